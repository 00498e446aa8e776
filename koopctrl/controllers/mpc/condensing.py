r"""Condensing: the finite-horizon problem as a QP in the inputs alone.

Predictions are affine in the QP's variables `v`, in the state `z_0` at which the new input begins to act and
in `[1; w]`, where `w` holds the inputs on their way, where there is a delay, and the measured disturbances.
The QP is

.. math:: \min_v \tfrac12 v'Hv + (F p + g(r, u_{-1}, w))'v \quad\text{s.t. bounds on } v \text{ and } A_v v

`p` are the raw features of the measurement, `z_0 = basis p + offset`. The variables are the (blocked) inputs'
deviations from `u_op`; where that QP is ill conditioned, as with unstable models and long horizons, they are
what is added to a feedback, `u = -K z + v` (`koopctrl.controllers.mpc.feedback`), and bounds on inputs become
rows. All that depends on the lifted dimension is `F` and the rows' free response, one matrix with as many
rows as variables and rows that the state enters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.mpc.feedback import COND_LIMIT, condition, dynamic_programme
from koopctrl.controllers.mpc.lowering import move_cost, plain_bounds
from koopctrl.controllers.mpc.predictions import (
    Predictions,
    feedback_predictions,
    forced_responses,
    plain_predictions,
)
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.qp.dense import scale_rows
from koopctrl.controllers.steady_state.linear import SteadyTarget

__all__ = ["CondensedMPC", "condense", "forced_responses", "predictions"]


@dataclass(frozen=True)
class CondensedMPC:
    """The lowered problem, scaled: its variables are `v / scale`, its rows have norm 1.

    Rows are, in this order: inputs, if they are a feedback; moves of the inputs; bounded combinations of
    outputs and states. "Known" are the gradient and, after it, the part of the rows from `n_static` on that
    does not depend on the variables.

    Attributes
    ----------
    H : (n_v, n_v) array
        With a unit diagonal.
    scale : (n_v,) array
    rows : (n_rows, n_v) array
    n_inputs, n_rate : int
        Number of rows that are inputs (0 or `n_v`), and moves.
    row_scale : array
    online_set_point, online_preview : (n_known, n_p) arrays
        Known part from the features; they differ only where there are disturbances.
    constant_set_point, constant_preview : (n_known,) arrays
    from_set_point : (n_known, n_y) array
    from_preview : (n_known, (N + 1) n_y) array
    from_known_set_point, from_known_preview : (n_known, n_w) arrays
        From `w`: inputs on their way, then measured disturbances, in deviations.
    from_wish_set_point, from_wish_preview : (n_known, n_u) arrays
        From the input wished for in the steady state, in deviations from `u_op`.
    from_input_preview : (n_v, N n_u) array
        From a trajectory of inputs, in deviations from the steady inputs.
    from_last_input : (n_v, n_u) array
    lower, upper : arrays
        Bounds of variables and rows before what is known online is taken off.
    ahead : (A^delay, (n_z + n_d, 1 + n_w) array)
        State at which the new input begins to act, from the present one, and from `[1; w]`.
    """

    H: FloatArray
    scale: FloatArray
    rows: FloatArray
    n_inputs: int
    n_rate: int
    row_scale: FloatArray
    online_set_point: FloatArray
    online_preview: FloatArray
    constant_set_point: FloatArray
    constant_preview: FloatArray
    from_set_point: FloatArray
    from_preview: FloatArray
    from_known_set_point: FloatArray
    from_known_preview: FloatArray
    from_wish_set_point: FloatArray
    from_wish_preview: FloatArray
    from_input_preview: FloatArray
    from_last_input: FloatArray
    lower: FloatArray
    upper: FloatArray
    ahead: tuple[FloatArray, FloatArray]

    @property
    def n_v(self) -> int:
        """Number of variables."""
        return len(self.H)

    @property
    def n_hard(self) -> int:
        """Number of rows that are never relaxed: inputs and moves."""
        return self.n_inputs + self.n_rate

    @property
    def n_static(self) -> int:
        """Number of first rows that depend on the variables and the last input alone."""
        return 0 if self.n_inputs else self.n_rate

    @property
    def width(self) -> float:
        """Narrowest range of an input, in scaled units; infinite where there is none."""
        k = self.n_v + self.n_inputs
        ranges = self.upper[:k] - self.lower[:k]
        return float(np.min(ranges[ranges > 0.0], initial=np.inf))

    def inputs(self, x: FloatArray, known: FloatArray) -> FloatArray:
        """Blocked inputs' deviations from `u_op`, from an answer of the QP and what was known."""
        if not self.n_inputs:
            return x * self.scale
        n = self.n_v
        return (self.rows[:n] @ x + known[n : 2 * n]) / self.row_scale[:n]


