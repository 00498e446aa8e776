"""What an experiment hands to every contender, and what it gets back."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from koopctrl import Trajectories

Array = np.ndarray
Predictions = Sequence[Array]
Bands = Sequence[tuple[Array, Array]]
Predict = Callable[[Trajectories, int], list[Array]]
HUGE = 1e6


@dataclass(frozen=True)
class Problem:
    """One experiment with its data.

    Attributes
    ----------
    train, test : Trajectories
        Of each test episode the first `n_init` samples are given, and all inputs.
    kind : {"state", "forced", "window", "record", "weather"}
        State measured, without and with inputs; one signal of several; a measured record; weather.
        Contenders have settings to try for each.
    horizon : int
        Samples that a trial on held-out training data predicts.
    score : callable
        `score(predictions)`: figures, the first of which is the one that counts.
    trial_score : callable
        `trial_score(truth, predictions)` on held-out episodes, smaller is better.
    higher : bool
        Whether more of the first figure is better.
    unit : str
        Of the first figure.
    band_score : callable, optional
        `band_score(bands)`: figures of bands that are to hold 90 % of the samples.
    notes : dict
        Figures of the experiment itself: floors, published values.
    """

    name: str
    train: Trajectories
    test: Trajectories
    n_init: int
    horizon: int
    kind: str
    score: Callable[[Predictions], dict[str, float]]
    trial_score: Callable[[Predictions, Predictions], float]
    higher: bool = False
    unit: str = "NRMSE"
    notes: dict[str, Any] = field(default_factory=dict)
    band_score: Callable[[Bands], dict[str, float]] | None = None


@dataclass(frozen=True)
class WithBands:
    """A prediction that says how sure it is: `bands(episodes, n_init)` hold 90 % of the samples."""

    predict: Predict
    bands: Callable[[Trajectories, int], Bands]

    def __call__(self, data: Trajectories, n_init: int) -> list[Array]:
        """The prediction alone."""
        return self.predict(data, n_init)


@dataclass(frozen=True)
class Experiment:
    """Name, group, and how its data come to be.

    Attributes
    ----------
    make : callable
        `make(seed, smoke, folder)`; data that are simulated differ by seed, measured ones do not.
    measured : bool
        Whether the data are the same whatever the seed.
    """

    name: str
    group: str
    make: Callable[[int, bool, Any], Problem]
    measured: bool = False


class CannotRun(Exception):
    """Why a contender has no answer to a problem."""


class OutOfTime(BaseException):
    """The processor time is used up; no `Exception`, so that no package takes it for a fault of its own."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block once this process has used so many seconds in it, and every second
    after, where a destructor swallowed the first one. Not nested.
    """
    begun = time.process_time()

    def ended(number: int, frame: Any) -> None:
        left = seconds - (time.process_time() - begun)
        if left <= 0.0:
            raise OutOfTime
        # The timer counts whole ticks of a busy machine, too many of them at times.
        signal.setitimer(signal.ITIMER_PROF, max(left, 0.01), 1.0)

    before = signal.signal(signal.SIGPROF, ended)
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.01), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def finite(prediction: Array) -> Array:
    """A prediction with huge numbers where it is none, so that every error can be counted."""
    return np.clip(np.nan_to_num(prediction, nan=HUGE, posinf=HUGE, neginf=-HUGE), -HUGE, HUGE)


def nrmse(truth: Predictions, predicted: Predictions, n_init: int, scale: Array) -> float:
    """Root mean square over episodes, samples and outputs, each output in units of its `scale`."""
    errors = [((finite(p) - t)[n_init:] / scale).ravel() for t, p in zip(truth, predicted, strict=True)]
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def robust_nrmse(truth: Predictions, predicted: Predictions, n_init: int, scale: Array) -> float:
    """Mean over episodes of their NRMSE, none of which counts more than 2, so that none ruins a trial."""
    each = [nrmse([t], [p], n_init, scale) for t, p in zip(truth, predicted, strict=True)]
    return float(np.mean(np.minimum(each, 2.0)))


def interval_score(
    truth: Predictions, bands: Bands, n_init: int, scale: Array, coverage: float = 0.9
) -> dict[str, float]:
    """Share of samples inside, mean width, and the interval score (Gneiting & Raftery, *Strictly proper
    scoring rules*, 2007): width, and `2 / (1 - coverage)` times what lies outside; in units of `scale`.
    """
    inside, width, score = [], [], []
    for y, (low, high) in zip(truth, bands, strict=True):
        y, low, high = (a[n_init:] / scale for a in (y, low, high))
        outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
        inside.append(outside == 0.0)
        width.append(high - low)
        score.append(high - low + 2.0 / (1.0 - coverage) * outside)
    joined = [float(np.mean(np.concatenate(part))) for part in (inside, width, score)]
    return dict(zip(("band_coverage", "band_width", "interval_score"), joined, strict=True))
