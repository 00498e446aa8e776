"""What the C code of a `LinearMPC` consists of: data, memory, and lines in the header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.kalman_law import KalmanLaw
from koopctrl.controllers.estimation.lag_window import LagWindow
from koopctrl.controllers.estimation.lifted_measurement import LiftedMeasurement
from koopctrl.controllers.estimation.measurement import ABSURD
from koopctrl.controllers.estimation.moving_horizon_law import MovingHorizonLaw
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.mpc.condensing import forced_responses
from koopctrl.controllers.steady_state.reachable import STEPS
from koopctrl.errors import OptionError
from koopctrl.export.c.data import DataSets
from koopctrl.export.c.estimator import add_lift, add_source
from koopctrl.export.c.linear_sets import LinearSets, linear_sets, tracked_responses
from koopctrl.export.c.moving_horizon import TEMPLATES as MOVING_HORIZON
from koopctrl.export.c.moving_horizon import filter_of
from koopctrl.export.c.single import linear_mpc_rounding
from koopctrl.export.c.writer import DataSection, Parts, StateLayout, add_channels, add_step, number

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.linear_law import LinearLaw
    from koopctrl.controllers.mpc.tube_law import TubeLaw

DIAGNOSTICS = """
/* Lifted state of the last sample that had one, @n_z@ numbers. */
void NAME_lifted_state(const NAME_state *state, double *z);

/* Outputs predicted from the last sample under GUARD_HORIZON rows of inputs: GUARD_HORIZON + 1 rows, the
 * first one the present. */
