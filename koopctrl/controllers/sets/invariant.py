r"""A robust invariant set of `x+ = A x + w`, next to the smallest one.

.. math:: F = (1 - \alpha)^{-1} \bigoplus_{i=0}^{s-1} A^i W, \qquad A^s W \subseteq \alpha W

contains the minimal robust invariant set, `A F + W` lies in `F`, and `F` is at most `1 / (1 - alpha)` times
too large. Rakovic, Kerrigan, Kouramas & Mayne, *Invariant approximations of the minimal robust positively
invariant set*, IEEE Transactions on Automatic Control 50, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.sets.zonotope import Zonotope
from koopctrl.errors import SolverError

# Part of the set by which it may be too large; by which a flat `W` is fattened; terms of the sum at most.
_ALPHA, _FATTENED, _MOST = 1e-3, 1e-4, 20_000
# Part of what is reached below which `W` is flat.
_FLAT = 1e-6
# Defect of the certificate, relative to the sets, that is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class InvariantTube:
    """The set, and how it was found.

    Attributes
    ----------
    cross_section : Zonotope
        `F`.
    alpha : float
    n_terms : int
        `s`.
    """

    cross_section: Zonotope
    alpha: float
    n_terms: int


def invariant_tube(A: FloatArray, W: Zonotope) -> InvariantTube:
    """`F` of a stable `A`.

    A `W` that is flat where `A` turns it is fattened by a ten-thousandth of what it reaches in `n` steps.

    Raises
    ------
    SolverError
        If `A` is not stable, or so slow that the sum has too many terms.
    """
    radius = float(np.abs(np.linalg.eigvals(A)).max(initial=0.0))
    if radius >= 1.0:
        raise SolverError(f"the closed loop has spectral radius {radius:.6f}; a tube exists below 1 only")
    if not W.generators.size:
        return InvariantTube(W, 0.0, 0)
    reach, part = W, W
    for _ in range(len(A) - 1):
        part = part.mapped(A)
        reach = reach.plus(part)
    unit = np.where(reach.half_widths > 0.0, reach.half_widths, 1.0)
    own, whole = (np.linalg.matrix_rank(Z.generators / unit[:, None], tol=_FLAT) for Z in (W, reach))
    found = _search(A, W if own == whole else W.plus(reach.scaled(_FATTENED)), unit)
    if found is None:
        raise SolverError(
            f"the closed loop is so slow (spectral radius {radius:.6f}) that its tube has more than {_MOST} "
            "terms; take a larger Q or a smaller R"
        )
    return found


def _search(A: FloatArray, W: Zonotope, unit: FloatArray) -> InvariantTube | None:
    """Terms are added until the next one is a small part of `W`."""
    G = W.generators / unit[:, None]
    step = A / unit[:, None] * unit
    inverse = np.linalg.pinv(G, rcond=1e-12)
    terms, power = [], G
    for s in range(1, _MOST):
        terms.append(power)
        power = step @ power
        # A^s G = G X with |X| (row sums) <= alpha puts A^s W into alpha W.
        X = inverse @ power
        alpha = float(np.abs(X).sum(axis=1).max())
        if alpha <= _ALPHA and np.abs(power - G @ X).max() <= _ROUNDING * _ALPHA:
            F = np.hstack(terms) * (unit[:, None] / (1.0 - alpha - _ROUNDING))
            return InvariantTube(Zonotope(F), alpha, s)
    return None
