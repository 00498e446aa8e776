"""Units never matter to estimators, networks, metrics and C: each signal in its own, the same inputs."""

import numpy as np
import pytest

from koopctrl import (
    LQR,
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    Trajectories,
    run_closed_loop,
)
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC

UNITS = [((1e-9, 1e9), 1e6), ((1e7, 1e-7), 1e-9), ((1e-9, 1e-9), 1e9)]
KINDS = ["none", "state", "input", "output"]


def pendulum(x, u):
    x = x.copy()
    for _ in range(4):
        x[..., 1] += 0.025 * (-np.sin(x[..., 0]) - 0.2 * x[..., 1] + u[..., 0])
        x[..., 0] += 0.025 * x[..., 1]
    return x


@pytest.fixture(scope="module")
def record():
    """Angle and speed with measurement noise, so that covariances are the data's and not rounding."""
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-3, 3, (15, 60, 1)), np.empty((15, 61, 2))
    x[:, 0] = rng.uniform(-2, 2, (15, 2))
    for k in range(60):
        x[:, k + 1] = pendulum(x[:, k], u[:, k])
    return x + 1e-2 * rng.normal(size=x.shape), u


def fitted(record, lags, y_unit, u_unit):
    x, u = record
    n_y = 1 if lags else 2
    options = {"output_lags": 3, "input_lags": 3} if lags else {}
    data = Trajectories.from_arrays(x[:, :, :n_y] * y_unit[:n_y], u * u_unit, dt=0.1)
    return KoopmanRNN(25, input_coupling="network", random_state=0, ridge=1e-8, **options).fit(data)


def options_in(y_unit, u_unit, n_y):
    """Weights and bounds in other units."""
    y_unit = np.array(y_unit)[:n_y]
    return {
        "Q": np.array([1.0, 0.1])[:n_y] / y_unit**2, "R": 0.1 / u_unit**2, "R_rate": 0.3 / u_unit**2,
        "u_min": -u_unit, "u_max": u_unit, "du_min": -0.6 * u_unit, "du_max": 0.6 * u_unit,
        "y_max": np.array([0.8, np.inf])[:n_y] * y_unit,
    }  # fmt: skip


