"""Responses of a network, and the reading of time grids and inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite
from koopctrl.errors import ShapeError, TimeBaseError


@dataclass(frozen=True)
class LTIResponse:
    """A simulated response; time is axis 0, and comes after the batch axis if inputs were a batch.

    Attributes
    ----------
    time : array (N + 1,)
        Seconds.
    outputs : array ([batch,] N + 1, n_y)
    inputs : array ([batch,] N + 1, n_u)
        Under zero-order hold the last row repeats the one before it if none was given.
    states : array ([batch,] N + 1, n) or None
        In the original model's coordinates.
    input_names, output_names, state_names : tuple of str
    hold : str
        "zoh" or "foh".
    """

    time: FloatArray
    outputs: FloatArray
    inputs: FloatArray
    states: FloatArray | None
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    state_names: tuple[str, ...]
    hold: str

    def to_timeresponse(self) -> Any:
        """The response as `control.TimeResponseData`; a batch becomes its traces."""
        from koopctrl.export.ltinet_pycontrol import response_to_pycontrol

        return response_to_pycontrol(self)

    def plot(self, **options: Any) -> Any:
        """Plot as python-control does (`control.time_response_plot`); options go there."""
        return self.to_timeresponse().plot(**options)


def read_grid(t: ArrayLike) -> tuple[FloatArray, float]:
    """Check a uniform time grid; return it and its step in seconds."""
    time = check_finite(as_float_array(t, "t"), "t")
    if time.ndim != 1 or len(time) < 2:
        raise ShapeError(f"t has shape {time.shape}; expected at least two instants in one dimension")
    h = float((time[-1] - time[0]) / (len(time) - 1))
    steps = np.diff(time)
    # instants far from zero carry the rounding of their size
    slack = 1e-9 * abs(h) + 4 * np.finfo(float).eps * float(np.abs(time).max())
    if h <= 0.0 or float(np.abs(steps - h).max()) > slack:
        raise TimeBaseError(
            f"t has steps from {steps.min():.6g} to {steps.max():.6g} s; expected a uniform increasing grid. "
            "Resample the inputs, e.g. onto numpy.linspace"
        )
    return time, h


def read_inputs(u: ArrayLike | None, n_times: int, n_u: int, hold: str) -> tuple[FloatArray, bool]:
    """Inputs as `(batch, n_times, n_u)`, and whether the caller passed a batch."""
    if u is None:
        return np.zeros((1, n_times, n_u)), False
    array = check_finite(as_float_array(u, "u"), "u")
    if array.ndim == 0:
        array = np.full((n_times, n_u), float(array))
    if array.ndim == 1:
        array = array[:, None]
    batched = array.ndim == 3
    if array.ndim not in (2, 3) or array.shape[-1] != n_u:
        raise ShapeError(
            f"u has shape {np.shape(u)}; expected (time, {n_u}) or (batch, time, {n_u})"
            + (" or (time,)" if n_u == 1 else "")
        )
    array = array if batched else array[None]
    if array.shape[1] == n_times - 1 and hold == "zoh":
        # the held input's left limit stands at the last instant, where it only meets the direct link
        array = np.concatenate([array, array[:, -1:]], axis=1)
    if array.shape[1] != n_times:
        wanted = f"{n_times - 1} or {n_times}" if hold == "zoh" else f"{n_times}"
        raise ShapeError(f"u has {array.shape[1]} rows; expected {wanted} to match t with {n_times} instants")
    return array, batched


def read_start(x0: ArrayLike | None, n: int, batch: int) -> FloatArray:
    """Initial states as `(batch, n)`; a scalar stands for all entries."""
    if x0 is None:
        return np.zeros((batch, n))
    array = check_finite(as_float_array(x0, "x0"), "x0")
    if array.ndim == 0:
        array = np.full(n, float(array))
    if array.shape not in ((n,), (batch, n)):
        raise ShapeError(
            f"x0 has shape {array.shape}; expected ({n},)" + (f" or ({batch}, {n})" if batch > 1 else "")
        )
    return np.broadcast_to(array, (batch, n))


@dataclass(frozen=True)
class NeuronResponse(LTIResponse):
    """A response integrated neuron by neuron.

    Attributes
    ----------
    steps : array (n_layers,)
        Step of each layer in seconds.
    defects : array (n_layers,)
        Largest defect `|w' - A_i w - B_i u|` of each layer, checked between collocation points.
    """

    steps: FloatArray
    defects: FloatArray
