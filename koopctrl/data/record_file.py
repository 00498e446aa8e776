"""Records in files; `koopctrl.storage_file` has the format."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_dt
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError
from koopctrl.storage_arrays import Arrays
from koopctrl.storage_file import reading, write_file

KIND = "Trajectories"


def write_records(episodes: Sequence[Trajectory], path: str | PathLike[str]) -> None:
    """Write to exactly `path`."""
    header, arrays = record_parts(episodes)
    write_file(path, KIND, header, arrays)


def record_parts(episodes: Sequence[Trajectory]) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """Header and arrays of episodes."""
    first = episodes[0]
    arrays: dict[str, FloatArray] = {}
    for i, e in enumerate(episodes):
        arrays[f"outputs{i}"], arrays[f"inputs{i}"] = e.outputs, e.inputs
    header = {
        "dt": first.dt,
        "output_names": list(first.output_names),
        "input_names": list(first.input_names),
        "labels": [e.label for e in episodes],
        "missing": [e.missing for e in episodes],
    }
    return header, arrays


def read_records(path: str | PathLike[str]) -> list[Trajectory]:
    """Read what `write_records` wrote.

    Raises
    ------
    DataError
        If the file is damaged, or holds something else.
    """
    with reading(path) as (header, arrays):
        if header.get("kind") != KIND:
            raise DataError(f"it holds a {header.get('kind')}; expected records. Use koopctrl.load")
        return episodes_of_parts(header, arrays)


def records_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """Trajectories in a file's header and arrays; `koopctrl.load` calls this."""
    from koopctrl.data.trajectories import Trajectories

    return Trajectories(episodes_of_parts(header, arrays))


def episodes_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[Trajectory]:
    """Episodes in a file's header and arrays."""
    names = [header["output_names"], header["input_names"], header["labels"]]
    if not all(isinstance(n, list) and all(isinstance(text, str) for text in n) for n in names):
        raise DataError("its names are not text")
    output_names, input_names, labels = names
    if len(arrays) != 2 * len(labels):
        raise DataError(f"it has {len(arrays)} arrays; expected two for each of {len(labels)} episodes")
    missing = header.get("missing", [False] * len(labels))  # files of before there was such a thing
    if not isinstance(missing, list) or [type(m) for m in missing] != [bool] * len(labels):
        raise DataError("it does not say for every episode whether outputs are missing")
    dt, found = check_dt(header["dt"]), Arrays(arrays)
    return [
        Trajectory(
            found.get(f"outputs{i}", None, len(output_names), finite=not missing[i]),
            found.get(f"inputs{i}", None, len(input_names)),
            dt, output_names, input_names, label, missing=missing[i],
        )
        for i, label in enumerate(labels)
    ]  # fmt: skip
