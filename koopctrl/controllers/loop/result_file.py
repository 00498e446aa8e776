"""Closed-loop results in files, and as tables; `koopctrl.storage_file` has the format."""

from __future__ import annotations

from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import check_names
from koopctrl.controllers.loop.result import ClosedLoopResult
from koopctrl.errors import DataError, OptionError
from koopctrl.storage_file import write_file
from koopctrl.storage_packed import Packed, check_shapes, unpack

if TYPE_CHECKING:
    import pandas as pd


def write_result(result: ClosedLoopResult, path: str | PathLike[str]) -> None:
    """Write to exactly `path`."""
    packed = Packed()
    written = {name: packed.put(f"result.{name}", getattr(result, name)) for name in sorted(_written())}
    header = {"fields": written}
    write_file(path, "ClosedLoopResult", header, packed.arrays)


def _written() -> set[str]:
    """Fields that files hold: all but what draws."""
    return {f.name for f in fields(ClosedLoopResult)} - {"artist"}


def result_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> ClosedLoopResult:
    """Closed-loop result in a file's header and arrays; `koopctrl.load` calls this.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    given = {name: unpack(value, arrays) for name, value in header["fields"].items()}
    given.setdefault("units", {})  # files of earlier versions have none
    wanted = _written()
    if set(given) != wanted:
        raise DataError(f"the header's fields are {sorted(given)}; expected {sorted(wanted)}")
    n, n_u = given["inputs"].shape
    n_y = given["outputs"].shape[1]
    shapes: dict[str, tuple[int | None, ...]] = {
        "time": (n + 1,), "states": (n + 1, None), "outputs": (n + 1, n_y), "inputs": (n, n_u),
        "references": (None, n_y), "solve_times": (n,), "rewards": (n,), "Q": (n_y, n_y), "R": (n_u, n_u),
        "disturbances": (n, None),
    }  # fmt: skip
    check_shapes(given, shapes)
    if len(given["statuses"]) != n:
        raise DataError(f"there are {len(given['statuses'])} statuses; expected {n}")
    if not isinstance(given["bounds"], dict) or not isinstance(given["ended"], str):
        raise DataError("its bounds or its end are not what save() writes")
    units = given["units"]
    if not isinstance(units, dict) or not all(isinstance(text, str) for text in units.values()):
        raise DataError("its units are not what save() writes")
    for name, size in (("output_names", n_y), ("input_names", n_u)):
        if given[name]:
            given[name] = check_names(given[name], name, size, "")
    return ClosedLoopResult(**given)


def result_to_dataframe(result: ClosedLoopResult) -> pd.DataFrame:
    """One row a sample; what belongs to a step is NaN in the last row, where no step follows.

    Columns are `time`, the outputs, `NAME_ref` for their references, the inputs, measured disturbances,
    `reward`, `status` and `solve_time`.

    Raises
    ------
    OptionError
        If two columns would have the same name.
    """
    import pandas as pd

    n = len(result.time)
    columns: dict[str, Any] = {"time": result.time}

    def add(name: str, values: Any) -> None:
        if name in columns:
            raise OptionError(f"two columns would be called {name!r}; rename that signal")
        columns[name] = values

    def add_signals(names: Any, prefix: str, values: Any, suffix: str = "") -> None:
        rows = np.full((n, values.shape[1]), np.nan)
        rows[: len(values)] = values[:n]
        for j, name in enumerate(names or [f"{prefix}{j}" for j in range(values.shape[1])]):
            add(f"{name}{suffix}", rows[:, j])

    add_signals(result.output_names, "y", result.outputs)
    add_signals(result.output_names, "y", result.references, "_ref")
    add_signals(result.input_names, "u", result.inputs)
    if result.disturbances is not None:
        add_signals(result.disturbance_names, "v", result.disturbances)
    add("reward", np.append(result.rewards, np.nan))
    add("status", [*result.statuses, ""])
    add("solve_time", np.append(result.solve_times, np.nan))
    return pd.DataFrame(columns)
