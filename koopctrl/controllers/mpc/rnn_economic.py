r"""Real-time iteration with stage costs and constraints that users write.

.. math::
    \min_u \sum_{k=0}^{N-1} \ell(y_{k+1}, u_k, p_k) + |y_{k+1} - r|_Q^2 + |u_k - u_r|_R^2
    + |u_k - u_{k-1}|_S^2
    \quad\text{s.t.}\quad g(y_{k+1}, u_k, p_k) \le 0

Each QP has the reduced gradient of all that, exact, and

- of residuals, a list whose squares are `l`: the Gauss-Newton Hessian;
- of a cost, a number: the exact reduced Hessian of the Lagrangian, with the multipliers of the last QP, the
  network's curvature included (differences of the reduced gradient), convexified: in units of the inputs'
  spread its eigenvalues are replaced by their sizes, those
  below a millionth of the largest by that.

Constraints are linearised, relaxed as bounds on outputs are, and judged on the roll-out. Where the full step
breaks one by its curvature, which would make the line search refuse it (the Maratos effect), the QP is solved
once more with the constraints' values there: a second-order correction. Nocedal & Wright, *Numerical
Optimization*, 2006, section 18.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.rnn_course import Course
from koopctrl.controllers.mpc.rnn_feedback import gains_along
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.controllers.mpc.rnn_sqp import OBEYED, SETTLED, RealTimeIteration, Rolled
from koopctrl.controllers.mpc.rnn_sums import penalty, sensitivities, weigh
from koopctrl.controllers.mpc.stage_function import StageFunction
from koopctrl.controllers.mpc.stage_terms import EconomicGoal, StageTerms
from koopctrl.controllers.qp.dense import scale_rows
from koopctrl.controllers.qp.soft import StepSolution, StepSolver
from koopctrl.network.folded import Passed, Rollout

# Distance from a bound, in the size of a step, up to which it is active.
_ACTIVE = 1e-6
# Step of differences of the gradient, in spreads of the inputs; least eigenvalue, in the largest.
_STEP, _LEAST = 1e-4, 1e-6
# Weight of inputs beside outputs, in their spreads, where a plan is led back to its course.
_LEADING = 0.1


class _Posed(NamedTuple):
    """The last QP: gradient, scaled rows, bounds, what the plan uses of them, and the first nonlinear row."""

    gradient: FloatArray
    scale: FloatArray
    rows: FloatArray
    low: FloatArray
    high: FloatArray
    used: FloatArray
    units: FloatArray
    n_linear: int


class EconomicIteration(RealTimeIteration):
    """The optimiser of one problem with stage terms; for parameters see `RealTimeIteration`."""

    def __init__(
        self,
        rollout: Rollout,
        problem: MPCProblem,
        channels: InputChannels,
        solver: str,
        solver_options: Mapping[str, Any] | None,
        terms: StageTerms,
    ) -> None:
        super().__init__(rollout, problem, channels, solver, solver_options)
        self.terms, self.is_feedback = terms, False
        self._multipliers: FloatArray | None = None
        self._posed: Any = None
        # Plans that have left their course are led back with all signals in units of their spread.
        N, y_scale = problem.horizon, rollout.network.scaling.y_scale
        self._leading = replace(
            problem, Q=np.tile(np.diag(1.0 / y_scale**2), (N, 1, 1)), S=np.zeros_like(problem.S),
            R=np.tile(np.diag(_LEADING / self._u_size**2), (N, 1, 1)),
        )  # fmt: skip
        self._u_units = np.tile(self._u_size, len(problem.blocks))
        n_v, n_g = len(self.input_hessian), problem.horizon * terms.n_constraints
        n_rows = len(self.move_rows) + problem.n_bounded + n_g
        n_soft = problem.n_bounded + n_g if problem.soft else 0
        sides = [np.isfinite(side[n_v:]) for side in self._bounds]
        has = [
            np.concatenate([sides[0], np.zeros(n_g, dtype=bool)]),
            np.concatenate([sides[1], np.ones(n_g, dtype=bool)]),
        ]
        self._solver = StepSolver(n_v, n_rows, n_soft, solver, solver_options, problem.max_solve_time, *has)
        self._row_costs = np.hstack([problem.row_soft_weights, np.tile(terms.weights, problem.horizon)])
        self._idle_units = np.concatenate([
            np.ones(len(self.move_rows)), problem.idle_units,
            np.sqrt(np.tile(terms.weights[1], problem.horizon)),
        ])  # fmt: skip

    def optimise(
        self,
        now: Outlook,
        plan: FloatArray,
        goal: Goal,
        n_iterations: int,
        deadline: float,
        settled: float = SETTLED,
        course: Course | None = None,
    ) -> Found:
        """See `RealTimeIteration`; multipliers are those of this call."""
        self._multipliers = None
        return super().optimise(now, plan, goal, n_iterations, deadline, settled, course)

    def _is_done(self, plan: FloatArray, states: FloatArray, goal: Goal) -> bool:
        """What is broken by curvature alone is worth further steps."""
        return self.terms.constraints is None or self.excess(states, goal, plan)[1]

    def _mended(
        self, plan: FloatArray, states: FloatArray, answer: StepSolution, now: Outlook, goal: Goal,
        deadline: float,
    ) -> Rolled | None:  # fmt: skip
        """The second-order correction of a full step that breaks what its QP obeys."""
        if answer.x is None or answer.status != "optimal" or not np.isfinite(states).all():
            return None
        posed, (N, n_u), T = self._posed, plan.shape, self._blocking
        stepped = plan + (T @ (answer.x * posed.scale)).reshape(N, n_u)
        if self.excess(states, goal, stepped)[1]:
            return None
        problem, first, n_v = self._problem, posed.n_linear, len(answer.x)
        there = [(states[1:] @ self.E.T + goal.shift).ravel(), problem.E_end @ (states[-1] - goal.x_end)]
        if self.terms.constraints is not None:
            there.append(self._values(self.terms.constraints, states[None], stepped[None], goal).ravel())
        used = posed.used.copy()
        used[first:] = np.concatenate(there) - (posed.rows @ answer.x)[first - n_v :] / posed.units[first:]
        if not np.isfinite(used).all():
            return None
        low, high = ((side - used) * posed.units for side in (posed.low, posed.high))
        again = self._solver.solve(posed.gradient, low, high, deadline)
        if again.x is None:
            return None
        other = plan + (T @ (again.x * posed.scale)).reshape(N, n_u)
        other = np.clip(other, problem.u_min, problem.u_max)
        rolled = self.roll(now, other[None])
        return other, rolled[0], float(self.merit(rolled, other[None], now, goal)[0])

    def _led(self, now: Outlook, goal: Goal, start: Rolled, along: FloatArray) -> Rolled:
        """See `RealTimeIteration`; a cost of the users' own says nothing of how to stay near a course."""
        if self.terms.cost is None:
            return super()._led(now, goal, start, along)
        a, b = self._rollout.jacobians(along[:-1], self._full(now, start[0]))
        gains = gains_along(a, b[:, :, self._channels.moved], self._leading.Q, None, self._leading)
        return self._followed(now, goal, start, start[0], along, gains)

    def merit(self, states: FloatArray, plans: FloatArray, now: Outlook, goal: Goal) -> FloatArray:
        """Cost of plans `(batch, N, n_u)` along their roll-outs, relaxations included."""
        cost = super().merit(states, plans, now, goal)
        fine = np.isfinite(cost) & np.isfinite(states).all(axis=(1, 2))
        if not fine.any():
            return np.full(len(cost), np.inf)
        added = np.full(len(cost), np.inf)
        if self.terms.cost is not None:
            values = self._values(self.terms.cost, states[fine], plans[fine], goal)
            total = values.sum(axis=(1, 2)) if self.terms.cost.is_scalar else (values**2).sum(axis=(1, 2))
        else:
            total = np.zeros(int(fine.sum()))
        if self.terms.constraints is not None:
            values = self._values(self.terms.constraints, states[fine], plans[fine], goal)
            total = total + penalty(
                values, np.full(values.shape[2], -np.inf), np.zeros(values.shape[2]), self.terms.weights
            )
        added[fine] = total
        out = cost + added
        if self._bounds_rate:
            moves = np.diff(
                np.concatenate([np.broadcast_to(now.u_last, plans[:, :1].shape), plans], axis=1), axis=1
            )
            beyond = np.maximum(moves - self._problem.du_max, self._problem.du_min - moves)
            out = np.where((beyond > self.move_tolerance + 1e-9 * self._u_size).any(axis=(1, 2)), np.inf, out)
        return np.where(np.isfinite(out), out, np.inf)

    def excess(self, states: FloatArray, goal: Goal, plan: FloatArray) -> tuple[float, bool]:
        """Of the bounds and of the constraints."""
        worst, obeyed = super().excess(states, goal, plan)
        if self.terms.constraints is not None:
            values = self._values(self.terms.constraints, states[None], plan[None], goal)[0]
            worst = max(worst, float(values.max()))
            obeyed = obeyed and bool((values <= OBEYED * self.terms.units).all())
        return worst, obeyed

    def _points(
        self, states: FloatArray, plans: FloatArray, goal: Goal
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Rows `(batch N, ..)` of outputs, inputs and parameters."""
        assert isinstance(goal, EconomicGoal)
        n_y, batch = self._rollout.n_y, len(states)
        y = states[:, 1:, :n_y].reshape(-1, n_y) + goal.beside
        return y, plans.reshape(-1, plans.shape[-1]), np.tile(goal.parameters, (batch, 1))

    def _values(
        self, function: StageFunction, states: FloatArray, plans: FloatArray, goal: Goal
    ) -> FloatArray:
        """`(batch, N, m)`."""
        values = function.values(*self._points(states, plans, goal))
        return values.reshape(len(states), -1, function.m)

    def _reduced_gradients(
        self, plans: FloatArray, now: Outlook, goal: Goal, multipliers: FloatArray | None = None
    ) -> FloatArray:
        """Of the cost (a number) by blocked inputs `(batch, n_v)`, through adjoints.

        With the constraints `(N, m)` weighted by multipliers on it.
        """
        function = self.terms.cost
        assert function is not None
        batch, N, n_u = plans.shape
        n_x, n_y = self._rollout.n_x, self._rollout.n_y
        full = self._full(now, plans)
        states = self._rollout.run(now.x, full, now.d) if batch > 1 else self.roll(now, plans)
        a, b = self._rollout.jacobians(states[:, :-1].reshape(-1, n_x), full.reshape(batch * N, -1))
        b = b if not self._channels.n_v else b[:, :, self._channels.moved]
        a, b = a.reshape(batch, N, n_x, n_x), b.reshape(batch, N, n_x, n_u)
        points = self._points(states, plans, goal)
        by = function.gradients(*points).sum(axis=1).reshape(batch, N, -1)
        if multipliers is not None and self.terms.constraints is not None:
            slopes = self.terms.constraints.gradients(*points).reshape(batch, N, multipliers.shape[1], -1)
            by = by + np.einsum("km,bkmz->bkz", multipliers, slopes)
        adjoint, out = np.zeros((batch, n_x)), np.empty((batch, N, n_u))
        for k in range(N - 1, -1, -1):
            adjoint[:, :n_y] += by[:, k, :n_y]
            out[:, k] = by[:, k, n_y:] + np.einsum("bxu,bx->bu", b[:, k], adjoint)
            adjoint = np.einsum("bxz,bx->bz", a[:, k], adjoint)
        return out.reshape(batch, -1) @ self._blocking

    def _cost_terms(
        self, states: FloatArray, plan: FloatArray, gamma: FloatArray, now: Outlook, goal: Goal
    ) -> tuple[FloatArray, FloatArray]:
        """Hessian and gradient of half the users' cost."""
        function, N, n_v = self.terms.cost, len(plan), gamma.shape[2]
        assert function is not None
        if not function.is_scalar:
            J = self._rows(function, states, plan, gamma, goal)
            values = self._values(function, states[None], plan[None], goal).ravel()
            return J.T @ J, J.T @ values
        points = self._points(states[None], plan[None], goal)
        n_y, n_u = self._rollout.n_y, plan.shape[1]
        by, bent = function.gradients(*points).sum(axis=1), function.hessians(*points)
        curved = self._multipliers is not None and self._multipliers.any()
        if (
            not curved and not by[:, :n_y].any() and not bent[:, :n_y].any()
        ):  # of inputs alone: no roll-out is in it
            T = self._blocking.reshape(N, n_u, -1)
            on_u = np.matmul(bent[:, n_y:, n_y:], T).reshape(N * n_u, -1)
            return 0.5 * self._blocking.T @ on_u, 0.5 * self._blocking.T @ by[:, n_y:].ravel()
        g = 0.5 * self._reduced_gradients(plan[None], now, goal)[0]
        steps = _STEP * self._u_units
        moved = (steps[:, None] * self._blocking.T).reshape(n_v, N, -1)
        plans = np.concatenate([plan + moved, plan - moved])
        with np.errstate(all="ignore"):
            sides = self._reduced_gradients(plans, now, goal, self._multipliers)
        H = 0.5 * (sides[:n_v] - sides[n_v:]) / (2.0 * steps[:, None])
        return 0.5 * (H + H.T), g

    def _rows(
        self, function: StageFunction, states: FloatArray, plan: FloatArray, gamma: FloatArray, goal: Goal
    ) -> FloatArray:
        """Derivatives of a function's values along the roll-out by blocked inputs, `(N m, n_v)`."""
        n_y, N, n_u = self._rollout.n_y, *plan.shape
        by = function.gradients(*self._points(states[None], plan[None], goal))
        on_inputs = self._blocking.reshape(N, n_u, -1)
        return (by[:, :, :n_y] @ gamma[:, :n_y] + by[:, :, n_y:] @ on_inputs).reshape(-1, gamma.shape[2])

    def _iterate(
        self,
        states: FloatArray,
        passed: Passed | None,
        plan: FloatArray,
        now: Outlook,
        goal: Goal,
        deadline: float,
    ) -> tuple[StepSolution, tuple[FloatArray, FloatArray | float] | None, FloatArray | None]:
        """One QP around a roll-out; see `RealTimeIteration`."""
        problem, T, P = self._problem, self._blocking, goal.P
        N, n_u, n_y = problem.horizon, problem.n_u, self._rollout.n_y
        a, b = self._rollout.jacobians(states[:-1], self._full(now, plan), passed)
        gamma = sensitivities(a, b if not self._channels.n_v else b[:, :, self._channels.moved]) @ T
        n_stage = N if P is None else N - 1
        seen = gamma[:n_stage, :n_y]
        weighted = np.matmul(goal.Q[:n_stage], seen).reshape(-1, T.shape[1])
        H = self.input_hessian + weighted.T @ seen.reshape(-1, T.shape[1])
        g = weighted.T @ (states[1 : n_stage + 1, :n_y] - goal.tracked[1 : n_stage + 1]).ravel()
        g = g + T.T @ weigh(plan - goal.steady, problem.R).ravel()
        if P is not None:
            H, g = H + gamma[-1].T @ P @ gamma[-1], g + gamma[-1].T @ P @ (states[-1] - goal.x_end)
        if self._has_rate_cost:
            moves = weigh(np.diff(plan, axis=0, prepend=now.u_last[None]), problem.S)
            g = g + T.T @ (moves - np.vstack([moves[1:], np.zeros((1, n_u))])).ravel()
        if self.terms.cost is not None:
            added = self._cost_terms(states, plan, gamma, now, goal)
            H, g = H + added[0], g + added[1]
            if not (np.isfinite(H).all() and np.isfinite(g).all()):
                return StepSolution(None, "stage_cost is not finite along the plan", np.inf, 0), None, None
            H = convexified(H, self._u_units)
        scale = 1.0 / np.sqrt(np.diag(H))
        values = plan[problem.blocks].ravel()
        moves = self.move_rows @ values
        if len(moves):
            moves[:n_u] -= now.u_last
        parts = [
            (self.move_rows, moves),
            ((self.E @ gamma).reshape(-1, T.shape[1]), (states[1:] @ self.E.T + goal.shift).ravel()),
        ]
        parts.append((problem.E_end @ gamma[-1], problem.E_end @ (states[-1] - goal.x_end)))
        n_linear = len(values) + len(moves)
        low, high = self._bounds
        if self.terms.constraints is not None:
            rows = self._rows(self.terms.constraints, states, plan, gamma, goal)
            at = self._values(self.terms.constraints, states[None], plan[None], goal).ravel()
            parts.append((rows, at))
            low, high = np.append(low, np.full(len(at), -np.inf)), np.append(high, np.zeros(len(at)))
        rows, row_scale = scale_rows(
            np.vstack([r for r, _ in parts]) * scale, self._idle_units, self._repeated
        )
        used, units = (
            np.concatenate([values, *(v for _, v in parts)]),
            np.concatenate([1.0 / scale, row_scale]),
        )
        if not (np.isfinite(rows).all() and np.isfinite(used).all()):
            return (
                StepSolution(None, "nonlinear_constraints are not finite along the plan", np.inf, 0),
                None,
                None,
            )
        try:
            self._solver.load(
                H * scale * scale[:, None], rows, row_scale, self._row_costs, (0, np.inf, False)
            )
        except np.linalg.LinAlgError:
            return StepSolution(None, "the condensed Hessian is not positive definite", np.inf, 0), None, None
        answer = self._solver.solve(g * scale, (low - used) * units, (high - used) * units, deadline)
        self._posed = _Posed(g * scale, scale, rows, low, high, used, units, n_linear)
        if answer.x is None:
            return answer, None, None
        if self.terms.constraints is not None and self.terms.cost is not None and self.terms.cost.is_scalar:
            self._multipliers = self._multipliers_of(H * scale * scale[:, None], answer.x)
        return answer, ((T @ (answer.x * scale)).reshape(N, n_u), 0.0), None

    def _multipliers_of(self, H: FloatArray, x: FloatArray) -> FloatArray:
        """Of the constraints `(N, m)`, in what the whole cost is in, from the QP's stationarity.

        Relaxed ones have what relaxing them costs at most.
        """
        posed, m, n_v = self._posed, self.terms.n_constraints, len(x)
        values = np.concatenate([x, posed.rows @ x])
        low, high = ((side - posed.used) * posed.units for side in (posed.low, posed.high))
        near = _ACTIVE * max(float(np.abs(x).max()), np.finfo(float).tiny)
        at_high, at_low = values >= high - near, values <= low + near
        active = at_high | at_low
        found = np.zeros(len(values))
        if active.any():
            normals = np.vstack([np.eye(n_v), posed.rows])[active]
            pull = -(H @ x + posed.gradient)
            solved = np.linalg.lstsq(normals.T, pull, rcond=1e-10)[0]
            found[active] = np.where(at_high[active], np.maximum(solved, 0.0), np.minimum(solved, 0.0))
        n_g = self._problem.horizon * m
        of_constraints = found[len(found) - n_g :] * posed.units[len(found) - n_g :]
        return 2.0 * of_constraints.reshape(-1, m)


def convexified(H: FloatArray, units: FloatArray) -> FloatArray:
    """`H` with its eigenvalues, in these units of the variables, replaced by their sizes."""
    values, vectors = np.linalg.eigh(H * units * units[:, None])
    sizes = np.abs(values)
    sizes = np.maximum(sizes, _LEAST * float(sizes.max(initial=0.0)))
    return (vectors * sizes) @ vectors.T / units / units[:, None]
