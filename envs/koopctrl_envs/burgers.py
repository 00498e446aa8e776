"""The viscous Burgers equation with two actuators and ten sensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray, as_floats
from koopctrl_envs.plant import Components, Plant
from koopctrl_envs.travelling_frame import advance, advance_components, n_steps_of

N_SENSORS = 10
CENTRES, SHARPNESS = (0.25, 0.75), 15.0
OPERATING_SPEED = 0.5
STABLE = 2.5
"""Largest rate of the grid times a sub-step of Runge-Kutta's."""


@dataclass(frozen=True, kw_only=True)
class Burgers(Plant):
    r"""Viscous Burgers equation, periodic on [0, 1), on a uniform grid.

    With :math:`d_i = v_{i+1} - v_{i-1}` the convective term is :math:`-d_i (v_{i-1} + v_i + v_{i+1})/(6 h)`,
    which conserves both mean and energy, and diffusion is the central second difference.

    On fine grids, where viscosity would ask for more than `n_substeps` steps of Runge-Kutta, steps are taken
    in a frame that travels with the mean speed (`koopctrl_envs.travelling_frame`), at least half as many: a
    sample of 0.5 s on 128 points is off by 1e-3 of the width of the box of starts at most, as by default.

    Parameters
    ----------
    nu : float
        Viscosity, above zero.
    n_points : int
        Grid points, at least 10. Sensors between two of them read what lies on the line between.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    input_names: ClassVar = ("u1", "u2")
    input_units: ClassVar = ("m/s^2", "m/s^2")
    output_names: ClassVar = tuple(f"y{i}" for i in range(N_SENSORS))
    output_units: ClassVar = ("m/s",) * N_SENSORS
    positive: ClassVar = ("nu",)
    integers: ClassVar = ("n_points",)
    step_error: ClassVar = 1e-3

    nu: float = 0.01
    n_points: int = 40
    dt: float = 0.5
    n_substeps: int = 16
    u_min: tuple[float, ...] = (-0.1, -0.1)
    u_max: tuple[float, ...] = (0.1, 0.1)
    x0_low: tuple[float, ...] = cast("tuple[float, ...]", 0.0)
    x0_high: tuple[float, ...] = cast("tuple[float, ...]", 1.2)
    x_min: tuple[float, ...] = cast("tuple[float, ...]", -2.0)
    x_max: tuple[float, ...] = cast("tuple[float, ...]", 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_points < N_SENSORS:
            raise ValueError(f"n_points is {self.n_points}; expected at least {N_SENSORS}")

    @property
    def state_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """`v0`, `v1`, ... along the grid."""
        return tuple(f"v{i}" for i in range(self.n_points))

    @property
    def state_units(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of a speed."""
        return ("m/s",) * self.n_points

    @property
    def grid(self) -> FloatArray:
        """Positions of the states, `(n_points,)`."""
        return np.arange(self.n_points) / self.n_points

    @property
    def n_x(self) -> int:
        """Number of states."""
        return self.n_points

    @property
    def equilibria(self) -> FloatArray:
        """The same speed, 0.5, everywhere; every other one is an equilibrium too."""
        return np.full((1, self.n_points), OPERATING_SPEED)

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative at the grid points; see `Plant.rhs_components`."""
        del xp
        n = self.n_points
        convection, diffusion = -n / 6.0, self.nu * n * n
        slopes = []
        for i in range(n):
            before, here, after = x[i - 1], x[i], x[i + 1 - n]
            pushes = [math.exp(-((SHARPNESS * (i / n - centre)) ** 2)) for centre in CENTRES]
            slopes.append(
                convection * ((after - before) * (before + here + after))
                + diffusion * (before - 2.0 * here + after)
                + pushes[0] * u[0]
                + pushes[1] * u[1]
            )
        return tuple(slopes)

    def rhs(self, x: ArrayLike, u: ArrayLike) -> FloatArray:
        """Time derivative of whole profiles; see `Plant.rhs`."""
        x, u = as_floats(x, "x", self.n_x), as_floats(u, "u", self.n_u)
        return self._slopes(x, u @ self._shapes())

    @property
    def travels(self) -> bool:
        """Whether viscosity would make Runge-Kutta's steps shorter, which are stable to 2.78 over the largest
        rate.
        """
        return 4.0 * self.nu * self.n_points**2 * self.dt / self.n_substeps > STABLE

    @property
    def in_substeps(self) -> bool:
        """Samples fall apart into equal sub-steps of either kind."""
        return True

    def n_substeps_of(self, dt: float) -> int:
        """Number of equal sub-steps in `dt`; see `Plant.n_substeps_of`."""
        if not self.travels:
            return super().n_substeps_of(dt)
        asked = max(1, math.ceil(0.5 * self.n_substeps * dt / self.dt * (1.0 - 1e-12)))
        return max(asked, n_steps_of(self.n_points, self.nu, max(self.x0_high) - min(self.x0_low), dt))

    def step(self, x: ArrayLike, u: ArrayLike, dt: float | None = None) -> FloatArray:
        """Profiles after `dt` seconds; see `Plant.step`."""
        x, push = as_floats(x, "x", self.n_x), as_floats(u, "u", self.n_u) @ self._shapes()
        if self.travels:
            dt = self._interval(dt)
            return advance(x, push, self.nu, dt, self.n_substeps_of(dt))
        return self._integrate(lambda state: (self._slopes(state[0], push),), (x,), dt)[0]

    def step_components(
        self, x: Components, u: Components, xp: Any = np, dt: float | None = None
    ) -> tuple[Any, ...]:
        """Profile after `dt` seconds, component by component; see `Plant.step_components`."""
        if not self.travels:
            return super().step_components(x, u, xp, dt)
        dt, shapes = self._interval(dt), self._shapes().T.tolist()
        push = [sum(w * v for w, v in zip(row, u, strict=True)) for row in shapes]
        return advance_components(x, push, self.nu, dt, self.n_substeps_of(dt), xp)

    def _slopes(self, v: FloatArray, push: FloatArray) -> FloatArray:
        # The formula of `rhs_components` on arrays: fifty times faster than point by point.
        n = self.n_points
        around = np.concatenate([v[..., -1:], v, v[..., :1]], axis=-1)
        before, after = around[..., :-2], around[..., 2:]
        both = before + after
        convection = after - before
        convection *= both + v
        convection *= n / 6.0
        both -= 2.0 * v
        both *= self.nu * n * n
        slopes = push - convection
        slopes += both
        return slopes

    def _shapes(self) -> FloatArray:
        """Shapes of the actuators along the grid, `(n_u, n_points)`."""
        return _shapes(self.n_points)

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Speeds at ten equidistant points, from 0."""
        del xp
        readings = []
        for i in range(N_SENSORS):
            left, over = divmod(i * self.n_points, N_SENSORS)
            part = over / N_SENSORS
            readings.append(
                (1.0 - part) * x[left] + part * x[(left + 1) % self.n_points] if over else x[left]
            )
        return tuple(readings)

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs; see `Plant.output_bounds`."""
        low, high = (np.array(self.output_components(end)) for end in (self.x_min, self.x_max))
        return low, high

    def profile(self, a: float, low: float = 0.0, high: float = 1.0) -> FloatArray:
        r"""Speeds `(n_points,)` of the shape :math:`a e^{-(5 (x - 1/2))^2} + (1 - a) \sin^2(4 \pi x)`."""
        x = self.grid
        shape = a * np.exp(-((5.0 * (x - 0.5)) ** 2)) + (1.0 - a) * np.sin(4.0 * np.pi * x) ** 2
        return low + (high - low) * shape

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """A smooth profile between speeds drawn from `[x0_low, x0_high]`, moved along the period."""
        low, high = np.sort(rng.uniform(min(self.x0_low), max(self.x0_high), 2))
        profile = np.roll(self.profile(rng.uniform(), low, high), rng.integers(self.n_points))
        return np.clip(profile, self.x0_low, self.x0_high)


@lru_cache(maxsize=32)
def _shapes(n_points: int) -> FloatArray:
    grid = np.arange(n_points) / n_points
    shapes = np.exp(-((SHARPNESS * (grid - np.array(CENTRES)[:, None])) ** 2))
    shapes.flags.writeable = False
    return shapes


class BurgersEnv(PlantEnv):
    r"""Viscous Burgers equation, ten sensors: `koopctrl/Burgers-v0`.

    .. math::

        \partial_t v + v\,\partial_x v = \nu\,\partial_{xx} v
        + u_1 e^{-(15 (x - 0.25))^2} + u_2 e^{-(15 (x - 0.75))^2}, \qquad v(t, x + 1) = v(t, x)

    Speeds `v` travel with themselves and steepen into fronts that viscosity holds open. The two weak
    actuators change the mean, which nothing else does, by at most 0.024 a second. The task is to hold the
    speed 0.5 everywhere.

    ==================  ===========================================  =========  =======
    Parameter           Meaning                                      Default    Unit
    ==================  ===========================================  =========  =======
    `nu`                viscosity                                    0.01       m^2/s
    `n_points`          grid points, at least 10                     40
    `dt`                sample time                                  0.5        s
    `n_substeps`        Runge-Kutta steps per sample, see `Burgers`  16
    `u_min, u_max`      limits of the actuators                      -0.1, 0.1  m/s^2
    `x0_low, x0_high`   speeds between which starts lie              0, 1.2     m/s
    `x_min, x_max`      limits of the speeds                         -2, 2      m/s
    ==================  ===========================================  =========  =======

    **Observation**: `v` at 0, 0.1, .., 0.9. **Action**: `[u1, u2]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - u^T R u` with `Q = 1`, `R = 0.1`, `r = 0.5` by default. **Start**: a random smooth profile, or
    `reset(options={"x0": ...})` with a speed for each grid point. **End**: outside the limits; truncated
    after 200 steps (100 s).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: M. Korda, I. Mezic, *Linear predictors for nonlinear dynamical systems: Koopman operator meets
    model predictive control*, Automatica 93, 2018, whose actuators, bounds and starts these are (there at
    0.01 s and on another grid).
    """

    plant_class = Burgers
    task_settings: ClassVar = {"hold": 50}  # Actuators change the mean by 0.012 a step.
    body = "field"
    shown = ()
