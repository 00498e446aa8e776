"""Trajectories from and to tables: CSV files and pandas DataFrames."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray, as_float_array, check_dt, check_same_dt
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError, TimeBaseError

if TYPE_CHECKING:
    import pandas as pd

_TIME_TOLERANCE = 1e-3  # of a sample time: rounding in printed time stamps, not jitter


def read_csv(
    path: str | PathLike[str], delimiter: str, text_columns: Collection[str]
) -> dict[str, np.ndarray]:
    """Read the columns of a CSV file with one header line; `text_columns` may hold anything."""
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise OptionError(f"delimiter is {delimiter!r}; expected one character")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); expected a CSV file in UTF-8") from error
    if not header:
        raise DataError(f"{path} is empty; expected a header line and one row a sample")
    if len(set(header)) != len(header):
        raise DataError(f"{path} repeats a column name: {header}; expected distinct names")
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line} has {len(row)} cells; expected {len(header)} as in the header"
            )
    columns: dict[str, np.ndarray] = {}
    for j, name in enumerate(header):
        cells = [row[j].strip() for _, row in rows]
        if name in text_columns:
            columns[name] = np.array(cells)
            continue
        try:
            columns[name] = np.array([float(c) if c else np.nan for c in cells])
        except ValueError:
            # Kept as text: an unused column may hold anything, a used one is refused with its name later.
            columns[name] = np.array(cells)
    return columns


def episodes_from_columns(
    column: Callable[[str], Any],
    available: Sequence[str],
    outputs: Sequence[str],
    inputs: Sequence[str],
    dt: float | None,
    time: str | None,
    episode: str | None,
) -> list[Trajectory]:
    """Cut columns into episodes, in the order in which each episode first appears.

    The last inputs of an episode may be missing, as in `to_dataframe`: no sample follows them.
    """
    for name, value in (("outputs", outputs), ("inputs", inputs)):
        if not isinstance(value, Iterable):
            raise OptionError(f"{name} is {value!r}; expected a sequence of column names")
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    inputs = [inputs] if isinstance(inputs, str) else list(inputs)
    if not outputs:
        raise OptionError("outputs is empty; expected at least one column name")
    for name in [*outputs, *inputs, *([time] if time else []), *([episode] if episode else [])]:
        if name not in available:
            raise OptionError(f"there is no column {name!r}; expected one of {list(available)}")
    y = np.column_stack([_numbers(column(name), name) for name in outputs])
    u = np.column_stack([_numbers(column(name), name) for name in inputs]) if inputs else None
    if not len(y):
        raise DataError("the table has no rows; expected one row a sample")
    t = _numbers(column(time), time) if time else None
    if dt is None and t is None:
        raise TimeBaseError("dt is None; expected the sample time in seconds. Pass dt=... or time=COLUMN")

    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(column(episode) if episode else np.zeros(len(y), dtype=int)):
        if key is None or key != key:
            raise DataError(f"column {episode!r} is empty in row {i}; expected the name of an episode")
        groups.setdefault(key, []).append(i)
    result = []
    for key, rows in groups.items():
        step = dt if t is None else _sample_time(t[rows], dt, time or "time")
        result.append(Trajectory(y[rows], _inputs_of(u, rows), step, outputs, inputs, str(key)))
    if t is not None and dt is None:  # one sample time for all, free of the rounding of each episode's stamps
        step = float(np.median([e.dt for e in result]))
        for e in result:
            check_same_dt_loosely(e.dt, step)
        result = [Trajectory(e.outputs, e.inputs, step, outputs, inputs, e.label) for e in result]
    return result


def check_same_dt_loosely(dt: float, other: float) -> None:
    """Refuse sample times that differ by more than the rounding of time stamps."""
    if abs(dt - other) > _TIME_TOLERANCE * other:
        check_same_dt(dt, other, "two episodes")


def to_dataframe(episodes: Iterable[Trajectory]) -> pd.DataFrame:
    """Return one table of all episodes; a missing last input row is NaN.

    Labels name the episodes where they differ, else numbers do.
    """
    import pandas as pd

    episodes = list(episodes)
    labels = [e.label for e in episodes]
    if len(set(labels)) < len(labels) or not all(labels):
        labels = [str(i) for i in range(len(labels))]
    frames = []
    for label, e in zip(labels, episodes, strict=True):
        u = np.full((len(e), e.inputs.shape[1]), np.nan)
        u[: len(e.inputs)] = e.inputs
        frame = pd.DataFrame({"episode": label, "time": e.time})
        for names, values in ((e.output_names, e.outputs), (e.input_names, u)):
            for j, name in enumerate(names):
                if name in frame:
                    raise OptionError(
                        f"the signal name {name!r} stands twice in the table; rename one signal"
                    )
                frame[name] = values[:, j]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _inputs_of(u: FloatArray | None, rows: list[int]) -> FloatArray | None:
    """Inputs of one episode, without a last row that is missing altogether."""
    if u is None:
        return None
    missing_last = bool(np.isnan(u[rows[-1]]).all())
    return u[rows[:-1] if missing_last else rows]


def _numbers(values: Any, name: str) -> FloatArray:
    array = np.asarray(values)
    if array.dtype.kind in "USO":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name!r} holds text ({error}); expected numbers") from error
    return as_float_array(array, f"column {name!r}")


def _sample_time(t: FloatArray, dt: float | None, name: str) -> float:
    steps = np.diff(t)
    if not np.isfinite(t).all() or (steps <= 0).any():
        raise TimeBaseError(
            f"column {name!r} does not rise from row to row; expected times sorted within episodes"
        )
    if not len(steps):
        return check_dt(dt)
    expected = check_dt(dt) if dt is not None else float(np.mean(steps))
    worst = int(np.argmax(np.abs(steps - expected)))
    if abs(steps[worst] - expected) > 10 * _TIME_TOLERANCE * expected:
        raise TimeBaseError(
            f"column {name!r} steps by {steps[worst]:g} s at row {worst} of its episode; expected "
            f"{expected:g} s throughout. Resample the record, or cut it into episodes at the gap"
        )
    return expected
