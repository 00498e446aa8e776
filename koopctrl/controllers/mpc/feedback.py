r"""Feedback that keeps predictions of unstable models within reach of arithmetic: `u = -K z + v`.

Predictions in the inputs alone grow like `A^N`; with the inputs written as a feedback of the problem's own
dynamic programme, the new inputs `v` decouple: the Hessian becomes `blockdiag(R + B'PB)` where moves cost
nothing, and is well conditioned where they do. Any gain gives the same optimum; the choice is one of
accuracy.

Rossiter, Kouvaritakis & Rice, *A numerically robust state-space approach to stable-predictive control
strategies*, Automatica 34, 1998.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from koopctrl._validation import FloatArray

# Condition number of the scaled Hessian from which inputs are written as a feedback.
COND_LIMIT = 1e6


def dynamic_programme(
    steps: Callable[[int], tuple[FloatArray, FloatArray]],
    weights: Callable[[int], FloatArray],
    R: FloatArray,
    P: FloatArray,
    blocks: np.ndarray,
) -> FloatArray:
    """Gains `(n_blocks, n_u, n_x)` at the first step of each block over which the input is held.

    Backward over the cost to go of `(x, u)`, `u` the input held: minimised where a block begins.

    Parameters
    ----------
    steps : callable
        `(A_k, B_k)` of step `k`.
    weights : callable
        Weight on the state `k`, for `k` from 1 to `N - 1`.
    R : (N, n_u, n_u) array
        Weights on inputs.
    P : (n_x, n_x) array
        Weight on the state `N`.
    blocks : (n_blocks,) int array
        First steps of the blocks.
    """
    N, n_u, n_x = len(R), R.shape[1], len(P)
    gains = np.zeros((len(blocks), n_u, n_x))
    on_x, cross, on_u = P, np.zeros((n_u, n_x)), np.zeros((n_u, n_u))
    block = len(blocks) - 1
    for k in range(N - 1, -1, -1):
        A, B = steps(k)
        through_a, through_b = on_x @ A, on_x @ B
        on_u = R[k] + on_u + B.T @ through_b + cross @ B + (cross @ B).T
        cross = B.T @ through_a + cross @ A
        on_x = A.T @ through_a
        if k == blocks[block]:
            gains[block] = _solve(on_u, cross)
            on_x = on_x - cross.T @ gains[block]
            cross, on_u = np.zeros_like(cross), np.zeros_like(on_u)
            block -= 1
        if k:
            on_x = on_x + weights(k)
        on_x = 0.5 * (on_x + on_x.T)
    return gains


def condition(H: FloatArray) -> float:
    """Condition number of the scaled Hessian; infinite where arithmetic gives out."""
    diagonal = np.diag(H)
    if not np.isfinite(H).all() or not (diagonal > 0.0).all():
        return np.inf
    scale = 1.0 / np.sqrt(diagonal)
    values = np.linalg.eigvalsh(H * scale * scale[:, None])
    return float(values[-1] / values[0]) if values[0] > 0.0 else np.inf


def _solve(on_u: FloatArray, cross: FloatArray) -> FloatArray:
    """`on_u^-1 cross`, scaled by the diagonal; what inputs do not move at all is left alone."""
    unit = 1.0 / np.sqrt(np.where(np.diag(on_u) > 0.0, np.diag(on_u), np.inf))
    values, vectors = np.linalg.eigh(on_u * unit * unit[:, None])
    inverse = np.where(values > 1e-13, 1.0 / np.where(values > 1e-13, values, 1.0), 0.0)
    return unit[:, None] * (vectors * inverse @ vectors.T @ (unit[:, None] * cross))