void NAME_predict(const NAME_state *state, const double *inputs, double *outputs);
"""


def linear_mpc_parts(
    laws: Mapping[str, LinearLaw], diagnostics: bool, scalar: str = "double", untracked: bool | None = None
) -> Parts:
    """Data and memory layout of a controller and its tunings.

    Raises
    ------
    OptionError
        If the controller's observer has no C code, or a tuning has other sizes.
    """
    sets = linear_sets(laws, untracked, scalar)
    law = sets.laws[0]
    lifted, source, problem = law.lifted, law.estimator, law.problem
    check_source(source)
    found = [_law_data(each, sets, diagnostics, scalar) for each in sets.laws]
    state = found[0][1]
    data = DataSets([section for section, _ in found], sets.names)
    if len(found) > 1:
        state.integers(set=0)
        state.doubles(complete=(problem.horizon + 1 + problem.delay) * lifted.n_y)
    if len(sets.tunings) > 1:
        state.integers(tuning=0)
    if sets.mixes:
        state.doubles(mixed_H=law.qp.n_v**2, mixed_L=law.qp.n_v**2, mixed_Linv=law.qp.n_v**2)
        state.integers(mixed=0)
    source_files = source_templates(source)
    if sets.mixes and "cholesky.c" not in source_files:
        source_files = ("cholesky.c", *source_files)
    fall_back = "the last input"
    if sets.has_lqr:
        fall_back = "the LQR's input, saturated; the last input"
    moved, told = law.channels.moved, law.channels.told
    return Parts(
        data, state,
        ("dot.c", "axpy.c", "finite.c", "qp_factor.c", "qp.c", "common.c", "step.c", *source_files,
         "linear_reach.c", "linear_common.c", "linear_untracked.c", "linear_mpc.c",
         "linear_diagnostics.c", "api.c"),
        f"Horizon {problem.horizon}, {lifted.n_z} lifted states, {law.qp.n_v} variables.",
        DIAGNOSTICS.replace("@n_z@", str(lifted.n_z)) if diagnostics else "",
        source.measured_names, law.output_names, tuple(law.input_names[i] for i in moved),
        tuple(law.input_names[i] for i in told), problem.horizon, law.dt, fall_back,
        untracked=len(sets.masks) > 1, tunings=sets.tunings,
        rounding=linear_mpc_rounding(law) if scalar == "float" else 0.0,
    )  # fmt: skip


def check_source(source: LinearEstimator) -> None:
    """Refuse an estimator without C code."""
    if type(source) not in (KalmanLaw, MovingHorizonLaw, LiftedMeasurement, LagWindow):
        raise OptionError(
            f"the controller's estimator is a {type(source).__name__}; expected a KalmanFilter, a "
            "MovingHorizonEstimator or none, the ones that have C code"
        )


def source_templates(source: LinearEstimator) -> tuple[str, ...]:
    """Files of an estimator."""
    if isinstance(source, MovingHorizonLaw):
        return MOVING_HORIZON
    if isinstance(source, KalmanLaw):
        return ("cholesky.c", "linear_lift.c", "correction.c", "kalman.c")
    return ("linear_lift.c", "linear_source.c")


def _law_data(
    law: LinearLaw, sets: LinearSets, diagnostics: bool, scalar: str
) -> tuple[DataSection, StateLayout]:
    lifted, source, problem = law.lifted, law.estimator, law.problem
    data, state = DataSection(scalar), StateLayout(scalar)
    kalman = filter_of(source)
    n_p, n_d, filtered = source.basis.shape[1], law.model.n_d, kalman is not None
    data.define(
        N_Y=lifted.n_y, N_X=lifted.n_x, N_Z=lifted.n_z, N_P=n_p, N_D=n_d,
        N_MEASURED=source.n_measured, HORIZON=problem.horizon, DIAGNOSTICS=int(diagnostics),
        ABSURD=number(ABSURD, scalar), UNTRACKED=int(len(sets.masks) > 1), N_MASKS=len(sets.masks),
        N_TUNINGS=len(sets.tunings), MIXES=int(sets.mixes), SEARCHES=0,
    )  # fmt: skip
    if len(sets.masks) > 1:
        data.array("mask_slot", np.array(sets.slots, dtype=int))
    recalls = filtered or n_d > 0 or isinstance(source, LagWindow)
    add_channels(data, state, law, recalls)
    add_source(lifted, source, data, state)
    if diagnostics:
        add_diagnostics(law, data, law.qp.ahead[0])
    # Where state and disturbances are read as [z; d] = basis (p - p_op): for these three.
    offset_free = not filtered and n_d > 0
    needed = offset_free or (diagnostics if kalman is None else kalman.lifts)
    n_raw = add_lift(lifted, data if needed else DataSection(scalar))
    data.define(LIFTS=int(needed), N_RAW=n_raw, OFFSET_FREE=int(offset_free))
    data.array("y_op", lifted.y_op)
    data.alias("default_reference", "y_op")
    data.fix()
    _add_qp(law, data, state, sets)
    _add_fall_back(law, data, sets.has_lqr)
    _add_set_point(law, data, sets)
    if sets.mixes:
        _add_mixing(law, data, any(bool(np.ptp(each.problem.Q, axis=0).any()) for each in sets.laws))
    bounds = {
        "u_min": problem.u_min,
        "u_max": problem.u_max,
        "du_min": problem.du_min,
        "du_max": problem.du_max,
    }
    for name, values in bounds.items():
        data.array(name, values)
    state.doubles(p=n_p)
    state.integers(has_z=0, has_d=0)
    return data, state


def _add_qp(law: LinearLaw, data: DataSection, state: StateLayout, sets: LinearSets) -> None:
    """The condensed QP, hard and soft, and its workspaces."""
    qp, problem = law.qp, law.problem
    n_v, n_rows = qp.n_v, len(qp.rows)
    n_e = n_rows - qp.n_hard
    n_soft = n_e if problem.soft else 0
    size = n_v + n_soft
    n_end, n_w = len(problem.E_end), qp.from_known_set_point.shape[1]
    owner = np.searchsorted(problem.blocks, np.arange(problem.horizon), side="right") - 1
    data.define(
        N_V=n_v, N_INPUTS=qp.n_inputs, N_RATE=qp.n_rate, N_E=n_e, N_END=n_end, N_SOFT=n_soft, N_W=n_w,
        RATE_COST=int(sets.rate_cost),
        MAX_ITERATIONS=100 + 20 * (size + n_rows),
    )  # fmt: skip
    names = ["H", "rows", "scale", "lower", "upper", "from_set_point", "from_preview"]
    names += ["from_last_input"] if sets.rate_cost else []
    names += ["row_scale"] if qp.n_hard else []
    if qp.n_inputs:
        if not sets.mixes:
            names.remove("scale")
        state.doubles(input_free=n_v)
    for name in names:
        values = getattr(qp, name)
        data.array(name, _felt(values, n_v, n_end) if name.startswith("from_") else values)
    data.array("Linv", np.tril(np.linalg.inv(np.linalg.cholesky(qp.H))))
    data.array("block", owner.astype(int))
    for name in ("online", "constant", *(["from_known"] if n_w else [])):
        data.array(f"{name}_set_point", getattr(qp, f"{name}_set_point"))
        if np.array_equal(getattr(qp, f"{name}_set_point"), getattr(qp, f"{name}_preview")):
            data.alias(f"{name}_preview", f"{name}_set_point")
        else:
            data.array(f"{name}_preview", getattr(qp, f"{name}_preview"))
    if n_soft:
        # As in controllers.qp_step: slacks in units of the scaled rows, their Hessian scaled to one.
        scale = qp.row_scale[qp.n_hard :]
        linear, quadratic = problem.row_soft_weights
        unit = scale / np.sqrt(quadratic)
        data.array("slack_unit", unit)
        data.array("slack_gradient", 0.5 * linear / scale * unit)
        data.array("slack_size", unit / scale)
    state.doubles(w=n_w)
    add_step(state, problem.n_u, problem.horizon, n_v, n_rows, n_soft)


def _felt(from_reference: FloatArray, n_v: int, n_end: int) -> FloatArray:
    """The rows that references reach: the gradient's, and after them the terminal set's."""
    return np.vstack([from_reference[:n_v], from_reference[max(n_v, len(from_reference) - n_end) :]])


def _add_fall_back(law: LinearLaw, data: DataSection, has_lqr: bool) -> None:
    """The LQR's input: `u_s(r) - K (z - z_s(r))`."""
    data.define(HAS_LQR=int(has_lqr))
    if not has_lqr:
        return
    source, n_z, target, n_d = law.estimator, law.lifted.n_z, law.target, law.model.n_d
    there = law.riccati is not None
    data.array("lqr_there", np.array([there], dtype=int))
    K = law.riccati.K if law.riccati is not None else np.zeros((law.problem.n_u, n_z))
    power, forced = law.qp.ahead
    lqr_p = K @ (power @ source.basis)[:n_z]
    if n_d:
        lqr_p[:, -n_d:] -= target.u_disturbance + K @ target.z_disturbance
    data.array("lqr_p", lqr_p)
    begin = power @ source.offset + forced[:, 0]
    data.array("lqr_r", target.u_gain + K @ target.z_gain)
    data.array("lqr_constant", target.u_offset + K @ (target.z_offset - begin[:n_z]))
    lqr_w = -K @ forced[:n_z, 1:]
    if lqr_w.shape[1]:
        lqr_w[:, lqr_w.shape[1] - law.model.n_v :] += target.u_told + K @ target.z_told
        data.array("lqr_w", lqr_w)
    data.array("lqr_wish", target.u_input + K @ target.z_input)


