"""What predictive controllers remember and read: last input, last plan, and the reference's preview."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_signal, as_vector
from koopctrl.controllers.problem import MPCProblem
from koopctrl.errors import ShapeError


class InputMemory:
    """The last input and plan of a controller, and its policy when there is no new one.

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
        self.u_last: FloatArray | None = None
        self._plan: FloatArray | None = None
        self._age = 0

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
        last = self._u_op if self.u_last is None else self.u_last
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
        self._plan, self._age, self.u_last = plan, 1, plan[0]
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
        self.u_last = inputs[0]
        return inputs, status

    def _admissible(self, u: FloatArray) -> FloatArray:
        problem, last = self._problem, self.effective_last()
        low = np.maximum(problem.u_min, last + problem.du_min)
        high = np.minimum(problem.u_max, last + problem.du_max)
        # Rounding of the sums may leave the bounds by an ulp: those on the input go last.
        return np.clip(np.clip(u, low, high), problem.u_min, problem.u_max)


class Preview:
    """Reads references.

    Parameters
    ----------
    n_y, horizon : int
    default : (n_y,) array
        Set-point where none is given.
    """

    def __init__(self, n_y: int, horizon: int, default: FloatArray) -> None:
        self._n_y, self._horizon, self._default = n_y, horizon, default

    def read(self, reference: ArrayLike | None) -> tuple[FloatArray, bool]:
        """`(r, False)` for a set-point `(n_y,)`, `(rows, True)` for a preview, `(N + 1) n_y` numbers."""
        if reference is None:
            return self._default, False
        array = as_float_array(reference, "reference")
        if array.ndim < 2:
            return as_vector(array, "reference", self._n_y), False
        if array.ndim > 2 or not len(array):
            raise ShapeError(
                f"reference has shape {array.shape}; expected ({self._n_y},) or a preview (n, {self._n_y}) "
                "with n >= 1"
            )
        rows = as_signal(array, "reference", self._n_y)[: self._horizon + 1]
        missing = self._horizon + 1 - len(rows)
        if missing:
            rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        return rows.ravel(), True
