r"""The penalty on the outer weights, chosen by free runs on held-out data.

The evidence of one-step errors is the right judge of one step. On nearly noise-free records it goes down to
rounding, and what it leaves in directions that the data hardly show is multiplied at every step of a free
run. So the penalty of largest evidence, one for each output, competes with the same raised to at least
`floor`, for a range of floors; the one whose free runs over the horizon are best on episodes that were held
out is taken.

One penalty for all regressors shrinks what is linear in state and input along with what is not. Where neurons
explain little, because the plant is nearly linear, or what they would have to know is not among the signals,
that is a bad bargain: either they stay free to err or the linear part is crippled. So where the best free run
is not far better than the linear model's, penalties compete that weigh more on neurons and products than on
the linear part; at their largest they leave the linear model, so that the network is not worse than that on
what was held out. Noise that drives the plant makes all free runs alike: what neurons do for the first step
may not be lost for a better free run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Segments
from koopctrl.identification.least_squares import AUTO, Accumulator, Ridge
from koopctrl.network.recurrent import RecurrentNetwork

FLOORS = tuple(10.0**e for e in range(-16, -1))
# A raised penalty must be better by this share; where all are alike the evidence decides.
_GAIN = 0.02
# Share by which free runs may err more and still count as the same, within a standard error; and the error in
# standard deviations, up to which that is asked.
_ALIKE = 0.1
# Networks whose free runs are better than this part of the linear model's are left alone.
_FAR_BETTER = 0.5
# Share by which errors of first steps may grow for a heavier penalty on neurons.
_LOST = 0.05
# What the penalty on neurons and products is multiplied by.
_WEIGHTS = (1e3, 1e6, 1e9)
# Penalty on the linear part and the further weight of the rest, where the linear model is wanted itself.
_SMALL, _LINEAR = 1e-9, 1e6


def free_run_error(network: RecurrentNetwork, segments: Segments) -> float:
    """Error of free runs along segments, in standard deviations of the outputs.

    The mean over segments of their root-mean-square error, each of them counted as one standard deviation at
    most: further off a run is of no use, and how far it then runs says nothing. A mean of squares would be
    decided by the few segments that no model can follow.
    """
    return float(np.mean(segment_errors(network, segments)))


def segment_errors(network: RecurrentNetwork, segments: Segments) -> FloatArray:
    """Root-mean-square error of the free run along each segment, one standard deviation at most."""
    return _capped(_along(network, segments))


def _along(network: RecurrentNetwork, segments: Segments) -> FloatArray:
    y, _ = network.rollout(segments.x0, segments.u)
    return (y[:, 1:] - segments.y) / network.scaling.y_scale


def _capped(error: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.minimum(np.sqrt(np.mean(error**2, axis=(1, 2))), 1.0)


@dataclass(frozen=True, eq=False)
class Penalty:
    """Penalty of each output, and what multiplies it for each regressor; None for ones."""

    ridge: Ridge
    weights: FloatArray | None = None


def penalty_by_free_run(
    accumulator: Accumulator,
    rcond: float,
    make: Callable[[FloatArray], RecurrentNetwork],
    segments: Segments,
    nonlinear: np.ndarray | None = None,
) -> tuple[Penalty, float]:
    """Penalty and its free-run error; `make` builds the network of given outer weights.

    `accumulator` must not have seen what `segments` are from. `nonlinear` marks the regressors that a linear
    model does not have; without it all weigh the same.
    """
    best, error, step = _best_floor(accumulator, rcond, make, segments, None)
    if nonlinear is None or not nonlinear.any() or nonlinear.all():
        return best, error
    linear = np.where(nonlinear, _WEIGHTS[-1] * _LINEAR, 1.0)
    alone = free_run_error(make(accumulator.solve(rcond, _SMALL, linear).coef), segments)
    if error < _FAR_BETTER * alone:
        return best, error
    for weight in _WEIGHTS:
        weights = np.where(nonlinear, weight, 1.0)
        found, tried, first = _best_floor(
            accumulator, rcond, make, segments, weights, (1.0 - _GAIN) * error, (1.0 + _LOST) * step
        )
        if tried < (1.0 - _GAIN) * error and first <= (1.0 + _LOST) * step:
            best, error = found, tried
    return best, error


def _best_floor(
    accumulator: Accumulator,
    rcond: float,
    make: Callable[[FloatArray], RecurrentNetwork],
    segments: Segments,
    weights: FloatArray | None,
    limit: float = np.inf,
    most: float = np.inf,
) -> tuple[Penalty, float, float]:
    """The penalty of largest evidence, or the same raised to a floor whose free runs are better.

    With its error of free runs, which must be below `limit`, and of first steps, at most `most`. Samples of a
    lag window nearly tell each other, and what the data hardly show of them is found by steps from new
    windows: of penalties whose free runs cannot be told apart the one with the best first steps is taken.
    """
    evidence = accumulator.solve(rcond, AUTO, weights)
    tried = [_tried(evidence.ridge, make(evidence.coef), segments)]
    best, smallest = tried[0], float(evidence.ridge.min(initial=np.inf))
    limit = min(limit, (1.0 - _GAIN) * best.error)
    for floor in FLOORS:
        if floor <= smallest:
            continue
        penalty = np.maximum(evidence.ridge, floor)
        found = _tried(penalty, make(accumulator.solve(rcond, penalty, weights).coef), segments)
        tried.append(found)
        if found.error < limit and found.first <= most:
            best, limit = found, found.error
    if segments.x0.shape[-1] > segments.y.shape[-1]:
        alike = min((t for t in tried if t.is_like(best)), key=lambda t: t.first)
        best = alike if alike.first < (1.0 - _GAIN) * best.first else best
    return Penalty(best.ridge, weights), best.error, best.first


@dataclass(frozen=True, eq=False)
class _Tried:
    """A penalty, with what held-out free runs miss: each, in the mean, and in first steps."""

    ridge: FloatArray
    errors: FloatArray
    error: float
    first: float

    def is_like(self, best: _Tried) -> bool:
        """Whether its free runs are as good, as far as so many of them can tell; poor ones tell nothing."""
        if best.error > _ALIKE:
            return self is best
        more = self.errors - best.errors
        spread = float(np.std(more)) / np.sqrt(len(more))
        return float(np.mean(more)) <= min(spread, _ALIKE * best.error)


def _tried(ridge: FloatArray, network: RecurrentNetwork, segments: Segments) -> _Tried:
    error = _along(network, segments)
    capped = _capped(error)
    with np.errstate(over="ignore"):
        first = float(np.sqrt(np.mean(error[:, 0] ** 2)))
    return _Tried(ridge, capped, float(np.mean(capped)), first)
