r"""The moving-horizon estimator of a lifted model as numbers and a pure step.

.. math::
    \min \ |s_{k-M} - \bar s_{k-M}|^2_{\bar P^{-1}} + \sum_j |w_j|^2_{Q^{-1}} + |v_j|^2_{R^{-1}}
    \quad\text{s.t.}\quad l \le E s_j + e \le h, \quad j = k - M \dots k

The arrival cost :math:`(\bar s, \bar P)` is the Kalman filter's of all that was measured before, so that old
measurements are never forgotten; bounds hold over the last `M + 1` samples. What is not bounded is eliminated
beforehand: the problem's Gaussian of the bounded quantities is that of a fixed-lag smoother, and what is left
to solve is its projection onto the bounds (`nearest_within`). Without one that acts, the estimate is the
Kalman filter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_integer
from koopctrl.controllers.estimation.bounded import Limit, choose_bounded
from koopctrl.controllers.estimation.fixed_lag import FixedLagLaw
from koopctrl.controllers.estimation.kalman_law import KalmanLaw, KalmanState
from koopctrl.controllers.estimation.nearest_within import NearestWithin, projection_of
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.qp.solver import check_plugin
from koopctrl.lifted.model import LiftedModel

# How the newest estimate came about: nothing measured yet; all bounds hold by themselves; some act, and the
# QP's answer is certified; it was not solved, and the estimate is the Kalman filter's.
STATUS = ("waiting", "free", "bounded", "fallback")


@dataclass(frozen=True)
class MovingHorizonState:
    """What an estimator remembers.

    Attributes
    ----------
    filter : KalmanState
        Of the fixed-lag smoother.
    s : (n_z + n_d,) array
        Newest estimate, within the bounds.
    status : int
        Position in `STATUS`.
    kkt_residual : float
        Bound on the error of the QP's answer, relative to its size; 0 without one.
    n_fallbacks : int
        How many estimates were the Kalman filter's for want of an answer.
    """

    filter: KalmanState
    s: FloatArray
    status: int
    kkt_residual: float
    n_fallbacks: int

    @property
    def started(self) -> bool:
        """Whether anything has been measured, or a start was given."""
        return self.filter.started

    @property
    def covariance(self) -> FloatArray:
        """Of the Kalman estimate's error; empty where the gain is steady."""
        n = len(self.s)
        return self.filter.covariance[:n, :n] if self.filter.covariance.size else self.filter.covariance


