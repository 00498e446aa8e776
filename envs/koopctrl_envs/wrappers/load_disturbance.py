"""Loads that come and go on a schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.wrappers.layer import Env, Layer, Step, plant_env
from koopctrl_envs.wrappers.schedule import Schedule, Value


class LoadDisturbance(Layer):
    """Added to the input after its limits, beside the env's own `disturbance`.

    `info["load"]` is what acted over the step; `info["u"]` stays the input without it.

    Parameters
    ----------
    env : gymnasium.Env
        Around a `PlantEnv`.
    load : float, array_like, list of (time, value), or callable
        In the units of the plant's inputs: a constant, rows by step, values from given times on (zero
        before), or a function of time in seconds; see `koopctrl_envs.wrappers.schedule.Schedule`.
    """

    def __init__(self, env: Env, load: Value) -> None:
        super().__init__(env, load=load)
        self._plant_env = plant_env(env, "disturbance", "LoadDisturbance")
        self.load = Schedule(load, "load", self._plant_env.plant.n_u)
        self._k = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode, and the schedule."""
        observation, info = super().reset(seed=seed, options=options)
        self._k = 0
        return observation, {**info, "load": info.get("load", np.zeros(self._plant_env.plant.n_u))}

    def step(self, action: ArrayLike) -> Step:
        """One step of the env under the load."""
        bare = self._plant_env
        load, before = self.load.at(self._k, bare.dt), bare.disturbance
        # Only for this step: loads of several wrappers add up, and none outlives an error.
        bare.disturbance = before + load
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)  # pyright: ignore
        finally:
            bare.disturbance = before
        self._k += 1
        return observation, reward, terminated, truncated, {**info, "load": load + info.get("load", 0.0)}
