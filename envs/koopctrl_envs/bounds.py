"""How far an oscillator can be driven: the bounds behind its finite observation box."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np

from koopctrl_envs.checks import BoolArray, FloatArray
from koopctrl_envs.plant import Plant

MARGIN = 1.1
"""Over the computed envelope: it is integrated in steps, from a finite set of starts."""

MAX_STEPS = 200_000
"""Enough for hundreds of turns; an envelope that still grows then has no useful end."""


def oscillator_bounds(plant: Plant, u_low: FloatArray, u_high: FloatArray) -> tuple[FloatArray, FloatArray]:
    r"""Bounds on the states of :math:`\dot x_1 = x_2,\; \dot x_2 = f(x_1, x_2) + b u` with :math:`b > 0`.

    In the phase plane :math:`dx_2/dx_1 = (f + b u)/x_2`, so that among all inputs
    :math:`u = u_{high}` where :math:`x_2 > 0` and :math:`u = u_{low}` where :math:`x_2 < 0` gives the
    outermost curve through a point, and curves under this input do not cross. Everything reachable from the
    start box therefore lies inside the curves through the edge of that box, which are integrated here until
    another turn makes them grow no more. Where a curve creeps towards a rest point instead of crossing
    :math:`x_2 = 0`, it is moved there and the input reversed.

    Parameters
    ----------
    plant : Plant
        A plant of this form.
    u_low, u_high : ndarray, (1,)
        Limits of the input, disturbances included.

    Returns
    -------
    low, high : ndarray, (2,)

    Raises
    ------
    ValueError
        If the curves grow without end, or the plant's own integration step is unstable.
    """
    low, high = _envelope(plant, float(u_low[0]), float(u_high[0]))
    return np.array(low), np.array(high)


@lru_cache(maxsize=64)
def _envelope(plant: Plant, u_low: float, u_high: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Per mille will do under the margin; only a stiff plant needs its full number of sub-steps here.
    coarse = dataclasses.replace(plant, n_substeps=max(1, plant.n_substeps // 4))
    with np.errstate(over="ignore", invalid="ignore"):
        for candidate in (coarse, plant):
            low, high = _turn(candidate, u_low, u_high)
            if np.isfinite(low).all() and np.isfinite(high).all():
                middle, half = 0.5 * (high + low), 0.5 * MARGIN * (high - low)
                return tuple((middle - half).tolist()), tuple((middle + half).tolist())
    raise ValueError(
        f"{plant} diverges with {plant.n_substeps} Runge-Kutta steps per sample; raise n_substeps"
    )


def _turn(plant: Plant, u_low: float, u_high: float) -> tuple[FloatArray, FloatArray]:
    """Follow the outermost curves until they settle; NaN if the integration breaks down."""
    h = plant.dt / plant.n_substeps
    x = _edge(np.array(plant.start_low), np.array(plant.start_high))
    low, high = x.min(axis=0), x.max(axis=0)
    ahead = plant.rhs(x, np.full((len(x), 1), u_high))[:, 1] > 0.0
    forward = np.where(x[:, 1] == 0.0, ahead, x[:, 1] > 0.0)
    turns = np.zeros(len(x), dtype=int)
    target, size = 2, high - low
    for _ in range(MAX_STEPS):
        u = np.where(forward, u_high, u_low)[:, None]
        before = np.abs(x[:, 1])
        x = plant.step(x, u, h)
        speed = np.where(forward, x[:, 1], -x[:, 1])
        slow = (speed > 0.0) & (speed < before) & (speed < 0.01 * (high[1] - low[1]))
        crept = np.zeros_like(forward)
        if slow.any():
            crept[slow] = _move_to_rest(plant, x, u, slow, forward)
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
        if not np.isfinite(x).all():
            return low + np.nan, high + np.nan
        flip = (speed <= 0.0) | crept
        forward = forward ^ flip
        turns += flip
        if turns.min() >= target:
            if np.all(high - low <= 1.001 * size):
                return low, high
            target, size = int(turns.min()) + 2, high - low
    raise ValueError(
        f"{plant} has no finite observation bounds: an input in [{u_low:g}, {u_high:g}] drives it ever "
        "further. Raise the damping, or lower the input limits or the noise"
    )


def _move_to_rest(
    plant: Plant, x: FloatArray, u: FloatArray, rows: BoolArray, forward: BoolArray
) -> BoolArray:
    """Move those of the given rows of `x` that have a rest point ahead of them there, and say which."""
    q, held = x[rows, 0], u[rows]
    for _ in range(3):
        point = np.stack([q, np.zeros_like(q)], axis=1)
        stiffness = plant.linearize(point, held)[0][:, 1, 0]
        q = q - plant.rhs(point, held)[:, 1] / np.where(stiffness < 0.0, stiffness, np.inf)
    error = np.abs(plant.rhs(np.stack([q, np.zeros_like(q)], axis=1), held)[:, 1])
    distance = np.where(forward[rows], q - x[rows, 0], x[rows, 0] - q)
    found = (distance > 0.0) & (error < 1e-6 * (1.0 + np.abs(u).max())) & (stiffness < 0.0)
    chosen = np.flatnonzero(rows)[found]
    x[chosen] = np.stack([q[found], np.zeros(len(chosen))], axis=1)
    return found


def _edge(low: FloatArray, high: FloatArray) -> FloatArray:
    along = np.linspace(-1.0, 1.0, 25)
    sides = np.vstack([np.stack([along, np.full(25, end)], axis=1) for end in (-1.0, 1.0)])
    return 0.5 * (high + low) + 0.5 * (high - low) * np.vstack([sides, sides[:, ::-1]])
