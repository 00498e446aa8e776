"""Plants that change while they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.wrappers.layer import Env, Layer, Step, layers, plant_env
from koopctrl_envs.wrappers.schedule import Schedule, Value


class ParameterDrift(Layer):
    """Parameters that follow a schedule; `info["parameters"]` has their values over the step, by name.

    Parameters
    ----------
    env : gymnasium.Env
        Around a `PlantEnv`.
    parameters : dict of str to schedule
        For each parameter a number, an array with one row a step, pairs `(seconds, value)`, or a function of
        time; see `koopctrl_envs.wrappers.schedule.Schedule`.
    relative : bool
        Whether values are factors of what the plant has (nominal, or drawn by `ParameterRandomisation`)
        instead; before the first time of pairs the factor is one.
    """

    def __init__(self, env: Env, parameters: Mapping[str, Value], relative: bool = False) -> None:
        super().__init__(env, parameters=parameters, relative=relative)
        self._plant_env = bare = plant_env(env, "use_parameters", "ParameterDrift")
        if not parameters:
            raise ValueError("parameters is empty; expected names with schedules")
        self.relative = bool(relative)
        # Names that may not change are refused by this.
        bare.use_parameters(**{name: getattr(bare.plant, name, None) for name in parameters})
        self.schedules = {
            name: Schedule(value, name, 1, 1.0 if relative else float(getattr(bare.plant, name)))
            for name, value in parameters.items()
        }
        # The innermost drift of a parameter is the one that the plant sees.
        inner = [layer for layer in layers(env) if isinstance(layer, ParameterDrift)]
        self._own = set(self.schedules) - {name for layer in inner for name in layer.schedules}
        self._k = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode, and the schedules."""
        observation, info = super().reset(seed=seed, options=options)
        self._k = 0
        return observation, self._told(info, self._now())

    def step(self, action: Any) -> Step:
        """One step of the plant as it is now."""
        bare, values = self._plant_env, self._now()
        before = {name: getattr(bare.plant, name) for name in values}
        # Only for this step, so that nothing is left of it when the next episode begins.
        bare.use_parameters(**values)
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        finally:
            bare.use_parameters(**before)
        self._k += 1
        return observation, reward, terminated, truncated, self._told(info, values)

    def _told(self, info: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
        own = {name: value for name, value in values.items() if name in self._own}
        return {**info, "parameters": {**info.get("parameters", {}), **own}}

    def _now(self) -> dict[str, float]:
        bare = self._plant_env
        values = {name: float(s.at(self._k, bare.dt)[0]) for name, s in self.schedules.items()}
        if self.relative:
            return {name: value * getattr(bare.plant, name) for name, value in values.items()}
        return values
