r"""The law of energy shaping: numbers that do not change, a state, and a pure step.

**Fully actuated, or nothing to hold.** With :math:`\varepsilon = (H - H^*) / H_s` and the velocities that
inputs work on, :math:`\nu = G' \dot q / v_s`,

.. math:: u = u^* - k\,U \varepsilon\,\nu, \qquad V = \tfrac12 \varepsilon^2, \qquad
          \dot V = \varepsilon\,\dot q'(G u - D \dot q) / H_s

so `V` falls but for what damping takes (Astrom & Furuta, *Automatica* 36, 2000).

**With positions to hold** (the cart of a cart-pole), what is shaped is the energy of the rest, seen from the
moving part: `E`, with velocities less those that inputs work on. Inputs give these the acceleration `w`
(collocated partial feedback linearisation, Spong, *IEEE Control Systems* 15, 1995). Where masses and
potential do not depend on the held positions, as along a track, and but for friction, :math:`\dot E = \eta'
w` and

.. math:: w = -k\,W \varepsilon\,\eta / \eta_s - \omega^2 s - 2 \omega \dot s, \qquad
          V = \tfrac12 \varepsilon^2 + \tfrac12 (|\dot s|^2 + \omega^2 |s|^2) / (\omega L)^2

the first term held within `W`, :math:`\omega = \tfrac12 \sqrt{W / L}`. Here `V` falls on the whole; while the
moving part is called back it may rise, which its rate tells.

Near the target a regulator takes over.
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
_STILL, _FAR = 1e-3, 0.05
_PUSH = 0.5


@dataclass(frozen=True, eq=False)
class SwingFrame:
    """Scales of the swing, and which velocities inputs work on.

    Parameters
    ----------
    v_scale : (n_u,) array
        Velocities that inputs work on, in a swing of full height.
    travel : (n_u,) array or None
        Excursion of their positions that counts as one; None leaves these free.
    lift : (d, n_u) array
        Velocities that belong to one unit of those that inputs work on.
    remove : (d, d) array
        Takes these out of a velocity.
    eta_scale, w_scale : (n_u,) arrays
        Of the coupling and of the accelerations.
    """

    v_scale: FloatArray
    travel: FloatArray | None
    lift: FloatArray
    remove: FloatArray
    eta_scale: FloatArray
    w_scale: FloatArray


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
    gain : float
        `k`.
    energy_scale : float
    u_span, u_min, u_max : (n_u,) arrays
        Half the width between the bounds, and these.
    frame : SwingFrame
        Scales and split of the velocities.
    catch : Catch
    n_measured : int
    """

    parts: Any
    to_state: Callable[[FloatArray], FloatArray]
    x_target: FloatArray
    u_target: FloatArray
    angles: tuple[int, ...]
    gain: float
    energy_scale: float
    u_span: FloatArray
    u_min: FloatArray
    u_max: FloatArray
    frame: SwingFrame
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
        d, f = len(x) // 2, self.frame
        point = x[None]
        gain = self.parts.gain.matrix(point[:, :d])[0]
        gradient = self.parts.energy.gradient(point)[0]
        speed = gain.T @ gradient[d:]
        if f.travel is None:
            eps, turn = energy / self.energy_scale, speed / f.v_scale
            u = self.u_target - self.gain * self.u_span * eps * turn
            lyapunov = 0.5 * eps**2
        else:
            hessian = self.parts.energy.hessian(point)[0]
            inverse = np.linalg.inv(hessian[d:, d:])
            rest = f.remove @ gradient[d:]
            potential = energy - 0.5 * float(x[d:] @ hessian[d:, d:] @ x[d:])
            eps = (0.5 * float(rest @ inverse @ rest) + potential) / self.energy_scale
            eta = -f.lift.T @ inverse @ rest
            turn = eta / f.eta_scale
            place, omega = gain.T @ error[:d], 0.5 * np.sqrt(f.w_scale / f.travel)
            drift = gain.T @ (hessian[d:] @ self.parts.rhs(point, np.zeros((1, len(self.u_span))))[0])
            mobility = gain.T @ hessian[d:, d:] @ gain
            w = np.clip(-self.gain * f.w_scale * eps * turn, -f.w_scale, f.w_scale)
            w = w - omega**2 * place - 2.0 * omega * speed
            u = np.linalg.solve(mobility, w - drift)
            stray = speed**2 + (omega * place) ** 2
            lyapunov = 0.5 * eps**2 + 0.5 * float(np.sum(stray / (omega * f.travel) ** 2))
        if np.abs(turn).max() < _STILL and abs(eps) > _FAR:
            u = self.u_target + _PUSH * self.u_span
        u = np.clip(u, self.u_min, self.u_max)
        if f.travel is None:
            flow = self.parts.rhs(point, u[None])[0]
            rate = eps * float(gradient @ flow) / self.energy_scale
        else:
            w = drift + mobility @ u
            rate = eps * float(eta @ w) / self.energy_scale
            rate += float(np.sum(speed * (w + omega**2 * place) / (omega * f.travel) ** 2))
        return u, lyapunov, rate


def with_time(info: EnergyInfo, seconds: float) -> EnergyInfo:
    """The same with the time that the step took."""
    return replace(info, solve_time=seconds)
