"""What predictive controllers remember: inputs sent and on their way, and the last plan."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.problem import MPCProblem


class InputMemory:
    """Inputs sent and last plan of a controller, and its policy when there is no new one.

    Parameters
    ----------
    problem : MPCProblem
        Its bounds are obeyed by everything that leaves here.
    u_op : (n_u,) array
        Stands for the input before the first.
    """

    def __init__(self, problem: MPCProblem, u_op: FloatArray) -> None:
        self._problem = problem
        self._u_op = u_op
        self.has_rate_cost = bool(problem.S.any())
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        # Oldest first: the input that acted until now, then those on their way.
        self.line: FloatArray | None = None
        self._plan: FloatArray | None = None
        self._age = 0

    @property
    def u_last(self) -> FloatArray | None:
        """The input sent last; None before the first."""
        return None if self.line is None else self.line[-1]

    @property
    def arrived(self) -> FloatArray | None:
        """The input that acted since the last sample; None before the first."""
        return None if self.line is None else self.line[0]

    @property
    def pending(self) -> FloatArray:
        """Inputs sent that do not act yet, `(delay, n_u)`, the next one first."""
        delay = self._problem.delay
        return np.tile(self._u_op, (delay, 1)) if self.line is None else self.line[1:]

    def send(self, u: FloatArray) -> None:
        """Record what is sent at this sample."""
        self.line = np.concatenate([self.pending, u[None]])

    def replace_last(self, u: FloatArray) -> None:
        """Record that the last input sent was another one; before the first, the one that was held so far."""
        if self.line is None:
            self.line = np.tile(u, (self._problem.delay + 1, 1))
        else:
            self.line = np.concatenate([self.line[:-1], u[None]])

    @property
    def shifted_plan(self) -> FloatArray | None:
        """What is left of the last plan, its last input held; None if it is used up."""
        if self._plan is None or self._age >= len(self._plan):
            return None
        held = np.repeat(self._plan[-1:], self._age, axis=0)
        return np.concatenate([self._plan[self._age :], held])

    def effective_last(self) -> FloatArray:
        """The last input, moved (if it must be) to where the bounds on inputs and on moves can both hold."""
        problem = self._problem
        last = self._u_op if self.line is None else self.line[-1]
        return np.clip(last, problem.u_min - problem.du_max, problem.u_max - problem.du_min)

    def accept(self, plan: FloatArray) -> FloatArray:
        """Take a new plan `(N, n_u)`, its inputs put exactly inside the bounds, and advance by one sample.

        The certificate is relative to the largest value at stake, which relaxed bounds can make large.
        """
        problem = self._problem
        plan = np.clip(plan, problem.u_min, problem.u_max)
        plan[0] = self._admissible(plan[0])
        if problem.bounds_rate:
            moves = np.diff(plan, axis=0)
            if (moves > problem.du_max).any() or (moves < problem.du_min).any():
                for k in range(1, len(plan)):
                    last = plan[k - 1]
                    plan[k] = np.clip(plan[k], last + problem.du_min, last + problem.du_max)
                    plan[k] = np.clip(plan[k], problem.u_min, problem.u_max)
        self._plan, self._age = plan.copy(), 1  # the report holds the other one
        self.send(plan[0])
        return plan

    def fall_back(self, lqr: FloatArray | None) -> tuple[FloatArray, str]:
        """Inputs `(n, n_u)` without a new plan, and the status that says where they come from."""
        shifted = self.shifted_plan
        if shifted is not None:
            inputs, status = shifted.copy(), "fallback_plan"
            self._age += 1
        elif lqr is not None and np.isfinite(lqr).all():
            inputs, status = lqr[None].copy(), "fallback_lqr"
        else:
            inputs, status = self.effective_last()[None].copy(), "fallback_hold"
        inputs[0] = self._admissible(inputs[0])
        self.send(inputs[0])
        return inputs, status

    def _admissible(self, u: FloatArray) -> FloatArray:
        problem, last = self._problem, self.effective_last()
        low = np.maximum(problem.u_min, last + problem.du_min)
        high = np.minimum(problem.u_max, last + problem.du_max)
        # Rounding of the sums may leave the bounds by an ulp: those on the input go last.
        return np.clip(np.clip(u, low, high), problem.u_min, problem.u_max)
