"""What the C code of a `LinearMPC` consists of: data, memory, and lines in the header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.gate import MAX_REJECTIONS
from koopctrl.controllers.mpc.condensing import forced_responses
from koopctrl.errors import OptionError
from koopctrl.export.c.writer import DataSection, Parts, StateLayout, add_channels, add_step

if TYPE_CHECKING:
    from koopctrl.controllers.estimation.kalman import KalmanFilter
    from koopctrl.controllers.mpc.linear import LinearMPC

_DIAGNOSTICS = """
/* Lifted state of the last sample that had one, @n_z@ numbers. */
void NAME_lifted_state(const NAME_state *state, double *z);

/* Outputs predicted from the last sample under GUARD_HORIZON rows of inputs: GUARD_HORIZON + 1 rows, the
 * first one the present. */
void NAME_predict(const NAME_state *state, const double *inputs, double *outputs);
"""


def linear_mpc_parts(mpc: LinearMPC, diagnostics: bool) -> Parts:
    """Data and memory layout of a controller.

    Raises
    ------
    OptionError
        If the controller's observer has no C code.
    """
    data, state = DataSection(), StateLayout()
    n_p, n_d = mpc._source.basis.shape[1], mpc._source.model.n_d
    data.define(
        N_Y=mpc.lifted.n_y, N_X=mpc.lifted.n_x, N_Z=mpc.lifted.n_z, N_P=n_p, N_D=n_d,
        N_MEASURED=mpc._source.n_measured, HORIZON=mpc.horizon, DIAGNOSTICS=int(diagnostics),
    )  # fmt: skip
    window = mpc.lifted.window
    recalls = mpc.observer is not None or n_d > 0 or mpc.lifted.n_x != window.n_y
    add_channels(data, state, mpc, recalls)
    _add_source(mpc, data, state)
    _add_qp(mpc, data, state)
    _add_fall_back(mpc, data)
    _add_set_point(mpc, data)
    if diagnostics:
        _add_diagnostics(mpc, data)
    # Where state and disturbances are read as [z; d] = basis (p - p_op): for these three.
    source, lifts = mpc._source, _lifts_first_measurement(mpc)
    offset_free = source.observer is None and n_d > 0
    needed = offset_free or (lifts if source.observer is not None else diagnostics)
    n_raw = _add_lift(mpc, data if needed else DataSection())
    data.define(LIFTS=int(needed), N_RAW=n_raw, OFFSET_FREE=int(offset_free))
    problem = mpc.problem
    bounds = {
        "u_min": problem.u_min,
        "u_max": problem.u_max,
        "du_min": problem.du_min,
        "du_max": problem.du_max,
    }
    for name, values in {**bounds, "y_op": mpc.lifted.y_op}.items():
        data.array(name, values)
    data.alias("default_reference", "y_op")
    state.doubles(p=n_p)
    state.integers(has_z=0, has_d=0)
    lifted = mpc.lifted
    measured = lifted.output_names if source.observer is not None else lifted.output_names[: window.n_y]
    source_files = ("linear_lift.c", "linear_source.c")
    if source.observer is not None:
        source_files = ("linear_lift.c", "kalman.c")
        if not getattr(source.observer, "steady", True):
            source_files = ("cholesky.c", *source_files)
    fall_back = "the LQR's input, saturated; the last input" if mpc.K is not None else "the last input"
    return Parts(
        data, state,
        ("qp_factor.c", "qp.c", "common.c", "step.c", *source_files, "linear_mpc.c", "api.c"),
        f"Horizon {mpc.horizon}, {lifted.n_z} lifted states, {mpc._qp.n_v} variables.",
        _DIAGNOSTICS.replace("@n_z@", str(lifted.n_z)) if diagnostics else "",
        measured, lifted.output_names, mpc.input_names, mpc.disturbance_names, mpc.horizon, mpc.dt, fall_back,
    )  # fmt: skip


def _add_source(mpc: LinearMPC, data: DataSection, state: StateLayout) -> None:
    """From measurements to features: lifting, a window, or a Kalman filter."""
    lifted, source, window = mpc.lifted, mpc._source, mpc.lifted.window
    observer = source.observer
    layer, has_layer = lifted.observables.layer, lifted.observables.reduce.shape[1] > 0
    lifts = observer is None or _lifts_first_measurement(mpc)
    keeps_window = observer is None and lifted.n_x != window.n_y
    data.define(
        N_FEATURES=layer.n_features if has_layer else 0,
        TANH=int(layer.activation == "tanh"),
        OBSERVER=int(observer is not None),
        GATED=int(getattr(observer, "gate", None) is not None),
        OBSERVER_LIFTS=int(observer is not None and lifts),
        USES_WINDOW=int(keeps_window or (observer is not None and lifts)),
        OUTPUT_LAGS=window.output_lags,
        INPUT_LAGS=window.input_lags,
        BILINEAR=int(keeps_window and lifted.N is not None),
    )
    if lifts:
        data.array("x_op", lifted.x_op)
        if has_layer:
            data.array("weights", layer.weights)
            data.array("biases", layer.biases)
    if observer is not None:
        _add_observer(mpc, data, state, lifts)
    elif source.model.n_d:
        for name in ("A", "B", "c"):
            data.array(name, getattr(lifted, name))
        data.array("filter", [float(source._filter)])
        on_inputs = source.model.n_d != lifted.n_z or not np.array_equal(source.explain, np.eye(lifted.n_z))
        data.define(EXPLAINS=int(on_inputs))
        if on_inputs:
            data.array("explain_d", source.explain)
        state.doubles(z=lifted.n_z, next=lifted.n_z, rest=lifted.n_z)
    state.doubles(x=lifted.n_x if keeps_window or (observer is not None and lifts) else 0)
    if keeps_window:
        # The next output from features and input: C (A z + B du + c + sum du_i N_i z) + y_op.
        n, n_z = window.n_y, lifted.n_z
        basis, offset = source.basis[:n_z, : source.basis.shape[1] - source.model.n_d], source.offset[:n_z]
        data.array("step_p", lifted.C[:n] @ lifted.A @ basis)
        data.array("step_u", lifted.C[:n] @ lifted.B)
        data.array("step_constant", lifted.C[:n] @ (lifted.A @ offset + lifted.c) + lifted.y_op[:n])
        if lifted.N is not None:
            data.array("step_pu", np.stack([lifted.C[:n] @ N @ basis for N in lifted.N]))
            data.array("step_pu_constant", np.stack([lifted.C[:n] @ N @ offset for N in lifted.N]))


def _add_observer(mpc: LinearMPC, data: DataSection, state: StateLayout, lifts: bool) -> None:
    lifted, observer = mpc.lifted, mpc._source.observer
    if type(observer).__name__ != "KalmanFilter":
        raise OptionError(
            f"the controller's observer is a {type(observer).__name__}; expected a KalmanFilter, the only "
            "one that has C code. Use it, or no observer"
        )
    kalman: KalmanFilter = observer  # pyright: ignore[reportAssignmentType]
    model, n, n_y = kalman.model, len(kalman.model.A), lifted.n_y
    for name, values in {"A": model.A, "B": model.B, "C": model.C, "c": model.c}.items():
        data.array(name, values)
    data.define(STEADY=int(kalman.steady), MAX_REJECTIONS=MAX_REJECTIONS)
    if kalman.gate is not None:
        data.array("gate", [kalman.gate])
        state.integers(in_a_row=0)
    if kalman.steady:
        data.array("M", kalman.M)
        if kalman.gate is not None:
            data.array("whiten", np.tril(np.linalg.inv(np.linalg.cholesky(kalman._innovation))))
    else:
        data.array("noise", kalman._noise)
        data.array("R_noise", kalman.Rn)
        data.array("P0", kalman.P0)
        state.doubles(covariance=n * n, product=n * n, seen=n_y * n, gain=n * n_y)
    state.doubles(next=n, innovation=n_y)
    if lifts:
        state.doubles(raw=lifted.n_x + lifted.observables.layer.n_features)


def _add_lift(mpc: LinearMPC, data: DataSection) -> int:
    """`z = basis (p - p_op)` with `p = [x - x_op; psi(x)]`; returns the length of `p`."""
    lifted, obs = mpc.lifted, mpc.lifted.observables
    n_x, n_features = lifted.n_x, obs.layer.n_features if obs.reduce.shape[1] else 0
    basis, p_op = np.zeros((lifted.n_z, n_x + n_features)), np.zeros(n_x + n_features)
    basis[:n_x, :n_x] = np.diag(1.0 / obs.x_scale)
    if n_features:
        basis[n_x:, :n_x] = -obs.project.T
        basis[n_x:, n_x:] = obs.reduce.T
        p_op[n_x:] = obs.layer(lifted.x_op)
    data.array("basis", basis)
    data.array("p_op", p_op)
    return n_x + n_features


def _lifts_first_measurement(mpc: LinearMPC) -> bool:
    """Whether the outputs are the state's newest samples, `C lift(x) + y_op = x[:n_y]` for every x."""
    lifted, n_y = mpc.lifted, mpc.lifted.n_y
    if lifted.window.n_y != n_y:
        return False
    select = np.zeros_like(lifted.C)
    select[:, :n_y] = np.diag(lifted.observables.x_scale[:n_y])
    return bool(
        np.allclose(lifted.C, select, rtol=1e-8, atol=1e-10) and np.allclose(lifted.y_op, lifted.x_op[:n_y])
    )


