"""Time blocks, each with a basis sampled where the solution is steep in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite, check_integer, check_number
from koopctrl.errors import OptionError, TimeBaseError
from koopctrl.sampled.pde.box import Interval
from koopctrl.sampled.pde.problem import PDE
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete
from koopctrl.sampled.pde.solution import Solution
from koopctrl.sampled.pde.solve import held_inputs, solve

_FINE = 4001  # points on which steepness is looked at, and as many levels again
_LOOKS = 24  # times within a block at which it is


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


def solve_in_blocks(
    pde: PDE,
    t: ArrayLike,
    inputs: ArrayLike | None = None,
    *,
    blocks: int | Sequence[float] = 1,
    passes: int = 2,
    n_features: int = 400,
    n_panels: int = 60,
    steep_share: float = 0.6,
    random_state: int | np.random.Generator | None = None,
    method: str = "auto",
    rtol: float = 1e-8,
    **options: Any,
) -> Solution:
    """Solve on an interval with a basis of its own for each block of time, sampled by `p(x) ~ |u_x|`.

    In each block the equation is solved once with a basis made from its start, then `passes - 1` times with
    bases made from the largest slope met anywhere in the block.

    Parameters
    ----------
    pde : PDE
        On an `Interval` that is not periodic, first order in time.
    t : (n_times,) array_like
        Rising times, s.
    inputs : (n_inputs,) or (n_times - 1, n_inputs) array_like, optional
        Held from each time to the next.
    blocks : int or sequence of float
        Number of blocks, equal in time, or the times at which blocks begin after the first.
    passes : int
        Solutions per block.
    n_features, n_panels : int
        Neurons, and panels of the Gauss rule.
    steep_share : float
        Share of panels and neurons that go where the solution is steep, the others spread evenly.
    random_state : int, Generator or None
    method, rtol
        Of `solve`.
    **options
        Of `discretise`.

    Returns
    -------
    Solution
        With one model a block.

    Raises
    ------
    OptionError
        If the domain is no open interval or the equation of second order.
    """
    if not isinstance(pde.domain, Interval) or pde.domain.periodic[0] or pde.order != 1:
        raise OptionError(
            "pde is not of first order on an open Interval; expected that. Use discretise and solve"
        )
    check_integer(passes, "passes", low=1)
    check_integer(n_panels, "n_panels", low=2)
    check_number(steep_share, "steep_share", low=0.0, high=0.95)
    times = check_finite(as_float_array(t, "t"), "t")
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        raise TimeBaseError(f"t has shape {times.shape}; expected at least two rising times in seconds")
    edges = _block_edges(times, blocks)
    rng = np.random.default_rng(random_state)
    start = pde.initial
    states: list[FloatArray] = []
    models: list[SemiDiscrete] = []
    block = np.zeros(len(times), dtype=int)
    low, high = float(pde.domain.low[0]), float(pde.domain.high[0])
    here, acting = pde, np.zeros((0, pde.n_inputs))
    for i, (begin, end) in enumerate(itertools.pairwise(edges)):
        mine = np.flatnonzero((times > begin) & (times <= end)) if i else np.flatnonzero(times <= end)
        looks = np.union1d(np.union1d([begin, end], times[mine]), np.linspace(begin, end, _LOOKS))
        fine = np.union1d(np.linspace(low, high, _FINE), pde.domain.from_level(np.linspace(0, 1, _FINE)))
        if i:
            fine = np.union1d(fine, here.domain.from_level(np.linspace(0, 1, _FINE)))  # pyright: ignore[reportAttributeAccessIssue]
        steepness = _slope_of(start, fine)
        found: Solution | None = None
        for _ in range(passes):
            panels = steep_panels(low, high, fine, steepness, n_panels, steep_share)
            here = replace(pde, domain=Interval(low, high, edges=panels), initial=start)
            model = here.discretise(n_features, n_points=16 * n_panels, random_state=rng, **options)
            held = _inputs_on(model, times, inputs, looks)
            found = solve(model, looks, held, method=method, rtol=rtol)
            fine = np.union1d(np.linspace(low, high, _FINE), here.domain.from_level(np.linspace(0, 1, _FINE)))  # pyright: ignore[reportAttributeAccessIssue]
            steepness = np.abs(found(fine, of="u_x")).max(axis=0)
        assert found is not None  # passes is at least 1
        at = np.searchsorted(looks, times[mine])
        states.extend(found.states[k] for k in at)
        block[mine] = i
        models.append(found.final)
        start = _as_start(found)
    acting = held_inputs(models[0], inputs, len(times) - 1)
    last = acting[-1:]
    return Solution(times.copy(), tuple(states), tuple(models), block, np.concatenate([acting, last]))


def _block_edges(times: FloatArray, blocks: int | Sequence[float]) -> FloatArray:
    if isinstance(blocks, (int, np.integer)):
        return np.linspace(times[0], times[-1], check_integer(blocks, "blocks", low=1) + 1)
    inner = as_float_array(blocks, "blocks")
    edges = np.concatenate([times[:1], inner, times[-1:]])
    if inner.ndim != 1 or not (np.diff(edges) > 0).all():
        raise OptionError(
            f"blocks is {blocks!r}; expected rising times between {times[0]:g} and {times[-1]:g}"
        )
    return edges


def _slope_of(start: Any, fine: FloatArray) -> FloatArray:
    if not callable(start):
        return np.zeros(len(fine))
    return np.abs(np.gradient(np.asarray(start(fine[:, None]), dtype=float), fine))


def _as_start(found: Solution) -> Callable[[FloatArray], FloatArray]:
    model, x, v, t = found.final, found.states[-1], found.inputs[-1], float(found.t[-1])
    return lambda points: model.evaluate(x, points, v, t)


def _inputs_on(
    model: SemiDiscrete, times: FloatArray, inputs: ArrayLike | None, looks: FloatArray
) -> FloatArray:
    """Inputs held between the times of a finer grid."""
    acting = held_inputs(model, inputs, len(times) - 1)
    at = np.clip(np.searchsorted(times, looks[:-1], side="right") - 1, 0, len(acting) - 1)
    return acting[at]
