"""Inputs that show a plant's dynamics: as arrays, and as policies for `collect`.

Every signal has one row a step, keeps within `low` and `high`, and with `du_max` moves by at most that much
from one step to the next. A white input never shows what a constant one does, a slow one never what is fast:
held levels with random hold times (`multilevel`, the default of `collect`) show both.

Several inputs are excited so that their effects can be told apart: independently (`multilevel`,
`filtered_noise`), by shifts of one sequence (`prbs`), at frequencies of their own (`multisine`), or one after
the other while the others rest in the middle (`chirp`, `staircase`).

Sources: Ljung, *System Identification*, 2nd ed., section 13.3; Pintelon and Schoukens, *System
Identification: A Frequency Domain Approach*, chapter 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal as filters

from koopctrl._time import check_dt
from koopctrl._validation import FloatArray, check_choice, check_integer, check_number
from koopctrl.data.excitation_policy import ExcitationPolicy
from koopctrl.data.signal_limits import (
    HOLD,
    Seed,
    centred,
    checked_sizes,
    draw_hold,
    frequency_band,
    generator,
    hold_range,
    turns,
    within,
)
from koopctrl.errors import OptionError

__all__ = ["ExcitationPolicy", "chirp", "filtered_noise", "multilevel", "multisine", "prbs", "staircase"]


def multilevel(
    n_steps: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    n_levels: int | None = None,
    hold: int | tuple[int, int] = HOLD,
    du_max: ArrayLike | None = None,
    seed: Seed = None,
) -> FloatArray:
    """Random levels, each held for a random time, drawn for each input on its own.

    Parameters
    ----------
    n_steps : int
    low, high : float or (n_u,) array_like
        Bounds.
    n_levels : int, optional
        Number of evenly spaced levels to draw from; any value between the bounds by default.
    hold : int or (int, int)
        Steps for which a level is held, or the shortest and the longest: its logarithm is uniform, so that
        every decade of frequencies gets its share.
    du_max : float or (n_u,) array_like, optional
        Largest move from one step to the next; a larger one is made in several.
    seed : int, SeedSequence, Generator, optional

    Returns
    -------
    (n_steps, n_u) array
    """
    n, low_, high_ = checked_sizes(n_steps, low, high)
    shortest, longest = hold_range(hold)
    if n_levels is not None:
        check_integer(n_levels, "n_levels", low=2)
    rng = generator(seed)
    u = np.empty((n, len(low_)))
    for column in u.T:
        k = 0
        while k < n:
            step = draw_hold(rng, shortest, longest)
            drawn = rng.random() if n_levels is None else rng.integers(n_levels) / (n_levels - 1)
            column[k : k + step] = drawn
            k += step
    return within(low_ + u * (high_ - low_), low_, high_, du_max)


def prbs(
    n_steps: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    hold: int = 1,
    du_max: ArrayLike | None = None,
    seed: Seed = None,
) -> FloatArray:
    """Pseudo-random binary sequence of maximum length: `low` or `high`, with a flat spectrum.

    Parameters
    ----------
    n_steps, low, high, du_max, seed
        As in `multilevel`; the seed chooses where in the sequence to begin. The period is the shortest
        `(2^m - 1) hold >= n_steps`, and input `i` of `n_u` is shifted by `i / n_u` of it.
    hold : int
        Steps for which a bit is held.

    Returns
    -------
    (n_steps, n_u) array
    """
    n, low_, high_ = checked_sizes(n_steps, low, high)
    hold = check_integer(hold, "hold", low=1)
    n_bits = max(3, int(np.ceil(np.log2(-(-n // hold) + 1))))
    bits = filters.max_len_seq(n_bits)[0].astype(float)
    start = int(generator(seed).integers(len(bits)))
    shifts = [start + i * len(bits) // len(low_) for i in range(len(low_))]
    u = np.column_stack([np.repeat(np.roll(bits, -shift), hold)[:n] for shift in shifts])
    return within(low_ + u * (high_ - low_), low_, high_, du_max)


def multisine(
    n_steps: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    dt: float = 1.0,
    f_min: float | None = None,
    f_max: float | None = None,
    period: int | None = None,
    n_trials: int = 20,
    du_max: ArrayLike | None = None,
    seed: Seed = None,
) -> FloatArray:
    """Sum of cosines of equal amplitude and random phase, at harmonics of `1 / (period dt)`.

    Parameters
    ----------
    n_steps, low, high, seed
        As in `multilevel`; the signal swings about the middle and touches the nearer bound.
    dt : float
        Sample time in seconds.
    f_min, f_max : float, optional
        Lowest and highest frequency, Hz; by default those that the period and half the sampling frequency
        allow. Input `i` of `n_u` has every `n_u`-th harmonic.
    period : int, optional
        Steps after which the signal repeats; `n_steps` by default.
    n_trials : int
        Draws of the phases, of which the one with the lowest peak is taken.
    du_max : float or (n_u,) array_like, optional
        Largest move from one step to the next; the amplitude is lowered to keep it.

    Returns
    -------
    (n_steps, n_u) array
    """
    n, low_, high_ = checked_sizes(n_steps, low, high)
    n_trials = check_integer(n_trials, "n_trials", low=1)
    period = n if period is None else check_integer(period, "period", low=2)
    f_low, f_high = frequency_band(f_min, f_max, check_dt(dt), 1.0 / period)
    harmonics = np.arange(1, (period - 1) // 2 + 1)
    frequency = harmonics / (period * dt)
    harmonics = harmonics[(frequency >= f_low * (1 - 1e-9)) & (frequency <= f_high * (1 + 1e-9))]
    if len(harmonics) < len(low_):
        raise OptionError(
            f"there are {len(harmonics)} harmonics of {1.0 / (period * dt):.4g} Hz between f_min and f_max; "
            f"expected at least {len(low_)}, one an input. Widen the band, or use a longer period"
        )
    rng = generator(seed)
    u = np.empty((period, len(low_)))
    for i in range(len(low_)):
        own = harmonics[i :: len(low_)]
        trials = [_cosines(own, period, rng) for _ in range(n_trials)]
        u[:, i] = min(trials, key=lambda values: float(np.abs(values).max()))
    u /= np.abs(u).max(axis=0)
    return centred(np.resize(u, (n, len(low_))), low_, high_, du_max)


def chirp(
    n_steps: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    dt: float = 1.0,
    f_min: float | None = None,
    f_max: float | None = None,
    spacing: str = "logarithmic",
    du_max: ArrayLike | None = None,
) -> FloatArray:
    """Sine that sweeps from `f_min` to `f_max`, on one input after the other.

    Parameters
    ----------
    n_steps, low, high, dt, du_max
        As in `multisine`.
    f_min, f_max : float, optional
        Hz; by default from one period in the sweep to a quarter of the sampling frequency.
    spacing : {"logarithmic", "linear"}
        How the frequency grows with time.

    Returns
    -------
    (n_steps, n_u) array
    """
    n, low_, high_ = checked_sizes(n_steps, low, high)
    check_choice(spacing, "spacing", ("logarithmic", "linear"))
    parts = turns(n, len(low_))
    shortest = min(stop - start for start, stop in parts)
    f_low, f_high = frequency_band(
        f_min, 0.25 / dt if f_max is None else f_max, check_dt(dt), 1.0 / max(shortest, 4)
    )
    if f_low == f_high:
        raise OptionError(f"f_min and f_max are both {f_low:g} Hz; expected f_min < f_max")
    u = np.zeros((n, len(low_)))
    for i, (start, stop) in enumerate(parts):
        t = dt * np.arange(stop - start)
        u[start:stop, i] = filters.chirp(t, f_low, max(t[-1], dt), f_high, method=spacing, phi=-90)
    return centred(u, low_, high_, du_max)


def filtered_noise(
    n_steps: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    dt: float = 1.0,
    cutoff: float | None = None,
    du_max: ArrayLike | None = None,
    seed: Seed = None,
) -> FloatArray:
    """Gaussian noise through a second-order Butterworth low-pass filter.

    Three standard deviations reach the bounds, where the rest is cut off.

    Parameters
    ----------
    n_steps, low, high, dt, du_max, seed
        As in `multisine`.
    cutoff : float, optional
        Hz; a twentieth of the sampling frequency by default.

    Returns
    -------
    (n_steps, n_u) array
    """
    n, low_, high_ = checked_sizes(n_steps, low, high)
    dt = check_dt(dt)
    edge = 0.05 / dt if cutoff is None else check_number(cutoff, "cutoff", low=0.0, strict=True)
    if edge >= 0.5 / dt:
        raise OptionError(f"cutoff is {edge:g} Hz; expected less than half of the sampling's {1.0 / dt:g} Hz")
    sections = filters.butter(2, edge, fs=1.0 / dt, output="sos")
    # Of white noise of unit variance the filter passes the energy of its impulse response.
    settle = int(np.ceil(5.0 / (edge * dt)))
    response = np.asarray(filters.sosfilt(sections, np.eye(1, settle)[0]))
    noise = generator(seed).standard_normal((settle + n, len(low_)))
    u = np.asarray(filters.sosfilt(sections, noise, axis=0))[settle:] / np.sqrt(np.sum(response**2))
    return centred(np.clip(u / 3.0, -1.0, 1.0), low_, high_, du_max)


def staircase(
    n_steps: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    n_levels: int = 5,
    order: str = "updown",
    du_max: ArrayLike | None = None,
    seed: Seed = None,
) -> FloatArray:
    """Evenly spaced levels, each held equally long, on one input after the other.

    They show gains at rest and hysteresis.

    Parameters
    ----------
    n_steps, low, high, du_max, seed
        As in `multilevel`.
    n_levels : int
        Number of levels, bounds included.
    order : {"updown", "up", "random"}
        Up and down again, up, or shuffled by the seed.

    Returns
    -------
    (n_steps, n_u) array
    """
    n, low_, high_ = checked_sizes(n_steps, low, high)
    n_levels = check_integer(n_levels, "n_levels", low=2)
    check_choice(order, "order", ("updown", "up", "random"))
    rng = generator(seed)
    u = np.full((n, len(low_)), 0.5)
    for i, (start, stop) in enumerate(turns(n, len(low_))):
        levels = np.arange(n_levels) / (n_levels - 1)
        if order == "updown":
            levels = np.concatenate([levels, levels[-2::-1]])
        elif order == "random":
            levels = rng.permutation(levels)
        if stop - start < len(levels):
            raise OptionError(
                f"n_steps is {n}; expected at least {len(levels) * len(low_)}: {len(levels)} stairs an input"
            )
        u[start:stop, i] = levels[np.arange(stop - start) * len(levels) // (stop - start)]
    return within(low_ + u * (high_ - low_), low_, high_, du_max)


def _cosines(harmonics: np.ndarray, period: int, rng: np.random.Generator) -> FloatArray:
    """One period of cosines of unit amplitude with random phases."""
    spectrum = np.zeros(period // 2 + 1, dtype=complex)
    spectrum[harmonics] = np.exp(2j * np.pi * rng.random(len(harmonics)))
    return np.fft.irfft(spectrum, period)