def _add_qp(mpc: LinearMPC, data: DataSection, state: StateLayout) -> None:
    """The condensed QP, hard and soft, and its workspaces."""
    qp, problem = mpc._qp, mpc.problem
    n_v, n_rows = qp.n_v, len(qp.rows)
    n_e = n_rows - qp.n_rate
    n_soft = n_e if problem.soft else 0
    size = n_v + n_soft
    n_end, n_w = len(problem.E_end), qp.from_known_set_point.shape[1]
    owner = np.searchsorted(problem.blocks, np.arange(mpc.horizon), side="right") - 1
    data.define(
        N_V=n_v, N_RATE=qp.n_rate, N_E=n_e, N_END=n_end, N_SOFT=n_soft, N_W=n_w,
        RATE_COST=int(mpc._memory.has_rate_cost),
        MAX_ITERATIONS=100 + 20 * (size + n_rows),
    )  # fmt: skip
    names = ["H", "rows", "scale", "lower", "upper", "from_set_point", "from_preview"]
    names += ["from_last_input"] if mpc._memory.has_rate_cost else []
    names += ["row_scale"] if qp.n_rate else []
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
        scale = qp.row_scale[qp.n_rate :]
        linear, quadratic = problem.row_soft_weights
        unit = scale / np.sqrt(quadratic)
        data.array("slack_unit", unit)
        data.array("slack_gradient", 0.5 * linear / scale * unit)
        data.array("slack_size", unit / scale)
    state.doubles(w=n_w)
    add_step(state, problem.n_u, mpc.horizon, n_v, n_rows, n_soft)


