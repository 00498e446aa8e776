r"""Real-time iteration on the nonlinear face: linearise, condense, solve, step no further than it helps.

.. math::
    \min_{\delta} \sum_k |y_k + \Gamma_k \delta - r_k|_Q^2 + |u_k + \delta_k - u_s|_R^2 + \dots

around the roll-out `y_k` of the plan `u_k`, with `Gamma_k = dx_k / du` from the network's exact Jacobians.

Diehl et al., *Real-time optimization and nonlinear model predictive control of processes governed by DAEs*,
Journal of Process Control 12, 2002.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.mpc.lowering import input_hessian, input_rows, move_cost, plain_bounds
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.rnn_course import Course
from koopctrl.controllers.mpc.rnn_feedback import closed_responses, follow, gains_along, loses_digits
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.controllers.mpc.rnn_starts import full_swings
from koopctrl.controllers.mpc.rnn_sums import penalty, sensitivities, weigh, weighted_sum
from koopctrl.controllers.qp.dense import scale_rows
from koopctrl.controllers.qp.soft import StepSolution, StepSolver
from koopctrl.network.folded import Passed, Rollout

# Iteration ends where the cost changes by less, relatively.
SETTLED = 1e-10
# Excess over a bound, relative to it or to the data, up to which it counts as obeyed.
OBEYED = 1e-6
# Excess over a bound on moves, relative to the input and its spread in the data, that is rounding.
_NO_MOVE = 1e-9
# A plan, its roll-out and its cost.
Rolled = tuple[FloatArray, FloatArray, float]
# Step lengths tried, the full one first and alone, for it is nearly always taken.
_STEPS = (np.array([1.0]), np.array([0.5, 0.2, 0.05]))


class RealTimeIteration:
    """The optimiser of one problem on one network.

    Parameters
    ----------
    rollout : Rollout
    problem : MPCProblem
    channels : InputChannels
    solver : str
    solver_options : mapping, optional

    Attributes
    ----------
    E : (n_e, n_x) array
        Bounded combinations of the window's entries.
    move_rows, input_hessian : arrays
        See `koopctrl.controllers.mpc.lowering`.
    sizes : two arrays
        What an excess over the bounds of `E` and of the terminal set is small beside.
    move_tolerance : (n_u,) array
        Excess over a bound on moves that counts as none.
    """

    def __init__(
        self,
        rollout: Rollout,
        problem: MPCProblem,
        channels: InputChannels,
        solver: str,
        solver_options: Mapping[str, Any] | None,
    ) -> None:
        self._rollout, self._problem, self._channels = rollout, problem, channels
        n_y = rollout.n_y
        # Combinations of [y; x] become combinations of the window, whose first entries are y.
        self.E = problem.E[:, n_y:].copy()
        self.E[:, :n_y] += problem.E[:, :n_y]
        self.input_hessian, _ = input_hessian(problem)
        self.move_rows = input_rows(problem)
        self._bounds = plain_bounds(problem, np.zeros(problem.n_u))
        self._has_rate_cost, self._bounds_rate = bool(problem.S.any()), problem.bounds_rate
        self._blocking = problem.blocking()
        moves = np.abs([problem.du_min, problem.du_max])
        self.move_tolerance = OBEYED * np.max(np.where(np.isfinite(moves), moves, 0.0), axis=0)
        scaling = rollout.network.scaling
        size = rollout.network.window.repeat_channels(scaling.y_scale, scaling.u_scale)
        self.sizes = [np.abs(rows) @ size for rows in (self.E, problem.E_end)]
        self._u_size = channels.split(scaling.u_scale)[0]
        self.is_feedback = loses_digits(rollout, channels.moved, problem, self._blocking, self.input_hessian)
        n_inputs = len(self.input_hessian) if self.is_feedback else 0
        n_first = n_inputs + len(self.move_rows)
        bounded = [np.isfinite(side[len(self.input_hessian) - n_inputs :]) for side in self._bounds]
        self._no_rows, self._row_costs = np.empty((0, len(self.input_hessian))), problem.row_soft_weights
        self._idle_units = np.concatenate([np.ones(n_first), problem.idle_units])
        self._repeated = problem.repeated(n_first)
        self._solver = StepSolver(
            len(self.input_hessian),
            n_first + problem.n_bounded,
            problem.n_bounded if problem.soft else 0,
            solver,
            solver_options,
            problem.max_solve_time,
            *bounded,
        )

    def reset(self) -> None:
        """Forget the warm start."""
        self._solver.reset()

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
        """Iterate from one plan, led back if it has left its `course`, until the cost changes by `settled`.

        Without any certified QP the merit is infinite.
        """
        problem = self._problem
        states, passed = self._rollout.trace(now.x, self._full(now, plan), now.d)
        merit = float(self.merit(states[None], plan[None], now, goal)[0])
        if self.is_feedback:
            plan, states, merit = self._steered(now, goal, (plan, states, merit))
            passed = None
        elif course is not None and course.left(states, merit, self._rollout.network.x_scale):
            plan, states, merit = self._led(now, goal, (plan, states, merit), course.shifted())
            passed = None
        answer, reason, n_solves = None, "", 0
        for _ in range(n_iterations):
            if not np.isfinite(states).all():
                reason = "the roll-out of the plan is not finite"
                break
            newest, direction, gains = self._iterate(states, passed, plan, now, goal, deadline)
            n_solves += newest.n_solves
            if direction is None:
                reason = newest.status
                break
            answer = newest
            # The longest step that lowers the merit; where none does, the plan is kept.
            for steps in _STEPS:
                plans = plan + steps[:, None, None] * direction[0]
                seen = None
                if gains is None:
                    plans = np.minimum(np.maximum(plans, problem.u_min), problem.u_max)
                    rolled, seen = self._roll_out(now, plans)
                else:
                    plans, rolled = self._follow(
                        now, plans, states + steps[:, None, None] * direction[1], gains
                    )
                merits = self.merit(rolled, plans, now, goal)
                better = np.flatnonzero(merits <= merit * (1.0 + 1e-12))
                if not len(better) and len(steps) == 1 and gains is None:
                    mended = self._mended(plan, rolled[0], answer, now, goal, deadline)
                    if mended is not None and mended[2] <= merit:
                        plans, rolled, seen = mended[0][None], mended[1][None], None
                        merits, better, n_solves = np.array([mended[2]]), np.array([0]), n_solves + 1
                if len(better):
                    break
            else:
                break
            best, before = int(better[0]), merit
            plan, states, passed, merit = plans[best], rolled[best], seen, float(merits[best])
            gained = before - merit
            if gained <= SETTLED * abs(before) or time.perf_counter() > deadline:
                break
            if gained <= settled * abs(before) and self._is_done(plan, states, goal):
                break
        return Found(plan, states, merit if answer is not None else np.inf, answer, n_solves, reason)

    def _mended(
        self, plan: FloatArray, states: FloatArray, answer: StepSolution, now: Outlook, goal: Goal,
        deadline: float,
    ) -> Rolled | None:  # fmt: skip
        """Another plan where the full step, whose roll-out is given, is none; None for none."""
        del plan, states, answer, now, goal, deadline

    def _is_done(self, plan: FloatArray, states: FloatArray, goal: Goal) -> bool:
        """Whether a plan that has all but settled is good enough."""
        del plan, states, goal
        return True

    def _step(self, now: Outlook, k: int, x: FloatArray, u: FloatArray) -> FloatArray:
        """States `(batch, n_x)` after step `k`."""
        v = now.v[k : k + 1]
        full = u[:, None] if not self._channels.n_v else self._channels.join(
            u[:, None], np.broadcast_to(v, (len(u), *v.shape))
        )  # fmt: skip
        return self._rollout.run(x, full if now.offset is None else full + now.offset, now.d)[:, 1]

    def _follow(
        self, now: Outlook, plans: FloatArray, states: FloatArray, gains: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Plans followed with feedback, and what comes of them."""
        with np.errstate(all="ignore"):
            return follow(
                lambda k, x, u: self._step(now, k, x, u), now.x, now.u_last, plans, states, gains,
                self._problem,
            )  # fmt: skip

    def _steered(self, now: Outlook, goal: Goal, start: Rolled) -> Rolled:
        """The better of a start and of feedback towards the target, which no horizon makes diverge."""
        N, steady = self._problem.horizon, goal.steady[-1:]
        full = self._full(replace(now, v=now.v[-1:]), steady)
        a, b = self._rollout.jacobians(goal.x_end[None], full)
        b = b[:, :, self._channels.moved]
        gains = gains_along(np.repeat(a, N, axis=0), np.repeat(b, N, axis=0), goal.Q, goal.P, self._problem)
        return self._followed(now, goal, start, goal.steady, np.tile(goal.x_end, (N + 1, 1)), gains)

    def _led(self, now: Outlook, goal: Goal, start: Rolled, along: FloatArray) -> Rolled:
        """The better of a start and of feedback along the states `(N + 1, n_x)` foreseen for it."""
        a, b = self._rollout.jacobians(along[:-1], self._full(now, start[0]))
        gains = gains_along(a, b[:, :, self._channels.moved], goal.Q, goal.P, self._problem)
        return self._followed(now, goal, start, start[0], along, gains)

    def _followed(
        self, now: Outlook, goal: Goal, start: Rolled, plan: FloatArray, along: FloatArray, gains: FloatArray
    ) -> Rolled:
        """The better of a start and of a plan followed along states."""
        plans, rolled = self._follow(now, plan[None], along[None], gains)
        merit = float(self.merit(rolled, plans, now, goal)[0])
        return (plans[0], rolled[0], merit) if merit < start[2] else start

    def cold_plans(self, now: Outlook, goal: Goal) -> list[FloatArray]:
        """Plans to start from without a last one: the steady inputs, and the best full swing with one switch.

        Swing-ups have many local optima; which one is found depends on the start.
        """
        problem = self._problem
        plans = [self.blocked(np.clip(goal.steady, problem.u_min, problem.u_max))]
        if np.isfinite([problem.u_min, problem.u_max]).all() and not problem.bounds_rate:
            batch = np.array([self.blocked(p) for p in full_swings(problem)])
            merits = self.merit(self.roll(now, batch), batch, now, goal)
            plans.append(batch[int(np.argmin(merits))])
        return plans

    def blocked(self, plan: FloatArray) -> FloatArray:
        """The plan held over each block at the block's first input."""
        blocks = self._problem.blocks
        if len(blocks) == self._problem.horizon:
            return plan
        return (self._blocking @ plan[blocks].ravel()).reshape(plan.shape)

    def roll(self, now: Outlook, plans: FloatArray) -> FloatArray:
        """States `(batch, N + 1, n_x)` under plans `(batch, N, n_u)`."""
        return self._rollout.run(now.x, self._full(now, plans), now.d)

    def _roll_out(self, now: Outlook, plans: FloatArray) -> tuple[FloatArray, Passed | None]:
        """The same, and what it went through where there is one plan alone."""
        if len(plans) > 1:
            return self.roll(now, plans), None
        states, passed = self._rollout.trace(now.x, self._full(now, plans[0]), now.d)
        return states[None], passed

    def excess(self, states: FloatArray, goal: Goal, plan: FloatArray) -> tuple[float, bool]:
        """Largest excess over bounds on outputs and states along one roll-out; whether it is rounding."""
        problem = self._problem
        worst, obeyed = 0.0, True
        for rows, size, values, low, high in (
            (self.E, self.sizes[0], states[1:], problem.e_low - goal.shift, problem.e_high - goal.shift),
            (problem.E_end, self.sizes[1], states[-1:] - goal.x_end, problem.end_min, problem.end_max),
        ):
            if len(rows):
                e = values @ rows.T
                for over, bound in ((e - high, high), (low - e, low)):
                    finite = np.where(np.isfinite(bound), np.abs(bound), 0.0)
                    worst = max(worst, float(over.max()))
                    obeyed = obeyed and bool((over <= OBEYED * np.maximum(size, finite)).all())
        return worst, obeyed

    def merit(self, states: FloatArray, plans: FloatArray, now: Outlook, goal: Goal) -> FloatArray:
        """Cost of plans `(batch, N, n_u)` along their roll-outs, relaxations included."""
        n_y, problem, P = self._rollout.n_y, self._problem, goal.P
        n_stage = problem.horizon if P is None else problem.horizon - 1
        with np.errstate(all="ignore"):
            error = states[:, 1 : n_stage + 1, :n_y] - goal.tracked[1 : n_stage + 1]
            cost = weighted_sum(error, goal.Q[:n_stage]) + weighted_sum(plans - goal.steady, problem.R)
            if P is not None:
                last = states[:, -1] - goal.x_end
                cost += np.sum((last @ P) * last, axis=1)
            if self._has_rate_cost or self._bounds_rate:
                moves = plans.copy()
                moves[:, 0] -= now.u_last
                moves[:, 1:] -= plans[:, :-1]
            else:
                moves = plans[:, :0]
            if self._has_rate_cost:
                cost += weighted_sum(moves, problem.S)
            if len(self.E):
                weights = problem.soft_weights[:, : len(self.E)]
                combined = states[:, 1:] @ self.E.T + goal.shift
                cost += penalty(combined, problem.e_low, problem.e_high, weights)
            if len(problem.E_end):
                end = (states[:, -1:] - goal.x_end) @ problem.E_end.T
                weights = problem.soft_weights[:, len(self.E) :]
                cost += penalty(end, problem.end_min, problem.end_max, weights)
            if self._bounds_rate:
                # The shifted plan may break move bounds when the plant applied another input than was sent.
                excess = np.maximum(moves - problem.du_max, 0.0) + np.maximum(problem.du_min - moves, 0.0)
                broken = excess > self.move_tolerance + _NO_MOVE * (self._u_size + np.abs(now.u_last))
                cost *= np.where(broken.any(axis=(1, 2)), 1e12, 1.0)
        return np.where(np.isfinite(cost), cost, np.inf)

    def _full(self, now: Outlook, plans: FloatArray) -> FloatArray:
        """All inputs of the model under plans of those that are moved."""
        if self._channels.n_v:
            plans = self._channels.join(plans, np.broadcast_to(now.v, (*plans.shape[:-1], now.v.shape[1])))
        return plans if now.offset is None else plans + now.offset

    def _iterate(
        self,
        states: FloatArray,
        passed: Passed | None,
        plan: FloatArray,
        now: Outlook,
        goal: Goal,
        deadline: float,
    ) -> tuple[StepSolution, tuple[FloatArray, FloatArray | float] | None, FloatArray | None]:
        """One QP around a roll-out: its answer, the direction of plan and states if it has one, gains.

        Without feedback there are no gains, and states follow the plan.
        """
        problem, T = self._problem, self._blocking
        N, n_u, n_y = problem.horizon, problem.n_u, self._rollout.n_y
        a, b = self._rollout.jacobians(states[:-1], self._full(now, plan), passed)
        b = b if not self._channels.n_v else b[:, :, self._channels.moved]
        P, closed = goal.P, None
        if self.is_feedback:
            closed = closed_responses(a, b, goal.Q, P, problem)
            gamma, inputs = closed.states, closed.inputs.reshape(N * n_u, -1)
            input_hessian = inputs.T @ move_cost(problem) @ inputs
        else:
            gamma, inputs = sensitivities(a, b), T
            if len(problem.blocks) < N:
                gamma = gamma @ T
            input_hessian = self.input_hessian
        n_stage = N if P is None else N - 1
        seen = gamma[:n_stage, :n_y]
        weighted = np.matmul(goal.Q[:n_stage], seen).reshape(-1, T.shape[1])
        error = (states[1 : n_stage + 1, :n_y] - goal.tracked[1 : n_stage + 1]).ravel()
        H = input_hessian + weighted.T @ seen.reshape(-1, T.shape[1])
        g = weighted.T @ error + inputs.T @ weigh(plan - goal.steady, problem.R).ravel()
        end = gamma[-1]
        if P is not None:
            pulled = end.T @ P
            H = H + pulled @ end
            g = g + pulled @ (states[-1] - goal.x_end)
        values = plan[problem.blocks].ravel()
        if self._has_rate_cost:
            moves = weigh(np.diff(plan, axis=0, prepend=now.u_last[None]), problem.S)
            g = g + inputs.T @ (moves - np.vstack([moves[1:], np.zeros((1, n_u))])).ravel()
        scale = 1.0 / np.sqrt(np.diag(H))
        # Bounds of the change: what the plan uses already is taken off.
        rows, row_scale, units, used = self._no_rows, self._idle_units, 1.0 / scale, values
        if len(self._idle_units):
            e_rows = np.vstack([(self.E @ gamma).reshape(-1, T.shape[1]), problem.E_end @ end])
            if closed is None:
                rows = np.vstack([self.move_rows, e_rows])
            else:
                first = closed.inputs[problem.blocks].reshape(-1, T.shape[1])
                rows = np.vstack([first, self.move_rows @ first, e_rows])
            rows, row_scale = scale_rows(rows * scale, self._idle_units, self._repeated)
            bounded = (states[1:] @ self.E.T + goal.shift).ravel()
            moves = self.move_rows @ values
            if len(moves):
                moves[:n_u] -= now.u_last
            used = np.concatenate([values, moves, bounded, problem.E_end @ (states[-1] - goal.x_end)])
            units = np.concatenate([units, row_scale])
        sides, width = self._bounds, (0, np.inf, False)
        if closed is not None:
            n_v = len(values)
            free, used = np.full(n_v, np.inf), np.concatenate([np.zeros(n_v), used])
            sides = [np.concatenate([way * free, side]) for way, side in zip((-1.0, 1.0), sides, strict=True)]
            ranges = (self._bounds[1] - self._bounds[0])[:n_v] * row_scale[:n_v]
            width = (n_v, float(np.min(ranges[ranges > 0.0], initial=np.inf)), True)
        lower, upper = ((side - used) * units for side in sides)
        try:
            self._solver.load(H * scale * scale[:, None], rows, row_scale, self._row_costs, width)
        except np.linalg.LinAlgError:
            reason = (
                "the condensed Hessian is not positive definite: the roll-out of the plan all but diverges"
            )
            return StepSolution(None, reason, np.inf, 0), None, None
        answer = self._solver.solve(g * scale, lower, upper, deadline)
        if answer.x is None:
            return answer, None, None
        v = answer.x * scale
        moved = (inputs @ v).reshape(N, n_u)
        if closed is None:
            return answer, (moved, 0.0), None
        return answer, (moved, np.vstack([np.zeros((1, gamma.shape[1])), gamma @ v])), closed.gains
