r"""The moving-horizon estimator of a network as numbers and a pure step: real-time iteration.

.. math::
    \min \ |s_{k-M} - \bar s|^2_{\bar P^{-1}} + \sum_j |s_{j+1} - f(s_j, u_j)|^2_{Q^{-1}}
    + |y_j - H s_j|^2_{R^{-1}} \quad\text{s.t.}\quad l \le E s_j + e \le h, \quad j = k - M \dots k

Each sample begins with the last trajectory, one sample on, and takes a few Gauss-Newton steps, each a QP
(`window_problem`). The sample that leaves is eliminated by a step of the extended Kalman filter, linearised
at its last estimate within the bounds: the arrival cost. Kuhl et al., *A real-time algorithm for moving
horizon state and parameter estimation*, Computers & Chemical Engineering 35, 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_integer
from koopctrl.controllers.estimation.bounded import Limit, choose_bounded
from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw, ExtendedKalmanState
from koopctrl.controllers.estimation.gate import corrected_covariance, filter_gain
from koopctrl.controllers.estimation.protocol import NetworkEstimator
from koopctrl.controllers.estimation.window_problem import Window, WindowProblem
from koopctrl.controllers.qp.solver import check_plugin
from koopctrl.koopman_rnn import KoopmanRNN

# Largest change of the states, in their units, from which on no further step is taken.
_SETTLED = 1e-6


@dataclass(frozen=True)
class NetworkHorizonState:
    """What an estimator remembers.

    Attributes
    ----------
    filter : ExtendedKalmanState
        A filter's, moved to the newest estimate: it judges measurements, and is what is fallen back on.
    window : Window
    status, kkt_residual, n_fallbacks
        As in `MovingHorizonState`.
    """

    filter: ExtendedKalmanState
    window: Window
    status: int
    kkt_residual: float
    n_fallbacks: int

    @property
    def started(self) -> bool:
        """Whether anything has been measured, or a start was given."""
        return self.filter.started

    @property
    def s(self) -> FloatArray:
        """Newest estimate."""
        return self.filter.s

    @property
    def covariance(self) -> FloatArray:
        """Of the filter's error."""
        return self.filter.covariance


class _Filter(ExtendedKalmanLaw):
    """The filter without bounds; it refuses models in the estimator's name."""

    name = "MovingHorizonEstimator"


