"""The controller of `koopctrl control`: the one place where it is designed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from koopctrl._validation import FloatArray
from koopctrl.errors import DesignWarning, OptionError


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
        `LinearMPC` on the linear face or `RNNMPC` on the network; "auto" takes the linear one unless it does
        worse, tried on the network, than on plain least squares.

    Returns
    -------
    controller : LinearMPC or RNNMPC
    text : str
    """
    from koopctrl.controllers import RNNMPC, KalmanFilter, LinearMPC

    bounds = {name: getattr(task, name) for name in ("u_min", "u_max", "y_min", "y_max")}
    if kind == "nonlinear":
        if model.hidden:
            raise OptionError(
                "--kind is nonlinear, which the hidden state of this model does not allow; expected linear"
            )
        return RNNMPC(model, task.horizon, task.Q, task.R, **bounds), "RNNMPC on the network"
    lifted = model.lift_at(horizon=task.horizon, Q=task.Q, R=task.R)
    # Where the state is not measured, a filter finds it, and what the linear model leaves unexplained.
    measured = not model.hidden and model.n_x == model.n_y
    estimation: dict[str, Any] = (
        {"offset_free": True} if measured else {"estimator": KalmanFilter(lifted, disturbance="output")}
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        linear = LinearMPC(lifted, task.horizon, task.Q, task.R, **bounds, **estimation)
    doubtful = [w for w in caught if issubclass(w.category, DesignWarning)]
    for other in caught:
        if other not in doubtful or kind == "linear" or model.hidden:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if doubtful and kind == "auto" and not model.hidden:
        text = "RNNMPC on the network; the linear face, tried on it, did worse than least squares"
        return RNNMPC(model, task.horizon, task.Q, task.R, **bounds), text
    return linear, f"LinearMPC on the linear face, {lifted.n_z} lifted states"
