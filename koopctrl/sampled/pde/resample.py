"""Time blocks, each with a basis sampled where the solution is steep in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
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
from koopctrl.sampled.pde.steepness import of_solution, of_start, steep_interval

_LOOKS = 24  # times within a block at which the field is looked at


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
    bases made from the largest slope met anywhere in the block. The quadrature's panels follow the steepness
    too, and distances of pairs shrink with them. In more dimensions neurons are fronts across the whole
    domain, and sampling them by steepness gained nothing where it was tried.

    Parameters
    ----------
    pde : PDE
        Of first order in time, on an `Interval` that is not periodic.
    t : (n_times,) array_like
        Rising times, s.
    inputs : (n_inputs,) or (n_times - 1, n_inputs) array_like, optional
        Held from each time to the next.
    blocks : int or sequence of float
        Number of blocks, equal in time, or the times at which blocks begin after the first.
    passes : int
        Solutions per block.
    n_features : int
        Neurons.
    n_panels : int
        Panels of the Gauss rule, 16 points each.
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
        If the domain is no open interval, the equation of second order, or blocks are no rising times.
    """
    base = pde.domain
    if not isinstance(base, Interval) or base.periodic[0] or pde.order != 1:
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
    start, now = pde.initial, base
    states: list[FloatArray] = []
    models: list[SemiDiscrete] = []
    block = np.zeros(len(times), dtype=int)
    for i, (begin, end) in enumerate(pairwise(edges)):
        mine = np.flatnonzero((times > begin) & (times <= end)) if i else np.flatnonzero(times <= end)
        looks = np.union1d(np.union1d([begin, end], times[mine]), np.linspace(begin, end, _LOOKS))
        steepness = of_start(pde.domain, start)
        found: Solution | None = None
        for _ in range(passes):
            now = steep_interval(base, now, steepness, n_panels, steep_share)
            here = replace(pde, domain=now, initial=start)
            model = here.discretise(n_features, n_points=16 * n_panels, random_state=rng, **options)
            held = _inputs_on(model, times, inputs, looks)
            found = solve(model, looks, held, method=method, rtol=rtol)
            steepness = of_solution(found)
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
    edges = np.concatenate([times[:1], inner.ravel(), times[-1:]])
    if inner.ndim != 1 or not (np.diff(edges) > 0).all():
        raise OptionError(
            f"blocks is {blocks!r}; expected rising times between {times[0]:g} and {times[-1]:g}"
        )
    return edges


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
