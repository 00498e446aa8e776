"""Onto an even grid: records whose time stamps jitter, wander, or step by another sample time.

Between stamps an output is taken as straight, an input as held. The value of an output at a grid point is
that of the straight line, or its mean over one period around the point where the grid is coarser than the
stamps (no aliasing, no delay); the value of an input is its mean over the period that follows, so that what
has flowed in is kept. Both are integrals of the record, worked out exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._time import GAP, check_dt
from koopctrl._validation import FloatArray, as_float_array, as_signal, check_finite
from koopctrl.errors import ShapeError, TimeBaseError

_COARSER = 1.5  # sample times from which on outputs are averaged
_ROUNDING = 1e-9  # of a step: an end that rounding alone keeps from being a grid point


def resample(
    t: ArrayLike,
    values: ArrayLike,
    dt: float,
    *,
    held: bool = False,
    max_gap: float | None = None,
) -> FloatArray:
    """Values at `t[0], t[0] + dt, ..` up to the last stamp.

    Parameters
    ----------
    t : (n,) array_like
        Rising times in seconds.
    values : (n,) or (n, n_signals) array_like
        Samples at those times.
    dt : float
        New sample time in seconds.
    held : bool
        Whether the signals are held from one stamp to the next, as inputs are, in place of straight.
    max_gap : float, optional
        Longest step between stamps, in seconds, that may be filled; by default 1.8 times the larger of `dt`
        and the median step.

    Returns
    -------
    (m,) or (m, n_signals) array
        `m = floor((t[-1] - t[0]) / dt) + 1` samples.

    Raises
    ------
    TimeBaseError
        If the times do not rise, or step by more than `max_gap`.
    ShapeError
        If there are not as many values as times.

    Examples
    --------
    >>> from koopctrl.data.resampling import resample
    >>> resample([0.0, 0.9, 2.1, 3.0], [0.0, 0.9, 2.1, 3.0], 1.0)
    array([0., 1., 2., 3.])
    """
    time = check_finite(as_float_array(t, "t"), "t")
    signals = as_signal(values, "values")
    step = check_dt(dt)
    if time.ndim != 1 or len(time) != len(signals) or not len(time):
        raise ShapeError(
            f"t has shape {time.shape} and values {np.shape(values)}; expected (n,) times and as many rows"
        )
    steps = np.diff(time)
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0]) + 1
        raise TimeBaseError(f"t does not rise at row {row}; expected rising times. Sort them")
    if len(time) == 1:
        return signals[:, 0].copy() if np.ndim(values) == 1 else signals.copy()
    median = float(np.median(steps))
    longest = GAP * max(step, median) if max_gap is None else check_dt(max_gap, "max_gap")
    if steps.max() > longest * (1.0 + _ROUNDING):
        row = int(np.argmax(steps))
        raise TimeBaseError(
            f"t has a gap of {steps[row]:.6g} s after row {row}; expected at most {longest:.6g} s. Cut "
            'the record there (gaps="split"), or pass a longer max_gap to fill it'
        )
    span = time - time[0]
    n = int(np.floor(span[-1] / step + _ROUNDING)) + 1
    grid = np.minimum(step * np.arange(n), span[-1])
    if held:
        result = _held_means(span, signals, grid, step)
    elif step > _COARSER * median:
        result = _straight_means(span, signals, grid, step)
    else:
        result = np.column_stack([np.interp(grid, span, column) for column in signals.T])
    return result[:, 0] if np.ndim(values) == 1 else result


def _held_means(t: FloatArray, values: FloatArray, grid: FloatArray, step: float) -> FloatArray:
    """Means over `[grid, grid + step)` of held signals; the last sample is held to the end."""
    end = np.append(t, max(t[-1], grid[-1]) + step)
    integral = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum(values * np.diff(end)[:, None], axis=0)]
    )

    def upto(times: FloatArray) -> FloatArray:
        k = np.clip(np.searchsorted(end, times, side="right") - 1, 0, len(values) - 1)
        return integral[k] + values[k] * (times - end[k])[:, None]

    return (upto(grid + step) - upto(grid)) / step


def _straight_means(t: FloatArray, values: FloatArray, grid: FloatArray, step: float) -> FloatArray:
    """Means over the period around each grid point of straight signals, cut off at the record's ends."""
    areas = 0.5 * (values[1:] + values[:-1]) * np.diff(t)[:, None]
    integral = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(areas, axis=0)])

    def upto(times: FloatArray) -> FloatArray:
        k = np.clip(np.searchsorted(t, times, side="right") - 1, 0, len(t) - 2)
        into = (times - t[k])[:, None]
        slope = (values[k + 1] - values[k]) / (t[k + 1] - t[k])[:, None]
        return integral[k] + into * (values[k] + 0.5 * slope * into)

    # The window shrinks on both sides alike at the ends: the mean stays centred on its point.
    half = np.minimum(0.5 * step, np.minimum(grid, t[-1] - grid))
    ends = np.where(half > 0.0, half, 0.5 * step)
    means = (upto(grid + ends) - upto(grid - ends)) / (2.0 * ends)[:, None]
    points = np.column_stack([np.interp(grid, t, column) for column in values.T])
    return np.where((half > 1e-9 * step)[:, None], means, points)
