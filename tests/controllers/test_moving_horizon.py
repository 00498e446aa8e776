"""Moving-horizon estimator of lifted models: the Kalman filter, or with bounds the dense problem."""

import copy
import pickle

import numpy as np
import pytest
from window_oracle import likeliest, predicted, steady

from koopctrl import (
    LQR,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    MovingHorizonEstimator,
    Trajectories,
    load,
    run_closed_loop,
)
from koopctrl.controllers.state import ravel, unravel
from koopctrl.errors import DataError, OptionError, ShapeError, SolverError

A = np.array([[0.95, 0.3, 0.0], [-0.1, 0.8, 0.2], [0.0, 0.1, 0.9]])
B = np.array([[0.0, 0.1], [0.5, 0.0], [0.2, 0.3]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
Q = np.array([[0.3, 0.1, 0.0], [0.1, 0.4, 0.05], [0.0, 0.05, 0.2]])
R = np.diag([0.5, 0.8])
KINDS = ["none", "output", "input", "state"]


@pytest.fixture(scope="module")
def plant():
    return LiftedModel.from_matrices(A, B, C, dt=0.1)


def run(n, seed=0, missing=0.2):
    """Measurements, some of them missing, and inputs of the plant."""
    rng = np.random.default_rng(seed)
    x, y, u = np.zeros(3), np.empty((n, 2)), rng.normal(size=(n, 2))
    for k in range(n):
        y[k] = C @ x + rng.multivariate_normal(np.zeros(2), R)
        x = A @ x + B @ u[k] + rng.multivariate_normal(np.zeros(3), Q)
    if missing:
        y[rng.random((n, 2)) < missing] = np.nan
        y[n // 2] = np.nan
    y[0] = np.abs(np.nan_to_num(y[0]))
    return y, u


def reading(y):
    here = ~np.isnan(y)
    return (C[here], y[here], R[here][:, here]) if here.any() else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_steady", [True, False])
@pytest.mark.parametrize("horizon", [0, 1, 7])
def test_without_an_active_bound_it_is_the_kalman_filter(plant, kind, is_steady, horizon):
    options = {"disturbance": kind, "steady": is_steady, "gate": 4.0}
    kf = KalmanFilter(plant, Q, R, **options)
    mhe = MovingHorizonEstimator(plant, horizon, Q, R, x_min=-1e6, y_max=[1e6, np.inf], **options)
    y, u = run(80)
    y[30] += 500.0
    for k in range(80):
        acting = u[k - 1] if k else None
        np.testing.assert_allclose(mhe.observe(y[k], acting), kf.observe(y[k], acting), atol=1e-9)
        assert mhe.status == "free"
        assert mhe.rejected == kf.rejected
        np.testing.assert_allclose(mhe.covariance, kf.covariance, atol=1e-9)
    assert mhe.n_rejected == kf.n_rejected >= 1
    assert mhe.n_fallbacks == 0


@pytest.mark.parametrize("seed", range(3))
def test_full_information_with_bounds_is_the_dense_problem(plant, seed):
    """Everything since the start is in the window: states of all samples are variables of the oracle."""
    low, high, n = np.array([-0.5, -np.inf, -0.4]), np.array([np.inf, 1.0, 1.5]), 12
    P0 = np.diag([2.0, 1.0, 3.0])
    mhe = MovingHorizonEstimator(plant, n, Q, R, x_min=low, x_max=high, steady=False, P0=P0)
    mhe.reset([0.2, 0.1, 0.3])
    y, u = run(n, seed)
    states, acted = [], 0
    for k in range(n):
        found = mhe.observe(y[k], u[k - 1]) if k else mhe.update(y[k])
        steps = [(A, B @ v) for v in u[:k]]
        readings = [reading(v) for v in y[: k + 1]]
        states = likeliest(np.array([0.2, 0.1, 0.3]), P0, steps, Q, readings, low, high)
        np.testing.assert_allclose(found, states[-1], atol=1e-7)
        acted += mhe.status == "bounded"
    assert acted >= 4


@pytest.mark.parametrize("is_steady", [True, False])
def test_a_moving_window_is_the_dense_problem_with_the_filters_arrival_cost(plant, is_steady):
    low, high, M, n = np.array([-0.5, -np.inf, -0.4]), np.array([np.inf, 1.0, 1.5]), 5, 60
    P0 = np.diag([2.0, 1.0, 3.0])
    mhe = MovingHorizonEstimator(plant, M, Q, R, x_min=low, x_max=high, steady=is_steady, P0=P0)
    y, u = run(n, 3, 0.0 if is_steady else 0.2)
    mean, P = np.zeros(3), steady(A, C, Q, R) if is_steady else P0
    mhe.reset(mean)
    arrivals, acted = [(mean, P)], 0
    for k in range(n):
        found = mhe.observe(y[k], u[k - 1]) if k else mhe.update(y[k])
        mean, P = predicted(mean, P, A, B @ u[k], Q, reading(y[k]))
        arrivals.append((mean, P))
        if k < M:
            continue
        start = k - M
        steps = [(A, B @ v) for v in u[start:k]]
        states = likeliest(*arrivals[start], steps, Q, [reading(v) for v in y[start : k + 1]], low, high)
        np.testing.assert_allclose(found, states[-1], atol=1e-7)
        acted += mhe.status == "bounded"
        assert mhe.kkt_residual < 1e-7
    assert acted >= 15


def test_true_bounds_never_make_it_worse_in_the_smoothers_own_norm(plant):
    """A projection brings no point of the set farther away, whatever the noise."""
    mhe = MovingHorizonEstimator(plant, 6, Q, R, x_min=[0.0, -np.inf, 0.0])
    law, rng = mhe.law, np.random.default_rng(5)
    x, u, nearer = np.array([1.0, 0.0, 1.0]), None, 0
    past = [x] * 7
    for _ in range(300):
        past = [*past[1:], x]
        mhe.observe(C @ x + rng.standard_t(2, 2), u)
        u = rng.normal(size=2)
        truth = np.array(past)[::-1][:, [0, 2]].ravel()
        q = law.to_q @ mhe.state.filter.z
        if mhe.status == "bounded":
            covariance = law.to_q @ law.smoother.filtered @ law.to_q.T
            inverse, moved = np.linalg.inv(covariance), q + _moved(law, q)
            before, after = truth - q, truth - moved
            assert after @ inverse @ after <= before @ inverse @ before * (1 + 1e-9)
            nearer += 1
        x = np.maximum(A @ x + B @ u + 0.3 * rng.normal(size=3), [0.0, -np.inf, 0.0])
    assert nearer > 30


def _moved(law, q):
    """What the projection adds to `q`."""
    low, high = (law.low - q) / law.projection.deviation, (law.high - q) / law.projection.deviation
    free = np.full(law.projection.F.shape[1], np.inf)
    found = law.nearest._solver.solve(
        np.zeros(len(free)), np.concatenate([-free, low]), np.concatenate([free, high])
    )
    return law.projection.deviation * (law.projection.F @ found.x)


def test_combinations_outputs_and_states_bound_alike(plant):
    """`y0 = x0`, and a combination of the states with the same row."""
    y, u = run(50, 7)
    bounds = [
        {"x_min": [-0.2, -np.inf, -np.inf]},
        {"y_min": [-0.2, -np.inf]},
        {"constraints": ([[2.0, 0.0, 0.0]], [-0.4], None)},
    ]
    found = []
    for options in bounds:
        mhe = MovingHorizonEstimator(plant, 5, Q, R, **options)
        found.append([mhe.observe(y[k], u[k - 1] if k else None) for k in range(50)])
        assert min(s[0] for s in found[-1]) > -0.2 - 1e-9
        assert repr(mhe).count("n_bounded=1")
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)
    np.testing.assert_allclose(found[2], found[0], atol=1e-9)


@pytest.mark.parametrize("kind", ["output", "input", "state"])
def test_bounds_on_disturbances_hold(plant, kind):
    options = {"disturbance": kind, "Qd": 0.1}
    mhe = MovingHorizonEstimator(plant, 5, Q, R, d_min=-0.1, d_max=[0.2, np.inf], **options)
    kf = KalmanFilter(plant, Q, R, **options)
    y, u = run(100, 2)
    found = np.array([mhe.observe(y[k], u[k - 1] if k else None) for k in range(100)])
    free = np.array([kf.observe(y[k], u[k - 1] if k else None) for k in range(100)])
    assert (found[:, 3:] > -0.1 - 1e-9).all()
    assert (found[:, 3] < 0.2 + 1e-9).all()
    assert (free[:, 3:] < -0.2).any()
    assert mhe.n_fallbacks == 0


def test_the_last_estimate_depends_on_bounds_at_earlier_samples(plant):
    """What was below its bound some samples ago says something of now: that is what the horizon is for."""
    y, u = run(60, 3)
    found = [
        MovingHorizonEstimator(plant, horizon, Q, R, x_min=[0.0, -np.inf, -np.inf]) for horizon in (0, 6)
    ]
    differ = 0
    for k in range(60):
        near, far = (mhe.observe(y[k], u[k - 1] if k else None) for mhe in found)
        differ += np.abs(near - far).max() > 1e-3
    assert differ > 10


UNITS = [(np.ones(3), 1.0, np.ones(2)), (np.array([1e-9, 1e9, 1e3]), 1e6, np.array([1e-7, 1e5])),
         (np.array([1e8, 1e-8, 1.0]), 1e-9, np.array([1e9, 1e-9]))]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_steady", [True, False])
def test_units_change_nothing(kind, is_steady):
    y, u = run(60, 1)
    found = []
    for x_unit, u_unit, y_unit in UNITS:
        model = LiftedModel.from_matrices(
            x_unit[:, None] * A / x_unit, x_unit[:, None] * B / u_unit, y_unit[:, None] * C / x_unit, dt=0.1
        )
        bound = {} if kind == "none" else {"d_min": -1.0 * (u_unit if kind == "input" else y_unit)}
        mhe = MovingHorizonEstimator(
            model, 5, Q * x_unit * x_unit[:, None], R * y_unit * y_unit[:, None],
            x_min=x_unit * [-1.5, -np.inf, -1.5], y_max=y_unit * [np.inf, 3.0], disturbance=kind,
            steady=is_steady, gate=6.0, **bound,
        )  # fmt: skip
        d_unit = np.ones(0) if kind == "none" else np.full(2, u_unit) if kind == "input" else y_unit
        rows = []
        for k in range(60):
            value = y_unit * y[k] * (1e9 if k == 40 else 1.0)
            s = mhe.observe(value, u_unit * u[k - 1] if k else None) / np.append(x_unit, d_unit)
            rows.append((*s, mhe.law.rejected(mhe.state)[1], mhe.state.status))
        found.append(np.array(rows))
    assert {1, 2} <= set(found[0][:, -1])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-6)


@pytest.fixture(scope="module")
def record():
    """A tank that runs empty, and its outflow: both from zero up."""
    rng = np.random.default_rng(0)
    u, x = np.repeat(rng.uniform(0, 1, (15, 12, 1)), 5, axis=1), np.empty((15, 61, 2))
    x[:, 0] = rng.uniform(0, 2, (15, 2))
    for k in range(60):
        flow = 0.3 * np.sqrt(x[:, k])
        x[:, k + 1, 0] = np.maximum(x[:, k, 0] + 0.2 * u[:, k, 0] - flow[:, 0], 0.0)
        x[:, k + 1, 1] = np.maximum(x[:, k, 1] + flow[:, 0] - flow[:, 1], 0.0)
    return Trajectories.from_arrays(x + 1e-2 * rng.normal(size=x.shape), u, dt=1.0)


@pytest.mark.parametrize("is_steady", [True, False])
@pytest.mark.parametrize("lags", [1, 3])
def test_on_an_identified_model_covariances_come_from_the_data(record, lags, is_steady):
    given = {"output_lags": 3, "input_lags": 2, "ridge": 1e-6} if lags > 1 else {}
    lifted = KoopmanRNN(20, random_state=0, **given).fit(record).lift_at(rank_tol=1e-3, method="edmd")
    mhe = MovingHorizonEstimator(lifted, 8, y_min=0.0, measured=[1], steady=is_steady)
    kf = KalmanFilter(lifted, measured=[1], steady=is_steady)
    np.testing.assert_array_equal(mhe.Qn, kf.Qn)
    rng, x, u = np.random.default_rng(1), np.array([1.0, 1.0]), None
    statuses = set()
    for k in range(120):
        y = x[1:] + 0.05 * rng.normal(size=1)
        s = mhe.observe(np.full(1, np.nan) if k == 0 or rng.random() < 0.2 else y, u)
        statuses.add(mhe.status)
        if mhe.status != "waiting":
            level = lifted.output(s[: lifted.n_z], lifted.u_op)
            assert (level > -1e-6).all()
        u = np.array([0.0 if k % 60 > 20 else 0.6])
        flow = 0.3 * np.sqrt(x)
        x = np.maximum(x + np.array([0.2 * u[0] - flow[0], flow[0] - flow[1]]), 0.0)
    assert statuses == {"waiting", "free", "bounded"}


@pytest.mark.parametrize("is_steady", [True, False])
def test_controllers_take_it(plant, is_steady, linear_plant, tmp_path):
    """Its estimate is the controller's own; copies, pickles, files and blocks decide alike."""
    mhe = MovingHorizonEstimator(
        plant, 5, Q, R, x_min=[-0.1, -np.inf, -np.inf], disturbance="input", Qd=1e-2, steady=is_steady,
        gate=5.0, constraints=([[1.0, 0.0, 1.0]], None, [5.0]),
    )  # fmt: skip
    for make in (
        lambda: LQR(plant, 1.0, 0.1, u_min=-1, u_max=1, estimator=mhe),
        lambda: LinearMPC(plant, 6, 1.0, 0.1, u_min=-1, u_max=1, estimator=mhe),
    ):
        controller = make()
        result = run_closed_loop(linear_plant(A, B, C, load=0.05), controller, 250, [0.3, 0.2], x0=np.ones(3))
        np.testing.assert_allclose(result.outputs[-1], [0.3, 0.2], atol=1e-4)
        assert mhe.estimate is None
        assert controller.observer.status in ("free", "bounded")
        others = [make(), make(), make()]
        y, _ = run(40, 4)
        block = controller.to_nlsys()
        memory = np.zeros(block.nstates)
        for k in range(40):
            r = [0.2, 0.1 * (k // 20)]
            expected = others[0].control(y[k], r)
            np.testing.assert_array_equal(others[1].control(y[k], r), expected)
            np.testing.assert_array_equal(others[2].control(y[k], r), expected)
            signals = np.concatenate([y[k], r])
            np.testing.assert_allclose(block.output(0.0, memory, signals), expected, atol=1e-9)
            memory = block.dynamics(0.0, memory, signals)
            assert np.isfinite(memory).all()
            others[1] = pickle.loads(pickle.dumps(copy.deepcopy(others[1])))
            if k == 11:
                others[2].save(tmp_path / "c.npz")
                others[2] = load(tmp_path / "c.npz")
        vector = ravel(others[0].state)
        np.testing.assert_array_equal(ravel(unravel(controller.law.initial(), vector)), vector)


def test_a_problem_without_a_solution_falls_back_and_says_so():
    """Without process noise nothing can bring the state to where the bounds ask it to be."""
    model = LiftedModel.from_matrices(np.diag([0.9, 0.5]), np.eye(2), [[1.0, 0.0]], dt=1.0)
    mhe = MovingHorizonEstimator(
        model, 3, np.diag([0.1, 0.0]), 0.1, x_min=[-np.inf, 0.0], steady=False, P0=np.diag([1.0, 0.0])
    )
    kf = KalmanFilter(model, np.diag([0.1, 0.0]), 0.1, steady=False, P0=np.diag([1.0, 0.0]))
    mhe.reset([0.0, -1.0])
    kf.reset([0.0, -1.0])
    for _ in range(4):
        np.testing.assert_array_equal(mhe.observe([0.3], [0.0, 0.0]), kf.observe([0.3], [0.0, 0.0]))
        assert mhe.status == "fallback"
    assert mhe.n_fallbacks == 5  # its start was one
    assert mhe.kkt_residual == 0.0
    assert np.isfinite(ravel(mhe.state)).all()


def test_absurd_numbers_do_no_lasting_harm(plant):
    mhe = MovingHorizonEstimator(plant, 4, Q, R, x_min=0.0)
    y, u = run(60, 5)
    for k in range(60):
        value = np.full(2, -1e300) if k == 20 else y[k]
        with np.errstate(over="ignore", invalid="ignore"):
            s = mhe.observe(value, u[k - 1] if k else None)
        if k == 20:
            mhe.reset()
            continue
        assert np.isfinite(s).all()
        assert (s > -1e-6).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"horizon": -1}, OptionError, "horizon is -1"),
        ({"horizon": 2.5}, OptionError, "horizon is 2.5"),
        ({"x_min": 1.0, "x_max": 0.0}, OptionError, "expected x_min <= x_max"),
        ({"x_min": [0.0, 1.0]}, ShapeError, "x_min has shape"),
        ({"y_min": [0.0, 1.0, 2.0]}, ShapeError, "y_min has shape"),
        ({"y_max": np.nan}, DataError, "y_max"),
        ({"d_min": 0.0}, OptionError, "d_min is given, but no disturbances are estimated"),
        ({"d_max": 0.0}, OptionError, "d_max is given, but no disturbances are estimated"),
        ({"constraints": ([[1.0]], 0.0, 1.0)}, ShapeError, r"constraints\[0\] has shape"),
        ({"constraints": (np.eye(3), 0.0)}, OptionError, "constraints has 2 parts"),
        ({"constraints": "abc"}, OptionError, "constraints"),
        ({"constraints": (np.eye(3), 1.0, 0.0)}, OptionError, r"constraints\[1\] <= constraints\[2\]"),
        ({"max_iter": 5}, OptionError, "max_iter is 5, which is for a network alone"),
        ({"solver": "nothing"}, OptionError, "solver is 'nothing'"),
        ({"disturbance": "mixed"}, OptionError, "disturbance is 'mixed'"),
        ({"measured": [0], "disturbance": "input"}, OptionError, "makes 2 for 1 outputs"),
        ({"Rn": 0.0}, OptionError, "Rn has smallest eigenvalue"),
        ({"gate": 0.0}, OptionError, "gate is 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(plant, kwargs, error, match):
    with pytest.raises(error, match=match):
        MovingHorizonEstimator(plant, **{"Qn": Q, "Rn": R if "measured" not in kwargs else 1.0, **kwargs})


def test_models_that_do_not_fit_are_refused(plant):
    with pytest.raises(OptionError, match="model is a int"):
        MovingHorizonEstimator(3)
    with pytest.raises(OptionError, match="Qn and Rn are not given"):
        MovingHorizonEstimator(plant)
    hidden = LiftedModel.from_matrices(np.diag([1.0, 0.5]), np.ones((2, 1)), [[0.0, 1.0]], dt=0.1)
    with pytest.raises(SolverError):
        MovingHorizonEstimator(hidden, 5, 1.0, 1.0)
    other = LiftedModel.from_matrices(A, 2.0 * B, C, dt=0.1)
    with pytest.raises(OptionError, match="built on another model"):
        LinearMPC(plant, 5, 1.0, 0.1, estimator=MovingHorizonEstimator(other, 5, Q, R))


def test_nothing_passed_in_is_written_to_and_nothing_handed_out_is_shared(plant):
    given = [
        Q.copy(),
        R.copy(),
        np.array([-0.2, -np.inf, 0.0]),
        np.array([0.3, np.nan]),
        np.array([0.1, 0.2]),
    ]
    copies = [array.copy() for array in given]
    mhe = MovingHorizonEstimator(plant, 4, given[0], given[1], x_min=given[2])
    for k in range(5):
        out = mhe.observe(given[3], given[4] if k else None)
        kept = mhe.estimate
        out += 1.0
        np.testing.assert_array_equal(mhe.estimate, kept)
    for array, expected in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, expected)
