"""The quadrotor in a vertical plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class Quadrotor(Plant):
    r"""Rigid body in a vertical plane with a rotor on either side.

    The pitch `theta` is zero when level and grows counter-clockwise: the first rotor, on the right, lifts it.

    Parameters
    ----------
    m : float
        Mass, kg.
    I : float
        Moment of inertia, kg m^2.
    r : float
        Distance of the rotors from the middle, m.
    g : float
        Acceleration of gravity, m/s^2.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("x", "z", "theta", "v_x", "v_z", "omega")
    state_units: ClassVar = ("m", "m", "rad", "m/s", "m/s", "rad/s")
    input_names: ClassVar = ("thrust1", "thrust2")
    input_units: ClassVar = ("N", "N")
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("m", "I", "r", "g")
    step_error: ClassVar = 1e-7

    m: float = 0.486
    I: float = 0.00383
    r: float = 0.25
    g: float = 9.81
    dt: float = 0.02
    n_substeps: int = 4
    u_min: tuple[float, ...] = (0.0, 0.0)
    u_max: tuple[float, ...] = (5.0, 5.0)
    x0_low: tuple[float, ...] = (-1.0, -1.0, -0.3, -1.0, -1.0, -1.0)
    x0_high: tuple[float, ...] = (1.0, 1.0, 0.3, 1.0, 1.0, 1.0)
    x_min: tuple[float, ...] = (-5.0, -5.0, -math.pi, -10.0, -10.0, -40.0)
    x_max: tuple[float, ...] = (5.0, 5.0, math.pi, 10.0, 10.0, 40.0)

    @property
    def equilibria(self) -> FloatArray:
        """Hovering at the origin."""
        return np.zeros((1, 6))

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Half of the weight on each rotor."""
        return np.full((1, 2), 0.5 * self.m * self.g)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of the state; see `Plant.rhs_components`."""
        _, _, theta, v_x, v_z, omega = x
        lift = (u[0] + u[1]) / self.m
        return (
            v_x,
            v_z,
            omega,
            -lift * xp.sin(theta),
            lift * xp.cos(theta) - self.g,
            self.r / self.I * (u[0] - u[1]),
        )


class QuadrotorEnv(PlantEnv):
    r"""Planar quadrotor: `koopctrl/Quadrotor-v0`.

    .. math::

        m \ddot x = -(u_1 + u_2) \sin\theta, \qquad m \ddot z = (u_1 + u_2) \cos\theta - m g, \qquad
        I \ddot\theta = r (u_1 - u_2)

    Two chains of integrators, coupled through the pitch: without feedback it falls. The task is to hover at
    the origin, or to follow another set-point.

    ==================  ===========================================  ================  =========
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  =========
    `m`                 mass                                         0.486             kg
    `I`                 moment of inertia                            0.00383           kg m^2
    `r`                 distance of the rotors from the middle       0.25              m
    `g`                 acceleration of gravity                      9.81              m/s^2
    `dt`                sample time                                  0.02              s
    `n_substeps`        Runge-Kutta steps per sample                 4
    `u_min, u_max`      limits of the thrusts                        0, 5              N
    `x0_low, x0_high`   box the starts are drawn from                +-1 m, +-0.3      m, rad,
                                                                     rad, +-1 m/s,     m/s, rad/s
                                                                     +-1 rad/s
    `x_min, x_max`      limits of the state                          +-5 m, +-pi,      m, rad,
                                                                     +-10 m/s,         m/s, rad/s
                                                                     +-40 rad/s
    ==================  ===========================================  ================  =========

    **Observation**: `[x, z, theta, v_x, v_z, omega]`. **Action**: `[thrust1, thrust2]`. **Reward**:
    :math:`-(y - r)^T Q (y - r) - (u - u_r)^T R (u - u_r)` with `Q = diag(10, 10, 1, 1, 1, 0.01)`, `R = 0.1`,
    `r = 0` and half of the weight in each of `u_r`. **Start**: uniform in the box, or
    `reset(options={"x0": [0.0] * 6})`. **End**: outside the limits (overturned, or flown away); truncated
    after 200 steps (4 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: R. Tedrake, *Underactuated robotics*, course notes, chapter on acrobots, cart-poles and
    quadrotors, from which the parameters are.
    """

    plant_class = Quadrotor
    task_settings: ClassVar = {"hold": 100}  # Before, moving does not pay.
    body = "quadrotor"
    shown = ("x", "z", "theta")
    default_Q = (10.0, 10.0, 1.0, 1.0, 1.0, 0.01)
    default_R = 0.1
