"""Generated C of RNNMPC: agreement with Python in closed loop, honesty, clean under sanitizers."""

from dataclasses import replace

import numpy as np
import pytest
from c_tools import FLAGS, check_clean, gcc, run

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.controllers.estimation.lag_window import NetworkWindow
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.errors import OptionError
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC
from koopctrl_envs import VanDerPol

PLANT = VanDerPol()
EVERYTHING = {
    "y_max": [1.0, 2.0], "constraints": ([[1.0, -1.0]], -2.5, None), "du_min": -1.5, "du_max": 1.0,
    "R_rate": 0.1, "offset_free": 0.5, "n_iterations": 2,
}  # fmt: skip
CASES = {
    "quadratic": ("quadratic", {}),
    "bilinear, blocks": ("bilinear", {"blocks": [1, 2, 3, 9]}),
    "relu": ("relu", {"terminal": "none"}),
    "linear without features": ("none", {"y_min": -0.8, "soft": False}),
    "lags": ("lags", {}),
    "lags, moves": ("lags", {"du_min": -1.0, "du_max": 1.5, "R_rate": 0.2, "y_max": 1.2}),
    "everything": ("quadratic", EVERYTHING),
    "inexact": ("quadratic", {"y_min": -1.0, "y_max": 1.0}),
    "tightened": (
        "quadratic",
        {"y_max": [1.0, 2.0], "tightening": np.linspace(0.05, 0.4, 15)[:, None] * [1, 2]},
    ),
    "riccati, one iteration": ("quadratic", {"terminal": "riccati", "n_iterations": 1}),
    # Bounds so near that plans rarely arrive: the weight at their end comes and goes.
    "out of reach": ("quadratic", {"u_min": -0.3, "u_max": 0.3}),
}
MODELS = {
    "quadratic": (60, {"input_coupling": "quadratic"}),
    "bilinear": (40, {"input_coupling": "bilinear"}),
    "relu": (40, {"input_coupling": "linear", "activation": "relu"}),
    "none": (0, {"input_coupling": "linear"}),
    "lags": (60, {"input_coupling": "network", "output_lags": 3, "input_lags": 2}),
}


@pytest.fixture(scope="module", autouse=True)
def compiler():
    return gcc()


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    x, u = np.empty((25, 81, 2)), rng.uniform(-3, 3, (25, 80, 1))
    x[:, 0] = rng.uniform(-3, 3, (25, 2))
    for k in range(80):
        x[:, k + 1] = PLANT.step(x[:, k], u[:, k])
    states = Trajectories.from_arrays(x, u, dt=PLANT.dt)
    position = Trajectories.from_arrays(x[:, :, :1], u, dt=PLANT.dt)
    return {
        # Small outer weights: predictions then agree to rounding over the whole horizon.
        name: KoopmanRNN(n, random_state=0, rcond=1e-8, **options).fit(position if name == "lags" else states)
        for name, (n, options) in MODELS.items()
    }


def make(models, case):
    model, options = CASES[case]
    return RNNMPC(models[model], 15, **({"Q": 1.0, "R": 0.1, "u_min": -3.0, "u_max": 3.0} | options))


