"""Unscented Kalman filter: the Kalman filter on linear networks, true moments on curved ones."""

import copy

import numpy as np
import pytest
from scipy import linalg

from koopctrl import (
    RNNMPC,
    ExtendedKalmanFilter,
    KoopmanRNN,
    LiftedModel,
    Trajectories,
    UnscentedKalmanFilter,
    load,
)
from koopctrl.controllers.estimation.unscented_kalman_law import semidefinite_factor
from koopctrl.errors import DataError, OptionError, ShapeError

KINDS = ["none", "output", "input", "state", "mixed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [0.5, 3.0**0.5])
def test_on_a_linear_network_it_is_the_kalman_filter(kind, spread, lag_model):
    """With lags: exact shifts, whose covariance is singular."""
    model = lag_model[0]
    options = {"disturbance": kind, "gate": 6.0}
    ukf = UnscentedKalmanFilter(model, 0.1, 0.2, spread=spread, **options)
    kf = ExtendedKalmanFilter(model, 0.1, 0.2, **options)  # exact where the network is straight
    rng, u = np.random.default_rng(0), None
    for k in range(60):
        y = np.nan if rng.random() < 0.2 else rng.normal() + (100.0 if k == 30 else 0.0)
        np.testing.assert_allclose(ukf.observe([y], u), kf.observe([y], u), atol=1e-7)
        np.testing.assert_allclose(ukf.covariance, kf.covariance, atol=1e-7)
        assert ukf.rejected == kf.rejected
        u = rng.uniform(-1, 1, 1)
    assert ukf.n_rejected > 0


def curved(a=0.5, c=0.4):
    """`y+ = a y + c y^2 + 0.2 u`, as closely as a network has it."""
    rng = np.random.default_rng(0)
    y, u = np.empty((60, 6, 1)), rng.uniform(-1, 1, (60, 5, 1))
    y[:, 0] = rng.uniform(-3, 3, (60, 1))
    for k in range(5):
        y[:, k + 1] = np.clip(a * y[:, k] + c * y[:, k] ** 2 + 0.2 * u[:, k], -8, 8)
    keep = (np.abs(y) < 3).all(axis=(1, 2))
    return Trajectories.from_arrays(y[keep], u[keep], dt=0.1)


def test_a_prediction_has_the_moments_of_a_curve():
    """Of `a x + c x^2` for a Gaussian `x` they are known; the extended filter has no `c P`."""
    a, c, m, P = 0.5, 0.4, 0.3, 0.25
    model = KoopmanRNN(150, random_state=0, input_coupling="linear", ridge=1e-10).fit(curved(a, c))
    found = []
    for kind in (UnscentedKalmanFilter, ExtendedKalmanFilter):
        filtered = kind(model, 0.0, 1.0, P0=P)
        filtered.reset([m])
        found.append((filtered.predict([0.0])[0], filtered.covariance[0, 0]))
    mean = a * m + c * (m**2 + P)
    variance = (a + 2 * c * m) ** 2 * P + 2 * c**2 * P**2
    # About the image of the mean, where the points' spread meets the fourth moment: (c P)^2 more.
    np.testing.assert_allclose(found[0], [mean, variance + (c * P) ** 2], rtol=2e-2)
    assert abs(found[1][0] - mean) > 10 * abs(found[0][0] - mean)


def test_a_prediction_has_the_mean_that_quadrature_finds(network):
    """Its gap to Gauss and Hermite's rule of 30 x 30 points is a fraction of the extended filter's."""
    spread, x0 = np.array([[0.1, 0.04], [0.04, 0.12]]), np.array([1.2, -1.0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    points = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2) @ np.linalg.cholesky(spread).T + x0
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)
    expected = weights @ network.network_.step(points, np.zeros((len(points), 1)))
    gaps = []
    for kind in (UnscentedKalmanFilter, ExtendedKalmanFilter):
        filtered = kind(network, 0.0, 1.0, P0=spread)
        filtered.reset(x0)
        gaps.append(np.abs(filtered.predict([0.0]) - expected).max())
    assert gaps[0] < 0.25 * gaps[1]


def curved_run(seed, n=80):
    rng = np.random.default_rng(seed)
    x, u = np.empty(n), rng.uniform(-1, 1, n)
    x[0] = rng.normal(1.0, 0.5)
    for k in range(n - 1):
        x[k + 1] = 0.8 * x[k] + 1.5 * np.sin(2 * x[k]) + 0.3 * u[k] + 0.2 * rng.normal()
    return x, u


@pytest.mark.slow
def test_on_a_strongly_curved_plant_it_is_nearer_than_the_extended_filter():
    """`x+ = 0.8 x + 1.5 sin 2x + ...`, measured every fourth sample: twelve runs, the same noise for both."""
    rng = np.random.default_rng(0)
    x, u = np.empty((60, 41, 1)), rng.uniform(-1, 1, (60, 40, 1))
    x[:, 0] = rng.uniform(-4, 4, (60, 1))
    for k in range(40):
        x[:, k + 1] = (
            0.8 * x[:, k] + 1.5 * np.sin(2 * x[:, k]) + 0.3 * u[:, k] + 0.2 * rng.normal(size=(60, 1))
        )
    model = KoopmanRNN(80, random_state=0, input_coupling="linear").fit(
        Trajectories.from_arrays(x, u, dt=0.1)
    )
    errors = np.zeros((12, 2))
    for seed in range(12):
        states, inputs = curved_run(seed)
        noise = 0.3 * np.random.default_rng(100 + seed).normal(size=len(states))
        for i, kind in enumerate((UnscentedKalmanFilter, ExtendedKalmanFilter)):
            filtered = kind(model, 0.2**2, 0.3**2)
            for k in range(len(states)):
                y = states[k] + noise[k] if k % 4 == 0 else np.nan
                found = filtered.observe([y], inputs[k - 1 : k] if k else None)
                errors[seed, i] += (found[0] - states[k]) ** 2 / len(states)
    assert np.median(errors[:, 0]) < 0.9 * np.median(errors[:, 1])
    assert errors.mean(axis=0)[0] < errors.mean(axis=0)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_units_change_nothing(kind):
    found = []
    for y_unit, u_unit in [(1.0, 1.0), (1e-9, 1e6), (1e8, 1e-9)]:
        rng = np.random.default_rng(0)
        y, u = np.zeros((8, 41, 2)), rng.uniform(-1, 1, (8, 40, 1))
        for k in range(40):
            y[:, k + 1, 0] = 0.9 * y[:, k, 0] + 0.3 * np.tanh(y[:, k, 1])
            y[:, k + 1, 1] = 0.7 * y[:, k, 1] + u[:, k, 0]
        data = Trajectories.from_arrays(y * [y_unit, 1.0 / y_unit], u * u_unit, dt=0.1)
        units = np.array([y_unit, 1.0 / y_unit])
        ukf = UnscentedKalmanFilter(
            KoopmanRNN(15, random_state=0, ridge=1e-8).fit(data), 1e-3 * units**2, 1e-2 * units**2,
            disturbance=kind, gate=6.0,
        )  # fmt: skip
        rows = []
        for k in range(40):
            value = (y[0, k] + 0.1 * rng.normal(size=2)) * units * (1e9 if k == 20 else 1.0)
            value = np.where(rng.random(2) < 0.2, np.nan, value)
            s = ukf.observe(value, u[0, k - 1] * u_unit if k else None)
            rows.append((*(s[:2] / units), ukf.n_rejected))
        found.append(rows)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_the_factor_of_a_singular_covariance():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 3)) * np.array([1e-9, 1.0, 1e9, 1e3, 1.0])[:, None]
    root[3] = 0.0
    P = root @ root.T
    L = semidefinite_factor(P)
    size = np.sqrt(np.diag(P))
    assert (np.abs(L @ L.T - P) <= 1e-10 * size * size[:, None]).all()
    np.testing.assert_array_equal(L, np.tril(L))
    definite = rng.normal(size=(4, 4))
    P = definite @ definite.T
    np.testing.assert_allclose(semidefinite_factor(P), linalg.cholesky(P, lower=True), rtol=1e-9)


