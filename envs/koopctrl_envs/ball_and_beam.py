"""A ball that rolls on a beam, which a torque tilts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class BallAndBeam(Plant):
    r"""Ball on a beam that turns about its middle.

    The position `r` is zero over the pivot, the angle `theta` when level; a positive angle raises the side of
    positive positions.

    Parameters
    ----------
    M : float
        Mass of the ball, kg.
    R : float
        Its radius, m.
    Jb : float
        Its moment of inertia, kg m^2.
    J : float
        Moment of inertia of the beam, kg m^2.
    g : float
        Acceleration of gravity, m/s^2.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("r", "v", "theta", "omega")
    state_units: ClassVar = ("m", "m/s", "rad", "rad/s")
    input_names: ClassVar = ("torque",)
    input_units: ClassVar = ("N m",)
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("M", "R", "Jb", "J", "g")
    step_error: ClassVar = 1e-8

    M: float = 0.05
    R: float = 0.01
    Jb: float = 2e-6
    J: float = 0.02
    g: float = 9.81
    dt: float = 0.02
    n_substeps: int = 4
    u_min: tuple[float, ...] = (-0.3,)
    u_max: tuple[float, ...] = (0.3,)
    x0_low: tuple[float, ...] = (-0.3, -0.2, -0.1, -0.2)
    x0_high: tuple[float, ...] = (0.3, 0.2, 0.1, 0.2)
    x_min: tuple[float, ...] = (-0.5, -3.0, -0.8, -8.0)
    x_max: tuple[float, ...] = (0.5, 3.0, 0.8, 8.0)

    @property
    def equilibria(self) -> FloatArray:
        """Over the pivot, and at rest a quarter of a metre to either side."""
        return np.array([[0.0, 0.0, 0.0, 0.0], [0.25, 0.0, 0.0, 0.0], [-0.25, 0.0, 0.0, 0.0]])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Torques that carry the ball there."""
        return self.M * self.g * self.equilibria[:, :1]

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `r`, `v`, `theta`, `omega`; see `Plant.rhs_components`."""
        r, v, theta, omega = x
        rolling = self.M / (self.M + self.Jb / (self.R * self.R))
        turning = self.J + self.Jb + self.M * r * r
        moment = u[0] - 2.0 * self.M * r * v * omega - self.M * self.g * r * xp.cos(theta)
        return v, rolling * (r * omega * omega - self.g * xp.sin(theta)), omega, moment / turning


class BallAndBeamEnv(PlantEnv):
    r"""Ball and beam: `koopctrl/BallAndBeam-v0`.

    .. math::

        \left(\frac{J_b}{R^2} + M\right) \ddot r = M r \dot\theta^2 - M g \sin\theta, \qquad
        (M r^2 + J + J_b) \ddot\theta = \tau - 2 M r \dot r \dot\theta - M g r \cos\theta

    The ball runs down whatever side hangs lower and takes the beam with it. Where the beam does not turn, the
    relative degree is lost: the centrifugal term is the classical obstacle of exact linearisation. The task
    is to bring the ball over the pivot, or to another place.

    ==================  ===========================================  ================  =========
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  =========
    `M, R`              mass and radius of the ball                  0.05, 0.01        kg, m
    `Jb`                its moment of inertia                        2e-6              kg m^2
    `J`                 moment of inertia of the beam                0.02              kg m^2
    `g`                 acceleration of gravity                      9.81              m/s^2
    `dt`                sample time                                  0.02              s
    `n_substeps`        Runge-Kutta steps per sample                 4
    `u_min, u_max`      limits of the torque                         -0.3, 0.3         N m
    `x0_low, x0_high`   box the starts are drawn from                +-0.3, +-0.2,     m, m/s,
                                                                     +-0.1, +-0.2      rad, rad/s
    `x_min, x_max`      limits of the state                          +-0.5, +-3,       m, m/s,
                                                                     +-0.8, +-8        rad, rad/s
    ==================  ===========================================  ================  =========

    **Observation**: `[r, v, theta, omega]`. **Action**: `[torque]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - u^T R u` with `Q = diag(10, 1, 1, 0.1)`, `R = 1` and `r = 0`. **Start**: uniform in the box, or
    `reset(options={"x0": [0.3, 0.0, 0.0, 0.0]})`. **End**: the ball has left the beam, half a metre long on
    either side, or the beam its stops at 0.8 rad; truncated after 200 steps (4 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: J. Hauser, S. Sastry, P. Kokotovic, *Nonlinear control via approximate input-output linearization:
    the ball and beam example*, IEEE Transactions on Automatic Control 37(3), 1992. The limits are not theirs.
    """

    plant_class = BallAndBeam
    body = "ball_and_beam"
    shown = ("r", "theta")
    default_Q = (10.0, 1.0, 1.0, 0.1)
    default_R = 1.0
