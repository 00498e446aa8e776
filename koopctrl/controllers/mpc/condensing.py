r"""Condensing: the finite-horizon problem as a QP in the inputs alone.

With `v` the (blocked) inputs' deviations from `u_op`, predictions are affine, `z_k = A^k z_0 + Gamma_k v +
kappa_k`, and the QP is

.. math:: \min_v \tfrac12 v'Hv + (F p + g(r, u_{-1}, w))'v \quad\text{s.t. bounds on } v \text{ and } A_v v

`p` are the raw features of the measurement, `z_0 = basis p + offset`; `w` holds the inputs on their way,
where there is a delay, and the measured disturbances. All that depends on the lifted dimension is `F` and the
bounded rows' free response, one matrix with as many rows as variables and bounded rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.mpc.lowering import (
    block_diagonal,
    input_hessian,
    input_rows,
    plain_bounds,
    scale_rows,
)
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.steady_state.linear import SteadyTarget


@dataclass(frozen=True)
class CondensedMPC:
    """The lowered problem, scaled: its variables are `v / scale`, its rows have norm 1.

    "Known" are the gradient and, after it, the `n_b` bounded rows' response without new inputs.

    Attributes
    ----------
    H : (n_v, n_v) array
        With a unit diagonal.
    scale : (n_v,) array
    rows : (n_rate + n_b, n_v) array
        Moves of the inputs, then bounded combinations of outputs and states.
    n_rate : int
    row_scale : array
    online_set_point, online_preview : (n_v + n_b, n_p) arrays
        Known part from the features; they differ only where there are disturbances.
    constant_set_point, constant_preview : (n_v + n_b,) arrays
    from_set_point : (n_v + n_b, n_y) array
    from_preview : (n_v + n_b, (N + 1) n_y) array
    from_known_set_point, from_known_preview : (n_v + n_b, n_w) arrays
        From `w`: inputs on their way, then measured disturbances, in deviations.
    from_wish_set_point, from_wish_preview : (n_v + n_b, n_u) arrays
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