def _add_set_point(law: LinearLaw, data: DataSection, sets: LinearSets) -> None:
    """Bounded least squares that moves set-points out of reach; only where inputs are bounded."""
    target, reachable = law.target, law.reachable
    data.define(MOVES_SET_POINT=int(sets.bounded))
    n_end = len(law.problem.E_end)
    steady = {
        "u_gain": target.u_gain, "u_offset": target.u_offset, "u_disturbance": target.u_disturbance,
        "u_input": target.u_input, "from_input_preview": law.qp.from_input_preview,
        "from_wish": _felt(law.qp.from_wish_set_point, law.qp.n_v, n_end),
        "from_wish_preview": _felt(law.qp.from_wish_preview, law.qp.n_v, n_end),
    }  # fmt: skip
    if law.channels.n_v:
        steady["u_told"] = target.u_told
    for name, values in steady.items():
        data.array(name, values)
    if not sets.bounded:
        return
    freedom, reach = target.freedom, reachable.reach
    n_b, n_c = freedom.felt_u.shape[1], freedom.unfelt_u.shape[1]
    n = n_b + n_c
    data.define(N_FREE=n, REACH_STEPS=STEPS)
    if not n:
        return
    # How many of the directions are felt depends on what is tracked: unfelt ones stand after them.
    data.array("n_felt", np.array([n_b], dtype=int))
    near, near_scale = np.zeros(law.problem.n_u * n), np.ones(law.problem.n_u)
    if n_b and n_c:
        near[: law.problem.n_u * n_c] = reach.near_rows.ravel()
        near_scale = reach.near_scale
    arrays = {
        "reach_rows": reach.rows, "reach_scale": reach.row_scale,
        "reach_unit": [reach.unit], "reach_idle": freedom.idle,
        "free_u": np.hstack([freedom.felt_u, freedom.unfelt_u]),
        "free_y": np.hstack([freedom.felt_y, freedom.unfelt_y]),
        "near_rows": near, "near_scale": near_scale,
        "y_gain": target.y_gain, "y_input": target.y_input, "y_offset": target.y_offset,
        "y_disturbance": target.y_disturbance,
    }  # fmt: skip
    if law.channels.n_v:
        arrays["y_told"] = target.y_told
    for name, values in arrays.items():
        data.array(name, values)


def _add_mixing(law: LinearLaw, data: DataSection, varies: bool) -> None:
    """What previews need that leave outputs out at some samples: their weights and responses, one by one."""
    found, Q = tracked_responses(law), law.problem.Q
    data.define(VARIES=int(varies))
    data.array("stage_Q", Q if varies else Q[-1])
    data.array("track_v", found.from_v)
    data.array("track_p", found.from_p)
    data.array("track_constant", found.constant)
    if found.from_w.shape[2]:
        data.array("track_w", found.from_w)


def add_diagnostics(law: LinearLaw | TubeLaw, data: DataSection, power: FloatArray) -> None:
    """Predictions `y_k = C (A^(k+delay) z_0 + what is forced + sum_j A^(k-1-j) B du_j) + y_op`.

    `power` is `A^delay`.
    """
    model, source, problem = law.model, law.estimator, law.problem
    free, markov = [], []
    step, reach = power @ source.basis, model.B
    for _ in range(problem.horizon + 1):
        free.append(model.C @ step)
        markov.append(model.C @ reach)
        step, reach = model.A @ step, model.A @ reach
    forced = model.C @ forced_responses(model, problem.horizon, problem.delay)
    n_d = 0 if filter_of(source) is not None else model.n_d
    n_raw = source.basis.shape[1] - n_d
    data.array("predict_p", np.stack(free)[:, :, :n_raw])
    if n_d:
        data.array("predict_d", np.stack(free)[:, :, n_raw:])
    data.array("predict_constant", forced[:, :, 0] + law.lifted.y_op)
    if forced.shape[2] > 1:
        data.array("predict_w", forced[:, :, 1:])
    data.array("markov", np.stack(markov[:-1]))
