"""The law of `LQR`: gains folded into few products, and a pure step."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels, choose_channels
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.info import NOT_FINITE, ControlInfo
from koopctrl.controllers.request import Request, RequestReader
from koopctrl.controllers.riccati import Riccati, solve_riccati
from koopctrl.controllers.steady_state.aim import LinearAim
from koopctrl.controllers.steady_state.linear import SteadyTarget, steady_target
from koopctrl.controllers.steady_state.reachable import ReachableSetPoint
from koopctrl.errors import SolverError
from koopctrl.lifted.model import LiftedModel

# So many laws with outputs left out are kept beside the whole one.
_MAX_PARTIAL = 16


@dataclass(frozen=True)
class LQRState:
    """All that the regulator remembers.

    Attributes
    ----------
    u_last : (n_u,) array
        The input sent last,
    sent : bool
        and whether there was one.
    estimator : dataclass
        The estimator's state.
    """

    u_last: FloatArray
    sent: bool
    estimator: Any


@dataclass(frozen=True, eq=False)
class LQRLaw:
    """Numbers of an `LQR`: `u = from_r r + from_wish (u_r - u_op) + constant - gain p`, within bounds.

    Attributes
    ----------
    lifted : LiftedModel
    estimator : LinearEstimator
        `p` is its estimate.
    Q, R : arrays
    u_min, u_max : (n_u,) arrays
    riccati : Riccati
    target : SteadyTarget
    reachable : ReachableSetPoint
    gain, from_r, from_wish, constant : arrays
    counted : (n_y,) bool array
        Outputs that are tracked.
    """

    lifted: LiftedModel
    estimator: LinearEstimator
    Q: FloatArray
    R: FloatArray
    u_min: FloatArray
    u_max: FloatArray
    riccati: Riccati
    target: SteadyTarget
    reachable: ReachableSetPoint
    gain: FloatArray
    from_r: FloatArray
    from_wish: FloatArray
    constant: FloatArray
    counted: np.ndarray
    partial: dict[bytes, LQRLaw] = field(default_factory=dict, repr=False)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of the model."""
        return self.lifted.output_names

    @property
    def dt(self) -> float:
        """Sample time in seconds."""
        return self.lifted.dt

    @property
    def channels(self) -> InputChannels:
        """All inputs are moved."""
        return choose_channels(self.lifted.input_names, None)

    @property
    def reader(self) -> RequestReader:
        """Checks what is asked; of a preview the first row counts."""
        return RequestReader(self.lifted.n_y, self.lifted.n_u, 0, 1, 0, self.lifted.y_op)

    def initial(self) -> LQRState:
        """State before the first sample."""
        return LQRState(self.lifted.u_op, False, self.estimator.initial())

    def step(
        self, state: LQRState, y: FloatArray, asked: Request
    ) -> tuple[FloatArray, LQRState, ControlInfo]:
        """One sample: input, state after it, and how it went; see `LQR.control`."""
        start = time.perf_counter()
        r = asked.r[0] if asked.is_preview else asked.r
        law, untracked = self, ()
        if asked.tracked is not None:
            tracked = np.atleast_2d(asked.tracked)[0]
            law = self.without(tracked)
            untracked = tuple(n for n, kept in zip(self.output_names, tracked, strict=True) if not kept)
        # Absurd measurements overflow; what comes of them is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            estimator = self.estimator.step(state.estimator, y, state.u_last if state.sent else None)
            p, aim, free = self.estimator.estimate(estimator), None, None
            if p is not None:
                free, aim = law.unbounded(p, r)
        reason = ""
        if free is not None and np.isfinite(free).all():
            u = np.clip(free, self.u_min, self.u_max)
            status = "optimal" if np.array_equal(u, free) else "saturated"
        else:
            u, status = np.clip(state.u_last, self.u_min, self.u_max), "fallback_hold"
            reason = self.estimator.silence if free is None else NOT_FINITE
        # No solver tells when it has become too much, as in LinearMPC.
        state = LQRState(u, True, self.estimator.recover(estimator, y))
        info = ControlInfo(status, time.perf_counter() - start, reason, aim=aim, untracked=untracked)
        return u.copy(), state, info

    def unbounded(self, p: FloatArray, r: FloatArray) -> tuple[FloatArray, LinearAim]:
        """The input without its bounds, and where it leads."""
        d, none = self.estimator.disturbances(p), np.empty(0)
        moved, wish = self.reachable.nearest(r, d)
        free = self.from_r @ moved + self.constant - self.gain @ p
        if wish is not None:
            free = free + self.from_wish @ wish
        return free, LinearAim(self.target, self.reachable, r, moved, d, none, wish, self.counted)

    def without(self, tracked: np.ndarray) -> LQRLaw:
        """The law in which outputs that are not tracked have no weight; made once for each choice of them."""
        key = tracked.tobytes()
        if key not in self.partial:
            if len(self.partial) >= _MAX_PARTIAL:
                self.partial.pop(next(iter(self.partial)))
            Q = self.Q
            if len(Q) == self.lifted.n_y:
                Q = Q * tracked * tracked[:, None]
            try:
                law = build_lqr_law(self.lifted, Q, self.R, (self.u_min, self.u_max), self.estimator, tracked)
            except SolverError:  # what is left in sight of the weight cannot be stabilised through it
                law = self
            self.partial[key] = law
        return self.partial[key]


def build_lqr_law(
    lifted: LiftedModel,
    Q: FloatArray,
    R: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    estimator: LinearEstimator,
    counted: np.ndarray,
) -> LQRLaw:
    """Work out all that a step needs.

    Raises
    ------
    SolverError
        If no stabilising gain exists or none is found.
    """
    on_outputs = len(Q) == lifted.n_y
    lifted_q = lifted.C.T @ Q @ lifted.C if on_outputs else Q
    found = solve_riccati(lifted.A, lifted.B, lifted_q, R, "the lifted pair (A, B)")
    model = estimator.model
    weight = Q if on_outputs else np.diag(counted.astype(float))
    target = steady_target(model, weight, R)
    reachable = ReachableSetPoint(target, model, *bounds, R)
    # u = u_s + K z_s - K z with [z; d] = basis p + offset, folded into three small products.
    on_augmented = np.hstack([found.K, -(target.u_disturbance + found.K @ target.z_disturbance)])
    return LQRLaw(
        lifted, estimator, Q, R, *bounds, found, target, reachable,
        gain=on_augmented @ estimator.basis,
        from_r=target.u_gain + found.K @ target.z_gain,
        from_wish=target.u_input + found.K @ target.z_input,
        constant=target.u_offset + found.K @ target.z_offset - on_augmented @ estimator.offset,
        counted=counted,
    )  # fmt: skip