def condense(
    model: Augmented,
    problem: MPCProblem,
    target: SteadyTarget,
    P: FloatArray | None,
    basis: FloatArray,
    offset: FloatArray,
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
    """
    lifted, N, n_u, n_v_told = model.lifted, problem.horizon, model.n_u, model.n_v
    n_z, n_y, n_a, delay = lifted.n_z, lifted.n_y, len(model.A), problem.delay
    T = problem.blocking()
    reach = _input_responses(model, N)
    forced = forced_responses(model, N, delay)
    on_outputs = problem.Q.shape[1] == n_y
    tracked = model.C if on_outputs else np.eye(n_z, n_a)
    gamma = _toeplitz(np.einsum("qz,jzu->jqu", tracked, reach, optimize=True)) @ T
    n_stage = N if P is None else N - 1
    weighted = [gamma[k].T @ problem.Q[k] for k in range(n_stage)]

    # Gradient through the adjoint recursion S <- S A + Gamma_k' Q tracked, so that no power of A is formed.
    n_v = T.shape[1]
    H, from_last = input_hessian(problem)
    adjoint, g_forced = np.zeros((n_v, n_a)), np.zeros((n_v, forced.shape[2]))
    terminal = np.zeros((n_v, n_z))
    if P is not None:
        gamma_n = reach[::-1].transpose(1, 0, 2).reshape(n_a, N * n_u)[:n_z] @ T
        terminal = gamma_n.T @ P
        H = H + terminal @ gamma_n
        adjoint[:, :n_z] = terminal
        g_forced = terminal @ forced[N, :n_z]
    for k in range(N, 0, -1):
        if k <= n_stage:
            adjoint = adjoint + weighted[k - 1] @ tracked
            g_forced = g_forced + weighted[k - 1] @ (tracked @ forced[k])
            H = H + weighted[k - 1] @ gamma[k - 1]
        adjoint = adjoint @ model.A

    # Bounded combinations of outputs and states, and the terminal set's, which counts from the target.
    combination = problem.E[:, :n_y] @ model.C
    combination[:, : lifted.n_x] += problem.E[:, n_y:] * lifted.observables.x_scale
    level = problem.E[:, :n_y] @ lifted.y_op + problem.E[:, n_y:] @ lifted.x_op
    at_end = np.zeros((len(problem.E_end), n_a))
    at_end[:, : lifted.n_x] = problem.E_end * lifted.observables.x_scale
    e_rows, e_state, e_forced = _bounded_rows(model, combination, level, at_end, reach, forced)
    e_rows = e_rows @ T

    # What pulls: the steady target, linear in [r; d; dv; du; 1].
    goals = [
        np.column_stack(
            [getattr(target, f"{name}_{part}") for part in ("gain", "disturbance", "told", "input", "offset")]
        )
        for name in ("y", "z", "u")
    ]
    goals[0][:, -1] -= lifted.y_op
    goals[2][:, -1] -= model.u_op
    by_input = T.T @ np.concatenate(list(problem.R))
    end_pull = np.zeros((n_v + len(e_rows), goals[0].shape[1]))
    end_pull[:n_v] = terminal @ goals[1] + by_input @ goals[2]
    end_pull[len(end_pull) - len(at_end) :] = at_end[:, :n_z] @ goals[1]
    stage_sum = sum(weighted, np.zeros((n_v, gamma.shape[1])))
    pull, later = end_pull.copy(), end_pull.copy()
    pull[:n_v] += stage_sum @ goals[0 if on_outputs else 1]
    from_preview = np.zeros((len(pull), N + 1, n_y))
    for k in range(1, n_stage + 1):
        from_preview[:n_v, k] -= weighted[k - 1] if on_outputs else weighted[k - 1] @ target.z_gain
    for k in range(N):
        from_preview[:n_v, k] -= T[k * n_u : (k + 1) * n_u].T @ problem.R[k] @ target.u_gain
    from_preview[:n_v, N] -= terminal @ target.z_gain
    from_preview[n_v:, N] -= end_pull[n_v:, :n_y]
    if on_outputs:
        later[:n_v, -1] -= stage_sum @ lifted.y_op
    else:
        later[:n_v] += stage_sum @ goals[1]

    scale = 1.0 / np.sqrt(np.diag(H))
    r_rows = input_rows(problem)
    rows, row_scale = scale_rows(np.vstack([r_rows, e_rows]) * scale)
    heights = np.concatenate([scale, row_scale[len(r_rows) :]])
    units = np.concatenate([1.0 / scale, row_scale])
    lower, upper = (side * units for side in plain_bounds(problem, model.u_op))
    known = np.vstack([g_forced, e_forced])
    n_d = model.n_d
    told = slice(n_y + n_d, n_y + n_d + n_v_told)
    wished = slice(told.stop, told.stop + n_u)
    for _ in range(delay):
        adjoint, e_state = adjoint @ model.A, e_state @ model.A

    def online(pulls: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Known part from `p`, `1` and `w`."""
        matrix = np.vstack([adjoint, e_state])
        matrix[:, n_z:] -= pulls[:, n_y : n_y + n_d]
        constant = known[:, 0] - pulls[:, -1] + matrix @ offset
        from_w = known[:, 1:].copy()
        from_w[:, from_w.shape[1] - n_v_told :] -= pulls[:, told]
        matrix = np.ascontiguousarray((matrix @ basis) * heights[:, None])
        return matrix, constant * heights, from_w * heights[:, None]

    on_set_point, constant_set_point, w_set_point = online(pull)
    on_preview, constant_preview, w_preview = online(later)
    power = np.linalg.matrix_power(model.A, delay) if delay else np.eye(n_a)
    return CondensedMPC(
        H=H * scale * scale[:, None],
        scale=scale,
        rows=rows,
        n_rate=len(r_rows),
        row_scale=row_scale,
        online_set_point=on_set_point,
        online_preview=on_preview,
        constant_set_point=constant_set_point,
        constant_preview=constant_preview,
        from_set_point=-pull[:, :n_y] * heights[:, None],
        from_preview=from_preview.reshape(len(pull), -1) * heights[:, None],
        from_known_set_point=w_set_point,
        from_known_preview=w_preview,
        from_wish_set_point=-pull[:, wished] * heights[:, None],
        from_wish_preview=-later[:, wished] * heights[:, None],
        from_input_preview=-(T.T @ block_diagonal(problem.R)) * scale[:, None],
        from_last_input=from_last * scale[:, None],
        lower=lower,
        upper=upper,
        ahead=(power, forced[0]),
    )


def _input_responses(model: Augmented, N: int) -> FloatArray:
    """`A^j B` for `0 <= j < N`, shape `(N, n_a, n_u)`."""
    out = np.empty((N, *model.B.shape))
    out[0] = model.B
    for j in range(1, N):
        out[j] = model.A @ out[j - 1]
    return out


def forced_responses(model: Augmented, N: int, delay: int) -> FloatArray:
    """State's response to `[1; w]` at steps `delay` to `delay + N`, shape `(N + 1, n_a, 1 + n_w)`.

    `w` are the `delay` inputs on their way, oldest first, then `N + delay` measured disturbances.
    """
    n_a, n_u, n_v = len(model.A), model.n_u, model.n_v
    out = np.zeros((N + 1, n_a, 1 + delay * n_u + (N + delay) * n_v))
    now, first_v = np.zeros(out.shape[1:]), 1 + delay * n_u
    for k in range(delay + N):
        if k >= delay:
            out[k - delay] = now
        now = model.A @ now
        now[:, 0] += model.c
        if k < delay:
            now[:, 1 + k * n_u : 1 + (k + 1) * n_u] += model.B
        now[:, first_v + k * n_v : first_v + (k + 1) * n_v] += model.Bv
    out[N] = now
    return out


def _bounded_rows(
    model: Augmented,
    combination: FloatArray,
    level: FloatArray,
    at_end: FloatArray,
    reach: FloatArray,
    forced: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bounded rows' response to inputs, to the state the horizon starts from, and to `[1; w]`."""
    (N, n_a, n_u), n_e = reach.shape, len(combination)
    by_input = _toeplitz(np.einsum("qz,jzu->jqu", combination, reach)).reshape(N * n_e, N * n_u)
    by_input_end = (at_end @ reach[::-1]).transpose(1, 0, 2).reshape(len(at_end), N * n_u)
    free, step, end = np.empty((N, n_e, n_a)), combination, at_end
    for k in range(N):
        step, end = step @ model.A, end @ model.A
        free[k] = step
    by_forced = combination @ forced[1:]
    by_forced[:, :, 0] += level
    return (
        np.vstack([by_input, by_input_end]),
        np.vstack([free.reshape(N * n_e, n_a), end]),
        np.vstack([by_forced.reshape(N * n_e, forced.shape[2]), at_end @ forced[N]]),
    )


def _toeplitz(markov: FloatArray) -> FloatArray:
    """Rows `[G_{k-1} .. G_0 0 ..]` for steps 1 to N: `(N, n_q, N n_u)` from `(N, n_q, n_u)`."""
    N, n_q, n_u = markov.shape
    out = np.zeros((N, n_q, N, n_u))
    for k in range(N):
        out[k, :, : k + 1] = markov[k::-1].transpose(1, 0, 2)
    return out.reshape(N, n_q, N * n_u)
