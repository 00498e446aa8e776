"""Heat in a plate, with heaters along its edges: a partial differential equation in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray, as_floats
from koopctrl_envs.plant import Components, Plant

EDGES = ("left", "right", "top")
SENSORS = tuple((x, y) for y in (1 / 6, 1 / 2, 5 / 6) for x in (1 / 4, 3 / 4))
"""Places of the sensors, parts of the plate's side from its lower left corner."""
OPERATING_POWERS = (100.0, 100.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class HeatedPlate(Plant):
    r"""Thin square plate on a grid of cells, losing heat to the air, with heaters on three of its edges.

    The equation is linear, so a sample is taken exactly, by the exponential of its matrix: no step is too
    long, however stiff a fine grid is.

    Parameters
    ----------
    k : float
        Conductivity, W/(m K).
    rho : float
        Density, kg/m^3.
    cp : float
        Heat capacity, J/(kg K).
    side, depth : float
        Length of an edge and thickness, m.
    h : float
        Heat transfer to the air on either face, W/(m^2 K).
    T_air : float
        Temperature of the air, °C.
    n_side : int
        Cells along an edge.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`; `n_substeps` has no part in the steps.
    """

    input_names: ClassVar = EDGES
    input_units: ClassVar = ("W", "W", "W")
    output_names: ClassVar = tuple(f"T{i}" for i in range(len(SENSORS)))
    output_units: ClassVar = ("°C",) * len(SENSORS)
    positive: ClassVar = ("k", "rho", "cp", "side", "depth", "h")
    integers: ClassVar = ("n_side",)
    step_error: ClassVar = 1e-9

    k: float = 237.0
    rho: float = 2702.0
    cp: float = 903.0
    side: float = 0.4
    depth: float = 0.004
    h: float = 15.0
    T_air: float = 20.0
    n_side: int = 8
    dt: float = 10.0
    n_substeps: int = 1
    u_min: tuple[float, ...] = (0.0, 0.0, 0.0)
    u_max: tuple[float, ...] = (200.0, 200.0, 200.0)
    x0_low: tuple[float, ...] = cast("tuple[float, ...]", 20.0)
    x0_high: tuple[float, ...] = cast("tuple[float, ...]", 120.0)
    x_min: tuple[float, ...] = cast("tuple[float, ...]", 0.0)
    x_max: tuple[float, ...] = cast("tuple[float, ...]", 250.0)

    @property
    def state_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """`T_row_column`, rows from the bottom."""
        cells = range(self.n_side)
        return tuple(f"T_{i}_{j}" for i in cells for j in cells)

    @property
    def state_units(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of a temperature."""
        return ("°C",) * self.n_x

    @property
    def n_x(self) -> int:
        """Number of cells."""
        return self.n_side**2

    @property
    def equilibria(self) -> FloatArray:
        """Under `equilibrium_inputs`; and at the temperature of the air, all heaters off."""
        A, B, c = _matrices(self)
        warm = np.linalg.solve(A, -(B @ OPERATING_POWERS + c))
        return np.array([warm, np.full(self.n_x, self.T_air)])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """100 W on the left and on the right, 60 W at the top; and none."""
        return np.array([OPERATING_POWERS, np.zeros(3)])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of the temperatures of all cells; see `Plant.rhs_components`."""
        del xp
        return _rows(x, u, *_matrices(self))

    def step_components(
        self, x: Components, u: Components, xp: Any = np, dt: float | None = None
    ) -> tuple[Any, ...]:
        """Temperatures after `dt` seconds, exactly; see `Plant.step_components`."""
        del xp
        return _rows(x, u, *_propagators(self, self._interval(dt)))

    def rhs(self, x: ArrayLike, u: ArrayLike) -> FloatArray:
        """Time derivative of whole plates; see `Plant.rhs`."""
        return self._affine(x, u, *_matrices(self))

    def step(self, x: ArrayLike, u: ArrayLike, dt: float | None = None) -> FloatArray:
        """Temperatures after `dt` seconds; see `Plant.step`."""
        return self._affine(x, u, *_propagators(self, self._interval(dt)))

    def _affine(self, x: ArrayLike, u: ArrayLike, A: FloatArray, B: FloatArray, c: FloatArray) -> FloatArray:
        return as_floats(x, "x", self.n_x) @ A.T + as_floats(u, "u", self.n_u) @ B.T + c

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Temperatures of the cells with a sensor."""
        del xp
        return tuple(x[i] for i in self.sensor_cells)

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs; see `Plant.output_bounds`."""
        cells = list(self.sensor_cells)
        return np.array(self.x_min)[cells], np.array(self.x_max)[cells]

    @property
    def sensor_cells(self) -> tuple[int, ...]:
        """Numbers of the cells with a sensor."""
        n = self.n_side
        return tuple(int(y * n) * n + int(x * n) for x, y in SENSORS)

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """A smooth profile between temperatures drawn from the box: a slope with a warm or a cold spot."""
        low, high = np.sort(rng.uniform(min(self.x0_low), max(self.x0_high), 2))
        along = (np.arange(self.n_side) + 0.5) / self.n_side
        x, y = np.meshgrid(along, along)
        slope, spot = rng.uniform(-1.0, 1.0, 2), rng.uniform(0.0, 1.0, 2)
        shape = slope[0] * x + slope[1] * y + np.exp(-8.0 * ((x - spot[0]) ** 2 + (y - spot[1]) ** 2))
        shape = (shape - shape.min()) / np.ptp(shape)
        return np.clip((low + (high - low) * shape).ravel(), self.x0_low, self.x0_high)


@lru_cache(maxsize=32)
def _matrices(plant: HeatedPlate) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""`A, B, c` of :math:`\dot T = A T + B u + c`."""
    n = plant.n_side
    line = np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    line -= np.diag(line.sum(axis=1))  # no heat leaves through the edges
    diffusivity = plant.k / (plant.rho * plant.cp) * (n / plant.side) ** 2
    loss = 2.0 * plant.h / (plant.rho * plant.cp * plant.depth)
    eye = np.eye(n)
    A = diffusivity * (np.kron(eye, line) + np.kron(line, eye)) - loss * np.eye(n * n)
    cells = np.arange(n * n).reshape(n, n)
    heated = (cells[:, 0], cells[:, -1], cells[-1])
    B = np.zeros((n * n, len(EDGES)))
    for j, edge in enumerate(heated):
        # An edge's power is shared by its n cells, each a part 1/n^2 of the plate's heat capacity.
        B[edge, j] = n / (plant.rho * plant.cp * plant.depth * plant.side**2)
    return A, B, np.full(n * n, loss * plant.T_air)


@lru_cache(maxsize=32)
def _propagators(plant: HeatedPlate, dt: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`F, G, e` of :math:`T_{k+1} = F T_k + G u_k + e` with held inputs."""
    from scipy.linalg import expm

    A, B, c = _matrices(plant)
    n, m = B.shape
    block = np.zeros((n + m + 1, n + m + 1))
    block[:n] = np.column_stack([A, B, c])
    whole = np.asarray(expm(block * dt), dtype=np.float64)
    return whole[:n, :n].copy(), whole[:n, n:-1].copy(), whole[:n, -1].copy()


def _rows(x: Components, u: Components, A: FloatArray, B: FloatArray, c: FloatArray) -> tuple[Any, ...]:
    """`A x + B u + c` component by component, zeros left out."""
    rows = []
    for a, b, constant in zip(A.tolist(), B.tolist(), c.tolist(), strict=True):
        total = constant + sum(w * v for w, v in zip(b, u, strict=True) if w)
        rows.append(sum((w * v for w, v in zip(a, x, strict=True) if w), total))
    return tuple(rows)


class HeatedPlateEnv(PlantEnv):
    r"""Heat in a plate with heaters along three edges, six sensors: `koopctrl/HeatedPlate-v0`.

    .. math::

        \rho c_p\, \partial_t T = k\, (\partial_{xx} T + \partial_{yy} T) - \frac{2 h}{d} (T - T_{air}),
        \qquad k\, \partial_n T = \frac{u_i}{L d} \text{ along the heated edges, else } 0

    A plate of aluminium, `L` long and wide and `d` thick. Heat takes minutes from its edges to its
    middle, where the sensors see it late; nothing cools it but the air. The task is to hold a profile that
    100, 100 and 60 W can hold.

    ==================  ===========================================  ============  ==========
    Parameter           Meaning                                      Default       Unit
    ==================  ===========================================  ============  ==========
    `k`                 conductivity                                 237           W/(m K)
    `rho`               density                                      2702          kg/m^3
    `cp`                heat capacity                                903           J/(kg K)
    `side, depth`       edge and thickness                           0.4, 0.004    m
    `h`                 heat transfer to the air, on either face     15            W/(m^2 K)
    `T_air`             temperature of the air                       20            °C
    `n_side`            cells along an edge                          8
    `dt`                sample time                                  10            s
    `n_substeps`        without a part: steps are exact              1
    `u_min, u_max`      limits of the powers                         0, 200        W
    `x0_low, x0_high`   temperatures between which starts lie        20, 120       °C
    `x_min, x_max`      limits of the temperatures                   0, 250        °C
    ==================  ===========================================  ============  ==========

    **Observation**: temperatures at a quarter and three quarters of the width, at a sixth, a half and five
    sixths of the height. **Action**: `[left, right, top]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - (u - u_r)^T R (u - u_r)` with `Q = 0.01`, `R = 0.001`, and the profile that 100, 100 and 60 W hold.
    **Start**: a random smooth profile, or `reset(options={"x0": ...})` with a temperature for each cell, row
    by row from the bottom. **End**: outside the limits; truncated after 200 steps (33 min).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: the equation is Fourier's; the properties are those of pure aluminium in F. P. Incropera, D. P.
    DeWitt, *Fundamentals of heat and mass transfer*, Wiley, appendix A.
    """

    plant_class = HeatedPlate
    body = "plate"
    shown = ("T0", "T2", "T4")
    default_Q = 0.01
    default_R = 0.001
