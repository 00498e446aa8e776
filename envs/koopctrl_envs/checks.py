"""Checks of what callers pass to plants and envs: those of koopctrl, worded for signals on the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._validation import as_float_array, check_integer, check_number
from koopctrl._validation import as_weight as as_weight
from koopctrl._validation import check_choice as check_choice
from koopctrl.errors import DataError, OptionError, ShapeError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def as_floats(value: ArrayLike, name: str, size: int | None = None) -> FloatArray:
    """Convert to float64; with `size`, the last axis must have that length.

    Raises
    ------
    ShapeError, DataError
        If `value` is ragged, complex, not numeric, or of the wrong size.
    """
    array: FloatArray = np.asarray(as_float_array(value, name), dtype=np.float64)
    if size is not None and (array.ndim == 0 or array.shape[-1] != size):
        raise ShapeError(f"{name} has shape {array.shape}; expected (..., {size}), signals on the last axis")
    return array


def as_vector(
    value: ArrayLike, name: str, size: int, *, spread: bool = False, infinite: bool = False
) -> FloatArray:
    """Convert to a new vector without NaN, and finite unless `infinite`; a scalar is accepted if `size` is 1,
    or to fill it with `spread`.
    """
    array: FloatArray = np.asarray(as_float_array(value, name), dtype=np.float64)
    if array.ndim == 0 and (spread or size == 1):
        array = np.full(size, float(array))
    if array.shape != (size,):
        raise ShapeError(
            f"{name} has shape {array.shape}; expected {'a scalar or ' if spread else ''}({size},)"
        )
    if infinite and np.isnan(array).any():
        raise DataError(f"{name} is {array.tolist()}; expected numbers or infinity, got NaN")
    if not infinite and not np.isfinite(array).all():
        raise DataError(f"{name} is {array.tolist()}; expected finite numbers, got NaN or infinity")
    return array.copy()


def as_number(value: Any, name: str, *, positive: bool = False, negative: bool = True) -> float:
    """Convert to a finite Python float, above zero if `positive`, not below it unless `negative`."""
    number = check_number(value, name)
    if positive and number <= 0.0:
        raise OptionError(f"{name} is {number}; expected a positive number")
    if not negative and number < 0.0:
        raise OptionError(f"{name} is {number}; expected zero or a positive number")
    return number


def as_count(value: Any, name: str) -> int:
    """Convert to an int above zero."""
    try:
        return check_integer(value, name, low=1)
    except OptionError as error:
        raise OptionError(f"{name} is {value!r}; expected a positive integer") from error
