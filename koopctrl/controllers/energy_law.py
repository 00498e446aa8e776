r"""The law of energy shaping: numbers that do not change, a state, and a pure step.

With the energy error :math:`\varepsilon = (H - H^*) / H_s`, the velocities that inputs work on,
:math:`\nu = G' \dot q / v_s`, and their positions :math:`\sigma = G'(q - q^*) / L`,

.. math:: V = \tfrac12 \varepsilon^2 + \tfrac{\rho}{2} (|\nu|^2 + |\sigma|^2)

falls along the model without damping under

.. math:: u = u^* - C^{-1} \rho\,(a / v_s^2 + \sigma / L) - k\,U H_s\,C \nu, \qquad
          C = \varepsilon / H_s + \rho\,B / v_s^2

where :math:`\dot{(G'\dot q)} = a + B u`. Without a hold on positions (:math:`\rho = 0`) this is Astrom and
Furuta's :math:`u = -k\,U \varepsilon \nu` (*Automatica* 36, 2000), with it Fantoni and Lozano's (*Non-linear
Control for Underactuated Mechanical Systems*, 2002). Near the target a regulator takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.energy_catch import Catch
from koopctrl.controllers.info import ControlInfo

# Within this many times its level the regulator keeps what it has caught.
_KEEP = 4.0
# Speeds, in their scale, below which a plant far from its energy stands still and is given a push.
_STILL = 1e-3
_PUSH = 0.5


@dataclass(frozen=True)
class EnergyInfo(ControlInfo):
    """Status of one step: `swing`, `balance`, or `fallback_hold`.

    Attributes
    ----------
    lyapunov : float
        `V` while swinging, dimensionless; the regulator's cost over its level while balancing.
    lyapunov_rate : float
        Its derivative on the model under the input sent, 1/s; while balancing NaN.
    energy : float
        Of the model, in its units, less that of the target.
    """

    lyapunov: float = field(default=float("nan"), kw_only=True)
    lyapunov_rate: float = field(default=float("nan"), kw_only=True)
    energy: float = field(default=float("nan"), kw_only=True)


@dataclass(frozen=True, eq=False)
class EnergyState:
    """All that is remembered: the last input, and whether the regulator holds the plant."""

    u_last: FloatArray
    caught: bool


@dataclass(frozen=True, eq=False)
class EnergyLaw:
    """Numbers of the law.

    Parameters
    ----------
    parts
        Energy, damping and gain of the model.
    to_state : callable
        State `(2d,)` of the model from a measurement.
    x_target, u_target : arrays
    angles : tuple of int
        Positions whose errors are wrapped to half a turn.
    gain, hold : float
        `k` and `rho`.
    energy_scale : float
    v_scale, travel, u_span, u_min, u_max : (n_u,) arrays
        `v_s`, `L`, `U` and the bounds.
    catch : Catch
    n_measured : int
    """

    parts: Any
    to_state: Callable[[FloatArray], FloatArray]
    x_target: FloatArray
    u_target: FloatArray
    angles: tuple[int, ...]
    gain: float
    hold: float
    energy_scale: float
    v_scale: FloatArray
    travel: FloatArray
    u_span: FloatArray
    u_min: FloatArray
    u_max: FloatArray
    catch: Catch
    n_measured: int

    def initial(self) -> EnergyState:
        """State of a new controller."""
        return EnergyState(np.clip(self.u_target, self.u_min, self.u_max), False)

    def error(self, x: FloatArray) -> FloatArray:
        """State less the target, angles wrapped."""
        e = x - self.x_target
        for i in self.angles:
            e[i] = (e[i] + np.pi) % (2.0 * np.pi) - np.pi
        return e

    def step(self, state: EnergyState, y: FloatArray) -> tuple[FloatArray, EnergyState, EnergyInfo]:
        """Input, next state and what there is to say, at measurement `y`."""
        if np.isnan(y).any():
            info = EnergyInfo("fallback_hold", 0.0, "the measurement has NaN")
            return state.u_last.copy(), state, info
        x = self.to_state(y)
        error = self.error(x.copy())
        cost = float(self.catch.cost(error)) / self.catch.level
        energy = float(self.parts.energy.value(np.stack([x, self.x_target])) @ [1.0, -1.0])
        if cost <= (_KEEP if state.caught else 1.0):
            u = np.clip(self.u_target - self.catch.K @ error, self.u_min, self.u_max)
            info = EnergyInfo("balance", 0.0, lyapunov=cost, energy=energy)
            return u.copy(), EnergyState(u, True), info
        u, lyapunov, rate = self._swing(x, error, energy)
        info = EnergyInfo("swing", 0.0, lyapunov=lyapunov, lyapunov_rate=rate, energy=energy)
        return u.copy(), EnergyState(u, False), info

    def _swing(self, x: FloatArray, error: FloatArray, energy: float) -> tuple[FloatArray, float, float]:
        """Input, Lyapunov function and its rate on the model."""
        d, m = len(x) // 2, len(self.u_span)
        point, rest = x[None], np.zeros((1, m))
        gain = self.parts.gain.matrix(point[:, :d])[0]
        gradient = self.parts.energy.gradient(point)[0]
        hessian = self.parts.energy.hessian(point)[0]
        speed = gain.T @ gradient[d:]
        drift = gain.T @ (hessian[d:] @ self.parts.rhs(point, rest)[0])
        mobility = gain.T @ hessian[d:, d:] @ gain
        eps, nu, sigma = energy / self.energy_scale, speed / self.v_scale, gain.T @ error[:d] / self.travel
        coupling = np.eye(m) * eps / self.energy_scale
        pull = np.zeros(m)
        if self.hold:
            coupling = coupling + self.hold * mobility / self.v_scale[:, None] ** 2
            pull = self.hold * (drift / self.v_scale**2 + sigma / self.travel)
            pull = np.linalg.solve(coupling, pull)
        u = self.u_target - pull - self.gain * self.u_span * self.energy_scale * (coupling @ nu)
        if np.abs(nu).max() < _STILL and np.abs(u - self.u_target).max() < _STILL * self.u_span.max():
            u = self.u_target + _PUSH * self.u_span
        u = np.clip(u, self.u_min, self.u_max)
        lyapunov = 0.5 * eps**2 + 0.5 * self.hold * float(nu @ nu + sigma @ sigma)
        flow = self.parts.rhs(point, u[None])[0]
        rate = eps * float(gradient @ flow) / self.energy_scale
        rate += self.hold * float(np.sum(nu * (drift + mobility @ u) / self.v_scale))
        rate += self.hold * float(np.sum(sigma * speed / self.travel))
        return u, lyapunov, rate


def with_time(info: EnergyInfo, seconds: float) -> EnergyInfo:
    """The same with the time that the step took."""
    return replace(info, solve_time=seconds)
