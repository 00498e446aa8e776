"""H2-optimal reduction by the iterative rational Krylov algorithm.

A model of order `r` that is locally optimal in the H2 norm interpolates the full one at the mirror
images of its
own poles, from the left and from the right, along its own residues. The iteration takes those points from its
last model until they stay:

    V = [(s_i - A)^-1 B b_i],   W = [(s_i - A)^-T C' c_i],   A_r = (W' V)^-1 W' A V,   s_i <- -eig(A_r).

It starts at the balanced model. Source: Gugercin, Antoulas and Beattie, *H2 model reduction for large-scale
linear dynamical systems*, SIAM J. Matrix Anal. Appl. 30, 2008.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eig, qr

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import Grouped, multiply
from koopctrl.ltinet.judge.frequency import resolvent, transposed

_PASSES, _STILL = 100, 1e-7

Bases = tuple[FloatArray, FloatArray]


def h2_bases(grouped: Grouped, B: FloatArray, C: FloatArray, start: Bases) -> Bases:
    """Biorthogonal bases `T, W` (n, r) of the H2-optimal model, in grouped order.

    The iteration need not end; what it returns is never worse than where it started.

    Parameters
    ----------
    grouped : Grouped
        A stable continuous block diagonal model.
    B, C : array (n, n_u), (n_y, n)
    start : two arrays (n, r)
        Bases of a stable model to start from.

    Returns
    -------
    T, W : arrays
        Of the iterate with the least error, which is the last one where the iteration ends.
    """
    back = transposed(grouped)

    def times_A(X: FloatArray) -> FloatArray:
        return multiply(grouped, grouped.real, grouped.pairs, list(grouped.others), X)

    T, W = start
    best, least = start, np.inf
    for _ in range(_PASSES):
        A, b, c = W.T @ times_A(T), W.T @ B, C @ T
        points, right, left = _interpolation(A, b, c)
        stable = bool((points.real > 0.0).all())
        # what is not stable is mirrored for the next pass
        points = np.abs(points.real) + 1j * points.imag
        forward = _tangential(grouped, points, B, right)
        if stable:
            # squared error without the full model's own norm: residues times both responses at the images
            full = np.einsum("ri,ir->", left, C @ forward)
            own = np.einsum("ri,ir->", left, c @ _small(A, points, b, right))
            squared = float((own - 2.0 * full).real)
            if squared < least:
                best, least = (T, W), squared
        V = _real_basis(points, forward)
        U = _real_basis(points, _tangential(back, points, np.ascontiguousarray(C.T), left))
        T, W = _biorthogonal(V, U)
        if _distance(points, -np.linalg.eigvals(W.T @ times_A(T))) <= _STILL:
            break
    return best


def _small(A: FloatArray, points: np.ndarray, B: FloatArray, directions: np.ndarray) -> np.ndarray:
    """`(s_i - A)^-1 B d_i` of the reduced model, (r, r)."""
    eye = np.eye(len(A))
    return np.column_stack(
        [np.linalg.solve(s * eye - A, B @ d) for s, d in zip(points, directions, strict=True)]
    )


def _interpolation(A: FloatArray, B: FloatArray, C: FloatArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mirror images of the poles, right directions (r, n_u) and left ones (r, n_y)."""
    found: Any = eig(A)
    values, X = found
    order = np.lexsort((values.imag, np.abs(values.imag), values.real))
    values, X = values[order], X[:, order]
    return -values, np.linalg.solve(X, B.astype(complex)), (C @ X).T


def _tangential(grouped: Grouped, points: np.ndarray, B: FloatArray, directions: np.ndarray) -> np.ndarray:
    """`(s_i - A)^-1 B d_i`, (n, r)."""
    out = np.empty((grouped.n, len(points)), dtype=complex)
    for i, (s, d) in enumerate(zip(points, directions, strict=True)):
        out[:, i] = resolvent(grouped, np.array([s]), (B @ d)[:, None])[0, :, 0]
    return out


def _real_basis(points: np.ndarray, X: np.ndarray) -> FloatArray:
    """Orthonormal real basis of vectors that come with their conjugates."""
    X = X / np.linalg.norm(X, axis=0)
    parts = [
        [X[:, i].real] if s.imag == 0.0 else [X[:, i].real, X[:, i].imag]
        for i, s in enumerate(points)
        if s.imag >= 0.0
    ]
    found: Any = qr(np.column_stack([column for pair in parts for column in pair]), mode="economic")
    return found[0]


def _biorthogonal(V: FloatArray, U: FloatArray) -> Bases:
    """`T, W` of the same spans with `W' T = 1`, balanced between the two."""
    left, sizes, right = np.linalg.svd(U.T @ V)
    root = np.sqrt(np.maximum(sizes, np.finfo(float).tiny))
    return V @ (right.T / root), U @ (left / root)


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    """Largest relative movement of a point to its nearest successor."""
    gaps = np.abs(one[:, None] - two[None, :]) / np.abs(one)[:, None]
    return float(gaps.min(axis=1).max(initial=0.0))