@pytest.mark.parametrize("case", CASES)
def test_closed_loop_is_that_of_python(tmp_path, models, case):
    mpc = make(models, case)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    n_y, rng, x = len(mpc.output_names), np.random.default_rng(0), np.zeros(2)
    statuses, r = set(), None
    for k in range(240):
        if k % 30 == 0:
            # Of a preview with more rows Python follows the steady inputs approximately.
            rows = int(rng.integers(1, 4))
            size = 2.0 if case == "inexact" else 0.6
            r = [None, size * rng.normal(size=n_y), size * rng.normal(size=(rows, n_y))][k // 30 % 3]
        y = x[:n_y].copy()
        if rng.random() < 0.05:
            y[-1] = np.nan
        expected, u = mpc.control(y, r), compiled.control(y, r)
        np.testing.assert_allclose(u, expected, atol=1e-6)
        assert compiled.info.status == mpc.info.status
        statuses.add(mpc.info.status)
        if not mpc.info.status.startswith("fallback"):
            assert compiled.info.kkt_residual <= 1e-6
            assert compiled.info.slack == pytest.approx(mpc.info.slack, rel=1e-6, abs=1e-6)
            # Two iterations leave plans unsettled: rounding may decide a line search, and far inputs with it.
            n = 10 if case == "everything" else None
            np.testing.assert_allclose(compiled.plan[:n], mpc.info.inputs[:n], atol=5e-5 if n else 1e-5)
            outputs = mpc.info.outputs
            np.testing.assert_allclose(
                compiled.predict(mpc.info.inputs), outputs, atol=1e-8 if mpc.offset_free else 1e-10
            )
            # The next sample starts from the same plan.
            mpc.state = replace(mpc.state, history=replace(mpc.state.history, plan=compiled.plan))
        compiled.applied(expected)
        x = PLANT.step(x, expected) + (0.4 if rng.random() < 0.03 else 0.02) * rng.normal(size=2)
    assert {"optimal", "fallback_plan"} <= statuses
    if case == "everything":
        assert "softened" in statuses
    if case == "inexact":
        assert {"softened", "inexact"} <= statuses


def test_what_has_no_code_is_refused(tmp_path, models):
    class OwnWindow(NetworkWindow):
        """An estimator of a user's own."""

    model = models["quadratic"]
    plain = RNNMPC(model, 5, Q=1.0, R=1.0).law.estimator
    own = OwnWindow(plain._rollout, plain.measured_names, plain.u_rest)
    own.model = model
    mpc = RNNMPC(model, 5, Q=1.0, R=1.0, estimator=own)
    with pytest.raises(OptionError, match="estimator is a OwnWindow"):
        mpc_to_c(mpc, tmp_path)


def test_predictions_are_the_networks(tmp_path, models):
    for name in ("quadratic", "lags", "relu"):
        model = models[name]
        mpc = RNNMPC(model, 10, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0)
        compiled = CompiledMPC(mpc_to_c(mpc, tmp_path / name), flags=FLAGS)
        rng = np.random.default_rng(0)
        for _ in range(20):
            compiled.reset()
            y = rng.uniform(-1.5, 1.5, model.n_y)
            compiled.control(y)
            plan = rng.uniform(-3, 3, (10, 1))
            window = model._network.window.repeat_channels(y, mpc.law.estimator.u_rest)
            expected = model._network.rollout(window[None], plan[None])[0][0]
            np.testing.assert_allclose(compiled.predict(plan), expected, rtol=1e-10, atol=1e-10)


def test_bad_measurements_and_references_fall_back(tmp_path, models):
    compiled = CompiledMPC(mpc_to_c(make(models, "everything"), tmp_path), flags=FLAGS)
    last = 0.0
    for y, r in (
        (np.nan, 0.0), (0.1, np.nan), (np.inf, 0.0), (0.1, 1e300), (1e300, 0.0), (1e150, 1e150), (0.2, 0.0),
        (1e8, 0.0), (-0.3, 1e6),
    ):  # fmt: skip
        u = compiled.control([y, 0.0], [r, 0.0])[0]
        assert np.isfinite(u)
        assert abs(u) <= 3.0
        assert -1.5 - 1e-12 <= u - last <= 1.0 + 1e-12
        assert compiled.info.status.startswith("fallback") or compiled.info.kkt_residual <= 1e-6
        last = u
    for _ in range(60):
        compiled.control([0.1, 0.0], [0.0, 0.0])
    assert compiled.info.status == "optimal"


def test_sizes_are_those_of_the_compiler(tmp_path, models):
    for case in ("everything", "lags", "linear without features"):
        code = mpc_to_c(make(models, case), tmp_path, "sized", diagnostics=False)
        (tmp_path / "size.c").write_text(
            '#include <stdio.h>\n#include "sized.h"\n'
            'int main(void) { printf("%d", (int)sizeof(sized_state)); return 0; }\n'
        )
        run("gcc", tmp_path / "size.c", "-o", tmp_path / "size")
        assert int(run(tmp_path / "size").stdout) == code.state_bytes
        run("gcc", *FLAGS, "-c", tmp_path / "sized.c", "-o", tmp_path / "sized.o")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["everything", "lags, moves", "linear without features"])
def test_clean_under_sanitizers_and_valgrind(tmp_path, models, case):
    mpc = make(models, case)
    mpc_to_c(mpc, tmp_path)
    answer = check_clean(tmp_path, len(mpc.output_names), 3000, 200)
    assert (np.abs(answer[:, 0]) <= 3.0).all()


def test_a_moving_reference_that_cannot_be_held_is_passed_through_alike(tmp_path, models):
    mpc = RNNMPC(models["quadratic"], 15, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    t = 0.1 * np.arange(120)
    path = np.stack([1.5 * np.sin(t), 1.5 * np.cos(t)], axis=1)
    x, errors = path[0], []
    for k in range(100):
        r = path[k : k + 16]
        expected, u = mpc.control(x, r), compiled.control(x, r)
        np.testing.assert_allclose(u, expected, atol=1e-5)
        assert mpc.info.status == "optimal"
        compiled.applied(expected)
        x = PLANT.step(x, expected)
        errors.append(np.abs(x - path[k + 1]).max())
    # The speed is the position's own derivative: a point of the path moves on, and is followed all the same.
    assert np.median(errors) < 0.2
