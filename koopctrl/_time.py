"""The one rule of time: when two sample times are the same, and what time stamps say.

Two sample times are the same when, over the longest record at stake, they move no sample by more than a
hundredth of a period. Time stamps are judged by the displacement of each sample from the fitted uniform grid,
never by neighbouring differences: rounding does not add up, drift does. A sample may lie a tenth of a period
off the grid, or as far as the rounding of the stamps explains. A step long enough for a missing sample is a
gap.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from koopctrl.errors import TimeBaseError

FloatArray = NDArray[np.floating[Any]]
Cuts = tuple[int, ...]
"""Rows at which the uninterrupted pieces of one episode begin: 0, then the row after each gap."""

SAME = 0.01
"""Part of a period by which equal sample times may move a sample."""
DISPLACED = 0.1
"""Part of a period by which a time stamp may lie off the uniform grid."""
GAP = 2.0 - 2.0 * DISPLACED
"""Sample times from which on a step between stamps is a gap: a sample is missing, both its ends displaced."""
UNKNOWN_LENGTH = 10_000
"""Steps that are at stake where no record is."""
_IRREGULAR = 0.2  # share of gaps above which the stamps have no sample time at all
_COARSE = 0.4  # sample times: the coarsest rounding of stamps that can still be told from jitter


def check_dt(dt: Any, name: str = "dt", *, allow_zero: bool = False) -> float:
    """Check a sample time in seconds; 0 (continuous time) only where allowed."""
    if dt is None or isinstance(dt, (bool, np.bool_)):
        raise TimeBaseError(f"{name} is {dt}; expected the sample time in seconds. Pass {name}=...")
    if isinstance(dt, (datetime.timedelta, np.timedelta64)):
        return check_dt(np.timedelta64(dt) / np.timedelta64(1, "s"), name, allow_zero=allow_zero)
    if isinstance(dt, (str, bytes, list, tuple)) or np.ndim(dt):
        raise TimeBaseError(f"{name} is {dt!r}; expected a number of seconds")
    try:
        value = float(dt)
    except (TypeError, ValueError) as error:
        raise TimeBaseError(f"{name} is {dt!r}; expected a number of seconds") from error
    except OverflowError as error:
        raise TimeBaseError(f"{name} is an integer beyond float64; expected a number of seconds") from error
    if not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        raise TimeBaseError(
            f"{name} is {value}; expected a {'non-negative' if allow_zero else 'positive'} number of seconds"
        )
    return value


def same_dt(dt: float, other: float, n_steps: int = UNKNOWN_LENGTH) -> bool:
    """Whether `n_steps |dt - other| <= min(dt, other) / 100`: the rule for two sample times.

    Parameters
    ----------
    dt, other : float
        Seconds; 0 is continuous time and the same as 0 alone.
    n_steps : int
        Steps of the longest record at stake.
    """
    return max(n_steps, 1) * abs(dt - other) <= SAME * min(dt, other)


def check_same_dt(dt: float, other: float, what: str, n_steps: int = UNKNOWN_LENGTH) -> None:
    """Refuse two things with different sample times; `n_steps` is the longest record at stake."""
    if not same_dt(dt, other, n_steps):
        raise TimeBaseError(
            f"{what} have sample times {dt:.9g} s and {other:.9g} s; expected the same: over "
            f"{max(n_steps, 1)} steps they move a sample by {_drift(dt, other, n_steps)}. Resample one of "
            "them, or give both the same dt"
        )


def _drift(dt: float, other: float, n_steps: int) -> str:
    smaller = min(dt, other)
    return f"{n_steps * abs(dt - other) / smaller:.3g} periods" if smaller > 0 else "any length"


def fit_stamps(
    stamps: Sequence[FloatArray],
    name: str = "time",
    *,
    dt: float | None = None,
    split: bool = False,
    labels: Sequence[str] = (),
) -> tuple[float, list[Cuts]]:
    """Sample time of the stamps of several episodes, on one uniform grid, and where each is interrupted.

    Parameters
    ----------
    stamps : sequence of (n,) array
        Seconds, one array an episode, each from a start of its own.
    name : str
        What messages call the stamps.
    dt : float, optional
        Sample time that the stamps must agree with; read off them by default, and then the simplest number
        of seconds or hertz that the rounding of the stamps allows.
    split : bool
        Whether gaps cut an episode; else they are refused.
    labels : sequence of str
        Names of the episodes, for messages.

    Raises
    ------
    TimeBaseError
        If stamps are missing or do not rise, differ between episodes, have a gap, lie off the grid, or do
        not agree with `dt`.
    """
    where = _places(stamps, labels)
    for t, place in zip(stamps, where, strict=True):
        _check_rising(t, name, place)
    given = None if dt is None else check_dt(dt)
    steps = [np.diff(t) for t in stamps]
    if not sum(map(len, steps)):
        return check_dt(given), [(0,) for _ in stamps]
    typical = _typical_step(steps, name, where)
    cuts: list[Cuts] = [(0, *(np.flatnonzero(d > GAP * typical) + 1).tolist()) for d in steps]
    _judge_gaps(cuts, steps, typical, name, where, split)
    pieces = [piece for t, rows in zip(stamps, cuts, strict=True) for piece in _cut(t, rows)]
    fitted, slack = _fit_step(pieces, typical)
    longest = max(map(len, pieces)) - 1
    step = fitted if given is None else given
    if given is not None and longest * abs(given - fitted) > SAME * given + 2.0 * slack:
        raise TimeBaseError(
            f"dt is {given:.9g} s, and column {name!r} steps by {fitted:.9g} s: over {longest} steps that "
            f"moves a sample by {longest * abs(given - fitted) / given:.3g} periods. Leave dt "
            "out, or correct it"
        )
    if given is None:
        step = _simplest(fitted, 2.0 * slack / max(longest, 1))
    allowed = _allowed(pieces, step)
    for t, rows, place in zip(stamps, cuts, where, strict=True):
        for start, piece in zip(rows, _cut(t, rows), strict=True):
            if np.abs(_displacement(piece, step)).max() > allowed:
                off = piece - step * np.arange(len(piece))
                off = np.abs(off - np.median(off))
                row = int(np.argmax(off))
                raise TimeBaseError(
                    f"column {name!r} is not evenly sampled: row {start + row}{place} lies "
                    f"{100 * off[row] / step:.3g} % of a sample time off the even grid (sample time "
                    f"{step:.6g} s); expected at most {100 * allowed / step:.3g} %. Bring the record onto an "
                    "even grid with koopctrl.data.resampling.resample or resample=True; if the "
                    "stamps are only rounded, pass dt=... and no time column"
                )
    return step, cuts


def nominal_step(
    stamps: Sequence[FloatArray], name: str = "time", *, split: bool = False, labels: Sequence[str] = ()
) -> tuple[float, list[Cuts]]:
    """Sample time of stamps that need not lie on a grid, and gaps, as `fit_stamps`; for resampling."""
    where = _places(stamps, labels)
    for t, place in zip(stamps, where, strict=True):
        _check_rising(t, name, place)
    steps = [np.diff(t) for t in stamps]
    if not sum(map(len, steps)):
        return check_dt(None), [(0,) for _ in stamps]
    typical = _typical_step(steps, name, where)
    cuts: list[Cuts] = [(0, *(np.flatnonzero(d > GAP * typical) + 1).tolist()) for d in steps]
    if sum(len(rows) - 1 for rows in cuts) > _IRREGULAR * sum(map(len, steps)):
        cuts = [(0,) for _ in stamps]  # no sample time that a gap could be told by
    _judge_gaps(cuts, steps, typical, name, where, split)
    pieces = [piece for t, rows in zip(stamps, cuts, strict=True) for piece in _cut(t, rows)]
    mean = float(sum(p[-1] - p[0] for p in pieces) / sum(len(p) - 1 for p in pieces))
    return _simplest(mean, 0.5 * SAME * mean), cuts


def _places(stamps: Sequence[FloatArray], labels: Sequence[str]) -> list[str]:
    """Where rows are, for messages."""
    return [f" of episode {label!r}" if len(stamps) > 1 else "" for label in labels] or [""] * len(stamps)


def _check_rising(t: FloatArray, name: str, place: str) -> None:
    bad = np.flatnonzero(~np.isfinite(t))
    if bad.size:
        raise TimeBaseError(f"column {name!r} is empty or infinite at row {bad[0]}{place}; expected a time")
    falls = np.flatnonzero(np.diff(t) <= 0)
    if falls.size:
        row = int(falls[0]) + 1
        what = "repeats its stamp" if t[row] == t[row - 1] else "goes back"
        raise TimeBaseError(
            f"column {name!r} does not rise from row to row: it {what} at row {row}{place} ({t[row]:.9g} s "
            f"after {t[row - 1]:.9g} s); expected times sorted within episodes. Sort the rows, name the "
            "column that tells episodes apart (episode=...), or store stamps with more digits"
        )


def _typical_step(steps: Sequence[FloatArray], name: str, where: Sequence[str]) -> float:
    """Median step, the lower one of two; refuses episodes whose own medians differ by half."""
    pooled = float(np.quantile(np.concatenate(steps), 0.5, method="lower"))
    for d, place in zip(steps, where, strict=True):
        own = float(np.quantile(d, 0.5, method="lower")) if len(d) > 1 else pooled
        if max(own, pooled) > 1.5 * min(own, pooled):
            raise TimeBaseError(
                f"column {name!r} steps by {own:.6g} s in the rows{place}, and by {pooled:.6g} s elsewhere; "
                "expected one sample time in all episodes. Resample some of them"
            )
    return pooled


def _judge_gaps(
    cuts: Sequence[Cuts],
    steps: Sequence[FloatArray],
    typical: float,
    name: str,
    where: Sequence[str],
    split: bool,
) -> None:
    n_gaps = sum(len(rows) - 1 for rows in cuts)
    n_steps = sum(map(len, steps))
    if n_gaps > 1 and n_gaps > _IRREGULAR * n_steps:
        raise TimeBaseError(
            f"column {name!r} is not evenly sampled: {n_gaps} of {n_steps} steps are longer than {GAP:g} "
            f"times the median of {typical:.6g} s. Bring the record onto an even grid with "
            "koopctrl.data.resampling.resample or resample=True"
        )
    if not n_gaps or split:
        return
    for rows, d, place in zip(cuts, steps, where, strict=True):
        if len(rows) > 1:
            row = rows[1] - 1
            others = f" ({n_gaps - 1} more follow)" if n_gaps > 1 else ""
            raise TimeBaseError(
                f"column {name!r} has a gap of {d[row]:.6g} s after row {row}{place}{others}; sample time "
                f'{typical:.6g} s. Pass gaps="split" to cut the record into episodes there'
            )


def _cut(t: FloatArray, cuts: Cuts) -> list[FloatArray]:
    return [t[a:b] for a, b in zip(cuts, [*cuts[1:], len(t)], strict=True)]


def _fit_step(pieces: Sequence[FloatArray], typical: float) -> tuple[float, float]:
    """Step of the grid, and how far the stamps that fit it lie off it at most.

    The median slope over half of each long piece, which no single wrong stamp can move, then least squares
    over the stamps that lie near that grid: rounding averages out.
    """
    longest = max(map(len, pieces))
    if longest < 2:
        return typical, 0.0
    long = [p for p in pieces if 2 * len(p) >= longest and len(p) > 1]
    half = [max(1, len(p) // 2) for p in long]
    step = float(np.median(np.concatenate([(p[h:] - p[:-h]) / h for p, h in zip(long, half, strict=True)])))
    top = bottom = slack = 0.0
    for p in pieces:
        off = _displacement(p, step)
        near = np.abs(off) <= max(DISPLACED, _COARSE) * step
        if near.sum() > 1:
            k = np.flatnonzero(near) - float(np.flatnonzero(near).mean())
            top += float(k @ (p[near] - p[near].mean()))
            bottom += float(k @ k)
    if bottom > 0.0:
        step = top / bottom
    for p in pieces:
        off = np.abs(_displacement(p, step))
        near = off <= max(DISPLACED, _COARSE) * step
        slack = max(slack, float(off[near].max(initial=0.0)))
    rounding = 2.0 * np.finfo(float).eps * max(float(np.abs(p).max()) for p in pieces)
    return step, max(slack, rounding)


def _displacement(t: FloatArray, step: float) -> FloatArray:
    """Seconds by which each stamp lies off the grid of this step that fits them best."""
    off = t - t[0] - step * np.arange(len(t))
    centred = [off - float(np.median(off)), off - 0.5 * float(off.max() + off.min())]
    return min(centred, key=lambda values: float(np.abs(values).max()))


def _allowed(pieces: Sequence[FloatArray], step: float) -> float:
    """Seconds by which a stamp may lie off: a tenth of a period, or half a unit of its last digit."""
    t = np.concatenate(pieces)
    for digits in range(10):
        ticks = t * 10.0**digits
        tolerance = 1e-6 + 4.0 * np.finfo(float).eps * float(np.abs(ticks).max())
        if tolerance > 0.01:
            break
        if np.abs(ticks - np.round(ticks)).max() <= tolerance:
            unit = 10.0**-digits
            return max(DISPLACED * step, 0.51 * unit if unit <= _COARSE * step else 0.0)
    return DISPLACED * step


def _simplest(step: float, uncertainty: float) -> float:
    """The number with the fewest digits, as seconds or as hertz, that is within the uncertainty."""
    uncertainty = min(uncertainty, SAME * step)
    for digits in range(12):
        found = [float(f"{step:.{digits}e}"), 1.0 / float(f"{1.0 / step:.{digits}e}")]
        best = min(found, key=lambda value: abs(value - step))
        if abs(best - step) <= uncertainty:
            return best
    return step
