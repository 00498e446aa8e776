"""What controllers report about their last step: data, some of it worked out when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from koopctrl._validation import FloatArray

# Reasons for a fall-back that several controllers share.
NO_MEASUREMENT = "the measurement has NaN and there is no observer"
NOT_FINITE = "the lifted state is not finite"


class Aim(Protocol):
    """Where a step leads in the end.

    Attributes
    ----------
    output : (n_y,) array
        Steady outputs that are aimed at.
    reachable : bool
        Whether these are the set-point, in all outputs that are tracked.
    """

    @property
    def output(self) -> FloatArray:
        """Steady outputs that are aimed at."""
        ...

    @property
    def reachable(self) -> bool:
        """Whether the set-point can be held."""
        ...


class Prediction(Protocol):
    """What a model makes of a plan."""

    def outputs(self, inputs: FloatArray) -> FloatArray:
        """Outputs `(N + 1, n_y)` under inputs `(N, n_u)`, the present one first."""
        ...

    def leverage(self, inputs: FloatArray) -> float:
        """Largest leverage along the plan, over the largest of the records; NaN where there are none."""
        ...


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
        Why a fall-back was used, or a measurement not; empty otherwise.
    untracked : tuple of str
        Outputs whose reference has NaN: they are not tracked.
    """

    status: str
    solve_time: float
    reason: str = ""
    untracked: tuple[str, ...] = field(default=(), kw_only=True)
    aim: Aim | None = field(default=None, repr=False, kw_only=True)

    @property
    def target(self) -> FloatArray:
        """Steady outputs `(n_y,)` that are aimed at; empty where no target was sought."""
        return np.empty(0) if self.aim is None else self.aim.output

    @property
    def reachable(self) -> bool | None:
        """Whether the set-point can be held within the bounds on inputs; None where none was sought."""
        return None if self.aim is None else self.aim.reachable


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
    seen : (low, high) or None
        Range of the outputs `(n_y,)` in the model's training data.
    """

    iterations: int = 0
    kkt_residual: float = float("nan")
    objective: float = float("nan")
    inputs: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    slack: float = 0.0
    prediction: Prediction | None = field(default=None, repr=False)
    seen: tuple[FloatArray, FloatArray] | None = field(default=None, repr=False, kw_only=True)

    @property
    def outputs(self) -> FloatArray:
        """Predicted outputs `(horizon + 1, n_y)` under the plan, the present one first; made on demand."""
        if self.prediction is None:
            return np.empty((0, 0))
        return self.prediction.outputs(self.inputs)

    @property
    def extrapolation(self) -> float:
        """How far the plan leads outputs out of the training data, as a share of their range there.

        0 where all of it stays within; NaN where there is no plan or no data. What a network says out there
        is a guess: `y_min=model.y_range_[0], y_max=model.y_range_[1]` keeps plans from it.
        """
        if self.seen is None or self.prediction is None:
            return float("nan")
        low, high = self.seen
        y = self.outputs[1:]
        width = np.where(high > low, high - low, 1.0)
        return float(np.max(np.maximum(np.maximum(low - y, y - high) / width, 0.0), initial=0.0))

    @property
    def leverage(self) -> float:
        """How far the plan leads states and inputs from the training data, combinations of them included.

        Largest leverage along the plan over the largest one in the records
        (`koopctrl.identification.record_leverage`): above 1 no record has been so far out, even where every
        signal stays in its range (`extrapolation` 0). NaN where there is no plan or no data. Worked out on
        demand.
        """
        return float("nan") if self.prediction is None else self.prediction.leverage(self.inputs)
