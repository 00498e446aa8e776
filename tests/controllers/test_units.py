"""Units never matter: signals rescaled with weights and bounds give the same inputs and statuses."""

import numpy as np
import pytest

from koopctrl import LQR, LiftedModel, LinearMPC
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC


def test_both_outputs_reach_their_set_points_whatever_their_units():
    """`Q = diag(1e6, 1e-12)` is no lack of weight on the second output, but its unit."""
    plant = LiftedModel.from_matrices(np.diag([0.9, 0.8]), np.diag([1e-3, 1e6]), dt=1.0)
    Q, r = np.diag([1e6, 1e-12]), np.array([1e-3, 1e6])
    for controller in (
        LQR(plant, Q, 1.0), LinearMPC(plant, 10, Q, 1.0), LinearMPC(plant, 10, Q, 1.0, u_min=-1.0, u_max=1.0),
    ):  # fmt: skip
        x = np.zeros(2)
        for _ in range(150):
            x = plant.A @ x + plant.B @ controller.control(x, r)
        np.testing.assert_allclose(x / r, 1.0, rtol=1e-9)


@pytest.mark.parametrize("s", [1e-9, 1e-6, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("weights", [(1.0, "s2"), ("1/s2", 1.0), (1e-20, "s2")])
def test_a_soft_bound_is_kept_in_any_unit(s, weights):
    """`y+ = y + s u`: the state of s = 1, scaled; where the bound cannot be held, softened and by as much."""
    Q, R = weights
    scale = float(Q) if not isinstance(Q, str) else s**-2
    R = scale * s**2
    plant = LiftedModel.from_matrices([[1.0]], [[s]], dt=1.0)
    mpc = LinearMPC(plant, 5, scale, R, u_min=-0.1, u_max=0.1, y_max=0.35 * s)
    y = np.zeros(1)
    for _ in range(15):
        y = y + s * mpc.control(y, [0.9 * s])
        assert mpc.info.status == "optimal"
        assert y[0] <= 0.35 * s * (1 + 1e-9)
    np.testing.assert_allclose(y[0], 0.35 * s, rtol=1e-6)
    np.testing.assert_allclose(mpc.control([1.0 * s]), [-0.1], rtol=1e-6)
    assert mpc.info.status == "softened"
    np.testing.assert_allclose(mpc.info.slack, 0.55 * s, rtol=1e-6)


def random_loop(seed):
    """A plant with two inputs and outputs, soft bounds that bind, set-points in and out of reach."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, 3))
    A *= rng.uniform(0.6, 1.1) / np.abs(np.linalg.eigvals(A)).max()
    B, C = rng.normal(size=(3, 2)), rng.normal(size=(2, 3))
    bound = rng.uniform(0.3, 1.0, 2)
    options = {
        "Q": rng.uniform(0.5, 2.0, 2), "R": rng.uniform(0.1, 1.0, 2), "u_min": -bound, "u_max": 0.5 * bound,
        "du_max": 0.4 * bound, "du_min": -0.4 * bound, "y_max": rng.uniform(0.3, 1.0, 2),
    }  # fmt: skip
    if seed % 2:
        options["R_rate"] = rng.uniform(0.1, 1.0, 2)
    if seed % 3 == 0:
        options["terminal"] = "none"
    if seed % 3 == 1:
        options["offset_free"] = True
    return A, B, C, options, rng


def answers(A, B, C, options, x0, references, units, steps=12):
    """Inputs, statuses and relaxations of a closed loop, back in units of one."""
    x_unit, u_unit, y_unit = units
    o = dict(options)
    for name in ("u_min", "u_max", "du_min", "du_max"):
        o[name] = options[name] * u_unit
    o["y_max"] = options["y_max"] * y_unit
    o["Q"] = options["Q"] / y_unit**2
    for name in ("R", "R_rate"):
        if name in o:
            o[name] = options[name] / u_unit**2
    A, B = x_unit[:, None] * A / x_unit, x_unit[:, None] * B / u_unit
    C = y_unit[:, None] * C / x_unit
    lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
    mpc = LinearMPC(lifted, 8, o.pop("Q"), o.pop("R"), **o)
    x, told = x_unit * x0, []
    for k in range(steps):
        u = mpc.control(x, references[k // 4] * y_unit)
        told.append((mpc.info.status, u / u_unit, mpc.info.slack))
        x = A @ x + B @ u + 0.05 * x_unit
    return told


@pytest.mark.parametrize("seed", range(12))
def test_each_signal_in_its_own_unit(seed):
    """Every state, input and output by its own factor between 1e-9 and 1e9."""
    A, B, C, options, rng = random_loop(seed)
    x0 = rng.normal(size=3)
    references = [0.1 * rng.normal(size=2), 30.0 * rng.normal(size=2), np.zeros(2)]
    plain = answers(A, B, C, options, x0, references, (np.ones(3), np.ones(2), np.ones(2)))
    assert {status for status, *_ in plain} <= {"optimal", "softened"}
    for _ in range(3):
        units = tuple(10.0 ** rng.uniform(-9, 9, n) for n in (3, 2, 2))
        scaled = answers(A, B, C, options, x0, references, units)
        for (status, u, _), (status_1, u_1, _) in zip(scaled, plain, strict=True):
            assert status == status_1
            np.testing.assert_allclose(u, u_1, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e9])
@pytest.mark.parametrize("seed", range(3))
def test_all_signals_by_one_factor_under_the_same_weights(seed, factor):
    """The cost goes with the square, and nothing in the plan is compared with one."""
    A, B, C, options, rng = random_loop(seed)
    x0, references = rng.normal(size=3), [0.1 * rng.normal(size=2), 30.0 * rng.normal(size=2), np.zeros(2)]
    plain = answers(A, B, C, options, x0, references, (np.ones(3), np.ones(2), np.ones(2)))
    same = {k: v * factor**2 if k in ("Q", "R", "R_rate") else v for k, v in options.items()}
    units = tuple(np.full(n, factor) for n in (3, 2, 2))
    scaled = answers(A, B, C, same, x0, references, units)
    for (status, u, slack), (status_1, u_1, slack_1) in zip(scaled, plain, strict=True):
        assert status == status_1
        np.testing.assert_allclose(u, u_1, atol=1e-6)
        np.testing.assert_allclose(slack / factor, slack_1, atol=1e-6)


def test_generated_c_in_small_units(tmp_path):
    A, B, C, options, rng = random_loop(1)
    for factor in (1.0, 1e-9):
        o = {k: v * factor if k[0] in "duy" else v for k, v in options.items() if k != "offset_free"}
        lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
        mpc = LinearMPC(lifted, 8, o.pop("Q"), o.pop("R"), offset_free=True, **o)
        compiled = CompiledMPC(mpc_to_c(mpc, tmp_path / str(factor)), flags=("-std=c99", "-O0"))
        x, statuses = factor * np.array([1.0, -1.0, 0.5]), set()
        for k in range(30):
            r = factor * np.array([0.1, 5.0]) * (k % 10 > 4)
            u, v = mpc.control(x, r), compiled.control(x, r)
            assert mpc.info.status == compiled.info.status
            statuses.add(mpc.info.status)
            np.testing.assert_allclose(v, u, atol=1e-6 * factor)
            np.testing.assert_allclose(compiled.info.slack, mpc.info.slack, atol=1e-6 * factor)
            x = A @ x + B @ u + 0.6 * factor * rng.normal(size=3)
        assert statuses == {"optimal", "softened"}


def test_soft_bounds_in_mixed_units_are_relaxed_alike():
    """Both outputs must be relaxed; a unit of 1e4 on one and 1e-4 on the other changes nothing."""
    found = []
    for unit in (np.ones(2), np.array([1e4, 1e-4])):
        plant = LiftedModel.from_matrices(np.diag([0.9, 0.8]), np.eye(2), np.diag(unit), dt=1.0)
        mpc = LinearMPC(plant, 5, 1.0 / unit**2, 1.0, u_min=-0.1, u_max=0.1, y_max=unit * [0.5, 0.7])
        found.append(mpc.control([3.0, 2.0]))
        assert mpc.info.status == "softened"
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


def test_weights_are_judged_on_their_own_scale():
    plant = LiftedModel.from_matrices(np.diag([0.9, 0.8]), np.diag([1e-9, 1e9]), dt=1.0)
    R = np.array([[1e-18, 0.5], [0.5, 1e18]])
    LinearMPC(plant, 5, 1.0, R)
    from koopctrl.errors import OptionError

    with pytest.raises(OptionError, match="positive definite"):
        LinearMPC(plant, 5, 1.0, np.array([[1e-18, 1.5], [1.5, 1e18]]))
