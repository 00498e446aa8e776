"""Sizes, bounds, limits on moves, bands and hold times that all excitations share."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    broadcast_vector,
    check_finite,
    check_integer,
    check_number,
)
from koopctrl.errors import OptionError, ShapeError

HOLD = (1, 50)
"""Shortest and longest time, in steps, for which a level is held by default."""

Seed = int | np.random.SeedSequence | np.random.Generator | None


def draw_hold(rng: np.random.Generator, shortest: int, longest: int) -> int:
    """A time in steps whose logarithm is uniform between those of `shortest` and `longest + 1`."""
    drawn = np.exp(rng.uniform(np.log(shortest), np.log(longest + 1)))
    return int(np.clip(drawn, shortest, longest))


def checked_sizes(n_steps: Any, low: ArrayLike, high: ArrayLike) -> tuple[int, FloatArray, FloatArray]:
    """Checked length and bounds."""
    n = check_integer(n_steps, "n_steps", low=1)
    ends = [check_finite(as_float_array(v, name), name).ravel() for name, v in (("low", low), ("high", high))]
    size = max(map(len, ends))
    if not size or any(len(end) not in (1, size) for end in ends):
        raise ShapeError(f"low has {len(ends[0])} entries and high {len(ends[1])}; expected one an input")
    low_, high_ = (np.broadcast_to(end, (size,)).copy() for end in ends)
    if (low_ > high_).any():
        raise OptionError(f"low is {low_.tolist()} and high is {high_.tolist()}; expected low <= high")
    return n, low_, high_


def generator(seed: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise OptionError(f"seed is {seed!r}; expected a non-negative integer or None") from error


def hold_range(hold: Any) -> tuple[int, int]:
    pair = list(hold) if isinstance(hold, (tuple, list, np.ndarray)) else [hold, hold]
    if len(pair) != 2:
        raise OptionError(f"hold is {hold!r}; expected a number of steps, or the shortest and the longest")
    shortest, longest = (check_integer(value, "hold", low=1) for value in pair)
    if shortest > longest:
        raise OptionError(f"hold is {hold!r}; expected the shortest first")
    return shortest, longest


def frequency_band(f_min: Any, f_max: Any, dt: float, lowest: float) -> tuple[float, float]:
    """Frequencies in Hz; `lowest` is the default of `f_min` in cycles a step."""
    nyquist = 0.5 / dt
    f_low = lowest / dt if f_min is None else check_number(f_min, "f_min", low=0.0, high=nyquist, strict=True)
    f_high = nyquist if f_max is None else check_number(f_max, "f_max", low=0.0, high=nyquist, strict=True)
    if f_low > f_high:
        raise OptionError(f"f_min is {f_low:g} Hz and f_max is {f_high:g} Hz; expected f_min <= f_max")
    return f_low, f_high


def turns(n: int, n_u: int) -> list[tuple[int, int]]:
    """Steps in which each input has its turn."""
    if n < n_u:
        raise OptionError(f"n_steps is {n}; expected at least {n_u}, one an input")
    edges = np.linspace(0, n, n_u + 1).round().astype(int).tolist()
    return list(itertools.pairwise(edges))


def centred(u: FloatArray, low: FloatArray, high: FloatArray, du_max: ArrayLike | None) -> FloatArray:
    """Signals between -1 and 1 brought to the bounds; a limit on moves lowers the amplitude."""
    half = 0.5 * (high - low)
    if du_max is not None and len(u) > 1:
        moves = np.abs(np.diff(u, axis=0)).max(axis=0) * half
        limit = _move_limit(du_max, len(low))
        half = half * np.minimum(1.0, np.divide(limit, moves, out=np.ones_like(moves), where=moves > 0))
    return np.clip(low + 0.5 * (high - low) + half * u, low, high)


def within(u: FloatArray, low: FloatArray, high: FloatArray, du_max: ArrayLike | None) -> FloatArray:
    """Steps within the bounds; a limit on moves makes ramps of them."""
    u = np.clip(u, low, high)
    if du_max is None:
        return u
    limit = _move_limit(du_max, len(low))
    for k in range(1, len(u)):
        u[k] = u[k - 1] + np.clip(u[k] - u[k - 1], -limit, limit)
    return u


def _move_limit(du_max: ArrayLike, n_u: int) -> FloatArray:
    limit = broadcast_vector(du_max, "du_max", n_u, finite=False)
    if not (limit > 0).all():
        raise OptionError(f"du_max is {limit.tolist()}; expected positive numbers")
    return limit
