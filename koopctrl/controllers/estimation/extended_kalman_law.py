r"""The extended Kalman filter on the nonlinear face as numbers and a pure step.

.. math::
    x_{k+1} = f(x_k, u_k + w_k, d_k) + E q_k, \quad y_k = H x_k + v_k, \quad
    \mathrm{cov}\, q = Q_n,\ \mathrm{cov}\, v = R_n

`d` is added to the next outputs, `w` to the inputs; either drifts with covariance `Qd`. `E` reaches the
newest outputs alone: the rest of a lag window is an exact shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_weight, check_fitted, shape_of
from koopctrl._warnings import warn
from koopctrl.controllers.estimation.augmented_network import DisturbedRollout
from koopctrl.controllers.estimation.detectability import check_detectable
from koopctrl.controllers.estimation.gate import (
    GateState,
    check_gate,
    corrected_covariance,
    filter_gain,
    judge,
)
from koopctrl.controllers.estimation.measurement import choose_measured, placed, refuse_hidden
from koopctrl.controllers.estimation.protocol import NetworkEstimator
from koopctrl.errors import OptionError, RolloutWarning
from koopctrl.identification.one_step_noise import network_noise
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.network.recurrent import DIVERGED

# The default drift of a disturbance from sample to sample, as a part of its first standard deviation.
_DRIFT = 0.05


@dataclass(frozen=True)
class ExtendedKalmanState:
    """What a filter remembers.

    Attributes
    ----------
    s : (n_x + n_d,) array
        Newest estimate, window and disturbances.
    covariance : (n_x + n_d, n_x + n_d) array
        Of its error.
    started : bool
        Whether anything has been measured, or a start was given.
    gate : GateState
    """

    s: FloatArray
    covariance: FloatArray
    started: bool
    gate: GateState


class ExtendedKalmanLaw(NetworkEstimator):
    """A filter's numbers; parameters and attributes are those of `ExtendedKalmanFilter`.

    Attributes
    ----------
    noise : (n, n) array
        Covariance of what is added to window and disturbances in a step.
    H : (n_measured, n) array
        What the measured signals are of them.
    y_limit, variance_limit : (n_y,) and (n,) arrays
        Distance from the mean, and variances, from which on a prediction is forgotten.
    """

    name = "ExtendedKalmanFilter"

    def __init__(
        self,
        model: KoopmanRNN,
        Qn: ArrayLike | None = None,
        Rn: ArrayLike | None = None,
        *,
        measured: Sequence[str | int] | str | int | None = None,
        disturbance: str = "none",
        Qd: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        gate: float | None = None,
    ) -> None:
        _check_model(model, self.name)
        self.gate = check_gate(gate)
        network = model.network_
        self.model, self.dt = model, model.dt_
        self.measured = choose_measured(measured, model.output_names_)
        self.measured_names = tuple(model.output_names_[i] for i in self.measured)
        n_y = network.window.n_y
        if Qn is None or Rn is None:
            q, r = network_noise(model)
            Qn = q if Qn is None else Qn
            Rn = r[self.measured][:, self.measured] if Rn is None else Rn
        self.Qn = as_weight(Qn, "Qn", n_y)
        self.Rn = as_weight(Rn, "Rn", self.n_measured, definite=True)
        innovation = self.Qn.copy()
        innovation[np.ix_(self.measured, self.measured)] += self.Rn
        roll = self.rollout = DisturbedRollout(network, disturbance, self.measured, innovation)
        self.disturbance, n_x, self.n_d = disturbance, roll.n_x, roll.n_d
        drift = _DRIFT * roll.deviation[n_x:]
        self.Qd = np.diag(drift**2) if Qd is None else as_weight(Qd, "Qd", self.n_d)
        self.P0 = _first_covariance(P0, roll.deviation, n_x)
        self.noise = np.zeros((roll.n, roll.n))
        self.noise[:n_y, :n_y] = self.Qn
        self.noise[n_x:, n_x:] = self.Qd
        self.H = roll.seen()
        self.y_limit = DIVERGED * network.scaling.y_scale
        self.variance_limit = DIVERGED**2 * np.maximum(roll.deviation**2, np.diag(self.P0))
        check_detectable(roll, self.H, list(self.measured_names))

    def outputs(self, y: FloatArray) -> FloatArray:
        """See `Estimator`."""
        return placed(y, self.measured, self.rollout.n_y)

    def initial(self) -> ExtendedKalmanState:
        """See `Estimator`."""
        return ExtendedKalmanState(self.rollout.mean, self.P0, False, GateState())

    def start_from(self, x0: FloatArray) -> ExtendedKalmanState:
        """A filter that starts from the window `x0` without disturbance."""
        return ExtendedKalmanState(np.append(x0, np.zeros(self.n_d)), self.P0, True, GateState())

    def step(
        self, state: ExtendedKalmanState, y: FloatArray, u_last: FloatArray | None
    ) -> ExtendedKalmanState:
        """Predict with the input that acted, if any is known to have; correct by what was measured."""
        if u_last is not None:
            state = self.predict(state, u_last)
        return self.update(state, y)

    def estimate(self, state: ExtendedKalmanState) -> FloatArray | None:
        """Window and disturbances; None until something has been measured."""
        return state.s if state.started else None

    def split(self, estimate: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Window, disturbance on the next outputs and on the inputs, zero where not estimated."""
        return self.rollout.split(estimate)

    def output_offset(self, estimate: FloatArray) -> FloatArray | None:
        """See `NetworkEstimator`."""
        return self.rollout.output_offset(estimate)

    def rejected(self, state: ExtendedKalmanState) -> tuple[bool, int]:
        """See `Estimator`."""
        return state.gate.rejected, state.gate.n_rejected

    def update(self, state: ExtendedKalmanState, y: FloatArray) -> ExtendedKalmanState:
        """Correct by those entries of `y` that are measured; the first ones start the filter."""
        here = ~np.isnan(y)
        gate = state.gate.accepting()
        if not here.any():
            return ExtendedKalmanState(state.s, state.covariance, state.started, gate)
        s = state.s if state.started else self.start(y, here)
        H, noise, measured = self.H, self.Rn, y
        if not here.all():
            H, noise, measured = H[here], noise[here][:, here], y[here]
        with np.errstate(all="ignore"):
            error = measured - H @ s
            gain, S = filter_gain(state.covariance, H, noise)
            gate = judge(self.gate, gate, error, S)
            if gate.rejected:
                return ExtendedKalmanState(s, state.covariance, True, gate)
            corrected = s + gain @ error
            covariance = corrected_covariance(state.covariance, gain, H, noise)
        if np.isfinite(corrected).all() and np.isfinite(covariance).all():
            return ExtendedKalmanState(corrected, covariance, True, gate)
        return ExtendedKalmanState(s, state.covariance, True, gate.rejecting())

    def with_estimate(self, state: ExtendedKalmanState, s: FloatArray) -> ExtendedKalmanState:
        """The state with another estimate."""
        return replace(state, s=s, started=True)

    def predict(self, state: ExtendedKalmanState, u: FloatArray) -> ExtendedKalmanState:
        """Advance by one sample under all inputs `u`; a filter that has not started stays as it is.

        Warns
        -----
        RolloutWarning
            See `ExtendedKalmanFilter`.
        """
        if not state.started:
            return state
        roll = self.rollout
        with np.errstate(all="ignore"):  # judged by the limits below
            predicted, P = self.moments(state.s, state.covariance, u)
            away = np.abs(predicted - roll.mean)[: roll.n_y]
        # Comparisons with NaN are false.
        held, certain = away <= self.y_limit, np.diag(P) <= self.variance_limit
        if held.all() and certain.all():
            return ExtendedKalmanState(predicted, P, True, state.gate)
        what = "prediction" if not held.all() else "uncertainty of the prediction"
        warn(
            f"the {what} left the training data's range by {DIVERGED:g} standard deviations; it is "
            "forgotten, and the next measurement starts the filter anew. Check units and inputs, measure "
            "more signals, or fit on a wider range",
            RolloutWarning,
        )
        gate = GateState(state.gate.rejected, state.gate.n_rejected, 0)
        return ExtendedKalmanState(roll.mean, self.P0, False, gate)

    def moments(self, s: FloatArray, P: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance one step on, of a state of mean `s` and covariance `P`: to first order."""
        predicted, F = self.rollout.advance(s, u)
        P = F @ P @ F.T + self.noise
        return predicted, 0.5 * (P + P.T)

    def start(self, measured: FloatArray, here: np.ndarray) -> FloatArray:
        """Window filled with what is measured, the rest at the training mean; no disturbance."""
        roll, scaling = self.rollout, self.rollout.network.scaling
        y = scaling.y_mean.copy()
        y[self.measured[here]] = measured[here]
        return np.concatenate([roll.window.repeat_channels(y, scaling.u_mean), np.zeros(self.n_d)])


def _check_model(model: Any, who: str) -> None:
    if not isinstance(model, KoopmanRNN):
        raise OptionError(f"model is a {type(model).__name__}; expected a fitted KoopmanRNN")
    check_fitted(model, "network_")
    refuse_hidden(model, who)
    if model.network_.window.shift:
        raise OptionError(
            "the model has feedthrough: u[k] acts on y[k], which is measured before u[k] is chosen. Fit with "
            "feedthrough=False, delaying the inputs by one sample"
        )


def _first_covariance(P0: ArrayLike | None, deviation: FloatArray, n_x: int) -> FloatArray:
    if P0 is None:
        return np.diag(deviation**2)
    size = (shape_of(P0) or ())[:1]
    if size == (n_x,) and n_x < len(deviation):
        return np.asarray(linalg.block_diag(as_weight(P0, "P0", n_x), np.diag(deviation[n_x:] ** 2)))
    return as_weight(P0, "P0", len(deviation))
