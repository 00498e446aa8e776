"""Scaling of the states by powers of two, so that units of states do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import matrix_balance

from koopctrl._validation import FloatArray

_WORTH = 0.25


def balance(A: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`A_b = diag(d)^-1 A diag(d)` with rows and columns of like size, and `d`.

    Powers of two leave every digit as it was. Osborne's iteration as in LAPACK's `dgebal` (Parlett and
    Reinsch, *Balancing a matrix for calculation of eigenvalues and eigenvectors*, Numer. Math. 13, 1969).

    Parameters
    ----------
    A : array (n, n)

    Returns
    -------
    A_b : array (n, n)
    d : array (n,)
        Powers of two; `x = d x_b`.
    """
    n = len(A)
    largest = float(np.abs(A).max(initial=0.0))
    if n < 2 or largest == 0.0:
        return A.copy(), np.ones(n)
    # entries near 1 first: the iteration squares them
    exponent = int(np.frexp(largest)[1])
    found: Any = matrix_balance(np.ldexp(A, -exponent), permute=False, separate=True)
    d = np.asarray(found[1][0], dtype=float)
    d = np.exp2(np.round(np.log2(d) - np.round(np.mean(np.log2(d)))))
    scaled = (A * d) / d[:, None]
    # where there is little to gain the model's own symmetry is worth more
    if np.linalg.norm(np.ldexp(scaled, -exponent)) > _WORTH * np.linalg.norm(np.ldexp(A, -exponent)):
        return A.copy(), np.ones(n)
    # a factor that takes an entry out of the range of float64 would not be reversible
    if not np.array_equal((scaled / d) * d[:, None], A):
        return A.copy(), np.ones(n)
    return scaled, d
