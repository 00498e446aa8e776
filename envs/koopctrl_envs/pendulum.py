"""The torque-limited pendulum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class Pendulum(Plant):
    r"""Pendulum of a point mass, :math:`m l^2 \ddot\theta = m g l \sin\theta - b \dot\theta + \tau`.

    The angle is zero upright, grows counter-clockwise, and is not wrapped. The outputs are
    :math:`[\cos\theta, \sin\theta, \omega]`.

    Parameters
    ----------
    m : float
        Mass, kg.
    l : float
        Length, m.
    g : float
        Acceleration of gravity, m/s^2.
    b : float
        Viscous damping, N m s/rad; zero for an undamped pendulum.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("theta", "omega")
    state_units: ClassVar = ("rad", "rad/s")
    input_names: ClassVar = ("torque",)
    input_units: ClassVar = ("N m",)
    output_names: ClassVar = ("cos_theta", "sin_theta", "omega")
    output_units: ClassVar = ("1", "1", "rad/s")
    positive: ClassVar = ("m", "l", "g")
    nonnegative: ClassVar = ("b",)
    step_error: ClassVar = 1e-10
    energy_drift: ClassVar = 1e-8

    m: float = 1.0
    l: float = 1.0
    g: float = 9.81
    b: float = 0.1
    dt: float = 0.05
    n_substeps: int = 20
    u_min: tuple[float, ...] = (-5.0,)
    u_max: tuple[float, ...] = (5.0,)
    x0_low: tuple[float, ...] = (-math.pi, -1.0)
    x0_high: tuple[float, ...] = (math.pi, 1.0)
    x_min: tuple[float, ...] = (-math.inf, -25.0)
    x_max: tuple[float, ...] = (math.inf, 25.0)

    @property
    def equilibria(self) -> FloatArray:
        """Upright, unstable, and hanging."""
        return np.array([[0.0, 0.0], [math.pi, 0.0]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `theta`, `omega`; see `Plant.rhs_components`."""
        theta, omega = x
        return omega, self.g / self.l * xp.sin(theta) + (u[0] - self.b * omega) / (self.m * self.l * self.l)

    def energy(self, x: Components, xp: Any = np) -> Any:
        """Kinetic and potential energy of a state, J."""
        theta, omega = x
        return self.m * self.l * (0.5 * self.l * omega * omega + self.g * xp.cos(theta))

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Cosine and sine of the angle, and the speed."""
        theta, omega = x
        return xp.cos(theta), xp.sin(theta), omega

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs; see `Plant.output_bounds`."""
        return np.array([-1.0, -1.0, self.x_min[1]]), np.array([1.0, 1.0, self.x_max[1]])


class PendulumEnv(PlantEnv):
    r"""Torque-limited pendulum: `koopctrl/Pendulum-v0`.

    .. math::

        \dot\theta = \omega, \qquad
        \dot\omega = \frac{g}{l} \sin\theta + \frac{\tau - b\,\omega}{m l^2}, \qquad
        y = [\cos\theta, \sin\theta, \omega]

    The angle is zero upright. The torque limit is below :math:`m g l`, so the pendulum cannot be lifted
    straight up: it has to be swung.

    ==================  ===========================================  ============  ==========
    Parameter           Meaning                                      Default       Unit
    ==================  ===========================================  ============  ==========
    `m`                 mass                                         1             kg
    `l`                 length                                       1             m
    `g`                 acceleration of gravity                      9.81          m/s^2
    `b`                 viscous damping                              0.1           N m s/rad
    `dt`                sample time                                  0.05          s
    `n_substeps`        Runge-Kutta steps per sample                 20
    `u_min, u_max`      limits of the torque                         -5, 5         N m
    `x_min, x_max`      limits of the state                          inf, +-25     rad, rad/s
    `x0_low, x0_high`   box the starts are drawn from                [-pi, -1],    rad, rad/s
                                                                     [pi, 1]
    ==================  ===========================================  ============  ==========

    **Observation**: `[cos_theta, sin_theta, omega]`, `Box(3,)`. **Action**: `[torque]`, `Box(1,)`.
    **Reward**: :math:`-(y - r)^T Q (y - r) - u^T R u` with `Q = diag(1, 1, 0.1)`, `R = 0.001` and `r`
    upright, `[1, 0, 0]`, by default. **Start**: uniform in the box, or
    `reset(options={"x0": [3.14, 0.0]})` with `|omega| <= 25`; `info["x"]` is `[theta, omega]`, not
    wrapped. **End**: above 25 rad/s; truncated after 200 steps (10 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: any textbook of mechanics; as a swing-up task K. Furuta, M. Yamakita, S. Kobayashi, *Swing-up
    control of inverted pendulum*, IECON 1991, and gymnasium's `Pendulum-v1`.
    """

    plant_class = Pendulum
    body = "pendulum"
    shown = ("cos_theta", "omega")
    default_Q = (1.0, 1.0, 0.1)
    default_R = 0.001
