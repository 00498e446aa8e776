"""Stage costs and constraints of a caller's own, and the goal that they make."""

from __future__ import annotations

from dataclasses import dataclass

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.rnn_outlook import Goal
from koopctrl.controllers.mpc.stage_function import StageFunction


@dataclass(frozen=True)
class StageTerms:
    """What users add to a problem.

    Attributes
    ----------
    cost, constraints : StageFunction or None
    units : (m,) array
        What is large for a constraint: its spread over the records.
    weights : (2, m) array
        Linear and quadratic cost of breaking one.
    """

    cost: StageFunction | None
    constraints: StageFunction | None
    units: FloatArray
    weights: FloatArray

    @property
    def n_constraints(self) -> int:
        """Of each step."""
        return len(self.units)


@dataclass(frozen=True)
class EconomicGoal(Goal):
    """A goal of stage functions.

    Attributes
    ----------
    parameters : (N, n_p) array
    beside : (n_y,) array
        What a disturbance on the outputs adds to them.
    """

    parameters: FloatArray
    beside: FloatArray
