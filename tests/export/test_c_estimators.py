"""Moving-horizon and unscented estimators in C: the decisions of Python over hundreds of samples."""

import ctypes

import numpy as np
import pytest
from c_tools import FLAGS, run

from koopctrl import (
    RNNMPC,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    MovingHorizonEstimator,
    Trajectories,
    UnscentedKalmanFilter,
)
from koopctrl.errors import OptionError
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.estimator import estimator_to_c
from koopctrl.export.c.sil import CompiledMPC

A = np.array([[0.95, 0.3, 0.0], [-0.1, 0.8, 0.2], [0.0, 0.1, 0.9]])
B = np.array([[0.0, 0.1], [0.5, 0.0], [0.2, 0.3]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 81, 2)), np.zeros((10, 81, 2))
    for k in range(80):
        x[:, k + 1] = plant_step(x[:, k], u[:, k])
    return Trajectories.from_arrays(5.0 + 3.0 * x, 1e3 * u, dt=0.1)


def plant_step(x, u):
    first = 0.9 * x[..., 0] + 0.2 * np.tanh(x[..., 1]) + 0.1 * u[..., 0] * u[..., 1]
    return np.stack([first, 0.8 * x[..., 1] - 0.1 * x[..., 0] + 0.3 * u[..., 1]], axis=-1)


def same_over_a_run(given, folder, centre, spread, n_u, u_size=1.0, n_steps=200):
    """Estimates, rejections and, of a moving horizon, statuses; returns the statuses met."""
    part = given.to_c(folder, "seer")
    library = part.folder / "part.so"
    run("gcc", *FLAGS, "-shared", "-fPIC", part.folder / "seer.c", "-o", library, "-lm")
    lib, rng, met = ctypes.CDLL(str(library)), np.random.default_rng(2), set()
    state = ctypes.create_string_buffer(part.state_bytes)
    size = len(given.law.rollout.mean) if hasattr(given.law, "rollout") else len(given.law.initial().s)
    estimate = np.full(size, np.nan)
    count, u = ctypes.c_int(0), None
    horizon = isinstance(given, MovingHorizonEstimator)
    lib.seer_reset(state)
    for k in range(n_steps):
        if k == n_steps // 2:
            lib.seer_reset(state)
            given.reset()
            u = None
        y = centre + spread * rng.normal(size=given.n_measured)
        y = np.where(rng.random(len(y)) < 0.15, np.nan, y) if k else np.full(len(y), np.nan)
        y = np.where(rng.random(len(y)) < 0.05, centre + 1e3 * spread, y)
        given.observe(y, u)
        pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in (y, u, estimate)]
        there, expected = lib.seer_observe(state, *pointers), given.estimate
        assert bool(there) == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(estimate, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())
        assert bool(lib.seer_rejected(state, ctypes.byref(count))) == given.rejected
        assert count.value == given.n_rejected
        if horizon:
            status = lib.seer_bounds_status(state, ctypes.byref(count))
            assert status == given.state.status
            assert count.value == given.n_fallbacks
            met.add(given.status)
        u = u_size * rng.uniform(-1, 1, n_u)
    assert given.n_rejected > 0
    return met


@pytest.mark.parametrize(
    ("kind", "horizon"), [("none", 0), ("none", 6), ("output", 6), ("input", 6), ("state", 6)]
)
def test_moving_horizons_on_matrices(kind, horizon, tmp_path):
    plant = LiftedModel.from_matrices(A, B, C, dt=0.1)
    bounds = {} if kind == "none" else {"d_min": -0.2, "d_max": [0.3, np.inf]}
    mhe = MovingHorizonEstimator(
        plant, horizon, 0.3, 0.5, x_min=[-0.5, -np.inf, -0.5], y_max=[np.inf, 1.0], disturbance=kind,
        gate=6.0, constraints=([[1.0, 1.0, 0.0]], [-2.0], [2.0]), **bounds,
    )  # fmt: skip
    met = same_over_a_run(mhe, tmp_path, np.zeros(2), np.ones(2), 2)
    assert met >= {"waiting", "bounded"}


