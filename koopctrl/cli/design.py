"""The controller of `koopctrl control`: the one place where it is designed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

_KINDS = {"auto": "auto", "linear": "linear", "nonlinear": "rnn"}


@dataclass(frozen=True)
class Task:
    """What is asked of the controller."""

    horizon: int
    Q: FloatArray
    R: FloatArray
    u_min: FloatArray
    u_max: FloatArray
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
        `LinearMPC` on the linear face or `RNNMPC` on the network; "auto" takes the linear one where that
        costs hardly more on the network (`design_mpc`).

    Returns
    -------
    controller : LinearMPC or RNNMPC
    text : str
    """
    from koopctrl.controllers import KalmanFilter, LinearMPC, design_mpc

    bounds = {name: getattr(task, name) for name in ("u_min", "u_max", "y_min", "y_max")}
    if not model.hidden:
        design = design_mpc(
            model, task.horizon, task.Q, task.R, controller=_KINDS[kind], offset_free=True, **bounds
        )
        made = type(design.controller).__name__
        return design.controller, f"{made}: {design.reason}"
    if kind == "nonlinear":
        raise OptionError(
            "--kind is nonlinear, which the hidden state of this model does not allow; expected linear"
        )
    lifted = model.lift_at(horizon=task.horizon, Q=task.Q, R=task.R)
    # A filter finds the state, and what the linear model leaves unexplained.
    estimator = KalmanFilter(lifted, disturbance="output")
    linear = LinearMPC(lifted, task.horizon, task.Q, task.R, **bounds, estimator=estimator)
    return linear, f"LinearMPC on the linear face, {lifted.n_z} lifted states"
