"""One QP of a predictive controller: unconstrained if possible, hard if feasible, softened if not."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.solver import KKT_TOL, QPSolution, QPSolver, kkt_residual

OUT_OF_TIME = "max_solve_time had passed before a solution was found"
_NO_SLACK = 1e-9


@dataclass(frozen=True)
class StepSolution:
    """Answer to one step's QP, in its scaled variables.

    Attributes
    ----------
    x : (n_v,) array or None
        None where no certified solution was found.
    status : str
        `optimal` or `softened`; else the solver's words.
    kkt_residual : float
    n_solves : int
    slack : float
        Largest relaxation, in scaled rows times their scale: physical units.
    """

    x: FloatArray | None
    status: str
    kkt_residual: float
    n_solves: int
    slack: float = 0.0


class StepSolver:
    """Solves `min x'Hx/2 + g'x` under bounds, whose last `n_soft` rows may be relaxed.

    The hard problem comes first, so relaxation happens only where it is infeasible: the penalty is exact for
    any weight.

    Parameters
    ----------
    n, m, n_soft : int
        Variables, rows, and how many of the last rows may be relaxed.
    plugin, options, max_time
        See `QPSolver`.
    """

    def __init__(
        self,
        n: int,
        m: int,
        n_soft: int,
        plugin: str,
        options: Mapping[str, Any] | None = None,
        max_time: float = math.inf,
    ) -> None:
        self._hard = QPSolver(n, m, plugin, options, max_time)
        # Active-set methods err on degenerate problems; an interior point has the second word.
        self._asks_again, self._max_time = plugin == "daqp" and m > 0, max_time
        self._second: QPSolver | None = None
        self._n, self._m, self._n_soft = n, m, n_soft
        self._soft = QPSolver(n + n_soft, m + n_soft, plugin, options, max_time) if n_soft else None
        self._last: QPSolution | None = None

    def reset(self) -> None:
        """Forget the warm start."""
        self._last = None

    def load(
        self, H: FloatArray, rows: FloatArray, row_scale: FloatArray, weights: tuple[float, float]
    ) -> None:
        """Set Hessian, scaled rows, and `w1, w2`: relaxing by `e` costs `w1 e + w2 e^2`, beside `x'Hx`."""
        self._H, self._rows, self._row_scale = H, rows, row_scale
        factor = linalg.cholesky(H, lower=True, check_finite=False)
        inverse = linalg.solve_triangular(factor, np.eye(len(H)), lower=True, check_finite=False)
        self._inverse = inverse.T @ inverse
        self._hard.load(H, rows)
        self._weights, self._soft_loaded, self._second_loaded = weights, False, False

    def solve(
        self, g: FloatArray, lower: FloatArray, upper: FloatArray, deadline: float = math.inf
    ) -> StepSolution:
        """Solve for one gradient and one set of bounds (of variables, then rows).

        No QP is begun after `deadline`, on the clock of `time.perf_counter`.
        """
        if time.perf_counter() > deadline:
            return StepSolution(None, OUT_OF_TIME, math.inf, 0)
        x = -(self._inverse @ g)
        values = np.concatenate([x, self._rows @ x]) if self._m else x
        if ((values >= lower) & (values <= upper)).all():
            zero_x, zero_a = np.zeros(self._n), np.zeros(self._m)
            residual = kkt_residual(self._H, g, self._rows, lower, upper, x, zero_x, zero_a)
            if residual <= KKT_TOL:
                return StepSolution(x, "optimal", residual, 0)
        guess = None
        if self._last is not None:
            guess = (self._last.x, self._last.multipliers_x, self._last.multipliers_a)
        found = self._hard.solve(g, lower, upper, guess, deadline)
        if found.success:
            self._last = found
            return StepSolution(found.x, "optimal", found.kkt_residual, found.n_solves)
        self._last = None
        if self._asks_again and time.perf_counter() <= deadline:
            second = self._ask_again(g, lower, upper)
            if second.success:
                return StepSolution(second.x, "optimal", second.kkt_residual, found.n_solves + 1)
        if self._soft is None:
            return StepSolution(None, found.status, found.kkt_residual, found.n_solves)
        if time.perf_counter() > deadline:
            return StepSolution(None, f"{OUT_OF_TIME} ({found.status})", math.inf, found.n_solves)
        return self._solve_soft(self._soft, g, lower, upper, found.n_solves, deadline)

    def _ask_again(self, g: FloatArray, lower: FloatArray, upper: FloatArray) -> QPSolution:
        """The hard problem once more: daqp calls a feasible one infeasible about once in a thousand times."""
        if self._second is None:
            self._second = QPSolver(self._n, self._m, "piqp", None, self._max_time)
        if not self._second_loaded:
            self._second.load(self._H, self._rows)
            self._second_loaded = True
        return self._second.solve(g, lower, upper)

    def _solve_soft(
        self,
        solver: QPSolver,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        n_before: int,
        deadline: float,
    ) -> StepSolution:
        """Relax the last rows: `l - e <= A x <= u + e`, each slack `e >= 0` shared by both sides."""
        n, m, k = self._n, self._m, self._n_soft
        # Slacks are in units of the scaled rows; a row's physical unit is row_scale of those.
        scale = self._row_scale[m - k :]
        # The QP minimises half of the cost: its linear term is half of the one that is documented.
        linear, quadratic = 0.5 * self._weights[0] / scale, self._weights[1] / scale**2
        # Slack variables scaled to a unit Hessian diagonal, like the others.
        unit = 1.0 / np.sqrt(quadratic)
        if not self._soft_loaded:
            H = np.eye(n + k)
            H[:n, :n] = self._H
            rows = np.zeros((m + k, n + k))
            rows[:m, :n] = self._rows
            rows[m - k : m, n:] = np.diag(unit)
            rows[m:, :n] = self._rows[m - k :]
            rows[m:, n:] = -np.diag(unit)
            solver.load(H, rows)
            self._soft_loaded = True
        infinite = np.full(k, np.inf)
        low = np.concatenate([lower[:n], np.zeros(k), lower[n:], -infinite])
        high = np.concatenate([upper[:n], infinite, upper[n : n + m - k], infinite, upper[n + m - k :]])
        found = solver.solve(np.concatenate([g, linear * unit]), low, high, None, deadline)
        n_solves = n_before + found.n_solves
        if not found.success:
            return StepSolution(None, found.status, found.kkt_residual, n_solves)
        slack = float((found.x[n:] * unit / scale).max(initial=0.0))
        # Without slack the hard problem's conditions hold: its solver had failed, or the bounds just touch.
        status = "softened" if slack > _NO_SLACK else "optimal"
        return StepSolution(found.x[:n], status, found.kkt_residual, n_solves, slack)
