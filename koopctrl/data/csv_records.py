"""Episodes from one CSV file, or one episode from each of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from koopctrl._warnings import warn
from koopctrl.data.csv_file import Dialect, Table, read_csv
from koopctrl.data.tables import episodes_from_columns, wanted_columns
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import KoopctrlError, OptionError

_NAMED = 3  # files that a warning names


def episodes_from_csv(
    path: Any,
    outputs: Any,
    inputs: Any,
    dt: float | None,
    time: Any,
    episode: Any,
    dialect: Dialect,
    **kept: Any,
) -> list[Trajectory]:
    """Episodes of a file, or of several; those of several are labelled with their file's name.

    Raises
    ------
    OptionError
        If `path` is no path and no list of different ones, or a column does not exist.
    DataError, TimeBaseError
        If a file cannot be read, or holds no such record; messages name the file where there are several.

    Warns
    -----
    KoopctrlWarning
        If anything but a plain CSV file was recognised; once for all files of the same kind.
    """
    outputs, inputs, used = wanted_columns(outputs, inputs, time, episode)
    text = () if episode is None else (episode,)
    dialect.checked()
    several = not isinstance(path, (str, PathLike))
    paths = _paths(path) if several else [path]
    tables = []
    for one in paths:
        table = read_csv(one, used, text, dialect)
        missing = [name for name in used if name not in table.columns]
        if missing:
            where = f"line {table.header_line}" if table.header_line else "a comment line"
            raise OptionError(
                f"{one} has no column {missing[0]!r}; expected one of {list(table.columns)}, as {where} "
                "says. Pass header_line if the header is another line"
            )
        tables.append(table)
    _tell(paths, tables)
    episodes: list[Trajectory] = []
    for one, name, table in zip(paths, _names(paths), tables, strict=True):
        columns = table.columns
        try:
            found = episodes_from_columns(
                columns.__getitem__, list(columns), outputs, inputs, dt, time, episode, **kept
            )
        except KoopctrlError as error:
            if not several:
                raise
            raise type(error)(f"{one}: {error}") from error
        if several:
            found = [replace(e, label=_label(name, e.label, episode is not None)) for e in found]
        episodes += found
    return episodes


def _paths(path: Any) -> list[Any]:
    """The files of a list."""
    scalar = isinstance(path, np.ndarray) and not path.ndim
    if isinstance(path, (bytes, dict)) or scalar or not isinstance(path, Iterable):
        raise OptionError(f"path is {path!r}; expected the path of a CSV file, or a list of such paths")
    paths = list(path)
    for i, one in enumerate(paths):
        if not isinstance(one, (str, PathLike)):
            raise OptionError(f"path is a list with {one!r} at {i}; expected paths of CSV files")
    if not paths:
        raise OptionError("path is an empty list; expected at least one CSV file")
    twice = [p for p, n in Counter(str(Path(p).absolute()) for p in paths).items() if n > 1]
    if twice:
        raise OptionError(f"path names {twice[0]} twice; expected different files")
    return paths


def _names(paths: list[Any]) -> list[str]:
    """Names of files without what they end in, with as many folders as tell them apart."""
    full = [Path(p).absolute() for p in paths]
    for n in range(1, max(len(p.parts) for p in full) + 1):
        names = ["/".join([*p.parts[-n:-1], p.stem]) for p in full]
        if len(set(names)) == len(names):
            return names
    return [str(p) for p in full]  # files that differ by their ending alone


def _label(name: str, label: str, has_column: bool) -> str:
    """Label of an episode of a file: the file's name, with the number of its piece or the column's value."""
    return f"{name}/{label}" if has_column else name + label.removeprefix("0")


def _tell(paths: list[Any], tables: list[Table]) -> None:
    """Say what was recognised, once for all files that are alike."""
    kinds: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for path, table in zip(paths, tables, strict=True):
        if table.recognised:
            kinds.setdefault(table.recognised, []).append(str(path))
    for recognised, names in kinds.items():
        said, options = (", ".join(texts) for texts in zip(*recognised, strict=True))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        were = "was" if len(names) == 1 else "were"
        which = ", ".join(names[:_NAMED]) + more
        warn(f"{which} {were} read with {said}; pass {options} to say so in advance")
