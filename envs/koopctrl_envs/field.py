"""A discretised partial differential equation as a plant to control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector, as_weight


class FieldEnv(gymnasium.Env[FloatArray, FloatArray]):
    r"""A model of `koopctrl.sampled.pde` behind `reset` and `step`, under held inputs.

    Observations are the sensors at the end of a step. The reward is :math:`-(y - r)^T Q (y - r) - (v - v_r)^T
    R (v - v_r)` with the applied input and the outputs without noise. An episode is terminated when an output
    leaves `[y_min, y_max]`; wrap the env in `gymnasium.wrappers.TimeLimit` to truncate it. `info` holds the
    time `t` (s), the model's state `x` (`model.evaluate(x, points)` is the field), the applied input `u`, and
    `failure`, which says what terminated the episode, else `""`.

    Parameters
    ----------
    model : SemiDiscrete
        From `pde.discretise(...)`, with sensors and inputs; a controller should be made on another one.
    dt : float
        Sample time in seconds.
    u_min, u_max : array_like, (n_u,) or scalar
        Limits of the inputs.
    y_min, y_max : array_like, (n_y,) or scalar
        Where episodes end.
    Q, R : array_like
        Weights of the reward: scalars, diagonals or matrices.
    reference : array_like, (n_y,), optional
        Set-point `r`; zeros by default.
    input_reference : array_like, (n_u,), optional
        Input `v_r` that goes with it; zeros by default.
    draw_start : callable, optional
        `draw_start(rng)` gives a function of the points from which an episode starts; by default every one
        starts as the equation says.
    measurement_noise : array_like, (n_y,) or scalar
        Standard deviation of the noise on observations.

    Raises
    ------
    ValueError
        Limits the wrong way round, a model without sensors or inputs, or vectors of another size.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        model: Any,
        dt: float,
        *,
        u_min: ArrayLike = -1.0,
        u_max: ArrayLike = 1.0,
        y_min: ArrayLike = -np.inf,
        y_max: ArrayLike = np.inf,
        Q: ArrayLike = 1.0,
        R: ArrayLike = 0.1,
        reference: ArrayLike | None = None,
        input_reference: ArrayLike | None = None,
        draw_start: Callable[[np.random.Generator], Callable[[FloatArray], ArrayLike]] | None = None,
        measurement_noise: ArrayLike = 0.0,
    ) -> None:
        n_u, n_y = model.n_inputs, model.n_outputs
        if not n_u or not n_y:
            raise ValueError(f"model has {n_u} inputs and {n_y} sensors; expected some of both")
        if draw_start is not None and not callable(draw_start):
            raise ValueError(f"draw_start is a {type(draw_start).__name__}; expected a callable or None")
        self.model, self._face = model, model.step_face(dt)
        self.dt = float(self._face.dt)
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
        self._draw_start = draw_start
        self.action_space = spaces.Box(self._u_min, self._u_max, dtype=np.float64)
        # The sample that ends an episode lies outside; readings beyond the box are cut off there.
        width = self._y_max - self._y_min
        margin = np.where(np.isfinite(width), 0.25 * np.where(np.isfinite(width), width, 0.0), 0.0)
        self.observation_space = spaces.Box(self._y_min - margin, self._y_max + margin, dtype=np.float64)
        self._n_steps: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; `options["initial"]` is a function of the points to start from."""
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - {"initial"}:
            raise ValueError(f"options has {sorted(unknown)}; expected initial")
        drawn = None if self._draw_start is None else self._draw_start(self.np_random)
        self._face = self.model.step_face(self.dt)
        y = self._face.reset(options.get("initial", drawn))
        self._n_steps = 0
        return self._observe(y), self._info(np.zeros(self.model.n_inputs), "")

    def step(self, action: ArrayLike) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Apply an action for `dt` seconds; it is clipped to the action space."""
        if self._n_steps is None:
            raise gymnasium.error.ResetNeeded("step() was called before reset(); call reset() first")
        u = np.clip(as_vector(action, "action", self.model.n_inputs), self._u_min, self._u_max)
        y = self._face.step(u)
        self._n_steps += 1
        error, effort = y - self.reference, u - self.input_reference
        reward = -float(error @ self.Q @ error + effort @ self.R @ effort)
        failure = self._failure(y)
        return self._observe(y), reward, failure != "", False, self._info(u, failure)

    def _failure(self, y: FloatArray) -> str:
        names = self.model.pde.output_names
        for name, value, low, high in zip(names, y, self._y_min, self._y_max, strict=True):
            if not low <= value <= high:
                return f"{name} = {value:.4g} is outside [{low:g}, {high:g}]"
        return ""

    def _observe(self, y: FloatArray) -> FloatArray:
        noise = self.measurement_noise * self.np_random.standard_normal(len(self.measurement_noise))
        space: Any = self.observation_space
        return np.clip(y + noise, space.low, space.high)

    def _info(self, u: FloatArray, failure: str) -> dict[str, Any]:
        t = (self._n_steps or 0) * self.dt
        return {"t": t, "x": self._face.x.copy(), "u": u.copy(), "failure": failure}
