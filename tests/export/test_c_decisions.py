"""Generated C decides as Python where the past matters: several steady states, previews, late samples."""

from dataclasses import replace

import numpy as np
import pytest
from c_tools import FLAGS, run

from koopctrl import KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories
from koopctrl.controllers import RNNMPC
from koopctrl.errors import OptionError
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC


def folded_step(x, u):
    """Several inputs hold one level."""
    return 0.6 * x + 0.4 * (0.3 * u + 0.5 * np.sin(4.0 * u))


@pytest.fixture(scope="module")
def folded():
    rng = np.random.default_rng(0)
    y, u = np.empty((20, 101, 1)), rng.uniform(-1, 1, (20, 100, 1))
    y[:, 0] = rng.uniform(-1, 1, (20, 1))
    for k in range(100):
        y[:, k + 1] = folded_step(y[:, k], u[:, k])
    data = Trajectories.from_arrays(y, u, dt=0.1)
    return KoopmanRNN(60, input_coupling="network", rcond=1e-8, random_state=0).fit(data)


def closed_loop(control, references):
    """Levels under a controller of its own plant."""
    x, levels = np.zeros(1), []
    for r in references:
        x = folded_step(x, control(x, np.array([r])))
        levels.append(x[0])
    return np.array(levels)


def test_set_points_and_back_on_a_plant_with_several_steady_states(tmp_path, folded):
    mpc = RNNMPC(folded, 10, 1.0, 1e-3, u_min=-1.0, u_max=1.0)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    references = np.repeat([0.4, 0.7, 0.4, 2.0, 0.4, -0.7, 0.1], 40)
    expected = closed_loop(mpc.control, references)
    found = closed_loop(compiled.control, references).reshape(-1, 40)
    # 0.7 is at the edge, where the level does not move with the valve: rounding shows for some samples.
    np.testing.assert_allclose(found[:, 10:], expected.reshape(-1, 40)[:, 10:], atol=1e-6)
    np.testing.assert_allclose(found[:, :10], expected.reshape(-1, 40)[:, :10], atol=0.02)
    np.testing.assert_allclose(compiled.plan, mpc.info.inputs, atol=1e-5)  # the same of several inputs
    for controller in (mpc, compiled):
        controller.reset()
    again = [closed_loop(c.control, references[:40]) for c in (mpc, compiled)]
    np.testing.assert_allclose(again[0], expected[:40], atol=1e-12)
    np.testing.assert_allclose(again[1], expected[:40], atol=1e-6)


@pytest.mark.parametrize("offset_free", [pytest.param(False, marks=pytest.mark.slow), 0.3])
def test_previews_of_many_rows_and_resets(tmp_path, folded, offset_free):
    mpc = RNNMPC(folded, 8, 1.0, 0.01, u_min=-1.0, u_max=1.0, offset_free=offset_free)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    rng, x, time = np.random.default_rng(0), np.zeros(1), 0.15 * np.arange(600)
    path = np.concatenate([0.4 * np.sin(time[:250]), 1.2 * np.sin(time[250:])])[:, None]
    for k in range(170, 330):
        if k % 100 == 99:
            for controller in (mpc, compiled):
                controller.reset()
        r = path[k : k + 12] if k % 60 < 45 else path[k]
        y = x.copy() if rng.random() > 0.05 else np.full(1, np.nan)
        expected = mpc.control(y, r)
        # At the edge of what can be reached the level does not move with the valve, and rounding shows.
        np.testing.assert_allclose(compiled.control(y, r), expected, atol=1e-6 if k < 230 else 0.15)
        assert compiled.info.status == mpc.info.status
        compiled.applied(expected)
        if not mpc.info.status.startswith("fallback"):
            # The next sample starts from the same plan: a line search is free to magnify what rounding left.
            mpc.state = replace(mpc.state, history=replace(mpc.state.history, plan=compiled.plan))
        x = folded_step(x, expected) + 0.005 * rng.normal(size=1)


@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("first", [[np.nan, np.nan], [100.0, np.nan], [np.nan, -50.0]])
@pytest.mark.parametrize("late", [False, True])
def test_a_filter_starts_at_the_first_measurement_of_each_signal(tmp_path, steady, first, late):
    lifted = LiftedModel.from_matrices([[0.98, 0.1], [0.0, 0.95]], [[0.0], [0.1]], dt=0.1)
    kf = KalmanFilter(lifted, 1e-6, 1.0, steady=steady, gate=5.0)
    mpc = LinearMPC(lifted, 10, 1.0, 0.1, u_min=-200.0, u_max=200.0, observer=kf)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    x, y = np.array([100.0, -50.0]), np.array(first)
    for k in range(40):
        expected = mpc.control(y)
        np.testing.assert_allclose(compiled.control(y), expected, atol=1e-6)
        assert compiled.info.status == mpc.info.status
        if k == 0 and np.isnan(first).all():
            assert mpc.info.status == "fallback_hold"
        if k > (1 if late else 0):
            np.testing.assert_allclose(compiled.lifted_state(2), mpc.observer.estimate, atol=1e-9)
            np.testing.assert_allclose(mpc.observer.estimate, x, atol=1e-6)
        x = lifted.A @ x + lifted.B @ expected
        y = x
        if late and k == 0:  # the other signal, or the first of both
            y = np.where([bool(np.isnan(first[0])), bool(np.isfinite(first[0]))], x, np.nan)


