"""Time stamps as seconds: numbers of any width, dates, durations, and their text."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, as_float_array
from koopctrl.errors import TimeBaseError

# Dates with dots have the day first wherever they are written; those with slashes may have the month first.
_DOTTED = re.compile(r"^(\d\d)\.(\d\d)\.(\d{4})\b")


def seconds_of(values: Any, name: Any = "time") -> FloatArray:
    """Seconds, counted from the first stamp where the stamps are dates or integers; missing ones are NaN.

    Parameters
    ----------
    values : (n,) array_like
        Numbers (seconds), `datetime64`, `timedelta64`, `datetime` or `timedelta` objects with or without time
        zone, or text of numbers or of dates as ISO 8601 or `31.01.2026 12:30:00` have them.
    name : str
        What messages call the column.

    Raises
    ------
    TimeBaseError
        If a stamp is none of these.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise TimeBaseError(f"column {name!r} has shape {array.shape}; expected one time a row")
    if array.dtype.kind in "USO":
        array = _from_objects(array, name)
    if array.dtype.kind in "iu" and array.size:
        # Nanoseconds since 1970 have more digits than float64.
        return (array.astype(object) - int(array[0])).astype(np.float64)
    if array.dtype.kind in "mM":
        valid = array[~np.isnat(array)]
        start = valid[0] if valid.size else array[:1]
        seconds = np.asarray((array - start) / np.timedelta64(1, "s"), dtype=np.float64)
        return seconds.reshape(array.shape)
    return as_float_array(array, f"column {name!r}")


def _from_objects(array: np.ndarray, name: Any) -> np.ndarray:
    """Numbers, or seconds from the first of the dates and durations."""
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    stamps = [_parse(value, name, row) for row, value in enumerate(array)]
    known = [s for s in stamps if s is not None]
    try:
        return np.array([np.nan if s is None else (s - known[0]).total_seconds() for s in stamps])
    except TypeError as error:
        raise TimeBaseError(
            f"column {name!r} mixes kinds of stamps ({error}); expected dates with one time zone or none, or "
            "numbers"
        ) from error


def _parse(value: Any, name: Any, row: int) -> Any:
    """A date or duration; None where it is missing."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (datetime.datetime, datetime.timedelta)):
        return value
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return value.astype("datetime64[us]" if value.dtype.kind == "M" else "timedelta64[us]").item()
    text = _DOTTED.sub(r"\3-\2-\1", str(value).strip())
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise TimeBaseError(
            f"column {name!r} holds {str(value)!r} in row {row}; expected seconds, or dates as "
            "2026-01-31 12:30:00.25 or 31.01.2026 12:30:00. Convert others with pandas.to_datetime, and use "
            "from_dataframe"
        ) from error
