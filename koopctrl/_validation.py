"""Checks of what callers pass in: the only place where such messages are worded.

Every function returns a float64 array (a fresh, C-contiguous one only if a conversion was needed), and
never writes to its argument.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._time import check_dt as check_dt
from koopctrl._time import check_same_dt as check_same_dt
from koopctrl.errors import DataError, NotFittedError, OptionError, ShapeError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.intp]

# Nothing that is counted here (samples, neurons, steps) comes near.
_LARGEST = 2**40


def as_float_array(value: ArrayLike, name: str) -> FloatArray:
    """Convert to a real float64 array; objects, strings and complex values are refused."""
    if type(value) is np.ndarray and value.dtype == np.float64 and value.flags.c_contiguous:
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(
            f"{name} is ragged ({error}); expected a rectangular array. Pass a list of arrays, one an episode"
        ) from error
    if np.ma.is_masked(value):
        raise DataError(
            f"{name} is a masked array with {int(np.ma.count_masked(value))} masked values; expected numbers "
            "throughout. Drop or interpolate those samples"
        )
    if array.dtype.kind == "O" and all(isinstance(v, (int, float, np.number)) for v in array.ravel()):
        try:
            array = array.astype(np.float64)
        except OverflowError as error:
            raise DataError(
                f"{name} has integers beyond float64 ({error}); expected numbers below 1e308"
            ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} has dtype {array.dtype}; expected real numbers. Convert it before passing it in"
        )
    return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)


def check_finite(array: FloatArray, name: str) -> FloatArray:
    """Refuse NaN and inf, saying where the first one stands."""
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{name} has {int(bad.sum())} NaN or infinite values, the first at {where}; expected finite "
            "numbers. Drop or interpolate those samples, or cut the record into episodes there"
        )
    return array


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Shape of anything; None for what is ragged, which has none."""
    try:
        return np.shape(value)
    except ValueError:
        return None


