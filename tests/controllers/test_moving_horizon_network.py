"""Moving-horizon estimator of networks: linear ones as the dense problem, others as an NLP solver has it."""

import copy
import pickle
import warnings

import casadi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_oracle import likeliest, predicted

from koopctrl import (
    RNNMPC,
    ExtendedKalmanFilter,
    KoopmanRNN,
    LinearMPC,
    MovingHorizonEstimator,
    Trajectories,
    load,
)
from koopctrl.controllers.state import ravel
from koopctrl.errors import NotFittedError, OptionError, RolloutWarning, ShapeError

A = np.array([[0.9, 0.2, 0.0], [-0.2, 0.8, 0.3], [0.1, 0.0, 0.7]])
B = np.array([[0.0, 0.5], [1.0, 0.0], [0.2, 0.3]])
Q = np.array([[0.3, 0.1, 0.0], [0.1, 0.4, 0.05], [0.0, 0.05, 0.2]])
R = np.diag([0.5, 0.8])
H = np.eye(3)[[0, 2]]


def fit_linear(a, b, y_unit=1.0, u_unit=1.0, **options):
    rng = np.random.default_rng(1)
    n, m = b.shape
    x, u = np.empty((20, 41, n)), rng.uniform(-1, 1, (20, 40, m))
    x[:, 0] = rng.uniform(-1, 1, (20, n))
    for k in range(40):
        x[:, k + 1] = x[:, k] @ a.T + u[:, k] @ b.T
    data = Trajectories.from_arrays(x * y_unit, u * u_unit, dt=0.1)
    return KoopmanRNN(0, input_coupling="linear", ridge=0.0, random_state=0, **options).fit(data)


@pytest.fixture(scope="module")
def linear():
    return fit_linear(A, B)


def run(n, seed=0, missing=0.2):
    rng = np.random.default_rng(seed)
    x, y, u = np.zeros(3), np.empty((n, 2)), rng.normal(size=(n, 2))
    for k in range(n):
        y[k] = H @ x + rng.multivariate_normal(np.zeros(2), R)
        x = A @ x + B @ u[k] + rng.multivariate_normal(np.zeros(3), Q)
    y[rng.random((n, 2)) < missing] = np.nan
    y[0] = np.nan_to_num(y[0])
    return y, u


def reading(y):
    here = ~np.isnan(y)
    return (H[here], y[here], R[here][:, here]) if here.any() else None


@pytest.mark.parametrize("kind", ["none", "output", "input", "state", "mixed"])
@pytest.mark.parametrize("lags", [1, 2])
def test_without_an_active_bound_it_is_the_kalman_filter_on_a_linear_network(kind, lags, linear, lag_model):
    model = linear if lags == 1 else lag_model[0]
    n_y, n_u = model.n_y, model.network_.window.n_u
    options = {"disturbance": kind, "gate": 6.0}
    ekf = ExtendedKalmanFilter(model, 0.1, 0.2, **options)
    mhe = MovingHorizonEstimator(model, 6, 0.1, 0.2, y_min=-1e3, x_max=1e3, **options)
    rng, x, u = np.random.default_rng(0), model.network_.x_mean, None
    for k in range(60):
        y = x[:n_y] + 0.5 * rng.normal(size=n_y)
        y = np.where(rng.random(n_y) < 0.2, np.nan, y) + (100.0 if k == 30 else 0.0)
        a, b = mhe.observe(y, u), ekf.observe(y, u)
        np.testing.assert_allclose(a, b, atol=1e-8)
        assert mhe.rejected == ekf.rejected
        u = rng.uniform(-1, 1, n_u)
        x = model.network_.step(x[None], u[None])[0]
    assert mhe.status == "free"


