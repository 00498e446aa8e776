"""Commands that arrive late."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_count, as_vector
from koopctrl_envs.wrappers.layer import Env, Layer, Step, as_action, input_behind, resting_action


class InputDelay(Layer):
    """Actions that act a number of steps after they were given.

    `info["u"]` is, as ever, the input that acted; `info["u_accepted"]` is the one that set out, which
    controllers with an `input_delay` are told of; `info["pending"]`, `(n_steps, n_actions)`, holds the
    actions on their way, the next one first.

    Parameters
    ----------
    env : gymnasium.Env
    n_steps : int
        Delay, in samples.
    initial : array_like, (n_actions,), optional
        Action that acts until the first one arrives; by default the one that episodes begin with.
    """

    def __init__(self, env: Env, n_steps: int, initial: ArrayLike | None = None) -> None:
        super().__init__(env, n_steps=n_steps, initial=initial)
        self.n_steps = as_count(n_steps, "n_steps")
        rest = resting_action(env) if initial is None else initial
        self.initial = as_vector(rest, "initial", self.n_actions, spread=True)
        self._line = np.tile(self.initial, (self.n_steps, 1))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode with the initial action on all of the way."""
        observation, info = super().reset(seed=seed, options=options)
        self._line = np.tile(self.initial, (self.n_steps, 1))
        return observation, self._told(info, self.initial)

    def step(self, action: ArrayLike) -> Step:
        """One step of the env under the action that arrives."""
        given = as_action(action, self.n_actions)
        observation, reward, terminated, truncated, info = self.env.step(self._line[0].copy())
        self._line = np.concatenate([self._line[1:], given[None]])
        return observation, reward, terminated, truncated, self._told(info, given)

    def _told(self, info: dict[str, Any], given: FloatArray) -> dict[str, Any]:
        return {**info, "pending": self._line.copy(), "u_accepted": input_behind(self.env, given)}