def test_a_filter_of_some_of_the_outputs(tmp_path):
    lifted = LiftedModel.from_matrices(
        [[0.9, 0.1], [0.0, 0.8]], [[0.0], [0.5]], dt=0.1, output_names=["level", "flow"]
    )
    kf = KalmanFilter(lifted, 1e-2, 1e-2, measured="flow", disturbance="input", Qd=1e-3)
    with pytest.raises(OptionError, match="2 for 1 outputs"):
        KalmanFilter(LiftedModel.from_matrices(0.5 * np.eye(2), np.eye(2), dt=0.1), 1.0, 1.0, measured=[0],
                     disturbance="input")  # fmt: skip
    mpc = LinearMPC(lifted, 8, 1.0, 0.1, u_min=-1.0, u_max=1.0, observer=kf)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    assert (compiled.code.n_measured, compiled.code.n_outputs) == (1, 2)
    rng, x = np.random.default_rng(0), np.zeros(2)
    for k in range(100):
        y = x[1:] + 0.01 * rng.normal(size=1) if k % 7 else np.full(1, np.nan)
        expected = mpc.control(y, [0.2, 0.3])
        np.testing.assert_allclose(compiled.control(y, [0.2, 0.3]), expected, atol=1e-6)
        x = lifted.A @ x + lifted.B @ expected


def test_outputs_are_no_entries_of_the_state(tmp_path):
    """Without an estimator the whole state is measured; what is tracked is `C x`."""
    lifted = LiftedModel.from_matrices([[0.9, 0.1], [0.0, 0.8]], [[0.0], [0.5]], [[1.0, 0.0]], dt=0.1)
    mpc = LinearMPC(lifted, 8, 1.0, 0.1, u_min=-1.0, u_max=1.0)
    code = mpc_to_c(mpc, tmp_path)
    assert (code.n_measured, code.n_outputs) == (2, 1)
    header = (tmp_path / "koopctrl_mpc.h").read_text()
    assert "KOOPCTRL_MPC_N_MEASURED 2 /* x0, x1 */" in header
    compiled = CompiledMPC(code, flags=FLAGS)
    x = np.array([1.0, -0.5])
    for _ in range(30):
        expected = mpc.control(x, [0.3])
        np.testing.assert_allclose(compiled.control(x, [0.3]), expected, atol=1e-6)
        x = lifted.A @ x + lifted.B @ expected
    # The example overran its stack where the header had fewer signals than the controller.
    sources = [tmp_path / code.files[2], tmp_path / "koopctrl_mpc.c"]
    sanitize = ("-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    run("gcc", *FLAGS, *sanitize, *sources, "-o", tmp_path / "example", "-lm")
    lines = run(tmp_path / "example", input="1.0 -0.5 0.3\n0.9 -0.4 0.3\n").stdout.splitlines()
    mpc.reset()
    np.testing.assert_allclose(float(lines[0].split()[0]), mpc.control([1.0, -0.5], [0.3])[0], atol=1e-6)
    space = lifted.to_statespace()
    assert (list(space.state_labels), list(space.output_labels)) == (["x0 (scaled)", "x1 (scaled)"], ["y0"])


@pytest.mark.parametrize(
    "name", ["main", "math", "stdio", "string", "Math", "con", "limits", "float", "errno"]
)
def test_names_of_the_languages_own_files_are_refused(tmp_path, name):
    mpc = LinearMPC(LiftedModel.from_matrices([[0.5]], [[1.0]], dt=0.1), 3, 1.0, 1.0)
    with pytest.raises(OptionError, match="name is"):
        mpc.to_c(tmp_path, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["sin", "printf", "NAME", "GUARD", "isfinite", "fabs", "state", "info", "u", "I"]
)
def test_other_names_compile(tmp_path, name):
    mpc = LinearMPC(LiftedModel.from_matrices([[0.5]], [[1.0]], dt=0.1), 3, 1.0, 1.0, u_min=-1, u_max=1)
    code = mpc.to_c(tmp_path, name)
    example = tmp_path / "main.c"
    run("gcc", *FLAGS, example, tmp_path / f"{name}.c", "-o", tmp_path / "example", "-lm")
    answer = run(tmp_path / "example", input="0.5 0.1\n").stdout.split()
    np.testing.assert_allclose(float(answer[0]), mpc.control([0.5], [0.1])[0], atol=1e-9)
    assert code.name == name
