"""The controller of `koopctrl control`: the one place where it is designed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

_WORDS = {"auto": "auto", "linear": "linear", "nonlinear": "rnn"}


@dataclass(frozen=True)
class Task:
    """What is asked of the controller; `goals` are set-points, one a row, NaN for outputs without one."""

    horizon: int
    Q: FloatArray
    R: FloatArray
    u_min: FloatArray
    u_max: FloatArray
    goals: FloatArray
    y_min: FloatArray | None = None
    y_max: FloatArray | None = None


def design_controller(model: Any, task: Task, kind: str) -> tuple[Any, str]:
    """Design a predictive controller on a fitted network, and say what it is.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted.
    task : Task
    kind : {"auto", "linear", "nonlinear"}
        `LinearMPC` on the linear face or `RNNMPC` on the network; "auto" tries both on the network
        (`koopctrl.design_mpc`).

    Returns
    -------
    controller : LinearMPC or RNNMPC
    text : str

    Raises
    ------
    OptionError
        If the kind does not go with the model.
    """
    from koopctrl.controllers import KalmanFilter, LinearMPC, design_mpc

    bounds = {name: getattr(task, name) for name in ("u_min", "u_max", "y_min", "y_max")}
    if not model.hidden:
        # Designs are tried on set-points of all outputs; where some have none, on equilibria of the model.
        goals = task.goals if np.isfinite(task.goals).all() else None
        design = design_mpc(
            model, task.horizon, task.Q, task.R, reference=goals, controller=_WORDS[kind],
            offset_free=True, **bounds,
        )  # fmt: skip
        return design.controller, f"{type(design.controller).__name__}: {design.reason}"
    if kind == "nonlinear":
        raise OptionError(
            "--kind is nonlinear, which the hidden state of this model does not allow; expected linear"
        )
    lifted = model.lift_at(horizon=task.horizon, Q=task.Q, R=task.R)
    # A filter finds the hidden state, and what the linear model leaves unexplained.
    estimator = KalmanFilter(lifted, disturbance="output")
    mpc = LinearMPC(lifted, task.horizon, task.Q, task.R, estimator=estimator, **bounds)
    return mpc, f"LinearMPC: linear face of the hidden state, {lifted.n_z} states"
