"""What controllers report about their last step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from koopctrl._validation import FloatArray

# Reasons for a fall-back that controllers share.
NO_MEASUREMENT = "the measurement has NaN and there is no observer"
NOT_FINITE = "the lifted state is not finite"


@dataclass(frozen=True)
class ControlInfo:
    """Status of one step.

    Attributes
    ----------
    status : str
        `optimal`; `saturated` (LQR at a bound); `softened` (output bounds could not be held and were
        relaxed); `inexact` (RNNMPC's roll-out breaks a bound that its QP obeys); or the fall-back used:
        `fallback_plan`, `fallback_lqr`, `fallback_hold`.
    solve_time : float
        Seconds spent in `control`.
    reason : str
        Why a fall-back was used; empty otherwise.
    """

    status: str
    solve_time: float
    reason: str = ""


@dataclass(frozen=True)
class MPCInfo(ControlInfo):
    """Status of one step of a predictive controller.

    Attributes
    ----------
    iterations : int
        Calls of the QP solver: 0 where the unconstrained optimum obeys all bounds.
    kkt_residual : float
        Largest scaled violation of the optimality conditions of the QP; NaN with a fall-back.
    objective : float
        Value of the condensed QP, without its constant.
    inputs : (horizon, n_u) array
        The plan.
    slack : float
        Largest relaxation of an output bound.
    """

    iterations: int = 0
    kkt_residual: float = float("nan")
    objective: float = float("nan")
    inputs: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    slack: float = 0.0
    predict: Callable[[FloatArray], FloatArray] | None = field(default=None, repr=False)

    @property
    def outputs(self) -> FloatArray:
        """Predicted outputs `(horizon + 1, n_y)` under the plan, the present one first; made on demand."""
        if self.predict is None:
            return np.empty((0, 0))
        return self.predict(self.inputs)
