r"""The state measured: its lift is the estimate, and what one step leaves unexplained is a disturbance.

.. math:: p_k = [x_k - x_{op};\ \psi(x_k)], \qquad
    d_k = d_{k-1} + g \odot (E\, (z_k - A z_{k-1} - B (u_{k-1} - u_{op}) - c) - d_{k-1})
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray, check_choice, check_number
from koopctrl.controllers.channels import InputChannels, choose_channels
from koopctrl.controllers.estimation.augmented import augment
from koopctrl.controllers.estimation.measurement import (
    ABSURD,
    check_controllable,
    outputs_are_state,
    state_names,
)
from koopctrl.controllers.estimation.protocol import DISTURBANCES, LinearEstimator, refuse_disturbance
from koopctrl.controllers.info import NO_MEASUREMENT
from koopctrl.errors import OptionError
from koopctrl.lifted.model import LiftedModel

# Gain with which input disturbances are averaged.
INPUT_GAIN = 0.3
# Largest gain on the features' coordinates. What one step leaves there is mostly the lift's own error, which
# changes with the state; averaged it still adds up to the constant that a steady state needs.
FEATURE_GAIN = 0.05


@dataclass(frozen=True)
class LiftedState:
    """What is remembered of a measured state.

    Attributes
    ----------
    p : (n_p,) array
        Estimate `[x - x_op; psi(x); d]` of the last sample that had one.
    known : bool
        Whether that was the newest sample.
    z : (n_z,) array
        Lifted state then, for the disturbances; empty where none are estimated.
    """

    p: FloatArray
    known: bool
    z: FloatArray


class LiftedMeasurement(LinearEstimator):
    """Lifts a measurement of the model's whole state.

    Parameters
    ----------
    lifted : LiftedModel
        Without lags: the measurement is its state.
    disturbance : {"none", "state", "input"}
        What one step of the model leaves unexplained is taken for a constant disturbance: on all lifted
        coordinates (`state`), or on the inputs, from the newest outputs' part of it (`input`: exact for loads
        on the inputs, and safe far from the operating point too). A disturbance on the outputs cannot be told
        from a state that is measured.
    gain : float, optional
        In (0, 1], with which disturbances are averaged; 1 for `state` and 0.3 for `input` by default. On the
        features' coordinates it is at most 0.05.
    channels : InputChannels, optional
        Which inputs are moved; all by default.

    Raises
    ------
    OptionError
        If the model has lags, or the disturbance does not show in one step.
    """

    silence = NO_MEASUREMENT

    def __init__(
        self,
        lifted: LiftedModel,
        disturbance: str = "none",
        gain: float | None = None,
        channels: InputChannels | None = None,
    ) -> None:
        check_controllable(lifted)
        self._check_window(lifted)
        self.disturbance = check_choice(disturbance, "disturbance", DISTURBANCES)
        if disturbance == "output":
            raise refuse_disturbance(
                disturbance,
                "the state itself is measured, from which it cannot be told",
                "Use a KalmanFilter",
            )
        self.gain = 0.0
        if disturbance != "none":
            default = INPUT_GAIN if disturbance == "input" else 1.0
            given = default if gain is None else gain
            self.gain = check_number(given, "gain", low=0.0, high=1.0, strict=True)
        self.lifted, self.measured_names = lifted, state_names(lifted)
        obs, n_x, n_z = lifted.observables, lifted.n_x, lifted.n_z
        self._layer, self._x_op = obs.layer, obs.x_op
        self.has_layer = obs.reduce.shape[1] > 0
        n_features = self._layer.n_features if self.has_layer else 0
        # z = lift p + lift_offset with p = [x - x_op; psi(x)].
        self.lift, self.lift_offset = np.zeros((n_z, n_x + n_features)), np.zeros(n_z)
        self.lift[:n_x, :n_x] = np.diag(1.0 / obs.x_scale)
        if self.has_layer:
            self.lift[n_x:, :n_x] = -obs.project.T
            self.lift[n_x:, n_x:] = obs.reduce.T
            self.lift_offset[n_x:] = -obs.reduce.T @ self._layer(self._x_op)
        on_inputs = disturbance == "input"
        # E: what disturbances are made of, applied to the unexplained step.
        self.explain = input_estimate(lifted) if on_inputs else np.eye(n_z if self.gain else 0, n_z)
        self._sizes = [np.abs(matrix) for matrix in (lifted.A, lifted.B, self.explain)]
        n_d = len(self.explain)
        Bd = lifted.B if on_inputs else np.eye(n_z, n_d)
        self.gains = np.full(n_d, self.gain)
        if not on_inputs:
            self.gains[n_x:] = np.minimum(self.gains[n_x:], FEATURE_GAIN)
        model = augment(lifted, Bd, np.zeros((lifted.n_y, n_d)))
        self.model = model.select(channels or choose_channels(lifted.input_names, None))
        self.basis = np.asarray(linalg.block_diag(self.lift, np.eye(n_d)))[: n_z + n_d]
        self.offset = np.concatenate([self.lift_offset, np.zeros(n_d)])

    def _check_window(self, lifted: LiftedModel) -> None:
        if lifted.n_x != lifted.window.n_y:
            raise OptionError("the model has lags, so that no single measurement is its state; use LagWindow")

    def outputs(self, y: FloatArray) -> FloatArray:
        """See `Estimator`: `C lift(x)` of a measured state; the newest samples of a window are outputs."""
        lifted = self.lifted
        if lifted.n_x != len(y) or outputs_are_state(lifted):
            return y
        return lifted.y_op + lifted.C @ lifted.observables(y)

    def initial(self) -> LiftedState:
        """See `Estimator`."""
        return LiftedState(
            np.zeros(self.basis.shape[1]), False, np.zeros(self.lifted.n_z if self.gain else 0)
        )

    def step(self, state: LiftedState, y: FloatArray, u_last: FloatArray | None) -> LiftedState:
        """See `Estimator`; a measurement with NaN gives no estimate."""
        if np.isnan(y).any():
            return LiftedState(state.p, False, state.z)
        return self._advance(state, y, u_last)

    def estimate(self, state: LiftedState) -> FloatArray | None:
        """Features and disturbances; None unless the sample was complete."""
        return state.p if state.known else None

    def features(self, x: FloatArray) -> FloatArray:
        """`[x - x_op; psi(x)]`."""
        deviation = x - self._x_op
        return np.concatenate([deviation, self._layer(x)]) if self.has_layer else deviation

    def _advance(self, state: LiftedState, x: FloatArray, u_last: FloatArray | None) -> LiftedState:
        """State after a sample whose whole state is `x`."""
        p = self.features(x)
        if not self.gain:
            return LiftedState(p, True, state.z)
        lifted, z = self.lifted, self.lift @ p + self.lift_offset
        d = state.p[len(p) :]
        if state.known and u_last is not None:
            u_dev = u_last - lifted.u_op
            made = self.explain @ (z - (lifted.A @ state.z + lifted.B @ u_dev + lifted.c))
            # Beyond all that has acted in this step it comes from an absurd measurement: it is begun anew.
            of_state, of_input, explained = self._sizes
            acted = np.abs(z) + of_state @ np.abs(state.z) + of_input @ np.abs(u_dev) + np.abs(lifted.c)
            d = np.where(np.abs(d) <= ABSURD * (explained @ acted), d + self.gains * (made - d), made)
        return LiftedState(np.concatenate([p, d]), True, z)


def input_estimate(lifted: LiftedModel) -> FloatArray:
    """`(n_u, n_z)`: inputs that explain, in least squares, what the newest outputs' coordinates leave.

    Those predict one step as exactly as the network does, wherever the plant is. The features do not: far
    from the operating point their error is no disturbance, and made into one it moves the target wildly.
    """
    n_y, estimate = lifted.window.n_y, np.zeros((lifted.n_u, lifted.n_z))
    if lifted.window.input_lags > 1:
        raise OptionError(
            f"offset_free is 'input', but the model has {lifted.window.input_lags} input lags: a load acts "
            "through past inputs too, which the window holds as they were sent. Use "
            "estimator=KalmanFilter(..., disturbance='input')"
        )
    felt = lifted.B[:n_y]
    # Columns in units of their own: an input in other units shows neither more nor less.
    size = np.linalg.norm(lifted.B, axis=0)
    scale = np.where(size > 0.0, size, 1.0)
    if np.linalg.matrix_rank(felt / scale, tol=1e-6) < lifted.n_u:
        raise OptionError(
            "offset_free is 'input', but not every input shows in the next outputs; expected a model where "
            "they do. Use offset_free=True, or estimator=KalmanFilter(..., disturbance='input')"
        )
    estimate[:, :n_y] = np.linalg.pinv(felt / scale) / scale[:, None]
    return estimate
