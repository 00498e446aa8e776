"""The forced Van der Pol oscillator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class VanDerPol(Plant):
    r"""Forced Van der Pol oscillator, :math:`\ddot x_1 = \mu (1 - x_1^2) \dot x_1 - x_1 + u`.

    Parameters
    ----------
    mu : float
        Strength of the nonlinear damping, above zero; the default 1 gives a limit cycle of amplitude 2.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("x1", "x2")
    state_units: ClassVar = ("1", "1/s")
    input_names: ClassVar = ("u",)
    input_units: ClassVar = ("1/s^2",)
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("mu",)

    mu: float = 1.0
    dt: float = 0.1
    n_substeps: int = 20
    u_min: tuple[float, ...] = (-3.0,)
    u_max: tuple[float, ...] = (3.0,)
    x0_low: tuple[float, ...] = (-3.0, -3.0)
    x0_high: tuple[float, ...] = (3.0, 3.0)
    x_min: tuple[float, ...] = (-6.0, -9.0)
    x_max: tuple[float, ...] = (6.0, 9.0)

    @property
    def equilibria(self) -> FloatArray:
        """The origin, unstable."""
        return np.zeros((1, 2))

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `x1`, `x2`; see `Plant.rhs_components`."""
        del xp
        x1, x2 = x
        return x2, self.mu * (1.0 - x1 * x1) * x2 - x1 + u[0]


class VanDerPolEnv(PlantEnv):
    r"""Forced Van der Pol oscillator: `koopctrl/VanDerPol-v0`.

    .. math::

        \dot x_1 = x_2, \qquad \dot x_2 = \mu (1 - x_1^2) x_2 - x_1 + u

    The origin is unstable and surrounded by a limit cycle; the task is to hold it, or another set-point.

    ==================  ===========================================  =========  =======
    Parameter           Meaning                                      Default    Unit
    ==================  ===========================================  =========  =======
    `mu`                strength of the nonlinear damping            1          1/s
    `dt`                sample time                                  0.1        s
    `n_substeps`        Runge-Kutta steps per sample                 20
    `u_min, u_max`      limits of the input                          -3, 3      1/s^2
    `x_min, x_max`      limits of the state                          +-6, +-9    1, 1/s
    `x0_low, x0_high`   box the starts are drawn from                -3, 3      1, 1/s
    ==================  ===========================================  =========  =======

    **Observation**: `[x1, x2]`, `Box(2,)`. **Action**: `[u]`, `Box(1,)`.
    **Reward**: :math:`-(y - r)^T Q (y - r) - u^T R u` with `Q = 1`, `R = 0.1`, `r = 0` by default. **Start**:
    uniform in the box, or `reset(options={"x0": [1.0, 0.0]})`. **End**: outside `|x1| <= 6`, `|x2| <= 9`,
    which the default inputs never reach from the default starts; truncated after 200 steps
    (20 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: B. van der Pol, *On relaxation-oscillations*, Philosophical Magazine 2(11), 1926.
    """

    plant_class = VanDerPol
