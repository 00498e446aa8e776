"""Lifted models of stable plants are stable: eigenvalues outside a circle are moved onto it."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray


def spectral_radius(A: FloatArray) -> float:
    """Largest modulus of an eigenvalue."""
    return float(np.abs(linalg.eigvals(A)).max(initial=0.0)) if len(A) else 0.0


def pull_inside(A: FloatArray, radius: float) -> FloatArray:
    """`A` with each eigenvalue outside the circle of `radius` moved onto it along its ray.

    The diagonal blocks of the real Schur form are scaled; eigenvalues inside stay.
    """
    t, q = (np.asarray(part) for part in linalg.schur(A, output="real")[:2])
    i, n = 0, len(A)
    while i < n:
        size = 2 if i + 1 < n and t[i + 1, i] != 0.0 else 1
        block = slice(i, i + size)
        modulus = np.sqrt(abs(np.linalg.det(t[block, block]))) if size == 2 else abs(t[i, i])
        if modulus > radius:
            t[block, block] *= radius / modulus
        i += size
    return q @ t @ q.T