def test_a_moving_horizon_without_bounds_and_one_that_cannot_hold_them(tmp_path):
    plant = LiftedModel.from_matrices(A, B, C, dt=0.1)
    free = MovingHorizonEstimator(plant, 4, 0.3, 0.5, gate=6.0)
    assert same_over_a_run(free, tmp_path / "free", np.zeros(2), np.ones(2), 2) == {"waiting", "free"}
    # The second state is stable and nothing moves it: it stays where it starts, below its bound.
    dead = LiftedModel.from_matrices(np.diag([0.9, 0.5]), [[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]], dt=0.1)
    mhe = MovingHorizonEstimator(dead, 2, np.diag([0.1, 0.0]), 0.1, x_min=[-np.inf, 0.1], gate=6.0)
    assert "fallback" in same_over_a_run(mhe, tmp_path / "dead", np.zeros(1), np.ones(1), 2)


@pytest.mark.parametrize(
    ("lags", "options"), [(False, {}), (True, {"disturbance": "output"}), (True, {"measured": [1]})]
)
def test_moving_horizons_on_lifted_networks(data, lags, options, tmp_path):
    given = {"output_lags": 2, "input_lags": 2, "rcond": 1e-8} if lags else {}
    lifted = KoopmanRNN(15, random_state=0, **given).fit(data).lift_at(method="edmd", rank_tol=1e-3)
    mhe = MovingHorizonEstimator(lifted, 5, y_min=[4.0, 3.5], y_max=6.5, gate=8.0, Rn=0.5, **options)
    met = same_over_a_run(mhe, tmp_path, 5.0, 1.0, 2, 1e3)
    assert met >= {"waiting", "bounded"}


@pytest.mark.parametrize(
    ("lags", "options"),
    [
        (False, {}),
        (True, {"disturbance": "input"}),
        (True, {"measured": [0], "disturbance": "output"}),
        (False, {"disturbance": "state"}),
    ],
)
def test_unscented_filters(data, lags, options, tmp_path):
    given = {"output_lags": 2, "input_lags": 2, "rcond": 1e-8} if lags else {}
    model = KoopmanRNN(15, random_state=0, **given).fit(data)
    ukf = UnscentedKalmanFilter(model, Qn=1e-2, Rn=1e-1, gate=6.0, spread=1.5, **options)
    same_over_a_run(ukf, tmp_path, 5.0, 1.0, 2, 1e3)


@pytest.mark.parametrize(
    ("lags", "horizon", "options"),
    [
        (False, 0, {}),
        (False, 6, {"disturbance": "state", "d_max": 0.2, "max_iter": 3}),
        (True, 5, {"disturbance": "input", "d_min": -300.0}),
        (True, 5, {"measured": [0], "disturbance": "output"}),
        (False, 4, {"disturbance": "none", "y_min": None, "y_max": None}),
    ],
)
def test_moving_horizons_on_networks(data, lags, horizon, options, tmp_path):
    given = {"output_lags": 2, "input_lags": 2, "rcond": 1e-8} if lags else {}
    model = KoopmanRNN(15, random_state=0, **given).fit(data)
    bounds = {"y_min": [4.0, 3.5], "y_max": 6.5, "Qn": 1e-2, "Rn": 1e-1, "gate": 8.0} | options
    mhe = MovingHorizonEstimator(model, horizon, **bounds)
    met = same_over_a_run(mhe, tmp_path, 5.0, 1.0, 2, 1e3)
    assert met >= {"waiting", "bounded" if bounds["y_max"] else "free"}


def test_a_network_whose_horizon_falls_back(data, tmp_path):
    """Bounds that no state obeys: the filter's estimate, said so."""
    model = KoopmanRNN(15, random_state=0).fit(data)
    constraints = ([[1.0, 0.0], [1.0, 0.0]], [6.0, -np.inf], [np.inf, 4.0])
    mhe = MovingHorizonEstimator(model, 3, Qn=1e-2, Rn=1e-1, gate=8.0, constraints=constraints)
    assert same_over_a_run(mhe, tmp_path, 5.0, 1.0, 2, 1e3) >= {"waiting", "fallback"}


