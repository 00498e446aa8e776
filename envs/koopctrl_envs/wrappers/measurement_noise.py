"""Noise on what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.base import NOISE_CUT
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.wrappers.layer import Env, Layer, Step, as_widths, widened


class MeasurementNoise(Layer):
    """Gaussian noise on observations, cut at 5 standard deviations: `info["noise"]` is what was added.

    Parameters
    ----------
    env : gymnasium.Env
    std : float or array_like, (n_observed,)
        Standard deviations, in the units of the observations.
    """

    def __init__(self, env: Env, std: ArrayLike) -> None:
        super().__init__(env, std=std)
        self.std = as_widths(std, "std", self.n_observed)
        self.observation_space = widened(env.observation_space, NOISE_CUT * self.std)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; the first observation has noise too."""
        observation, info = super().reset(seed=seed, options=options)
        noise = self._draw()
        return observation + noise, {**info, "noise": noise}

    def step(self, action: ArrayLike) -> Step:
        """One step of the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)  # pyright: ignore
        noise = self._draw()
        return observation + noise, reward, terminated, truncated, {**info, "noise": noise}

    def _draw(self) -> FloatArray:
        return self.std * np.clip(self.rng.standard_normal(self.n_observed), -NOISE_CUT, NOISE_CUT)