@pytest.mark.parametrize("seed", range(2))
def test_on_a_linear_network_it_is_the_dense_problem(linear, seed):
    """Full information first, then the window with the Kalman filter's arrival cost."""
    low, high, M, n = np.array([-0.5, -np.inf, -0.4]), np.array([np.inf, 1.0, 1.5]), 6, 30
    P0 = np.diag([2.0, 1.0, 3.0])
    mhe = MovingHorizonEstimator(linear, M, Q, R, y_min=low, x_max=high, P0=P0, measured=[0, 2])
    mhe.reset([0.2, 0.1, 0.3])
    y, u = run(n, seed)
    arrivals, acted = [(np.array([0.2, 0.1, 0.3]), P0)], 0
    for k in range(n):
        found = mhe.observe(y[k], u[k - 1]) if k else mhe.update(y[k])
        start = max(0, k - M)
        readings = [reading(v) for v in y[start : k + 1]]
        states = likeliest(*arrivals[start], [(A, B @ v) for v in u[start:k]], Q, readings, low, high)
        np.testing.assert_allclose(found, states[-1], atol=1e-6)
        np.testing.assert_allclose(mhe.state.window.s[: len(states)], states, atol=1e-6)
        arrivals.append(predicted(*arrivals[-1], A, B @ u[k], Q, reading(y[k])))
        acted += mhe.status == "bounded"
    assert acted >= 10


@pytest.mark.parametrize("kind", ["none", "input"])
def test_on_a_nonlinear_network_it_settles_where_an_nlp_solver_does(network, kind):
    """Every sample since the start, states, disturbances and process noise as variables of IPOPT."""
    n, n_d = 9, 1 if kind == "input" else 0
    Qn, Rn, Qd, P0 = np.diag([0.02, 0.05]), np.array([[0.04]]), 0.01, np.diag([0.5, 1.0, 0.3][: 2 + n_d])
    bounds = {"d_min": -0.1, "d_max": 0.1} if n_d else {}
    mhe = MovingHorizonEstimator(
        network, n, Qn, Rn, measured=[0], y_max=[1.6, 2.0], P0=P0, disturbance=kind, Qd=Qd if n_d else None,
        max_iter=60, **bounds,
    )  # fmt: skip
    mhe.reset([1.0, 0.5])
    rng, step = np.random.default_rng(3), network.to_casadi()
    x, u, y = np.array([1.2, 0.3]), rng.uniform(-2, 2, (n, 1)), np.empty((n, 1))
    weights = np.linalg.inv(P0), np.linalg.inv(np.diag([0.02, 0.05, 0.01][: 2 + n_d])), np.linalg.inv(Rn)
    acted = set()
    for k in range(n):
        y[k] = x[:1] + 0.2 * rng.normal(size=1)
        found = mhe.observe(y[k], u[k - 1]) if k else mhe.update(y[k])
        acted.add(mhe.status)
        opti = casadi.Opti()
        s = opti.variable(2 + n_d, k + 1)
        e = s[:, 0] - np.append([1.0, 0.5], np.zeros(n_d))
        cost = casadi.bilin(weights[0], e, e)
        for j in range(k):
            acting = u[j] + (s[2, j] if n_d else 0.0)
            nxt = step(s[:2, j], acting)
            w = s[:, j + 1] - (casadi.vertcat(nxt, s[2, j]) if n_d else nxt)
            cost += casadi.bilin(weights[1], w, w)
        for j in range(k + 1):
            v = y[j, 0] - s[0, j]
            cost += weights[2][0, 0] * v**2
            opti.subject_to(s[0, j] <= 1.6)
            opti.subject_to(s[1, j] <= 2.0)
            if n_d:
                opti.subject_to(opti.bounded(-0.1, s[2, j], 0.1))
        opti.minimize(cost)
        opti.set_initial(s, mhe.state.window.s[: k + 1].T)
        opti.solver("ipopt", {"print_time": False}, {"print_level": 0, "tol": 1e-11, "sb": "yes"})
        expected = opti.solve().value(s).reshape(2 + n_d, k + 1)
        np.testing.assert_allclose(found, expected[:, -1], atol=3e-6)
        x = network.network_.step(x, u[k])
    assert "bounded" in acted


UNITS = [(np.ones(3), 1.0), (np.array([1e-9, 1e9, 1e3]), 1e6), (np.array([1e7, 1e-7, 1e-9]), 1e-9)]


