"""Bounds as vectors, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, broadcast_vector
from koopctrl.errors import OptionError


def input_bounds(
    low: ArrayLike | None, high: ArrayLike | None, size: int, names: tuple[str, str] = ("u_min", "u_max")
) -> tuple[FloatArray, FloatArray]:
    """Bounds as vectors, infinite where there is none; refused when they cross."""
    lower = np.full(size, -np.inf) if low is None else broadcast_vector(low, names[0], size, finite=False)
    upper = np.full(size, np.inf) if high is None else broadcast_vector(high, names[1], size, finite=False)
    if (lower > upper).any() or (lower == np.inf).any() or (upper == -np.inf).any():
        raise OptionError(
            f"{names[0]} is {lower.tolist()} and {names[1]} is {upper.tolist()}; expected {names[0]} <= "
            f"{names[1]} in every entry"
        )
    return lower.copy(), upper.copy()
