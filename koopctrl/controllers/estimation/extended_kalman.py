r"""Extended Kalman filter on the nonlinear face: the window, and constant disturbances, from a few signals.

.. math::
    x_{k+1} = f(x_k, u_k + w_k, d_k) + E q_k, \quad y_k = H x_k + v_k, \quad
    \mathrm{cov}\, q = Q_n,\ \mathrm{cov}\, v = R_n

`d` is added to the next outputs, `w` to the inputs; either drifts with covariance `Qd`. `E` reaches the
newest outputs alone: the rest of a lag window is an exact shift.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_vector, as_weight, check_fitted
from koopctrl.controllers.estimation.augmented_network import DisturbedRollout
from koopctrl.controllers.estimation.detectability import check_detectable
from koopctrl.controllers.estimation.gate import InnovationGate, corrected_covariance, filter_gain
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.errors import OptionError, RolloutWarning
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.network.recurrent import DIVERGED

# The default drift of a disturbance from sample to sample, as a part of its first standard deviation.
_DRIFT = 0.1


class ExtendedKalmanFilter(InnovationGate):
    r"""Estimator of a fitted network's state, from all of its outputs or from some of them.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted, without feedthrough; with inputs or without.
    Qn : scalar, (n_y,) or (n_y, n_y) array_like
        Covariance of the process noise on the next outputs, in their units.
    Rn : scalar, (n_measured,) or (n_measured, n_measured) array_like
        Covariance of the measurement noise; positive definite.
    measured : sequence of str or int, optional
        Outputs of the model that are measured online, by name or index, in the order of `y`; all by default.
        A model identified on the full state then runs on a plant that shows a part of it.
    disturbance : {"none", "state", "input"}
        Constant disturbances estimated beside the window: `d`, one on each next output, or `w`, one on each
        input. With as many of them as measured signals, a controller that uses them leaves no steady-state
        error.
    Qd : scalar, (n_d,) or (n_d, n_d) array_like, optional
        Covariance of the disturbances' drift; by default a tenth of their first standard deviation a sample.
    P0 : scalar, (n,) or (n, n) array_like, optional
        Covariance of the first estimate's error, `n = n_x + n_d`, or `n_x` for the window alone. By default
        the training data's variance, of each input for `w` and a hundredth of each output's for `d`.
    gate : float, optional
        Measurements whose innovation is more than `gate` standard deviations away (root mean square, in its
        covariance's norm) are rejected, five in a row at most: after them it is the estimate that is wrong.

    Attributes
    ----------
    estimate : (n_x + n_d,) array or None
        Newest estimate `[x; d]` or `[x; w]`, see `split`; None before the first measurement.
    covariance : (n_x + n_d, n_x + n_d) array
        Of its error.
    rejected : bool
        Whether the last measurement was rejected, by the gate or because it overflows.
    n_rejected : int
        How many were since the last reset.
    measured : (n_measured,) int array
        Indices of the measured outputs.
    n_measured, n_d : int
        Numbers of measured signals and of disturbances.
    model, dt
        The model and its sample time.

    Raises
    ------
    OptionError, ShapeError, DataError, NotFittedError
        If an argument does not fit the model, or there are more disturbances than measured signals.
    SolverError
        If modes that do not decay cannot be seen in the measured signals, or told from disturbances, at any
        of the points tried.

    Warns
    -----
    RolloutWarning
        If a prediction leaves the training data's range by 1e4 standard deviations, by itself or by its
        uncertainty. It is then forgotten, and the next measurement starts the filter anew.

    Notes
    -----
    The measured signals are entries of the state, so the correction is exact for a Gaussian prediction; what
    is approximated is the prediction's covariance. The first estimate has the measured signals where they
    were measured, the rest at the training mean. In a lag window the older outputs are corrected too (a
    fixed-lag smoother), and older inputs are those that acted, `w` included. Anderson & Moore, *Optimal
    Filtering*, 1979, chapter 8.
    """

    def __init__(
        self,
        model: KoopmanRNN,
        Qn: ArrayLike,
        Rn: ArrayLike,
        *,
        measured: Sequence[str | int] | None = None,
        disturbance: str = "none",
        Qd: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        gate: float | None = None,
    ) -> None:
        _check_model(model)
        super().__init__(gate)
        network = model.network_
        self.model, self.dt = model, model.dt_
        self.measured = _indices(measured, model.output_names_)
        roll = self._rollout = DisturbedRollout(network, disturbance)
        n_x, n_y, self.n_d, self.n_measured = roll.n_x, roll.n_y, roll.n_d, len(self.measured)
        self.Qn = as_weight(Qn, "Qn", n_y)
        self.Rn = as_weight(Rn, "Rn", self.n_measured, definite=True)
        drift = _DRIFT * roll.deviation[n_x:]
        self.Qd = np.diag(drift**2) if Qd is None else as_weight(Qd, "Qd", self.n_d)
        self.P0 = _first_covariance(P0, roll.deviation, n_x)
        self._noise = np.zeros((roll.n, roll.n))
        self._noise[:n_y, :n_y] = self.Qn
        self._noise[n_x:, n_x:] = self.Qd
        self._H = np.eye(roll.n)[self.measured]
        self._y_limit = DIVERGED * network.scaling.y_scale
        self._variance_limit = DIVERGED**2 * np.maximum(roll.deviation**2, np.diag(self.P0))
        check_detectable(roll, self._H, [model.output_names_[i] for i in self.measured])
        self.reset()

    def reset(self, x0: ArrayLike | None = None) -> None:
        """Forget the estimate, or start from the window `x0` `(n_x,)` without disturbance."""
        start = None if x0 is None else as_vector(x0, "x0", self._rollout.n_x)
        self.estimate: FloatArray | None = None if start is None else np.append(start, np.zeros(self.n_d))
        self.covariance = self.P0.copy()
        self._reset_gate()

    def update(self, y: ArrayLike) -> FloatArray:
        """Correct by a measurement `y`, shape `(n_measured,)`; entries with NaN are left out.

        The first one starts the filter. Before it, the training mean is returned.
        """
        measured = as_measurement(y, self.n_measured, "y")
        here = ~np.isnan(measured)
        self.rejected = False
        if here.any():
            if self.estimate is None:
                self.estimate = self._start(measured, here)
            self._correct(self.estimate, measured, here)
        return self._known()

    def _correct(self, estimate: FloatArray, measured: FloatArray, here: np.ndarray) -> None:
        H, noise = self._H, self.Rn
        if not here.all():
            H, noise, measured = H[here], noise[here][:, here], measured[here]
        with np.errstate(all="ignore"):
            error = measured - H @ estimate
            gain, S = filter_gain(self.covariance, H, noise)
            if self._rejects(error, S):
                return
            corrected = estimate + gain @ error
            covariance = corrected_covariance(self.covariance, gain, H, noise)
        if np.isfinite(corrected).all() and np.isfinite(covariance).all():
            self.estimate, self.covariance = corrected, covariance
        else:
            self._reject()

    def predict(self, u: ArrayLike = ()) -> FloatArray:
        """Advance by one sample under the input `u`, shape `(n_u,)`."""
        roll = self._rollout
        u = as_vector(u, "u", roll.n_u)
        if self.estimate is None:
            return self._known()
        with np.errstate(all="ignore"):  # judged by the limits below
            predicted, F = roll.advance(self.estimate, u)
            P = F @ self.covariance @ F.T + self._noise
            P = 0.5 * (P + P.T)
            away = np.abs(predicted - roll.mean)[: roll.n_y]
        # Comparisons with NaN are false.
        held, certain = away <= self._y_limit, np.diag(P) <= self._variance_limit
        if held.all() and certain.all():
            self.estimate, self.covariance = predicted, P
        else:
            what = "prediction" if not held.all() else "uncertainty of the prediction"
            warnings.warn(
                f"the {what} left the training data's range by {DIVERGED:g} standard deviations; it is "
                "forgotten, and the next measurement starts the filter anew. Check units and inputs, measure "
                "more signals, or fit on a wider range",
                RolloutWarning,
                stacklevel=2,
            )
            self.estimate, self.covariance, self._in_a_row = None, self.P0.copy(), 0
        return self._known()

    def observe(self, measurement: ArrayLike, u_last: ArrayLike | None) -> FloatArray:
        """Predict with `u_last`, held since the last call (None on the first); update by `measurement`.

        Parameters
        ----------
        measurement : (n_measured,) array_like
            NaN where missing.
        u_last : (n_u,) array_like or None
        """
        if u_last is not None:
            self.predict(u_last)
        return self.update(measurement)

    def split(self, estimate: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Parts of an `estimate`: `x` `(n_x,)`, `d` `(n_y,)` and `w` `(n_u,)`, zero where not estimated."""
        return self._rollout.split(as_vector(estimate, "estimate", self._rollout.n).copy())

    def _start(self, measured: FloatArray, here: np.ndarray) -> FloatArray:
        """Window filled with what is measured, the rest at the training mean; no disturbance."""
        roll, scaling = self._rollout, self._rollout.network.scaling
        y = scaling.y_mean.copy()
        y[self.measured[here]] = measured[here]
        return np.concatenate([roll.window.repeat_channels(y, scaling.u_mean), np.zeros(self.n_d)])

    def _known(self) -> FloatArray:
        return (self._rollout.mean if self.estimate is None else self.estimate).copy()


def _check_model(model: Any) -> None:
    if not isinstance(model, KoopmanRNN):
        raise OptionError(f"model is a {type(model).__name__}; expected a fitted KoopmanRNN")
    check_fitted(model, "network_")
    if model.network_.window.shift:
        raise OptionError(
            "the model has feedthrough: u[k] acts on y[k], which is measured before u[k] is chosen. Fit with "
            "feedthrough=False, delaying the inputs by one sample"
        )


def _indices(measured: Any, names: tuple[str, ...]) -> np.ndarray:
    """Indices of the measured outputs."""
    if measured is None:
        return np.arange(len(names))
    wanted = [measured] if isinstance(measured, (str, int, np.integer)) else measured
    try:
        found = [_index(m, names) for m in wanted]
    except TypeError as error:
        raise OptionError(
            f"measured is {measured!r}; expected a sequence of output names or indices"
        ) from error
    if not found or len(set(found)) != len(found):
        raise OptionError(f"measured is {measured!r}; expected at least one output, and each of them once")
    return np.array(found)


def _index(value: Any, names: tuple[str, ...]) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < len(names):
        return int(value)
    raise OptionError(
        f"measured has {value!r}; expected names out of {list(names)} or indices below {len(names)}"
    )


def _first_covariance(P0: ArrayLike | None, deviation: FloatArray, n_x: int) -> FloatArray:
    if P0 is None:
        return np.diag(deviation**2)
    size = np.shape(P0)[:1]
    if size == (n_x,) and n_x < len(deviation):
        return np.asarray(linalg.block_diag(as_weight(P0, "P0", n_x), np.diag(deviation[n_x:] ** 2)))
    return as_weight(P0, "P0", len(deviation))
