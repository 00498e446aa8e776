"""Records in files: a zip of float64 arrays (`.npz`) and one JSON header; nothing in a file is ever executed.

Arrays are stored as they are, without compression: a file cannot ask for more memory than it has bytes.
Names, shapes and sizes are checked against the header before an array is read.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_dt
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, KoopctrlError, OptionError

KIND = "Trajectories"
_FORMAT, _VERSION = "koopctrl", 1
_NPY_HEADER = 512  # bytes at most before the numbers of an array
_DAMAGE = (
    ValueError, KeyError, TypeError, OSError, EOFError, SyntaxError, RuntimeError, OverflowError, MemoryError,
    zipfile.BadZipFile,
)  # fmt: skip


def write_records(episodes: Sequence[Trajectory], path: str | PathLike[str]) -> None:
    """Write to exactly `path`."""
    first = episodes[0]
    arrays: dict[str, FloatArray] = {}
    described = []
    for i, e in enumerate(episodes):
        arrays[f"outputs{i}"], arrays[f"inputs{i}"] = e.outputs, e.inputs
        one: dict[str, Any] = {"label": e.label, "n_samples": len(e), "n_inputs": len(e.inputs)}
        described.append({**one, "missing": True} if e.missing else one)
    header = {
        "format": _FORMAT, "version": _VERSION, "kind": KIND, "dt": first.dt,
        "output_names": list(first.output_names), "input_names": list(first.input_names),
        "episodes": described,
    }  # fmt: skip
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with _open(path, "wb") as file:  # np.savez would append a suffix to a name without one
        np.savez(file, header=text, **arrays)  # type: ignore[arg-type]


def read_records(path: str | PathLike[str]) -> list[Trajectory]:
    """Read what `write_records` wrote.

    Raises
    ------
    DataError
        If the file is damaged, or holds something else.
    """
    with _open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _episodes(archive, path)
        except KoopctrlError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        except _DAMAGE as error:
            raise DataError(
                f"{path} cannot be read ({type(error).__name__}: {error}); expected a file that "
                "Trajectories.save wrote"
            ) from error


def _open(path: Any, mode: str) -> Any:
    if isinstance(path, (bool, int)) or not isinstance(path, (str, PathLike)):
        raise OptionError(f"path is {path!r}; expected the path of a file")
    return open(path, mode)


def _episodes(archive: zipfile.ZipFile, path: Any) -> list[Trajectory]:
    members = {info.filename: info for info in archive.infolist()}
    header = _header(archive, members, path)
    n_y, n_u = len(header["output_names"]), len(header["input_names"])
    shapes: dict[str, tuple[int, int]] = {}
    for i, e in enumerate(header["episodes"]):
        shapes[f"outputs{i}.npy"] = (int(e["n_samples"]), n_y)
        shapes[f"inputs{i}.npy"] = (int(e["n_inputs"]), n_u)
    extra = set(members) ^ {*shapes, "header.npy"}
    if extra:
        raise DataError(f"its arrays are not those of its header, e.g. {sorted(extra)[0]!r}")
    arrays = {name: _array(archive, members[name], shape) for name, shape in shapes.items()}
    dt = check_dt(header["dt"])
    return [
        Trajectory(
            arrays[f"outputs{i}.npy"],
            arrays[f"inputs{i}.npy"],
            dt,
            header["output_names"],
            header["input_names"],
            e["label"],
            missing=bool(e.get("missing", False)),
        )
        for i, e in enumerate(header["episodes"])
    ]


def _header(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Any) -> dict[str, Any]:
    if "header.npy" not in members:
        raise DataError("it has no header")
    text = _read(archive, members["header.npy"])
    header = json.loads(np.lib.format.read_array(io.BytesIO(text), allow_pickle=False).tobytes().decode())
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise DataError("it is not a file of koopctrl's")
    if header.get("kind") != KIND:
        raise DataError(f"it holds a {header.get('kind')}; expected records. Use koopctrl.load")
    if header.get("version") != _VERSION:
        raise DataError(f"it has version {header.get('version')}; expected {_VERSION}. Update koopctrl")
    names = [*header["output_names"], *header["input_names"], *(e["label"] for e in header["episodes"])]
    if not all(isinstance(name, str) for name in names):
        raise DataError("its names are not text")
    return header


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Bytes of a stored member; a compressed one could ask for any amount of memory."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise DataError(f"its array {info.filename!r} is compressed")
    return archive.read(info)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, shape: tuple[int, int]) -> FloatArray:
    numbers = 8 * shape[0] * shape[1]
    if not numbers <= info.file_size <= numbers + _NPY_HEADER:
        raise DataError(f"its array {info.filename!r} has {info.file_size} bytes; expected {shape} numbers")
    array = np.lib.format.read_array(
        io.BytesIO(_read(archive, info)), allow_pickle=False, max_header_size=_NPY_HEADER
    )
    if array.dtype != np.float64 or array.shape != shape:
        raise DataError(
            f"its array {info.filename!r} is {array.dtype} {array.shape}; expected float64 {shape}"
        )
    return array
