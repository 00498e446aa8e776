r"""Zonotopes about zero, `{G s : |s_i| <= 1}`: sums and maps are exact, and so are support functions.

.. math:: \sigma(a) = \max_{w \in W} a'w = \sum_i |a'g_i|
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite
from koopctrl.errors import OptionError, ShapeError


@dataclass(frozen=True)
class Zonotope:
    """A zonotope.

    Attributes
    ----------
    generators : (n, m) array
        `G`; a box has a diagonal one.
    """

    generators: FloatArray

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.generators)

    def support(self, rows: FloatArray) -> FloatArray:
        """How far the set reaches along each of `rows`, `(k, n)`: `(k,)`."""
        return np.abs(rows @ self.generators).sum(axis=1)

    @property
    def half_widths(self) -> FloatArray:
        """Of the smallest box around it, `(n,)`."""
        return np.abs(self.generators).sum(axis=1)

    def mapped(self, A: FloatArray) -> Zonotope:
        """`A W`."""
        return Zonotope(A @ self.generators)

    def plus(self, other: Zonotope) -> Zonotope:
        """Minkowski sum."""
        return Zonotope(np.hstack([self.generators, other.generators]))

    def scaled(self, factor: float) -> Zonotope:
        """`factor W`."""
        return Zonotope(factor * self.generators)


def as_zonotope(value: ArrayLike, name: str, n: int) -> Zonotope:
    """Half-widths of a box `(n,)`, or generators `(n, m)`, checked.

    Raises
    ------
    ShapeError, OptionError, DataError
        Naming the argument.
    """
    given = check_finite(as_float_array(value, name), name)
    if given.ndim == 0:
        given = np.full(n, float(given))
    if given.ndim == 1:
        if given.shape != (n,):
            raise ShapeError(
                f"{name} has shape {given.shape}; expected half-widths ({n},), or generators ({n}, m)"
            )
        if (given < 0.0).any():
            raise OptionError(f"{name} is {given.tolist()}; expected half-widths of a box, none below zero")
        return Zonotope(np.diag(given)[:, given > 0.0])
    if given.ndim != 2 or len(given) != n:
        raise ShapeError(
            f"{name} has shape {given.shape}; expected half-widths ({n},), or generators ({n}, m)"
        )
    return Zonotope(given[:, np.any(given != 0.0, axis=0)].copy())
