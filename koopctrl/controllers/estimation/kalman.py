r"""Kalman filter in lifted coordinates: with the steady gain, or with a time-varying one.

.. math::
    z_{k+1} = A z_k + B (u_k - u_{op}) + c + w_k, \quad y_k = C z_k + y_{op} + v_k, \quad
    \mathrm{cov}\, w = Q_n,\ \mathrm{cov}\, v = R_n

`update`: `z <- z + M (y - C z - y_op)`, `predict`: `z <- A z + B (u - u_op) + c`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_vector, as_weight, check_bool, check_choice
from koopctrl.controllers.estimation.augmented import KINDS, augment_by_kind
from koopctrl.controllers.estimation.gate import InnovationGate, corrected_covariance, filter_gain
from koopctrl.controllers.estimation.measurement import as_measurement, check_controllable
from koopctrl.controllers.mpc.channels import choose_channels
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import OptionError, SolverError
from koopctrl.lifted.model import LiftedModel

# Distance of the slowest error mode to the unit circle that is nothing but rounding.
_UNSEEN = 1e-12


class KalmanFilter(InnovationGate):
    """Estimator of the lifted state from measured outputs.

    Parameters
    ----------
    lifted : LiftedModel
    Qn : scalar, (n_z,) or (n_z, n_z) array_like
        Covariance of the process noise in lifted coordinates.
    Rn : scalar, (n_y,) or (n_y, n_y) array_like
        Covariance of the measurement noise; positive definite.

    disturbance : {"none", "output", "input"}
        Constant disturbances estimated beside the state, one on each output or on each input (of those that
        are not in `measured_disturbances`). A controller with such an observer leaves no steady-state error
        under constant loads and model errors, as long as there are as many disturbances as measured outputs.
        The arrays below then have `n_d` more rows.
    measured_disturbances : sequence of str or int, optional
        Names or positions of inputs that are measured disturbances, as given to the controller.
    Qd : scalar, (n_d,) or (n_d, n_d) array_like
        Covariance of the disturbances' drift.

    steady : bool
        Whether the steady gain is used throughout. If not, the covariance is propagated at each sample, for
        the price of products of `n_z x n_z` matrices, and of a partly missing measurement the rest counts.
    P0 : scalar, (n_z + n_d,) or (n_z + n_d, n_z + n_d) array_like
        Covariance of the first estimate's error, where the gain is time-varying.
    gate : float, optional
        Measurements whose innovation is more than `gate` standard deviations away (root mean square, in its
        covariance's norm) are rejected, five in a row at most: after them it is the estimate that is wrong.

    Attributes
    ----------
    P : (n_z, n_z) array
        Covariance of the one-step prediction's error, in steady state.
    M : (n_z, n_y) array
        Innovation gain of `update`.
    L : (n_z, n_y) array
        `A M`, the gain of the one-step predictor, as python-control's `dlqe` returns it.
    residual : float
        Of the Riccati equation, relative to `P`.
    spectral_radius : float
        Of the error dynamics `A - L C`.
    estimate : (n_z + n_d,) array or None
        Newest estimate; None before the first measurement.
    covariance : (n_z + n_d, n_z + n_d) array
        Of the newest estimate's error, where the gain is time-varying; else `P`.
    rejected : bool
        Whether the last measurement was rejected by the gate.
    n_rejected : int
        How many were since the last reset.

    Raises
    ------
    SolverError
        If modes on or outside the unit circle cannot be seen in the outputs, or told from disturbances.

    Notes
    -----
    A measurement with NaN entries skips the update: the estimate is then the model's prediction.
    Anderson & Moore, *Optimal Filtering*, 1979.
    """

    def __init__(
        self,
        lifted: LiftedModel,
        Qn: ArrayLike,
        Rn: ArrayLike,
        *,
        disturbance: str = "none",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        Qd: ArrayLike = 1.0,
        steady: bool = True,
        P0: ArrayLike = 1.0,
        gate: float | None = None,
    ) -> None:
        check_controllable(lifted)
        self.lifted, self.dt = lifted, lifted.dt
        self.Qn = as_weight(Qn, "Qn", lifted.n_z)
        self.Rn = as_weight(Rn, "Rn", lifted.n_y, definite=True)
        channels = choose_channels(lifted.input_names, measured_disturbances)
        kind = check_choice(disturbance, "disturbance", KINDS)
        model = self.model = augment_by_kind(lifted, kind, channels)
        if model.n_d > lifted.n_y:
            raise OptionError(
                f"disturbance is {kind!r}, which makes {model.n_d} for {lifted.n_y} outputs; expected "
                "at most as many as outputs. Set disturbance='output', or name inputs that are measured with "
                "measured_disturbances=[...]"
            )
        self.Qd = as_weight(Qd, "Qd", model.n_d, definite=True) if model.n_d else np.empty((0, 0))
        noise = np.asarray(linalg.block_diag(self.Qn, self.Qd))[: len(model.A), : len(model.A)]
        what = "the lifted pair (A', C')" + (f" with {disturbance} disturbances" if model.n_d else "")
        found = solve_riccati(model.A.T, model.C.T, noise, self.Rn, what)
        if model.n_d and found.spectral_radius > 1.0 - _UNSEEN:
            raise SolverError(
                f"the outputs cannot tell {disturbance} disturbances from the model's own integrators, so "
                "that the estimate would wander off; expected a disturbance of another kind. Set disturbance="
                + ("'input'" if disturbance == "output" else "'output'")
            )
        self.P, self.L = found.P, found.K.T
        self.residual, self.spectral_radius = found.residual, found.spectral_radius
        self._noise, self.steady = noise, check_bool(steady, "steady")
        self.P0 = as_weight(P0, "P0", len(model.A))
        super().__init__(gate)
        self._innovation = model.C @ self.P @ model.C.T + self.Rn
        self.M = np.linalg.solve(self._innovation, model.C @ self.P).T
        self.reset()

    def reset(self, z0: ArrayLike | None = None) -> None:
        """Forget the estimate, or start from `z0` `(n_z,)` without disturbance."""
        self.estimate: FloatArray | None = None
        self.covariance = self.P if self.steady else self.P0
        self._reset_gate()
        if z0 is not None:
            self.estimate = self._pad(as_vector(z0, "z0", self.lifted.n_z))

    def update(self, y: ArrayLike) -> FloatArray:
        """Correct by a measurement `y`, shape `(n_y,)`; one with NaN changes nothing.

        The first one may start the filter.
        """
        measured = as_measurement(y, self.lifted.n_y, "y")
        if self.estimate is None:
            self.estimate = self._pad(self._start(measured))
        here = ~np.isnan(measured)
        self.rejected = False
        if here.all() or (here.any() and not self.steady):
            self.estimate = self._correct(self.estimate, measured, here)
        return self.estimate.copy()

    def _correct(self, estimate: FloatArray, measured: FloatArray, here: np.ndarray) -> FloatArray:
        C = self.model.C[here]
        error = measured[here] - C @ estimate - self.lifted.y_op[here]
        if self.steady:
            gain, S = self.M, self._innovation
        else:
            noise = self.Rn[here][:, here]
            gain, S = filter_gain(self.covariance, C, noise)
        if self._rejects(error, S):
            return estimate
        if not self.steady:
            self.covariance = corrected_covariance(self.covariance, gain, C, noise)
        return estimate + gain @ error

    def predict(self, u: ArrayLike) -> FloatArray:
        """Advance by one sample under the input `u`, shape `(n_u,)`."""
        model, lifted = self.model, self.lifted
        z = np.zeros(len(model.A)) if self.estimate is None else self.estimate
        self.estimate = model.A @ z + model.B @ (as_vector(u, "u", lifted.n_u) - lifted.u_op) + model.c
        if not self.steady:
            self.covariance = model.A @ self.covariance @ model.A.T + self._noise
        return self.estimate.copy()

    def _pad(self, z: FloatArray) -> FloatArray:
        return np.concatenate([z, np.zeros(self.model.n_d)])

    def observe(self, measurement: FloatArray, u_last: FloatArray | None) -> FloatArray:
        """Predict with `u_last`, held since the last call (None on the first); update by `measurement`."""
        if u_last is not None and self.estimate is not None:
            self.predict(u_last)
        return self.update(measurement)

    def _start(self, y: FloatArray) -> FloatArray:
        """Lift the first measurement where the outputs are the state's newest samples, else 0."""
        model, window = self.lifted, self.lifted.window
        if np.isnan(y).any() or window.n_y != model.n_y:
            return np.zeros(model.n_z)
        z = model.observables(window.repeat_channels(y, model.u_op))
        if np.allclose(model.C @ z + model.y_op, y, rtol=1e-8, atol=1e-10):
            return z
        return np.zeros(model.n_z)
