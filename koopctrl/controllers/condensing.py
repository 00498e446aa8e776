r"""Condensing: the finite-horizon problem as a QP in the inputs alone.

With `v` the (blocked) inputs' deviations from `u_op`, predictions are affine, `z_k = A^k z_0 + Gamma_k v +
kappa_k`, and the QP is

.. math:: \min_v \tfrac12 v'Hv + (F p + g(r, u_{-1}))'v \quad\text{s.t. bounds on } v \text{ and } A_v v

`p` are the raw features of the measurement, `z_0 = basis p + offset`. All that depends on the lifted
dimension is `F` and the bounded rows' free response, one matrix with as many rows as variables and bounded
rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.disturbance import Augmented
from koopctrl.controllers.problem import MPCProblem
from koopctrl.controllers.targets import SteadyTarget, weight_factor


@dataclass(frozen=True)
class CondensedMPC:
    """The lowered problem, scaled: its variables are `v / scale`, its rows have norm 1.

    Attributes
    ----------
    H : (n_v, n_v) array
        With a unit diagonal.
    scale : (n_v,) array
    rows : (n_rate + n_e N, n_v) array
        Moves of the inputs, then bounded combinations of outputs and states.
    n_rate : int
    row_scale : array
    online_set_point, online_preview : (n_v + n_e N, n_p) arrays
        `F`, then the bounded rows' free response; they differ only where there are disturbances.
    constant_set_point, constant_preview : (n_v + n_e N,) arrays
    from_set_point : (n_v, n_y) array
    from_preview : (n_v, (N + 1) n_y) array
    from_last_input : (n_v, n_u) array
    lower, upper : arrays
        Bounds of variables and rows before what is known online is taken off.
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
    from_last_input: FloatArray
    lower: FloatArray
    upper: FloatArray

    @property
    def n_v(self) -> int:
        """Number of variables."""
        return len(self.H)


def input_rows(problem: MPCProblem) -> FloatArray:
    """Rows that give each block's input move, `v_j - v_{j-1}`; none unless moves are bounded."""
    n_u, n_blocks = problem.n_u, len(problem.blocks)
    if not problem.bounds_rate:
        return np.empty((0, n_blocks * n_u))
    return np.eye(n_blocks * n_u) - np.eye(n_blocks * n_u, k=-n_u)


