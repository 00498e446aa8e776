"""Actuators that answer small commands not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector
from koopctrl_envs.wrappers.layer import Env, Layer, Step, as_action, as_widths


class DeadZone(Layer):
    r"""Actions that act only beyond a width.

    .. math:: a \mapsto c + \mathrm{sign}(a - c) \max(|a - c| - w, 0)

    `info["dead"]` says which entries fell into the zone.

    Parameters
    ----------
    env : gymnasium.Env
    width : float or array_like, (n_actions,)
        Half of the zone, `w`, in the units of the actions.
    centre : float or array_like, (n_actions,)
        Its middle, `c`.
    """

    def __init__(self, env: Env, width: ArrayLike, centre: ArrayLike = 0.0) -> None:
        super().__init__(env, width=width, centre=centre)
        self.width = as_widths(width, "width", self.n_actions)
        self.centre = as_vector(centre, "centre", self.n_actions, spread=True)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "dead": np.zeros(self.n_actions, dtype=bool)}

    def passed(self, action: FloatArray) -> FloatArray:
        """The action without the zone."""
        away = action - self.centre
        return self.centre + np.sign(away) * np.maximum(np.abs(away) - self.width, 0.0)

    def step(self, action: ArrayLike) -> Step:
        """One step of the env."""
        given = as_action(action, self.n_actions)
        observation, reward, terminated, truncated, info = self.env.step(self.passed(given))
        dead = np.abs(given - self.centre) <= self.width
        return observation, reward, terminated, truncated, {**info, "dead": dead}
