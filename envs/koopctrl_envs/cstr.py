"""The exothermic stirred tank reactor that ignites and dies out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant

OPERATING_TEMPERATURE = 350.0


@dataclass(frozen=True, kw_only=True)
class CSTR(Plant):
    r"""Continuous stirred tank reactor with a first-order exothermic reaction and a cooling jacket.

    Parameters
    ----------
    q : float
        Flow through the reactor, L/min.
    V : float
        Volume, L.
    rho : float
        Density, g/L.
    Cp : float
        Heat capacity, J/(g K).
    dH : float
        Heat set free by the reaction, J/mol.
    E_R : float
        Activation energy over the gas constant, K.
    k0 : float
        Rate constant, 1/min.
    UA : float
        Heat transfer to the jacket, J/(min K).
    CAf : float
        Concentration of the feed, mol/L.
    Tf : float
        Temperature of the feed, K.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("CA", "T")
    state_units: ClassVar = ("mol/L", "K")
    input_names: ClassVar = ("Tc",)
    input_units: ClassVar = ("K",)
    output_names: ClassVar[tuple[str, ...]] = ("CA", "T")
    output_units: ClassVar[tuple[str, ...]] = ("mol/L", "K")
    positive: ClassVar = ("q", "V", "rho", "Cp", "dH", "E_R", "k0", "UA", "CAf", "Tf")
    step_error: ClassVar = 1e-5

    q: float = 100.0
    V: float = 100.0
    rho: float = 1000.0
    Cp: float = 0.239
    dH: float = 5e4
    E_R: float = 8750.0
    k0: float = 7.2e10
    UA: float = 5e4
    CAf: float = 1.0
    Tf: float = 350.0
    dt: float = 3.0
    n_substeps: int = 80
    u_min: tuple[float, ...] = (270.0,)
    u_max: tuple[float, ...] = (320.0,)
    x0_low: tuple[float, ...] = (0.1, 310.0)
    x0_high: tuple[float, ...] = (0.9, 370.0)
    x_min: tuple[float, ...] = (-0.1, 250.0)
    x_max: tuple[float, ...] = (1.1, 550.0)

    @property
    def equilibria(self) -> FloatArray:
        """At 350 K, between extinction and ignition."""
        T = OPERATING_TEMPERATURE
        return np.array([[self.q * self.CAf / (self.q + self.V * self._rate(T, np)), T]])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Temperature of the coolant that holds it."""
        CA, T = self.equilibria[0]
        heat = self.rho * self.Cp * self.q * (self.Tf - T) + self.dH * self.V * self._rate(T, np) * CA
        return np.array([[T - heat / self.UA]])

    def _rate(self, T: Any, xp: Any) -> Any:
        """Rate coefficient, 1/min."""
        return self.k0 * xp.exp(-self.E_R / T)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `CA`, `T`, per second; see `Plant.rhs_components`."""
        CA, T = x
        reaction = self._rate(T, xp) * CA
        capacity = self.rho * self.Cp
        per_minute = (
            self.q / self.V * (self.CAf - CA) - reaction,
            self.q / self.V * (self.Tf - T)
            + self.dH / capacity * reaction
            + self.UA / (self.V * capacity) * (u[0] - T),
        )
        return per_minute[0] / 60.0, per_minute[1] / 60.0


@dataclass(frozen=True, kw_only=True)
class CSTRTemperature(CSTR):
    """`CSTR` whose temperature alone is measured."""

    output_names: ClassVar[tuple[str, ...]] = ("T",)
    output_units: ClassVar[tuple[str, ...]] = ("K",)


class CSTREnv(PlantEnv):
    r"""Stirred tank reactor with ignition and extinction: `koopctrl/CSTR-v0`.

    .. math::

        \dot C_A = \frac{q}{V} (C_{Af} - C_A) - k(T) C_A, \quad
        \dot T = \frac{q}{V} (T_f - T) + \frac{\Delta H}{\rho C_p} k(T) C_A
        + \frac{UA}{V \rho C_p} (T_c - T), \quad k(T) = k_0 e^{-E/(R T)}

    Between a cold, extinguished state and a hot, ignited one lies the operating point near 350 K, where half
    of the feed has reacted: unstable, and surrounded by runaways. The task is to hold it by the temperature
    of the coolant.

    ==================  ===========================================  ============  ===========
    Parameter           Meaning                                      Default       Unit
    ==================  ===========================================  ============  ===========
    `q`                 flow through the reactor                     100           L/min
    `V`                 volume                                       100           L
    `rho`               density                                      1000          g/L
    `Cp`                heat capacity                                0.239         J/(g K)
    `dH`                heat set free by the reaction                5e4           J/mol
    `E_R`               activation energy over gas constant          8750          K
    `k0`                rate constant                                7.2e10        1/min
    `UA`                heat transfer to the jacket                  5e4           J/(min K)
    `CAf`               concentration of the feed                    1             mol/L
    `Tf`                temperature of the feed                      350           K
    `dt`                sample time                                  3             s
    `n_substeps`        Runge-Kutta steps per sample                 80
    `u_min, u_max`      limits of the coolant's temperature          270, 320      K
    `x0_low, x0_high`   box the starts are drawn from                [0.1, 310],   mol/L, K
                                                                     [0.9, 370]
    `x_min, x_max`      limits of the state                          [-0.1, 250],  mol/L, K
                                                                     [1.1, 550]
    ==================  ===========================================  ============  ===========

    **Observation**: `[CA, T]`; in `koopctrl/CSTRTemperature-v0` `[T]` alone. **Action**: `[Tc]`. **Reward**:
    :math:`-(y - r)^T Q (y - r) - (u - u_r)^T R (u - u_r)` with `Q = diag(100, 0.01)` (`0.01` for `T` alone),
    `R = 0.001`, the operating point and the coolant that holds it. **Start**: uniform in the box, or
    `reset(options={"x0": [0.5, 350.0]})`. **End**: the temperature has left [250, 550] K; truncated after 200
    steps (10 min).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: D. E. Seborg, T. F. Edgar, D. A. Mellichamp, *Process dynamics and control*, Wiley (example of a
    nonlinear stirred tank reactor); M. A. Henson, D. E. Seborg, *Nonlinear process control*, Prentice Hall,
    1997.
    """

    plant_class = CSTR
    default_Q = (100.0, 0.01)
    default_R = 0.001


class CSTRTemperatureEnv(CSTREnv):
    """`CSTREnv` whose temperature alone is measured: `koopctrl/CSTRTemperature-v0`."""

    plant_class = CSTRTemperature
    default_Q = 0.01