@pytest.mark.parametrize("kind", ["none", "output", "input", "state", "mixed"])
def test_units_change_nothing(kind):
    y, u = run(50, 1)
    found = []
    for y_unit, u_unit in UNITS:
        model = fit_linear(A, B, y_unit, u_unit)
        measured, m_unit = ([0, 1, 2], y_unit) if kind in ("state", "mixed") else ([0, 2], y_unit[[0, 2]])
        mhe = MovingHorizonEstimator(
            model, 5, Q * y_unit * y_unit[:, None], 0.5 * m_unit**2, measured=measured, disturbance=kind,
            y_min=y_unit * [-1.5, -np.inf, -1.0], x_max=y_unit * [np.inf, 1.5, np.inf], gate=6.0,
        )  # fmt: skip
        rows = []
        for k in range(50):
            value = np.insert(y[k], 1, np.nan) if len(measured) == 3 else y[k]
            value = m_unit * value * (1e9 if k == 40 else 1.0)
            s = mhe.observe(value, u_unit * u[k - 1] if k else None)[:3] / y_unit
            rows.append((*s, mhe.n_rejected, mhe.state.status))
        found.append(np.array(rows))
    assert {1, 2} <= set(found[0][:, -1])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


@pytest.fixture(scope="module")
def tanks():
    """Two tanks that run empty, the first emptying into the second."""
    rng = np.random.default_rng(0)
    u, x = np.repeat(rng.uniform(0, 1, (20, 12, 1)), 5, axis=1), np.empty((20, 61, 2))
    x[:, 0] = rng.uniform(0, 2, (20, 2))
    for k in range(60):
        x[:, k + 1] = tanks_step(x[:, k], u[:, k])
    data = Trajectories.from_arrays(x + 1e-2 * rng.normal(size=x.shape), u, dt=1.0)
    return KoopmanRNN(30, random_state=0, ridge=1e-6).fit(data)


def tanks_step(x, u):
    flow = 0.3 * np.sqrt(x)
    gain = np.stack([0.3 * u[..., 0] - flow[..., 0], flow[..., 0] - flow[..., 1]], axis=-1)
    return np.maximum(x + gain, 0.0)


@pytest.mark.parametrize("max_iter", [1, 3])
def test_levels_of_tanks_that_run_empty_are_nearer_than_the_extended_filters(tanks, max_iter):
    errors = []
    for seed in range(4):
        options = {"measured": [1], "Rn": 0.1**2}
        mhe = MovingHorizonEstimator(tanks, 10, y_min=0.0, max_iter=max_iter, **options)
        ekf = ExtendedKalmanFilter(tanks, **options)
        rng, x, u = np.random.default_rng(seed), np.array([0.5, 0.5]), None
        for k in range(150):
            y = x[1:] + 0.1 * rng.normal(size=1) if k % 3 == 0 else [np.nan]
            a, b = mhe.observe(y, u), ekf.observe(y, u)
            assert (a > -1e-6).all()
            if k > 10:
                errors.append([np.sum((a - x) ** 2), np.sum((b - x) ** 2)])
            u = np.array([0.0 if k % 60 > 15 else 0.8])
            x = tanks_step(x, u)
        assert mhe.n_fallbacks == 0
    bounded, free = np.sqrt(np.mean(errors, axis=0))
    assert bounded < 0.9 * free


def test_rnnmpc_takes_it(tanks, tmp_path):
    mhe = MovingHorizonEstimator(
        tanks, 5, measured=[1], y_min=0.0, disturbance="input", d_max=0.3, gate=8.0, P0=0.1
    )  # fmt: skip

    def make():
        return RNNMPC(tanks, 8, [0.0, 1.0], 0.01, u_min=0.0, u_max=1.0, estimator=mhe)

    controllers, x = [make() for _ in range(4)], np.array([0.02, 0.01])
    block = controllers[0].to_nlsys()
    memory = np.zeros(block.nstates)
    for k in range(60):
        y = x[1:] if k % 7 else np.array([np.nan])
        u = controllers[0].control(y, [0.4, 0.4])
        for other in controllers[1:]:
            np.testing.assert_allclose(other.control(y, [0.4, 0.4]), u, atol=1e-9)
        signals = np.concatenate([y, [0.4, 0.4]])
        if k < 15:
            np.testing.assert_allclose(block.output(0.0, memory, signals), u, atol=1e-7)
            memory = block.dynamics(0.0, memory, signals)
        controllers[1] = pickle.loads(pickle.dumps(controllers[1]))
        controllers[2] = copy.deepcopy(controllers[2])
        if k == 9:
            controllers[3].save(tmp_path / "c.npz")
            controllers[3] = load(tmp_path / "c.npz")
        x = tanks_step(x, u + 0.1)
    assert abs(x[1] - 0.4) < 0.01
    assert controllers[0].observer.status in ("free", "bounded")
    assert "horizon=5" in repr(controllers[0].observer)


