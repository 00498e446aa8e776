"""TubeMPC keeps what it promises, beside sampled and worst disturbances, scipy's QP, and the LQR."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from koopctrl import LQR, LiftedModel, TubeMPC, load
from koopctrl.controllers import KalmanFilter, check_controller
from koopctrl.errors import DataError, KoopctrlError, OptionError, ShapeError

A = np.array([[1.0, 0.1], [0.0, 1.0]])
B = np.array([[0.005], [0.1]])
W = np.array([0.01, 0.05])


def make(scale: tuple[Any, float] = (np.ones(2), 1.0), **options: Any) -> TubeMPC:
    x, u = scale
    model = LiftedModel.from_matrices(A * x[:, None] / x, B * x[:, None] / u, dt=0.1)
    given: dict[str, Any] = {
        "horizon": 10, "Q": np.array([1.0, 0.1]) / x**2, "R": 0.1 / u**2, "disturbance": W * x,
        "u_min": -2.0 * u, "u_max": 2.0 * u, "y_min": -1.0 * x, "y_max": 1.0 * x,
    }  # fmt: skip
    return TubeMPC(model, **(given | options))


@pytest.fixture(scope="module")
def mpc() -> TubeMPC:
    return make()


def references(k: int) -> np.ndarray:
    """Set-points that jump, within reach and far beyond it."""
    return np.array([[0.6, -0.6, 3.0, -3.0, 0.0][(k // 25) % 5], 0.0])


def loop(mpc: TubeMPC, seed: int, n_steps: int, noise: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """States under disturbances at the corners of their set, and statuses."""
    rng = np.random.default_rng(seed)
    mpc.reset()
    x, states, statuses = np.array([0.9, 0.0]), [], []
    for k in range(n_steps):
        y = x + noise * rng.choice([-1.0, 1.0], 2)
        u = mpc.control(y, references(k))
        assert mpc.info is not None
        statuses.append(mpc.info.status)
        x = A @ x + B @ u + W * rng.choice([-1.0, 1.0], 2)
        states.append(x)
    return np.array(states), statuses


def test_every_step_is_optimal_and_keeps_its_bounds(mpc: TubeMPC) -> None:
    for seed in range(3):
        states, statuses = loop(mpc, seed, 150)
        assert set(statuses) == {"optimal"}
        assert np.abs(states).max() <= 1.0 + 1e-9


def test_the_disturbance_that_pushes_hardest(mpc: TubeMPC) -> None:
    # Always towards the bound, where the largest set-point leads: the tightening is used up, and no more.
    mpc.reset()
    x, closest = np.zeros(2), 0.0
    for _ in range(200):
        u = mpc.control(x, [5.0, 0.0])
        assert mpc.info is not None
        assert mpc.info.status == "optimal"
        x = A @ x + B @ u + W
        closest = max(closest, float(x[0]))
    assert 0.95 < closest <= 1.0 + 1e-9


def test_measurement_error_is_taken_into_account() -> None:
    mpc = make(measurement_error=0.005, u_min=-4.0, u_max=4.0)
    states, statuses = loop(mpc, 0, 150, noise=0.005)
    assert set(statuses) == {"optimal"}
    assert np.abs(states).max() <= 1.0 + 1e-9


def test_without_tightening_the_same_loops_break_bounds() -> None:
    loose = make(disturbance=1e-9)
    states, _ = loop(loose, 0, 150)
    assert np.abs(states).max() > 1.001


def test_far_from_bounds_it_is_the_lqr(mpc: TubeMPC) -> None:
    lqr = LQR(LiftedModel.from_matrices(A, B, dt=0.1), [1.0, 0.1], 0.1)
    for x in ([0.02, 0.01], [-0.05, 0.03]):
        mpc.reset()
        u = mpc.control(x, [0.05, 0.0])
        assert u == pytest.approx(lqr.control(x, [0.05, 0.0]), rel=1e-3)


def test_its_answer_is_that_of_scipy(mpc: TubeMPC) -> None:
    # The same problem, written down anew: states and inputs along the horizon as variables.
    x0, N = np.array([0.7, 0.3]), 10
    mpc.reset()
    u = mpc.control(x0, [0.9, 0.0])
    sets, family, K = mpc.law.sets, mpc.law.family, mpc.K
    P = mpc.P
    M = 0.1 + B.T @ P @ B
    tau = 1e4 * family.stiffness * np.array([1.0, 0.1])

    def roll(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z, us, zs = x0, [], [x0]
        z_s, u_s = family.z_0 + family.Z @ v[N:], family.u_0 + family.U @ v[N:]
        for k in range(N):
            us.append(u_s - K @ (z - z_s) + v[k])
            z = A @ z + B @ us[-1]
            zs.append(z)
        return np.array(zs), np.array(us)

    def cost(v: np.ndarray) -> float:
        e = x0 - family.z_0 - family.Z @ v[N:]
        miss = family.outputs(v[N:]) - [0.9, 0.0]
        return 1e-2 * float(v[:N] @ v[:N] * M[0, 0] + e @ P @ e + miss @ (tau * miss))

    def room(v: np.ndarray) -> np.ndarray:
        zs, us = roll(v)
        e = zs[-1] - family.z_0 - family.Z @ v[N:]
        end = sets.terminal.heights - sets.terminal.rows @ np.concatenate([e, v[N:]])
        tight = mpc.tightening
        return np.concatenate([
            (1.0 - tight["y or x"][1:N] - np.abs(zs[1:N])).ravel(), (2.0 - tight["u"] - np.abs(us)).ravel(),
            end,
        ])  # fmt: skip

    start = np.zeros(N + family.n_b)
    found = optimize.minimize(
        cost,
        start,
        constraints={"type": "ineq", "fun": room},
        method="SLSQP",
        options={"maxiter": 300, "ftol": 1e-14},
    )
    assert found.success
    assert roll(found.x)[1][0] == pytest.approx(u, abs=2e-3)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e3, 1e9])
def test_other_units(mpc: TubeMPC, unit: float) -> None:
    x_unit, u_unit = np.array([unit, 1.0 / unit]), unit**0.5
    other = make((x_unit, u_unit))
    mpc.reset()
    for k, x in enumerate(([0.9, 0.0], [0.8, -0.2], [0.3, 0.5])):
        u = mpc.control(x, references(25 * k))
        v = other.control(x * x_unit, references(25 * k) * x_unit)
        assert v / u_unit == pytest.approx(u, rel=1e-6, abs=1e-8)
        assert other.info is not None
        assert other.info.status == "optimal"


def test_copies_pickles_and_files_go_on_alike(mpc: TubeMPC, tmp_path: Path) -> None:
    check_controller(mpc)
    mpc.control([0.5, 0.0], [0.2, 0.0])
    mpc.save(tmp_path / "tube.npz")
    others = [copy.deepcopy(mpc), pickle.loads(pickle.dumps(mpc)), load(tmp_path / "tube.npz")]
    for y in ([0.5, -0.1], [np.nan, 0.0], [0.4, 0.0]):
        u = mpc.control(y)
        for other in others:
            assert other.control(y) == pytest.approx(u, abs=1e-9)
    assert "terminal rows" in repr(mpc)
    assert np.array_equal(mpc.with_(disturbance=W / 2).tightening["u"][1], mpc.tightening["u"][1] / 2)


def test_outputs_that_are_not_tracked(mpc: TubeMPC) -> None:
    mpc.reset()
    mpc.control([0.2, 0.0], [np.nan, np.nan])
    assert mpc.info is not None
    assert mpc.info.untracked == ("y0", "y1")
    assert mpc.info.status == "optimal"


def test_beyond_its_promise_it_says_so(mpc: TubeMPC) -> None:
    mpc.reset()
    mpc.control([1.5, 1.0])
    assert mpc.info is not None
    assert mpc.info.status == "softened"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"disturbance": [0.03, 0.2], "y_min": None, "y_max": None}, OptionError, "wide in input 'u0'"),
        ({"disturbance": [0.3, 0.05], "u_min": None, "u_max": None}, OptionError, "output 'y0'"),
        ({"disturbance": [0.1]}, ShapeError, "disturbance has shape"),
        ({"disturbance": [0.1, np.nan]}, DataError, "disturbance"),
        ({"measurement_error": -1.0}, OptionError, "measurement_error"),
        ({"y_min": [0.5, 0.9], "y_max": [1.5, 2.0]}, OptionError, "steady state"),
        ({"horizon": 0}, OptionError, "horizon"),
        ({"R": 0.0}, OptionError, "R"),
    ],
)  # fmt: skip
def test_bad_inputs_by_name(options: dict[str, Any], error: type[KoopctrlError], words: str) -> None:
    with pytest.raises(error, match=words):
        make(**options)


def test_refuses_estimators_with_disturbances() -> None:
    model = LiftedModel.from_matrices(A, B, dt=0.1)
    estimator = KalmanFilter(model, 1e-3 * np.eye(2), 1e-2 * np.eye(2), disturbance="input")
    with pytest.raises(OptionError, match="estimator has disturbances"):
        TubeMPC(model, 10, 1.0, 1.0, 0.01, estimator=estimator)


def test_as_a_block_of_python_control(mpc: TubeMPC) -> None:
    mpc.reset()
    block, r = mpc.to_nlsys(), np.array([0.4, 0.0])
    state = np.zeros(block.nstates)
    for y in ([0.5, 0.0], [0.45, -0.2]):
        fed = np.concatenate([y, r])
        u = mpc.control(y, r)
        assert block.output(0.0, state, fed) == pytest.approx(u, abs=1e-9)
        state = block.dynamics(0.0, state, fed)
