"""Offsets and drifts taken out of records, in a way that can be undone: models and inputs stay in physical
units.

A `Detrended` is the records without trends, and the trends. Linear identification likes such records;
networks standardise by themselves and keep the operating point, which a drifting one does not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_signal, check_choice
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, ShapeError

if TYPE_CHECKING:
    from koopctrl.identification.linear_model import InnovationModel

KINDS = ("mean", "linear", "none")


@dataclass(frozen=True, eq=False)
class Trend:
    """`offset + slope * time` of one record's outputs and inputs, time in seconds from its start."""

    y_offset: FloatArray
    y_slope: FloatArray
    u_offset: FloatArray
    u_slope: FloatArray

    def outputs(self, time: ArrayLike) -> FloatArray:
        """Trend of the outputs at `(n,)` times, `(n, n_y)`."""
        return self.y_offset + np.asarray(time, dtype=float)[:, None] * self.y_slope

    def inputs(self, time: ArrayLike) -> FloatArray:
        """Trend of the inputs at `(n,)` times, `(n, n_u)`."""
        return self.u_offset + np.asarray(time, dtype=float)[:, None] * self.u_slope


@dataclass(frozen=True, eq=False)
class Detrended:
    """Records without their trends, and what was taken out.

    Attributes
    ----------
    records : Trajectories
    trends : tuple of Trend
        One an episode.
    outputs, inputs : {"mean", "linear", "none"}
        What was taken out of each.
    """

    records: Trajectories
    trends: tuple[Trend, ...]
    outputs: str
    inputs: str

    def apply(self, data: Trajectories | Iterable[Trajectory]) -> Detrended:
        """Take the *same* operating point out of other records: the mean offset of all trends.

        Raises
        ------
        DataError
            If a straight line was taken out: it belongs to its own record's time.
        """
        if "linear" in (self.outputs, self.inputs):
            raise DataError(
                "a straight line was taken out, which goes with the time of its own record; expected "
                "'mean'. Detrend the other records by themselves"
            )
        other = Trajectories.coerce(data, "data", missing=True)
        mean = self.operating_point
        zero_y, zero_u = np.zeros(other.n_y), np.zeros(other.n_u)
        if (len(mean[0]), len(mean[1])) != (other.n_y, other.n_u):
            raise ShapeError(
                f"data have {other.n_y} outputs and {other.n_u} inputs; expected {len(mean[0])} and "
                f"{len(mean[1])}"
            )
        trend = Trend(mean[0], zero_y, mean[1], zero_u)
        return Detrended(
            _without(other, [trend] * len(other)), (trend,) * len(other), self.outputs, self.inputs
        )

    @property
    def operating_point(self) -> tuple[FloatArray, FloatArray]:
        """`(y_op, u_op)`: what the records' zero is in physical units, the mean of all trends over time."""
        weights = np.array([len(e) for e in self.records], dtype=float)
        middle = [0.5 * e.n_steps * e.dt for e in self.records]
        y = np.stack([t.y_offset + m * t.y_slope for t, m in zip(self.trends, middle, strict=True)])
        u = np.stack([t.u_offset + m * t.u_slope for t, m in zip(self.trends, middle, strict=True)])
        return weights @ y / weights.sum(), weights @ u / weights.sum()

    def restore(self, runs: Iterable[ArrayLike]) -> list[FloatArray]:
        """Outputs of each episode (predictions on `records`) back in physical units."""
        found = []
        for i, (run, e, trend) in enumerate(zip(runs, self.records, self.trends, strict=True)):
            y = as_signal(run, f"runs[{i}]", e.outputs.shape[1], missing=e.missing)
            if len(y) != len(e):
                raise ShapeError(f"runs[{i}] has {len(y)} rows; expected {len(e)} as its record")
            found.append(y + trend.outputs(e.time))
        return found

    def restore_model(self, model: InnovationModel) -> InnovationModel:
        """A linear model identified on `records`, as one of the physical signals: `y_op` and `u_op` are moved
        by `operating_point`, and whatever it is exported to has them.
        """
        y_op, u_op = self.operating_point
        return replace(model, y_op=model.y_op + y_op, u_op=model.u_op + u_op)


def detrend(
    data: Trajectories | Iterable[Trajectory], *, outputs: str = "mean", inputs: str = "mean"
) -> Detrended:
    """Take offsets or straight lines out of records.

    Parameters
    ----------
    data : Trajectories
        Outputs may be missing (NaN).
    outputs, inputs : {"mean", "linear", "none"}
        The mean over all records (an operating point belongs to the plant, not to a record); a straight line
        of each record by least squares; or nothing.

    Returns
    -------
    Detrended
        `records` to identify on, and `restore`, `restore_model`, `operating_point` to come back.
    """
    records = Trajectories.coerce(data, "data", missing=True)
    check_choice(outputs, "outputs", KINDS)
    check_choice(inputs, "inputs", KINDS)
    y_lines = _lines([e.outputs for e in records], records.dt, outputs)
    u_lines = _lines([e.inputs for e in records], records.dt, inputs)
    trends = [Trend(*y, *u) for y, u in zip(y_lines, u_lines, strict=True)]
    return Detrended(_without(records, trends), tuple(trends), outputs, inputs)


def _lines(signals: list[FloatArray], dt: float, kind: str) -> list[tuple[FloatArray, FloatArray]]:
    """`(offset, slope)` of each record's signals."""
    n = signals[0].shape[1]
    zero = np.zeros(n)
    if kind == "none" or not any(map(len, signals)):
        return [(zero, zero)] * len(signals)
    if kind == "mean":
        return [(np.nanmean(np.concatenate(signals), axis=0), zero)] * len(signals)
    found = []
    for s in signals:
        offset, slope = np.zeros(n), np.zeros(n)
        for j, column in enumerate(s.T):
            seen = np.flatnonzero(np.isfinite(column))
            middle = seen.mean() if len(seen) else 0.0
            back = seen - middle
            offset[j] = column[seen].mean() if len(seen) else 0.0
            slope[j] = back @ column[seen] / (back @ back) if len(seen) > 1 else 0.0
            offset[j] -= slope[j] * middle
        found.append((offset, slope / dt))
    return found


def _without(data: Trajectories, trends: list[Trend]) -> Trajectories:
    return Trajectories(
        e.with_signals(e.outputs - t.outputs(e.time), e.inputs - t.inputs(np.arange(len(e.inputs)) * e.dt))
        for e, t in zip(data, trends, strict=True)
    )