def condense(
    model: Augmented,
    problem: MPCProblem,
    target: SteadyTarget,
    P: FloatArray | None,
    basis: FloatArray,
    offset: FloatArray,
    *,
    feedback: bool | None = None,
) -> CondensedMPC:
    """Lower a problem.

    Parameters
    ----------
    model : Augmented
    problem : MPCProblem
    target : SteadyTarget
    P : (n_z, n_z) array or None
        Terminal weight on `z_N - z_s`; None for the stage weight on `y_N`.
    basis, offset : arrays
        `[z_0; d] = basis p + offset`.
    feedback : bool, optional
        Whether the variables are added to a feedback; by default where that is better conditioned.
    """
    seen, H = predictions(model, problem, P, feedback)
    if not np.isfinite(H).all():
        raise np.linalg.LinAlgError("the condensed Hessian is not finite")
    return _scaled(H, seen, model, problem, target, P, basis, offset)


def predictions(
    model: Augmented, problem: MPCProblem, P: FloatArray | None, feedback: bool | None = None
) -> tuple[Predictions, FloatArray]:
    """Responses to the QP's variables, and its Hessian in them; see `condense`."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen = plain_predictions(model, problem)
        H = _hessian(seen, problem, P)
    worst = condition(H) if feedback is None else (np.inf if feedback else 0.0)
    if worst > COND_LIMIT:
        closed = feedback_predictions(model, problem, _gains(model, problem, P))
        closed_H = _hessian(closed, problem, P)
        if feedback or condition(closed_H) < worst:
            return closed, closed_H
    return seen, H


def _hessian(seen: Predictions, problem: MPCProblem, P: FloatArray | None) -> FloatArray:
    """Of the cost in the variables."""
    n_v = seen.inputs.shape[2]
    inputs = seen.inputs.reshape(-1, n_v)
    H = inputs.T @ (move_cost(problem) @ inputs)
    n_stage = problem.horizon if P is None else problem.horizon - 1
    for k in range(n_stage):
        H = H + seen.tracked[k].T @ (problem.Q[k] @ seen.tracked[k])
    if P is not None:
        H = H + seen.last[: len(P)].T @ (P @ seen.last[: len(P)])
    return 0.5 * (H + H.T)


def _gains(model: Augmented, problem: MPCProblem, P: FloatArray | None) -> FloatArray:
    """Feedback from the problem's dynamic programme `(n_blocks, n_u, n_a)`; none from disturbances."""
    n_z, n_u = model.lifted.n_z, model.n_u
    on_outputs = problem.Q.shape[1] == model.lifted.n_y
    C = model.C[:, :n_z]

    def weight(k: int) -> FloatArray:
        return C.T @ problem.Q[k - 1] @ C if on_outputs else problem.Q[k - 1]

    A, B = model.lifted.A, model.B[:n_z]
    last = weight(problem.horizon) if P is None else P
    gains = dynamic_programme(lambda _: (A, B), weight, problem.R + problem.S, last, problem.blocks)
    return np.concatenate([gains, np.zeros((len(gains), n_u, model.n_d))], axis=2)