def input_hessian(problem: MPCProblem) -> tuple[FloatArray, FloatArray]:
    """Hessian of the input terms `(n_v, n_v)`, and the gradient's map from the last input `(n_v, n_u)`."""
    N, n_u = problem.horizon, problem.n_u
    T = problem.blocking()
    moves = (np.eye(N * n_u) - np.eye(N * n_u, k=-n_u)) @ T
    hessian = T.T @ np.kron(np.eye(N), problem.R) @ T
    hessian += moves.T @ np.kron(np.eye(N), problem.S) @ moves
    return hessian, -moves[:n_u].T @ problem.S


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
    lifted, N, n_u, n_z = model.lifted, problem.horizon, problem.n_u, model.lifted.n_z
    n_y, n_a = lifted.n_y, len(model.A)
    T = problem.blocking()
    blocked = len(problem.blocks) < N
    reach = _input_responses(model, N)
    drift = _drift(model, N)

    root = weight_factor(problem.Q)
    on_outputs = len(problem.Q) == n_y
    tracked = root @ model.C if on_outputs else np.hstack([root, np.zeros((len(root), n_a - n_z))])
    gamma = _toeplitz(np.einsum("qz,jzu->jqu", tracked, reach, optimize=True))
    gamma = gamma @ T if blocked else gamma
    n_stage = N if P is None else N - 1

    # Gradient through the adjoint recursion S <- S A + Gamma_k' Cq, so that no power of A is formed.
    n_v = T.shape[1]
    H, from_last = input_hessian(problem)
    adjoint, g_drift = np.zeros((n_v, n_a)), np.zeros(n_v)
    terminal = np.zeros((n_v, n_z))
    if P is not None:
        gamma_n = reach[::-1].transpose(1, 0, 2).reshape(n_a, N * n_u)[:n_z] @ T
        terminal = gamma_n.T @ P
        H = H + terminal @ gamma_n
        adjoint[:, :n_z] = terminal
        g_drift = terminal @ drift[N, :n_z]
    for k in range(N, 0, -1):
        if k <= n_stage:
            adjoint = adjoint + gamma[k - 1].T @ tracked
            g_drift = g_drift + gamma[k - 1].T @ (tracked @ drift[k])
            H = H + gamma[k - 1].T @ gamma[k - 1]
        adjoint = adjoint @ model.A

    # References: stage targets rho(r), terminal z_s(r), input targets u_s(r).
    stage_sum = gamma[:n_stage].sum(axis=0).T
    ones = T.T @ np.tile(problem.R, (N, 1))
    pull_r, pull_d, pull_0 = (
        stage_sum @ (root @ (y if on_outputs else z)) + terminal @ z + ones @ u
        for y, z, u in (
            (target.y_gain, target.z_gain, target.u_gain),
            (target.y_disturbance, target.z_disturbance, target.u_disturbance),
            (target.y_offset - lifted.y_op, target.z_offset, target.u_offset - lifted.u_op),
        )
    )
    preview = np.zeros((n_v, N + 1, n_y))
    for k in range(1, n_stage + 1):
        preview[:, k] -= gamma[k - 1].T @ (root if on_outputs else root @ target.z_gain)
    preview[:, N] -= terminal @ target.z_gain
    for k in range(N):
        preview[:, k] -= T[k * n_u : (k + 1) * n_u].T @ problem.R @ target.u_gain
    later_d = terminal @ target.z_disturbance + ones @ target.u_disturbance
    later_0 = terminal @ target.z_offset + ones @ (target.u_offset - lifted.u_op)
    if on_outputs:
        later_0 = later_0 - stage_sum @ (root @ lifted.y_op)
    else:
        later_d = later_d + stage_sum @ (root @ target.z_disturbance)
        later_0 = later_0 + stage_sum @ (root @ target.z_offset)

    # Bounded combinations of outputs and states.
    combination = problem.E[:, :n_y] @ model.C
    combination[:, : lifted.n_x] += problem.E[:, n_y:] * lifted.observables.x_scale
    level = problem.E[:, :n_y] @ lifted.y_op + problem.E[:, n_y:] @ lifted.x_op
    n_e = len(combination)
    e_rows = _toeplitz(np.einsum("qz,jzu->jqu", combination, reach)).reshape(N * n_e, N * n_u) @ T
    free, step = np.empty((N, n_e, n_a)), combination
    for k in range(N):
        step = step @ model.A
        free[k] = step
    e_free = free.reshape(N * n_e, n_a)
    e_constant = (drift[1:] @ combination.T + level).ravel()

    scale = 1.0 / np.sqrt(np.diag(H))
    r_rows = input_rows(problem)
    rows, row_scale = scale_rows(np.vstack([r_rows, e_rows]) * scale)
    e_scale = row_scale[len(r_rows) :]
    lower, upper = static_bounds(problem, lifted.u_op, scale, row_scale)

    def online(g_d: FloatArray, g_0: FloatArray) -> tuple[FloatArray, FloatArray]:
        F = adjoint.copy()
        F[:, n_z:] -= g_d
        matrix = np.vstack([F * scale[:, None], e_free * e_scale[:, None]])
        constant = np.concatenate([(g_drift - g_0) * scale, e_constant * e_scale])
        return np.ascontiguousarray(matrix @ basis), constant + matrix @ offset

    online_set_point, constant_set_point = online(pull_d, pull_0)
    online_preview, constant_preview = online(later_d, later_0)
    return CondensedMPC(
        H=H * scale * scale[:, None],
        scale=scale,
        rows=rows,
        n_rate=len(r_rows),
        row_scale=row_scale,
        online_set_point=online_set_point,
        online_preview=online_preview,
        constant_set_point=constant_set_point,
        constant_preview=constant_preview,
        from_set_point=-pull_r * scale[:, None],
        from_preview=preview.reshape(n_v, -1) * scale[:, None],
        from_last_input=from_last * scale[:, None],
        lower=lower,
        upper=upper,
    )


def scale_rows(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows of norm 1 and the factors that made them so; a zero row is left alone."""
    norms = np.linalg.norm(rows, axis=1)
    factors = 1.0 / np.where(norms > 0.0, norms, 1.0)
    return rows * factors[:, None], factors


def static_bounds(
    problem: MPCProblem, u_op: FloatArray, scale: FloatArray, row_scale: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Scaled bounds of variables, moves and combinations."""
    n_blocks, N = len(problem.blocks), problem.horizon
    sides = []
    for u, du, e in (
        (problem.u_min, problem.du_min, problem.e_min),
        (problem.u_max, problem.du_max, problem.e_max),
    ):
        moves = np.tile(du, n_blocks if problem.bounds_rate else 0)
        rows = np.concatenate([moves, np.tile(e, N)]) * row_scale
        sides.append(np.concatenate([np.tile(u - u_op, n_blocks) / scale, rows]))
    return sides[0], sides[1]


def _input_responses(model: Augmented, N: int) -> FloatArray:
    """`A^j B` for `0 <= j < N`, shape `(N, n_a, n_u)`."""
    out = np.empty((N, *model.B.shape))
    out[0] = model.B
    for j in range(1, N):
        out[j] = model.A @ out[j - 1]
    return out


def _drift(model: Augmented, N: int) -> FloatArray:
    """Response to `c` alone at steps 0 to N, shape `(N + 1, n_a)`."""
    out = np.zeros((N + 1, len(model.c)))
    if model.c.any():
        for k in range(N):
            out[k + 1] = model.A @ out[k] + model.c
    return out


def _toeplitz(markov: FloatArray) -> FloatArray:
    """Rows `[G_{k-1} .. G_0 0 ..]` for steps 1 to N: `(N, n_q, N n_u)` from `(N, n_q, n_u)`."""
    N, n_q, n_u = markov.shape
    out = np.zeros((N, n_q, N, n_u))
    for k in range(N):
        out[k, :, : k + 1] = markov[k::-1].transpose(1, 0, 2)
    return out.reshape(N, n_q, N * n_u)
