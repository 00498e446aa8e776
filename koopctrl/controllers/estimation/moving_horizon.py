"""Moving-horizon estimation: the state that fits the last samples best among those that can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector
from koopctrl.controllers.estimation.bounded import Limit
from koopctrl.controllers.estimation.filter_shell import FilterShell
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.estimation.moving_horizon_law import STATUS, MovingHorizonLaw
from koopctrl.controllers.estimation.moving_horizon_network import NetworkHorizonLaw
from koopctrl.controllers.plant_model import as_lifted
from koopctrl.controllers.settings import arguments, copied
from koopctrl.errors import OptionError
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifted.model import LiftedModel

# Arguments that belong to one face alone, with the values that leave them out.
_LINEAR = {"measured_disturbances": None, "steady": True}
_NETWORK = {"max_iter": 2}


class MovingHorizonEstimator(FilterShell):
    r"""Estimator of a model's state that keeps what it knows within bounds.

    .. math::
        \min \ |s_{k-M} - \bar s_{k-M}|^2_{\bar P^{-1}} + \sum_{j=k-M}^{k-1} |w_j|^2_{Q^{-1}}
        + \sum_{j=k-M}^{k} |v_j|^2_{R^{-1}} \quad\text{s.t.}\quad l \le E s_j + e \le h

    along the model, `w` its process noise, `v` that of the measurements, `s` its state and disturbances.
    Where no bound acts it is the Kalman filter (on a network: the Kalman smoother, iterated). Where bounds
    act it knows what the filter does not: that a tank cannot be emptier than empty.

    Parameters
    ----------
    model : LiftedModel, LTINetwork or KoopmanRNN
        The linear face, for `LQR` and `LinearMPC`, or the network, for `RNNMPC`.
    horizon : int
        `M`, samples before the newest one along which bounds hold. What was measured before them is not
        forgotten: it is in the arrival cost, that of the (extended) Kalman filter.
    Qn, Rn : array_like, optional
        Covariances of process and measurement noise, as in `KalmanFilter` or `ExtendedKalmanFilter`, by
        default from the data like theirs.
    y_min, y_max : scalar or (n_y,) array_like, optional
        Bounds on all outputs of the model, measured or not; infinite for none. A disturbance on the outputs
        counts.
    x_min, x_max : scalar or (n_x,) array_like, optional
        Bounds on the states, in their physical units: `model.state_names_`, or the states that were lifted.
    d_min, d_max : scalar or (n_d,) array_like, optional
        Bounds on the disturbances that are estimated, in their units.
    constraints : (E, low, high), optional
        Further bounds `low <= E x <= high` on combinations of the states.
    measured, disturbance, Qd, P0, gate
        As in `KalmanFilter` or `ExtendedKalmanFilter`.
    measured_disturbances : sequence of str or int, optional
        Linear face: as in `KalmanFilter`.
    steady : bool
        Linear face: whether the gain, and the covariance that the bounds are weighed with, are the steady
        ones. If not, the covariance is propagated at each sample, and factored where bounds act.
    max_iter : int
        Network: Gauss-Newton steps a sample, at most. One is the real-time iteration.
    solver : str
        Name of a CasADi conic plugin.

    Attributes
    ----------
    status : str
        Of the newest estimate. `waiting`: nothing has been measured; `free`: all bounds hold by themselves;
        `bounded`: some act, and the QP's answer is certified; `fallback`: the QP was not solved, and the
        estimate is the Kalman filter's.
    kkt_residual : float
        Bound on the error of the QP's answer, relative to its size; 0 where there was none.
    n_fallbacks : int
        How many estimates were the Kalman filter's for want of an answer.
    estimate : (n,) array or None
        `[z; d]` or `[x; d]`; None before the first measurement.
    covariance : (n, n) array
        Of the Kalman filter's error: bounds can only make it smaller.
    rejected : bool
        Whether the last measurement was rejected by the gate.
    n_rejected : int
        How many were since the last reset.
    law, state
        The numbers, and what is remembered; see `KalmanFilter`.

    Raises
    ------
    OptionError, ShapeError, DataError, SolverError, NotFittedError
        If an argument does not fit the model, bounds cross, or what does not decay cannot be seen: see the
        Kalman filters.

    Notes
    -----
    Bounds have to be true: an estimate is pressed against those that are not. For a linear model they never
    hurt where they are true: the likeliest trajectory within them is nearer to the true one than the Kalman
    smoother's, measured by the smoother's own covariance, whatever the noise. On the linear face the problem
    is reduced to the bounded quantities beforehand, `M + 1` of each, and solved only where one of their
    estimates is beyond its bound. Rao, Rawlings & Lee, *Constrained linear state estimation: a moving horizon
    approach*, Automatica 37, 2001; Rawlings, Mayne & Diehl, *Model Predictive Control*, 2nd ed., 2017, ch. 4.
    """

    law: Any
    state: Any

    def __init__(
        self,
        model: LiftedModel | KoopmanRNN,
        horizon: int = 10,
        Qn: ArrayLike | None = None,
        Rn: ArrayLike | None = None,
        *,
        y_min: Limit = None,
        y_max: Limit = None,
        x_min: Limit = None,
        x_max: Limit = None,
        d_min: Limit = None,
        d_max: Limit = None,
        constraints: tuple[ArrayLike, Limit, Limit] | None = None,
        measured: Sequence[str | int] | str | int | None = None,
        disturbance: str = "none",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        Qd: ArrayLike | None = None,
        steady: bool = True,
        P0: ArrayLike | None = None,
        gate: float | None = None,
        max_iter: int = 2,
        solver: str = "daqp",
    ) -> None:
        model = as_lifted(model)
        # The arguments beside the model, for files.
        settings = self.settings = copied(arguments(locals()))
        del settings["model"]
        given = dict(settings)
        if isinstance(model, KoopmanRNN):
            self.law = NetworkHorizonLaw(model, **_without(given, _LINEAR, "the linear face"))
        elif isinstance(model, LiftedModel):
            self.law = MovingHorizonLaw(model, **_without(given, _NETWORK, "a network"))
        else:
            raise OptionError(
                f"model is a {type(model).__name__}; expected a LiftedModel, an LTINetwork or a fitted "
                "KoopmanRNN"
            )
        law = self.law
        self.model, self.dt, self.measured, self.horizon = model, law.dt, law.measured, law.horizon
        self.Qn, self.Rn, self.Qd, self.P0, self.gate = law.Qn, law.Rn, law.Qd, law.P0, law.gate
        # As they were found: a file's model may have lost its training data.
        found = {"Qn": law.Qn, "Rn": law.Rn, "P0": law.P0} | ({"Qd": law.Qd} if law.Qd.size else {})
        self.settings |= copied({k: v for k, v in found.items() if settings[k] is None})
        self.reset()

    def reset(self, x0: ArrayLike | None = None) -> None:
        """Forget everything, or start from `x0`, `(n_z,)` on the linear face and `(n_x,)` on a network."""
        law = self.law
        if x0 is None:
            self._reset(law.initial())
            return
        size = law.lifted.n_z if isinstance(law, MovingHorizonLaw) else law.rollout.n_x
        self._reset(law.start_from(as_vector(x0, "x0", size)))

    def update(self, y: ArrayLike) -> FloatArray:
        """Take in a measurement `y`, shape `(n_measured,)`; entries with NaN are left out.

        The first one starts the estimator.
        """
        self._update(y)
        return self.state.s.copy()

    def predict(self, u: ArrayLike = ()) -> FloatArray:
        """Advance by one sample under the input `u`, shape `(n_u,)`."""
        self.state = self.law.predict(self.state, as_vector(u, "u", self._n_u))
        return self.state.s.copy()

    def observe(self, measurement: ArrayLike, u_last: ArrayLike | None) -> FloatArray:
        """Predict with `u_last`, held since the last call (None on the first); take in `measurement`."""
        law = self.law
        y = as_measurement(measurement, law.n_measured)
        u = None if u_last is None else as_vector(u_last, "u_last", self._n_u)
        self.state = law.step(self.state, y, u)
        return self.state.s.copy()

    @property
    def _n_u(self) -> int:
        law = self.law
        return law.lifted.n_u if isinstance(law, MovingHorizonLaw) else law.rollout.n_u

    @property
    def status(self) -> str:
        """How the newest estimate came about."""
        return STATUS[self.state.status]

    @property
    def kkt_residual(self) -> float:
        """Bound on the error of the newest answer, relative to its size."""
        return self.state.kkt_residual

    @property
    def n_fallbacks(self) -> int:
        """How many estimates were the Kalman filter's for want of an answer."""
        return self.state.n_fallbacks

    @property
    def covariance(self) -> FloatArray:
        """Of the Kalman filter's error."""
        found = self.state.covariance
        return np.array(found if found.size else self.law.P)

    def _details(self) -> list[str]:
        return [f"horizon={self.horizon}", f"n_bounded={self.law.bounded.n_b}"]


def _without(given: dict[str, Any], usual: dict[str, Any], where: str) -> dict[str, Any]:
    """The arguments of one face; those of the other must have been left out."""
    for name, value in usual.items():
        found = given[name]
        if type(found) is not type(value) or found != value:
            raise OptionError(
                f"{name} is {found!r}, which is for {where} alone; expected {value!r} here. Leave it out"
            )
    return {name: value for name, value in given.items() if name not in usual}
