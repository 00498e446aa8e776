"""Splitting a real Schur form into independent diagonal blocks (Bavely and Stewart).

Every array here is quasi upper triangular and real. A splitting is stored as `W`, the block unit upper
triangular matrix with `W S W^-1 = blkdiag(S)`; its inverse is the transformation.

Sources: C. A. Bavely and G. W. Stewart, *An algorithm for computing reducing subspaces by block
diagonalization*, SIAM J. Numer. Anal. 16 (1979); LAPACK `dtrsyl`, `dtrexc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError

_LEAF = 48  # below this order dtrsyl itself is faster than recursion into matrix products
_PATIENCE = 32  # failed solves for one block before eigenvalues are pulled in by growing batches


@dataclass(frozen=True)
class Merge:
    """Why two eigenvalues share a layer.

    Attributes
    ----------
    layer : int
        Index of the block in the order of the splitting.
    eigenvalue, joined : complex
        A member of the block, and the eigenvalue that was pulled in next to it.
    needed, bound : float
        Largest entry of the transformation that would have separated them, and the largest allowed.
    reason : str
        The same in words.
    """

    layer: int
    eigenvalue: complex
    joined: complex
    needed: float
    bound: float
    reason: str


@dataclass(frozen=True)
class Split:
    """A reordered Schur form `A = Q S Q^T` and the splitting `W` of `S` at `starts`."""

    S: FloatArray
    Q: FloatArray
    W: FloatArray
    starts: tuple[int, ...]
    merges: tuple[Merge, ...]


def quasi_starts(S: FloatArray) -> list[int]:
    """First rows of the 1x1 and 2x2 diagonal blocks of a quasi-triangular matrix."""
    inside = np.zeros(S.shape[0], dtype=bool)
    inside[1:] = np.diagonal(S, -1) != 0.0
    return np.flatnonzero(~inside).tolist()


def quasi_eigenvalues(S: FloatArray) -> np.ndarray:
    """Eigenvalues along the diagonal, one per row; a 2x2 block gives its conjugate pair."""
    values = np.diagonal(S).astype(complex)
    rows = np.flatnonzero(np.diagonal(S, -1))
    if rows.size:
        a, b, c, d = S[rows, rows], S[rows, rows + 1], S[rows + 1, rows], S[rows + 1, rows + 1]
        gap = 0.5 * (a - d)
        # factor by factor, so that b*c neither under- nor overflows
        product = np.sqrt(np.abs(b)) * np.sqrt(np.abs(c))
        size = np.maximum(np.maximum(np.abs(gap), product), np.finfo(float).tiny)
        disc = (gap / size) ** 2 + np.sign(b) * np.sign(c) * (product / size) ** 2
        mean, root = d + gap, size * np.sqrt(disc.astype(complex))
        values[rows], values[rows + 1] = mean + root, mean - root
    return values


def sylvester(S11: FloatArray, S22: FloatArray, S12: FloatArray) -> FloatArray:
    """Solve `S11 P - P S22 = -S12` for quasi-triangular `S11, S22`.

    Common eigenvalues make the equation singular; LAPACK then perturbs it by rounding (`info = 1`), which
    shows as a huge `P` that the caller's bound refuses, or as a small one that is an exact answer for a
    matrix within rounding of this one. Non-finite results are returned as such.
    """
    m, n = S12.shape
    if max(m, n) <= _LEAF:
        P, scale, info = lapack.dtrsyl(S11, S22, -S12, isgn=-1)
        if info < 0:
            raise SolverError(f"LAPACK dtrsyl refused argument {-info}; this is a defect of koopctrl")
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return P / scale
    P = np.empty((m, n), order="F")
    if n >= m:
        cut = _cut(S22)
        P[:, :cut] = sylvester(S11, S22[:cut, :cut], S12[:, :cut])
        P[:, cut:] = sylvester(S11, S22[cut:, cut:], S12[:, cut:] - P[:, :cut] @ S22[:cut, cut:])
    else:
        cut = _cut(S11)
        P[cut:] = sylvester(S11[cut:, cut:], S22, S12[cut:])
        P[:cut] = sylvester(S11[:cut, :cut], S22, S12[:cut] + S11[:cut, cut:] @ P[cut:])
    return P


def _cut(S: FloatArray) -> int:
    """Middle row that does not cut a 2x2 block."""
    cut = S.shape[0] // 2
    return cut + 1 if S[cut, cut - 1] != 0.0 else cut


def split_fully(S: FloatArray, limit: float) -> FloatArray | None:
    """`W` that separates every 1x1 and 2x2 block, or None where an entry would exceed `limit`."""
    n = S.shape[0]
    W = np.eye(n, order="F")

    def recurse(low: int, high: int) -> bool:
        if high - low <= 1 or (high - low == 2 and S[high - 1, low] != 0.0):
            return True
        cut = low + _cut(S[low:high, low:high])
        if not (recurse(low, cut) and recurse(cut, high)):
            return False
        P = sylvester(S[low:cut, low:cut], S[cut:high, cut:high], S[low:cut, cut:high])
        if not np.abs(P).max() <= limit:
            return False
        W[low:cut, cut:high] = -(W[low:cut, low:cut] @ P)
        return True

    with np.errstate(over="ignore", invalid="ignore"):
        return W if recurse(0, n) else None


def split_bounded(
    S: FloatArray, Q: FloatArray, bound: float, on_step: Callable[[int], None] | None = None
) -> Split:
    """Split off one block after another with `max|P| <= bound`.

    While a block cannot be separated from what follows it, the eigenvalue nearest to the block is moved up
    next to it (`dtrexc`) and joins it. Accepted `P` are kept, negated, where `S12` stood: that part of the
    array then is `W`, and later reorderings turn its columns as they should.
    """
    S, Q = np.array(S, order="F"), np.array(Q, order="F")
    n = S.shape[0]
    starts: list[int] = []
    merges: list[Merge] = []
    low = 0
    while low < n:
        high = low + _size(S, low)
        failures, needed = 0, 0.0
        while high < n:
            with np.errstate(over="ignore", invalid="ignore"):
                P = sylvester(S[low:high, low:high], S[high:, high:], S[low:high, high:])
            needed = float(np.abs(P).max())
            if needed <= bound:
                S[low:high, high:] = -P
                break
            failures += 1
            for _ in range(1 if failures <= _PATIENCE else failures - _PATIENCE):
                if high < n:
                    high, merge = _pull_nearest(S, Q, low, high, needed, bound, len(starts))
                    merges.append(merge)
        starts.append(low)
        low = high
        if on_step is not None:
            on_step(low)
    W = np.eye(n, order="F")
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        W[start:stop, stop:] = S[start:stop, stop:]
        S[start:stop, stop:] = 0.0
    return Split(S, Q, W, tuple(starts), tuple(merges))


def _size(S: FloatArray, row: int) -> int:
    return 2 if row + 1 < S.shape[0] and S[row + 1, row] != 0.0 else 1


def _pull_nearest(
    S: FloatArray, Q: FloatArray, low: int, high: int, needed: float, bound: float, layer: int
) -> tuple[int, Merge]:
    """Move the eigenvalue nearest to the block `low:high` to row `high`; S and Q are changed in place."""
    values = quasi_eigenvalues(S)
    mine, others = values[low:high], values[high:]
    gaps = np.abs(others[None, :] - mine[:, None])
    i, j = np.unravel_index(int(np.argmin(gaps)), gaps.shape)
    source = high + int(j)
    source -= int(S[source, source - 1] != 0.0)
    size = _size(S, source)
    eigenvalue, joined = complex(mine[i]), complex(others[j])
    why = f"separating {joined:.4g} from {eigenvalue:.4g} needs entries of {needed:.2g}, above {bound:.2g}"
    if source != high:
        # results are the same arrays: both are Fortran-ordered and overwriting is allowed
        _, _, info = lapack.dtrexc(S, Q, source + 1, high + 1, overwrite_a=1, overwrite_q=1)
        if info < 0:
            raise SolverError(f"LAPACK dtrexc refused argument {-info}; this is a defect of koopctrl")
        if info == 1:
            # too close to swap: everything up to it joins instead
            return source + size, Merge(
                layer, eigenvalue, joined, needed, bound, why + "; could not be reordered"
            )
    return high + _size(S, high), Merge(layer, eigenvalue, joined, needed, bound, why)
