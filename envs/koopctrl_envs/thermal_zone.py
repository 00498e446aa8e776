"""A heated and ventilated zone of a building, under weather that is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant

DAY, HOUR = 86400.0, 3600.0
COMFORT, FRESH_AIR = 21.0, 0.06
"""Temperature of the zone (°C) and ventilation (kW/K) at the operating point."""
TWILIGHT = 0.1
"""Part of noon's height at which the sun's rise and set are rounded off."""


@dataclass(frozen=True, kw_only=True)
class ThermalZone(Plant):
    r"""Air and envelope of a zone as two heat stores, with the weather as exogenous states.

    A day is a rotation of :math:`(s, c)`, of radius one on a clear day and less on a dull one, with noon
    where `c` is largest; `w` is the front that passes, above or below the season's mean. A start
    draws all three, so that every seed has its own weather, and the outputs tell of it: it is a measured
    disturbance.

    Parameters
    ----------
    Ci, Ce : float
        Heat capacities of the air with its furniture, and of the envelope, kWh/K.
    Rie, Rea : float
        Thermal resistances from air to envelope and from there to the outside, K/kW.
    Aw : float
        Area of the windows that the sun shines through, m^2.
    T_mean, T_day : float
        Mean temperature outside, and half of what a clear day swings, °C and K.
    sun : float
        Irradiation of a clear noon, kW/m^2.
    tau : float
        Time constant with which a front passes, h.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar[tuple[str, ...]] = ("Ti", "Te", "s", "c", "w")
    state_units: ClassVar[tuple[str, ...]] = ("°C", "°C", "1", "1", "K")
    input_names: ClassVar[tuple[str, ...]] = ("heat", "vent")
    input_units: ClassVar[tuple[str, ...]] = ("kW", "kW/K")
    output_names: ClassVar[tuple[str, ...]] = ("Ti", "To", "Is")
    output_units: ClassVar[tuple[str, ...]] = ("°C", "°C", "kW/m^2")
    positive: ClassVar = ("Ci", "Ce", "Rie", "Rea", "Aw", "sun", "tau")
    step_error: ClassVar = 1e-6

    Ci: float = 1.1
    Ce: float = 2.8
    Rie: float = 0.9
    Rea: float = 4.4
    Aw: float = 6.0
    T_mean: float = 6.0
    T_day: float = 5.0
    sun: float = 0.5
    tau: float = 24.0
    dt: float = 900.0
    n_substeps: int = 4
    u_min: tuple[float, ...] = (0.0, 0.03)
    u_max: tuple[float, ...] = (8.0, 0.5)
    x0_low: tuple[float, ...] = (16.0, 12.0, -1.0, -1.0, -6.0)
    x0_high: tuple[float, ...] = (24.0, 20.0, 1.0, 1.0, 6.0)
    x_min: tuple[float, ...] = (0.0, 0.0, -1.5, -1.5, -10.0)
    x_max: tuple[float, ...] = (40.0, 40.0, 1.5, 1.5, 10.0)

    @property
    def equilibria(self) -> FloatArray:
        """Comfort at the mean of the weather, without day and night."""
        Te = (COMFORT * self.Rea + self.T_mean * self.Rie) / (self.Rie + self.Rea)
        return np.array([[COMFORT, Te, 0.0, 0.0, 0.0]])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Heating that holds it with the air kept fresh."""
        cold = COMFORT - self.T_mean
        lost = cold / (self.Rie + self.Rea) + FRESH_AIR * cold
        return np.array([[lost - self.Aw * self._sunshine(0.0, math), FRESH_AIR]])

    def _sunshine(self, c: Any, xp: Any) -> Any:
        """Irradiation, kW/m^2: the day's half of a cosine, its corners rounded off."""
        return 0.5 * self.sun * (c + xp.sqrt(c * c + TWILIGHT * TWILIGHT))

    def _outside(self, s: Any, c: Any, w: Any) -> Any:
        """Temperature outside, °C, highest three hours after noon."""
        return self.T_mean + w + self.T_day * math.sqrt(0.5) * (s + c)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of both temperatures and of the weather, per second; see `Plant.rhs_components`."""
        _, _, s, c, w = x
        turn = 2.0 * math.pi / DAY
        warming = self._warming(x, u, self._outside(s, c, w), self._sunshine(c, xp))
        return *warming, turn * c, -turn * s, -w / (self.tau * HOUR)

    def _warming(self, x: Components, u: Components, To: Any, Is: Any) -> tuple[Any, Any]:
        """Time derivative of the temperatures of air and envelope, K/s."""
        Ti, Te = x[0], x[1]
        inward, outward = (Te - Ti) / self.Rie, (To - Te) / self.Rea
        gained = u[0] + self.Aw * Is + u[1] * (To - Ti)
        return (inward + gained) / (self.Ci * HOUR), (outward - inward) / (self.Ce * HOUR)

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Temperatures inside and outside, and the irradiation."""
        Ti, _, s, c, w = x
        return Ti, self._outside(s, c, w), self._sunshine(c, xp)

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs; see `Plant.output_bounds`."""
        swing = self.T_day * math.sqrt(0.5)
        low, high = (
            np.array([x[0], self.T_mean + x[4] + swing * (x[2] + x[3]), 0.0])
            for x in (self.x_min, self.x_max)
        )
        high[2] = self._sunshine(self.x_max[3], math)
        return low, high

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """Temperatures and front uniform in the box; any time of a day, dull or clear."""
        start = rng.uniform(self.x0_low, self.x0_high)
        clear, time = math.sqrt(rng.uniform()), rng.uniform(0.0, 2.0 * math.pi)
        start[2:4] = clear * math.sin(time), clear * math.cos(time)
        return np.clip(start, self.x0_low, self.x0_high)


class ThermalZoneEnv(PlantEnv):
    r"""Thermal zone of a building with weather as measured disturbance: `koopctrl/ThermalZone-v0`.

    .. math::

        C_i \dot T_i = \frac{T_e - T_i}{R_{ie}} + q + A_w I_s + v (T_o - T_i), \qquad
        C_e \dot T_e = \frac{T_i - T_e}{R_{ie}} + \frac{T_o - T_e}{R_{ea}}

    .. math::

        \dot s = \Omega c, \quad \dot c = -\Omega s, \quad \dot w = -\frac{w}{\tau}, \qquad
        T_o = \bar T_o + w + \frac{\Delta T}{\sqrt 2} (s + c), \quad
        I_s = \frac{I_0}{2} \left(c + \sqrt{c^2 + 0.1^2}\right)

    Heating `q` and ventilation `v` (bilinear: it cools as far as it is colder outside) act on the air `T_i`,
    which is coupled to a heavy envelope `T_e`. Temperature outside and sunshine are states of the plant that
    no input moves, :math:`\Omega` being a turn a day: each start draws a time of day, how clear the sky is,
    and a front; both are measured. A controller that knows the plant's own steps knows the forecast. The
    task is to hold 21 °C at little expense; the sun and the night have to be met ahead of time.

    ==================  ===========================================  ================  =========
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  =========
    `Ci, Ce`            heat capacities of air and envelope          1.1, 2.8          kWh/K
    `Rie`               resistance from air to envelope              0.9               K/kW
    `Rea`               resistance from envelope to the outside      4.4               K/kW
    `Aw`                area of the windows                          6                 m^2
    `T_mean`            mean temperature outside                     6                 °C
    `T_day`             half of what a clear day swings              5                 K
    `sun`               irradiation of a clear noon                  0.5               kW/m^2
    `tau`               time constant of a front                     24                h
    `dt`                sample time                                  900               s
    `n_substeps`        Runge-Kutta steps per sample                 4
    `u_min, u_max`      limits of heating and ventilation            [0, 0.03],        kW, kW/K
                                                                     [8, 0.5]
    `x0_low, x0_high`   box the starts are drawn from                [16, 12, -1, -1,  °C, °C,
                                                                     -6], [24, 20, 1,  1, 1, K
                                                                     1, 6]
    `x_min, x_max`      limits of the state                          0 to 40,          °C,
                                                                     +-1.5, +-10       1, K
    ==================  ===========================================  ================  =========

    **Observation**: `[Ti, To, Is]`: the zone, and the weather. **Action**: `[heat, vent]`. **Reward**:
    :math:`-(y - r)^T Q (y - r) - (u - u_r)^T R (u - u_r)` with `Q = diag(1, 0, 0)`, `R = diag(0.02, 1)`,
    21 °C and the inputs that hold it at the mean of the weather. **Start**: temperatures uniform in the box
    under weather of its own, or `reset(options={"x0": [18.0, 15.0, 0.0, -1.0, 0.0]})`, at midnight before a
    clear day. **End**: outside the limits; truncated after 200 steps (50 h).

    `koopctrl/ThermalZoneUnderWeather-v0` has the weather among its inputs instead, as controllers take
    measured disturbances. Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: P. Bacher, H. Madsen, *Identifying suitable models for the heat dynamics of buildings*, Energy and
    Buildings 43(7), 2011, whose model `TiTe` of interior and envelope this is: `Ci, Ce, Rie, Rea, Aw` are of
    the size of what they estimated for a test house, rounded, not their digits. Ventilation that multiplies a
    difference of temperatures is as in F. Oldewurtel et al., *Use of model predictive control and weather
    forecasts for energy efficient building climate control*, Energy and Buildings 45, 2012. The weather
    (`T_mean, T_day, sun, tau`) and the limits are from neither: a day in spring by the North Sea, a heater
    that holds the zone in the coldest of its nights, and ventilation of 0.025 to 0.4 m^3 of air a second.
    """

    plant_class = ThermalZone
    body = "thermal_zone"
    default_Q = (1.0, 0.0, 0.0)
    default_R = (0.02, 1.0)
