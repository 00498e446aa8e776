"""Arrays of a saved file, handed out only with the shape and finiteness they must have."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError


class Arrays:
    """Arrays of a file, handed out only with the shape and finiteness they must have."""

    def __init__(self, arrays: dict[str, np.ndarray], known: Any = None) -> None:
        self._arrays = arrays
        # The function of a grey-box model, which is in no file: whoever loads one brings it.
        self.known = known

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def part(self, prefix: str) -> Arrays:
        """Those whose names begin with `prefix`, without it."""
        n = len(prefix)
        own = {name[n:]: array for name, array in self._arrays.items() if name.startswith(prefix)}
        return Arrays(own, self.known)

    def get(self, name: str, *shape: int | None, finite: bool = True) -> FloatArray:
        """Array of the given shape, None standing for any length; `finite` refuses NaN."""
        array = self._arrays[name]
        fits = array.ndim == len(shape) and all(
            s is None or s == a for s, a in zip(shape, array.shape, strict=True)
        )
        if array.dtype != np.float64 or not fits:
            raise DataError(f"array {name!r} is {array.dtype} {array.shape}; expected float64 {shape}")
        if not (np.isfinite(array) | (not finite and np.isnan(array))).all():
            raise DataError(f"array {name!r} has NaN or infinite values")
        return array

    def get_scale(self, name: str, size: int) -> FloatArray:
        """Vector of positive numbers."""
        array = self.get(name, size)
        if (array <= 0).any():
            raise DataError(f"array {name!r} has entries that are not positive; expected scales")
        return array


def one_of(value: Any, choices: tuple[str, ...]) -> str:
    """Refuse a word of the header that is none of the choices."""
    if value not in choices:
        raise DataError(f"the header says {value!r}; expected one of {choices}")
    return value