def as_signal(
    value: ArrayLike, name: str, n_columns: int | None = None, *, missing: bool = False
) -> FloatArray:
    """Convert to a finite `(time, n)` array, or with `missing` one that may have NaN; a 1-D array is one
    column.
    """
    array = as_float_array(value, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ShapeError(f"{name} has shape {array.shape}; expected (time, n) or (time,)")
    if n_columns is not None and array.shape[1] != n_columns:
        turned = len(array) == n_columns < array.shape[1]
        hint = f". Turned? Time runs along the rows: pass {name}.T" if turned else ""
        raise ShapeError(f"{name} has {array.shape[1]} columns; expected {n_columns}{hint}")
    if missing:
        check_finite(np.where(np.isnan(array), 0.0, array), name)
        return array
    return check_finite(array, name)


def as_vector(value: ArrayLike, name: str, size: int) -> FloatArray:
    """Convert to a finite vector of `size`; a scalar is accepted when `size` is 1."""
    array = as_float_array(value, name)
    if array.ndim == 0 and size == 1:
        array = array[None]
    if array.shape != (size,):
        raise ShapeError(f"{name} has shape {array.shape}; expected ({size},)")
    return check_finite(array, name)


def broadcast_vector(value: ArrayLike, name: str, size: int, *, finite: bool = True) -> FloatArray:
    """Like `as_vector`, but a scalar stands for all entries; `finite=False` lets bounds be infinite."""
    array = as_float_array(value, name)
    if array.ndim == 0:
        array = np.full(size, float(array))
    if array.shape != (size,):
        raise ShapeError(f"{name} has shape {array.shape}; expected a scalar or ({size},)")
    if not finite and np.isnan(array).any():
        raise DataError(f"{name} has NaN entries; expected numbers, or inf for no bound")
    return check_finite(array, name) if finite else array


def as_matrix(value: ArrayLike, name: str, shape: tuple[int, int] | None = None) -> FloatArray:
    """Convert to a finite 2-D array of the given shape."""
    array = as_float_array(value, name)
    if array.ndim == 0:
        array = array[None, None]
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        raise ShapeError(f"{name} has shape {array.shape}; expected {shape or 'two dimensions'}")
    return check_finite(array, name)


def as_weight(value: ArrayLike, name: str, size: int, *, definite: bool = False) -> FloatArray:
    """Convert a scalar, a diagonal or a matrix to a symmetric positive (semi-)definite weight."""
    array = as_float_array(value, name)
    if array.ndim == 0:
        array = np.diag(np.full(size, float(array)))
    elif array.ndim == 1:
        array = np.diag(as_vector(array, name, size))
    array = as_matrix(array, name, (size, size))
    units = _sizes(array)
    # Entries of different units are compared on the diagonal's scale, which bounds those of a weight.
    if (np.abs(array - array.T) > 1e-10 * units[:, None] * units).any():
        raise OptionError(
            f"{name} is not symmetric; expected a symmetric weight, e.g. ({name} + {name}.T) / 2"
        )
    array = 0.5 * (array + array.T)
    smallest = smallest_eigenvalue(array)
    if smallest < -1e-12 or (definite and smallest <= 1e-14):
        kind = "positive definite" if definite else "positive semidefinite"
        shown = float(np.linalg.eigvalsh(array).min(initial=math.inf))
        raise OptionError(f"{name} has smallest eigenvalue {shown:.3g}; expected a {kind} weight")
    return array


def smallest_eigenvalue(matrix: FloatArray) -> float:
    """Of a symmetric matrix scaled to a unit diagonal, so that units have no part in it."""
    size = _sizes(matrix)
    return float(np.linalg.eigvalsh(matrix / size[:, None] / size).min(initial=math.inf))


def _sizes(matrix: FloatArray) -> FloatArray:
    """Square roots of the diagonal: the units of a weight; the largest one where an entry is not positive."""
    diagonal = np.diag(matrix)
    root = np.sqrt(np.where(diagonal > 0.0, diagonal, 0.0))
    largest = float(root.max(initial=0.0)) or math.sqrt(float(np.abs(matrix).max(initial=0.0))) or 1.0
    return np.where(root > 0.0, root, largest)


def check_choice(value: Any, name: str, choices: Collection[str]) -> str:
    """Check that an option is one of the names it may take."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")
    return value


def check_number(
    value: Any, name: str, *, low: float = -math.inf, high: float = math.inf, strict: bool = False
) -> float:
    """Check a finite number in `[low, high]` (`(low, high]` if strict)."""
    if isinstance(value, (str, bytes, list, tuple)) or np.ndim(value):
        raise OptionError(f"{name} is {value!r}; expected a number")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name} is {value!r}; expected a number") from error
    except OverflowError as error:
        raise OptionError(f"{name} is an integer beyond float64; expected a number") from error
    if not (math.isfinite(number) and low <= number <= high) or (strict and number == low):
        raise OptionError(
            f"{name} is {number:g}; expected a finite number in {'(' if strict else '['}{low:g}, {high:g}]"
        )
    return number


def check_integer(value: Any, name: str, *, low: int = 0) -> int:
    """Check an integer not below `low`; booleans and fractions are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < low:
        raise OptionError(f"{name} is {value!r}; expected an integer of at least {low}")
    if value > _LARGEST:
        raise OptionError(f"{name} is an integer of {len(str(value))} digits; expected at most {_LARGEST}")
    return int(value)


def check_bool(value: Any, name: str) -> bool:
    """Check a flag: only True and False, since any text or array of one element would count as True."""
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{name} is {value!r}; expected True or False")
    return bool(value)


def check_names(names: Sequence[str] | None, name: str, count: int, prefix: str) -> tuple[str, ...]:
    """Check signal names, or make `prefix0, prefix1, ...`."""
    if names is None:
        return tuple(f"{prefix}{i}" for i in range(count))
    if isinstance(names, str):
        names = [names]
    try:
        result = tuple(str(n) for n in names)
    except TypeError as error:
        raise OptionError(f"{name} is {names!r}; expected a sequence of {count} names") from error
    if len(result) != count:
        raise ShapeError(
            f"{name} has {len(result)} names; expected {count}, one per column (time runs along the rows)"
        )
    if len(set(result)) != count:
        raise OptionError(f"{name} repeats a name: {list(result)}; expected distinct names")
    return result


def items_of(value: Any, name: str) -> list[Any]:
    """Everything in a sequence or other iterable; text and arrays without a length are none."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError("text is taken as a whole")
        return list(value)
    except TypeError as error:
        raise OptionError(f"{name} is a {type(value).__name__}; expected a sequence") from error


def alias(value: Any, name: str, other: Any, other_name: str) -> Any:
    """One argument that may be given under two names, but not under both."""
    if value is not None and other is not None:
        raise OptionError(f"{name} and {other_name} are both given; expected one of them, they mean the same")
    return other if value is None else value


def check_kind(value: Any, name: str, methods: tuple[str, ...], expected: str) -> Any:
    """Refuse what lacks the methods of `expected`, and classes in place of objects."""
    lacking = [m for m in methods if not hasattr(value, m)]
    if lacking or isinstance(value, type):
        got = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise OptionError(f"{name} is {got}; expected {expected}")
    return value


def check_fitted(estimator: Any, attribute: str) -> None:
    """Refuse an estimator whose `fit` has not been called."""
    if not hasattr(estimator, attribute):
        raise NotFittedError(f"this {type(estimator).__name__} is not fitted; call fit(train) first")
