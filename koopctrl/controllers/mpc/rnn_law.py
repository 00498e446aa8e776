"""The law of `RNNMPC`: real-time iteration from the shifted last plan, else from cold ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.measurement import ABSURD
from koopctrl.controllers.estimation.protocol import NetworkEstimator
from koopctrl.controllers.mpc.law import NoPlan, Plan, PredictiveLaw, Situation
from koopctrl.controllers.mpc.linear_law import untracked_problem
from koopctrl.controllers.mpc.rnn_course import Course
from koopctrl.controllers.mpc.rnn_end import weight_holds, without_weight
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.controllers.mpc.rnn_sqp import RealTimeIteration
from koopctrl.controllers.steady_state.aim import NetworkAim
from koopctrl.controllers.steady_state.network import REACHED, TargetSolver
from koopctrl.controllers.steady_state.question import TargetState
from koopctrl.identification.record_leverage import RecordLeverage
from koopctrl.network.folded import Rollout

COLD_ITERATIONS = 20
# QPs a sample where no number is asked for, and the share by which one must lower the cost to be followed by
# another.
MOST_ITERATIONS, WORTH = 20, 0.001
# Every so many samples a plan that ends far from its target is compared with new ones, iterated so often.
RECHECK, RECHECK_ITERATIONS, FAR = 5, 5, 0.1
# Horizons for which a plan that does not arrive is thought to stay where it ends, beside one that does.
PATIENCE = 10.0


@dataclass(frozen=True)
class RNNSearch:
    """What searches remember.

    Attributes
    ----------
    targets : TargetState
    since : int
        Samples since plans that end far away were compared with new ones.
    weighted : bool
        Whether the LQR's cost to go was the weight at the end of the last plan.
    course : Course
        What the last plan foresaw.
    """

    targets: TargetState
    since: int
    weighted: bool
    course: Course


@dataclass(frozen=True)
class RolledOut:
    """Outputs `(N + 1, n_y)` along a plan's roll-out; states `(N + 1, n_x)` and all inputs of the network."""

    y: FloatArray
    x: FloatArray | None = None
    u: FloatArray | None = None
    records: RecordLeverage | None = None

    def outputs(self, inputs: FloatArray) -> FloatArray:
        """See `Prediction`: of the plan itself."""
        return self.y.copy()

    def leverage(self, inputs: FloatArray) -> float:
        """See `Prediction`: of the plan itself."""
        if self.records is None or self.x is None or self.u is None:
            return float("nan")
        return float(self.records(self.x[:-1], self.u).max())


