"""The bilinear DC motor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant

CURRENT, SPEED, FIELD = 10.0, 100.0, 4.0
"""Units of the scaled armature current (A), speed (rad/s) and stator current (A)."""

OPERATING_SPEED = 30.0


@dataclass(frozen=True, kw_only=True)
class DCMotor(Plant):
    r"""DC motor controlled by its stator current, in scaled signals; the speed is measured.

    Parameters
    ----------
    La, Ra : float
        Inductance (H) and resistance (Ohm) of the armature.
    km : float
        Motor constant.
    J : float
        Moment of inertia, kg m^2.
    B : float
        Viscous friction, N m s/rad.
    tau : float
        Load torque, N m.
    ua : float
        Voltage at the armature, V.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("current", "speed")
    state_units: ClassVar = ("10 A", "100 rad/s")
    input_names: ClassVar = ("field",)
    input_units: ClassVar = ("4 A",)
    output_names: ClassVar = ("speed",)
    output_units: ClassVar = ("100 rad/s",)
    positive: ClassVar = ("La", "Ra", "km", "J", "B", "ua")
    step_error: ClassVar = 1e-6

    La: float = 0.314
    Ra: float = 12.345
    km: float = 0.253
    J: float = 0.00441
    B: float = 0.00732
    tau: float = 1.47
    ua: float = 60.0
    dt: float = 0.01
    n_substeps: int = 4
    u_min: tuple[float, ...] = (-1.0,)
    u_max: tuple[float, ...] = (1.0,)
    x0_low: tuple[float, ...] = (-1.0, -1.0)
    x0_high: tuple[float, ...] = (1.0, 1.0)
    x_min: tuple[float, ...] = (-3.0, -3.0)
    x_max: tuple[float, ...] = (3.0, 3.0)

    @property
    def equilibria(self) -> FloatArray:
        """At 30 rad/s, with the smaller of the two fields that hold it."""
        current = (self.ua - self.km * OPERATING_SPEED * self._field()) / self.Ra
        return np.array([[current / CURRENT, OPERATING_SPEED / SPEED]])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Field that holds it."""
        return np.array([[self._field() / FIELD]])

    def _field(self) -> float:
        # km^2 w u^2 - km ua u + Ra (B w + tau) = 0, whose roots are complex where the load is too much.
        a, b = self.km**2 * OPERATING_SPEED, self.km * self.ua
        c = self.Ra * (self.B * OPERATING_SPEED + self.tau)
        return 2.0 * c / (b + max(b * b - 4.0 * a * c, 0.0) ** 0.5)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `current`, `speed`; see `Plant.rhs_components`."""
        del xp
        current, speed = x
        turn, push = self.km * SPEED * FIELD / CURRENT, self.km * CURRENT * FIELD / SPEED
        return (
            (self.ua / CURRENT - self.Ra * current - turn * (speed * u[0])) / self.La,
            (push * (current * u[0]) - self.B * speed - self.tau / SPEED) / self.J,
        )


class DCMotorEnv(PlantEnv):
    r"""Bilinear DC motor, its speed measured: `koopctrl/DCMotor-v0`.

    .. math::

        L_a \dot i = u_a - R_a i - k_m \omega u, \qquad J \dot\omega = k_m i u - B \omega - \tau

    The field current `u` multiplies both states. Signals are scaled: `current` is :math:`i` over 10 A,
    `speed` is :math:`\omega` over 100 rad/s, the input is the field current over 4 A. The task is to hold the
    speed.

    ==================  ===========================================  ============  ==========
    Parameter           Meaning                                      Default       Unit
    ==================  ===========================================  ============  ==========
    `La`                inductance of the armature                   0.314         H
    `Ra`                resistance of the armature                   12.345        Ohm
    `km`                motor constant                               0.253         N m/A^2
    `J`                 moment of inertia                            0.00441       kg m^2
    `B`                 viscous friction                             0.00732       N m s/rad
    `tau`               load torque                                  1.47          N m
    `ua`                voltage at the armature                      60            V
    `dt`                sample time                                  0.01          s
    `n_substeps`        Runge-Kutta steps per sample                 4
    `u_min, u_max`      limits of the field current                  -1, 1         4 A
    `x0_low, x0_high`   box the starts are drawn from                -1, 1         10 A, 100
                                                                                   rad/s
    `x_min, x_max`      limits of the state                          -3, 3         likewise
    ==================  ===========================================  ============  ==========

    **Observation**: `[speed]`. **Action**: `[field]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - (u - u_r)^T R (u - u_r)` with `Q = 1`, `R = 0.01`, `r = 0.3` and the field that holds it. **Start**:
    uniform in the box, or `reset(options={"x0": [0.0, 0.0]})`. **End**: outside the limits; truncated after
    200 steps (2 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: S. Daniel-Berhe, H. Unbehauen, *Experimental physical parameter estimation of a thyristor driven
    DC-motor using the HMF-method*, Control Engineering Practice 6(5), 1998; scaled as in M. Korda, I. Mezic,
    *Linear predictors for nonlinear dynamical systems*, Automatica 93, 2018.
    """

    plant_class = DCMotor
    default_R = 0.01
