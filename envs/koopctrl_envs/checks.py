"""Checks of what callers pass to plants and envs (this package does not import koopctrl's)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def as_floats(value: ArrayLike, name: str, size: int | None = None) -> FloatArray:
    """Convert to float64; with `size`, the last axis must have that length.

    Raises
    ------
    ValueError
        If `value` is ragged, complex, not numeric, or of the wrong size.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is ragged; expected a rectangular array of numbers") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}; expected real numbers")
    if size is not None and (array.ndim == 0 or array.shape[-1] != size):
        raise ValueError(f"{name} has shape {array.shape}; expected (..., {size}), signals on the last axis")
    return array.astype(np.float64, copy=False)


def as_vector(
    value: ArrayLike, name: str, size: int, *, spread: bool = False, infinite: bool = False
) -> FloatArray:
    """Convert to a new vector without NaN, and finite unless `infinite`; a scalar is accepted if `size` is 1,
    or to fill it with `spread`.
    """
    array = as_floats(value, name)
    if array.ndim == 0 and (spread or size == 1):
        array = np.full(size, float(array))
    if array.shape != (size,):
        raise ValueError(
            f"{name} has shape {array.shape}; expected {'a scalar or ' if spread else ''}({size},)"
        )
    if infinite and np.isnan(array).any():
        raise ValueError(f"{name} is {array.tolist()}; expected numbers or infinity, got NaN")
    if not infinite and not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.tolist()}; expected finite numbers, got NaN or infinity")
    return array.copy()


def as_weight(value: ArrayLike, name: str, size: int) -> FloatArray:
    """Convert a scalar, a diagonal or a matrix to a symmetric positive semidefinite weight."""
    array = as_floats(value, name)
    if array.ndim < 2:
        array = np.diag(as_vector(array, name, size, spread=True))
    if array.shape != (size, size):
        raise ValueError(
            f"{name} has shape {array.shape}; expected a scalar, a diagonal ({size},) or ({size}, {size})"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinite entries; expected finite numbers")
    scale = float(np.abs(array).max(initial=0.0))
    if np.abs(array - array.T).max(initial=0.0) > 1e-10 * scale:
        raise ValueError(f"{name} is not symmetric; pass ({name} + {name}.T) / 2")
    if float(np.linalg.eigvalsh(array).min()) < -1e-12 * scale:
        raise ValueError(f"{name} has a negative eigenvalue; expected a positive semidefinite weight")
    return array.copy()


def as_number(value: Any, name: str, *, positive: bool = False) -> float:
    """Convert to a finite Python float, above zero if `positive`."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {value!r}; expected a number") from error
    if not math.isfinite(number) or (positive and number <= 0.0):
        raise ValueError(f"{name} is {number}; expected a {'positive' if positive else 'finite'} number")
    return number


def as_count(value: Any, name: str) -> int:
    """Convert to an int above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")
    return int(value)
