"""Which eigenvalues to keep together: merging the blocks whose columns are nearly dependent.

Bavely and Stewart's algorithm looks at one block against all that follow, and on non-normal matrices tends to
keep all or nothing. Here one starts from the complete splitting, finds the direction in which its columns
are most nearly dependent (the last right singular vector), and merges the two blocks that take most part in
it, until the condition number is small enough. A merged block gets an orthonormal basis of its own, which
changes the transformation by a small factor from the right; its inverse is updated, not recomputed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.ltinet.construct.splitting import Split
from koopctrl.ltinet.quasi_triangular import Merge, quasi_eigenvalues, quasi_starts

_POWER_STEPS = 200  # up to 600 states; a quarter of it beyond, where each step costs milliseconds


@dataclass
class _Cluster:
    """Blocks kept together: their places in the Schur form and their columns in the transformation."""

    members: list[int]
    columns: np.ndarray


def cluster(
    S: FloatArray,
    Q: FloatArray,
    starts: tuple[int, ...],
    V: FloatArray,
    cond_max: float,
    on_step: Callable[[int, int], None] | None = None,
) -> Split | None:
    """Merge the blocks at `starts`, separated by `V`, until `cond <= cond_max`; None if that fails.

    The Schur form is reordered so that every cluster is contiguous. `on_step` is told how many blocks have
    been merged.
    """
    found = _merge(S, starts, V, cond_max, on_step)
    if found is None:
        return None
    clusters, merges = found
    reordered = _reorder(S, Q, starts, [c.members for c in clusters])
    if reordered is None:
        return None
    S, Q, sizes = reordered
    edges = np.cumsum([0, *sizes])
    layer_of = {member: i for i, c in enumerate(clusters) for member in c.members}
    finals = tuple(
        Merge(layer_of[member], eigenvalue, joined, needed, cond_max, what="cond(T)")
        for member, eigenvalue, joined, needed in merges
    )
    return Split(S, Q, tuple(edges[:-1].tolist()), finals)


def _merge(
    S: FloatArray,
    starts: tuple[int, ...],
    V: FloatArray,
    cond_max: float,
    on_step: Callable[[int, int], None] | None,
) -> tuple[list[_Cluster], list[tuple[int, complex, complex, float]]] | None:
    n = len(S)
    T = np.array(V, order="F")
    W, info = lapack.dtrtri(T, lower=0, unitdiag=0)
    if info != 0 or not np.isfinite(W).all():
        return None
    W = np.ascontiguousarray(W)
    edges = [*starts, n]
    values = quasi_eigenvalues(S)
    clusters = [_Cluster([i], np.arange(edges[i], edges[i + 1])) for i in range(len(starts))]
    for c in clusters:
        _orthonormalise(T, W, c.columns)
    merges: list[tuple[int, complex, complex, float]] = []
    left, right = np.random.default_rng(0).standard_normal((2, n))
    # one pair at a time while that is cheap; several disjoint ones for many blocks
    at_once = max(1, len(starts) // 60)
    while len(clusters) > 1:
        left, size_W = _power(W.T, left)
        right, size_T = _power(T, right)
        cond = size_T * size_W
        if not math.isfinite(cond):
            return None
        if cond <= cond_max:
            return clusters, merges
        weights = np.array([np.linalg.norm(left[c.columns]) for c in clusters])
        order = np.argsort(-weights, kind="stable")[: 2 * at_once]
        gone = []
        for a, b in zip(order[::2].tolist(), order[1::2].tolist(), strict=False):
            keep, drop = clusters[a], clusters[b]
            eigenvalue, joined = (complex(values[starts[c.members[0]]]) for c in (keep, drop))
            merges.append((keep.members[0], eigenvalue, joined, cond))
            keep.members += drop.members
            keep.columns = np.concatenate([keep.columns, drop.columns])
            _orthonormalise(T, W, keep.columns)
            gone.append(b)
        clusters = [c for i, c in enumerate(clusters) if i not in gone]
        if on_step is not None:
            on_step(len(starts) - len(clusters), len(starts))
    return clusters, merges


def _orthonormalise(T: FloatArray, W: FloatArray, columns: np.ndarray) -> None:
    """Orthonormal basis for some columns of T, in place; the rows of its inverse follow."""
    T[:, columns], R = np.linalg.qr(T[:, columns])
    W[columns] = R @ W[columns]


def _power(M: FloatArray, start: FloatArray) -> tuple[FloatArray, float]:
    """Right singular vector of the largest singular value of M, and that value, from a warm start."""
    v = start / np.linalg.norm(start)
    size = 0.0
    for _ in range(_POWER_STEPS if len(M) <= 600 else _POWER_STEPS // 4):
        w = M.T @ (M @ v)
        before, size = size, float(np.linalg.norm(w))
        if not math.isfinite(size) or size == 0.0:
            return v, math.inf
        v = w / size
        if abs(size - before) <= 1e-9 * size:
            break
    return v, math.sqrt(size)


def _reorder(
    S: FloatArray, Q: FloatArray, starts: tuple[int, ...], groups: list[list[int]]
) -> tuple[FloatArray, FloatArray, list[int]] | None:
    """Schur form with the blocks of every group next to each other; None where LAPACK could not swap."""
    S, Q = np.array(S, order="F"), np.array(Q, order="F")
    sizes = np.diff([*starts, len(S)]).tolist()
    order = list(range(len(starts)))
    for target, block in enumerate(member for group in groups for member in group):
        place = order.index(block, target)
        if place != target:
            source, goal = (sum(sizes[i] for i in order[:k]) for k in (place, target))
            _, _, info = lapack.dtrexc(S, Q, source + 1, goal + 1, overwrite_a=1, overwrite_q=1)
            if info < 0:
                raise SolverError(f"LAPACK dtrexc refused argument {-info}; this is a defect of koopctrl")
            if info > 0:
                return None
            order.insert(target, order.pop(place))
    final = np.cumsum([0, *(sizes[i] for i in order)])[:-1].tolist()
    if not set(final) <= set(quasi_starts(S)):
        return None
    return S, Q, [sum(sizes[i] for i in group) for group in groups]
