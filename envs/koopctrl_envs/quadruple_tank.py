"""Johansson's quadruple tank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.outflow import level_of_root, root
from koopctrl_envs.plant import Components, Plant


@dataclass(frozen=True, kw_only=True)
class QuadrupleTank(Plant):
    r"""Four tanks, two pumps, each of which feeds a lower tank and the upper one of the other side.

    Parameters
    ----------
    A1, A2, A3, A4 : float
        Cross-sections of the tanks, cm^2.
    a1, a2, a3, a4 : float
        Cross-sections of the outlets, cm^2.
    k1, k2 : float
        Flow of the pumps, cm^3/(V s).
    gamma1, gamma2 : float
        Part of each pump's flow that goes to the lower tank. The zero of the plant is in the left half-plane
        where their sum is above 1 (minimum phase), else in the right.
    g : float
        Acceleration of gravity, cm/s^2.
    v_0 : float
        Voltage of both pumps at the operating point, V.
    laminar : float
        Level around which the outflow turns laminar, cm; see `outflow.root`.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("h1", "h2", "h3", "h4")
    state_units: ClassVar = ("cm",) * 4
    input_names: ClassVar = ("v1", "v2")
    input_units: ClassVar = ("V", "V")
    output_names: ClassVar = ("h1", "h2")
    output_units: ClassVar = ("cm", "cm")
    positive: ClassVar = (
        "A1", "A2", "A3", "A4", "a1", "a2", "a3", "a4", "k1", "k2", "gamma1", "gamma2", "g", "laminar",
    )  # fmt: skip

    A1: float = 28.0
    A2: float = 32.0
    A3: float = 28.0
    A4: float = 32.0
    a1: float = 0.071
    a2: float = 0.057
    a3: float = 0.071
    a4: float = 0.057
    k1: float = 3.33
    k2: float = 3.35
    gamma1: float = 0.70
    gamma2: float = 0.60
    g: float = 981.0
    v_0: float = 3.0
    laminar: float = 0.01
    dt: float = 5.0
    n_substeps: int = 20
    u_min: tuple[float, ...] = (0.0, 0.0)
    u_max: tuple[float, ...] = (10.0, 10.0)
    x0_low: tuple[float, ...] = (2.0, 2.0, 0.5, 0.5)
    x0_high: tuple[float, ...] = (16.0, 16.0, 6.0, 6.0)
    x_min: tuple[float, ...] = (-1.0,) * 4
    x_max: tuple[float, ...] = (20.0,) * 4

    @classmethod
    def nonminimum_phase(cls, **parameters: Any) -> QuadrupleTank:
        """The plant with Johansson's other valve positions, P+: `gamma1 = 0.43`, `gamma2 = 0.34`."""
        other = {"k1": 3.14, "k2": 3.29, "gamma1": 0.43, "gamma2": 0.34, "v_0": 3.15}
        return cls(**{**other, **parameters})

    @property
    def equilibria(self) -> FloatArray:
        """The levels under `v_0` at both pumps."""
        direct = self.gamma1 * self.k1 * self.v_0, self.gamma2 * self.k2 * self.v_0
        crossed = (1.0 - self.gamma2) * self.k2 * self.v_0, (1.0 - self.gamma1) * self.k1 * self.v_0
        flows = (direct[0] + crossed[0], direct[1] + crossed[1], *crossed)
        speed = (2.0 * self.g) ** 0.5
        outlets = (self.a1, self.a2, self.a3, self.a4)
        levels = [level_of_root(q / (a * speed), self.laminar) for q, a in zip(flows, outlets, strict=True)]
        return np.array([levels])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """`v_0` at both pumps."""
        return np.full((1, 2), self.v_0)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of the levels; see `Plant.rhs_components`."""
        speed = (2.0 * self.g) ** 0.5
        out1, out2, out3, out4 = (
            a * speed * root(h, self.laminar, xp)
            for a, h in zip((self.a1, self.a2, self.a3, self.a4), x, strict=True)
        )
        pump1, pump2 = self.k1 * u[0], self.k2 * u[1]
        return (
            (out3 - out1 + self.gamma1 * pump1) / self.A1,
            (out4 - out2 + self.gamma2 * pump2) / self.A2,
            ((1.0 - self.gamma2) * pump2 - out3) / self.A3,
            ((1.0 - self.gamma1) * pump1 - out4) / self.A4,
        )


class QuadrupleTankEnv(PlantEnv):
    r"""Quadruple tank, the lower levels measured: `koopctrl/QuadrupleTank-v0`.

    .. math::

        A_1 \dot h_1 &= -a_1 \sqrt{2 g h_1} + a_3 \sqrt{2 g h_3} + \gamma_1 k_1 v_1 \\
        A_2 \dot h_2 &= -a_2 \sqrt{2 g h_2} + a_4 \sqrt{2 g h_4} + \gamma_2 k_2 v_2 \\
        A_3 \dot h_3 &= -a_3 \sqrt{2 g h_3} + (1 - \gamma_2) k_2 v_2 \\
        A_4 \dot h_4 &= -a_4 \sqrt{2 g h_4} + (1 - \gamma_1) k_1 v_1

    Tanks 1 and 2 stand below 3 and 4; each pump feeds a lower tank and the upper one across. With the valves
    at `gamma1 + gamma2 > 1` the plant is of minimum phase (default), below 1 it is not:
    `koopctrl/QuadrupleTankNonminimumPhase-v0` has Johansson's other positions. The task is to hold the two
    lower levels.

    ====================  ===========================================  ================  =========
    Parameter             Meaning                                      Default           Unit
    ====================  ===========================================  ================  =========
    `A1, A2, A3, A4`      cross-sections of the tanks                  28, 32, 28, 32    cm^2
    `a1, a2, a3, a4`      cross-sections of the outlets                0.071, 0.057,     cm^2
                                                                       0.071, 0.057
    `k1, k2`              flow of the pumps                            3.33, 3.35        cm^3/(V s)
    `gamma1, gamma2`      part of it that goes to the lower tank       0.7, 0.6
    `g`                   acceleration of gravity                      981               cm/s^2
    `v_0`                 voltage at the operating point               3                 V
    `laminar`             level of the change to laminar outflow       0.01              cm
    `dt`                  sample time                                  5                 s
    `n_substeps`          Runge-Kutta steps per sample                 20
    `u_min, u_max`        limits of the voltages                       0, 10             V
    `x0_low, x0_high`     box the starts are drawn from                2 to 16 below,    cm
                                                                       0.5 to 6 above
    `x_min, x_max`        limits of the levels                         -1, 20            cm
    ====================  ===========================================  ================  =========

    **Observation**: `[h1, h2]`. **Action**: `[v1, v2]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - (u - u_r)^T R (u - u_r)` with `Q = 1`, `R = 0.1`, `r` the levels under `u_r = v_0`. **Start**: uniform
    in the box, or `reset(options={"x0": [12.0, 12.0, 2.0, 2.0]})`. **End**: a tank has run over (20 cm);
    truncated after 200 steps (1000 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: K. H. Johansson, *The quadruple-tank process: a multivariable laboratory process with an
    adjustable zero*, IEEE Transactions on Control Systems Technology 8(3), 2000.
    """

    plant_class = QuadrupleTank
    body = "quadruple_tank"


class QuadrupleTankNonminimumPhaseEnv(QuadrupleTankEnv):
    """`QuadrupleTankEnv` with valve positions for which the zero is in the right half-plane:
    `koopctrl/QuadrupleTankNonminimumPhase-v0`.
    """

    plant_class = QuadrupleTank

    def __init__(self, plant: Plant | None = None, **options: Any) -> None:
        super().__init__(QuadrupleTank.nonminimum_phase() if plant is None else plant, **options)
