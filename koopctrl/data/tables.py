"""Trajectories from and to tables: columns of CSV files and DataFrames cut into episodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._time import Cuts, check_dt, fit_stamps, nominal_step
from koopctrl._validation import FloatArray, as_float_array, check_bool, check_choice
from koopctrl.data.resampling import resample
from koopctrl.data.stamps import seconds_of
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError, TimeBaseError

if TYPE_CHECKING:
    import pandas as pd

_KEEP = "keep"


def columns_of(table: Any) -> tuple[Callable[[Any], Any], list[Any]]:
    """How to get a column of a DataFrame or a mapping of arrays, and the names of its columns."""
    names = getattr(table, "columns", None)
    if names is None and hasattr(table, "keys"):
        names = table.keys()
    if names is None or not hasattr(table, "__getitem__") or getattr(table, "ndim", 2) != 2:
        raise OptionError(
            f"df is a {type(table).__name__}; expected a pandas DataFrame. For arrays use "
            "Trajectories.from_arrays(x, u, dt=...)"
        )
    names = list(names)
    index = getattr(table, "index", None)
    index_name = getattr(index, "name", None)

    def column(name: Any) -> Any:
        if name not in names:
            return np.asarray(index)
        values = table[name]
        kind = getattr(getattr(values, "dtype", None), "kind", "")
        if not isinstance(getattr(values, "dtype", None), np.dtype) and kind in tuple("iufb"):
            return values.to_numpy(dtype=np.float64, na_value=np.nan)  # pandas' nullable numbers
        return np.asarray(values)

    return column, [*names, *([index_name] if index_name is not None and index_name not in names else [])]


def wanted_columns(
    outputs: Any, inputs: Any, time: Any, episode: Any, available: Collection[Any] | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Lists of outputs, inputs and of all columns in use; None alone means that there is no such column."""
    lists = []
    for name, value in (("outputs", outputs), ("inputs", inputs)):
        if not isinstance(value, Iterable):
            raise OptionError(f"{name} is {value!r}; expected a sequence of column names")
        lists.append([value] if isinstance(value, str) else list(value))
    outputs, inputs = lists
    for role, name in (
        *(("outputs", name) for name in outputs), *(("inputs", name) for name in inputs),
        ("time", time), ("episode", episode),
    ):  # fmt: skip
        if not isinstance(name, Hashable):
            raise OptionError(
                f"{role} has a {type(name).__name__} where the name of a column is expected; pass the name, "
                "not the column"
            )
    if not outputs:
        raise OptionError("outputs is empty; expected at least one column name")
    used = [*outputs, *inputs, *(name for name in (time, episode) if name is not None)]
    for name in used:
        if available is not None and not _has(available, name):
            raise OptionError(f"there is no column {name!r}; expected one of {list(available)}")
    return outputs, inputs, used


def _has(available: Collection[Any], name: Any) -> bool:
    """Whether there is such a column; True and False are no labels for 1 and 0."""
    if isinstance(name, bool | np.bool_):
        return any(isinstance(one, bool | np.bool_) and one == name for one in available)
    return name in available


def episodes_from_columns(
    column: Callable[[Any], Any],
    available: Sequence[Any],
    outputs: Any,
    inputs: Any,
    dt: float | None,
    time: Any,
    episode: Any,
    *,
    gaps: str = "refuse",
    resampled: bool = False,
) -> list[Trajectory]:
    """Cut columns into episodes, in the order in which each episode first appears.

    The last inputs of an episode may be missing, as in `to_dataframe`: no sample follows them.
    """
    check_choice(gaps, "gaps", ("refuse", "split", _KEEP))
    check_bool(resampled, "resample")
    kept = gaps == _KEEP
    if kept and resampled:
        raise OptionError(
            'gaps is "keep" and resample True; expected one of them: an output cannot be brought onto '
            'another grid across samples that are missing. Pass gaps="split"'
        )
    outputs, inputs, _ = wanted_columns(outputs, inputs, time, episode, available)
    y = np.column_stack([_numbers(column(name), name) for name in outputs])
    u = np.column_stack([_numbers(column(name), name) for name in inputs]) if inputs else None
    if not len(y):
        raise DataError("the table has no rows; expected one row a sample")
    if dt is None and time is None:
        raise TimeBaseError("dt is None; expected the sample time in seconds. Pass dt=... or time=COLUMN")
    if time is None and resampled:
        raise OptionError("time is None; expected a column of time stamps for resample=True")
    groups = _groups(None if episode is None else column(episode), episode, len(y))
    labels = [str(key) for key in groups]
    rows = list(groups.values())
    whole = _numbers_throughout(y, u, rows, outputs, inputs, gaps)
    pieces = [
        (piece, label if len(pieces) == 1 else f"{label}/{i}")
        for r, label in zip(rows, labels, strict=True)
        for pieces in [_runs_of(r, whole)]
        for i, piece in enumerate(pieces)
    ]
    rows, labels = [piece for piece, _ in pieces], [label for _, label in pieces]
    if not rows:
        raise DataError("no row has a number in every used column; expected one at least")
    if time is None:
        parts = zip(rows, labels, strict=True)
        return [
            Trajectory(y[r], _inputs_of(u, r), dt, outputs, inputs, label, missing=kept) for r, label in parts
        ]
    t = seconds_of(column(time), time)
    stamps = [t[r] for r in rows]
    if resampled:
        step, cuts = nominal_step(stamps, str(time), split=gaps == "split", labels=labels)
        step = step if dt is None else check_dt(dt)
    else:
        step, cuts = fit_stamps(stamps, str(time), dt=dt, split=gaps == "split", labels=labels)
    result = []
    for r, label, at in zip(rows, labels, cuts, strict=True):
        for name, piece in _pieces(r, label, at):
            values, acting = y[piece], _inputs_of(u, piece)
            if resampled:
                values, acting = _on_grid(t[piece], values, acting, step)
            result.append(Trajectory(values, acting, step, outputs, inputs, name, missing=kept))
    return result


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


