"""The neutralisation of an acid stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.outflow import level_of_root, root
from koopctrl_envs.plant import Components, Plant

LN10 = math.log(10.0)
OPERATING_PH = 7.0


@dataclass(frozen=True, kw_only=True)
class PHNeutralization(Plant):
    r"""Stirred tank in which base neutralises acid, in the presence of a buffer.

    The reaction invariants :math:`W_a` (charge) and :math:`W_b` (carbonate) mix linearly, and the charge
    balance :math:`c(pH, W_a, W_b) = 0` gives the pH. Its total derivative along the mixing equations is an
    ordinary differential equation for the pH itself, which takes the place of :math:`W_a` as a state: no
    equation is left to solve, and nothing drifts, since :math:`W_a` follows from the state (`charge`).

    Parameters
    ----------
    A : float
        Cross-section of the tank, cm^2.
    Cv : float
        Coefficient of the outlet, mL/(s cm^0.5).
    q1, q2 : float
        Flows of acid (HNO3) and buffer (NaHCO3), mL/s.
    Wa1, Wa2, Wa3, Wb1, Wb2, Wb3 : float
        Invariants of the acid, buffer and base (NaOH) streams, mol/L.
    pK1, pK2 : float
        Dissociation constants of carbonic acid.
    laminar : float
        Level around which the outflow turns laminar, cm; see `outflow.root`.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("h", "Wb", "pH")
    state_units: ClassVar = ("cm", "mol/L", "1")
    input_names: ClassVar = ("q3",)
    input_units: ClassVar = ("mL/s",)
    output_names: ClassVar = ("pH",)
    output_units: ClassVar = ("1",)
    positive: ClassVar = ("A", "Cv", "q1", "q2", "laminar")
    step_error: ClassVar = 1e-4

    A: float = 207.0
    Cv: float = 8.75
    q1: float = 16.6
    q2: float = 0.55
    Wa1: float = 3e-3
    Wa2: float = -3e-2
    Wa3: float = -3.05e-3
    Wb1: float = 0.0
    Wb2: float = 3e-2
    Wb3: float = 5e-5
    pK1: float = 6.35
    pK2: float = 10.25
    laminar: float = 0.01
    dt: float = 15.0
    n_substeps: int = 30
    u_min: tuple[float, ...] = (0.0,)
    u_max: tuple[float, ...] = (30.0,)
    x0_low: tuple[float, ...] = (8.0, 3e-4, 4.0)
    x0_high: tuple[float, ...] = (20.0, 8e-4, 10.0)
    x_min: tuple[float, ...] = (1.0, 0.0, 2.0)
    x_max: tuple[float, ...] = (35.0, 3e-3, 12.0)

    @property
    def equilibria(self) -> FloatArray:
        """Neutral, pH 7."""
        q3 = self._neutral_flow()
        flow = self.q1 + self.q2 + q3
        Wb = (self.q1 * self.Wb1 + self.q2 * self.Wb2 + q3 * self.Wb3) / flow
        return np.array([[level_of_root(flow / self.Cv, self.laminar), Wb, OPERATING_PH]])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Flow of base that holds it."""
        return np.array([[self._neutral_flow()]])

    def _neutral_flow(self) -> float:
        # c(7, Wa, Wb) = 0 is linear in the invariants, which are linear in the flows over their sum.
        n = self._bound_charge(OPERATING_PH, math)[0]
        free = 10.0 ** (OPERATING_PH - 14.0) - 10.0**-OPERATING_PH
        acid, buffer, base = (
            Wa + n * Wb + free
            for Wa, Wb in ((self.Wa1, self.Wb1), (self.Wa2, self.Wb2), (self.Wa3, self.Wb3))
        )
        return -(self.q1 * acid + self.q2 * buffer) / base

    def _bound_charge(self, pH: Any, xp: Any) -> tuple[Any, Any]:
        """Mean charge of a carbonate, `n(pH)`, and its derivative."""
        a, b = xp.exp(LN10 * (self.pK1 - pH)), xp.exp(LN10 * (pH - self.pK2))
        total = 1.0 + a + b
        return (1.0 + 2.0 * b) / total, LN10 * (a + b + 4.0 * a * b) / (total * total)

    def charge(self, Wb: Any, pH: Any, xp: Any = np) -> Any:
        """Invariant :math:`W_a`, mol/L, from the charge balance."""
        n, _ = self._bound_charge(pH, xp)
        return xp.exp(-LN10 * pH) - xp.exp(LN10 * (pH - 14.0)) - n * Wb

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `h`, `Wb`, `pH`; see `Plant.rhs_components`."""
        h, Wb, pH = x
        n, slope = self._bound_charge(pH, xp)
        acid, basic = xp.exp(-LN10 * pH), xp.exp(LN10 * (pH - 14.0))
        Wa = acid - basic - n * Wb
        volume = self.A * h
        dWa = (self.q1 * (self.Wa1 - Wa) + self.q2 * (self.Wa2 - Wa) + u[0] * (self.Wa3 - Wa)) / volume
        dWb = (self.q1 * (self.Wb1 - Wb) + self.q2 * (self.Wb2 - Wb) + u[0] * (self.Wb3 - Wb)) / volume
        dh = (self.q1 + self.q2 + u[0] - self.Cv * root(h, self.laminar, xp)) / self.A
        return dh, dWb, -(dWa + n * dWb) / (LN10 * (acid + basic) + Wb * slope)


