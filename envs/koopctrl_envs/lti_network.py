"""A linear network as a plant to control: from a large model to a quick environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector, as_weight


class LTINetworkEnv(gymnasium.Env[FloatArray, FloatArray]):
    r"""A `koopctrl.LTINetwork` behind `reset` and `step`, exact under held inputs.

    One step holds the input for `dt` seconds. The reward is :math:`-(y - r)^T Q (y - r) - (u - u_r)^T R (u -
    u_r)` with
    the applied input and the noise-free output at the end of the step. An episode is terminated when an
    output leaves
    `[y_min, y_max]`; wrap the env in `gymnasium.wrappers.TimeLimit` to truncate it. `info` holds the time `t`
    (s), the
    neuron states `x`, the applied input `u`, and `failure`, which says what terminated the episode, else
    `""`.

    Parameters
    ----------
    net : LTINetwork
        Continuous, sampled at `dt`, or discrete. Without dead times.
    dt : float, optional
        Sample time in seconds; a discrete network has its own.
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
    x0_scale : float
        Starts are drawn from `[-x0_scale, x0_scale]` times what each neuron reaches under a unit step.
    measurement_noise : array_like, (n_y,) or scalar
        Standard deviation of the noise on observations.

    Attributes
    ----------
    net : LTINetwork
        The discrete network that runs.
    dt : float
        Sample time, s.

    Raises
    ------
    ValueError
        A network without a sample time, limits the wrong way round, or vectors of another size.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        net: Any,
        dt: float | None = None,
        *,
        u_min: ArrayLike = -1.0,
        u_max: ArrayLike = 1.0,
        y_min: ArrayLike = -np.inf,
        y_max: ArrayLike = np.inf,
        Q: ArrayLike = 1.0,
        R: ArrayLike = 0.1,
        reference: ArrayLike | None = None,
        input_reference: ArrayLike | None = None,
        x0_scale: float = 0.0,
        measurement_noise: ArrayLike = 0.0,
    ) -> None:
        if dt is None and not net.sample_time:
            raise ValueError("dt is None, and the network is continuous; expected a sample time in seconds")
        if net.delayed:
            raise ValueError("net has dead times; expected none. Use a wrapper that delays actions instead")
        self.net = net.sample(net.sample_time if dt is None else dt)
        self.dt = float(self.net.sample_time)
        n_u, n_y = self.net.B.shape[1], len(self.net.C)
        self._u_min, self._u_max = (
            as_vector(v, name, n_u, spread=True) for v, name in ((u_min, "u_min"), (u_max, "u_max"))
        )
        self._y_min, self._y_max = (
            np.broadcast_to(np.asarray(v, dtype=float), (n_y,)) for v in (y_min, y_max)
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
        self._spread = float(x0_scale) * _reach(self.net)
        self.action_space = spaces.Box(self._u_min, self._u_max, dtype=np.float64)
        # the sample that ends an episode lies outside; readings beyond the box are cut off there
        width = self._y_max - self._y_min
        margin = np.where(np.isfinite(width), 0.25 * np.where(np.isfinite(width), width, 0.0), 0.0)
        self.observation_space = spaces.Box(self._y_min - margin, self._y_max + margin, dtype=np.float64)
        self._x: FloatArray | None = None
        self._u = self.input_reference
        self._n_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; `options["x0"]` are neuron states `(n,)` to start from."""
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - {"x0"}:
            raise ValueError(f"options has {sorted(unknown)}; expected x0")
        n = self.net.n_states
        self._x = (
            as_vector(options["x0"], "x0", n)
            if "x0" in options
            else self._spread * self.np_random.uniform(-1.0, 1.0, n)
        )
        self._n_steps = 0
        y = self.net.output(self._x, self.input_reference)
        return self._observe(y), self._info(self.input_reference, "")

    def step(self, action: ArrayLike) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Apply an action for `dt` seconds; it is clipped to the action space."""
        if self._x is None:
            raise gymnasium.error.ResetNeeded("step() was called before reset(); call reset() first")
        u = np.clip(as_vector(action, "action", self.net.B.shape[1]), self._u_min, self._u_max)
        self._x = np.asarray(self.net.next_state(self._x, u))
        self._n_steps += 1
        y = np.asarray(self.net.output(self._x, u))
        error, effort = y - self.reference, u - self.input_reference
        reward = -float(error @ self.Q @ error + effort @ self.R @ effort)
        failure = self._failure(y)
        return self._observe(y), reward, failure != "", False, self._info(u, failure)

    def _failure(self, y: FloatArray) -> str:
        for name, value, low, high in zip(self.net.output_names, y, self._y_min, self._y_max, strict=True):
            if not low <= value <= high:
                return f"{name} = {value:.4g} is outside [{low:g}, {high:g}]"
        return ""

    def _observe(self, y: ArrayLike) -> FloatArray:
        noise = self.measurement_noise * self.np_random.standard_normal(len(self.measurement_noise))
        space: Any = self.observation_space
        return np.clip(np.asarray(y) + noise, space.low, space.high)

    def _info(self, u: FloatArray, failure: str) -> dict[str, Any]:
        return {"t": self._n_steps * self.dt, "x": np.array(self._x), "u": u.copy(), "failure": failure}


def _reach(net: Any) -> FloatArray:
    """What each neuron reaches over a hundred samples of unit inputs."""
    x, largest = np.zeros(net.n_states), np.zeros(net.n_states)
    u = np.ones(net.B.shape[1])
    for _ in range(100):
        x = np.asarray(net.next_state(x, u))
        largest = np.maximum(largest, np.abs(x))
    return largest
