"""Covariances that nobody gave: closed forms where there are any, else what was put into the records."""

import numpy as np
import pytest
from scipy import linalg

from koopctrl import ExtendedKalmanFilter, KalmanFilter, KoopmanRNN, LiftedModel, Trajectories, load
from koopctrl.errors import OptionError


@pytest.mark.parametrize(("kind", "shown"), [("output", 1.0), ("input", 3.0), ("state", 1.0)])
def test_drifts_of_a_plant_without_memory(kind, shown):
    """`x+ = 3 u`: the filter has nothing to correct, so a disturbance shows as it is beside `Qn + Rn`."""
    plant = LiftedModel.from_matrices([[0.0]], [[3.0]], dt=1.0)
    found = KalmanFilter(plant, 0.5, 0.2, disturbance=kind)
    np.testing.assert_allclose(found.Qd, 0.1 * 0.7 / shown**2, rtol=1e-9)


def test_a_drift_shows_in_simulated_innovations_as_it_should():
    """A held disturbance moves the mean innovation of the filter without it by `b`, and `Qd b^2 = 0.1 S`."""
    A, B = np.array([[0.9, 0.2], [-0.1, 0.7]]), np.array([[0.0], [1.0]])
    plant = LiftedModel.from_matrices(A, B, [[1.0, 0.0]], dt=1.0)
    plain, known = KalmanFilter(plant, 0.1, 0.3), KalmanFilter(plant, 0.1, 0.3, disturbance="input")
    x, z, innovation = np.zeros(2), np.zeros(2), 0.0
    for _ in range(400):  # without noise: the mean itself
        innovation = x[0] - z[0]
        z = A @ z + plain.L[:, 0] * innovation
        x = A @ x + B[:, 0]
    S = plain.P[0, 0] + 0.3
    np.testing.assert_allclose(known.Qd[0, 0] * innovation**2, 0.1 * S, rtol=1e-9)
    P = linalg.solve_discrete_are(A.T, np.array([[1.0], [0.0]]), 0.1 * np.eye(2), [[0.3]])
    np.testing.assert_allclose(plain.P, P, rtol=1e-9)


def test_a_load_is_known_after_a_few_samples():
    """Nine tenths of it within ten samples, and no sooner than in two: neither deadbeat nor asleep."""
    plant = LiftedModel.from_matrices([[0.8]], [[0.5]], dt=1.0)
    kf, x, seen = KalmanFilter(plant, 1e-4, 1e-4, disturbance="input"), np.zeros(1), []
    for _ in range(15):
        kf.observe(x, [0.0])
        seen.append(kf.estimate[1])
        x = 0.8 * x + 0.5 * np.ones(1)
    assert seen[2] < 0.7
    assert 0.85 < seen[10] < 1.3


def test_first_covariances():
    plant = LiftedModel.from_matrices([[0.8]], [[0.5]], dt=1.0)
    kf = KalmanFilter(plant, 1e-4, 1e-4, disturbance="input", steady=False)
    np.testing.assert_allclose(kf.P0, 1e4 * kf.P)
    assert KalmanFilter(plant, 1e-4, 1e-4, steady=False, P0=2.0).P0 == 2.0


def test_what_hides_is_refused_with_the_reason():
    """An integrator that no noise moves has no steady filter to take a drift from."""
    integrator = LiftedModel.from_matrices([[1.0]], [[1.0]], dt=1.0)
    with pytest.raises(OptionError, match="Qd is not given"):
        KalmanFilter(integrator, 0.0, 1.0, disturbance="input")
    KalmanFilter(integrator, 0.0, 1.0, disturbance="input", Qd=0.1)


def plant(x, u):
    return np.stack(
        [0.9 * x[..., 0] + 0.3 * np.tanh(x[..., 1]), 0.7 * x[..., 1] - 0.2 * x[..., 0] + 0.5 * u[..., 0]],
        axis=-1,
    )


@pytest.mark.parametrize("noise", [1e-2, pytest.param(0.1, marks=pytest.mark.slow)])
def test_a_networks_noise_is_that_of_its_records(noise, tmp_path):
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (20, 150, 1)), np.zeros((20, 151, 2))
    for k in range(150):
        x[:, k + 1] = plant(x[:, k], u[:, k]) + 1e-3 * rng.normal(size=(20, 2))
    data = Trajectories.from_arrays(x + noise * rng.normal(size=x.shape), u, dt=0.1)
    model = KoopmanRNN(30, random_state=0).fit(data)
    ekf = ExtendedKalmanFilter(model)
    ratio = np.diag(ekf.Rn) / noise**2
    assert (ratio > 0.4).all()
    assert (ratio < 1.8).all()
    # What it is for: estimates on a fresh run are nearer than the measurements are.
    z, errors = np.zeros(2), []
    ekf.reset()
    last = None
    for k in range(300):
        estimate = ekf.observe(z + noise * rng.normal(size=2), last)
        if k > 20:
            errors.append(estimate - z)
        last = rng.uniform(-1, 1, 1)
        z = plant(z, last)
    assert np.sqrt(np.mean(np.square(errors))) < 0.8 * noise
    given = ExtendedKalmanFilter(model, ekf.Qn, ekf.Rn)
    np.testing.assert_array_equal(given.law.noise, ekf.law.noise)


def test_a_filter_keeps_what_it_found_in_files(tmp_path):
    """A controller's file has the covariances, whatever becomes of the data."""
    from koopctrl import RNNMPC

    rng = np.random.default_rng(1)
    u = rng.uniform(-1, 1, (5, 80, 1))
    x = np.zeros((5, 81, 2))
    for k in range(80):
        x[:, k + 1] = plant(x[:, k], u[:, k])
    model = KoopmanRNN(15, random_state=0).fit(
        Trajectories.from_arrays(x + 0.02 * rng.normal(size=x.shape), u, dt=0.1)
    )
    mpc = RNNMPC(model, 5, 1.0, 0.1, estimator=ExtendedKalmanFilter(model))
    mpc.save(tmp_path / "mpc.npz")
    back = load(tmp_path / "mpc.npz")
    np.testing.assert_array_equal(back.law.estimator.Qn, mpc.law.estimator.Qn)
    np.testing.assert_array_equal(back.law.estimator.Rn, mpc.law.estimator.Rn)
