"""The one file format: a zip of arrays (`.npz`, readable by `numpy.load`) and one JSON header, no pickle.

Arrays are stored as they are, without compression, and the header lists the kind and shape of each. So a file
cannot ask for more memory than it has bytes, and nothing in it is parsed but JSON: what stands before an
array's numbers must be what numpy writes for the kind and shape that the header names.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._paths import file_path
from koopctrl.errors import DataError, KoopctrlError

_FORMAT = "koopctrl"
_VERSION = 2
_KINDS = {"float64": np.float64, "int64": np.int64, "bool": np.bool_}
_MAX_ARRAYS, _MAX_DIM = 100_000, 8
# What reading damaged or forged content raises, in zipfile, json, numpy and in whoever takes the parts.
_DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, MemoryError, ArithmeticError,
    RuntimeError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_file(
    path: str | PathLike[str], kind: str, header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    """Write a header and arrays to exactly `path`."""
    given = {name: np.asarray(array) for name, array in arrays.items()}
    stored = {n: np.ascontiguousarray(a, _kind_of(n, a)).reshape(a.shape) for n, a in given.items()}
    listed = {name: [str(array.dtype), list(array.shape)] for name, array in stored.items()}
    full = {**header, "format": _FORMAT, "version": _VERSION, "kind": kind, "arrays": listed}
    text = json.dumps(full, default=_plain).encode()
    with open_file(path, "wb") as file:  # np.savez would append a suffix to a name without one
        np.savez(file, header=np.frombuffer(text, dtype=np.uint8), **stored)  # type: ignore[arg-type]


@contextmanager
def reading(path: str | PathLike[str]) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Header and arrays of a file; damage found by whoever reads them in the `with` block is a DataError.

    Raises
    ------
    DataError
        If the file is damaged, was forged, is not koopctrl's, or was written by another version.
    OptionError
        If the path is a folder's, or no path.
    FileNotFoundError, PermissionError
        If there is no file that can be read.
    """
    with open_file(path, "rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise DataError("it is not a koopctrl model or record; expected a file that save() wrote")
            size = file.seek(0, io.SEEK_END)
            with zipfile.ZipFile(file) as archive:
                parts = _parts(archive, size)
            yield parts
        except KoopctrlError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        except _DAMAGE as error:
            raise DataError(
                f"{path} cannot be read: it is damaged, or not a koopctrl model or record "
                f"({type(error).__name__}: {error})"
            ) from error


def open_file(path: Any, mode: str) -> Any:
    """Open a path; a number would be taken for an open file, and None for nothing at all."""
    return open(file_path(path), mode)


def _kind_of(name: str, array: np.ndarray) -> type[np.generic]:
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    if array.dtype.kind not in kinds:
        raise DataError(f"array {name!r} is {array.dtype}; expected real numbers to write")
    return kinds[array.dtype.kind]


def _plain(value: Any) -> Any:
    """Numbers of NumPy's types, which json does not know."""
    if isinstance(value, np.generic):
        return value.item()
    raise DataError(f"a {type(value).__name__}, {value!r}, cannot be written to a file")


def _parts(archive: zipfile.ZipFile, size: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    members = {info.filename: info for info in archive.infolist()}
    stored = sum(info.file_size for info in archive.infolist())
    if len(members) != len(archive.infolist()) or len(members) > _MAX_ARRAYS or stored > size:
        raise DataError("its arrays stand twice in it, or are larger than it")
    header = _header(archive, members)
    listed = header.pop("arrays")
    extra = set(members) ^ {*(f"{name}.npy" for name in listed), "header.npy"}
    if extra:
        raise DataError(f"its arrays are not those of its header, e.g. {sorted(extra)[0]!r}")
    return header, {n: _array(archive, members[f"{n}.npy"], *listed[n]) for n in listed}


def _header(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    if "header.npy" not in members:
        raise DataError("it is not a koopctrl model or record: it has no header")
    info = members["header.npy"]
    length = info.file_size - len(_prefix(np.dtype(np.uint8), (info.file_size,)))
    text = _numbers(archive, info, np.dtype(np.uint8), (max(length, 0),))
    header = json.loads(text.tobytes().decode())
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise DataError("it is not a koopctrl model or record; expected a file that save() wrote")
    if header.get("version") != _VERSION:
        raise DataError(
            f"it has format version {header.get('version')!r}; expected {_VERSION}. Read it with the "
            "koopctrl that wrote it"
        )
    return header


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, kind: Any, shape: Any) -> np.ndarray:
    sizes = isinstance(shape, list) and all(type(s) is int and s >= 0 for s in shape)
    if kind not in _KINDS or not sizes or len(shape) > _MAX_DIM:
        raise DataError(f"its array {info.filename!r} is {kind!r} {shape!r}; expected one of {list(_KINDS)}")
    return _numbers(archive, info, np.dtype(_KINDS[kind]), tuple(shape))


def _numbers(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.ndarray:
    """Numbers of a stored member: a compressed one could ask for any amount of memory."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise DataError(f"its array {info.filename!r} is compressed; expected it as save() writes it")
    prefix = _prefix(dtype, shape)
    if info.file_size != len(prefix) + dtype.itemsize * math.prod(shape):
        raise DataError(
            f"its array {info.filename!r} has {info.file_size} bytes; expected {dtype} {list(shape)}"
        )
    content = archive.read(info)
    if not content.startswith(prefix):
        raise DataError(f"its array {info.filename!r} does not begin as one of {dtype} {list(shape)}")
    array = np.frombuffer(content, dtype, offset=len(prefix)).reshape(shape).copy()
    if dtype == np.bool_ and np.any(array.view(np.uint8) > 1):
        raise DataError(f"its array {info.filename!r} has entries that are neither true nor false")
    return array


def _prefix(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What numpy writes before the numbers of an array in row order."""
    descr = np.lib.format.dtype_to_descr(dtype)
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()
