"""The gymnasium env around any sampled system: what linear systems, networks and models share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector, as_weight
from koopctrl_envs.rendering.drawn import Drawn

MARGIN = 0.25
"""Observations may pass the limits of the outputs by this part of their width: the sample that ends an
episode lies outside."""


@dataclass(frozen=True)
class Signals:
    """Names and limits of a system's signals, as pictures and `koopctrl.collect` read them of a plant."""

    title: str
    dt: float
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    u_min: tuple[float, ...]
    u_max: tuple[float, ...]
    y_min: tuple[float, ...]
    y_max: tuple[float, ...]

    @property
    def input_units(self) -> tuple[str, ...]:
        """Unknown: dimensionless."""
        return ("1",) * len(self.input_names)

    @property
    def output_units(self) -> tuple[str, ...]:
        """Unknown: dimensionless."""
        return ("1",) * len(self.output_names)

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Limits of the outputs, `(n_y,)` each."""
        return np.array(self.y_min), np.array(self.y_max)


class SystemEnv(Drawn):
    r"""A sampled system :math:`x_{k+1} = f(x_k, u_k),\; y_k = h(x_k, u_k)` behind `reset` and `step`.

    One step holds the input for `dt` seconds. The reward is :math:`-(y - r)^T Q (y - r) - (u - u_r)^T R (u -
    u_r)` with the applied input and the noise-free output at the end of the step, which sees the input that
    was just applied where there is feedthrough. An episode is terminated when an output leaves
    `[y_min, y_max]`; wrap the env in `gymnasium.wrappers.TimeLimit` to truncate it. `info` holds the time `t`
    (s), the state `x`, the applied input `u`, and `failure`, which says what terminated the episode, else
    `""`. `plant` holds the names of the signals.

    Parameters
    ----------
    dt : float
        Sample time, s.
    names : tuple of three tuples of str
        Of states, inputs and outputs.
    u_min, u_max : array_like, (n_u,) or scalar
        Limits of the inputs.
    y_min, y_max : array_like, (n_y,) or scalar
        Where episodes end.
    Q, R : array_like
        Weights of the reward: scalars, diagonals or matrices.
    reference : array_like, (n_y,), optional
        Set-point `r`; zeros by default.
    input_reference : array_like, (n_u,), optional
        Input `u_r` that goes with it; zeros by default.
    measurement_noise : array_like, (n_y,) or scalar
        Standard deviation of the noise on observations.
    render_mode : {"rgb_array", "human"}, optional
        As in `PlantEnv`: the states as bars, and outputs and inputs over time.

    Raises
    ------
    ValueError
        Limits the wrong way round, or vectors of another size.
    """

    body = "state_bars"

    def __init__(
        self,
        dt: float,
        names: tuple[Any, Any, Any],
        *,
        u_min: ArrayLike = -1.0,
        u_max: ArrayLike = 1.0,
        y_min: ArrayLike = -np.inf,
        y_max: ArrayLike = np.inf,
        Q: ArrayLike = 1.0,
        R: ArrayLike = 0.1,
        reference: ArrayLike | None = None,
        input_reference: ArrayLike | None = None,
        measurement_noise: ArrayLike = 0.0,
        render_mode: str | None = None,
    ) -> None:
        states, inputs, outputs = (tuple(str(n) for n in group) for group in names)
        n_u, n_y = len(inputs), len(outputs)
        self.dt = float(dt)
        self._u_min, self._u_max = (
            as_vector(v, name, n_u, spread=True) for v, name in ((u_min, "u_min"), (u_max, "u_max"))
        )
        self._y_min, self._y_max = (
            as_vector(v, name, n_y, spread=True, infinite=True)
            for v, name in ((y_min, "y_min"), (y_max, "y_max"))
        )
        if (self._u_min >= self._u_max).any() or (self._y_min >= self._y_max).any():
            raise ValueError(
                "a lower limit is not below its upper limit; expected u_min < u_max, y_min < y_max"
            )
        self.Q, self.R = as_weight(Q, "Q", n_y), as_weight(R, "R", n_u)
        self.reference = as_vector(np.zeros(n_y) if reference is None else reference, "reference", n_y)
        self.input_reference = as_vector(
            np.zeros(n_u) if input_reference is None else input_reference, "input_reference", n_u
        )
        self.measurement_noise = as_vector(measurement_noise, "measurement_noise", n_y, spread=True)
        if (self.measurement_noise < 0.0).any():
            raise ValueError(
                f"measurement_noise is {self.measurement_noise.tolist()}; expected standard deviations, zero "
                "or more"
            )
        self._set_render_mode(render_mode, self.dt)
        ends = (tuple(v.tolist()) for v in (self._u_min, self._u_max, self._y_min, self._y_max))
        title = type(self).__name__.removesuffix("Env")
        self.plant = Signals(title, self.dt, states, inputs, outputs, *ends)
        self.action_space = spaces.Box(self._u_min, self._u_max, dtype=np.float64)
        # the sample that ends an episode lies outside; readings beyond the box are cut off there
        width = self._y_max - self._y_min
        margin = MARGIN * np.where(np.isfinite(width), width, 0.0)
        self.observation_space = spaces.Box(self._y_min - margin, self._y_max + margin, dtype=np.float64)
        self._x: FloatArray | None = None
        self._n_steps = 0

    @abstractmethod
    def next_state(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """State `(n_x,)` one sample later."""

    @abstractmethod
    def output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Output `(n_y,)`."""

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """Start of an episode, `(n_x,)`; by default zeros."""
        del rng
        return np.zeros(len(self.plant.state_names))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; `options["x0"]` is a state `(n_x,)` to start from."""
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - {"x0"}:
            raise ValueError(f"options has {sorted(unknown)}; expected x0")
        if "x0" in options:
            self._x = as_vector(options["x0"], "x0", len(self.plant.state_names))
        else:
            self._x = np.array(self.draw_start(self.np_random))
        self._n_steps = 0
        y = np.asarray(self.output(self._x, self.input_reference), dtype=float)
        self._record(0.0, self._x, y, self.reference, self.input_reference)
        return self._observe(y), self._info(self.input_reference, "")

    def step(self, action: ArrayLike) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Apply an action for `dt` seconds; it is clipped to the action space."""
        if self._x is None:
            raise gymnasium.error.ResetNeeded("step() was called before reset(); call reset() first")
        u = np.clip(as_vector(action, "action", len(self._u_min)), self._u_min, self._u_max)
        self._x = np.array(self.next_state(self._x, u), dtype=float)
        self._n_steps += 1
        y = np.array(self.output(self._x, u), dtype=float)
        if not (np.isfinite(self._x).all() and np.isfinite(y).all()):
            raise ValueError(
                f"the system left all bounds after {self._n_steps} steps; set y_min, y_max to end episodes "
                "before, or smaller limits of the inputs"
            )
        error, effort = y - self.reference, u - self.input_reference
        reward = -float(error @ self.Q @ error + effort @ self.R @ effort)
        failure = self._failure(y)
        self._record(self._n_steps * self.dt, self._x, y, self.reference, u, failure)
        return self._observe(y), reward, failure != "", False, self._info(u, failure)

    def _failure(self, y: FloatArray) -> str:
        for name, value, low, high in zip(self.plant.output_names, y, self._y_min, self._y_max, strict=True):
            if not low <= value <= high:
                return f"{name} = {value:.4g} is outside [{low:g}, {high:g}]"
        return ""

    def _observe(self, y: FloatArray) -> FloatArray:
        noise = self.measurement_noise * self.np_random.standard_normal(len(self.measurement_noise))
        space: Any = self.observation_space
        return np.clip(y + noise, space.low, space.high)

    def _info(self, u: FloatArray, failure: str) -> dict[str, Any]:
        return {"t": self._n_steps * self.dt, "x": np.array(self._x), "u": u.copy(), "failure": failure}