class MovingHorizonLaw(LinearEstimator):
    """An estimator's numbers; parameters and attributes are those of `MovingHorizonEstimator`.

    Attributes
    ----------
    kalman : KalmanLaw
        The filter without bounds.
    smoother : FixedLagLaw
    bounded : Bounded
    low, high : (m,) arrays
        Bounds of `q`, what is bounded at all samples, newest first.
    unit : (m,) array
        Standard deviations of `q` before anything is measured.
    to_q : (m, n + n_lagged) array
        What `q` is of the smoother's estimate.
    nearest : NearestWithin
    """

    def __init__(
        self,
        lifted: LiftedModel,
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
        constraints: Any = None,
        measured: Sequence[str | int] | str | int | None = None,
        disturbance: str = "none",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        Qd: ArrayLike | None = None,
        steady: bool = True,
        P0: ArrayLike | None = None,
        gate: float | None = None,
        solver: str = "daqp",
    ) -> None:
        self.horizon, self.solver_name = check_integer(horizon, "horizon"), check_plugin(solver)
        kalman = self.kalman = KalmanLaw(
            lifted, Qn, Rn, measured=measured, disturbance=disturbance, Qd=Qd, steady=steady, P0=P0,
            gate=gate, measured_disturbances=measured_disturbances,
        )  # fmt: skip
        self.lifted, self.dt, self.model, self.measured = lifted, lifted.dt, kalman.model, kalman.measured
        self.measured_names, self.disturbance, self.gate = (
            kalman.measured_names,
            kalman.disturbance,
            kalman.gate,
        )
        self.Qn, self.Rn, self.Qd, self.P0 = kalman.Qn, kalman.Rn, kalman.Qd, kalman.P0
        self.P, self.steady = kalman.P, kalman.steady
        self.basis, self.offset = kalman.basis, kalman.offset
        limits: dict[str, tuple[Limit, Limit]] = {
            "y": (y_min, y_max), "x": (x_min, x_max), "d": (d_min, d_max)
        }  # fmt: skip
        self.bounded = choose_bounded(_maps(kalman), limits, constraints)
        E, n_samples = self.bounded.E, self.horizon + 1
        smoother = self.smoother = FixedLagLaw.of(kalman, E, self.horizon)
        n = len(E)
        self.low, self.high = (np.tile(side, n_samples) for side in (self.bounded.low, self.bounded.high))
        self.to_q = np.zeros((n * n_samples, smoother.n + smoother.n_lagged))
        self.to_q[:n, : smoother.n] = E
        self.to_q[n:, smoother.n :] = np.eye(smoother.n_lagged)
        self.unit = np.sqrt(np.diag(self.to_q @ smoother.P0 @ self.to_q.T))
        if n:
            self.projection = self._projection(smoother.filtered, square=not self.steady)
            size = self.projection.F.shape[1]
            self.nearest = NearestWithin(size, len(self.low), self.low, self.high, solver)
            self.nearest.load(self.projection)

    def _projection(self, covariance: FloatArray, *, square: bool) -> Any:
        shown = self.to_q @ covariance
        return projection_of(
            shown @ self.to_q.T, shown[:, : self.smoother.n].T, self.unit, square=square
        )  # fmt: skip

    def outputs(self, y: FloatArray) -> FloatArray:
        """See `Estimator`."""
        return self.kalman.outputs(y)

    def initial(self) -> MovingHorizonState:
        """See `Estimator`."""
        return MovingHorizonState(self.smoother.initial(), np.zeros(len(self.model.A)), 0, 0.0, 0)

    def step(self, state: MovingHorizonState, y: FloatArray, u_last: FloatArray | None) -> MovingHorizonState:
        """Predict with the input that acted, if there was an estimate; correct; keep within the bounds."""
        return self._within(state, self.smoother.step(state.filter, y, u_last))

    def predict(self, state: MovingHorizonState, u: FloatArray) -> MovingHorizonState:
        """Advance by one sample under all inputs `u`."""
        return self._within(state, self.smoother.predict(state.filter, u))

    def update(self, state: MovingHorizonState, y: FloatArray) -> MovingHorizonState:
        """Correct by those entries of `y` that are measured; the first ones start the filter."""
        return self._within(state, self.smoother.update(state.filter, y))

    def estimate(self, state: MovingHorizonState) -> FloatArray | None:
        """`[z; d]`; None until something has been measured."""
        return state.s if state.started else None

    def rejected(self, state: MovingHorizonState) -> tuple[bool, int]:
        """See `Estimator`."""
        return self.smoother.rejected(state.filter)

    def recover(self, state: MovingHorizonState, y: FloatArray) -> MovingHorizonState:
        """Start anew from an estimate whose outputs are far beyond the newest measurement."""
        found = self.smoother.recover(state.filter, y)
        return state if found is state.filter else replace(self.initial(), n_fallbacks=state.n_fallbacks)

    def start_from(self, z0: FloatArray) -> MovingHorizonState:
        """An estimator that starts from `z0` `(n_z,)` without disturbance."""
        return self._within(self.initial(), self.smoother.start_from(z0))

    def with_estimate(self, state: MovingHorizonState, z: FloatArray) -> MovingHorizonState:
        """The state with another estimate, at which the plant has been."""
        return self._within(state, self.smoother.with_estimate(state.filter, z))

    def _within(self, before: MovingHorizonState, found: KalmanState) -> MovingHorizonState:
        """The likeliest state within the bounds."""
        s = found.z[: self.smoother.n]
        if not found.started or not self.bounded.n_b:
            return MovingHorizonState(found, s, int(found.started), 0.0, before.n_fallbacks)
        q = self.to_q @ found.z
        if ((q >= self.low) & (q <= self.high)).all():
            return MovingHorizonState(found, s, 1, 0.0, before.n_fallbacks)
        answer, residual = None, 0.0
        if np.isfinite(q).all() and np.isfinite(found.covariance).all():
            if not self.steady:
                self.nearest.load(self._projection(found.covariance, square=True))
            answer, residual, _ = self.nearest.solve(q)
        if answer is None:
            return MovingHorizonState(found, s, 3, 0.0, before.n_fallbacks + 1)
        return MovingHorizonState(found, s + answer, 2, residual, before.n_fallbacks)


def _maps(kalman: KalmanLaw) -> dict[str, tuple[FloatArray, FloatArray]]:
    """What outputs, states and disturbances are of `[z; d]`."""
    lifted, model = kalman.lifted, kalman.model
    n, n_x = len(model.A), lifted.n_x
    x = np.zeros((n_x, n))
    x[:, :n_x] = np.diag(lifted.observables.x_scale)
    d = np.eye(n)[n - model.n_d :]
    return {"y": (model.C, lifted.y_op), "x": (x, lifted.x_op), "d": (d, np.zeros(model.n_d))}
