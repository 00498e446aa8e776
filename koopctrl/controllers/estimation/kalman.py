"""Kalman filter in lifted coordinates: with the steady gain, or with a time-varying one."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector
from koopctrl.controllers.estimation.filter_shell import FilterShell
from koopctrl.controllers.estimation.kalman_law import KalmanLaw, KalmanState
from koopctrl.controllers.plant_model import as_lifted
from koopctrl.controllers.settings import arguments, copied
from koopctrl.lifted.model import LiftedModel


class KalmanFilter(FilterShell):
    """Estimator of the lifted state from measured outputs.

    Parameters
    ----------
    lifted : LiftedModel or LTINetwork
    Qn : scalar, (n_z,) or (n_z, n_z) array_like, optional
        Covariance of the process noise in lifted coordinates; by default the one that was identified with the
        model, else that of its one-step residuals (`koopctrl.controllers.estimation.noise_defaults`).
    Rn : scalar, (n_measured,) or (n_measured, n_measured) array_like, optional
        Covariance of the measurement noise, positive definite; by default from the data too.
    measured : sequence of str or int, optional
        Outputs that are measured online, by name or index, in the order of `y`; all by default.
    disturbance : {"none", "output", "input", "state"}
        Constant disturbances estimated beside the state: one on each measured output, on each input (of those
        that are not in `measured_disturbances`), or on each next measured output. A controller with such an
        estimator leaves no steady-state error under constant loads and model errors, as long as there are as
        many disturbances as measured outputs. The arrays below then have `n_d` more rows.
    measured_disturbances : sequence of str or int, optional
        Names or positions of inputs that are measured disturbances, as given to the controller.
    Qd : scalar, (n_d,) or (n_d, n_d) array_like, optional
        Covariance of the disturbances' drift in one sample, in their units; by default a tenth of what shows
        as the innovations' variance, so that a load is known after some four samples whatever the units
        (`koopctrl.controllers.estimation.drift_defaults`).
    steady : bool
        Whether the steady gain is used throughout. If not, the covariance is propagated at each sample, for
        the price of products of `n_z x n_z` matrices.
    P0 : scalar, (n_z + n_d,) or (n_z + n_d, n_z + n_d) array_like, optional
        Covariance of the first estimate's error, where the gain is time-varying; by default the training
        data's spread, else far above the steady one.
    gate : float, optional
        Measurements whose innovation is more than `gate` standard deviations away (root mean square, in its
        covariance's norm) are rejected, five in a row at most: after them it is the estimate that is wrong.

    Attributes
    ----------
    P : (n_z, n_z) array
        Covariance of the one-step prediction's error, in steady state.
    M : (n_z, n_measured) array
        Innovation gain of `update`.
    L : (n_z, n_measured) array
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
    OptionError
        If a covariance is not given and nothing is known of it, or an option is outside its values.
    SolverError
        If modes on or outside the unit circle cannot be seen in the outputs, or told from disturbances.

    Notes
    -----
    Of a measurement with NaN entries the others count; without any, the estimate is the model's prediction.
    The filter starts at the first measurement, whenever it comes: where the measured outputs are the state's
    newest samples each of them starts at its first value, else at the operating point. Given to a controller
    it is not touched: the controller's own estimate is `controller.observer.estimate`. Anderson & Moore,
    *Optimal Filtering*, 1979.
    """

    law: KalmanLaw
    state: KalmanState

    def __init__(
        self,
        lifted: LiftedModel,
        Qn: ArrayLike | None = None,
        Rn: ArrayLike | None = None,
        *,
        measured: Sequence[str | int] | str | int | None = None,
        disturbance: str = "none",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        Qd: ArrayLike | None = None,
        steady: bool = True,
        P0: ArrayLike | None = None,
        gate: float | None = None,
    ) -> None:
        lifted = as_lifted(lifted)
        # The arguments beside the model, for files.
        settings = self.settings = copied(arguments(locals()))
        # Without what is worked out from this model below: a filter on another one works out its own.
        self.asked = {k: v for k, v in settings.items() if k != "lifted"}
        law = self.law = KalmanLaw(settings.pop("lifted"), **settings)
        # As they were found: a file's model may have lost its training data.
        found = {"Qn": law.Qn, "Rn": law.Rn, "P0": law.P0} | ({"Qd": law.Qd} if law.model.n_d else {})
        self.settings |= copied({k: v for k, v in found.items() if self.settings[k] is None})
        self.lifted, self.dt, self.model, self.measured = law.lifted, law.dt, law.model, law.measured
        self.Qn, self.Rn, self.Qd, self.P0 = law.Qn, law.Rn, law.Qd, law.P0
        self.P, self.M, self.L, self.gate, self.steady = law.P, law.M, law.L, law.gate, law.steady
        self.residual, self.spectral_radius = law.residual, law.spectral_radius
        self.reset()

    def reset(self, z0: ArrayLike | None = None) -> None:
        """Forget the estimate, or start from `z0` `(n_z,)` without disturbance."""
        law = self.law
        start = law.initial() if z0 is None else law.start_from(as_vector(z0, "z0", self.lifted.n_z))
        self._reset(start)

    def update(self, y: ArrayLike) -> FloatArray:
        """Correct by a measurement `y`, shape `(n_measured,)`; the first one starts the filter."""
        self._update(y)
        return self.state.z.copy()

    def predict(self, u: ArrayLike) -> FloatArray:
        """Advance by one sample under the input `u`, shape `(n_u,)`."""
        self.state = self.law.predict(self.state, as_vector(u, "u", self.lifted.n_u))
        return self.state.z.copy()

    def observe(self, measurement: ArrayLike, u_last: ArrayLike | None) -> FloatArray:
        """Predict with `u_last`, held since the last call (None on the first); update by `measurement`."""
        if u_last is not None and self.state.started:
            self.predict(u_last)
        return self.update(measurement)

    def _details(self) -> list[str]:
        sizes = [f"n_z={self.lifted.n_z}", f"n_d={self.model.n_d}"]
        return [*sizes, "steady gain" if self.steady else "time-varying gain"]
