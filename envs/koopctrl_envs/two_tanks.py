"""Two tanks in series with two inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.outflow import root
from koopctrl_envs.plant import Components, Plant

OPERATING_LEVELS = (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TwoTanks(Plant):
    r"""Two tanks in series: a pump fills the first, a valve between them is opened by hand of the controller.

    Parameters
    ----------
    A1, A2 : float
        Cross-sections, m^2.
    k1, k2 : float
        Outflow coefficients of the valve and of the hole in the second tank, m^2.5/s.
    laminar : float
        Level around which the outflow turns laminar, m; see `outflow.root`.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("h1", "h2")
    state_units: ClassVar = ("m", "m")
    input_names: ClassVar = ("q", "v")
    input_units: ClassVar = ("m^3/s", "1")
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("A1", "A2", "k1", "k2", "laminar")

    A1: float = 1.0
    A2: float = 1.0
    k1: float = 0.5
    k2: float = 0.3
    laminar: float = 1e-3
    dt: float = 1.0
    n_substeps: int = 20
    u_min: tuple[float, ...] = (0.0, 0.0)
    u_max: tuple[float, ...] = (0.5, 1.0)
    x0_low: tuple[float, ...] = (0.1, 0.1)
    x0_high: tuple[float, ...] = (2.5, 2.5)
    x_min: tuple[float, ...] = (-0.5, -0.5)
    x_max: tuple[float, ...] = (6.0, 6.0)

    @property
    def equilibria(self) -> FloatArray:
        """Both levels at 1 m."""
        return np.array([OPERATING_LEVELS])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Inflow and valve that hold them."""
        first, second = (root(level, self.laminar, np) for level in OPERATING_LEVELS)
        flow = self.k2 * second
        return np.array([[flow, flow / (self.k1 * first)]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `h1`, `h2`; see `Plant.rhs_components`."""
        between = self.k1 * u[1] * root(x[0], self.laminar, xp)
        return (u[0] - between) / self.A1, (between - self.k2 * root(x[1], self.laminar, xp)) / self.A2


class TwoTanksEnv(PlantEnv):
    r"""Two tanks in series with two inputs: `koopctrl/TwoTanks-v0`.

    .. math::

        A_1 \dot h_1 = q - k_1 v \sqrt{h_1}, \qquad A_2 \dot h_2 = k_1 v \sqrt{h_1} - k_2 \sqrt{h_2}

    A pump delivers the inflow `q`; the opening `v` of the valve between the tanks multiplies the root of the
    level: the plant is nonlinear in state and input together, and with the valve shut the first tank
    integrates. The task is to hold both levels. Below about `laminar` the roots turn into straight lines
    (`koopctrl_envs.outflow.root`).

    ==================  ===========================================  ==============  =========
    Parameter           Meaning                                      Default         Unit
    ==================  ===========================================  ==============  =========
    `A1, A2`            cross-sections                               1, 1            m^2
    `k1, k2`            outflow coefficients                         0.5, 0.3        m^2.5/s
    `laminar`           level of the change to laminar outflow       0.001           m
    `dt`                sample time                                  1               s
    `n_substeps`        Runge-Kutta steps per sample                 20
    `u_min, u_max`      limits of inflow and valve                   [0, 0],         m^3/s, 1
                                                                     [0.5, 1]
    `x0_low, x0_high`   box the starts are drawn from                0.1, 2.5        m
    `x_min, x_max`      limits of the levels                         -0.5, 6         m
    ==================  ===========================================  ==============  =========

    **Observation**: `[h1, h2]`. **Action**: `[q, v]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - (u - u_r)^T R (u - u_r)` with `Q = 1`, `R = 0.1`, both levels at 1 m and the inputs that hold them.
    **Start**: uniform in the box, or `reset(options={"x0": [1.0, 0.5]})`. **End**: a tank has run over (6 m);
    truncated after 200 steps (200 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: Torricelli's law; the parameters are those of a draft comparison of offset-free Koopman
    predictive controllers.
    """

    plant_class = TwoTanks
    body = "two_tanks"
