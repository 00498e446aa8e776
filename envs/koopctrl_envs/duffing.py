"""The forced Duffing oscillator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class Duffing(Plant):
    r"""Forced Duffing oscillator, :math:`\ddot x_1 = -\delta \dot x_1 - \alpha x_1 - \beta x_1^3 + u`.

    Parameters
    ----------
    delta : float
        Damping, above zero.
    alpha : float
        Linear stiffness; below zero the origin is unstable, between two wells.
    beta : float
        Cubic stiffness, above zero.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("x1", "x2")
    state_units: ClassVar = ("1", "1/s")
    input_names: ClassVar = ("u",)
    input_units: ClassVar = ("1/s^2",)
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("delta", "beta")
    step_error: ClassVar = 1e-9

    delta: float = 0.5
    alpha: float = -1.0
    beta: float = 1.0
    dt: float = 0.1
    n_substeps: int = 20
    u_min: tuple[float, ...] = (-10.0,)
    u_max: tuple[float, ...] = (10.0,)
    x0_low: tuple[float, ...] = (-2.0, -2.0)
    x0_high: tuple[float, ...] = (2.0, 2.0)
    x_min: tuple[float, ...] = (-6.5, -26.0)
    x_max: tuple[float, ...] = (6.5, 26.0)

    @property
    def equilibria(self) -> FloatArray:
        """The origin and, for negative `alpha`, the two wells."""
        points = [[0.0, 0.0]]
        if self.alpha < 0.0:
            well = math.sqrt(-self.alpha / self.beta)
            points += [[-well, 0.0], [well, 0.0]]
        return np.array(points)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `x1`, `x2`; see `Plant.rhs_components`."""
        del xp
        x1, x2 = x
        return x2, -self.delta * x2 - (self.alpha + self.beta * (x1 * x1)) * x1 + u[0]


class DuffingEnv(PlantEnv):
    r"""Forced Duffing oscillator: `koopctrl/Duffing-v0`.

    .. math::

        \dot x_1 = x_2, \qquad \dot x_2 = -\delta x_2 - \alpha x_1 - \beta x_1^3 + u

    With the default parameters the origin is a saddle between stable wells at -1 and 1; the task is to hold
    the origin.

    ==================  ===========================================  ===========  =======
    Parameter           Meaning                                      Default      Unit
    ==================  ===========================================  ===========  =======
    `delta`             damping                                      0.5          1/s
    `alpha`             linear stiffness                             -1           1/s^2
    `beta`              cubic stiffness                              1            1/s^2
    `dt`                sample time                                  0.1          s
    `n_substeps`        Runge-Kutta steps per sample                 20
    `u_min, u_max`      limits of the input                          -10, 10      1/s^2
    `x_min, x_max`      limits of the state                          +-6.5, +-26  1, 1/s
    `x0_low, x0_high`   box the starts are drawn from                -2, 2        1, 1/s
    ==================  ===========================================  ===========  =======

    **Observation**: `[x1, x2]`, `Box(2,)`. **Action**: `[u]`, `Box(1,)`.
    **Reward**: :math:`-(y - r)^T Q (y - r) - u^T R u` with `Q = 1`, `R = 0.1`, `r = 0` by default. **Start**:
    uniform in the box, or `reset(options={"x0": [1.0, 0.0]})`. **End**: outside `|x1| <= 6.5`, `|x2| <= 26`,
    which the default inputs never reach from the default starts; truncated after 200 steps
    (20 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: G. Duffing, *Erzwungene Schwingungen bei veraenderlicher Eigenfrequenz und ihre technische
    Bedeutung*, Vieweg, 1918.
    """

    plant_class = Duffing
