"""What the closed loop shows a controller: references, disturbances, prices, one row a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_signal, as_vector
from koopctrl.data.gym_interface import accepts
from koopctrl.errors import DataError, OptionError, ShapeError

Schedule = ArrayLike | Callable[[float], ArrayLike] | None


def sample_schedule(
    value: Schedule, n_rows: int, dt: float, name: str, size: int | None = None
) -> FloatArray:
    """Rows for the samples 0 to `n_rows - 1`.

    Parameters
    ----------
    value : (n,) or (rows, n) array_like, or callable
        Constant; or one row a sample, the last one held; or a function of time in seconds. One signal may be
        given as a vector of samples where `size` says that it is one.
    n_rows : int
    dt : float
    name : str
        What messages call it.
    size : int, optional
        Number of signals; by default as many as come.

    Notes
    -----
    NaN marks an output without a reference; disturbances and inputs act on the plant, and have to be numbers.
    """
    if callable(value):
        if not accepts(value, 0.0):
            raise OptionError(f"{name} takes other arguments than the time; expected a function of seconds")
        first = np.atleast_1d(as_float_array(value(0.0), f"{name}(t)"))
        size = first.size if size is None else size
        return np.array([_vector(value(k * dt), f"{name}(t)", size) for k in range(n_rows)])
    array = as_float_array(value, name)  # pyright: ignore[reportArgumentType]
    if array.ndim < 2 and not (array.ndim == 1 and size == 1 and len(array) > 1):
        size = max(1, array.size) if size is None else size
        return np.tile(_vector(array, name, size), (n_rows, 1))
    if name == "reference":
        _refuse_infinite(array, name)
        rows = as_signal(np.nan_to_num(array), name, size)
        rows = np.where(np.isnan(array).reshape(rows.shape), np.nan, rows)
    else:
        rows = as_signal(array, name, size)
    if not len(rows):
        raise ShapeError(f"{name} has no rows; expected one a step")
    missing = n_rows - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], max(missing, 0), axis=0)])[:n_rows]


def _vector(value: ArrayLike, name: str, size: int) -> FloatArray:
    """A vector whose entries may be NaN."""
    array = as_float_array(value, name)
    if not name.startswith("reference"):
        return as_vector(array, name, size)
    _refuse_infinite(array, name)
    known = as_vector(np.nan_to_num(array), name, size)
    return np.where(np.isnan(array).reshape(known.shape), np.nan, known)


def _refuse_infinite(array: FloatArray, name: str) -> None:
    if np.isinf(array).any():
        raise DataError(
            f"{name} has infinite values; expected numbers, or NaN for outputs that are not tracked"
        )
