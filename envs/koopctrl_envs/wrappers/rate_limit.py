"""Actuators that move at a limited speed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector
from koopctrl_envs.wrappers.layer import Env, Layer, Step, as_action, as_widths, plant_env, resting_action


class RateLimit(Layer):
    """Actions that change by at most `rate * dt` a step; `info["rate_limited"]` says which were held back.

    Parameters
    ----------
    env : gymnasium.Env
        With a sample time `dt`.
    rate : float or array_like, (n_actions,)
        Largest speed, in the units of the actions per second.
    initial : array_like, (n_actions,), optional
        Where the actuators stand when an episode begins; by default at the input that episodes begin with.
    """

    def __init__(self, env: Env, rate: ArrayLike, initial: ArrayLike | None = None) -> None:
        super().__init__(env, rate=rate, initial=initial)
        self.rate = as_widths(rate, "rate", self.n_actions, zero=False)
        dt = plant_env(env, "dt", "RateLimit").dt
        self._most = self.rate * dt
        rest = resting_action(env) if initial is None else initial
        self.initial = as_vector(rest, "initial", self.n_actions, spread=True)
        self._last = self.initial.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode, the actuators where they stand at first."""
        observation, info = super().reset(seed=seed, options=options)
        self._last = self.initial.copy()
        return observation, {**info, "rate_limited": np.zeros(self.n_actions, dtype=bool)}

    def step(self, action: ArrayLike) -> Step:
        """One step of the env."""
        given = as_action(action, self.n_actions)
        sent = np.clip(given, self._last - self._most, self._last + self._most)
        observation, reward, terminated, truncated, info = self.env.step(sent.copy())
        self._last = sent
        return observation, reward, terminated, truncated, {**info, "rate_limited": sent != given}