def _scaled(
    H: FloatArray,
    seen: Predictions,
    model: Augmented,
    problem: MPCProblem,
    target: SteadyTarget,
    P: FloatArray | None,
    basis: FloatArray,
    offset: FloatArray,
) -> CondensedMPC:
    """Known parts and bounds, in the scaled units."""
    n_z, n_y, n_u, n_v = model.lifted.n_z, model.lifted.n_y, model.n_u, len(H)
    n_d, n_told, delay = model.n_d, model.n_v, problem.delay
    scale = 1.0 / np.sqrt(np.diag(H))
    n_free = len(seen.rows) - problem.n_bounded
    rows, row_scale = scale_rows(
        seen.rows * scale, np.concatenate([np.ones(n_free), problem.idle_units]), problem.repeated(n_free)
    )
    n_static = len(seen.rows) - len(seen.rows_free)
    heights = np.concatenate([scale, row_scale[n_static:]])
    bounds = plain_bounds(problem, model.u_op)
    if seen.is_feedback:
        bounds = tuple(
            np.concatenate([np.full(n_v, i), side]) for i, side in zip((-np.inf, np.inf), bounds, strict=True)
        )
    units = np.concatenate([1.0 / scale, row_scale])
    matrix, known = _known_from_state(seen, model, problem, P)
    pulls = _pulls(seen, model, problem, target, P)
    told = slice(n_y + n_d, n_y + n_d + n_told)
    wished = slice(told.stop, told.stop + n_u)

    def online(pull: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Known part from `p`, `1` and `w`."""
        on_state = matrix.copy()
        on_state[:, n_z:] -= pull[:, n_y : n_y + n_d]
        constant = known[:, 0] - pull[:, -1] + on_state @ offset
        from_w = known[:, 1:].copy()
        from_w[:, from_w.shape[1] - n_told :] -= pull[:, told]
        on_features = np.ascontiguousarray((on_state @ basis) * heights[:, None])
        return on_features, constant * heights, from_w * heights[:, None]

    on_set_point, constant_set_point, w_set_point = online(pulls.set_point)
    on_preview, constant_preview, w_preview = online(pulls.preview)
    inputs = seen.inputs.reshape(-1, n_v)
    costs = np.matmul(seen.inputs.transpose(0, 2, 1), problem.R)
    power = np.linalg.matrix_power(model.A, delay) if delay else np.eye(len(model.A))
    return CondensedMPC(
        H=H * scale * scale[:, None],
        scale=scale,
        rows=rows,
        n_inputs=n_v if seen.is_feedback else 0,
        n_rate=seen.n_rate,
        row_scale=row_scale,
        online_set_point=on_set_point,
        online_preview=on_preview,
        constant_set_point=constant_set_point,
        constant_preview=constant_preview,
        from_set_point=-pulls.set_point[:, :n_y] * heights[:, None],
        from_preview=pulls.by_row.reshape(len(heights), -1) * heights[:, None],
        from_known_set_point=w_set_point,
        from_known_preview=w_preview,
        from_wish_set_point=-pulls.set_point[:, wished] * heights[:, None],
        from_wish_preview=-pulls.preview[:, wished] * heights[:, None],
        from_input_preview=-costs.transpose(1, 0, 2).reshape(n_v, -1) * scale[:, None],
        from_last_input=-(inputs[:n_u].T @ problem.S[0]) * scale[:, None],
        lower=bounds[0] * units,
        upper=bounds[1] * units,
        ahead=(power, seen.forced[0]),
    )


def _known_from_state(
    seen: Predictions, model: Augmented, problem: MPCProblem, P: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Gradient and rows from the present `[z; d]`, and from `[1; w]`.

    The gradient comes through the adjoint recursion `S <- S A + Gamma_k' Q C`, so that no power of `A` is
    formed.
    """
    N, n_z, n_v = problem.horizon, model.lifted.n_z, seen.inputs.shape[2]
    n_stage = N if P is None else N - 1
    from_forced = np.zeros((n_v, seen.forced.shape[2]))
    pulled: list[FloatArray | None] = [None] * (N + 1)
    for k in range(1, n_stage + 1):
        weighted = seen.tracked[k - 1].T @ problem.Q[k - 1]
        pulled[k] = weighted @ seen.tracking
        from_forced += weighted @ (seen.tracking @ seen.forced[k])
    if P is not None:
        terminal = np.zeros((n_v, len(model.A)))
        terminal[:, :n_z] = seen.last[:n_z].T @ P
        pulled[N] = terminal
        from_forced += terminal @ seen.forced[N]
    on_inputs = seen.inputs.reshape(-1, n_v).T @ move_cost(problem)
    from_forced += on_inputs @ seen.forced_inputs.reshape(-1, seen.forced.shape[2])
    gradient = seen.adjoint(pulled, on_inputs.reshape(n_v, N, -1).transpose(1, 0, 2))
    matrix = np.vstack([gradient, seen.rows_free])
    for _ in range(problem.delay):
        matrix = matrix @ model.A
    return matrix, np.vstack([from_forced, seen.rows_forced])


@dataclass(frozen=True)
class _Pulls:
    """What draws the gradient (and the terminal set's rows) towards the steady target.

    `set_point` and `preview` are linear in `[r; d; dv; du; 1]`; along a preview, `by_row` takes the place of
    `r`.
    """

    set_point: FloatArray
    preview: FloatArray
    by_row: FloatArray


def _pulls(
    seen: Predictions, model: Augmented, problem: MPCProblem, target: SteadyTarget, P: FloatArray | None
) -> _Pulls:
    lifted, N, n_v = model.lifted, problem.horizon, seen.inputs.shape[2]
    n_z, n_y = lifted.n_z, lifted.n_y
    n_stage = N if P is None else N - 1
    on_outputs = problem.Q.shape[1] == n_y
    weighted = [seen.tracked[k].T @ problem.Q[k] for k in range(n_stage)]
    goals = [
        np.column_stack(
            [getattr(target, f"{name}_{part}") for part in ("gain", "disturbance", "told", "input", "offset")]
        )
        for name in ("y", "z", "u")
    ]
    goals[0][:, -1] -= lifted.y_op
    goals[2][:, -1] -= model.u_op
    costs = np.matmul(seen.inputs.transpose(0, 2, 1), problem.R)
    n_known = n_v + len(seen.rows_free)
    terminal = np.zeros((n_v, n_z)) if P is None else seen.last[:n_z].T @ P
    end_pull = np.zeros((n_known, goals[0].shape[1]))
    end_pull[:n_v] = terminal @ goals[1] + costs.sum(axis=0) @ goals[2]
    end_pull[n_known - len(seen.at_end) :] = seen.at_end[:, :n_z] @ goals[1]
    stage_sum = sum(weighted, np.zeros((n_v, problem.Q.shape[1])))
    pull, later = end_pull.copy(), end_pull.copy()
    pull[:n_v] += stage_sum @ goals[0 if on_outputs else 1]
    by_row = np.zeros((n_known, N + 1, n_y))
    for k in range(1, n_stage + 1):
        by_row[:n_v, k] -= weighted[k - 1] if on_outputs else weighted[k - 1] @ target.z_gain
    for k in range(N):
        by_row[:n_v, k] -= costs[k] @ target.u_gain
    by_row[:n_v, N] -= terminal @ target.z_gain
    by_row[n_v:, N] -= end_pull[n_v:, :n_y]
    if on_outputs:
        later[:n_v, -1] -= stage_sum @ lifted.y_op
    else:
        later[:n_v] += stage_sum @ goals[1]
    return _Pulls(pull, later, by_row)
