r"""Steady states of a network by Gauss-Newton with exact Jacobians, inside the bounds on inputs.

.. math::
    \min_{x, u} |W^{1/2} (y - r)|^2 + \epsilon |R^{1/2} (u - u_0)|^2 \quad\text{s.t.}\quad x = f(x, u) + d,
    \ u_{min} \le u \le u_{max}

Steps are damped where they make things worse: at the edge of what can be reached the steady output no longer
moves with the input, and undamped steps are arbitrary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.rollout import SteadyView

_TOL, _MAX_ITERATIONS = 1e-10, 60
# Scaled misfit of `x = f(x, u) + d` below which a state counts as steady.
_STEADY = 1e-6
# Misfits that differ by less, relative to an error as large as the data's spread, are equal.
_EXACT = 1e-12
# Residual of a linear system, relative to its right side, with which elimination is believed.
_SOLVED = 1e-9
# Part of the terms in a bound's multiplier that is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Scales:
    """Units of a search: of states, of inputs, and of a weighted error as large as the data's spread."""

    x: FloatArray
    u: FloatArray
    size: float


@dataclass(frozen=True)
class Misfit:
    """One set-point in standardised coordinates.

    Attributes
    ----------
    weight : (n, n) array
        On `w = [x; u]`, `n = n_x + n_u`.
    aim : (n,) array
    low, high : (n_u,) arrays
        Bounds on the inputs.
    """

    weight: FloatArray
    aim: FloatArray
    low: FloatArray
    high: FloatArray

    def cost(self, w: FloatArray, n: int | None = None) -> float:
        """Weighted square of the first `n` entries' distance from the aim."""
        error = (w - self.aim)[:n]
        return float(error @ self.weight[:n, :n] @ error)


def nearest_steady_state(
    view: SteadyView,
    misfit: Misfit,
    scales: Scales,
    start: tuple[FloatArray, FloatArray],
    d: FloatArray,
    deadline: float,
) -> tuple[FloatArray, FloatArray, float] | None:
    """Best steady state `(x, u)` met on the way from one start, and its misfit; None if there is none.

    No iteration is begun after `deadline`, on the clock of `time.perf_counter`.
    """
    n_x, n_y = view.n_x, view.n_y
    sx, su, size = scales.x, scales.u, scales.size
    low, high = misfit.low, misfit.high
    w = np.concatenate([start[0] / sx, np.clip(start[1] / su, low, high)])
    gap = _gap(view, w, d, scales)
    damping, penalty = 0.0, 0.0
    found, miss = None, np.inf
    for _ in range(_MAX_ITERATIONS):
        if not np.isfinite(gap).all():
            break
        here = misfit.cost(w, n_y)
        # The newest of those that are as near as any: it is the most exact one.
        if np.abs(gap).max() < _STEADY and here <= 1.001 * miss + _EXACT * size:
            found, miss = w, here
        if time.perf_counter() > deadline:
            break
        step, multiplier = _step(view, misfit, scales, w, gap, damping)
        length = float(np.abs(step).max(initial=0.0))
        if not np.isfinite(length) or length < _TOL:
            break
        trial = w + step * min(1.0, 2.0 / length)
        trial[n_x:] = np.clip(trial[n_x:], low, high)
        trial_gap = _gap(view, trial, d, scales)
        penalty = max(penalty, 2.0 * multiplier)
        before = misfit.cost(w) + penalty * np.abs(gap).sum()
        after = misfit.cost(trial) + penalty * np.abs(trial_gap).sum()
        # The first test alone would refuse good steps along a curved set of steady states.
        if after <= before or np.abs(trial_gap).max() <= 0.5 * np.abs(gap).max():
            w, gap = trial, trial_gap
            damping = 0.1 * damping if damping > 1e-8 * size else 0.0
        else:
            damping = max(10.0 * damping, 1e-6 * size)
    if found is None:
        return None
    return found[:n_x] * sx, found[n_x:] * su, miss


def _gap(view: SteadyView, w: FloatArray, d: FloatArray, scales: Scales) -> FloatArray:
    n_x = view.n_x
    x = w[:n_x] * scales.x
    return (view.step(x, w[n_x:] * scales.u, d) - x) / scales.x


def _step(
    view: SteadyView, misfit: Misfit, scales: Scales, w: FloatArray, gap: FloatArray, damping: float
) -> tuple[FloatArray, float]:
    """Gauss-Newton step within the bounds on inputs, and the steadiness' largest multiplier.

    Inputs that would leave their bounds are fixed there; of those that pull inwards the one that does so most
    is set free again, until there is none.
    """
    n_x, n = view.n_x, len(w)
    sx, su = scales.x, scales.u
    a, b = view.jacobians((w[:n_x] * sx)[None], (w[n_x:] * su)[None])
    rows = np.hstack([a[0] * sx / sx[:, None] - np.eye(n_x), b[0] * su / sx[:, None]])
    hessian, gradient = misfit.weight + damping * np.eye(n), misfit.weight @ (w - misfit.aim)
    step, free = np.zeros(n), np.full(n, True)
    multipliers = np.zeros(n_x)
    for _ in range(4 * (n - n_x) + 2):
        fixed, m = np.where(free, 0.0, step), int(free.sum())
        kkt = np.zeros((m + n_x, m + n_x))
        kkt[:m, :m] = hessian[free][:, free]
        kkt[m:, :m], kkt[:m, m:] = rows[:, free], rows[:, free].T
        rhs = np.concatenate([-(gradient + hessian @ fixed)[free], -(gap + rows @ fixed)])
        answer = _solve(kkt, rhs)
        step[free], multipliers = answer[:m], answer[m:]
        new = w[n_x:] + step[n_x:]
        outside = free[n_x:] & ((new < misfit.low) | (new > misfit.high))
        if outside.any():
            held = np.clip(new, misfit.low, misfit.high) - w[n_x:]
            step[n_x:][outside] = held[outside]
            free[n_x:][outside] = False
            continue
        if free.all():
            break
        terms = np.vstack([gradient + hessian @ step, rows.T @ multipliers])[:, n_x:]
        # Where the cost falls towards the inside: along +1 from the lower bound, along -1 from the upper.
        inwards = np.where(np.abs(new - misfit.low) <= np.abs(new - misfit.high), 1.0, -1.0)
        pull = np.where(free[n_x:], 0.0, -inwards * terms.sum(axis=0))
        pull[misfit.low == misfit.high] = 0.0
        worst = int(np.argmax(pull))
        if not pull[worst] > _ROUNDING * np.abs(terms[:, worst]).sum():
            break
        free[n_x + worst] = True
    return step, float(np.abs(multipliers).max(initial=0.0))


def _solve(kkt: FloatArray, rhs: FloatArray) -> FloatArray:
    """By elimination where that satisfies the equations; else, of a singular system, the least solution."""
    try:
        answer = np.linalg.solve(kkt, rhs)
        if np.abs(kkt @ answer - rhs).max() <= _SOLVED * np.abs(rhs).max():
            return answer
    except np.linalg.LinAlgError:
        pass  # singular to the bit
    return np.linalg.lstsq(kkt, rhs, rcond=1e-14)[0]