def test_a_controller_takes_it_and_files_keep_it(network, tmp_path):
    ukf = UnscentedKalmanFilter(network, 1e-6, 1e-4, disturbance="input", spread=1.2, gate=5.0)
    mpc = RNNMPC(network, 8, [1.0, 0.0], 0.1, u_min=-3, u_max=3, estimator=ukf)
    x = np.zeros(2)
    for k in range(120):
        if k == 7:
            mpc.save(tmp_path / "c.npz")
            again = load(tmp_path / "c.npz")
            np.testing.assert_allclose(
                again.control(x, [0.5, 0.0]), copy.deepcopy(mpc).control(x, [0.5, 0.0])
            )
            assert again.observer.law.spread == 1.2
        x = network.network_.step(x, mpc.control(x, [0.5, 0.0]) + 0.2)
    assert abs(x[0] - 0.5) < 1e-4
    assert repr(ukf).startswith("UnscentedKalmanFilter(")
    assert "spread=1.2" in repr(ukf)
    assert ukf.estimate is None


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"spread": 0.0}, OptionError, "spread is 0"),
        ({"spread": "wide"}, OptionError, "spread is"),
        ({"Qn": np.eye(3)}, ShapeError, "Qn has shape"),
        ({"Rn": 0.0}, OptionError, "Rn has smallest eigenvalue"),
        ({"Qn": np.nan}, DataError, "Qn has"),
        ({"disturbance": "load"}, OptionError, "disturbance is 'load'"),
        ({"gate": -1.0}, OptionError, "gate is -1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(network, kwargs, error, match):
    with pytest.raises(error, match=match):
        UnscentedKalmanFilter(network, **{"Qn": 1.0, "Rn": 1.0, **kwargs})


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match="model is a LiftedModel"):
        UnscentedKalmanFilter(LiftedModel.from_matrices([[0.5]], [[1.0]], dt=1.0), 1.0, 1.0)