def test_a_problem_without_a_solution_falls_back_and_says_so(linear):
    """Nothing known exactly can be moved to where the bounds ask it to be."""
    options = {"P0": 0.0, "measured": [0, 2]}
    mhe = MovingHorizonEstimator(linear, 3, 0.0, R, y_min=0.0, **options)
    ekf = ExtendedKalmanFilter(linear, 0.0, R, **options)
    for estimator in (mhe, ekf):
        estimator.reset([-1.0, -1.0, -1.0])
    for _ in range(4):
        np.testing.assert_allclose(mhe.observe([0.3, 0.1], [0.0, 0.0]), ekf.observe([0.3, 0.1], [0.0, 0.0]))
        assert mhe.status == "fallback"
    assert mhe.n_fallbacks >= 4
    assert np.isfinite(ravel(mhe.state)).all()


def test_a_prediction_that_runs_away_is_forgotten(network):
    mhe = MovingHorizonEstimator(network, 4, 1e-4, 1e-3, y_max=5.0)
    mhe.reset([1.0, 0.0])
    with pytest.warns(RolloutWarning, match="left the training data's range"):
        mhe.predict([1e9])
    assert mhe.estimate is None
    assert mhe.status == "waiting"
    np.testing.assert_allclose(mhe.update([0.5, -0.2]), [0.5, -0.2], atol=1e-6)


@given(
    st.lists(
        st.tuples(*[st.floats(allow_nan=True, allow_infinity=False)] * 2, st.floats(-1e3, 1e3)),
        min_size=1, max_size=8,
    ),
    st.sampled_from(["none", "state", "input"]),
    st.sampled_from([None, 3.0]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_no_numbers_give_nan(network, samples, kind, gate):
    mhe = MovingHorizonEstimator(network, 3, 1e-4, 1e-3, disturbance=kind, gate=gate, y_min=-3.0, y_max=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RolloutWarning)
        for k, (y0, y1, u) in enumerate(samples):
            found = mhe.observe(np.array([y0, y1]), np.array([u]) if k else None)
            assert np.isfinite(found).all()
            assert np.isfinite(ravel(mhe.state)).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"steady": False}, OptionError, "steady is False, which is for the linear face alone"),
        ({"measured_disturbances": [0]}, OptionError, "measured_disturbances is"),
        ({"max_iter": 0}, OptionError, "max_iter is 0"),
        ({"y_min": [0.0, 1.0]}, ShapeError, "y_min has shape"),
        ({"d_min": 0.0}, OptionError, "d_min is given, but no disturbances"),
        ({"x_min": 1.0, "x_max": 0.0}, OptionError, "expected x_min <= x_max"),
        ({"disturbance": "load"}, OptionError, "disturbance is 'load'"),
        ({"constraints": ([[1.0, 2.0]], 0.0, 1.0)}, ShapeError, "constraints"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(linear, kwargs, error, match):
    with pytest.raises(error, match=match):
        MovingHorizonEstimator(linear, **{"Qn": 1.0, "Rn": 1.0, **kwargs})


def test_models_that_do_not_fit_are_refused(linear):
    with pytest.raises(NotFittedError):
        MovingHorizonEstimator(KoopmanRNN(), 5, 1.0, 1.0)
    mhe = MovingHorizonEstimator(linear, 5, 1.0, 1.0)
    lifted = linear.lift_at(x_op=0, u_op=0, method="linear")
    with pytest.raises(OptionError, match="LinearEstimator"):
        LinearMPC(lifted, 5, 1.0, 0.1, estimator=mhe)
