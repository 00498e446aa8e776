"""From measurements to the lifted state: by lifting them, by a window of past ones, or by an observer.

Everything a controller computes online is affine in `z`, and `z` is affine in the raw features
`p = [x - x_op; psi(x)]` (or is an observer's estimate). So controllers fold `z = basis p + offset` into their
precomputed matrices, and nothing online grows with the square of the lifted dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_float_array, check_number
from koopctrl.controllers.estimation.augmented import Augmented, augment
from koopctrl.controllers.mpc.channels import InputChannels, choose_channels
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError
from koopctrl.lifted.model import LiftedModel
from koopctrl.network.lag_window import LagWindow

# Times the signals' size that a constant disturbance cannot have.
ABSURD = 1e6
# Gain with which input disturbances are averaged.
_INPUT_GAIN = 0.3


class Observer(Protocol):
    """An estimator of the lifted state, as `KalmanFilter` is."""

    model: Augmented

    def reset(self) -> None:
        """Forget the estimate."""
        ...

    def observe(self, measurement: FloatArray, u_last: FloatArray | None) -> FloatArray:
        """Estimate `[z_k; d_k]` from `y_k` and the input held since the last call (None on the first)."""
        ...


class WindowMemory:
    """The lag window, kept from measurements and the inputs really sent.

    At the start it is filled with the first measurement and `u_op`. A missing sample is replaced by the
    model's prediction, so that later windows are complete.

    Parameters
    ----------
    window : LagWindow
    u_op : (n_u,) array
    predict : callable
        `(x, u) -> y_next`.
    """

    def __init__(
        self, window: LagWindow, u_op: FloatArray, predict: Callable[[FloatArray, FloatArray], FloatArray]
    ) -> None:
        self._window, self._u_op, self._predict = window, u_op, predict
        self.reset()

    def reset(self) -> None:
        """Forget the window."""
        self.x: FloatArray | None = None

    def read(self, measurement: FloatArray, u_last: FloatArray | None) -> FloatArray | None:
        """Window at this sample; None if the measurement has NaN."""
        missing = bool(np.isnan(measurement).any())
        if self.x is None or u_last is None:
            self.x = None if missing else self._window.repeat_channels(measurement, self._u_op)
        else:
            y = self._predict(self.x, u_last) if missing else measurement
            self.x = self._window.advance(self.x, u_last, y)
        return None if missing else self.x


class StateSource:
    """Lifted states, and disturbances after them, from measurements: `[z; d] = basis @ read(...) + offset`.

    Parameters
    ----------
    lifted : LiftedModel
    observer : Observer, optional
        Estimates `z` from measured outputs `C z + y_op`. Without one the measurement is lifted: it has to be
        the model's state, or its newest output for a model with lags, whose window is kept from past
        measurements and sent inputs. At the start the window is filled with the first measurement and `u_op`.

    offset_free : bool or float
        Without an observer: whether what one step of the model leaves unexplained is taken as a constant
        disturbance on all lifted coordinates; a number in (0, 1] is the gain with which it is averaged.
        `"input"`: on the inputs, from the newest outputs' part of it, averaged with gain 0.3.
    channels : InputChannels, optional
        Which inputs are moved; all by default.

    Attributes
    ----------
    model : Augmented
        The model with its disturbances, its inputs told apart.
    explain : (n_d, n_z) array
        Without an observer: what the disturbances are made of, applied to the unexplained step.

    Raises
    ------
    OptionError
        If `u_k` acts on `y_k`, so that no window is complete before the input is chosen; if disturbances on
        inputs are asked for that do not show in the next outputs.
    """

    def __init__(
        self,
        lifted: LiftedModel,
        observer: Observer | None = None,
        offset_free: bool | float | str = False,
        channels: InputChannels | None = None,
    ) -> None:
        check_controllable(lifted)
        on_inputs = isinstance(offset_free, str) and offset_free == "input"
        gain = _INPUT_GAIN if on_inputs else offset_free
        self._filter = check_number(gain, "offset_free", low=0.0, high=1.0)
        if self._filter and observer is not None:
            raise OptionError(
                "offset_free is set and so is observer; expected one of them. Pass "
                "observer=KalmanFilter(..., disturbance='output')"
            )
        self.lifted, self.observer, window = lifted, observer, lifted.window
        obs = lifted.observables
        self._layer, self._x_op = obs.layer, obs.x_op
        self._has_layer = obs.reduce.shape[1] > 0
        n_x, n_z = lifted.n_x, lifted.n_z
        if observer is not None:
            if not hasattr(observer, "observe") or not hasattr(observer, "model"):
                raise OptionError(
                    f"observer is a {type(observer).__name__}; expected a KalmanFilter built on this model"
                )
            if not _same_model(observer.model.lifted, lifted):
                raise OptionError(
                    "observer was built on another model; expected one built on the controller's model"
                )
            self.n_measured = lifted.n_y
            self.model = observer.model
            self.basis, self.offset = np.eye(len(self.model.A)), np.zeros(len(self.model.A))
        else:
            self.n_measured = window.n_y
            n_features = self._layer.n_features if self._has_layer else 0
            self.basis, self.offset = np.zeros((n_z, n_x + n_features)), np.zeros(n_z)
            self.basis[:n_x, :n_x] = np.diag(1.0 / obs.x_scale)
            if self._has_layer:
                self.basis[n_x:, :n_x] = -obs.project.T
                self.basis[n_x:, n_x:] = obs.reduce.T
                self.offset[n_x:] = -obs.reduce.T @ self._layer(self._x_op)
            self._lift, self._lift_offset = self.basis, self.offset
            self.explain = np.eye(n_z if self._filter else 0, n_z)
            if on_inputs:
                self.explain = _input_estimate(lifted)
            n_d = len(self.explain)
            Bd = lifted.B if on_inputs else np.eye(n_z, n_d)
            self.model = augment(lifted, Bd, np.zeros((lifted.n_y, n_d)))
            self.basis = np.asarray(linalg.block_diag(self.basis, np.eye(n_d)))[: n_z + n_d]
            self.offset = np.concatenate([self.offset, np.zeros(n_d)])
        self.model = self.model.select(channels or choose_channels(lifted.input_names, None))
        self._memory = None
        if observer is None and n_x != window.n_y:
            self._memory = WindowMemory(window, lifted.u_op, self._predict)

    def reset(self) -> None:
        """Forget past measurements."""
        self._z: FloatArray | None = None
        self._d = np.zeros(self.model.n_d)
        if self._memory is not None:
            self._memory.reset()
        if self.observer is not None:
            self.observer.reset()

    def read(self, measurement: FloatArray, u_last: FloatArray | None) -> FloatArray | None:
        """Raw features of the state at this sample; None if the measurement has NaN and there is no observer.

        Parameters
        ----------
        measurement : (n_measured,) array
            May have NaN entries.
        u_last : (n_u,) array or None
            All inputs of the model that acted since the last call; None on the first.
        """
        if self.observer is not None:
            return self.observer.observe(measurement, u_last)
        if self._memory is not None:
            x = self._memory.read(measurement, u_last)
        else:
            x = None if np.isnan(measurement).any() else measurement
        if x is None:
            self._z = None
            return None
        p = self._features(x)
        return np.concatenate([p, self._unexplained(p, u_last)]) if self._filter else p

    def _unexplained(self, p: FloatArray, u_last: FloatArray | None) -> FloatArray:
        """The disturbance that explains the step from the last sample to this one, averaged."""
        lifted, z = self.lifted, self._lift @ p + self._lift_offset
        if self._z is not None and u_last is not None:
            predicted = lifted.A @ self._z + lifted.B @ (u_last - lifted.u_op) + lifted.c
            self._d = self._d + self._filter * (self.explain @ (z - predicted) - self._d)
        self._z = z
        return self._d

    def forget_absurd(self, measurement: FloatArray, times: float = ABSURD) -> None:
        """Forget what an absurd measurement has spoilt: it would spoil all plans to come.

        A disturbance, `times` the state's size; an observer's estimate, far beyond the newest measurement.
        """
        if self.observer is not None:
            estimate = getattr(self.observer, "estimate", None)
            size = float(np.nanmax(np.abs(measurement), initial=0.0))
            if estimate is not None and not float(np.abs(estimate).max()) <= ABSURD**2 * (1.0 + size):
                self.observer.reset()
            return
        size = 0.0 if self._z is None else float(np.abs(self._z).max(initial=0.0))
        if not float(np.abs(self._d).max(initial=0.0)) <= times * (1.0 + size):
            self._z, self._d = None, np.zeros(self.model.n_d)

    def disturbance(self, p: FloatArray) -> FloatArray:
        """The disturbances in what `read` gave: its last entries."""
        return p[len(p) - self.model.n_d :]

    def _features(self, x: FloatArray) -> FloatArray:
        deviation = x - self._x_op
        return np.concatenate([deviation, self._layer(x)]) if self._has_layer else deviation

    def _predict(self, x: FloatArray, u: FloatArray) -> FloatArray:
        z = self.lifted.step(self.lifted.observables(x), u)
        return self.lifted.C @ z + self.lifted.y_op


def _input_estimate(lifted: LiftedModel) -> FloatArray:
    """`(n_u, n_z)`: inputs that explain, in least squares, what the newest outputs' coordinates leave.

    Those predict one step as exactly as the network does, wherever the plant is. The features do not: far
    from the operating point their error is no disturbance, and made into one it moves the target wildly.
    """
    n_y, estimate = lifted.window.n_y, np.zeros((lifted.n_u, lifted.n_z))
    if lifted.window.input_lags > 1:
        raise OptionError(
            f"offset_free is 'input', but the model has {lifted.window.input_lags} input lags: a load acts "
            "through past inputs too, which the window holds as they were sent. Use "
            "observer=KalmanFilter(..., disturbance='input')"
        )
    felt = lifted.B[:n_y]
    if np.linalg.matrix_rank(felt, tol=1e-6 * np.linalg.norm(lifted.B)) < lifted.n_u:
        raise OptionError(
            "offset_free is 'input', but not every input shows in the next outputs; expected a model where "
            "they do. Use offset_free=True, or observer=KalmanFilter(..., disturbance='input')"
        )
    estimate[:, :n_y] = np.linalg.pinv(felt)
    return estimate


def _same_model(first: LiftedModel, second: LiftedModel) -> bool:
    return first is second or all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("A", "B", "C", "c", "u_op", "y_op", "x_op")
    )


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
