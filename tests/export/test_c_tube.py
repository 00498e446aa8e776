"""Generated C of TubeMPC beside Python in loops: set-points far away, missing samples, tunings, floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_tools import FLAGS, check_clean, gcc

from koopctrl import LiftedModel, TubeMPC
from koopctrl.controllers import KalmanFilter, MovingHorizonEstimator
from koopctrl.errors import OptionError
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC
from koopctrl.export.fmu.archive import to_fmu

A = np.array([[1.0, 0.1], [0.0, 1.0]])
B = np.array([[0.005], [0.1]])
W = np.array([0.01, 0.05])
C = np.array([[1.0, 0.0]])


@pytest.fixture(scope="module", autouse=True)
def compiler() -> str:
    return gcc()


def make(kind: str = "state", **options: Any) -> TubeMPC:
    model = LiftedModel.from_matrices(A, B, C if kind != "state" else None, dt=0.1)
    given: dict[str, Any] = {
        "horizon": 10, "Q": 1.0 if kind != "state" else [1.0, 0.1], "R": 0.1, "disturbance": W,
        "u_min": -3.0, "u_max": 3.0, "y_min": -1.0, "y_max": 1.0,
    }  # fmt: skip
    if kind != "state":
        noise, few = np.diag(W**2), [[1e-4]]
        given |= {"measurement_error": [0.005, 0.03], "u_min": -6.0, "u_max": 6.0}
        given["constraints"] = ([[0.0, 1.0]], -2.0, 2.0)
        if kind == "kalman":
            given["estimator"] = KalmanFilter(model, noise, few)
        else:
            given["estimator"] = MovingHorizonEstimator(model, 4, noise, few, x_min=[-1.0, -2.0])
    return TubeMPC(model, **(given | options))


def reference(k: int, n_y: int, rng: np.random.Generator) -> Any:
    size = [0.5, 3.0][k // 60 % 2]
    r = size * rng.uniform(-1.0, 1.0, (int(rng.integers(1, 15)), n_y))
    if k // 20 % 4 == 1:
        r[-1, 0] = np.nan
    return [r, r[0], None][k // 20 % 3]


@pytest.mark.parametrize("kind", ["state", "kalman", "horizon"])
def test_closed_loop_is_that_of_python(kind: str, tmp_path: Path) -> None:
    mpc = make(kind)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    rng, x, statuses, r = np.random.default_rng(0), np.zeros(2), set(), None
    n_y = len(mpc.output_names)
    for k in range(240):
        if k % 20 == 0:
            r = reference(k, n_y, rng)
        y = (x if kind == "state" else x[:1]) + (0.0 if kind == "state" else 0.005) * rng.normal(size=n_y)
        if rng.random() < 0.05:
            y = np.full(n_y, np.nan)
        expected, u = mpc.control(y, r), compiled.control(y, r)
        assert mpc.info is not None
        assert compiled.info is not None
        assert compiled.info.status == mpc.info.status
        np.testing.assert_allclose(u, expected, atol=1e-6)
        statuses.add(mpc.info.status)
        if not mpc.info.status.startswith("fallback"):
            assert compiled.plan is not None
            np.testing.assert_allclose(compiled.plan, mpc.info.inputs, atol=1e-5)
            np.testing.assert_allclose(compiled.predict(mpc.info.inputs), mpc.info.outputs, atol=1e-9)
            assert compiled.info.slack == pytest.approx(mpc.info.slack, rel=1e-6, abs=1e-6)
        x = A @ x + B @ expected + W * rng.choice([-1.0, 1.0], 2)
        if k % 50 == 49:
            x = x + rng.uniform(-1.5, 1.5, 2)  # no disturbance that was promised
    assert {"optimal", "softened"} <= statuses
    if kind == "state":
        assert "fallback_plan" in statuses


def test_it_falls_back_on_the_lqr_and_forgets(tmp_path: Path) -> None:
    mpc = make()
    compiled = mpc.compile()
    for y in ([1e200, 1e200], [1e300, 1e300], [np.nan, 0.0]):
        assert compiled.control(y) == pytest.approx(mpc.control(y))
        assert compiled.info is not None
        assert mpc.info is not None
        assert compiled.info.status == mpc.info.status
    compiled.reset()
    assert compiled.control([0.5, 0.0], [0.2, 0.0]) == pytest.approx(make().control([0.5, 0.0], [0.2, 0.0]))


def test_tunings_and_floats(tmp_path: Path) -> None:
    mpc = make()
    others = {"calm": mpc.with_(R=1.0), "narrow": mpc.with_(y_max=0.9), "strong": mpc.with_(u_max=3.5)}
    two = CompiledMPC(mpc_to_c(mpc, tmp_path / "two", tunings=others), flags=FLAGS)
    for name, other in {**others, "base": mpc}.items():
        two.reset()
        two.retune(name)
        for y in ([0.5, 0.0], [0.7, 0.6], [0.95, 0.9]):
            assert two.control(y, [3.0, 0.0]) == pytest.approx(other.control(y, [3.0, 0.0]), abs=1e-6)
            assert two.info is not None
            assert other.info is not None
            assert two.info.status == other.info.status
        other.reset()
    single = mpc_to_c(mpc, tmp_path / "single", scalar="float")
    assert 0.0 < single.rounding < 1e-3
    floats, rng, x, worst = CompiledMPC(single, flags=FLAGS), np.random.default_rng(1), np.zeros(2), 0.0
    for k in range(150):
        r = [[0.6, 0.0], [3.0, 0.0], [-0.5, 0.0]][k // 50]
        u = mpc.control(x, r)
        worst = max(worst, float(np.abs(floats.control(x, r) - u).max()))
        assert floats.info is not None
        assert floats.info.status == "optimal"
        x = A @ x + B @ u + W * rng.uniform(-1.0, 1.0, 2)
    assert worst <= 1e-3 * 6.0


@pytest.mark.slow
def test_sizes_and_clean_under_sanitizers(tmp_path: Path) -> None:
    mpc = make("kalman")
    code = mpc_to_c(mpc, tmp_path)
    assert "terminal set" in (tmp_path / f"{code.name}.h").read_text()
    check_clean(tmp_path, 1, n_lines=2000, n_valgrind=100)


def test_as_an_fmu(tmp_path: Path) -> None:
    made = to_fmu(make(), tmp_path / "tube.fmu")
    assert made.path.exists()


def test_bad_names_by_name(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="C identifier"):
        mpc_to_c(make(), tmp_path, name="1st")
    with pytest.raises(OptionError, match="TubeMPC"):
        mpc_to_c(make(), tmp_path, tunings={"no": object()})  # type: ignore[dict-item]