def test_a_network_controller_with_a_moving_horizon(data, tmp_path):
    model = KoopmanRNN(15, random_state=0).fit(data)
    mhe = MovingHorizonEstimator(model, 5, Rn=0.1, y_min=[3.0, 4.0], disturbance="input", gate=8.0)
    mpc = RNNMPC(model, 6, 1.0, 1e-7, u_min=-1e3, u_max=1e3, y_max=[7.0, 6.0], estimator=mhe)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    rng, x, met = np.random.default_rng(0), np.zeros(2), set()
    for k in range(80):
        if k == 50:
            mpc.reset()
            compiled.reset()
        y = 5.0 + 3.0 * x + 0.4 * rng.normal(size=2)
        y = np.where(rng.random(2) < 0.1, np.nan, y) + (90.0 if k % 30 == 20 else 0.0)
        r = [5.5, 4.3 + 0.5 * (k // 30)]
        u = mpc.control(y, r)
        np.testing.assert_allclose(compiled.control(y, r), u, atol=1e-2)
        assert mpc.info.status == compiled.info.status
        assert compiled.info.n_rejected == mpc.observer.n_rejected
        met.add(mpc.observer.status)
        x = np.maximum(plant_step(x, u / 1e3 + 0.05), [-0.7, -0.35])
    assert "bounded" in met
    assert mpc.observer.n_rejected > 0


@pytest.mark.parametrize("steady", [True, False])
def test_a_linear_controller_with_a_moving_horizon(steady, tmp_path):
    """Changing references, missing samples, gross errors, a reset: the same inputs and statuses."""
    plant = LiftedModel.from_matrices(A, B, C, dt=0.1)
    mhe = MovingHorizonEstimator(
        plant, 5, 0.1, 0.2, x_min=[-0.2, -np.inf, -0.1], disturbance="input", Qd=1e-2, gate=6.0, steady=steady
    )
    mpc = LinearMPC(plant, 8, 1.0, 0.1, u_min=-1, u_max=1, y_max=[0.7, np.inf], input_delay=1, estimator=mhe)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    rng, x, r, bounded = np.random.default_rng(0), np.array([0.1, 0.0, 0.1]), np.zeros(2), 0
    for k in range(250):
        if k == 120:
            mpc.reset()
            compiled.reset()
        y = C @ x + 0.3 * rng.normal(size=2)
        y = np.where(rng.random(2) < 0.1, np.nan, y) + (30.0 if k % 70 == 50 else 0.0)
        r = rng.uniform(-0.5, 0.8, 2) if k % 30 == 0 else r
        u, v = mpc.control(y, r), compiled.control(y, r)
        assert mpc.info.status == compiled.info.status
        assert compiled.info.n_rejected == mpc.observer.n_rejected
        np.testing.assert_allclose(v, u, atol=1e-6)
        bounded += mpc.observer.status == "bounded"
        x = np.maximum(A @ x + B @ (u + 0.1) + 0.05 * rng.normal(size=3), [-0.2, -9.0, -0.1])
    assert bounded > 50
    assert mpc.observer.n_rejected > 0


def test_a_network_controller_with_an_unscented_filter(data, tmp_path):
    model = KoopmanRNN(15, random_state=0).fit(data)
    ukf = UnscentedKalmanFilter(model, disturbance="input", gate=8.0, Rn=0.1)
    mpc = RNNMPC(model, 6, 1.0, 1e-7, u_min=-1e3, u_max=1e3, estimator=ukf)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    rng, x = np.random.default_rng(0), np.zeros(2)
    for k in range(60):
        y = 5.0 + 3.0 * x + 0.1 * rng.normal(size=2)
        y = np.where(rng.random(2) < 0.1, np.nan, y)
        r = [5.5, 4.5 + 0.5 * (k // 30)]
        u = mpc.control(y, r)
        np.testing.assert_allclose(compiled.control(y, r), u, atol=1e-2)
        assert mpc.info.status == compiled.info.status
        x = plant_step(x, u / 1e3 + 0.05)


@pytest.mark.parametrize(("kind", "horizon"), [("none", 0), ("none", 6), ("input", 4)])
def test_moving_horizons_with_a_time_varying_gain(kind, horizon, tmp_path):
    plant = LiftedModel.from_matrices(A, B, C, dt=0.1)
    bounds = {} if kind == "none" else {"d_min": -0.2, "d_max": [0.3, np.inf]}
    mhe = MovingHorizonEstimator(
        plant, horizon, 0.3, 0.5, x_min=[-0.5, -np.inf, -0.5], y_max=[np.inf, 1.0], disturbance=kind,
        gate=6.0, constraints=([[1.0, 1.0, 0.0]], [-2.0], [2.0]), steady=False, P0=9.0, **bounds,
    )  # fmt: skip
    met = same_over_a_run(mhe, tmp_path, np.zeros(2), np.ones(2), 2)
    assert met >= {"waiting", "bounded"}
    assert not np.allclose(
        mhe.covariance, mhe.law.kalman.P, rtol=1e-3
    )  # samples are missing: it never settles


def test_a_time_varying_gain_of_what_nothing_moves_and_of_a_lift(data, tmp_path):
    dead = LiftedModel.from_matrices(np.diag([0.9, 0.5]), [[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]], dt=0.1)
    mhe = MovingHorizonEstimator(
        dead, 2, np.diag([0.1, 0.0]), 0.1, x_min=[-np.inf, 0.1], gate=6.0, steady=False,
        P0=np.diag([1.0, 1e-30]),
    )  # fmt: skip
    assert "fallback" in same_over_a_run(mhe, tmp_path / "dead", np.zeros(1), np.ones(1), 2)
    lifted = KoopmanRNN(15, random_state=0).fit(data).lift_at(method="edmd", rank_tol=1e-3)
    mhe = MovingHorizonEstimator(lifted, 5, y_min=[4.0, 3.5], y_max=6.5, gate=8.0, Rn=0.5, steady=False)
    assert same_over_a_run(mhe, tmp_path / "lift", 5.0, 1.0, 2, 1e3) >= {"waiting", "bounded"}


@pytest.mark.parametrize("steady", [True, False])
def test_moving_horizons_in_floats(steady, tmp_path):
    plant = LiftedModel.from_matrices(A, B, C, dt=0.1)
    bounds = {"x_min": [-0.5, -np.inf, -0.5], "y_max": [np.inf, 1.0]}
    mhe = MovingHorizonEstimator(plant, 5, 0.3, 0.5, disturbance="input", steady=steady, **bounds)
    libraries, rng, worst, u = {}, np.random.default_rng(0), 0.0, None
    for scalar in ("double", "float"):
        part = mhe.to_c(tmp_path / scalar, "seer", scalar=scalar)
        library = part.folder / "part.so"
        run("gcc", *FLAGS, "-shared", "-fPIC", part.folder / "seer.c", "-o", library, "-lm")
        libraries[scalar] = ctypes.CDLL(str(library)), ctypes.create_string_buffer(part.state_bytes)
        libraries[scalar][0].seer_reset(libraries[scalar][1])
    bounded = 0
    for _ in range(200):
        y, found = rng.normal(size=2), {}
        for scalar, kind in (("double", np.float64), ("float", np.float32)):
            lib, state = libraries[scalar]
            given, estimate = [None if a is None else a.astype(kind) for a in (y, u)], np.zeros(5, kind)
            pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in (*given, estimate)]
            assert lib.seer_observe(state, *pointers)
            found[scalar] = estimate, lib.seer_bounds_status(state, ctypes.byref(ctypes.c_int(0)))
        worst = max(worst, float(np.abs(found["double"][0] - found["float"][0]).max()))
        assert found["float"][1] in (1, 2)
        bounded += found["float"][1] == 2
        u = rng.uniform(-1, 1, 2)
    assert bounded > 50
    assert worst < 1e-3


def test_what_has_no_c_code_is_refused_by_name(tmp_path):
    class Other(UnscentedKalmanFilter):
        law = None

    other = object.__new__(Other)
    with pytest.raises(OptionError, match="the estimator is a Other; expected a KalmanFilter"):
        estimator_to_c(other, tmp_path)
