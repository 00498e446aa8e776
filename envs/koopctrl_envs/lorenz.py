"""The Lorenz system with an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class Lorenz(Plant):
    r"""Lorenz's three modes of convection with an input on the first, :math:`\dot x = \sigma (y - x) + u`.

    Parameters
    ----------
    sigma : float
        Prandtl number.
    rho : float
        Rayleigh number over its critical value. Above 1 the fluid rolls to either side at two equilibria,
        which with the other defaults lose stability at 24.7.
    beta : float
        Aspect ratio of the rolls.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("x", "y", "z")
    state_units: ClassVar = ("1", "1", "1")
    input_names: ClassVar = ("u",)
    input_units: ClassVar = ("1/s",)
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("sigma", "rho", "beta")
    step_error: ClassVar = 1e-6

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8.0 / 3.0
    dt: float = 0.02
    n_substeps: int = 5
    u_min: tuple[float, ...] = (-50.0,)
    u_max: tuple[float, ...] = (50.0,)
    x0_low: tuple[float, ...] = (-15.0, -15.0, 10.0)
    x0_high: tuple[float, ...] = (15.0, 15.0, 40.0)
    x_min: tuple[float, ...] = (-30.0, -40.0, -10.0)
    x_max: tuple[float, ...] = (30.0, 40.0, 60.0)

    @property
    def equilibria(self) -> FloatArray:
        """The two wings, that of negative `x` first, and the origin; up to `rho = 1` the origin alone."""
        if self.rho <= 1.0:
            return np.zeros((1, 3))
        wing, height = (self.beta * (self.rho - 1.0)) ** 0.5, self.rho - 1.0
        return np.array([[-wing, -wing, height], [wing, wing, height], [0.0, 0.0, 0.0]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `x`, `y`, `z`; see `Plant.rhs_components`."""
        del xp
        first, second, third = x
        return (
            self.sigma * (second - first) + u[0],
            first * (self.rho - third) - second,
            first * second - self.beta * third,
        )


class LorenzEnv(PlantEnv):
    r"""Lorenz system with an input: `koopctrl/Lorenz-v0`.

    .. math::

        \dot x = \sigma (y - x) + u, \qquad \dot y = x (\rho - z) - y, \qquad \dot z = x y - \beta z

    Three modes of a fluid heated from below. With the parameters of Lorenz no equilibrium is stable: without
    input the state wanders between two wings for ever, and neighbours part by a factor of 2.5 a second. The
    task is to hold the equilibrium in the wing of negative `x`.

    ==================  ===========================================  ===============  =======
    Parameter           Meaning                                      Default          Unit
    ==================  ===========================================  ===============  =======
    `sigma`             Prandtl number                               10               1/s
    `rho`               Rayleigh number over the critical one        28               1
    `beta`              aspect ratio of the rolls                    8/3              1/s
    `dt`                sample time                                  0.02             s
    `n_substeps`        Runge-Kutta steps per sample                 5
    `u_min, u_max`      limits of the input                          -50, 50          1/s
    `x0_low, x0_high`   box the starts are drawn from                [-15, -15, 10],  1
                                                                     [15, 15, 40]
    `x_min, x_max`      limits of the state                          [-30, -40,       1
                                                                     -10], [30, 40,
                                                                     60]
    ==================  ===========================================  ===============  =======

    **Observation**: `[x, y, z]`. **Action**: `[u]`. **Reward**: :math:`-(y - r)^T Q (y - r) - u^T R u` with
    `Q = 1`, `R = 0.001` and `r` the equilibrium at negative `x`, `[-8.49, -8.49, 27]`. **Start**: uniform in
    the box, or `reset(options={"x0": [1.0, 1.0, 20.0]})`. **End**: outside the limits, which the default
    inputs never reach from the default starts; truncated after 200 steps (4 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: E. N. Lorenz, *Deterministic nonperiodic flow*, Journal of the Atmospheric Sciences 20(2), 1963;
    input and task after E. Kaiser, J. N. Kutz, S. L. Brunton, *Sparse identification of nonlinear dynamics
    for model predictive control in the low-data limit*, Proceedings of the Royal Society A 474, 2018.
    """

    plant_class = Lorenz
    body = "butterfly"
    default_R = 0.001