def _felt(from_reference: FloatArray, n_v: int, n_end: int) -> FloatArray:
    """The rows that references reach: the gradient's, and after them the terminal set's."""
    return np.vstack([from_reference[:n_v], from_reference[max(n_v, len(from_reference) - n_end) :]])


def _add_fall_back(mpc: LinearMPC, data: DataSection) -> None:
    """The LQR's input: `u_s(r) - K (z - z_s(r))`."""
    data.define(HAS_LQR=int(mpc.K is not None))
    if mpc.K is not None:
        target, source, n_z = mpc.target, mpc._source, mpc.lifted.n_z
        power, forced = mpc._qp.ahead
        lqr_p = mpc.K @ (power @ source.basis)[:n_z]
        if source.model.n_d:
            lqr_p[:, -source.model.n_d :] -= target.u_disturbance + mpc.K @ target.z_disturbance
        data.array("lqr_p", lqr_p)
        begin = power @ source.offset + forced[:, 0]
        data.array("lqr_r", target.u_gain + mpc.K @ target.z_gain)
        data.array("lqr_constant", target.u_offset + mpc.K @ (target.z_offset - begin[:n_z]))
        lqr_w = -mpc.K @ forced[:n_z, 1:]
        if lqr_w.shape[1]:
            lqr_w[:, lqr_w.shape[1] - source.model.n_v :] += target.u_told + mpc.K @ target.z_told
            data.array("lqr_w", lqr_w)


