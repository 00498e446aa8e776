"""DeePC on records of linear plants is LinearMPC with the exact model; on noisy ones it still regulates."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from koopctrl import DeePC, LiftedModel, LinearMPC, Trajectories, load
from koopctrl.controllers import check_controller
from koopctrl.errors import KoopctrlError

A = np.array([[0.9, 0.1], [-0.1, 0.8]])
B = np.array([[0.05], [0.2]])


def records(
    n: int, noise: float = 0.0, seed: int = 0, unit: tuple[Any, float] = (np.ones(2), 1.0)
) -> Trajectories:
    rng = np.random.default_rng(seed)
    x, u = [np.zeros(2)], rng.standard_normal((n, 1))
    for v in u:
        x.append(A @ x[-1] + B @ v)
    y = np.array(x) + noise * rng.standard_normal((n + 1, 2))
    return Trajectories.from_arrays([y * unit[0]], [u * unit[1]], dt=0.1)


def make(data: Trajectories, **options: Any) -> DeePC:
    given: dict[str, Any] = {
        "horizon": 8, "Q": [1.0, 0.1], "R": 0.05, "n_past": 0, "lambda_g": 0.0, "lambda_y": 1e8,
        "u_min": -1.0, "u_max": 1.0,
    }  # fmt: skip
    return DeePC(data, **(given | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"y_max": [0.5, 0.3]},
        {"R_rate": 1.0, "du_min": -0.3, "du_max": 0.3},
        {"y_max": [0.3, 0.2], "y_min": -0.1, "R_rate": 0.1},
    ],
)
def test_on_exact_records_it_is_the_linear_mpc(options: dict[str, Any]) -> None:
    model = LiftedModel.from_matrices(A, B, dt=0.1)
    mpc = LinearMPC(model, 8, [1.0, 0.1], 0.05, u_min=-1.0, u_max=1.0, terminal="none", **options)
    deepc = make(records(200), **options)
    x = np.array([0.3, -0.2])
    for controller in (mpc, deepc):
        controller.applied([0.0])
    for k in range(12):
        r = np.array([[0.45, 0.1], [-0.4, 0.0]][k // 6])
        # Of set-points that one input cannot hold, each has its own steady input: it is given.
        wish = np.linalg.lstsq(np.linalg.solve(np.eye(2) - A, B), r, rcond=None)[0]
        trajectory = np.tile(wish, (8, 1))
        u = mpc.control(x, np.tile(r, (9, 1)), input_reference=trajectory)
        v = deepc.control(x, np.tile(r, (9, 1)), input_reference=trajectory)
        assert mpc.info is not None
        assert deepc.info is not None
        assert deepc.info.status == mpc.info.status
        if mpc.info.status == "optimal":
            assert v == pytest.approx(u, abs=1e-5)
            assert np.abs(deepc.info.outputs - mpc.info.outputs).max() < 1e-5
        x = A @ x + B @ u


@pytest.mark.parametrize("kind", ["projected", "norm"])
def test_its_answer_is_that_of_a_dense_problem_in_all_columns(kind: str) -> None:
    # The problem as it is published: all windows as columns, one variable each, noisy records.
    data = records(60, 0.05)
    N, past = 4, 2
    deepc = make(
        data, horizon=N, n_past=past, lambda_g=0.3, lambda_y=5.0, regularisation=kind, u_min=-0.2, u_max=0.4
    )
    e = data[0]
    y_scale = e.outputs.std(axis=0)
    M = len(e.inputs) - past - N + 1
    u_hankel = np.array([e.inputs[k : k + past + N].ravel() for k in range(M)]).T
    y_hankel = np.array([e.outputs[k : k + past + N + 1].ravel() for k in range(M)]).T
    inputs, outputs = np.array([[0.1], [0.3]]), np.array([[0.1, 0.0], [0.15, 0.1], [0.2, 0.1]])
    deepc.control(outputs[0])
    for u, y in zip(inputs, outputs[1:], strict=True):
        deepc.applied(u)
        deepc.control(y)
    assert deepc.info is not None
    r = deepc.set_point
    u_s = np.clip(deepc.law.qp.steady @ np.append(r, 1.0), -0.2, 0.4)
    level = float(np.sum(np.array([1.0, 0.1]) * y_scale**2))
    Q = np.sqrt(np.tile([1.0, 0.1], N))
    n_known = 2 * (past + 1)
    explained = np.vstack([np.ones(M), u_hankel, y_hankel[:n_known]])
    rest = np.eye(M) - (np.linalg.pinv(explained) @ explained if kind == "projected" else 0.0)
    rows = np.vstack([
        Q[:, None] * y_hankel[n_known:], np.sqrt(0.05) * u_hankel[past:],
        np.sqrt(5.0 * level) * y_hankel[:n_known] / np.tile(y_scale, past + 1)[:, None],
        np.sqrt(0.3 * level * M) * rest,
    ])  # fmt: skip
    right = np.concatenate([
        Q * np.tile(r, N), np.sqrt(0.05) * np.tile(u_s, N),
        np.sqrt(5.0 * level) * outputs.ravel() / np.tile(y_scale, past + 1), np.zeros(M),
    ])  # fmt: skip
    equal, known = np.vstack([np.ones(M), u_hankel[:past]]), np.append(1.0, inputs.ravel())
    bound: Any = optimize.LinearConstraint
    found = optimize.minimize(
        lambda g: 0.5 * np.sum((rows @ g - right) ** 2), np.full(M, 1.0 / M),
        jac=lambda g: rows.T @ (rows @ g - right),
        constraints=[
            bound(equal, known, known),
            bound(u_hankel[past:], -0.2, 0.4),
        ],
        method="trust-constr", hess=lambda g: rows.T @ rows,
        options={"gtol": 1e-10, "xtol": 1e-12, "maxiter": 3000},
    )  # fmt: skip
    assert u_hankel[past:] @ found.x == pytest.approx(deepc.info.inputs.ravel(), abs=2e-4)
    assert (y_hankel[n_known:] @ found.x).reshape(N, 2) == pytest.approx(deepc.info.outputs[1:], abs=2e-4)


def test_noisy_records_regulate() -> None:
    deepc = make(records(300, 0.02), n_past=4, lambda_g=100.0, lambda_y=1e4)
    check_controller(deepc)
    deepc.reset()
    x, rng = np.array([0.6, -0.5]), np.random.default_rng(1)
    for _ in range(60):
        x = A @ x + B @ deepc.control(x + 0.02 * rng.standard_normal(2), [0.2, 0.1])
    assert x == pytest.approx([0.2, 0.1], abs=0.05)


def test_the_past_tells_a_state_that_is_not_measured() -> None:
    data = records(300)
    hidden = Trajectories.from_arrays([e.outputs[:, :1] for e in data], [e.inputs for e in data], dt=0.1)
    deepc = DeePC(hidden, 8, 1.0, 0.01, n_past=2, lambda_g=0.0, lambda_y=1e8)
    x = np.array([0.6, -0.5])
    for _ in range(4):
        u = deepc.control(x[:1])
        x = A @ x + B @ u
    deepc.control(x[:1])
    assert deepc.info is not None
    ahead = deepc.info.outputs[:, 0]
    for k, u in enumerate(deepc.info.inputs):
        assert x[0] == pytest.approx(ahead[k], abs=1e-6)
        x = A @ x + B @ u


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_other_units(unit: float) -> None:
    y, u = np.array([unit, 1.0 / unit]), unit**0.5
    plain = make(records(200, 0.02), n_past=2, lambda_g=1.0, lambda_y=1e4, y_max=0.3)
    other = make(
        records(200, 0.02, unit=(y, u)), Q=np.array([1.0, 0.1]) / y**2, R=0.05 / u**2, n_past=2, lambda_g=1.0,
        lambda_y=1e4, u_min=-u, u_max=u, y_max=0.3 * y,
    )  # fmt: skip
    for x in ([0.5, 0.1], [0.2, 0.0], [-0.5, 0.3]):
        assert other.control(x * y, [0.25, 0.2] * y) / u == pytest.approx(
            plain.control(x, [0.25, 0.2]), abs=1e-6
        )


def test_copies_pickles_files_and_missing_samples(tmp_path: Path) -> None:
    deepc = make(records(200, 0.02), n_past=2, lambda_g=1.0, lambda_y=1e4)
    deepc.control([0.3, 0.1])
    deepc.save(tmp_path / "deepc.npz")
    others = [copy.deepcopy(deepc), pickle.loads(pickle.dumps(deepc)), load(tmp_path / "deepc.npz")]
    for y in ([0.2, 0.1], [np.nan, 0.1], [0.1, 0.0]):
        u = deepc.control(y, [0.1, np.nan])
        assert deepc.info is not None
        assert deepc.info.status == ("fallback_plan" if np.isnan(y).any() else "optimal")
        assert deepc.info.untracked == ("x1",)
        for other in others:
            assert other.control(y, [0.1, np.nan]) == pytest.approx(u, abs=1e-9)
    assert "windows: 191" in repr(deepc)
    assert deepc.with_(R=1.0).state is not None


def constant(u: np.ndarray) -> Trajectories:
    return Trajectories.from_arrays([np.ones((90, 2))], [u], dt=0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make(records(12)), "more than 9"),
        (lambda: make(constant(np.zeros((89, 1)))), "input that is constant"),
        (lambda: make(constant(np.tile([[1.0], [-1.0]], (45, 1))[:89])), "do not excite"),
        (lambda: make(records(50), regularisation="best"), "regularisation is 'best'"),
        (lambda: make(records(50), lambda_g=-1.0), "lambda_g"),
        (lambda: make(records(50), lambda_y=0.0), "lambda_y"),
        (lambda: make(records(50), n_past=-1), "n_past"),
        (lambda: make(records(50), Q=[1.0, 1.0, 1.0]), "Q"),
        (lambda: make(records(50)).to_c("."), "no C code"),
    ],
)  # fmt: skip
def test_bad_inputs_by_name(call: Any, words: str) -> None:
    with pytest.raises(KoopctrlError, match=words):
        call()


def test_as_a_block_of_python_control() -> None:
    deepc = make(records(200, 0.02), n_past=2, lambda_g=1.0, lambda_y=1e4)
    block, r = deepc.to_nlsys(), np.array([0.2, 0.1])
    state = np.zeros(block.nstates)
    for y in ([0.5, 0.0], [0.45, -0.2], [0.4, -0.1]):
        fed = np.concatenate([y, r])
        u = deepc.control(y, r)
        assert block.output(0.0, state, fed) == pytest.approx(u, abs=1e-9)
        state = block.dynamics(0.0, state, fed)


def curved_records(
    curvature: float, unit_y: Any = 1.0, unit_u: float = 1.0, noise: float = 0.0
) -> Trajectories:
    rng = np.random.default_rng(0)
    x, u = [np.zeros(2)], np.repeat(rng.uniform(-1.0, 1.0, 90), 3)[:, None]
    for v in u:
        a, b = x[-1]
        x.append(np.array([0.9 * a + 0.2 * b, 0.8 * b - curvature * np.tanh(a) + 0.3 * v[0]]))
    y = np.array(x) + noise * rng.standard_normal((len(x), 2))
    return Trajectories.from_arrays([y * unit_y], [u * unit_u], dt=0.1)


@pytest.mark.parametrize("curvature", [0.5, 0.1, 1e-3, 1e-6])
@pytest.mark.parametrize(
    "options", [{}, {"y_max": np.array([0.25, 0.4])}, {"regularisation": "norm"}, {"n_past": 8}]
)
def test_rounding_does_not_choose_plans_where_records_have_no_noise(curvature: float, options: Any) -> None:
    # A plant that is a little nonlinear: the past shows its directions down to rounding.
    plans = []
    for y, u in ((np.ones(2), 1.0), (np.ones(2), 3.0), (np.array([1e-3, 7.0]), 1e9)):
        bounds = {"y_max": options["y_max"] * y} if "y_max" in options else {}
        deepc = DeePC(
            curved_records(curvature, y, u), 8, np.array([1.0, 0.1]) / y**2, 0.05 / u**2, u_min=-u, u_max=u,
            **(options | bounds),
        )  # fmt: skip
        for x in ([0.2, 0.0], [0.25, 0.1]):
            deepc.control(x * y, [0.25, 0.2] * y)
            assert deepc.info is not None
            plans.append(deepc.info.inputs / u)
    assert 1e-3 < np.abs(plans[0]).max() < 1.0
    for k in (0, 1):
        assert plans[2 + k] == pytest.approx(plans[k], abs=3e-6)
        assert plans[4 + k] == pytest.approx(plans[k], abs=3e-6)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("kind", ["projected", "norm"])
@pytest.mark.parametrize("bounds", [{}, {"y_max": [0.25, 0.4]}])
def test_no_weight_on_what_nothing_explains_is_refused(noise: float, kind: str, bounds: Any) -> None:
    with pytest.raises(KoopctrlError, match="lambda_g is 0, and in"):
        make(curved_records(0.1, noise=noise), n_past=4, lambda_y=1e4, regularisation=kind, **bounds)
