"""What one sample of `RNNMPC` aims at, knows, and finds."""

from __future__ import annotations

from dataclasses import dataclass

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.soft import StepSolution


@dataclass(frozen=True)
class Goal:
    """What one sample aims at.

    Attributes
    ----------
    tracked : (N + 1, n_y) array
        Outputs, as entries of the window.
    steady : (N, n_u) array
        Inputs.
    x_end : (n_x,) array
        Last state,
    P : (n_x, n_x) array or None
        and its weight: the cost to go of the LQR there,
    K : (n_u, n_x) array or None
        whose gain this is.
    u_end : (n_u,) array
        Inputs that hold the last state.
    Q : (N, n_y, n_y) array
        Weights on outputs.
    shift : (n_e,) array
        What a disturbance on the outputs adds to their bounded combinations.
    """

    tracked: FloatArray
    steady: FloatArray
    x_end: FloatArray
    P: FloatArray | None
    K: FloatArray | None
    u_end: FloatArray
    Q: FloatArray
    shift: FloatArray


@dataclass(frozen=True)
class Outlook:
    """What is known at one sample.

    Attributes
    ----------
    x : (n_x,) array
        State when the new input begins to act.
    d : (n_y,) array
        Disturbance on the next outputs.
    v : (N, n_v) array
        Measured disturbances from then on.
    offset : None or array
        Disturbance on all inputs of the model.
    u_last : (n_u,) array
    """

    x: FloatArray
    d: FloatArray
    v: FloatArray
    offset: FloatArray | None
    u_last: FloatArray


@dataclass(frozen=True)
class Found:
    """A plan, its roll-out and cost, and the last certified QP behind it."""

    plan: FloatArray
    states: FloatArray
    merit: float
    answer: StepSolution | None
    n_solves: int
    reason: str
