r"""Functions :math:`\varphi_k(A)` of a matrix, for exponential integrators.

:math:`\varphi_0 = e^A`, :math:`\varphi_{k+1}(A) = (\varphi_k(A) - I/k!) A^{-1}`; a linear equation with
polynomial forcing is solved exactly by them. By scaling and modified squaring (Skaflestad and Wright, *The
scaling and modified squaring method for matrix functions related to the exponential*, Appl. Numer. Math. 59,
2009): no inverse, no eigenvectors.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from koopctrl._validation import FloatArray

_TERMS = 16  # of the Taylor series at norm <= 1/2: 2^-16 / 16! is below rounding


def phi_functions(matrix: FloatArray, k_max: int) -> list[FloatArray]:
    """`[phi_0(A), .., phi_{k_max}(A)]`."""
    n = len(matrix)
    eye: FloatArray = np.eye(n)
    norm = float(np.linalg.norm(matrix, 1))
    halvings = max(0, int(np.ceil(np.log2(norm))) + 1) if norm > 0.0 else 0
    small = matrix / 2.0**halvings
    # Highest one by its series, the others by phi_{k-1} = A phi_k + I / (k-1)!.
    top = eye / factorial(k_max + _TERMS)
    for j in range(_TERMS - 1, -1, -1):
        top = small @ top + eye / factorial(k_max + j)
    phis: list[FloatArray] = [top]
    for k in range(k_max, 0, -1):
        phis.insert(0, small @ phis[0] + eye / factorial(k - 1))
    for _ in range(halvings):
        phis = [_doubled(phis, k) for k in range(k_max + 1)]
    return phis


def _doubled(phis: list[FloatArray], k: int) -> FloatArray:
    """`phi_k(2 A)` of the functions at `A`."""
    total = phis[0] @ phis[k]
    for j in range(1, k + 1):
        total = total + phis[j] / factorial(k - j)
    return total / 2.0**k
