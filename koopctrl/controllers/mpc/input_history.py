"""What predictive controllers remember of inputs, and what they send without a new plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.problem import MPCProblem


@dataclass(frozen=True)
class InputHistory:
    """Inputs sent, and the last plan.

    Attributes
    ----------
    line : (delay + 1, n_u) array
        Oldest first: the input that acted until now, then those on their way.
    sent : bool
        Whether any of them was sent, or reported to act.
    plan : (N, n_u) array
        The last plan,
    age : int
        and how many samples ago it was made; 0 where there is none.
    """

    line: FloatArray
    sent: bool
    plan: FloatArray
    age: int

    @property
    def u_last(self) -> FloatArray:
        """The input sent last; the resting one before the first."""
        return self.line[-1]

    @property
    def arrived(self) -> FloatArray | None:
        """The input that acted since the last sample; None before the first."""
        return self.line[0] if self.sent else None

    @property
    def pending(self) -> FloatArray:
        """Inputs sent that do not act yet, `(delay, n_u)`, the next one first."""
        return self.line[1:]

    def shifted_plan(self) -> FloatArray | None:
        """What is left of the last plan, its last input held; None if it is used up."""
        if not 0 < self.age < len(self.plan):
            return None
        held = np.repeat(self.plan[-1:], self.age, axis=0)
        return np.concatenate([self.plan[self.age :], held])

    def send(self, u: FloatArray, plan: FloatArray, age: int) -> InputHistory:
        """After `u` has left."""
        return InputHistory(np.concatenate([self.line[1:], u[None]]), True, plan, age)

    def replace_last(self, u: FloatArray) -> InputHistory:
        """The last input sent was another one; before the first, the one that was held so far."""
        line = np.concatenate([self.line[:-1], u[None]]) if self.sent else np.tile(u, (len(self.line), 1))
        return InputHistory(line, True, self.plan, self.age)


class InputPolicy:
    """How inputs leave: exactly within their bounds, with a new plan or without one.

    Parameters
    ----------
    problem : MPCProblem
        Its bounds are obeyed by everything that leaves here.
    u_rest : (n_u,) array
        Stands for the input before the first.
    """

    def __init__(self, problem: MPCProblem, u_rest: FloatArray) -> None:
        self.problem, self.u_rest = problem, u_rest
        self.has_rate_cost, self._bounds_rate = bool(problem.S.any()), problem.bounds_rate
        self._last_low = problem.u_min - problem.du_max
        self._last_high = problem.u_max - problem.du_min

    def initial(self) -> InputHistory:
        """Before anything was sent."""
        problem = self.problem
        line = np.tile(self.u_rest, (problem.delay + 1, 1))
        return InputHistory(line, False, np.zeros((problem.horizon, problem.n_u)), 0)

    def effective_last(self, history: InputHistory) -> FloatArray:
        """The last input, moved (if it must be) to where the bounds on inputs and on moves can both hold."""
        last = history.line[-1]
        return np.minimum(np.maximum(last, self._last_low), self._last_high) if self._bounds_rate else last

    def accept(self, history: InputHistory, plan: FloatArray) -> tuple[InputHistory, FloatArray]:
        """Take a new plan `(N, n_u)`, its inputs put exactly inside the bounds, and advance by one sample.

        The certificate is relative to the largest value at stake, which relaxed bounds can make large.
        """
        problem = self.problem
        plan = np.minimum(np.maximum(plan, problem.u_min), problem.u_max)
        if self._bounds_rate:
            plan[0] = self._admissible(history, plan[0])
            moves = np.diff(plan, axis=0)
            if (moves > problem.du_max).any() or (moves < problem.du_min).any():
                for k in range(1, len(plan)):
                    last = plan[k - 1]
                    plan[k] = np.clip(plan[k], last + problem.du_min, last + problem.du_max)
                    plan[k] = np.clip(plan[k], problem.u_min, problem.u_max)
        return history.send(plan[0].copy(), plan.copy(), 1), plan  # the report holds the other one

    def fall_back(
        self, history: InputHistory, lqr: FloatArray | None
    ) -> tuple[InputHistory, FloatArray, str]:
        """Inputs `(n, n_u)` without a new plan, and the status that says where they come from."""
        shifted, age = history.shifted_plan(), history.age
        if shifted is not None:
            inputs, status, age = shifted, "fallback_plan", age + 1
        elif lqr is not None and np.isfinite(lqr).all():
            inputs, status = lqr[None].copy(), "fallback_lqr"
        else:
            inputs, status = self.effective_last(history)[None].copy(), "fallback_hold"
        inputs[0] = self._admissible(history, inputs[0])
        return history.send(inputs[0].copy(), history.plan, age), inputs, status

    def _admissible(self, history: InputHistory, u: FloatArray) -> FloatArray:
        problem = self.problem
        if not self._bounds_rate:
            return np.minimum(np.maximum(u, problem.u_min), problem.u_max)
        last = self.effective_last(history)
        low = np.maximum(problem.u_min, last + problem.du_min)
        high = np.minimum(problem.u_max, last + problem.du_max)
        # Rounding of the sums may leave the bounds by an ulp: those on the input go last.
        return np.clip(np.clip(u, low, high), problem.u_min, problem.u_max)
