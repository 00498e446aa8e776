"""Residuals `X Y` that cancel to rounding level, computed as if in twice the working precision.

Both factors are cut into slices of so few bits that products of slices are exact in float64 (after Ozaki,
Ogita, Oishi and Rump, *Error-free transformations of matrix multiplication*, Numer. Algorithms 59, 2012);
the slices' products are added with their rounding errors kept. All work is in matrix products.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from koopctrl._validation import FloatArray

_SLICES = 4
_MANY_SLICES, _TINY = 6, 100  # small products cost nothing: two more slices for models of large cond(T)
_THIN = 0.05  # share of non-zero entries below which sparse products are quicker
_FEW = 500  # terms per sum up to which all slices are used


def cancelling_product(X: FloatArray, Y: FloatArray) -> FloatArray:
    """`X @ Y`, accurate even where the terms of its sums cancel.

    Parameters
    ----------
    X, Y : array (m, k) and (k, n)
        Entries well inside the range of float64, about 1e-150 to 1e150.

    Returns
    -------
    array (m, n)
    """
    high, low = cancelling_pair(X, Y)
    return high + low


def cancelling_pair(X: FloatArray, Y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`X @ Y` as the unevaluated sum of a leading and a trailing part."""
    slices, bits = _cut(X.shape[1])
    left, right = _slices(X, 1, bits, slices), _slices(Y, 0, bits, slices)
    if X.shape[1] > _FEW and np.count_nonzero(X) < _THIN * X.size:
        left = [sparse.csr_array(part) for part in left]
    high, low = np.zeros((X.shape[0], Y.shape[1])), np.zeros((X.shape[0], Y.shape[1]))
    for total in range(slices):
        for i in range(total + 1):
            term = left[i] @ right[total - i]
            # Knuth's two-sum: high + low is exact
            after = high + term
            back = after - high
            low += (high - (after - back)) + (term - back)
            high = after
    return high, low


def _cut(terms: int) -> tuple[int, int]:
    """Number of slices, and by how many bits the head of one lies above what it drops."""
    # products left out lie below the last wanted bit; large products cost more and need fewer bits
    slices = _MANY_SLICES if terms <= _TINY else _SLICES if terms <= _FEW else _SLICES - 1
    return slices, math.ceil((53 + math.log2(max(terms, 1))) / 2)


def residual_accuracy(terms: int) -> float:
    """Error of `cancelling_product` relative to the largest products in its sums of `terms`."""
    slices, bits = _cut(terms)
    return 2.0 ** (2 - slices * (53 - bits))


def exact_product(X: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`X * y`, entry by entry, and its rounding error (Dekker, *A floating-point technique ..*, 1971)."""
    product = X * y
    (X1, X2), (y1, y2) = _halves(X), _halves(y)
    return product, ((X1 * y1 - product) + X1 * y2 + X2 * y1) + X2 * y2


def _halves(M: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`M = M1 + M2` with 26 bits each."""
    large = 134217729.0 * M
    head = large - (large - M)
    return head, M - head


def _slices(M: FloatArray, axis: int, bits: int, count: int) -> list[FloatArray]:
    """Leading to trailing bits; every slice shares one exponent per row (axis 1) or column (axis 0)."""
    out, rest = [], M.copy()
    for _ in range(count - 1):
        largest = np.abs(rest).max(axis=axis, keepdims=True, initial=0.0)
        _, exponent = np.frexp(largest)
        anchor = np.where(largest > 0.0, np.ldexp(0.75, exponent + bits), 0.0)
        head = (rest + anchor) - anchor
        out.append(head)
        rest = rest - head
    return [*out, rest]