def _add_set_point(mpc: LinearMPC, data: DataSection) -> None:
    """Bounded least squares that moves set-points out of reach; only where inputs are bounded."""
    problem, target, reachable = mpc.problem, mpc.target, mpc._reachable
    bounded = np.isfinite(problem.u_min).any() or np.isfinite(problem.u_max).any()
    data.define(MOVES_SET_POINT=int(bounded))
    if not bounded:
        return
    n_w, n_u = reachable._n_weighted, problem.n_u
    level = max(float(np.abs(reachable._rows[:n_w, :n_u]).max(initial=0.0)), 1e-300)
    # What inputs do to the distance, t (see controllers.set_points) chosen best for each of them.
    idle = reachable._idle @ np.linalg.pinv(reachable._weight @ reachable._idle, rcond=1e-12)
    rest = (np.eye(n_w) - reachable._weight @ idle) / level
    seen = rest @ reachable._rows[:n_w, :n_u]
    outside = reachable._rows[n_w + n_u :, :n_u] / level
    normal = seen.T @ seen + outside.T @ outside
    _, sizes, directions = np.linalg.svd(np.vstack([seen, outside]))
    tolerance = 1e-9 * max(1.0, float(np.abs(seen).max(initial=0.0)))
    held = directions[: int(np.count_nonzero(sizes > tolerance))]
    prox = 0.0 if len(held) == n_u else 1e-7
    H = normal + prox * np.eye(n_u)
    n_held = len(held) if prox else 0
    data.define(REACH_HELD=n_held)
    arrays = {
        "reach_H": H, "reach_Linv": np.tril(np.linalg.inv(np.linalg.cholesky(H))), "reach_normal": normal,
        "reach_pull": seen.T @ rest @ reachable._weight, "reach_prox": [prox], "reach_gain": reachable._gain,
        "reach_idle": idle @ reachable._weight, "u_gain": target.u_gain, "u_offset": target.u_offset,
        "u_disturbance": target.u_disturbance, "y_gain": target.y_gain, "y_offset": target.y_offset,
        "y_disturbance": target.y_disturbance, "u_told": target.u_told, "y_told": target.y_told,
        "from_wish": _felt(mpc._qp.from_wish_set_point, mpc._qp.n_v, len(problem.E_end)),
    }  # fmt: skip
    if not mpc.n_v:
        del arrays["u_told"], arrays["y_told"]
    if mpc.K is not None:
        arrays["lqr_wish"] = target.u_input + mpc.K @ target.z_input
    if n_held:
        R = mpc.R / float(np.abs(mpc.R).max())
        arrays |= {
            "near_H": R, "near_Linv": np.tril(np.linalg.inv(np.linalg.cholesky(R))), "near_rows": held,
        }  # fmt: skip
    for name, values in arrays.items():
        data.array(name, values)


def _add_diagnostics(mpc: LinearMPC, data: DataSection) -> None:
    """Predictions `y_k = C (A^(k+delay) z_0 + what is forced + sum_j A^(k-1-j) B du_j) + y_op`."""
    model, source = mpc._source.model, mpc._source
    free, markov = [], []
    step, reach = mpc._qp.ahead[0] @ source.basis, model.B
    for _ in range(mpc.horizon + 1):
        free.append(model.C @ step)
        markov.append(model.C @ reach)
        step, reach = model.A @ step, model.A @ reach
    forced = model.C @ forced_responses(model, mpc.horizon, mpc.problem.delay)
    n_d = 0 if source.observer is not None else model.n_d
    n_raw = source.basis.shape[1] - n_d
    data.array("predict_p", np.stack(free)[:, :, :n_raw])
    if n_d:
        data.array("predict_d", np.stack(free)[:, :, n_raw:])
    data.array("predict_constant", forced[:, :, 0] + mpc.lifted.y_op)
    if forced.shape[2] > 1:
        data.array("predict_w", forced[:, :, 1:])
    data.array("markov", np.stack(markov[:-1]))
