"""The acrobot: two links that a motor between them swings up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant
from koopctrl_envs.two_link import Inertia, accelerations, kinetic_energy


@dataclass(frozen=True, kw_only=True)
class Acrobot(Plant):
    r"""Double pendulum that is driven at its elbow alone.

    `theta1` is zero with the first link upright, `theta2` with both in line; both grow counter-clockwise and
    are not wrapped. The outputs are cosines and sines of both, and the speeds.

    Parameters
    ----------
    m1, m2 : float
        Masses of the links, kg.
    l1, l2 : float
        Lengths, m.
    s1, s2 : float
        Distances of the centres of mass from the joints, m.
    I1, I2 : float
        Moments of inertia about the centres of mass, kg m^2.
    b : float
        Viscous friction of each joint, N m s/rad; zero for an undamped acrobot.
    g : float
        Acceleration of gravity, m/s^2.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("theta1", "theta2", "omega1", "omega2")
    state_units: ClassVar = ("rad", "rad", "rad/s", "rad/s")
    input_names: ClassVar = ("torque",)
    input_units: ClassVar = ("N m",)
    output_names: ClassVar = ("cos1", "sin1", "cos2", "sin2", "omega1", "omega2")
    output_units: ClassVar = ("1", "1", "1", "1", "rad/s", "rad/s")
    positive: ClassVar = ("m1", "m2", "l1", "l2", "s1", "s2", "I1", "I2", "g")
    nonnegative: ClassVar = ("b",)
    step_error: ClassVar = 1e-5
    energy_drift: ClassVar = 1e-6

    m1: float = 1.0
    m2: float = 1.0
    l1: float = 1.0
    l2: float = 2.0
    s1: float = 0.5
    s2: float = 1.0
    I1: float = 0.083
    I2: float = 0.33
    b: float = 0.1
    g: float = 9.81
    dt: float = 0.05
    n_substeps: int = 20
    u_min: tuple[float, ...] = (-10.0,)
    u_max: tuple[float, ...] = (10.0,)
    x0_low: tuple[float, ...] = (-math.pi, -1.0, -0.5, -0.5)
    x0_high: tuple[float, ...] = (math.pi, 1.0, 0.5, 0.5)
    x_min: tuple[float, ...] = (-math.inf, -math.inf, -25.0, -40.0)
    x_max: tuple[float, ...] = (math.inf, math.inf, 25.0, 40.0)

    @property
    def inertia(self) -> Inertia:
        """The coefficients of the motion."""
        first, second = self.I1 + self.m1 * self.s1**2, self.I2 + self.m2 * self.s2**2
        return Inertia(first + second + self.m2 * self.l1**2, self.m2 * self.l1 * self.s2, second)

    @property
    def equilibria(self) -> FloatArray:
        """Both links upright, unstable, and both hanging."""
        return np.array([[0.0, 0.0, 0.0, 0.0], [math.pi, 0.0, 0.0, 0.0]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of angles and speeds; see `Plant.rhs_components`."""
        theta1, theta2, omega1, omega2 = x
        falling2 = self.g * self.m2 * self.s2 * xp.sin(theta1 + theta2)
        falling1 = self.g * (self.m1 * self.s1 + self.m2 * self.l1) * xp.sin(theta1) + falling2
        torques = falling1 - self.b * omega1, u[0] + falling2 - self.b * omega2
        return omega1, omega2, *accelerations(self.inertia, theta2, (omega1, omega2), torques, xp)

    def energy(self, x: Components, xp: Any = np) -> Any:
        """Kinetic and potential energy of a state, J, zero with both links level and at rest."""
        theta1, theta2, omega1, omega2 = x
        first = (self.m1 * self.s1 + self.m2 * self.l1) * xp.cos(theta1)
        lifted = first + self.m2 * self.s2 * xp.cos(theta1 + theta2)
        return kinetic_energy(self.inertia, theta2, (omega1, omega2), xp) + self.g * lifted

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Cosine and sine of either angle, and the speeds."""
        theta1, theta2, omega1, omega2 = x
        return xp.cos(theta1), xp.sin(theta1), xp.cos(theta2), xp.sin(theta2), omega1, omega2

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs; see `Plant.output_bounds`."""
        ends = ((self.x_min, -1.0), (self.x_max, 1.0))
        low, high = (np.array([end] * 4 + list(x[2:])) for x, end in ends)
        return low, high


class AcrobotEnv(PlantEnv):
    r"""Acrobot, a double pendulum driven at its elbow: `koopctrl/Acrobot-v0`.

    .. math::

        M(\theta_2) \begin{bmatrix} \ddot\theta_1 \\ \ddot\theta_2 \end{bmatrix}
        + a_2 \sin\theta_2 \begin{bmatrix} -\dot\theta_2 (2 \dot\theta_1 + \dot\theta_2) \\ \dot\theta_1^2
        \end{bmatrix} + b \begin{bmatrix} \dot\theta_1 \\ \dot\theta_2 \end{bmatrix}
        - g \begin{bmatrix} k_1 \sin\theta_1 + k_2 \sin(\theta_1 + \theta_2) \\ k_2 \sin(\theta_1 + \theta_2)
        \end{bmatrix} = \begin{bmatrix} 0 \\ \tau \end{bmatrix}

    with :math:`k_1 = m_1 s_1 + m_2 l_1,\; k_2 = m_2 s_2` and the `M` of `ArmEnv`, where
    :math:`a_1 = I_1 + I_2 + m_1 s_1^2 + m_2 (l_1^2 + s_2^2),\; a_2 = m_2 l_1 s_2,\; a_3 = I_2 + m_2 s_2^2`.
    Like a gymnast on the bar it has no motor where it hangs. The task is to bring both links upright and to
    hold them there; without input it moves chaotically.

    ==================  ===========================================  ================  ===========
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  ===========
    `m1, m2`            masses of the links                          1, 1              kg
    `l1, l2`            lengths                                      1, 2              m
    `s1, s2`            distances of the centres of mass             0.5, 1            m
    `I1, I2`            moments of inertia about these               0.083, 0.33       kg m^2
    `b`                 friction of each joint                       0.1               N m s/rad
    `g`                 acceleration of gravity                      9.81              m/s^2
    `dt`                sample time                                  0.05              s
    `n_substeps`        Runge-Kutta steps per sample                 20
    `u_min, u_max`      limits of the torque                         -10, 10           N m
    `x0_low, x0_high`   box the starts are drawn from                +-pi, +-1,        rad, rad,
                                                                     +-0.5, +-0.5      rad/s, rad/s
    `x_min, x_max`      limits of the state                          inf, inf, +-25,   rad, rad,
                                                                     +-40              rad/s, rad/s
    ==================  ===========================================  ================  ===========

    **Observation**: `[cos1, sin1, cos2, sin2, omega1, omega2]`. **Action**: `[torque]`. **Reward**:
    :math:`-(y - r)^T Q (y - r) - u^T R u` with `Q = diag(10, 10, 10, 10, 0.1, 0.1)`, `R = 0.01` and `r`
    upright, `[1, 0, 1, 0, 0, 0]`. **Start**: uniform in the box, or
    `reset(options={"x0": [3.14, 0.0, 0.0, 0.0]})`. **End**: faster than 25 or 40 rad/s; truncated after 200
    steps (10 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: M. W. Spong, *The swing up control problem for the acrobot*, IEEE Control Systems Magazine 15(1),
    1995, from which masses, lengths and inertias are; friction after R. Tedrake, *Underactuated robotics*,
    course notes.
    """

    plant_class = Acrobot
    body = "acrobot"
    shown = ("cos1", "cos2", "omega1")
    default_Q = (10.0, 10.0, 10.0, 10.0, 0.1, 0.1)
    default_R = 0.01
