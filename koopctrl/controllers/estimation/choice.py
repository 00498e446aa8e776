"""Which estimator a controller on a lifted model gets: the one it is given, or one for measured states."""

from __future__ import annotations

from typing import Any

from koopctrl._validation import check_number
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.estimation.filter_shell import as_estimator
from koopctrl.controllers.estimation.lag_window import LagWindow
from koopctrl.controllers.estimation.lifted_measurement import INPUT_GAIN, LiftedMeasurement
from koopctrl.controllers.estimation.measurement import check_controllable, same_model
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.errors import OptionError
from koopctrl.lifted.model import LiftedModel


def offset_free_gain(offset_free: Any) -> tuple[str, float]:
    """The disturbance that `offset_free` stands for, and the gain with which it is averaged."""
    if isinstance(offset_free, str) and offset_free == "input":
        return "input", INPUT_GAIN
    gain = check_number(offset_free, "offset_free", low=0.0, high=1.0)
    return ("state", gain) if gain else ("none", 0.0)


def linear_estimator(
    lifted: LiftedModel, given: Any, offset_free: Any, channels: InputChannels
) -> LinearEstimator:
    """The estimator of a controller.

    Parameters
    ----------
    lifted : LiftedModel
    given : KalmanFilter, LinearEstimator or None
        None: the state is measured, or its newest output for a model with lags.
    offset_free : bool, float or "input"
        Short for the `disturbance` and `gain` of `LiftedMeasurement`.
    channels : InputChannels

    Raises
    ------
    OptionError
        If it is no estimator, one of another model, or disturbances are asked for twice.
    """
    check_controllable(lifted)
    kind, gain = offset_free_gain(offset_free)
    if given is None:
        simple = lifted.n_x == lifted.window.n_y
        return (LiftedMeasurement if simple else LagWindow)(lifted, kind, gain or None, channels)
    if gain:
        raise OptionError(
            "offset_free is set and so is observer; expected one of them. Pass "
            "estimator=KalmanFilter(..., disturbance='output')"
        )
    estimator = as_estimator(given)
    if not isinstance(estimator, LinearEstimator):
        raise OptionError(
            f"observer is a {type(given).__name__}; expected a KalmanFilter built on this model, or another "
            "LinearEstimator"
        )
    if not same_model(estimator.model.lifted, lifted):
        raise OptionError("observer was built on another model; expected one built on the controller's model")
    return estimator
