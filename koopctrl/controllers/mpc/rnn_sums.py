"""Sums over the stages of a horizon, for whole batches of plans."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray


def penalty(values: FloatArray, low: FloatArray, high: FloatArray, weights: FloatArray) -> FloatArray:
    """What relaxing costs, for each of `(batch, N, n)`."""
    excess = np.maximum(values - high, 0.0) + np.maximum(low - values, 0.0)
    return np.sum(weights[0] * excess + weights[1] * excess**2, axis=(1, 2))


def weigh(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """`W_k x_k` for `(N, n)` rows."""
    if len(weights) and not weights.strides[0]:  # one for all steps
        return rows @ weights[0]
    return np.matmul(weights, rows[:, :, None])[:, :, 0]


def weighted_sum(values: FloatArray, weights: FloatArray) -> FloatArray:
    """`sum_k x_k' W_k x_k` for each of `(batch, N, n)`."""
    if len(weights) and not weights.strides[0]:  # one for all steps
        return np.einsum("bki,bki->b", values @ weights[0], values)
    return np.sum(np.matmul(values[:, :, None, :], weights)[:, :, 0] * values, axis=(1, 2))


def sensitivities(a: FloatArray, b: FloatArray) -> FloatArray:
    """`dx_{k+1} / du_j` along a roll-out, `(N, n_x, N n_u)`, by the forward recursion."""
    N, n_x, n_u = b.shape
    out, now = np.empty((N, n_x, N * n_u)), np.zeros((n_x, N * n_u))
    for k in range(N):
        now = a[k].dot(now)
        now[:, k * n_u : (k + 1) * n_u] = b[k]
        out[k] = now
    return out
