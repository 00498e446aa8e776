"""Values that depend on time: numbers, rows, steps at given times, or a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from koopctrl_envs.checks import FloatArray, as_floats, as_vector

Value = Any
"""What a `Schedule` is made from."""


class Schedule:
    """Vectors `(size,)` by step; picklable where its source is.

    Parameters
    ----------
    value : array_like, list of (time, value), or callable
        A constant `(size,)` (or a scalar, for all entries); rows `(n, size)`, one a step, the last one held;
        pairs `(seconds, value)`, each value holding from its time on, zero (or `before`) until the first; or
        a function of time in seconds.
    name : str
        In messages.
    size : int
        Entries of each value.
    before : float
        What holds before the first time of pairs.
    """

    def __init__(self, value: Value, name: str, size: int, before: float = 0.0) -> None:
        self._name, self._size = name, size
        self._function: Callable[[float], Any] | None = None
        self._times: FloatArray | None = None
        if callable(value):
            self._function = value
            self._rows = np.zeros((1, size))
        elif _is_pairs(value):
            times = as_floats([t for t, _ in value], f"the times of {name}")
            if not np.isfinite(times).all() or (np.diff(times) <= 0.0).any():
                raise ValueError(f"the times of {name} are {times.tolist()}; expected them to rise")
            rows = [as_vector(v, f"{name} from {t:g} s on", size, spread=True) for t, v in value]
            self._times, self._rows = times, np.array([np.full(size, float(before)), *rows])
        else:
            array = as_floats(value, name)
            if array.ndim < 2:
                array = as_vector(array, name, size, spread=True)[None]
            if array.ndim != 2 or array.shape[1] != size or not len(array):
                raise ValueError(f"{name} has shape {array.shape}; expected ({size},) or (n, {size})")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has NaN or infinite entries; expected finite numbers")
            self._rows = array.copy()

    def at(self, step: int, dt: float) -> FloatArray:
        """Value that holds over step `step`, which begins at `step * dt` seconds."""
        if self._function is not None:
            value = self._function(step * dt)
            return as_vector(value, f"{self._name}({step * dt:g} s)", self._size, spread=True)
        if self._times is not None:
            # Times that are multiples of dt count from their own sample on, whatever the rounding.
            return self._rows[np.searchsorted(self._times, (step + 1e-9) * dt, side="right")].copy()
        return self._rows[min(step, len(self._rows) - 1)].copy()


def _is_pairs(value: Any) -> bool:
    """Whether a list holds `(time, value)` tuples; tuples tell them from rows."""
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(
        isinstance(v, tuple) and len(v) == 2 for v in value
    )  # fmt: skip
