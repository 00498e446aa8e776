r"""The Kalman filter in lifted coordinates as numbers and a pure step.

.. math::
    z_{k+1} = A z_k + B (u_k - u_{op}) + c + w_k, \quad y_k = C z_k + y_{op} + v_k, \quad
    \mathrm{cov}\, w = Q_n,\ \mathrm{cov}\, v = R_n

`update`: `z <- z + M (y - C z - y_op)`, `predict`: `z <- A z + B (u - u_op) + c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_weight, check_bool, check_choice
from koopctrl.controllers.channels import choose_channels
from koopctrl.controllers.estimation.augmented import augment_by_kind
from koopctrl.controllers.estimation.drift_defaults import default_drift, default_first
from koopctrl.controllers.estimation.gate import (
    GateState,
    check_gate,
    corrected_covariance,
    filter_gain,
    judge,
)
from koopctrl.controllers.estimation.measurement import (
    ABSURD,
    check_controllable,
    choose_measured,
    outputs_are_state,
    placed,
)
from koopctrl.controllers.estimation.noise_defaults import identified_noise
from koopctrl.controllers.estimation.protocol import DISTURBANCES, LinearEstimator
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import OptionError, SolverError
from koopctrl.lifted.model import LiftedModel

# Distance of the slowest error mode to the unit circle that is nothing but rounding.
_UNSEEN = 1e-12


@dataclass(frozen=True)
class KalmanState:
    """What a filter remembers.

    Attributes
    ----------
    z : (n_z + n_d,) array
        Newest estimate.
    covariance : (n_z + n_d, n_z + n_d) array
        Of its error; empty where the gain is steady.
    started : bool
        Whether anything has been measured, or a start was given.
    seen : (n_measured,) int array
        0 for signals that have not been measured, 1 for those that have, 2 for those that have been since
        all are known: what is known before rests on a guess of the others.
    gate : GateState
    """

    z: FloatArray
    covariance: FloatArray
    started: bool
    seen: np.ndarray
    gate: GateState


class KalmanLaw(LinearEstimator):
    """A Kalman filter's numbers; parameters and attributes are those of `KalmanFilter`.

    Attributes
    ----------
    noise : (n, n) array
        Covariance of what is added to `[z; d]` in a step.
    innovation : (n_measured, n_measured) array
        Steady covariance of the innovation.
    seen_P : (n_measured, n) array
        `C P`, from which gains for a part of the signals are made.
    C, y_op : arrays
        Of the measured signals.
    lifts : bool
        Whether measured signals are the state's newest samples, so that a signal's first measurement can
        start its part of the estimate.
    """

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
        check_controllable(lifted)
        self.lifted, self.dt = lifted, lifted.dt
        self.measured = choose_measured(measured, lifted.output_names)
        self.measured_names = tuple(lifted.output_names[i] for i in self.measured)
        if Qn is None or Rn is None:
            q, r = identified_noise(lifted)
            Qn = q if Qn is None else Qn
            Rn = r[self.measured][:, self.measured] if Rn is None else Rn
        self.Qn = as_weight(Qn, "Qn", lifted.n_z)
        self.Rn = as_weight(Rn, "Rn", self.n_measured, definite=True)
        channels = choose_channels(lifted.input_names, measured_disturbances)
        kind = self.disturbance = check_choice(disturbance, "disturbance", DISTURBANCES)
        model = self.model = augment_by_kind(lifted, kind, channels, self.measured, self.Qn)
        if model.n_d > self.n_measured:
            raise OptionError(
                f"disturbance is {kind!r}, which makes {model.n_d} for {self.n_measured} outputs; expected "
                "at most as many as outputs. Set disturbance='output', or name inputs that are measured with "
                "measured_disturbances=[...]"
            )
        self.C, self.y_op = model.C[self.measured], lifted.y_op[self.measured]
        n = len(model.A)
        self.basis, self.offset = np.eye(n), np.zeros(n)
        self.Qd = np.empty((0, 0))
        if model.n_d:
            self.Qd = (
                default_drift(model, self.measured, self.Qn, self.Rn)
                if Qd is None
                else as_weight(Qd, "Qd", model.n_d, definite=True)
            )
        self.noise = np.asarray(linalg.block_diag(self.Qn, self.Qd))[:n, :n]
        what = "the lifted pair (A', C')" + (f" with {disturbance} disturbances" if model.n_d else "")
        found = solve_riccati(model.A.T, self.C.T, self.noise, self.Rn, what)
        if model.n_d and found.spectral_radius > 1.0 - _UNSEEN:
            raise SolverError(
                f"the outputs cannot tell {disturbance} disturbances from the model's own integrators, so "
                "that the estimate would wander off; expected a disturbance of another kind. Set disturbance="
                + ("'output'" if disturbance == "input" else "'input'")
            )
        self.P, self.L = found.P, found.K.T
        self.residual, self.spectral_radius = found.residual, found.spectral_radius
        self.steady = check_bool(steady, "steady")
        self.P0 = default_first(model, self.P, self.Qd) if P0 is None else as_weight(P0, "P0", n)
        self.gate = check_gate(gate)
        self.seen_P = self.C @ self.P
        self.innovation = self.seen_P @ self.C.T + self.Rn
        self.M = np.linalg.solve(self.innovation, self.seen_P).T
        self.lifts = outputs_are_state(lifted)

    def outputs(self, y: FloatArray) -> FloatArray:
        """See `Estimator`."""
        return placed(y, self.measured, self.lifted.n_y)

    def initial(self) -> KalmanState:
        """See `Estimator`."""
        covariance = np.empty((0, 0)) if self.steady else self.P0
        n = len(self.model.A)
        return KalmanState(np.zeros(n), covariance, False, np.zeros(self.n_measured, dtype=int), GateState())

    def step(self, state: KalmanState, y: FloatArray, u_last: FloatArray | None) -> KalmanState:
        """Predict with the input that acted, if there was an estimate; correct by what was measured."""
        if u_last is not None and state.started:
            state = self.predict(state, u_last)
        return self.update(state, y)

    def estimate(self, state: KalmanState) -> FloatArray | None:
        """`[z; d]`; None until something has been measured."""
        return state.z if state.started else None

    def rejected(self, state: KalmanState) -> tuple[bool, int]:
        """See `Estimator`."""
        return state.gate.rejected, state.gate.n_rejected

    def recover(self, state: KalmanState, y: FloatArray) -> KalmanState:
        """Start anew from an estimate whose outputs are far beyond the newest measurement."""
        size = np.sqrt(np.diag(self.innovation)) + np.abs(np.where(np.isnan(y), 0.0, y - self.y_op))
        with np.errstate(over="ignore", invalid="ignore"):
            near = np.abs(self.C @ state.z) <= ABSURD**2 * size
        return state if near.all() else self.initial()

    def start_from(self, z0: FloatArray) -> KalmanState:
        """A filter that starts from `z0` `(n_z,)` without disturbance."""
        begin = self.initial()
        z = np.concatenate([z0, np.zeros(self.model.n_d)])
        return replace(begin, z=z, started=True, seen=np.full(self.n_measured, 2))

    def with_estimate(self, state: KalmanState, z: FloatArray) -> KalmanState:
        """The state with another estimate."""
        return replace(state, z=z, started=True, seen=np.full(self.n_measured, 2))

    def predict(self, state: KalmanState, u: FloatArray) -> KalmanState:
        """Advance by one sample under all inputs `u`; a filter that has not started advances from 0."""
        model, lifted = self.model, self.lifted
        z = model.A @ state.z + model.B_all @ (u - lifted.u_op) + model.c
        covariance = state.covariance
        if not self.steady:
            covariance = model.A @ covariance @ model.A.T + self.noise
        return KalmanState(z, covariance, state.started, state.seen, state.gate)

    def update(self, state: KalmanState, y: FloatArray) -> KalmanState:
        """Correct by those entries of `y` that are measured; the first ones start the filter."""
        here = ~np.isnan(y)
        if not here.any():
            return replace(state, gate=state.gate.accepting())
        z = state.z
        early = here & (state.seen < 2)
        if early.any():
            z = self._start(state, y, early)
            level = 2 if (here | (state.seen > 0)).all() else 1
            seen = np.where(early, level, state.seen)
            state = KalmanState(z, state.covariance, True, seen, state.gate)
        whole = bool(here.all())
        C = self.C if whole else self.C[here]
        error = y - C @ z - self.y_op if whole else y[here] - C @ z - self.y_op[here]
        noise = self.Rn if whole else self.Rn[here][:, here]
        if not self.steady:
            gain, S = filter_gain(state.covariance, C, noise)
        elif whole:
            gain, S = self.M, self.innovation
        else:
            S = self.innovation[here][:, here]
            gain = np.linalg.solve(S, self.seen_P[here]).T
        gate = judge(self.gate, state.gate.accepting(), error, S)
        if gate.rejected:
            return KalmanState(z, state.covariance, True, state.seen, gate)
        covariance = state.covariance
        if not self.steady:
            covariance = corrected_covariance(covariance, gain, C, noise)
        return KalmanState(z + gain @ error, covariance, True, state.seen, gate)

    def _start(self, state: KalmanState, y: FloatArray, early: np.ndarray) -> FloatArray:
        """Estimate in which `early` signals stand where they are measured.

        That is possible where the signals are the state's newest samples; all lags of those measured for the
        first time are filled, as of a plant at rest. Otherwise the correction alone moves the estimate, from
        the operating point.
        """
        if not self.lifts:
            return state.z
        lifted, window = self.lifted, self.lifted.window
        first = window.repeat_channels(lifted.x_op[: window.n_y], lifted.u_op)
        x = lifted.unlift(state.z[: lifted.n_z]) if state.started else first
        x = x.copy()
        for i in np.flatnonzero(early):
            lags = 1 if state.seen[i] else window.output_lags
            x[self.measured[i] : lags * window.n_y : window.n_y] = y[i]
        return np.concatenate([lifted.lift(x), state.z[lifted.n_z :]])
