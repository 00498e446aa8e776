"""Scaling of the states by powers of two, so that units of states do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lapack, matrix_balance

from koopctrl._validation import FloatArray

_WORTH = 8.0
_SHIFTS = 5
_LOWEST = 1e-4
_SMALL = 150  # states up to which poles are worth finding beforehand
# from here on a symmetry is worth more than any scaling: five solves cost as much as its eigenvectors
_LARGE = 300


def balance(
    A: FloatArray, B: FloatArray | None = None, C: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """`A_b = diag(d)^-1 A diag(d)` in whose coordinates rounding costs the response least, and `d`.

    What a change of `A_b` by rounding does to the response is at most `|A_b| |c R| |R b|`, with the resolvent
    `R = (s - A_b)^-1`. Tried are the units as they are; rows and columns of `A` of like size (Osborne's
    iteration, LAPACK's `dgebal`; Parlett and Reinsch, Numer. Math. 13, 1969); `d^2 = |R b| / |c R|`, state by
    state, which makes the product of the last two smallest; and the mean of these. The units as they are win
    unless another is better by far, since models often have a symmetry worth keeping. Powers of two leave
    every digit as it was.

    Parameters
    ----------
    A : array (n, n)
    B, C : array (n, n_u), (n_y, n), optional
        Without them only the size of `A_b` counts.

    Returns
    -------
    A_b : array (n, n)
    d : array (n,)
        Powers of two; `x = d x_b`.
    """
    n = len(A)
    largest = float(np.abs(A).max(initial=0.0))
    if n < 2 or largest == 0.0 or (n > _LARGE and np.array_equal(A, A.T)):
        return A.copy(), np.ones(n)
    # entries near 1 first: the iteration squares them
    unit = np.ldexp(A, -int(np.frexp(largest)[1]))
    found: Any = matrix_balance(unit, permute=False, separate=True)
    even = np.asarray(found[1][0], dtype=float)
    p, q = np.ones(n) / even, even.copy()
    tried = [np.ones(n), even]
    if B is not None and C is not None and B.size and C.size:
        signals = _signals((unit * even) / even[:, None], B / even[:, None], C * even)
        if signals is not None:
            p, q = signals[0] / even, signals[1] * even
            tried += [np.sqrt(q / p), np.sqrt(even * np.sqrt(q / p))]
    tried = [np.exp2(np.round(np.log2(d) - np.mean(np.log2(d)))) for d in tried]
    with np.errstate(over="ignore", invalid="ignore"):
        costs = np.array(
            [
                np.linalg.norm((unit * d) / d[:, None]) * np.linalg.norm(p * d) * np.linalg.norm(q / d)
                for d in tried
            ]
        )
    costs = np.where(np.isfinite(costs), costs, np.inf)
    best = int(np.argmin(costs))
    if costs[0] <= _WORTH * costs[best]:
        return A.copy(), np.ones(n)
    d = tried[best]
    scaled = (A * d) / d[:, None]
    # a factor that takes an entry out of the range of float64 would not be reversible
    if not np.array_equal((scaled / d) * d[:, None], A):
        return A.copy(), np.ones(n)
    return scaled, d


def _resonances(A: FloatArray, lowest: float) -> list[complex]:
    """Points to the right of oscillating poles, as far from the axis as those lie on the left of it.

    A chain of resonances hands on at its frequency what it does not let through elsewhere.
    """
    if len(A) > _SMALL:
        return []
    poles = np.linalg.eigvals(A)
    poles = poles[poles.imag > np.abs(poles.real)]
    poles = poles[np.argsort(poles.imag)]
    if not len(poles):
        return []
    chosen = poles[np.unique(np.linspace(0, len(poles) - 1, _SHIFTS).astype(int))]
    return [complex(max(abs(pole.real), lowest), pole.imag) for pole in chosen.tolist()]


def _signals(A: FloatArray, B: FloatArray, C: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """`|c R|` and `|R b|` of every state, from slow to fast frequencies and in units of the gains.

    None where a state is out of reach of the inputs or outputs.
    """
    n, size = len(A), float(np.linalg.norm(A)) / np.sqrt(len(A))
    seen, reached, gains = [], [], np.zeros((len(C), B.shape[1]))
    own = np.abs(np.diagonal(A))
    slowest = float(own[own > 0.0].min(initial=size))
    lowest = min(slowest, _LOWEST * size)
    for shift in [*np.geomspace(lowest, size, _SHIFTS).tolist(), *_resonances(A, lowest)]:
        M = np.asfortranarray(shift * np.eye(n) - A)
        factor, solve = (
            (lapack.zgetrf, lapack.zgetrs) if isinstance(shift, complex) else (lapack.dgetrf, lapack.dgetrs)
        )
        lu, pivots, info = factor(M, overwrite_a=1)
        if info != 0:
            continue
        X, _ = solve(lu, pivots, B)
        Y, _ = solve(lu, pivots, C.T, trans=1)
        seen.append(np.abs(Y))
        reached.append(np.abs(X))
        gains = np.maximum(gains, np.abs(C @ X))
    if not seen or not np.isfinite(gains).all() or not (gains.max(axis=1) > 0.0).any():
        return None
    # every output's largest gain becomes one, then every input's
    out = np.where(gains.max(axis=1) > 0.0, 1.0 / np.maximum(gains.max(axis=1), np.finfo(float).tiny), 0.0)
    scaled = (out[:, None] * gains).max(axis=0)
    inp = np.where(scaled > 0.0, 1.0 / np.maximum(scaled, np.finfo(float).tiny), 0.0)
    p, q = sum(Y @ out for Y in seen), sum(X @ inp for X in reached)
    if not (np.all(p > 0.0) and np.all(q > 0.0) and np.isfinite(p).all() and np.isfinite(q).all()):
        return None
    return np.asarray(p), np.asarray(q)
