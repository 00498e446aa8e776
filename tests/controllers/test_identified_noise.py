"""Covariances that a filter takes from the data, judged by its innovations on the true plant."""

import numpy as np
import pytest
from scipy import linalg

from koopctrl import KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories, load, subspace
from koopctrl.errors import OptionError

A, B, C = np.array([[0.9, 0.2], [-0.2, 0.9]]), np.array([[0.5], [1.0]]), np.array([[1.0, 0.0]])


def record(n, q, r, seed, c=C):
    rng = np.random.default_rng(seed)
    x, y, u = np.zeros(2), np.empty((n, len(c))), rng.normal(size=(n, 1))
    for k in range(n):
        y[k] = c @ x + np.sqrt(r) * rng.normal(size=len(c))
        x = A @ x + B @ u[k] + np.sqrt(q) * rng.normal(size=2)
    return Trajectories.from_arrays(y, u, dt=1.0)


def best_innovations(q, r, c=C):
    """Mean variance of the innovations of the plant's own filter."""
    p = linalg.solve_discrete_are(A.T, c.T, q * np.eye(2), r * np.eye(len(c)))
    return float(np.trace(c @ p @ c.T) / len(c) + r)


def innovations(observer, data):
    """Mean square of the one-step errors of a filter along a record."""
    errors, lifted = [], observer.lifted
    u_last = None
    for y, u in zip(data[0].outputs, data[0].inputs, strict=False):
        if u_last is not None:
            z = observer.predict(u_last)
            errors.append(y - (lifted.C @ z + lifted.y_op))
        observer.update(y)
        u_last = u
    return float(np.mean(np.square(errors[50:])))


@pytest.mark.parametrize(("q", "r"), [(0.05, 0.02), (1e-4, 0.5), (0.05, 1e-6)])
def test_subspace_models_bring_their_noise(q, r):
    """Identified with a correlated noise, which the filter has none of."""
    lifted = LiftedModel.from_innovation_form(subspace(record(2000, q, r, 0), 2))
    fresh = record(2000, q, r, 1)
    assert innovations(KalmanFilter(lifted), fresh) <= 1.1 * best_innovations(q, r)


@pytest.mark.parametrize(("q", "r"), [(0.05, 0.02), (1e-3, 0.2), (0.05, 1e-6)])
def test_models_of_measured_states_bring_that_of_their_residuals(q, r):
    both = np.eye(2)
    model = KoopmanRNN(0, input_coupling="linear").fit(record(2000, q, r, 0, both))
    fresh = record(1500, q, r, 1, both)
    lifted = model.lift_at()
    found = innovations(KalmanFilter(lifted), fresh)
    # One-step least squares on noisy regressors is itself biased: its filter of known noise is the yardstick.
    known = innovations(KalmanFilter(lifted, q * np.diag(1.0 / lifted.observables.x_scale**2), r), fresh)
    assert found <= 1.05 * min(known, innovations(KalmanFilter(lifted, 1.0, r), fresh))
    assert best_innovations(q, r, both) * 0.9 <= found


def test_one_of_them_may_be_given_and_a_part_of_the_outputs_measured(tmp_path):
    lifted = KoopmanRNN(20, random_state=0).fit(record(600, 0.05, 0.02, 0, np.eye(2))).lift_at()
    whole = KalmanFilter(lifted)
    part = KalmanFilter(lifted, Qn=1.0, measured=[1])
    np.testing.assert_array_equal(part.Rn, whole.Rn[1:, 1:])
    np.testing.assert_array_equal(part.Qn, np.eye(lifted.n_z))
    # A file's model has lost its training data, but not what was found in them.
    mpc = LinearMPC(lifted, 5, 1.0, 1.0, estimator=whole)
    mpc.save(tmp_path / "mpc.npz")
    np.testing.assert_array_equal(load(tmp_path / "mpc.npz").law.estimator.Rn, whole.Rn)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_do_not_matter(scale):
    data = record(400, 0.05, 0.02, 0, np.eye(2))
    other = Trajectories.from_arrays(data[0].outputs * scale, data[0].inputs / scale, dt=1.0)
    model = KoopmanRNN(10, random_state=0)
    one, two = (KalmanFilter(model.fit(d).lift_at(method="jacobian")) for d in (data, other))
    np.testing.assert_allclose(two.Rn, one.Rn * scale**2, rtol=1e-6)
    np.testing.assert_allclose(two.M * scale, one.M, rtol=1e-6)


def test_noise_free_data_give_a_filter_that_trusts_the_measurement():
    data = record(300, 0.0, 0.0, 0, np.eye(2))
    observer = KalmanFilter(KoopmanRNN(0, input_coupling="linear").fit(data).lift_at())
    assert innovations(observer, record(200, 0.0, 0.0, 1, np.eye(2))) < 1e-16


def test_matrices_alone_say_nothing_of_noise():
    with pytest.raises(OptionError, match="Qn and Rn are not given"):
        KalmanFilter(LiftedModel.from_matrices(A, B, C, dt=1.0))
    assert KalmanFilter(LiftedModel.from_matrices(A, B, C, dt=1.0), 1.0, 1.0).Rn.shape == (1, 1)
