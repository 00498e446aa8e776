"""Measurements and models as estimators take them, checked; and what the measured signals are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError
from koopctrl.lifted.model import LiftedModel

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

# Times the signals' size that a constant disturbance cannot have.
ABSURD = 1e6


def outputs_are_state(lifted: LiftedModel) -> bool:
    """Whether the outputs are the state's newest samples, `C lift(x) + y_op = x[:n_y]` for every x."""
    n_y = lifted.n_y
    if lifted.window.n_y != n_y:
        return False
    scale = lifted.observables.x_scale[:n_y]
    gap = np.abs(lifted.C / scale[:, None] - np.eye(n_y, lifted.n_z))
    level = np.abs(lifted.y_op - lifted.x_op[:n_y])
    same_level = level <= 1e-10 * (np.abs(lifted.x_op[:n_y]) + scale)
    return bool(same_level.all() and gap.max(initial=0.0) < 1e-8)


def state_names(lifted: LiftedModel) -> tuple[str, ...]:
    """Names of the newest samples in the state: the outputs' where they are these, else `x0, x1, ..`."""
    if outputs_are_state(lifted):
        return lifted.output_names
    return tuple(f"x{i}" for i in range(lifted.window.n_y))


def check_controllable(lifted: LiftedModel) -> None:
    """Refuse models that a controller cannot be built on."""
    if not isinstance(lifted, LiftedModel):
        raise OptionError(
            f"lifted is a {type(lifted).__name__}; expected a LiftedModel. Pass model.lift_at(...) or "
            "LiftedModel.from_matrices(A, B, dt=...)"
        )
    if lifted.n_u == 0:
        raise OptionError(
            "the model has no inputs, so there is nothing to control; fit it to data with inputs"
        )
    if lifted.window.shift or lifted.D.any():
        raise OptionError(
            "the model has feedthrough: u[k] acts on y[k], which is measured before u[k] is chosen. Fit with "
            "feedthrough=False, delaying the inputs by one sample, or pass matrices with D = 0"
        )
    if lifted.dt <= 0:
        raise TimeBaseError("the model is continuous in time (dt = 0); expected discrete time. Discretise it")


def refuse_hidden(model: KoopmanRNN, who: str, remedy: str = "") -> None:
    """Refuse a network with a hidden state: `who` reads outputs as the state's newest samples."""
    if model.hidden:
        raise OptionError(
            f"the model's state is hidden (n_states = {model.n_states}): outputs are no part of it, and "
            f"{who} expects a state of measured samples. "
            + (remedy or "Take its linear face: lifted = model.lift_at(...), LinearMPC(lifted, ..., "
               "estimator=KalmanFilter(lifted)), whose covariances come from the data")
        )  # fmt: skip


def refuse_varying(model: KoopmanRNN, who: str) -> None:
    """Refuse a network with measured parameters: `who` takes all inputs for ones that are moved."""
    if model.parameter_names_:
        raise OptionError(
            f"the model has measured parameters {list(model.parameter_names_)}, and {who} takes a model of "
            "moved "
            "inputs alone; expected it at one value of them. Pass model.frozen(p)"
        )


def same_model(first: LiftedModel, second: LiftedModel) -> bool:
    """Whether two lifted models are equal in what an estimator uses."""
    return first is second or all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("A", "B", "C", "c", "u_op", "y_op", "x_op")
    )


def placed(y: FloatArray, measured: np.ndarray, n_y: int) -> FloatArray:
    """Measured outputs at their positions among all `n_y`, NaN for the others."""
    out = np.full(n_y, np.nan)
    out[measured] = y
    return out


def choose_measured(measured: object, names: tuple[str, ...], what: str = "measured") -> np.ndarray:
    """Positions of the measured outputs, named or numbered; all of them where `measured` is None."""
    if measured is None:
        return np.arange(len(names))
    wanted = [measured] if isinstance(measured, (str, int, np.integer)) else measured
    try:
        found = [_position(m, names, what) for m in wanted]  # pyright: ignore[reportGeneralTypeIssues]
    except TypeError as error:
        raise OptionError(
            f"{what} is {measured!r}; expected a sequence of output names or indices"
        ) from error
    if not found or len(set(found)) != len(found):
        raise OptionError(f"{what} is {measured!r}; expected at least one output, and each of them once")
    return np.array(found)


def _position(value: object, names: tuple[str, ...], what: str) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < len(names):
        return int(value)
    raise OptionError(
        f"{what} has {value!r}; expected names out of {list(names)} or indices below {len(names)}"
    )


def as_measurement(value: ArrayLike, size: int, name: str = "measurement") -> FloatArray:
    """A `(size,)` measurement; NaN marks missing samples, infinity is refused."""
    array = as_float_array(value, name)
    if array.ndim == 0 and size == 1:
        array = array[None]
    if array.shape != (size,):
        raise ShapeError(f"{name} has shape {array.shape}; expected ({size},)")
    if np.isinf(array).any():
        raise DataError(
            f"{name} has infinite entries: {array.tolist()}; expected numbers, or NaN where missing"
        )
    return array
