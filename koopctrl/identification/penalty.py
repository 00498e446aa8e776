r"""The penalty on the outer weights, chosen by free runs on held-out data.

The evidence of one-step errors is the right judge of one step. On nearly noise-free records it goes down to
rounding, and what it leaves in directions that the data hardly show is multiplied at every step of a free
run. So the penalty of largest evidence, one for each output, competes with the same raised to at least
`floor`, for a range of floors; the one whose free runs over the horizon are best on episodes that were held
out is taken.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Segments
from koopctrl.identification.least_squares import AUTO, Accumulator
from koopctrl.network.recurrent import RecurrentNetwork

FLOORS = tuple(10.0**e for e in range(-16, -1))
# A raised penalty must be better by this share; where all are alike the evidence decides.
_GAIN = 0.02


def free_run_error(network: RecurrentNetwork, segments: Segments) -> float:
    """Error of free runs along segments, in standard deviations of the outputs.

    The mean over segments of their root-mean-square error, each of them counted as one standard deviation at
    most: further off a run is of no use, and how far it then runs says nothing. A mean of squares would be
    decided by the few segments that no model can follow.
    """
    y, _ = network.rollout(segments.x0, segments.u)
    error = (y[:, 1:] - segments.y) / network.scaling.y_scale
    return float(np.mean(np.minimum(np.sqrt(np.mean(error**2, axis=(1, 2))), 1.0)))


def penalty_by_free_run(
    accumulator: Accumulator,
    rcond: float,
    make: Callable[[FloatArray], RecurrentNetwork],
    segments: Segments,
) -> tuple[FloatArray, float]:
    """Penalty of each output and its free-run error; `make` builds the network of given outer weights.

    `accumulator` must not have seen what `segments` are from.
    """
    evidence = accumulator.solve(rcond, AUTO)
    best, error = evidence.ridge, free_run_error(make(evidence.coef), segments)
    smallest = float(evidence.ridge.min(initial=np.inf))
    limit = (1.0 - _GAIN) * error
    for floor in FLOORS:
        if floor <= smallest:
            continue
        penalty = np.maximum(evidence.ridge, floor)
        tried = free_run_error(make(accumulator.solve(rcond, penalty).coef), segments)
        if tried < limit:
            best, error, limit = penalty, tried, tried
    return best, error
