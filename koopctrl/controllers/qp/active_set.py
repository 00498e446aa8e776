"""Dual active-set method, asked where plugins give up: slow beside them, but exact on badly scaled problems.

Goldfarb & Idnani, *A numerically stable dual method for solving strictly convex quadratic programs*,
Mathematical Programming 27, 1983. In the coordinates `y = L'(x - x_0)` the objective is `|y|^2 / 2` and
constraints are half-spaces; the working set's optimum has multipliers that are not negative, and each
constraint that enters raises it. The generated C solves its problems in the same way.
"""

from __future__ import annotations

import math
import time

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.dense import NARROW, DenseQP

# Violation, relative to what errors of that constraint are relative to, and what is left to dependent ones.
_FEASIBLE, _TOLERATED = 1e-9, 1e-7
# Squared sine of the angle below which a normal counts as a combination of others.
_DEPENDENT = 1e-20


def solve_by_active_set(
    problem: DenseQP, g: FloatArray, lower: FloatArray, upper: FloatArray, deadline: float = math.inf
) -> tuple[FloatArray, FloatArray, float] | None:
    """`(x, multipliers, residual)`; None where there is no solution, or none before `deadline`.

    Multipliers are of `x`, then of the rows, positive at upper and negative at lower bounds.
    """
    n = len(g)
    free = problem.free_optimum(g)
    normals = np.hstack([problem.whiten, problem.whiten @ problem.A.T])
    at_free = problem.values(free)
    units = np.ones(len(lower))
    y, Q, R = np.zeros(n), np.eye(n), np.zeros((n, 0))
    active: list[int] = []
    sides: list[float] = []
    lam = np.zeros(0)
    tolerance, left = _FEASIBLE, 100 + 20 * len(lower)
    while True:
        values = at_free + normals.T @ y
        size = problem.size(free, values, lower, upper, free)
        units[:] = size
        units[: n + problem.n_inputs] = problem.narrow(size) or NARROW * size
        above, below = values - upper, lower - values
        violation = np.maximum(above, below)
        violation[active] = -np.inf
        violation = np.where(violation > tolerance * units, violation, -np.inf)
        entering = int(np.argmax(violation))
        if not violation[entering] > -np.inf:
            break
        side = 1.0 if above[entering] > below[entering] else -1.0
        gap, mu, normal = float(violation[entering]), 0.0, side * normals[:, entering]
        whole = float(normal @ normal)
        while True:
            left -= 1
            if left < 0 or time.perf_counter() > deadline:
                return None
            k = len(active)
            d = Q.T @ normal
            r = linalg.solve_triangular(R[:k], d[:k]) if k else np.zeros(0)
            rest = float(d[k:] @ d[k:])
            full = gap / rest if rest > _DEPENDENT * whole else math.inf
            falling = np.flatnonzero(r > 0.0)
            ratios = lam[falling] / r[falling]
            partial = float(ratios.min(initial=math.inf))
            step = min(full, partial)
            if not math.isfinite(step):
                if gap > _TOLERATED * units[entering]:
                    return None
                # But the rounding of nearly parallel constraints.
                tolerance = _TOLERATED
                break
            lam = np.maximum(lam - step * r, 0.0)
            mu += step
            if math.isfinite(full):
                y = y - step * (Q[:, k:] @ d[k:])
            if full <= partial:
                Q, R = linalg.qr_insert(Q, R, normal, k, which="col", check_finite=False)
                active.append(entering)
                sides.append(side)
                lam = np.append(lam, mu)
                break
            leaving = int(falling[np.argmin(ratios)])
            Q, R = linalg.qr_delete(Q, R, leaving, which="col", check_finite=False)
            del active[leaving], sides[leaving]
            lam = np.delete(lam, leaving)
            value = at_free[entering] + float(normals[:, entering] @ y)
            gap = max(0.0, side * (value - (upper if side > 0.0 else lower)[entering]))
    x, multipliers = free + problem.whiten.T @ y, np.zeros(len(lower))
    multipliers[active] = lam * np.array(sides)
    best = x, multipliers, problem.residual(g, lower, upper, x, multipliers[:n], multipliers[n:])
    if best[2] == 0.0:
        return best
    polished = problem.polished(g, lower, upper, x, multipliers)
    if polished is not None:
        x, multipliers = polished
        residual = problem.residual(g, lower, upper, x, multipliers[:n], multipliers[n:])
        if residual < best[2]:
            best = x, multipliers, residual
    return best