def told(controller, n_y, y_unit, u_unit):
    """Statuses, inputs and relaxations in units of one: a loop with a load, noise and missing samples."""
    y_unit, rng, x, out = np.array(y_unit)[:n_y], np.random.default_rng(1), np.array([0.5, -0.3]), []
    references = [np.array([0.6, 0.0]), np.array([2.5, 0.0]), np.array([-0.4, 0.0])]
    for k in range(24):
        y = (x[:n_y] + 1e-2 * rng.normal(size=n_y)) * y_unit
        if k in (5, 6):
            y[0] = np.nan
        u = controller.control(y, references[k // 8][:n_y] * y_unit) / u_unit
        slack = getattr(controller.info, "slack", 0.0)
        out.append((controller.info.status, u, slack if n_y > 1 else slack / y_unit[0]))
        x = pendulum(x, u + 0.2)
    return out


def assert_same(found, plain, slack=False):
    for (status, u, relaxed), (status_1, u_1, relaxed_1) in zip(found, plain, strict=True):
        assert status == status_1
        np.testing.assert_allclose(u, u_1, atol=1e-6)
        if slack:
            np.testing.assert_allclose(relaxed, relaxed_1, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lags", [False, True])
@pytest.mark.parametrize("kind", ["measured", "averaged", *KINDS])
def test_rnnmpc(record, lags, kind):
    """With its own window, averaged disturbances, and the extended filter with covariances from the data."""
    n_y, loops = 1 if lags else 2, []
    for y_unit, u_unit in [((1.0, 1.0), 1.0), *UNITS[:2]]:
        model = fitted(record, lags, y_unit, u_unit)
        beside = {"offset_free": 0.3} if kind == "averaged" else {}
        if kind in KINDS:
            beside = {"estimator": ExtendedKalmanFilter(model, disturbance=kind, gate=8.0)}
        mpc = RNNMPC(model, 10, **options_in(y_unit, u_unit, n_y), **beside)
        loops.append(told(mpc, n_y, y_unit, u_unit))
    for found in loops[1:]:
        assert_same(found, loops[0], slack=lags)
    assert {status for status, *_ in loops[0]} >= {"optimal"}


@pytest.mark.parametrize("lags", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_linear_controllers_with_a_filter_from_the_data(record, lags, kind):
    n_y, loops = 1 if lags else 2, []
    for y_unit, u_unit in [((1.0, 1.0), 1.0), *UNITS[:2]]:
        lifted = fitted(record, lags, y_unit, u_unit).lift_at(x_op=np.zeros(n_y), u_op=0.0, method="linear")
        options = options_in(y_unit, u_unit, n_y)
        weights = (options.pop("Q"), options.pop("R"))
        kf = KalmanFilter(lifted, disturbance=kind, gate=8.0, steady=kind != "state")
        mpc = LinearMPC(lifted, 10, *weights, estimator=kf, **options)
        lqr = LQR(lifted, *weights, u_min=-u_unit, u_max=u_unit, observer=kf)
        loops.append([told(c, n_y, y_unit, u_unit) for c in (mpc, lqr)])
    for mpc, lqr in loops[1:]:
        assert_same(mpc, loops[0][0], slack=lags)
        assert_same(lqr, loops[0][1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steady", [False, True])
def test_filters_on_matrices_in_any_unit(kind, steady, tmp_path):
    """States, inputs and outputs by their own factors, noise covariances alike; `Qd` and `P0` by default.

    The generated C takes the same decisions, an absurd measurement included.
    """
    A, B = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]]), np.array([[0.0], [0.5], [1.0]])
    C, rng = np.array([[1.0, 0.0, 0.0]]), np.random.default_rng(3)
    noise, load = rng.normal(size=(60, 4)), 0.3
    found = []
    for i, (x_unit, u_unit, y_unit) in enumerate([
        (np.ones(3), 1.0, 1.0),
        (np.array([1e-9, 1e9, 1e3]), 1e6, 1e-7),
        (np.array([1e8, 1e-8, 1.0]), 1e-9, 1e9),
    ]):  # fmt: skip
        plant = LiftedModel.from_matrices(
            x_unit[:, None] * A / x_unit, x_unit[:, None] * B / u_unit, y_unit * C / x_unit, dt=1.0
        )
        kf = KalmanFilter(
            plant, 1e-3 * x_unit**2, 1e-2 * y_unit**2, disturbance=kind, steady=steady, gate=6.0
        )
        mpc = LinearMPC(
            plant, 10, 1.0 / y_unit**2, 0.1 / u_unit**2, u_min=-u_unit, u_max=u_unit, y_max=0.6 * y_unit,
            estimator=kf,
        )  # fmt: skip
        compiled = CompiledMPC(mpc_to_c(mpc, tmp_path / str(i)), flags=("-std=c99", "-O0"))
        x, out = np.array([0.2, 0.1, -0.1]), []
        for k in range(60):
            y = y_unit * (C @ x + 0.1 * noise[k, :1])
            y = np.full(1, np.nan) if k in (0, 20) else y * 1e15 if k == 30 else y
            r = y_unit * 0.4 * (-1) ** (k // 15)
            u, v = mpc.control(y, [r]), compiled.control(y, [r])
            assert mpc.info.status == compiled.info.status
            np.testing.assert_allclose(v, u, atol=1e-6 * u_unit)
            out.append((mpc.info.status, u / u_unit, mpc.info.slack / y_unit))
            x = A @ x + B[:, 0] * (out[-1][1] + load) + 0.03 * noise[k, 1:]
        found.append(out)
        if kind != "none":  # the load is met
            assert np.abs(np.mean([u + load for _, u, _ in out[-10:]])) < 0.5
    for scaled in found[1:]:
        assert_same(scaled, found[0], slack=True)


def test_metrics_are_those_of_the_signals_themselves():
    """Counts, overshoot and times do not change; integrals go with the units."""
    A, B = np.array([[0.9, 0.3], [-0.3, 0.8]]), np.array([[0.1], [0.5]])
    figures = []
    for unit in (1.0, 1e-9, 1e9):
        plant = LiftedModel.from_matrices(A, unit * B, unit * np.eye(2) / unit, dt=1.0)
        mpc = LinearMPC(
            plant, 10, 1.0, 0.1 * unit**2, u_min=-1.0, u_max=1.0, y_max=unit * np.array([0.5, 9.0])
        )
        start, goal = unit * np.array([0.9, 0.0]), unit * np.array([0.2, 0.0])
        result = run_closed_loop(
            lambda x, u, B=unit * B: A @ x + B @ u, mpc, n_steps=40, reference=goal, dt=1.0, x0=start
        )
        figures.append((unit, result.metrics()))
    _, plain = figures[0]
    assert plain["violations"]["y_max"]["count"] > 0
    for unit, scaled in figures[1:]:
        for name in ("overshoot", "settling_time", "input_variation"):
            np.testing.assert_allclose(scaled[name], plain[name], rtol=1e-6, atol=1e-9)
        for name in ("iae", "itae", "final_error"):
            np.testing.assert_allclose(scaled[name] / unit, plain[name], rtol=1e-6, atol=1e-9)
        assert scaled["statuses"] == plain["statuses"]
        for bound, said in plain["violations"].items():
            assert scaled["violations"][bound]["count"] == said["count"]


@pytest.mark.parametrize("kind", ["measured", "averaged"])
def test_generated_c_of_a_network_in_any_unit(record, kind, tmp_path):
    for i, (y_unit, u_unit) in enumerate(UNITS[:2]):
        model = fitted(record, True, y_unit, u_unit)
        gain = 0.3 if kind == "averaged" else 0.0
        mpc = RNNMPC(model, 8, **options_in(y_unit, u_unit, 1), offset_free=gain)
        compiled = CompiledMPC(mpc_to_c(mpc, tmp_path / str(i)), flags=("-std=c99", "-O0"))
        assert_same(told(compiled, 1, y_unit, u_unit), told(mpc, 1, y_unit, u_unit))
