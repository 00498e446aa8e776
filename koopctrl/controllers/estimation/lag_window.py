"""Lag windows kept from measurements and the inputs that acted: of lifted models, and of networks.

At the start the window is filled with the first measurement and resting inputs. A missing sample is replaced
by the model's prediction, so that later windows are complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray, check_choice, check_number
from koopctrl.controllers.estimation.lifted_measurement import LiftedMeasurement, LiftedState
from koopctrl.controllers.estimation.measurement import ABSURD
from koopctrl.controllers.estimation.protocol import DISTURBANCES, NetworkEstimator, refuse_disturbance
from koopctrl.controllers.info import NO_MEASUREMENT
from koopctrl.lifted.model import LiftedModel
from koopctrl.network.folded import Rollout


@dataclass(frozen=True)
class LagState:
    """A lifted model's window.

    Attributes
    ----------
    x : (n_x,) array
    started : bool
        Whether there is a window.
    lifted : LiftedState
        Of the window.
    """

    x: FloatArray
    started: bool
    lifted: LiftedState


class LagWindow(LiftedMeasurement):
    """Keeps the lag window of a lifted model and lifts it.

    Parameters are those of `LiftedMeasurement`; models without lags are a window of one sample.
    """

    def _check_window(self, lifted: LiftedModel) -> None:
        self._window = lifted.window

    def initial(self) -> LagState:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `Estimator`."""
        return LagState(np.zeros(self.lifted.n_x), False, super().initial())

    def step(self, state: LagState, y: FloatArray, u_last: FloatArray | None) -> LagState:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `Estimator`."""
        missing, lifted = bool(np.isnan(y).any()), state.lifted
        forgotten = LiftedState(lifted.p, False, lifted.z)
        if not state.started or u_last is None:
            if missing:
                return LagState(state.x, False, forgotten)
            x = self._window.repeat_channels(y, self.lifted.u_op)
        else:
            x = self._window.advance(state.x, u_last, self.predict(state.x, u_last) if missing else y)
        if not np.isfinite(x).all():  # the prediction ran away: wait for a measurement
            return LagState(np.zeros_like(x), False, forgotten)
        return LagState(x, True, forgotten if missing else self._advance(lifted, x, u_last))

    def estimate(self, state: LagState) -> FloatArray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `Estimator`."""
        return super().estimate(state.lifted)

    def predict(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Next newest sample of the window `x` under all inputs `u`."""
        lifted, n = self.lifted, self._window.n_y
        z = lifted.step(lifted.observables(x), u)
        return lifted.x_op[:n] + lifted.observables.x_scale[:n] * z[:n]


@dataclass(frozen=True)
class NetworkWindowState:
    """A network's window.

    Attributes
    ----------
    x : (n_x,) array
    started : bool
        Whether there is a window,
    known : bool
        and whether its newest sample was measured.
    d : (n_y,) array
        Disturbance on the next outputs.
    """

    x: FloatArray
    started: bool
    known: bool
    d: FloatArray


class NetworkWindow(NetworkEstimator):
    """Keeps a network's window and, if asked to, the error of its one-step predictions as a disturbance.

    Parameters
    ----------
    rollout : Rollout
    names : tuple of str
        Of the outputs, all of which are measured.
    u_rest : (n_u,) array
        All inputs of the model, as they were before the first sample.
    disturbance : {"none", "state"}
        Whether the error of the last one-step prediction is a constant disturbance on the next outputs.
    gain : float
        In (0, 1], with which it is averaged.
    """

    silence = NO_MEASUREMENT

    def __init__(
        self,
        rollout: Rollout,
        names: tuple[str, ...],
        u_rest: FloatArray,
        disturbance: str = "none",
        gain: float = 1.0,
    ) -> None:
        self.disturbance = check_choice(disturbance, "disturbance", DISTURBANCES)
        if disturbance in ("output", "input"):
            raise refuse_disturbance(
                disturbance,
                "a window of measured outputs shows disturbances of the next outputs alone",
                "Use an ExtendedKalmanFilter",
            )
        self.gain = 0.0
        if disturbance != "none":
            self.gain = check_number(gain, "gain", low=0.0, high=1.0, strict=True)
        self._rollout, self.u_rest, self.measured_names = rollout, u_rest, tuple(names)

    def initial(self) -> NetworkWindowState:
        """See `Estimator`."""
        return NetworkWindowState(np.zeros(self._rollout.n_x), False, False, np.zeros(self._rollout.n_y))

    def step(self, state: NetworkWindowState, y: FloatArray, u_last: FloatArray | None) -> NetworkWindowState:
        """See `Estimator`."""
        roll, missing, d = self._rollout, bool(np.isnan(y).any()), state.d
        if not state.started or u_last is None:
            if missing:
                return NetworkWindowState(state.x, False, False, d)
            return NetworkWindowState(roll.window.repeat_channels(y, self.u_rest), True, True, d)
        newest = y
        if missing or self.gain:
            predicted = roll.step(state.x, u_last, d)[: roll.n_y]
            if missing:
                newest = predicted
            else:
                d = d + self.gain * (y - predicted)  # the prediction has d in it
        x = roll.window.advance(state.x, u_last, newest)
        if not (np.isfinite(x).all() and np.isfinite(d).all()):  # ran away: wait for a measurement
            return NetworkWindowState(np.zeros_like(x), False, False, np.zeros_like(d))
        return NetworkWindowState(x, True, not missing, d)

    def estimate(self, state: NetworkWindowState) -> FloatArray | None:
        """Window and disturbance `[x; d]`; None unless the sample was complete."""
        return np.concatenate([state.x, state.d]) if state.known else None

    def recover(self, state: NetworkWindowState, y: FloatArray) -> NetworkWindowState:
        """Forget a disturbance far beyond the data's spread."""
        if (np.abs(state.d) <= ABSURD * self._rollout.network.scaling.y_scale).all():
            return state
        return NetworkWindowState(state.x, state.started, state.known, np.zeros_like(state.d))

    def split(self, estimate: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """See `NetworkEstimator`."""
        return estimate[: self._rollout.n_x], estimate[self._rollout.n_x :], None

    def disturbance_on_outputs(self, state: NetworkWindowState) -> FloatArray:
        """See `NetworkEstimator`."""
        return state.d
