"""Where a field is steep, of a start or a solution, and the panels that follow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.sampled.pde.box import Interval
from koopctrl.sampled.pde.domain import Domain
from koopctrl.sampled.pde.solution import Solution
from koopctrl.sampled.pde.terms import values_at

Steepness = Callable[[FloatArray], FloatArray]
_FINE = 4001  # points of an interval on which steepness is looked at, and as many levels again
_STEP = 1e-5  # of differences, as a share of the domain


def of_start(domain: Domain, start: float | Callable[[FloatArray], Any]) -> Steepness:
    """Length of the gradient of a function, axes in units of the domain, by differences within it."""

    def steepness(points: FloatArray) -> FloatArray:
        square = np.zeros(len(points))
        for i in range(domain.dim):
            move = np.zeros(domain.dim)
            move[i] = _STEP * domain.extent[i]
            up = np.minimum(points + move, domain.high)
            down = np.maximum(points - move, domain.low)
            rise = values_at(start, up, "initial") - values_at(start, down, "initial")
            square += (rise * domain.extent[i] / (up - down)[:, i]) ** 2
        return np.sqrt(square)

    return steepness


def of_solution(found: Solution) -> Steepness:
    """Largest length of the gradient over all times of a solution."""
    domain = found.final.pde.domain

    def steepness(points: FloatArray) -> FloatArray:
        slopes = [
            (length * found(points, of=f"u_{axis}")) ** 2
            for axis, length in zip(domain.axis_names, domain.extent, strict=True)
        ]
        return np.sqrt(np.sum(slopes, axis=0)).max(axis=0)

    return steepness


def steep_interval(
    base: Interval, now: Interval, steepness: Steepness, n_panels: int, share: float
) -> Interval:
    """Interval whose panels follow the steepness; `now` is the one on which that was found."""
    low, high = float(base.low[0]), float(base.high[0])
    levels = np.linspace(0.0, 1.0, _FINE)
    fine = np.union1d(
        np.union1d(np.linspace(low, high, _FINE), base.from_level(levels)), now.from_level(levels)
    )
    return Interval(low, high, edges=steep_panels(low, high, fine, steepness(fine[:, None]), n_panels, share))


def steep_panels(
    low: float, high: float, points: FloatArray, steepness: FloatArray, n_panels: int, share: float
) -> FloatArray:
    """Edges that divide `(1 - share) / length + share * steepness / integral` into equal parts.

    With `share = 0.5` half of the panels lie where the solution changes, whatever its units.
    """
    density = (1.0 - share) / (high - low) * np.ones(len(points))
    area = float(np.trapezoid(steepness, points))
    if area > 0.0:
        density += share * steepness / area
    level = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(points))])
    edges = np.interp(np.linspace(0.0, 1.0, n_panels + 1), level / level[-1], points)
    edges[0], edges[-1] = low, high
    return edges