class PHNeutralizationEnv(PlantEnv):
    r"""pH neutralisation, the pH measured: `koopctrl/PHNeutralization-v0`.

    .. math::

        A \dot h &= q_1 + q_2 + q_3 - C_v \sqrt h, \qquad
        A h\, \dot W_{a,b} = \sum_i q_i (W_{a,b;i} - W_{a,b}) \\
        0 &= W_a + 10^{pH - 14} - 10^{-pH} + W_b\, n(pH), \qquad
        n = \frac{1 + 2 \cdot 10^{pH - pK_2}}{1 + 10^{pK_1 - pH} + 10^{pH - pK_2}}

    The states are `h`, `Wb` and the pH, whose equation is the total derivative of the charge balance in the
    second line. Where little is buffered the pH answers the base stream many times as strongly as elsewhere.
    The task is to keep the outflow neutral.

    ==================  ===========================================  ================  ==============
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  ==============
    `A`                 cross-section of the tank                    207               cm^2
    `Cv`                coefficient of the outlet                    8.75              mL/(s cm^0.5)
    `q1, q2`            flows of acid and buffer                     16.6, 0.55        mL/s
    `Wa1, Wb1`          invariants of the acid                       3e-3, 0           mol/L
    `Wa2, Wb2`          invariants of the buffer                     -3e-2, 3e-2       mol/L
    `Wa3, Wb3`          invariants of the base                       -3.05e-3, 5e-5    mol/L
    `pK1, pK2`          dissociation constants                       6.35, 10.25
    `laminar`           level of the change to laminar outflow       0.01              cm
    `dt`                sample time                                  15                s
    `n_substeps`        Runge-Kutta steps per sample                 30
    `u_min, u_max`      limits of the flow of base                   0, 30             mL/s
    `x0_low, x0_high`   box the starts are drawn from                [8, 3e-4, 4],     cm, mol/L, 1
                                                                     [20, 8e-4, 10]
    `x_min, x_max`      limits of the state                          [1, 0, 2],        cm, mol/L, 1
                                                                     [35, 3e-3, 12]
    ==================  ===========================================  ================  ==============

    **Observation**: `[pH]`. **Action**: `[q3]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - (u - u_r)^T R (u - u_r)` with `Q = 1`, `R = 0.01`, `r = 7` and the flow that holds it. **Start**:
    uniform in the box, or `reset(options={"x0": [14.0, 5e-4, 7.0]})`. **End**: outside the limits; truncated
    after 200 steps (50 min).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: M. A. Henson, D. E. Seborg, *Adaptive nonlinear control of a pH neutralization process*, IEEE
    Transactions on Control Systems Technology 2(3), 1994; the invariants after T. K. Gustafsson,
    K. V. Waller, *Dynamic modeling and reaction invariant control of pH*, Chemical Engineering Science
    38(3), 1983.
    """

    plant_class = PHNeutralization
    body = "ph_tank"
    default_R = 0.01
