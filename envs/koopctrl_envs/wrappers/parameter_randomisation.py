"""Plants that differ from episode to episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from koopctrl_envs.checks import FloatArray, as_number, as_vector
from koopctrl_envs.wrappers.layer import Env, Layer, Step, plant_env


class ParameterRandomisation(Layer):
    """Parameters drawn uniformly at each reset; `info["parameters"]` has their values, by name.

    References and weights of the env stay those of its nominal plant.

    Parameters
    ----------
    env : gymnasium.Env
        Around a `PlantEnv`.
    parameters : dict of str to (low, high)
        Ends of each range, in the parameter's units.
    relative : bool
        Whether the ends are factors of the nominal values instead.
    """

    def __init__(self, env: Env, parameters: Mapping[str, Any], relative: bool = False) -> None:
        super().__init__(env, parameters=parameters, relative=relative)
        self._plant_env = bare = plant_env(env, "use_parameters", "ParameterRandomisation")
        self.ranges: dict[str, tuple[float, float]] = {}
        for name, ends in parameters.items():
            low, high = as_vector(ends, name, 2)
            if low > high:
                raise ValueError(f"{name} is drawn from {low:g} to {high:g}; expected the lower end first")
            factor = as_number(getattr(bare.plant, name, 1.0), name) if relative else 1.0
            self.ranges[name] = tuple(sorted((low * factor, high * factor)))  # pyright: ignore
        if not self.ranges:
            raise ValueError("parameters is empty; expected names with ranges")
        nominal = {name: getattr(bare.plant, name, None) for name in self.ranges}
        # Both ends must be plants; what lies between then is one too.
        for end in (0, 1):
            bare.use_parameters(**{name: ends[end] for name, ends in self.ranges.items()})
        bare.use_parameters(**nominal)
        self._drawn: dict[str, float] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Draw a plant and start an episode with it."""
        self._seed(seed)
        self._drawn = {n: float(self.rng.uniform(low, high)) for n, (low, high) in self.ranges.items()}
        self._plant_env.use_parameters(**self._drawn)
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._told(info)

    def step(self, action: Any) -> Step:
        """One step of the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._told(info)

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        # What lies further in acts later, so it has the last word on a parameter of both.
        return {**info, "parameters": {**self._drawn, **info.get("parameters", {})}}
