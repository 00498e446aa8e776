"""What the C code of a `TubeMPC` consists of: data, memory, and lines in the header."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from koopctrl.controllers.estimation.lag_window import LagWindow
from koopctrl.controllers.estimation.measurement import ABSURD
from koopctrl.errors import OptionError
from koopctrl.export.c.data import DataSets
from koopctrl.export.c.estimator import add_lift, add_source
from koopctrl.export.c.linear import DIAGNOSTICS, add_diagnostics, check_source, source_templates
from koopctrl.export.c.linear_sets import FEW, MOST
from koopctrl.export.c.moving_horizon import filter_of
from koopctrl.export.c.single import tube_rounding
from koopctrl.export.c.writer import DataSection, Parts, StateLayout, add_channels, add_step, number

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.tube_law import TubeLaw


def tube_mpc_parts(
    laws: Mapping[str, TubeLaw], diagnostics: bool, scalar: str = "double", untracked: bool | None = None
) -> Parts:
    """Data and memory layout of a controller and its tunings.

    Raises
    ------
    OptionError
        If the controller's estimator has no C code, a tuning has other sizes, or there are too many outputs
        for all choices of untracked ones.
    """
    law = next(iter(laws.values()))
    lifted, source, horizon = law.lifted, law.estimator, law.problem.horizon
    check_source(source)
    masks = _masks(lifted.n_y, untracked)
    # Terminal sets of tunings have their own numbers of rows: rows without bounds make them equal.
    n_rows = max(len(each.qp.rows) for each in laws.values())
    found, names = [], []
    for name, each in laws.items():
        for mask in masks:
            chosen = each if mask.all() else each.without(mask)
            found.append(_law_data(chosen, masks, n_rows, len(laws), diagnostics, scalar))
            left_out = ", ".join(o for o, kept in zip(law.output_names, mask, strict=True) if not kept)
            names.append(name + (f", without {left_out}" if left_out else ""))
    data, state = DataSets([section for section, _ in found], names), found[0][1]
    if len(found) > 1:
        state.integers(set=0)
        state.doubles(complete=(horizon + 1) * lifted.n_y)
    if len(laws) > 1:
        state.integers(tuning=0)
    return Parts(
        data, state,
        ("dot.c", "axpy.c", "finite.c", "qp_factor.c", "qp.c", "common.c", "step.c",
         *source_templates(source), "linear_common.c", "linear_untracked.c", "tube_mpc.c",
         "linear_diagnostics.c", "api.c"),
        f"Horizon {horizon}, {lifted.n_z} lifted states, {len(law.qp.H)} variables, "
        f"{len(law.sets.terminal.rows)} rows of a terminal set.",
        DIAGNOSTICS.replace("@n_z@", str(lifted.n_z)) if diagnostics else "",
        source.measured_names, law.output_names, tuple(law.input_names[i] for i in law.channels.moved), (),
        horizon, law.dt, "the LQR's input, saturated; the last input", untracked=len(masks) > 1,
        tunings=tuple(laws), rounding=tube_rounding(law) if scalar == "float" else 0.0,
    )  # fmt: skip


def _masks(n_y: int, untracked: bool | None) -> np.ndarray:
    """Choices of tracked outputs, all of them first."""
    if untracked and n_y > MOST:
        raise OptionError(
            f"untracked is True, and the controller has {n_y} outputs; expected {MOST} at most, for each "
            "choice of untracked ones is a set of data. Pass untracked=False"
        )
    wanted = untracked or (untracked is None and n_y <= FEW)
    return np.array(list(product([True, False], repeat=n_y)) if wanted else [(True,) * n_y], dtype=bool)


def _law_data(
    law: TubeLaw, masks: np.ndarray, n_rows: int, n_tunings: int, diagnostics: bool, scalar: str
) -> tuple[DataSection, StateLayout]:
    lifted, source, problem, qp = law.lifted, law.estimator, law.problem, law.qp
    data, state = DataSection(scalar), StateLayout(scalar)
    kalman = filter_of(source)
    n_v, n_hard, n_p = len(qp.H), problem.n_u, source.basis.shape[1]
    n_soft = n_rows - n_hard
    data.define(
        N_Y=lifted.n_y, N_X=lifted.n_x, N_Z=lifted.n_z, N_P=n_p, N_D=0, N_MEASURED=source.n_measured,
        HORIZON=problem.horizon, DIAGNOSTICS=int(diagnostics), ABSURD=number(ABSURD, scalar),
        UNTRACKED=int(len(masks) > 1), N_MASKS=len(masks), N_TUNINGS=n_tunings, MIXES=0, SEARCHES=0,
        HAS_LQR=1, N_W=0,
    )  # fmt: skip
    if len(masks) > 1:
        bits = (~masks) @ (1 << np.arange(lifted.n_y))
        data.array("mask_slot", np.argsort(bits))
    add_channels(data, state, law, kalman is not None or isinstance(source, LagWindow))
    add_source(lifted, source, data, state)
    if diagnostics:
        add_diagnostics(law, data, np.eye(len(law.model.A)))
    needed = diagnostics if kalman is None else kalman.lifts
    n_raw = add_lift(lifted, data if needed else DataSection(scalar))
    data.define(LIFTS=int(needed), N_RAW=n_raw, OFFSET_FREE=0)
    data.array("y_op", lifted.y_op)
    data.alias("default_reference", "y_op")
    data.fix()
    data.define(
        N_V=n_v, N_INPUTS=n_hard, N_RATE=0, N_E=n_soft, N_SOFT=n_soft,
        MAX_ITERATIONS=100 + 20 * (n_v + n_soft + n_rows),
    )  # fmt: skip
    _add_qp(law, data, n_rows)
    _add_fall_back(law, data)
    _add_slacks(law, data, n_soft)
    free = np.full(problem.n_u, np.inf)
    for name, values in {
        "u_min": problem.u_min, "u_max": problem.u_max, "du_min": -free, "du_max": free,
    }.items():  # fmt: skip
        data.array(name, values)
    state.doubles(p=n_p)
    state.integers(has_z=0, has_d=0)
    add_step(state, problem.n_u, problem.horizon, n_v, n_rows, n_soft)
    return data, state


def _add_qp(law: TubeLaw, data: DataSection, n_rows: int) -> None:
    """The programme, all that is known being affine in the estimator's features `z = basis p + offset`."""
    qp, source = law.qp, law.estimator
    n_v = len(qp.H)
    for name, on_z, alone in (
        ("g", qp.g_state, qp.g_constant), ("row", qp.free, qp.level),
        ("plan", qp.inputs_free, qp.inputs_level + np.tile(law.model.u_op, law.problem.horizon)),
    ):  # fmt: skip
        more = n_rows if name == "row" else len(on_z)
        data.array(f"{name}_p", _padded(on_z @ source.basis, more))
        level = _padded(alone + on_z @ source.offset, more)
        data.array(f"{name}_constant" if name == "g" else f"{name}_level", level)
    arrays = {
        "H": qp.H, "Linv": np.tril(np.linalg.inv(np.linalg.cholesky(qp.H))),
        "rows": _padded(qp.rows, n_rows), "scale": qp.scale, "g_reference": qp.g_reference,
        "lower": _padded(qp.lower[n_v:], n_rows, -np.inf), "upper": _padded(qp.upper[n_v:], n_rows, np.inf),
        "plan_v": qp.inputs,
    }  # fmt: skip
    for name, values in arrays.items():
        data.array(name, values)


def _add_fall_back(law: TubeLaw, data: DataSection) -> None:
    """The LQR's input: `u_s(r) - K (z - z_s(r))`."""
    K, target, source = law.riccati.K, law.target, law.estimator
    data.array("lqr_p", K @ source.basis)
    data.array("lqr_r", target.u_gain + K @ target.z_gain)
    data.array("lqr_constant", target.u_offset + K @ (target.z_offset - source.offset))


def _add_slacks(law: TubeLaw, data: DataSection, n_soft: int) -> None:
    """As in `koopctrl.controllers.qp.soft`: in units of the scaled rows, their Hessian scaled to one."""
    linear, quadratic = law.relaxed
    scale = law.qp.row_scale[law.problem.n_u :]
    unit = scale / np.sqrt(quadratic)
    data.array("slack_unit", _padded(unit, n_soft, 1.0))
    data.array("slack_gradient", _padded(0.5 * linear / scale * unit, n_soft, 1.0))
    data.array("slack_size", _padded(unit / scale, n_soft))


def _padded(rows: np.ndarray, count: int, value: float = 0.0) -> np.ndarray:
    """As many rows as `count`, those that are added of one value."""
    more = np.full((count - len(rows), *rows.shape[1:]), value)
    return np.concatenate([rows, more])
