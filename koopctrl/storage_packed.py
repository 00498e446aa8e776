"""Arguments and fields as JSON, their arrays apart: tuples stay tuples, and nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError


class Packed:
    """What JSON can hold of values that were `put`, and `arrays`, by name.

    Parameters
    ----------
    arrays : mapping, optional
        Others that go into the same file.
    """

    def __init__(self, arrays: Mapping[str, FloatArray] | None = None) -> None:
        self.arrays: dict[str, Any] = dict(arrays or {})

    def put(self, name: str, value: Any) -> Any:
        """What JSON can hold of a value; its arrays are named after where they stand."""
        if isinstance(value, np.ndarray):
            self.arrays[name] = value
            return {"array": name}
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        if isinstance(value, Mapping):
            return {"dict": {str(k): self.put(f"{name}.{k}", v) for k, v in value.items()}}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.put(f"{name}.{i}", v) for i, v in enumerate(value)]}
        if is_dataclass(value) and not isinstance(value, type):
            return {type(value).__name__: self.put_fields(name, value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise DataError(f"{name} is a {type(value).__name__}, which cannot be written to a file")

    def put_fields(self, name: str, value: Any) -> dict[str, Any]:
        """The fields of a dataclass, by name."""
        return {f.name: self.put(f"{name}.{f.name}", getattr(value, f.name)) for f in fields(value)}


def unpack(value: Any, arrays: Mapping[str, np.ndarray], known: tuple[type, ...] = ()) -> Any:
    """Inverse of `Packed.put`; dataclasses are made again where they are among the `known`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "complex":
        return complex(*content)
    if kind == "dict":
        return {k: unpack(v, arrays, known) for k, v in content.items()}
    if kind in ("tuple", "list"):
        parts = [unpack(v, arrays, known) for v in content]
        return tuple(parts) if kind == "tuple" else parts
    made = {t.__name__: t for t in known}[kind]
    return made(**{k: unpack(v, arrays, known) for k, v in content.items()})


def check_shapes(arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuse arrays of other shapes, None standing for any length; entries that are None are left out.

    Raises
    ------
    DataError
        Naming the array.
    """
    for name, shape in shapes.items():
        array = arrays[name]
        if array is None:
            continue
        fits = isinstance(array, np.ndarray) and array.ndim == len(shape)
        if not fits or any(s is not None and s != a for s, a in zip(shape, array.shape, strict=True)):
            raise DataError(f"array {name!r} has shape {np.shape(array)}; expected {shape}")