def _groups(keys: Any, name: Any, n_rows: int) -> dict[Any, list[int]]:
    """Rows of each episode."""
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(np.zeros(n_rows, dtype=int) if keys is None else keys):
        if key is None or key == "" or not np.all(key == key):
            raise DataError(f"column {name!r} is empty in row {i}; expected the name of an episode")
        groups.setdefault(key, []).append(i)
    return groups


def _pieces(rows: list[int], label: str, cuts: Cuts) -> list[tuple[str, list[int]]]:
    """Labels and rows of the uninterrupted pieces of one episode."""
    ends = [*cuts[1:], len(rows)]
    names = [label] if len(cuts) == 1 else [f"{label}.{i}" for i in range(len(cuts))]
    return [(name, rows[a:b]) for name, a, b in zip(names, cuts, ends, strict=True)]


def _on_grid(
    t: FloatArray, y: FloatArray, u: FloatArray | None, step: float
) -> tuple[FloatArray, FloatArray | None]:
    """One piece on the even grid; a missing last input stays missing."""
    values = resample(t, y, step, max_gap=np.finfo(float).max)
    if u is None or not len(u):
        return values, u
    held = np.concatenate([u, np.repeat(u[-1:], len(y) - len(u), axis=0)])
    acting = resample(t, held, step, held=True, max_gap=np.finfo(float).max)
    return values, acting[: len(acting) - (len(y) - len(u))]


def _numbers_throughout(
    y: FloatArray, u: FloatArray | None, rows: list[list[int]], outputs: Any, inputs: Any, gaps: str
) -> Any:
    """Whether each row has a number in every used column that may not lack one; all must, unless records are
    to split there.

    The last inputs of an episode may be missing, for no sample follows them; but not after a row that is cut
    out.
    """
    table = y if u is None else np.concatenate([y, u], axis=1)
    lacking = ~np.isfinite(table)
    if gaps == _KEEP:
        lacking[:, : y.shape[1]] = np.isinf(y)
    for r in rows:
        led_to = len(r) == 1 or not lacking[r[-2]].any()
        unasked = u is not None and bool(np.isnan(u[r[-1]]).all())
        if led_to and unasked and not lacking[r[-1], : y.shape[1]].any():
            lacking[r[-1]] = False
    if lacking.any() and gaps != "split":
        row, j = (int(i) for i in np.argwhere(lacking)[0])
        more = int(lacking.any(axis=1).sum()) - 1
        keep = ', or gaps="keep" to leave outputs missing' if j < y.shape[1] and np.isnan(y[row, j]) else ""
        also = f", as {more} further rows have" if more else ""
        raise DataError(
            f"column {[*outputs, *inputs][j]!r} has NaN, an infinite value or nothing in row {row}{also}; "
            'expected a number in each row. Fill or drop them, or pass gaps="split" to go on with a new '
            f"episode after such rows{keep}"
        )
    return ~lacking.any(axis=1)


def _runs_of(rows: list[int], whole: Any) -> list[list[int]]:
    """Uninterrupted runs of those rows that are whole."""
    runs: list[list[int]] = [[]]
    for row in rows:
        if whole[row]:
            runs[-1].append(row)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _inputs_of(u: FloatArray | None, rows: list[int]) -> FloatArray | None:
    """Inputs of one episode, without a last row that is missing altogether."""
    if u is None:
        return None
    missing_last = bool(np.isnan(u[rows[-1]]).all())
    return u[rows[:-1] if missing_last else rows]


def _numbers(values: Any, name: Any) -> FloatArray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(
            f"column {name!r} has shape {array.shape}; expected one number a row. A name that stands twice "
            "in the table has to be made distinct"
        )
    if array.dtype.kind in "USO":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            row = next(i for i, value in enumerate(array) if not _converts(value))
            raise DataError(
                f"column {name!r} holds text, {array[row]!r} in row {row}; expected numbers. Drop rows that "
                "are no samples, as one of units (pandas.read_csv(path, skiprows=[1]))"
            ) from error
    return as_float_array(array, f"column {name!r}")


def _converts(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
