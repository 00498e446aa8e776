"""The arm of two links with a motor at either joint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant
from koopctrl_envs.two_link import Inertia, accelerations, kinetic_energy

RESTING = ((0.25 * math.pi, 0.5 * math.pi), (0.5 * math.pi, 0.25 * math.pi))
"""Postures that `Arm.equilibria` names: shoulder and elbow, rad."""


@dataclass(frozen=True, kw_only=True)
class Arm(Plant):
    r"""Two rigid links in a plane, driven at shoulder and elbow.

    `q1` is the first link's angle from the horizontal axis, `q2` the second one's from the first; both grow
    counter-clockwise. The plane is horizontal unless `g` is given.

    Parameters
    ----------
    m1, m2 : float
        Masses of the links, kg.
    l1, l2 : float
        Lengths, m.
    s1, s2 : float
        Distances of the centres of mass from the joints, m.
    I1, I2 : float
        Moments of inertia about each link's own joint, kg m^2.
    b, c : float
        Viscous friction of the joints, and that between them, N m s/rad; zero for an undamped arm.
    g : float
        Acceleration of gravity along the plane's second axis, m/s^2.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("q1", "q2", "w1", "w2")
    state_units: ClassVar = ("rad", "rad", "rad/s", "rad/s")
    input_names: ClassVar = ("torque1", "torque2")
    input_units: ClassVar = ("N m", "N m")
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("m1", "m2", "l1", "l2", "s1", "s2", "I1", "I2")
    nonnegative: ClassVar = ("b", "c")
    step_error: ClassVar = 1e-7
    energy_drift: ClassVar = 1e-4

    m1: float = 1.4
    m2: float = 1.0
    l1: float = 0.30
    l2: float = 0.33
    s1: float = 0.11
    s2: float = 0.16
    I1: float = 0.025
    I2: float = 0.045
    b: float = 0.05
    c: float = 0.025
    g: float = 0.0
    dt: float = 0.02
    n_substeps: int = 10
    u_min: tuple[float, ...] = (-2.0, -1.0)
    u_max: tuple[float, ...] = (2.0, 1.0)
    x0_low: tuple[float, ...] = (0.0, 0.4, -1.0, -1.0)
    x0_high: tuple[float, ...] = (1.6, 2.0, 1.0, 1.0)
    x_min: tuple[float, ...] = (-math.pi, -2.8, -25.0, -40.0)
    x_max: tuple[float, ...] = (math.pi, 2.8, 25.0, 40.0)

    @property
    def inertia(self) -> Inertia:
        """The coefficients of the motion."""
        return Inertia(self.I1 + self.I2 + self.m2 * self.l1**2, self.m2 * self.l1 * self.s2, self.I2)

    @property
    def equilibria(self) -> FloatArray:
        """Two postures, the elbow bent; in a horizontal plane every other one is an equilibrium too."""
        return np.array([[*posture, 0.0, 0.0] for posture in RESTING])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Torques that carry the links: none in a horizontal plane."""
        return np.array([self._weight(*posture, math) for posture in RESTING])

    def _weight(self, q1: Any, q2: Any, xp: Any) -> tuple[Any, Any]:
        """Torques of gravity, to be held."""
        hand = self.g * self.m2 * self.s2 * xp.cos(q1 + q2)
        return hand + self.g * (self.m1 * self.s1 + self.m2 * self.l1) * xp.cos(q1), hand

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `q1`, `q2`, `w1`, `w2`; see `Plant.rhs_components`."""
        q1, q2, w1, w2 = x
        weight = self._weight(q1, q2, xp)
        torques = (
            u[0] - weight[0] - self.b * w1 - self.c * w2,
            u[1] - weight[1] - self.c * w1 - self.b * w2,
        )
        return w1, w2, *accelerations(self.inertia, q2, (w1, w2), torques, xp)

    def energy(self, x: Components, xp: Any = np) -> Any:
        """Kinetic and potential energy of a state, J."""
        q1, q2, w1, w2 = x
        lifted = (self.m1 * self.s1 + self.m2 * self.l1) * xp.sin(q1) + self.m2 * self.s2 * xp.sin(q1 + q2)
        return kinetic_energy(self.inertia, q2, (w1, w2), xp) + self.g * lifted


class ArmEnv(PlantEnv):
    r"""Two-link arm with torques at both joints: `koopctrl/Arm-v0`.

    .. math::

        M(q) \ddot q + c(q, \dot q) + \begin{bmatrix} b & c \\ c & b \end{bmatrix} \dot q + G(q)
        = \tau, \qquad M = \begin{bmatrix} a_1 + 2 a_2 \cos q_2 & a_3 + a_2 \cos q_2 \\
        a_3 + a_2 \cos q_2 & a_3 \end{bmatrix}

    with :math:`a_1 = I_1 + I_2 + m_2 l_1^2,\; a_2 = m_2 l_1 s_2,\; a_3 = I_2` and the centrifugal and
    Coriolis torques :math:`c(q, \dot q) = a_2 \sin q_2\, [-\dot q_2 (2 \dot q_1 + \dot q_2),\; \dot q_1^2]`.
    Size and mass are those of a human arm in a horizontal plane, where `G = 0`. The task is to reach a
    posture.

    ==================  ===========================================  ================  ===========
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  ===========
    `m1, m2`            masses of the links                          1.4, 1            kg
    `l1, l2`            lengths                                      0.3, 0.33         m
    `s1, s2`            distances of the centres of mass             0.11, 0.16        m
    `I1, I2`            moments of inertia about the joints          0.025, 0.045      kg m^2
    `b, c`              friction of the joints and between them      0.05, 0.025       N m s/rad
    `g`                 gravity along the plane, 9.81 when upright   0                 m/s^2
    `dt`                sample time                                  0.02              s
    `n_substeps`        Runge-Kutta steps per sample                 10
    `u_min, u_max`      limits of the torques                        +-2, +-1          N m
    `x0_low, x0_high`   box the starts are drawn from                [0, 0.4, -1,      rad, rad,
                                                                     -1], [1.6, 2,     rad/s, rad/s
                                                                     1, 1]
    `x_min, x_max`      limits of the state                          +-pi, +-2.8,      rad, rad,
                                                                     +-25, +-40        rad/s, rad/s
    ==================  ===========================================  ================  ===========

    **Observation**: `[q1, q2, w1, w2]`. **Action**: `[torque1, torque2]`. **Reward**:
    :math:`-(y - r)^T Q (y - r) - (u - u_r)^T R (u - u_r)` with `Q = diag(10, 10, 0.1, 0.1)`, `R = 0.1`, `r`
    the posture `[pi/4, pi/2]` at rest and the torques that hold it. **Start**: uniform in the box, or
    `reset(options={"x0": [0.5, 1.0, 0.0, 0.0]})`. **End**: a joint at its stop, or faster than the limits;
    truncated after 200 steps (4 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: W. Li, E. Todorov, *Iterative linear quadratic regulator design for nonlinear biological movement
    systems*, ICINCO 2004, from which the parameters are; the limits are not theirs.
    """

    plant_class = Arm
    body = "arm"
    shown = ("q1", "q2")
    default_Q = (10.0, 10.0, 0.1, 0.1)
