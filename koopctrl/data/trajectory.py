"""One uninterrupted record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_signal, check_dt, check_names
from koopctrl.errors import DataError, OptionError, ShapeError


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One uninterrupted record, sampled every `dt` seconds; inputs are held between samples.

    Parameters
    ----------
    outputs : (n_steps + 1, n_y) array_like
        Measured signals: the states where they are all measured.
    inputs : (n_steps, n_u) or (n_steps + 1, n_u) array_like, optional
        `inputs[k]` acts from sample `k` to `k + 1`. A last row with no sample after it is kept (models with
        feedthrough use it). None for an autonomous record.
    dt : float
        Sample time in seconds.
    output_names, input_names : sequence of str, optional
        Signal names; `y0, y1, ..` and `u0, u1, ..` by default.
    label : str
        Name of the episode.

    Raises
    ------
    ShapeError
        If the rows of inputs and outputs do not fit each other.
    DataError
        If there is a NaN or infinite value, or no sample.
    TimeBaseError
        If `dt` is missing or not positive.
    """

    outputs: FloatArray
    inputs: FloatArray
    dt: float
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]
    label: str = ""

    def __init__(
        self,
        outputs: ArrayLike,
        inputs: ArrayLike | None = None,
        dt: float | None = None,
        output_names: Sequence[str] | None = None,
        input_names: Sequence[str] | None = None,
        label: str = "",
        *,
        _signal: str = "outputs",
    ) -> None:
        y = as_signal(outputs, _signal)
        u = np.empty((len(y), 0)) if inputs is None else as_signal(inputs, "inputs")
        if len(y) == 0 or y.shape[1] == 0:
            raise DataError(f"{_signal} has shape {y.shape}; expected at least one sample of one signal")
        if len(u) not in (len(y) - 1, len(y)):
            raise ShapeError(
                f"inputs has {len(u)} rows; expected {len(y) - 1} or {len(y)} to match {_signal} with "
                f"{len(y)} rows"
            )
        values = {
            "outputs": _frozen_copy(y, outputs),
            "inputs": _frozen_copy(u, inputs),
            "dt": check_dt(dt),
            "output_names": check_names(
                output_names,
                _signal.removesuffix("s") + "_names",
                y.shape[1],
                "y" if _signal == "outputs" else "x",
            ),
            "input_names": check_names(input_names, "input_names", u.shape[1], "u"),
            "label": str(label),
        }
        for name in values["input_names"]:
            if name in values["output_names"]:
                raise OptionError(f"the signal {name!r} is both output and input; expected distinct names")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def states(self) -> FloatArray:
        """The measured signals, where they are the states."""
        return self.outputs

    @property
    def n_steps(self) -> int:
        """Transitions in the record: samples minus one."""
        return len(self.outputs) - 1

    @property
    def time(self) -> FloatArray:
        """Sample times in seconds, from 0."""
        return np.arange(len(self.outputs), dtype=np.float64) * self.dt

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.outputs)

    def slice(self, start: int, stop: int) -> Trajectory:
        """Samples `start <= k < stop` as a record of its own."""
        return Trajectory(
            self.outputs[start:stop],
            self.inputs[start:stop],
            self.dt,
            self.output_names,
            self.input_names,
            self.label,
        )

    def __repr__(self) -> str:
        """Dimensions, names and duration."""
        n_y, n_u = self.outputs.shape[1], self.inputs.shape[1]
        return f"Trajectory({len(self)} samples, dt={self.dt:g} s, n_y={n_y}, n_u={n_u})"


def _frozen_copy(array: FloatArray, source: Any) -> FloatArray:
    """Read-only array that shares no memory with what the caller may still change."""
    if np.may_share_memory(array, np.asarray(source)) and not _is_read_only(source):
        array = array.copy()
    array.flags.writeable = False
    return array


def _is_read_only(source: Any) -> bool:
    """Whether the array and all arrays it is a view of are locked."""
    while isinstance(source, np.ndarray):
        if source.flags.writeable:
            return False
        source = source.base
    return source is None
