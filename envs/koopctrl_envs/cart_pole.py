"""The cart-pole with a continuous force."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class CartPole(Plant):
    r"""Uniform pole hinged on a cart that a force drives along a track.

    The angle is zero upright, grows clockwise (towards positive positions), and is not wrapped. The outputs
    are :math:`[p, v, \cos\theta, \sin\theta, \omega]`.

    Parameters
    ----------
    M, m : float
        Masses of cart and pole, kg.
    l : float
        Half of the pole's length, m.
    g : float
        Acceleration of gravity, m/s^2.
    b : float
        Viscous friction of the cart, N s/m.
    c : float
        Viscous friction of the hinge, N m s/rad.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("p", "v", "theta", "omega")
    state_units: ClassVar = ("m", "m/s", "rad", "rad/s")
    input_names: ClassVar = ("force",)
    input_units: ClassVar = ("N",)
    output_names: ClassVar = ("p", "v", "cos_theta", "sin_theta", "omega")
    output_units: ClassVar = ("m", "m/s", "1", "1", "rad/s")
    energy_drift: ClassVar = 1e-6
    positive: ClassVar = ("M", "m", "l", "g")
    nonnegative: ClassVar = ("b", "c")

    M: float = 1.0
    m: float = 0.1
    l: float = 0.5
    g: float = 9.8
    b: float = 0.1
    c: float = 0.001
    dt: float = 0.05
    n_substeps: int = 10
    u_min: tuple[float, ...] = (-10.0,)
    u_max: tuple[float, ...] = (10.0,)
    x0_low: tuple[float, ...] = (-0.5, -0.5, -math.pi, -1.0)
    x0_high: tuple[float, ...] = (0.5, 0.5, math.pi, 1.0)
    x_min: tuple[float, ...] = (-2.4, -10.0, -math.inf, -25.0)
    x_max: tuple[float, ...] = (2.4, 10.0, math.inf, 25.0)

    @property
    def equilibria(self) -> FloatArray:
        """Upright, unstable, and hanging, in the middle of the track."""
        return np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, math.pi, 0.0]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `p`, `v`, `theta`, `omega`; see `Plant.rhs_components`."""
        _, v, theta, omega = x
        sin, cos = xp.sin(theta), xp.cos(theta)
        total, moment = self.M + self.m, self.m * self.l
        push = (u[0] - self.b * v + moment * omega * omega * sin) / total
        alpha = (self.g * sin - cos * push - self.c * omega / moment) / (
            self.l * (4.0 / 3.0 - self.m * cos * cos / total)
        )
        return v, push - moment * alpha * cos / total, omega, alpha

    def energy(self, x: Components, xp: Any = np) -> Any:
        """Kinetic and potential energy of a state, J."""
        _, v, theta, omega = x
        cos, tip = xp.cos(theta), self.l * omega
        kinetic = 0.5 * (self.M + self.m) * v * v + self.m * tip * (v * cos + 2.0 / 3.0 * tip)
        return kinetic + self.m * self.g * self.l * cos

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Position, speed, cosine and sine of the angle, angular speed."""
        p, v, theta, omega = x
        return p, v, xp.cos(theta), xp.sin(theta), omega

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs; see `Plant.output_bounds`."""
        low, high = (
            np.array([x[0], x[1], end, end, x[3]]) for x, end in ((self.x_min, -1.0), (self.x_max, 1.0))
        )
        return low, high


class CartPoleEnv(PlantEnv):
    r"""Cart-pole, swing-up and balance with a continuous force: `koopctrl/CartPole-v0`.

    .. math::

        a = \frac{F - b v + m l \omega^2 \sin\theta}{M + m}, \quad
        \dot\omega = \frac{g \sin\theta - a \cos\theta - c\,\omega/(m l)}
        {l \left(\frac43 - \frac{m \cos^2\theta}{M + m}\right)}, \quad
        \dot v = a - \frac{m l\,\dot\omega \cos\theta}{M + m}

    with :math:`\dot p = v,\; \dot\theta = \omega,\; y = [p, v, \cos\theta, \sin\theta, \omega]`. The angle is
    zero upright. The task is to bring the pole up and hold it, with the cart in the middle of the track.

    ==================  ===========================================  ==============  ==========
    Parameter           Meaning                                      Default         Unit
    ==================  ===========================================  ==============  ==========
    `M, m`              masses of cart and pole                      1, 0.1          kg
    `l`                 half of the pole's length                    0.5             m
    `g`                 acceleration of gravity                      9.8             m/s^2
    `b`                 friction of the cart                         0.1             N s/m
    `c`                 friction of the hinge                        0.001           N m s/rad
    `dt`                sample time                                  0.05            s
    `n_substeps`        Runge-Kutta steps per sample                 10
    `u_min, u_max`      limits of the force                          -10, 10         N
    `x0_low, x0_high`   box the starts are drawn from                +-0.5, +-0.5,   m, m/s,
                                                                     +-pi, +-1       rad, rad/s
    `x_min, x_max`      limits of the state                          +-2.4, +-10,    m, m/s,
                                                                     inf, +-25       rad, rad/s
    ==================  ===========================================  ==============  ==========

    **Observation**: `[p, v, cos_theta, sin_theta, omega]`. **Action**: `[force]`. **Reward**:
    :math:`-(y - r)^T Q (y - r) - u^T R u` with `Q = diag(1, 0.1, 5, 5, 0.1)`, `R = 0.01` and `r` upright in
    the middle, `[0, 0, 1, 0, 0]`. **Start**: uniform in the box, or
    `reset(options={"x0": [0.0, 0.0, 3.14, 0.0]})`. **End**: the cart has left its track of 2.4 m on either
    side, or turns faster than 25 rad/s; truncated after 200 steps (10 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: A. G. Barto, R. S. Sutton, C. W. Anderson, *Neuronlike adaptive elements that can solve difficult
    learning control problems*, IEEE Transactions on Systems, Man, and Cybernetics 13(5), 1983, with viscous
    friction in place of their dry one.
    """

    plant_class = CartPole
    body = "cart_pole"
    shown = ("p", "cos_theta")
    default_Q = (1.0, 0.1, 5.0, 5.0, 0.1)
    default_R = 0.01
    task_settings: ClassVar = {"hold": 100}  # Before, moving does not pay.
