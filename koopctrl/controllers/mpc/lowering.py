"""Parts of a condensed QP that do not depend on the model: input costs, moves, scalings, bounds."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.problem import MPCProblem


def input_rows(problem: MPCProblem) -> FloatArray:
    """Rows that give each block's input move, `v_j - v_{j-1}`; none unless moves are bounded."""
    n_u, n_blocks = problem.n_u, len(problem.blocks)
    if not problem.bounds_rate:
        return np.empty((0, n_blocks * n_u))
    return np.eye(n_blocks * n_u) - np.eye(n_blocks * n_u, k=-n_u)


def move_cost(problem: MPCProblem) -> FloatArray:
    """Weight of inputs and of their moves on the whole of the inputs, `(N n_u, N n_u)`."""
    size, n_u = problem.horizon * problem.n_u, problem.n_u
    moves = np.eye(size) - np.eye(size, k=-n_u)
    return block_diagonal(problem.R) + moves.T @ block_diagonal(problem.S) @ moves


def input_hessian(problem: MPCProblem) -> tuple[FloatArray, FloatArray]:
    """Hessian of the input terms `(n_v, n_v)`, and the gradient's map from the last input `(n_v, n_u)`."""
    T = problem.blocking()
    return T.T @ move_cost(problem) @ T, -T[: problem.n_u].T @ problem.S[0]


def block_diagonal(blocks: FloatArray) -> FloatArray:
    """`(N n, N n)` from `(N, n, n)`."""
    return np.asarray(linalg.block_diag(*blocks))


def plain_bounds(problem: MPCProblem, u_op: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bounds of variables, moves, combinations, and the terminal set, in physical units."""
    n_blocks = len(problem.blocks)
    sides = []
    for u, du, e, end in (
        (problem.u_min, problem.du_min, problem.e_low, problem.end_min),
        (problem.u_max, problem.du_max, problem.e_high, problem.end_max),
    ):
        moves = np.tile(du, n_blocks if problem.bounds_rate else 0)
        sides.append(np.concatenate([np.tile(u - u_op, n_blocks), moves, e.ravel(), end]))
    return sides[0], sides[1]
