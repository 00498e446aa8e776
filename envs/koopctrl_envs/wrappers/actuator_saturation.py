"""Actuators that reach less far than their commands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector
from koopctrl_envs.wrappers.layer import Env, Layer, Step, as_action


class ActuatorSaturation(Layer):
    """Actions clipped to limits that the action space does not tell; `info["saturated"]` says which were.

    Parameters
    ----------
    env : gymnasium.Env
    low, high : float or array_like, (n_actions,)
        Limits, in the units of the actions.
    """

    def __init__(self, env: Env, low: ArrayLike, high: ArrayLike) -> None:
        super().__init__(env, low=low, high=high)
        self.low = as_vector(low, "low", self.n_actions, spread=True)
        self.high = as_vector(high, "high", self.n_actions, spread=True)
        if (self.low >= self.high).any():
            raise ValueError(f"low is {self.low.tolist()}, not below high, which is {self.high.tolist()}")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "saturated": np.zeros(self.n_actions, dtype=bool)}

    def passed(self, action: FloatArray) -> FloatArray:
        """The action within the limits."""
        return np.clip(action, self.low, self.high)

    def step(self, action: ArrayLike) -> Step:
        """One step of the env."""
        given = as_action(action, self.n_actions)
        sent = self.passed(given)
        observation, reward, terminated, truncated, info = self.env.step(sent)
        return observation, reward, terminated, truncated, {**info, "saturated": sent != given}
