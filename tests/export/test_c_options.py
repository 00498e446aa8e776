"""Options of both controllers in generated C: delay, measured disturbances, terminal set, stage weights."""

from dataclasses import replace

import numpy as np
import pytest
from c_tools import FLAGS, check_clean, compare, gcc, random_disturbance, run

from koopctrl import KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC
from koopctrl_envs import VanDerPol

PLANT = VanDerPol()
A = np.array([[0.95, 0.2, 0.0], [0.0, 0.9, 0.3], [0.1, 0.0, 0.7]])
# The middle input is a disturbance in most tests.
B = np.array([[0.0, 0.3, 0.5], [1.0, 0.2, 0.0], [0.2, 0.4, 0.3]])
TOLD = {"measured_disturbances": [1], "u_min": -1.0, "u_max": [1.0, 0.8]}
END = {"terminal_set": (np.eye(3), -0.05, 0.05)}
MOVES = {"du_min": -0.3, "du_max": 0.4, "R_rate": 0.5, "y_max": 0.6}
LINEAR = {
    "delay": {"input_delay": 3},
    "delay, moves": {"input_delay": 2, **MOVES},
    "told": TOLD,
    "told twice": {"measured_disturbances": [2, 0]},
    "told, delay, moves": {"input_delay": 2, **TOLD, **MOVES},
    "told, unbounded": {"measured_disturbances": [0], "u_min": None, "u_max": None, "y_min": -0.3},
    "terminal set": {**END, "u_min": -0.2, "u_max": 0.2},
    "hard terminal set": {"soft": False, **END},
    "terminal set, outputs": {"y_min": -0.4, "terminal": "none", **END},
    "all": {"input_delay": 1, "blocks": [1, 2, 3, 6], **TOLD, **MOVES, **END},
}
OBSERVERS = {
    "offset-free": (np.eye(3), {"offset_free": 0.3}, None),
    "filter": (np.eye(3)[:2], {}, {"disturbance": "output"}),
    "time-varying": (np.eye(3)[:2], {}, {"steady": False}),
}
RNN = {
    "delay": ("states", {"input_delay": 3, "measured_disturbances": None}),
    "told": ("states", {}),
    "told, delay, lags": ("lags", {"input_delay": 2}),
    "told, moves": ("states", {"du_min": -1.5, "du_max": 1.0, "R_rate": 0.1, "y_max": [1.0, 2.0]}),
    "weights": (
        "states",
        {
            "Q": np.linspace(2.0, 1.0, 12)[:, None, None] * np.eye(2),
            "R": np.linspace(0.1, 0.3, 12)[:, None, None], "R_rate": np.linspace(0.3, 0.1, 12)[:, None, None],
        },
    ),
    "terminal set": (
        "states", {"terminal_set": (np.eye(2), -0.01, 0.01), "terminal": "none", "u_min": -0.5, "u_max": 0.5}
    ),
    "terminal set, outputs": ("states", {"terminal_set": (np.eye(2), -0.02, 0.02), "y_max": 0.8}),
    "all": (
        "states",
        {
            "input_delay": 1, "y_max": [1.0, 2.0], "offset_free": 0.5, "blocks": [1, 2, 3, 6],
            "terminal_set": ([[1.0, 0.5]], -0.02, 0.02), "du_min": -1.5, "du_max": 1.0, "R_rate": 0.1,
            "R": np.linspace(0.1, 0.3, 12)[:, None, None],
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def compiler():
    return gcc()


def linear_mpc(c=None, n=12, observer=None, **options):
    lifted = LiftedModel.from_matrices(A, B, c, dt=0.1)
    if observer is not None:
        options["observer"] = KalmanFilter(lifted, 1e-3, 1e-3, **observer)
    return LinearMPC(lifted, n, **{"Q": 1.0, "R": 0.1, "u_min": -1.0, "u_max": 1.0, **options})


def linear_plant(x, u):
    return np.zeros(3) if x is None else A @ x + B @ u


def driven(x, u):
    """Van der Pol, pushed along by a second input."""
    return np.zeros(2) if x is None else PLANT.step(x, u[:1]) + 0.05 * np.array([u[1], 0.0])


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    x, u = np.empty((25, 81, 2)), rng.uniform(-3, 3, (25, 80, 2))
    x[:, 0] = rng.uniform(-3, 3, (25, 2))
    for k in range(80):
        x[:, k + 1] = PLANT.step(x[:, k], u[:, k, :1])
        x[:, k + 1, 0] += 0.05 * u[:, k, 1]
    states = Trajectories.from_arrays(x, u, dt=PLANT.dt)
    position = Trajectories.from_arrays(x[:, :, :1], u, dt=PLANT.dt)
    # Small outer weights: predictions then agree to rounding over the whole horizon.
    options = {"random_state": 0, "rcond": 1e-8}
    return {
        "states": KoopmanRNN(60, input_coupling="quadratic", **options).fit(states),
        "lags": KoopmanRNN(
            60, input_coupling="network", output_lags=3, input_lags=2, **options
        ).fit(position),
    }  # fmt: skip


def rnn_mpc(models, case):
    name, options = RNN[case]
    default = {"Q": 1.0, "R": 0.1, "measured_disturbances": [1], "u_min": -3.0, "u_max": 3.0}
    if options.get("measured_disturbances", 1) is None:
        default |= {"u_min": [-3.0, -1.0], "u_max": [3.0, 1.0]}
    return RNNMPC(models[name], 12, **{**default, **options})


@pytest.mark.parametrize("options", LINEAR.values(), ids=LINEAR)
def test_linear_closed_loop_is_that_of_python(tmp_path, options):
    # What is on its way has to be the same for predictions to agree to rounding.
    follow = "input_delay" in options
    mpc = linear_mpc(**options)
    worst, statuses = compare(mpc, tmp_path, linear_plant, lambda x: x.copy(), follow=follow)
    assert worst <= 1e-6
    assert {"optimal", "fallback_plan"} <= statuses
    if options.get("soft", True) and ("terminal_set" in options or "y_max" in options):
        assert "softened" in statuses


@pytest.mark.parametrize("case", OBSERVERS.values(), ids=OBSERVERS)
def test_estimates_know_the_inputs_that_acted(tmp_path, case):
    c, options, observer = case
    mpc = linear_mpc(c, observer=observer, input_delay=2, **TOLD, **options)
    worst, _ = compare(mpc, tmp_path, linear_plant, lambda x: x[: len(c)].copy(), n_missing=0.2, follow=True)
    assert worst <= 1e-6


@pytest.mark.parametrize("bilinear", [False, True])
def test_lifted_windows_know_the_inputs_that_acted(tmp_path, models, bilinear):
    lifted = models["lags"].lift_at(x_op=0.0, u_op=0.0, rank_tol=1e-4, bilinear=bilinear)
    options = {"input_delay": 2, "measured_disturbances": [1], "u_min": -3.0, "u_max": 3.0}
    mpc = LinearMPC(lifted, 12, Q=1.0, R=0.1, **options)
    assert compare(mpc, tmp_path, driven, lambda x: x[:1].copy(), n_missing=0.2)[0] <= 1e-6


def test_the_lqr_acts_from_where_its_input_begins_to(tmp_path):
    """No plan, no feasible problem: two disturbances on their way, and the set-point row that counts then."""
    mpc = linear_mpc(input_delay=2, y_max=-5.0, soft=False, **TOLD)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    rng = np.random.default_rng(0)
    for preview in (False, True):
        for controller in (mpc, compiled):
            controller.reset()
        for _ in range(20):
            y, v = 0.3 * rng.normal(size=3) + 0.5, 0.3 * rng.normal(size=(5, 1))
            r = 0.05 * rng.normal(size=(6, 3) if preview else 3)
            expected = mpc.control(y, r, disturbance=v)
            assert mpc.info.status == "fallback_lqr"
            np.testing.assert_allclose(compiled.control(y, r, disturbance=v), expected, atol=1e-9)
            assert compiled.info.status == "fallback_lqr"


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_a_disturbance_is_remembered_until_it_is_told_again(tmp_path, models, kind):
    mpc = linear_mpc(**TOLD) if kind == "linear" else rnn_mpc(models, "told")
    y = np.zeros(len(mpc.output_names))
    inputs = {}
    for name, later in {"told": 0.4, "missing": np.nan, "not told": None}.items():
        compiled = CompiledMPC(mpc_to_c(mpc, tmp_path / name.replace(" ", "_")), flags=("-std=c99", "-O0"))
        compiled.control(y, disturbance=0.4)
        inputs[name] = compiled.control(y) if later is None else compiled.control(y, disturbance=later)
        compiled.reset()
        np.testing.assert_allclose(compiled.control(y), _first(mpc, y), atol=1e-6)
    np.testing.assert_array_equal(inputs["missing"], inputs["told"])
    np.testing.assert_array_equal(inputs["not told"], inputs["told"])
    assert np.abs(inputs["told"] - _first(mpc, y)).max() > 1e-3


def _first(mpc, y):
    mpc.reset()
    return mpc.control(y)


@pytest.mark.parametrize("case", RNN)
def test_rnn_closed_loop_is_that_of_python(tmp_path, models, case):
    mpc = rnn_mpc(models, case)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    n_y, rng, x = len(mpc.output_names), np.random.default_rng(0), np.zeros(2)
    statuses, r, sent = set(), None, [mpc.law.u_rest] * mpc.problem.delay
    for k in range(120):
        if k % 30 == 0:
            # Of a preview with more rows Python follows the steady inputs approximately.
            rows = int(rng.integers(1, 4))
            r = [None, 0.4 * rng.normal(size=n_y), 0.4 * rng.normal(size=(rows, n_y))][k // 30 % 3]
        y = x[:n_y].copy()
        if rng.random() < 0.05:
            y[-1] = np.nan
        told = random_disturbance(rng, mpc.n_v)
        expected, u = mpc.control(y, r, **told), compiled.control(y, r, **told)
        # Iterations end where the cost settles: rounding may decide which is the last.
        np.testing.assert_allclose(u, expected, atol=5e-6)
        assert compiled.info.status == mpc.info.status
        statuses.add(mpc.info.status)
        if not mpc.info.status.startswith("fallback"):
            assert compiled.info.kkt_residual <= 1e-6
            assert compiled.info.slack == pytest.approx(mpc.info.slack, rel=1e-6, abs=1e-6)
            # The last inputs of a plan hardly count.
            np.testing.assert_allclose(compiled.plan, mpc.info.inputs, atol=5e-5)
            np.testing.assert_allclose(
                compiled.predict(mpc.info.inputs), mpc.info.outputs, atol=1e-8 if mpc.offset_free else 1e-10
            )
            # The next sample starts from the same plan: a line search is free to magnify what rounding left.
            history = replace(mpc.state.history, plan=compiled.plan)
            mpc.state = replace(mpc.state, history=history)
        if k % 7 == 0:  # the plant takes another input than was sent
            expected = expected + 0.01
        for controller in (mpc, compiled):
            controller.applied(expected)
        sent.append(expected)
        x = driven(x, mpc.join(sent.pop(0), mpc.state.told))
        x = x + (0.4 if rng.random() < 0.03 else 0.02) * rng.normal(size=2)
    assert {"optimal", "fallback_plan"} <= statuses
    if "terminal" in case:
        assert "softened" in statuses


def test_sizes_are_those_of_the_compiler(tmp_path, models):
    cases = {"linear": linear_mpc(**LINEAR["all"]), "rnn": rnn_mpc(models, "all")}
    for kind, mpc in cases.items():
        code = mpc_to_c(mpc, tmp_path / kind, "sized", diagnostics=False)
        folder = code.folder
        (folder / "size.c").write_text(
            '#include <stdio.h>\n#include "sized.h"\n'
            'int main(void) { printf("%d %d", (int)sizeof(sized_state), SIZED_N_DISTURBANCES); return 0; }\n'
        )
        run("gcc", folder / "size.c", "-o", folder / "size")
        assert run(folder / "size").stdout == f"{code.state_bytes} {code.n_disturbances}"
        run("gcc", *FLAGS, folder / "main.c", folder / "sized.c", "-o", folder / "example", "-lm")
        line = " ".join(["0.1"] * (code.n_measured + code.n_outputs + code.n_disturbances))
        answer = [float(w) for w in run(folder / "example", input=line + "\n").stdout.split()]
        y, v = np.full(code.n_measured, 0.1), np.full(code.n_disturbances, 0.1)
        expected = mpc.control(y, np.full(code.n_outputs, 0.1), disturbance=v)
        np.testing.assert_allclose(answer[:-1], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_clean_under_sanitizers_and_valgrind(tmp_path, models, kind):
    mpc = linear_mpc(**LINEAR["all"]) if kind == "linear" else rnn_mpc(models, "all")
    mpc_to_c(mpc, tmp_path)
    counts = (10_000, 500) if kind == "linear" else (2000, 100)
    answer = check_clean(tmp_path, len(mpc.output_names), *counts, n_v=1)
    assert (np.abs(answer[:, :-1]) <= np.maximum(np.abs(mpc.u_min), np.abs(mpc.u_max))).all()
