"""Splitting a real Schur form into independent diagonal blocks (Bavely and Stewart).

Every array here is quasi upper triangular and real. Where to split is decided on the entries of `P` in
`S11 P - P S22 = -S12`; the transformation `V` with `S V = V blkdiag(S)` is then solved for column block by
column block, each scaled to unit size, so that its residual stays at rounding however large `P` was.

Sources: C. A. Bavely and G. W. Stewart, *An algorithm for computing reducing subspaces by block
diagonalization*, SIAM J. Numer. Anal. 16 (1979); LAPACK `dtrsyl`, `dtrexc`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import lapack

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.ltinet.quasi_triangular import Merge, quasi_eigenvalues

_LEAF = 48  # below this order dtrsyl itself is faster than recursion into matrix products
_PATIENCE = 32  # failed solves for one block before eigenvalues are pulled in by growing batches


@dataclass(frozen=True)
class Split:
    """A reordered Schur form `A = Q S Q^T`, to be separated at `starts`."""

    S: FloatArray
    Q: FloatArray
    starts: tuple[int, ...]
    merges: tuple[Merge, ...]


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


def separate(S: FloatArray, starts: Sequence[int]) -> FloatArray | None:
    """Upper triangular `V` with `S V = V blkdiag(S)` for the diagonal blocks at `starts`.

    Each block's columns are a multiple of the identity in its own rows and have unit Frobenius norm. None
    where a column is not finite: blocks with common eigenvalues.
    """
    n = S.shape[0]
    edges = [*starts, n]
    V, Lambda = np.eye(n, order="F"), np.zeros((n, n), order="F")
    for low, high in pairwise(edges):
        Lambda[low:high, low:high] = S[low:high, low:high]

    def recurse(first: int, last: int) -> bool:
        if last - first <= 1:
            return True
        cut = (first + last) // 2
        if not (recurse(first, cut) and recurse(cut, last)):
            return False
        low, middle, high = edges[first], edges[cut], edges[last]
        right = V[middle:high, middle:high]
        X = sylvester(
            S[low:middle, low:middle], Lambda[middle:high, middle:high], S[low:middle, middle:high] @ right
        )
        V[low:middle, middle:high] = X
        offsets = np.array(edges[cut:last]) - middle
        squares = np.add.reduceat((X * X).sum(axis=0) + (right * right).sum(axis=0), offsets)
        V[low:high, middle:high] /= np.repeat(np.sqrt(squares), np.diff(edges[cut : last + 1]))
        return bool(np.isfinite(squares).all())

    with np.errstate(over="ignore", invalid="ignore"):
        return V if recurse(0, len(starts)) else None


def split_bounded(
    S: FloatArray, Q: FloatArray, bound: float, on_step: Callable[[int, int], None] | None = None
) -> Split:
    """Split off one block after another with `max|P| <= bound`.

    While a block cannot be separated from what follows it, the eigenvalue nearest to the block is moved up
    next to it (`dtrexc`) and joins it.
    """
    S, Q = np.array(S, order="F"), np.array(Q, order="F")
    n = S.shape[0]
    starts: list[int] = []
    merges: list[Merge] = []
    low = 0
    while low < n:
        high = low + _size(S, low)
        failures, tried = 0, high
        while high < n:
            needed = _needed(S, low, high)
            if needed <= bound:
                break
            failures, tried = failures + 1, high
            for _ in range(1 if failures <= _PATIENCE else failures - _PATIENCE):
                if high < n:
                    high, merge = _pull_nearest(S, Q, low, high, needed, bound, len(starts))
                    merges.append(merge)
        high = _least(S, low, tried, high, bound)
        # one merge stands for each eigenvalue that came; those of a batch that need not have come are let go
        merges = [m for m in merges if m.layer < len(starts)] + [m for m in merges if m.layer == len(starts)][
            : max(high - low - 1, 0)
        ]
        starts.append(low)
        low = high
        if on_step is not None:
            on_step(low, n)
    return Split(S, Q, tuple(starts), tuple(merges))


def _needed(S: FloatArray, low: int, high: int) -> float:
    """Largest entry of what separates the block `low:high` from everything after it."""
    with np.errstate(over="ignore", invalid="ignore"):
        P = sylvester(S[low:high, low:high], S[high:, high:], S[low:high, high:])
    value = float(np.abs(P).max(initial=0.0))
    return value if math.isfinite(value) else math.inf


def _least(S: FloatArray, low: int, failed: int, works: int, bound: float) -> int:
    """Smallest end of the block between one that failed and one that works, by bisection."""
    while works - failed > 1:
        middle = (works + failed) // 2
        middle += int(middle < len(S) and S[middle, middle - 1] != 0.0)
        if middle >= works:
            middle = (works + failed) // 2
            middle -= int(S[middle, middle - 1] != 0.0)
            if middle <= failed:
                break
        if _needed(S, low, middle) <= bound:
            works = middle
        else:
            failed = middle
    return works


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
    if source != high:
        # results are the same arrays: both are Fortran-ordered and overwriting is allowed
        _, _, info = lapack.dtrexc(S, Q, source + 1, high + 1, overwrite_a=1, overwrite_q=1)
        if info < 0:
            raise SolverError(f"LAPACK dtrexc refused argument {-info}; this is a defect of koopctrl")
        if info == 1:
            # too close to swap: everything up to it joins instead
            return source + size, Merge(
                layer, eigenvalue, joined, needed, bound, note="; could not be reordered"
            )
    return high + _size(S, high), Merge(layer, eigenvalue, joined, needed, bound)
