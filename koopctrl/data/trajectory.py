"""One uninterrupted record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_signal, check_bool, check_dt, check_names
from koopctrl._warnings import warn
from koopctrl.errors import DataError, OptionError, ShapeError

_MANY = 5  # signals from which on a record that fits both ways is taken to be turned
_WIDE = 10  # signals a sample from which on a record without inputs and names looks turned


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
    missing : bool
        Whether outputs may be missing (NaN): lost samples, or outputs that are sampled at different rates.
        Models with a hidden state skip them; others are fitted to the stretches between them.

    Raises
    ------
    ShapeError
        If the rows of inputs and outputs do not fit each other.
    DataError
        If there is a NaN or infinite value (with `missing`: other than NaN in the outputs), or no sample.
    TimeBaseError
        If `dt` is missing or not positive.
    """

    outputs: FloatArray
    inputs: FloatArray
    dt: float
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]
    label: str = ""
    missing: bool = False

    def __init__(
        self,
        outputs: ArrayLike,
        inputs: ArrayLike | None = None,
        dt: float | None = None,
        output_names: Sequence[str] | None = None,
        input_names: Sequence[str] | None = None,
        label: str = "",
        *,
        missing: bool = False,
        _signal: str = "outputs",
    ) -> None:
        y = as_signal(outputs, _signal, missing=check_bool(missing, "missing"))
        u = np.empty((len(y), 0)) if inputs is None else as_signal(inputs, "inputs")
        if len(y) == 0 or y.shape[1] == 0:
            raise DataError(f"{_signal} has shape {y.shape}; expected at least one sample of one signal")
        if missing and not np.isfinite(y).any(axis=0).all():
            lost = np.flatnonzero(~np.isfinite(y).any(axis=0)).tolist()
            raise DataError(f"{_signal} has no sample in columns {lost}; expected at least one. Drop them")
        _check_rows(y, u, _signal, known=output_names is not None)
        if inputs is None and output_names is None:
            _warn_wide(y, _signal)
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
            "missing": bool(missing and np.isnan(y).any()),
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

    def slice(self, start: int, stop: int, label: str | None = None) -> Trajectory:
        """Samples `start <= k < stop` as a record of its own, with this one's label by default."""
        return self.with_signals(self.outputs[start:stop], self.inputs[start:stop], label=label)

    def with_signals(
        self, outputs: ArrayLike, inputs: ArrayLike, dt: float | None = None, label: str | None = None
    ) -> Trajectory:
        """A record of the same signals with other numbers: `outputs`, `inputs`, and if given other than these
        `dt` and `label`.

        Outputs may be missing if some are missing here; a stretch in which one has no sample at all is then
        as good as any.
        """
        new = object.__new__(Trajectory)
        y, u = np.asarray(outputs), np.asarray(inputs)
        if self.missing:
            filled = np.where(np.isnan(y), 0.0, y)  # checked like any other, but for what is missing
            checked = Trajectory(filled, u, dt or self.dt, self.output_names, self.input_names)
            for name in ("inputs", "dt", "output_names", "input_names"):
                object.__setattr__(new, name, getattr(checked, name))
            object.__setattr__(new, "outputs", _frozen_copy(as_signal(y, "outputs", missing=True), y))
            object.__setattr__(new, "label", self.label if label is None else label)
            object.__setattr__(new, "missing", bool(np.isnan(y).any()))
            return new
        return Trajectory(
            y, u, dt or self.dt, self.output_names, self.input_names, self.label if label is None else label
        )

    def __repr__(self) -> str:
        """Dimensions, names and duration."""
        n_y, n_u = self.outputs.shape[1], self.inputs.shape[1]
        return f"Trajectory({len(self)} samples, dt={self.dt:g} s, n_y={n_y}, n_u={n_u})"


def _check_rows(y: FloatArray, u: FloatArray, signal: str, known: bool) -> None:
    """Refuse inputs with other rows than the outputs, and records that look turned.

    A record that fits both ways round is refused where it has fewer samples than signals, unless the names of
    the signals (`known`) say which way is meant.
    """

    def fits(inputs: int, samples: int) -> bool:
        return inputs in (samples - 1, samples)

    wide_y, wide_u = y.shape[0] < y.shape[1], u.shape[0] <= u.shape[1]
    turned = {
        f"{signal} and inputs": wide_y and wide_u and fits(u.shape[1], y.shape[1]),
        signal: wide_y and fits(len(u), y.shape[1]),
        "inputs": u.shape[0] < u.shape[1] and fits(u.shape[1], len(y)),
    }
    what = next((name for name, is_so in turned.items() if is_so), None)
    if fits(len(u), len(y)):
        # A few samples of as few signals may well be meant.
        if known or not len(u) or y.shape[1] < _MANY or not turned[f"{signal} and inputs"]:
            return
        raise ShapeError(
            f"{signal} has shape {y.shape} and inputs {u.shape}: {len(y)} samples of {y.shape[1]} signals; "
            "expected time along the rows. Turned? Pass the transposes (x.T, u.T), or the names of the "
            "signals to say that they are as meant"
        )
    hint = f". Turned? Pass the transpose of {what}: time runs along the rows" if what else ""
    raise ShapeError(
        f"inputs has {len(u)} rows; expected {len(y) - 1} or {len(y)} to match {signal} with "
        f"{len(y)} rows{hint}"
    )


def _warn_wide(y: FloatArray, signal: str) -> None:
    """Say that a record without inputs has far fewer samples than signals: nothing else can tell."""
    if y.shape[1] >= max(_WIDE * len(y), 2 * _WIDE):
        warn(
            f"{signal} has shape {y.shape}: {len(y)} samples of {y.shape[1]} signals. If it is turned, pass "
            "its transpose; if not, pass the names of the signals"
        )


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
