"""What one episode in closed loop gave: signals, statuses, cost; figures and metrics are made on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.loop.metrics import closed_loop_metrics

if TYPE_CHECKING:
    import control
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class ClosedLoopResult:
    """One episode; time is axis 0 of every array.

    Attributes
    ----------
    time : (n + 1,) array
        Seconds.
    states : (n + 1, n_x) array
        `info["x"]` where the plant gives it (NaN at samples where it does not), else the measurements.
    outputs : (n + 1, n_y) array
        The measurements; where the controller measures its model's state, `C lift(x)` of it, and where it
        measures some of the model's outputs, all of them with NaN for the others.
    inputs : (n, n_u) array
        `info["u"]`, what was really applied, where the plant gives it; else what the controller sent.
    references : (n + 1, n_y) array
    solve_times : (n,) array
        Seconds spent in `control`.
    statuses : tuple of str
        The controller's status at every step.
    rewards : (n,) array
        As the plant gave them.
    ended : str
        `terminated` or `truncated` where the plant ended the episode, at the last step too; else empty.
    Q, R : arrays or None
        Weights of `cost`.
    bounds : dict
        Bounds the controller was given, by name.
    output_names, input_names, disturbance_names : tuple of str
    disturbances : (n, n_v) array or None
        Measured disturbances, as the plant applied them where it says so, else as the controller was shown
        them; None where there are none.
    units : dict
        Units of outputs and inputs by name, where the plant tells them.
    artist : object or None
        What draws the plant in `animate`, where the plant has such a thing; not written to files.
    """

    time: FloatArray
    states: FloatArray
    outputs: FloatArray
    inputs: FloatArray
    references: FloatArray
    solve_times: FloatArray
    statuses: tuple[str, ...]
    rewards: FloatArray
    ended: str
    Q: FloatArray | None
    R: FloatArray | None
    bounds: dict[str, Any] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()
    disturbances: FloatArray | None = None
    disturbance_names: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    artist: Any = None

    @property
    def n_steps(self) -> int:
        """Number of steps taken."""
        return len(self.inputs)

    @property
    def dt(self) -> float:
        """Sample time in seconds."""
        return float(self.time[1] - self.time[0])

    @property
    def cost(self) -> float:
        """`sum_k (y - r)'Q(y - r)` over steps 1 to n, plus `sum_k u'Ru`; NaN where no weights are known.

        Outputs count where they were measured and have a reference.
        """
        if self.Q is None or self.R is None:
            return float("nan")
        error = (self.outputs - self.references)[1:]
        error = np.where(np.isnan(error), 0.0, error)
        return float(np.sum((error @ self.Q) * error) + np.sum((self.inputs @ self.R) * self.inputs))

    def metrics(self) -> dict[str, Any]:
        """Figures of merit; see `koopctrl.controllers.loop.metrics`."""
        return closed_loop_metrics(self)

    def plot(self, **options: Any) -> Any:
        """Figure of outputs, references, inputs and bounds; see `koopctrl.plotting.plot_closed_loop`."""
        from koopctrl.plotting import plot_closed_loop

        return plot_closed_loop(self, **options)

    def animate(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write `.gif` or `.mp4` to `path`; for `options` see `koopctrl.plotting.animate_closed_loop`."""
        from koopctrl.plotting import animate_closed_loop

        return animate_closed_loop(self, path, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.controllers.loop.result_file import write_result

        write_result(self, path)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a sample; see `koopctrl.controllers.loop.result_file.result_to_dataframe`."""
        from koopctrl.controllers.loop.result_file import result_to_dataframe

        return result_to_dataframe(self)

    def to_timeresponse(self) -> control.TimeResponseData:
        """python-control's form; see `koopctrl.export.pycontrol`."""
        from koopctrl.export.pycontrol import closed_loop_to_timeresponse

        return closed_loop_to_timeresponse(self)

    def __repr__(self) -> str:
        """Dimensions, cost and what went wrong."""
        fallbacks = sum(s.startswith("fallback") for s in self.statuses)
        sizes = f"n_y={self.outputs.shape[1]}, n_u={self.inputs.shape[1]}"
        if self.disturbances is not None:
            sizes += f", n_v={self.disturbances.shape[1]}"
        return (
            f"ClosedLoopResult(n_steps={self.n_steps}, dt={self.dt:g} s, {sizes}, cost={self.cost:.6g}, "
            f"fallbacks={fallbacks}, ended={self.ended!r})"
        )
