"""Converters with finitely many steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.wrappers.layer import Env, Layer, Step, as_action, as_widths, widened


class Quantisation(Layer):
    """Observations and actions rounded to multiples of a step.

    `info["observation_rounding"]` and `info["action_rounding"]` are what rounding added.

    Parameters
    ----------
    env : gymnasium.Env
    observation : float or array_like, (n_observed,)
        Steps of the measuring side, in the units of the observations; zero leaves an entry alone.
    action : float or array_like, (n_actions,)
        Steps of the actuating side, in the units of the actions, likewise.
    """

    def __init__(self, env: Env, observation: ArrayLike = 0.0, action: ArrayLike = 0.0) -> None:
        super().__init__(env, observation=observation, action=action)
        self.observation_step = as_widths(observation, "observation", self.n_observed)
        self.action_step = as_widths(action, "action", self.n_actions)
        if not (self.observation_step.any() or self.action_step.any()):
            raise ValueError("observation and action are zero; expected a step for one of them")
        self.observation_space = widened(env.observation_space, 0.5 * self.observation_step)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return self._told(observation, info, np.zeros(self.n_actions))

    def passed(self, action: FloatArray) -> FloatArray:
        """The action, rounded."""
        return _rounded(action, self.action_step)

    def step(self, action: ArrayLike) -> Step:
        """One step of the env."""
        given = as_action(action, self.n_actions)
        sent = self.passed(given)
        observation, reward, terminated, truncated, info = self.env.step(sent)
        observation, info = self._told(observation, info, sent - given)
        return observation, reward, terminated, truncated, info

    def _told(
        self, observation: FloatArray, info: dict[str, Any], added: FloatArray
    ) -> tuple[FloatArray, dict[str, Any]]:
        seen = _rounded(np.asarray(observation, dtype=np.float64), self.observation_step)
        return seen, {**info, "observation_rounding": seen - observation, "action_rounding": added}


def _rounded(value: FloatArray, step: FloatArray) -> FloatArray:
    rounds = step > 0.0
    width = np.where(rounds, step, 1.0)
    return np.where(rounds, width * np.round(value / width), value)
