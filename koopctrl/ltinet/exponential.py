"""Exponentials of layers, with more digits than they are used with.

LAPACK-based exponentials are right relative to their largest entry. A chain that mixes slow and fast neurons
needs more: what its slow neurons do over one step is small beside what the fast ones do, and is summed up
over many steps. So small layers are exponentiated in extended precision, by a Taylor series and squaring,
with the diagonal put right after every squaring.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.linalg import expm

from koopctrl._validation import FloatArray

_LARGEST = 72  # order up to which extended precision, which runs without BLAS, is affordable
_TERMS = 20
_LONG_EPS = float(np.finfo(np.longdouble).eps)


def exponential_accuracy(order: int) -> float:
    """Error of `exponential` relative to the largest entry of the matrix times the time."""
    if order <= _LARGEST:
        return 4.0 * order * _LONG_EPS
    return 4.0 * math.sqrt(order) * float(np.finfo(float).eps)


def exponential(stack: FloatArray) -> FloatArray:
    """`exp(M)` of stacked quasi upper triangular matrices `(..., k, k)`.

    Below the range of float64 entries become zero; above it they become infinite.
    """
    k = stack.shape[-1]
    flat = stack.reshape(-1, k, k)
    if k > _LARGEST or not np.isfinite(flat).all():
        result: Any = expm(flat)
        return result.reshape(stack.shape)
    out = np.array([_one(M) for M in flat]) if len(flat) else flat
    return out.reshape(stack.shape)


def _one(M: FloatArray) -> FloatArray:
    size = float(np.abs(M).sum(axis=1).max(initial=0.0))
    squarings = max(0, int(np.ceil(np.log2(max(size, 1e-300)))) + 2)
    k = len(M)
    X = M.astype(np.longdouble) / np.longdouble(2.0) ** squarings
    term = np.eye(k, dtype=np.longdouble)
    total = term.copy()
    for j in range(1, _TERMS):
        term = term @ X / j
        total += term
        if not term.any():
            break
    below = np.zeros(k + 1, dtype=bool)
    below[1:k] = np.diagonal(M, -1) != 0.0
    single = np.flatnonzero(~below[:k] & ~below[1:])
    diagonal = np.diagonal(M).astype(np.longdouble)[single]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for s in range(squarings, 0, -1):
            total = total @ total
            total[single, single] = np.exp(diagonal / np.longdouble(2.0) ** (s - 1))
        return total.astype(float)


def exponential_maps(stack: FloatArray, h: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`exp(A h)`, `phi1(A h)`, `phi2(A h)` for stacked blocks, from one augmented exponential."""
    L, k, _ = stack.shape
    big = np.zeros((L, 3 * k, 3 * k))
    big[:, :k, :k] = stack * h
    big[:, :k, k : 2 * k] = np.eye(k)
    big[:, k : 2 * k, 2 * k :] = np.eye(k)
    result = exponential(big)
    return result[:, :k, :k], result[:, :k, k : 2 * k], result[:, :k, 2 * k :]


def held_maps(stack: FloatArray, X: FloatArray, h: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`exp(A h)`, `phi1(A h) X`, `phi2(A h) X` for stacked blocks and inputs `X` (L, k, p).

    For few inputs the augmented matrix carries `X` itself, which is smaller than carrying the identity.
    """
    L, k, p = X.shape
    if p >= k:
        Phi, one, two = exponential_maps(stack, h)
        return Phi, one @ X, two @ X
    size = float(np.abs(X).max(initial=0.0)) or 1.0
    big = np.zeros((L, k + 2 * p, k + 2 * p))
    big[:, :k, :k] = stack * h
    big[:, :k, k : k + p] = X / size
    big[:, k : k + p, k + p :] = np.eye(p)
    result = exponential(big)
    return result[:, :k, :k], size * result[:, :k, k : k + p], size * result[:, :k, k + p :]
