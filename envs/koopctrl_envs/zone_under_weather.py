"""The thermal zone with the weather among its inputs, where controllers look for measured disturbances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.checks import FloatArray, as_count
from koopctrl_envs.plant import Components
from koopctrl_envs.thermal_zone import COMFORT, ThermalZone, ThermalZoneEnv


@dataclass(frozen=True, kw_only=True)
class ZoneUnderWeather(ThermalZone):
    """`ThermalZone` whose last two inputs are the temperature outside and the irradiation.

    Nothing moves these by itself: they are sent with the other inputs, as `run_closed_loop(disturbance=...)`
    does to a controller with `measured_disturbances=["To", "Is"]`. `weather` makes them.

    Parameters
    ----------
    Ci, Ce, Rie, Rea, Aw, T_mean, T_day, sun, tau : float
        As in `ThermalZone`; the last four are those of `weather`.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar[tuple[str, ...]] = ("Ti", "Te")
    state_units: ClassVar[tuple[str, ...]] = ("°C", "°C")
    input_names: ClassVar[tuple[str, ...]] = ("heat", "vent", "To", "Is")
    input_units: ClassVar[tuple[str, ...]] = ("kW", "kW/K", "°C", "kW/m^2")
    disturbance_names: ClassVar = ("To", "Is")
    output_names: ClassVar[tuple[str, ...]] = ("Ti",)
    output_units: ClassVar[tuple[str, ...]] = ("°C",)

    u_min: tuple[float, ...] = (0.0, 0.03, -15.0, 0.0)
    u_max: tuple[float, ...] = (8.0, 0.5, 30.0, 0.8)
    x0_low: tuple[float, ...] = (16.0, 12.0)
    x0_high: tuple[float, ...] = (24.0, 20.0)
    x_min: tuple[float, ...] = (-20.0, -20.0)
    x_max: tuple[float, ...] = (50.0, 50.0)

    @property
    def equilibria(self) -> FloatArray:
        """Comfort at the mean of the weather."""
        return super().equilibria[:, :2]

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Heating that holds it with the air kept fresh, and that weather."""
        return np.column_stack([super().equilibrium_inputs, [[self.T_mean, self._sunshine(0.0, np)]]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of both temperatures, per second; see `Plant.rhs_components`."""
        del xp
        return self._warming(x, u[:2], u[2], u[3])

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Temperature inside."""
        del xp
        return (x[0],)

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the output; see `Plant.output_bounds`."""
        return np.array(self.x_min[:1]), np.array(self.x_max[:1])

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """Temperatures uniform in the box."""
        return rng.uniform(self.x0_low, self.x0_high)

    def weather(self, n_steps: int, seed: int | np.random.Generator | None = None) -> FloatArray:
        """Temperature outside and irradiation, `(n_steps, 2)`, at the sample times of an episode.

        Parameters
        ----------
        n_steps : int
            Number of samples.
        seed : int or Generator, optional
            The same seed gives the same weather: a time of day to begin at, a sky more or less clear, a
            front.
        """
        n_steps = as_count(n_steps, "n_steps")
        source = ThermalZone(T_mean=self.T_mean, T_day=self.T_day, sun=self.sun, tau=self.tau)
        x = source.draw_start(np.random.default_rng(seed))
        u, rows = source.equilibrium_inputs[0], np.empty((n_steps, 2))
        for k in range(n_steps):
            rows[k] = source.output(x)[1:]
            # Of the zone itself nothing is wanted here: it stays comfortable.
            x = source.step(np.concatenate([[COMFORT, COMFORT], x[2:]]), u, self.dt)
        return rows


class ThermalZoneUnderWeatherEnv(ThermalZoneEnv):
    """`ThermalZoneEnv` with the weather among its inputs, `[heat, vent, To, Is]`, and `Ti` alone
    measured, for controllers with measured disturbances: `koopctrl/ThermalZoneUnderWeather-v0`.
    """

    plant_class = ZoneUnderWeather
    default_Q = 1.0
    default_R = (0.02, 1.0, 0.0, 0.0)
