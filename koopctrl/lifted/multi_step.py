r"""Linear dynamics fitted on the free run over a horizon instead of one step.

.. math::
    \min_{A, B} \sum_{segments} \sum_{k=1}^{N} |C z_k - y_k|^2, \qquad z_{k+1} = A z_k + B \,\delta u_k + c

by Levenberg-Marquardt from the one-step solution. Sensitivities run forward, `S_{k+1} = A S_k + [z_k, du_k]`
in the rows that are free (the shift of a lag window is exact and stays), so each iteration is one linear
least-squares problem. Steps are judged by the error on segments that were held out: the fit ends where that
no longer falls, and can end where it began.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from koopctrl._validation import FloatArray

_ITERATIONS = 12
# An iteration that gains less than this share of the error was the last one.
_GAIN = 1e-3


def fit_free_run(
    A: FloatArray,
    B: FloatArray,
    c: FloatArray,
    free: np.ndarray,
    n_y: int,
    z0: FloatArray,
    du: FloatArray,
    y: FloatArray,
    judge: Callable[[FloatArray, FloatArray], float],
) -> tuple[FloatArray, FloatArray]:
    """`A`, `B` of smallest judged error along the way.

    Parameters
    ----------
    A, B, c : arrays
        Where to start.
    free : int array
        Rows of `A`, `B` that may change.
    n_y : int
        The outputs are the first coordinates.
    z0, du, y : (n, n_z), (n, N, n_u) and (n, N, n_y) arrays
        Segments to fit, outputs in the coordinates' scale.
    judge : callable
        Error of `A`, `B` on held-out segments.
    """
    best, best_error = (A, B), judge(A, B)
    error, jacobian = _linearise(A, B, c, free, n_y, z0, du, y)
    cost = float(error @ error)
    damping = 1e-3
    for _ in range(_ITERATIONS):
        if not np.isfinite(cost):
            break
        r = np.asarray(np.linalg.qr(np.column_stack([jacobian, error]), mode="r"))
        p = jacobian.shape[1]
        scale = np.linalg.norm(r[:p, :p], axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        accepted = False
        for _ in range(6):
            stacked = np.vstack([r[:p, :p] / scale, np.sqrt(damping) * np.eye(p)])
            step = np.linalg.lstsq(stacked, np.concatenate([-r[:p, p], np.zeros(p)]), rcond=None)[0]
            change = (step / scale).reshape(len(free), -1)
            A_new, B_new = A.copy(), B.copy()
            A_new[free] += change[:, : A.shape[1]]
            B_new[free] += change[:, A.shape[1] :]
            with np.errstate(all="ignore"):
                trial = _errors(A_new, B_new, c, n_y, z0, du, y)
            new_cost = float(trial @ trial)
            if np.isfinite(new_cost) and new_cost < cost:
                accepted = True
                break
            damping *= 10.0
        if not accepted:
            break
        A, B, damping = A_new, B_new, max(damping / 10.0, 1e-9)
        judged = judge(A, B)
        stalled = judged > (1.0 - _GAIN) * best_error
        if judged < best_error:
            best, best_error = (A, B), judged
        if stalled or new_cost > (1.0 - _GAIN) * cost:
            break
        error, jacobian = _linearise(A, B, c, free, n_y, z0, du, y)
        cost = new_cost
    return best


def _errors(
    A: FloatArray, B: FloatArray, c: FloatArray, n_y: int, z0: FloatArray, du: FloatArray, y: FloatArray
) -> FloatArray:
    z, out = z0, np.empty_like(y)
    for k in range(du.shape[1]):
        z = z @ A.T + du[:, k] @ B.T + c
        out[:, k] = z[:, :n_y]
    return (out - y).ravel()


def _linearise(
    A: FloatArray,
    B: FloatArray,
    c: FloatArray,
    free: np.ndarray,
    n_y: int,
    z0: FloatArray,
    du: FloatArray,
    y: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Errors and their derivatives by the free rows of `[A B]`."""
    n, N, n_u = du.shape
    n_z, n_f = len(A), len(free)
    width = n_z + n_u
    z, out = z0, np.empty_like(y)
    jacobian = np.empty((n, N, n_y, n_f * width))
    S = np.zeros((n, n_z, n_f * width))
    own = S.reshape(n, n_z, n_f, width)
    for k in range(N):
        with np.errstate(all="ignore"):
            S = np.matmul(A, S)
            own = S.reshape(n, n_z, n_f, width)
            point = np.concatenate([z, du[:, k]], axis=1)
            for j, row in enumerate(free):
                own[:, row, j] += point
            z = z @ A.T + du[:, k] @ B.T + c
        out[:, k] = z[:, :n_y]
        jacobian[:, k] = S[:, :n_y]
    return (out - y).ravel(), jacobian.reshape(n * N * n_y, n_f * width)
