"""One QP of a predictive controller: unconstrained if possible, hard if feasible, softened if not."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.active_set import solve_by_active_set
from koopctrl.controllers.qp.dense import ROUNDING, DenseQP
from koopctrl.controllers.qp.solver import KKT_TOL, QPSolution, QPSolver

OUT_OF_TIME = "max_solve_time had passed before a solution was found"
# Slack of a scaled row, relative to the answer's size, that is rounding.
_NO_SLACK = 1e-8
BEYOND = "what is asked is so far beyond the bounds that they are lost in rounding"
OUT_OF_CONTROL = (
    "the bounded inputs do not keep the model from growing until its predictions lose them in rounding"
)
# How far that is.
_ABSURD = 1e12
# Variables beyond which no second plugin is asked: an interior point would take seconds.
_LARGEST = 500


class StepSolution(NamedTuple):
    """Answer to one step's QP, in its scaled variables.

    Attributes
    ----------
    x : (n_v,) array or None
        None where no certified solution was found.
    status : str
        `optimal` or `softened`; else the solver's words.
    kkt_residual : float
        Bound on the error of `x`, relative to its size.
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
    any weight. Active-set methods err on degenerate problems, splitting and interior-point methods on nearly
    parallel rows: whatever one plugin does not solve, a second one of the other kind is asked.

    Parameters
    ----------
    n, m, n_soft : int
        Variables, rows, and how many of the last rows may be relaxed.
    plugin, options, max_time
        See `QPSolver`.
    has_lower, has_upper : (m,) bool arrays, optional
        Whether a row has bounds at all; by default it may have both. Rows without are left out.
    """

    def __init__(
        self,
        n: int,
        m: int,
        n_soft: int,
        plugin: str,
        options: Mapping[str, Any] | None = None,
        max_time: float = math.inf,
        has_lower: np.ndarray | None = None,
        has_upper: np.ndarray | None = None,
    ) -> None:
        low = np.full(m, True) if has_lower is None else has_lower
        high = np.full(m, True) if has_upper is None else has_upper
        live = low | high
        self._n, self._n_soft = n, int(live[m - n_soft :].sum())
        self._live = None if live.all() else np.flatnonzero(live)
        self._entries = np.concatenate([np.arange(n), n + np.flatnonzero(live)])
        self._m = m = int(live.sum())
        hard = m - self._n_soft
        self._lows, self._highs = (np.flatnonzero(side[live][hard:]) for side in (low, high))
        self._hard = _Pair(n, m, plugin, options, max_time)
        self._soft: _Pair | None = None
        if self._n_soft:
            n_rows = hard + len(self._lows) + len(self._highs)
            self._soft = _Pair(n + self._n_soft, n_rows, plugin, options, max_time)

    def reset(self) -> None:
        """Forget the warm start."""
        self._hard.last = None

    def load(
        self,
        H: FloatArray,
        rows: FloatArray,
        row_scale: FloatArray,
        weights: FloatArray,
        inputs: tuple[int, float, bool] = (0, math.inf, False),
    ) -> None:
        """Set Hessian, scaled rows, and for each soft row `w1, w2`: relaxing by `e` costs `w1 e + w2 e^2`.

        `inputs` tells how many first rows are inputs, the narrowest range of these and of the variables, and
        whether an answer is none beside which that range is lost in rounding.
        `weights` has shape `(2, n_soft)`; the cost counts beside `x'Hx`. Raises `numpy.linalg.LinAlgError`
        unless `H` is positive definite.
        """
        if self._live is not None:
            n_all = weights.shape[1]
            soft = self._live[self._m - self._n_soft :] - (len(rows) - n_all)
            inputs = (int(np.count_nonzero(self._live < inputs[0])), *inputs[1:])
            rows, row_scale, weights = rows[self._live], row_scale[self._live], weights[:, soft]
        m, k = self._m, self._n_soft
        self._problem = DenseQP.of(H, rows, *inputs)
        self._hard.load(self._problem)
        if self._soft is None:
            return
        # Slacks are in units of the scaled rows; a row's physical unit is row_scale of those. Their own unit
        # makes the Hessian's diagonal one, and the QP minimises half of the cost that is documented.
        self._unit = row_scale[m - k :] / np.sqrt(weights[1])
        self._relief = 1.0 / np.sqrt(weights[1])
        self._pull = 0.5 * weights[0] * self._relief
        self._soft.forget()

    def solve(
        self, g: FloatArray, lower: FloatArray, upper: FloatArray, deadline: float = math.inf
    ) -> StepSolution:
        """Solve for one gradient and one set of bounds (of variables, then rows).

        No QP is begun after `deadline`, on the clock of `time.perf_counter`.
        """
        if time.perf_counter() > deadline:
            return StepSolution(None, OUT_OF_TIME, math.inf, 0)
        problem = self._problem
        if self._live is not None:
            lower, upper = lower[self._entries], upper[self._entries]
        x = -(problem.inverse @ g)
        values = problem.values(x)
        within = np.minimum(np.maximum(values, lower), upper)
        if (within == values).all():
            error = problem.inverse @ (problem.H @ x + g)
            x, size = x - error, float(np.abs(x).max(initial=0.0))
            residual = float(np.abs(error).max(initial=0.0)) / size if size else 0.0
            if residual <= KKT_TOL:
                return StepSolution(x, "optimal", residual, 0)
        reach = float(np.maximum.reduce(np.abs(within)))
        far = float(np.maximum.reduce(np.abs(values)))
        if 0.0 < reach < far / _ABSURD and _largest_bound(lower, upper) < far / _ABSURD:
            return StepSolution(None, BEYOND, math.inf, 0)
        size = max(reach, ROUNDING * float(np.maximum.reduce(np.abs(x))))
        found = self._hard.solve(g, lower, upper, size, deadline)
        if found.success:
            return StepSolution(found.x, "optimal", found.kkt_residual, found.n_solves)
        answer = StepSolution(None, found.status, found.kkt_residual, found.n_solves)
        if self._soft is not None and time.perf_counter() <= deadline:
            answer = self._solve_soft(self._soft, g, lower, upper, found.n_solves, deadline)
        if answer.x is None and time.perf_counter() <= deadline:
            exact = solve_by_active_set(problem, g, lower, upper, deadline)
            if exact is not None and exact[2] <= KKT_TOL:
                return StepSolution(exact[0], "optimal", exact[2], answer.n_solves + 1)
            if exact is not None and problem.strict:
                answer = StepSolution(None, OUT_OF_CONTROL, math.inf, answer.n_solves + 1)
        if answer.x is None and time.perf_counter() > deadline:
            return StepSolution(None, f"{OUT_OF_TIME} ({found.status})", math.inf, answer.n_solves)
        return answer

    def _solve_soft(
        self,
        pair: _Pair,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        n_before: int,
        deadline: float,
    ) -> StepSolution:
        """Relax the last rows: `l - e <= A x <= u + e`, each slack `e >= 0` shared by both sides."""
        n, k = self._n, self._n_soft
        hard, lows, highs = self._m - k, self._lows, self._highs
        if not pair.loaded:
            H = np.eye(n + k)
            H[:n, :n] = self._problem.H
            A, slack = self._problem.A, np.diag(self._unit)
            rows = np.vstack(
                [
                    np.hstack([A[:hard], np.zeros((hard, k))]),
                    np.hstack([A[hard:][lows], slack[lows]]),
                    np.hstack([A[hard:][highs], -slack[highs]]),
                ]
            )
            known = self._problem
            pair.load(DenseQP.of(H, rows, known.n_inputs, known.width, known.strict))
        free, first = np.full(k, np.inf), n + hard
        low = np.concatenate([lower[:n], 0.0 * self._unit, lower[n:first], lower[first:][lows], -free[highs]])
        high = np.concatenate([upper[:n], free, upper[n:first], free[lows], upper[first:][highs]])
        pull = np.concatenate([g, self._pull])
        found = pair.solve(pull, low, high, None, deadline)
        x, residual, n_solves = found.x, found.kkt_residual, n_before + found.n_solves
        if not found.success:
            exact = None
            if n + k <= _LARGEST:
                exact = solve_by_active_set(pair.problem, pull, low, high, deadline)
            if exact is None or not exact[2] <= KKT_TOL:
                return StepSolution(None, found.status, found.kkt_residual, n_solves)
            x, residual, n_solves = exact[0], exact[2], n_solves + 1
        e, values = x[n:], self._problem.values(x[:n])
        size = self._problem.size(x[:n], values, lower, upper, x[:n])
        # Without slack the hard problem's conditions hold: its solver had failed, or the bounds just touch.
        status = "softened" if float((e * self._unit).max()) > _NO_SLACK * size else "optimal"
        slack = max(0.0, float((e * self._relief).max()))
        return StepSolution(x[:n], status, residual, n_solves, slack)


def _largest_bound(lower: FloatArray, upper: FloatArray) -> float:
    """Of those that are finite: an answer may lie at the one that is zero, but for rounding."""
    bounds = np.abs(np.concatenate([lower, upper]))
    return float(np.max(bounds, where=np.isfinite(bounds), initial=0.0))


class _Pair:
    """A plugin and, made when it is first needed, the one that is asked where it fails."""

    def __init__(
        self, n: int, m: int, plugin: str, options: Mapping[str, Any] | None, max_time: float
    ) -> None:
        self._first = QPSolver(n, m, plugin, options, max_time)
        self._other = "piqp" if plugin in ("daqp", "qpoases", "qrqp") else "daqp"
        self._second: QPSolver | None = None
        self._max_time = max_time
        self.last: QPSolution | None = None
        self.forget()

    def forget(self) -> None:
        """The problem has changed."""
        self.loaded, self._second_loaded = False, False

    @property
    def problem(self) -> DenseQP:
        """What was loaded."""
        return self._first.problem

    def load(self, problem: DenseQP) -> None:
        """Set the problems to come."""
        self._first.load(problem.H, problem.A, problem)
        self.loaded, self._second_loaded = True, False

    def solve(
        self, g: FloatArray, lower: FloatArray, upper: FloatArray, size: float | None, deadline: float
    ) -> QPSolution:
        """The first certified answer; else what the first plugin said."""
        guess = None
        if self.last is not None:
            guess = (self.last.x, self.last.multipliers_x, self.last.multipliers_a)
        found = self._first.solve(g, lower, upper, guess, deadline, size)
        if found.success:
            self.last = found
            return found
        self.last = None
        if time.perf_counter() > deadline or self._first.n > _LARGEST:
            return found
        if self._second is None:
            self._second = QPSolver(self._first.n, self._first.m, self._other, None, self._max_time)
        if not self._second_loaded:
            problem = self._first.problem
            self._second.load(problem.H, problem.A, problem)
            self._second_loaded = True
        second = self._second.solve(g, lower, upper, None, deadline, size)
        n_solves = found.n_solves + second.n_solves
        chosen = second if second.success else found
        return chosen._replace(n_solves=n_solves)