@dataclass(frozen=True, kw_only=True, eq=False)
class RNNLaw(PredictiveLaw):
    """Numbers of an `RNNMPC`.

    Attributes
    ----------
    rollout : Rollout
        The network.
    targets : TargetSolver
    iteration : RealTimeIteration
        Its QP solver is a workspace, and decides nothing.
    n_iterations : int
        QPs a sample at most,
    settled : float
        as long as one lowers the cost by more than this share.
    records : RecordLeverage or None
        Of the network's training pairs.
    """

    estimator: NetworkEstimator
    rollout: Rollout
    targets: TargetSolver
    iteration: RealTimeIteration
    n_iterations: int
    settled: float
    records: RecordLeverage | None = None

    @property
    def seen(self) -> tuple[FloatArray, FloatArray]:
        """See `PredictiveLaw`."""
        return self.targets.y_range

    def initial_search(self) -> RNNSearch:
        """See `PredictiveLaw`."""
        course = Course(np.zeros((self.problem.horizon + 1, self.rollout.n_x)), 0.0, False)
        return RNNSearch(self.targets.initial(), 0, True, course)

    def plan(self, now: Situation, search: RNNSearch) -> tuple[Plan | NoPlan, RNNSearch]:
        """See `PredictiveLaw`."""
        x, d, offset = self.estimator.split(now.estimate)
        beside = self.estimator.output_offset(now.estimate)
        delay, n_y = self.problem.delay, self.rollout.n_y
        for u, v in zip(now.history.pending, now.v, strict=False):
            full = self.channels.join(u, v)
            x = self.rollout.step(x, full if offset is None else full + offset, d)
        ahead = Outlook(x, d, now.v[delay:], offset, now.last)
        goal, aim, targets = self._goal(now, ahead, beside, search.targets)
        best, goal, search = self._search(now, ahead, goal, replace(search, targets=targets))
        if best.answer is None:
            # What an absurd disturbance has led the searches to is forgotten with it.
            spoilt = (np.abs(d) > ABSURD * self.targets.x_scale[:n_y]).any()
            return NoPlan(best.reason, spoilt=True), self.initial_search() if spoilt else search
        states = best.states
        slack, obeyed = self.iteration.excess(states, goal, best.plan)
        status = best.answer.status if obeyed or best.answer.status == "softened" else "inexact"
        y = states[:, :n_y] if beside is None else states[:, :n_y] + beside
        full = self.channels.join(best.plan, ahead.v)
        full = full if offset is None else full + offset
        return Plan(
            best.plan, status, best.n_solves, best.answer.kkt_residual, best.merit, slack,
            RolledOut(y, states, full, self.records), aim,
        ), search  # fmt: skip

    def _search(
        self, now: Situation, ahead: Outlook, goal: Goal, search: RNNSearch
    ) -> tuple[Found, Goal, RNNSearch]:
        """The best plan, the goal it is for, and what is remembered.

        With `terminal="auto"` a plan has the LQR's cost to go at its end while this holds there, and is made
        without where it does not.
        """
        bare = without_weight(goal)
        chosen, course = goal if search.weighted else bare, search.course
        warm, since = self._warm(now, ahead, chosen, search.since, course)
        if warm is None or (warm.answer is None and time.perf_counter() <= now.deadline):
            best, chosen = self._cold(now, ahead, goal)
            tried = best.n_solves + (0 if warm is None else warm.n_solves)
            best, weighted = replace(best, n_solves=tried), chosen is goal
        else:
            best, weighted = warm, self._holds(warm, goal, ahead)
            if search.weighted and not weighted:
                other = self._unweighted(now, ahead, bare, warm, since, course)
                if other.answer is not None:
                    best, chosen = replace(other, n_solves=warm.n_solves + other.n_solves), bare
        foreseen = Course(best.states, best.merit, best.answer is not None)
        return best, chosen, replace(search, since=since, weighted=weighted, course=foreseen)

    def _unweighted(
        self, now: Situation, ahead: Outlook, bare: Goal, weighted: Found, since: int, course: Course
    ) -> Found:
        """The best plan without the weight at its end: from the shifted last plan, or from the weighted one.

        A weight that does not hold may still have led to where the shifted plan does not, a new set-point of
        an unstable plant, say; or astray.
        """
        shifted, _ = self._warm(now, ahead, bare, since - 1, course)
        assert shifted is not None  # there was a last plan to find the weighted one from
        led = self.iteration.optimise(
            ahead, weighted.plan, bare, self.n_iterations, now.deadline, self.settled
        )
        best = led if led.merit < 0.999 * shifted.merit else shifted
        return replace(best, n_solves=shifted.n_solves + led.n_solves)

    def _warm(
        self, now: Situation, ahead: Outlook, goal: Goal, since: int, course: Course
    ) -> tuple[Found | None, int]:
        """The best plan found from the shifted last one; where that leads nowhere, from cold ones too."""
        iteration, plan, deadline = self.iteration, now.history.shifted_plan(), now.deadline
        if plan is None:
            return None, since
        warm = iteration.blocked(np.clip(plan, self.problem.u_min, self.problem.u_max))
        last = course if now.history.age == 1 else None
        best = iteration.optimise(ahead, warm, goal, self.n_iterations, deadline, self.settled, last)
        since = (since + 1) % RECHECK
        if since == 0 and self._ends_far(best, goal):
            other = self._from_cold(now, ahead, goal, RECHECK_ITERATIONS)
            n_solves = best.n_solves + other.n_solves
            best = replace(other if other.merit < 0.999 * best.merit else best, n_solves=n_solves)
        return best, since

    def _cold(self, now: Situation, ahead: Outlook, goal: Goal) -> tuple[Found, Goal]:
        """The best plan without one to start from, and the goal it is for.

        Without the weight at its end a plan finds its way from afar; where it arrives, the weight is put on.
        Else the weight may be what makes it arrive, unless that costs more than not to arrive.
        """
        n = max(self.n_iterations, COLD_ITERATIONS)
        if self.problem.terminal != "auto" or goal.P is None:
            return self._from_cold(now, ahead, goal, n), goal
        bare = without_weight(goal)
        first = self._from_cold(now, ahead, bare, n)
        if self._holds(first, goal, ahead):
            second = self.iteration.optimise(ahead, first.plan, goal, n, now.deadline)
        else:
            second = self._from_cold(now, ahead, goal, n)
        n_solves = first.n_solves + second.n_solves
        # What the first plan costs if it stays as far from its target as it ends, for ten horizons more.
        waiting = first.merit + PATIENCE * self.problem.horizon * self._end_cost(first, goal)
        worth = second.answer is not None and second.merit <= waiting
        if first.answer is None or (worth and self._holds(second, goal, ahead)):
            return replace(second, n_solves=n_solves), goal
        return replace(first, n_solves=n_solves), bare

    def _from_cold(self, now: Situation, ahead: Outlook, goal: Goal, n: int) -> Found:
        iteration = self.iteration
        plans = iteration.cold_plans(ahead, goal)
        found = [iteration.optimise(ahead, plan, goal, n, now.deadline) for plan in plans]
        best = min(found, key=lambda f: f.merit)
        return replace(best, n_solves=sum(f.n_solves for f in found))

    def _holds(self, found: Found, goal: Goal, ahead: Outlook) -> bool:
        """Whether the weight of `goal` may stand at the end of a plan; always unless it is chosen."""
        if self.problem.terminal != "auto":
            return True
        holds = weight_holds(found, goal, ahead, self.rollout, self.channels, self.problem, self.targets.size)
        return found.answer is not None and holds

    def _end_cost(self, found: Found, goal: Goal) -> float:
        """What a plan's last output costs."""
        error = found.states[-1, : self.rollout.n_y] - goal.tracked[-1]
        return float(error @ goal.Q[-1] @ error)

    def _ends_far(self, found: Found, goal: Goal) -> bool:
        """Whether a plan's last output is far from its target, in the data's scale and beside other steps."""
        missed = self._end_cost(found, goal)
        beside = missed * self.problem.horizon > FAR * found.merit
        return found.answer is not None and beside and missed > FAR**2 * self.targets.size

    def _goal(
        self, now: Situation, ahead: Outlook, beside: FloatArray | None, state: TargetState
    ) -> tuple[Goal, NetworkAim, TargetState]:
        N, n_y, asked = self.problem.horizon, self.rollout.n_y, now.asked
        r = asked.r if beside is None else asked.r - beside
        u_r, targets, deadline = asked.u_r, self.targets, now.deadline
        wish = u_r if u_r is not None and u_r.ndim == 1 else None
        tracked = np.broadcast_to(True if asked.tracked is None else asked.tracked, r.shape)
        # Targets are held for good: the last of the previewed disturbances counts.
        end_r, end_tracked = (r[-1], tracked[-1]) if asked.is_preview else (r, tracked)
        question = targets.question(end_r, ahead.d, ahead.v[-1], ahead.offset, wish, np.array(end_tracked))
        end, state = targets.find(state, question, deadline)
        if asked.is_preview:
            wanted = r
            steady, state = targets.rows(state, r[:-1], tracked[:-1], question, end, deadline)
        else:
            wanted = np.repeat((end.y if end.converged else r)[None], N + 1, axis=0)
            steady = np.repeat(end.u[None], N, axis=0)
            state = replace(state, has_rows=False) if state.has_rows else state
        lqr = None if self.problem.terminal == "none" else targets.weight(end, question)
        P, K = (None, None) if lqr is None else (lqr.P, lqr.K)
        Q = self.problem.Q
        if asked.tracked is not None:
            Q = untracked_problem(self.problem, asked.tracked, n_y).Q
        shift = np.zeros(len(self.problem.E))
        if beside is not None:
            shift = self.problem.E[:, :n_y] @ beside
        inputs = u_r if u_r is not None and u_r.ndim == 2 else steady
        goal = Goal(wanted, inputs, end.x, P, K, end.u, Q, shift)
        miss = np.abs(end.y - end_r) / self.targets.x_scale[:n_y]
        reachable = end.converged and bool((miss <= REACHED)[end_tracked].all())
        return goal, NetworkAim(end.y if beside is None else end.y + beside, reachable), state
