"""States of laws and estimators: frozen dataclasses of arrays, numbers and flags, also as one vector.

Whatever can change a later answer is in such a state. Its shapes are those of `initial()` for ever, so that a
simulator can carry it as a vector and generated C as a struct.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from koopctrl._validation import FloatArray

State = TypeVar("State")


def ravel(state: Any) -> FloatArray:
    """All entries in one vector, field by field; flags as 0 and 1."""
    parts: list[FloatArray] = []
    _collect(state, parts)
    return np.concatenate(parts) if parts else np.empty(0)


def unravel(like: State, vector: FloatArray) -> State:
    """Inverse of `ravel`, with the shapes and kinds of `like`."""
    state, used = _restore(like, np.asarray(vector, dtype=float), 0)
    if used != len(vector):
        raise ValueError(f"the vector has {len(vector)} entries; expected {used}")
    return state


def _collect(value: Any, parts: list[FloatArray]) -> None:
    if is_dataclass(value):
        for field in fields(value):
            _collect(getattr(value, field.name), parts)
    else:
        parts.append(np.asarray(value, dtype=float).ravel())


def _restore(like: Any, vector: FloatArray, at: int) -> tuple[Any, int]:
    if is_dataclass(like) and not isinstance(like, type):
        values = {}
        for field in fields(like):
            values[field.name], at = _restore(getattr(like, field.name), vector, at)
        return type(like)(**values), at
    if isinstance(like, np.ndarray):
        part = vector[at : at + like.size].reshape(like.shape)
        # Comparisons, not conversions: a flag that went through a simulator need not be 1 to the bit.
        kept = part > 0.5 if like.dtype == bool else part.astype(like.dtype)
        return kept, at + like.size
    number = float(vector[at])
    if isinstance(like, bool):
        return number > 0.5, at + 1
    return (round(number) if isinstance(like, int) else number), at + 1
