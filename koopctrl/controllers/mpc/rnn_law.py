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
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.controllers.mpc.rnn_sqp import RealTimeIteration
from koopctrl.controllers.rollout import Rollout
from koopctrl.controllers.steady_state.aim import NetworkAim
from koopctrl.controllers.steady_state.network import REACHED, TargetSolver
from koopctrl.controllers.steady_state.question import TargetState

COLD_ITERATIONS = 20
# Every so many samples a plan that ends far from its target is compared with new ones, iterated so often.
RECHECK, RECHECK_ITERATIONS, FAR = 5, 5, 0.1


@dataclass(frozen=True)
class RNNSearch:
    """What searches remember.

    Attributes
    ----------
    targets : TargetState
    since : int
        Samples since plans that end far away were compared with new ones.
    """

    targets: TargetState
    since: int


@dataclass(frozen=True)
class RolledOut:
    """Outputs `(N + 1, n_y)` along a plan's roll-out."""

    y: FloatArray

    def outputs(self, inputs: FloatArray) -> FloatArray:
        """See `Prediction`: of the plan itself."""
        return self.y.copy()


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
    """

    estimator: NetworkEstimator
    rollout: Rollout
    targets: TargetSolver
    iteration: RealTimeIteration
    n_iterations: int

    def initial_search(self) -> RNNSearch:
        """See `PredictiveLaw`."""
        return RNNSearch(self.targets.initial(), 0)

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
        found, since = self._candidates(now, ahead, goal, search.since)
        search = RNNSearch(targets, since)
        best = min(found, key=lambda f: f.merit)
        if best.answer is None:
            # What an absurd disturbance has led the searches to is forgotten with it.
            spoilt = (np.abs(d) > ABSURD * self.targets.x_scale[:n_y]).any()
            return NoPlan(best.reason, spoilt=True), self.initial_search() if spoilt else search
        states = best.states
        slack, obeyed = self.iteration.excess(states, goal)
        status = best.answer.status if obeyed or best.answer.status == "softened" else "inexact"
        y = states[:, :n_y] if beside is None else states[:, :n_y] + beside
        return Plan(
            best.plan, status, sum(f.n_solves for f in found), best.answer.kkt_residual, best.merit, slack,
            RolledOut(y), aim,
        ), search  # fmt: skip

    def _candidates(self, now: Situation, ahead: Outlook, goal: Goal, since: int) -> tuple[list[Found], int]:
        """Plans found from the shifted last one; without it, or where it leads nowhere, from cold ones."""
        iteration, plan, deadline = self.iteration, now.history.shifted_plan(), now.deadline
        found: list[Found] = []
        if plan is not None:
            warm = iteration.blocked(np.clip(plan, self.problem.u_min, self.problem.u_max))
            found = [iteration.optimise(ahead, warm, goal, self.n_iterations, deadline)]
            since = (since + 1) % RECHECK
            if since == 0 and self._ends_far(found[0], goal):
                cold = iteration.cold_plans(ahead, goal)
                tried = [iteration.optimise(ahead, p, goal, RECHECK_ITERATIONS, deadline) for p in cold]
                found += [f for f in tried if f.merit < 0.999 * found[0].merit]
        if not found or (found[0].answer is None and time.perf_counter() <= deadline):
            n = max(self.n_iterations, COLD_ITERATIONS)
            found += [
                iteration.optimise(ahead, p, goal, n, deadline) for p in iteration.cold_plans(ahead, goal)
            ]
        return found, since

    def _ends_far(self, found: Found, goal: Goal) -> bool:
        """Whether a plan's last output is far from its target, in the data's scale and beside other steps."""
        error = found.states[-1, : self.rollout.n_y] - goal.tracked[-1]
        missed = float(error @ goal.Q[-1] @ error)
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
        riccati = self.problem.terminal == "riccati"
        P = targets.weight(end, question) if riccati else None
        Q = self.problem.Q
        if asked.tracked is not None:
            Q = untracked_problem(self.problem, asked.tracked, n_y).Q
        shift = np.zeros(len(self.problem.E))
        if beside is not None:
            shift = self.problem.E[:, :n_y] @ beside
        goal = Goal(wanted, u_r if u_r is not None and u_r.ndim == 2 else steady, end.x, P, Q, shift)
        miss = np.abs(end.y - end_r) / self.targets.x_scale[:n_y]
        reachable = end.converged and bool((miss <= REACHED)[end_tracked].all())
        return goal, NetworkAim(end.y if beside is None else end.y + beside, reachable), state