class NetworkHorizonLaw(NetworkEstimator):
    """An estimator's numbers; parameters and attributes are those of `MovingHorizonEstimator`.

    Attributes
    ----------
    kalman : ExtendedKalmanLaw
        The filter without bounds.
    bounded : Bounded
    problem : WindowProblem
    """

    def __init__(
        self,
        model: KoopmanRNN,
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
        Qd: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        gate: float | None = None,
        max_iter: int = 2,
        solver: str = "daqp",
    ) -> None:
        self.horizon, self.solver_name = check_integer(horizon, "horizon"), check_plugin(solver)
        self.max_iter = check_integer(max_iter, "max_iter", low=1)
        kalman = self.kalman = _Filter(
            model, Qn, Rn, measured=measured, disturbance=disturbance, Qd=Qd, P0=P0, gate=gate
        )
        self.model, self.dt, self.measured, self.n_d = model, model.dt_, kalman.measured, kalman.n_d
        self.measured_names, self.disturbance, self.gate = kalman.measured_names, disturbance, kalman.gate
        self.Qn, self.Rn, self.Qd, self.P0 = kalman.Qn, kalman.Rn, kalman.Qd, kalman.P0
        roll = self.rollout = kalman.rollout
        limits: dict[str, tuple[Limit, Limit]] = {
            "y": (y_min, y_max), "x": (x_min, x_max), "d": (d_min, d_max)
        }  # fmt: skip
        n, n_x, n_y = roll.n, roll.n_x, roll.n_y
        outputs = np.eye(n)[:n_y]
        if disturbance == "output":
            outputs[self.measured, n_x:] = np.eye(self.n_d)
        maps = {
            "y": (outputs, np.zeros(n_y)), "x": (np.eye(n)[:n_x], np.zeros(n_x)),
            "d": (np.eye(n)[n_x:], np.zeros(self.n_d)),
        }  # fmt: skip
        self.bounded = choose_bounded(maps, limits, constraints)
        self.problem = WindowProblem(
            roll, kalman.H, kalman.Rn, kalman.noise, self.bounded, self.horizon, solver
        )

    def outputs(self, y: FloatArray) -> FloatArray:
        """See `Estimator`."""
        return self.kalman.outputs(y)

    def initial(self) -> NetworkHorizonState:
        """See `Estimator`."""
        return NetworkHorizonState(self.kalman.initial(), self._empty(), 0, 0.0, 0)

    def start_from(self, x0: FloatArray) -> NetworkHorizonState:
        """An estimator that starts from the window `x0` without disturbance."""
        begin = self.initial()
        found = self.kalman.start_from(x0)
        return replace(begin, filter=found, window=self._begun(found.s), status=1)

    def with_estimate(self, state: NetworkHorizonState, s: FloatArray) -> NetworkHorizonState:
        """The state with another estimate, from which it starts anew."""
        found = self.kalman.with_estimate(state.filter, s)
        return replace(state, filter=found, window=self._begun(s), status=1)

    def step(
        self, state: NetworkHorizonState, y: FloatArray, u_last: FloatArray | None
    ) -> NetworkHorizonState:
        """Predict with the input that acted, if any is known to have; estimate from what was measured."""
        if u_last is not None:
            state = self._pushed(state, u_last)
        return self._solved(self._measured(state, y))

    def predict(self, state: NetworkHorizonState, u: FloatArray) -> NetworkHorizonState:
        """Advance by one sample under all inputs `u`; one that has not started stays as it is."""
        return self._solved(self._pushed(state, u))

    def update(self, state: NetworkHorizonState, y: FloatArray) -> NetworkHorizonState:
        """Take in those entries of `y` that are measured, in place of earlier ones of the same sample."""
        return self._solved(self._measured(state, y))

    def estimate(self, state: NetworkHorizonState) -> FloatArray | None:
        """Window and disturbances; None until something has been measured."""
        return state.filter.s if state.filter.started else None

    def split(self, estimate: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Window, disturbance on the next outputs and on the inputs, zero where not estimated."""
        return self.rollout.split(estimate)

    def output_offset(self, estimate: FloatArray) -> FloatArray | None:
        """See `NetworkEstimator`."""
        return self.rollout.output_offset(estimate)

    def rejected(self, state: NetworkHorizonState) -> tuple[bool, int]:
        """See `Estimator`."""
        return self.kalman.rejected(state.filter)

    def _empty(self) -> Window:
        roll, M, n_m = self.rollout, self.horizon, self.n_measured
        return Window(
            roll.mean, self.P0, np.zeros((M + 1, n_m)), np.zeros((M + 1, n_m), dtype=bool),
            np.zeros((M, roll.n_u)), np.zeros((M + 1, roll.n)), 0,
        )  # fmt: skip

    def _begun(self, s: FloatArray) -> Window:
        """A window of one sample, at a first estimate."""
        empty = self._empty()
        states = empty.s.copy()
        states[0] = s
        return replace(empty, mean=s, s=states, count=1)

    def _pushed(self, state: NetworkHorizonState, u: FloatArray) -> NetworkHorizonState:
        """One sample on, without a measurement."""
        if not state.filter.started:
            return state
        found = self.kalman.predict(state.filter, u)
        if not found.started:  # it has run away, and starts anew
            return replace(state, filter=found, window=self._empty(), status=0, kkt_residual=0.0)
        window = state.window
        if window.count > self.horizon:
            window = self._without_oldest(window, u)
        k, states = window.count, window.s.copy()
        inputs = window.u.copy()
        if self.horizon:
            inputs[k - 1] = u
        states[k] = found.s
        return replace(state, filter=found, window=replace(window, u=inputs, s=states, count=k + 1))

    def _without_oldest(self, window: Window, u: FloatArray) -> Window:
        """The oldest sample goes into the arrival cost."""
        mean, P, here = window.mean, window.covariance, window.seen[0]
        if here.any():
            H, noise = self.kalman.H[here], self.Rn[here][:, here]
            gain, _ = filter_gain(P, H, noise)
            mean = mean + gain @ (window.y[0][here] - H @ mean)
            P = corrected_covariance(P, gain, H, noise)
        acting = window.u[0] if self.horizon else u
        f, F = self.rollout.advance(window.s[0], acting)
        P = F @ P @ F.T + self.kalman.noise
        return Window(
            f + F @ (mean - window.s[0]), 0.5 * (P + P.T), _shifted(window.y), _shifted(window.seen),
            _shifted(window.u), _shifted(window.s), window.count - 1,
        )  # fmt: skip

    def _measured(self, state: NetworkHorizonState, y: FloatArray) -> NetworkHorizonState:
        """With the newest measurement in the window, as far as the filter believes it."""
        before, here = state.filter, ~np.isnan(y)
        found = self.kalman.update(before, y)
        window = state.window
        if found.started and not before.started:
            window = self._begun(self.kalman.start(y, here))
        if not window.count or not here.any() or found.gate.rejected:
            return replace(state, filter=found, window=window)
        k, taken, seen = window.count - 1, window.y.copy(), window.seen.copy()
        taken[k] = np.where(here, y, taken[k])
        seen[k] |= here
        return replace(state, filter=found, window=replace(window, y=taken, seen=seen))

    def _solved(self, state: NetworkHorizonState) -> NetworkHorizonState:
        """The trajectory of the window, and the newest estimate at its end; else the filter's."""
        window = state.window
        if not state.filter.started or not window.count:
            return state
        m, residual, acts = window.count, 0.0, False
        for _ in range(self.max_iter):
            with np.errstate(all="ignore"):  # judged by what is finite, and by the limits
                found, residual, acts = self.problem.solve(window)
            if found is None or not self._believed(found[-1]):
                states = window.s.copy()
                states[m - 1] = state.filter.s
                window = replace(window, s=states)
                return replace(
                    state, window=window, status=3, kkt_residual=0.0, n_fallbacks=state.n_fallbacks + 1
                )
            states = window.s.copy()
            states[:m] = found
            moved = float((np.abs(states[:m] - window.s[:m]) / self.rollout.size).max(initial=0.0))
            window = replace(window, s=states)
            if moved <= _SETTLED:
                break
        newest = replace(state.filter, s=window.s[m - 1].copy())
        return replace(
            state, filter=newest, window=window, status=2 if acts else 1,
            kkt_residual=residual if acts else 0.0,
        )  # fmt: skip

    def _believed(self, s: FloatArray) -> bool:
        """Whether an estimate is near enough to the training data."""
        away = np.abs(s - self.rollout.mean)[: self.rollout.n_y]
        return bool(np.isfinite(s).all() and (away <= self.kalman.y_limit).all())


def _shifted(array: np.ndarray) -> np.ndarray:
    """Rows one up, the last one zero."""
    out = np.zeros_like(array)
    out[:-1] = array[1:]
    return out
