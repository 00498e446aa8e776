"""What the wrappers have in common: checks of spaces, streams of their own, the input behind an action."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_vector

Env = gymnasium.Env[FloatArray, FloatArray]
Step = tuple[FloatArray, Any, bool, bool, dict[str, Any]]


AnyWrapper = gymnasium.Wrapper[FloatArray, FloatArray, FloatArray, FloatArray]


class Layer(AnyWrapper, RecordConstructorArgs):
    """A wrapper that says in `info` what it did.

    Parameters
    ----------
    env : gymnasium.Env
        With vectors of real numbers as actions and observations.
    **arguments
        Those of the subclass, kept for `env.spec`.
    """

    def __init__(self, env: Env, **arguments: Any) -> None:
        RecordConstructorArgs.__init__(self, **arguments)
        super().__init__(env)
        for what, space in (("actions", env.action_space), ("observations", env.observation_space)):
            if not isinstance(space, spaces.Box) or len(space.shape) != 1:
                raise ValueError(
                    f"{type(self).__name__} needs vectors of real numbers as {what}; the env's are {space}"
                )
        self.n_actions = int(np.prod(env.action_space.shape or ()))
        self.n_observed = int(np.prod(env.observation_space.shape or ()))
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """This wrapper's own stream; of fresh entropy where no seed was ever given."""
        if self._rng is None:
            self._rng = np.random.default_rng()
        return self._rng

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; a seed begins the wrapper's own stream anew, too."""
        self._seed(seed)
        return self.env.reset(seed=seed, options=options)

    def passed(self, action: FloatArray) -> FloatArray:
        """What an action becomes on its way through, where that depends on nothing but the action."""
        return action

    def _seed(self, seed: int | None) -> None:
        if seed is not None:
            # Told by its kind and by how many of that kind lie further in, not by its place among others.
            inside = sum(type(layer) is type(self) for layer in layers(self.env))
            key = (zlib.crc32(type(self).__name__.encode()), inside)
            self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def layers(env: Any) -> Iterator[Any]:
    """An env and what it wraps, from the outside in."""
    while env is not None:
        yield env
        env = getattr(env, "env", None)


def plant_env(env: Any, need: str, whose: str) -> Any:
    """The innermost env, which must have the attribute `need`."""
    bare = env.unwrapped
    if not hasattr(bare, need):
        raise ValueError(f"{whose} needs an env with {need}, as PlantEnv has; got {type(bare).__name__}")
    return bare


def resting_action(env: Any) -> FloatArray:
    """Action that stands for the input at which episodes begin; the middle of the box where it is unknown."""
    bare, space = env.unwrapped, env.action_space
    rescaled = any(isinstance(layer, gymnasium.ActionWrapper) for layer in layers(env))
    if hasattr(bare, "input_reference") and not rescaled:
        rest = bare.input_reference
        rest = bare.actions_of(rest) if hasattr(bare, "actions_of") else np.array(rest)
        return np.clip(rest, space.low, space.high).astype(np.float64)
    middle = 0.5 * (space.low.astype(np.float64) + space.high)
    return np.where(np.isfinite(middle), middle, 0.0)


def input_behind(env: Any, action: FloatArray) -> FloatArray:
    """Input in the plant's units that an action stands for; what has a memory on its way is left out."""
    for layer in layers(env):
        if isinstance(layer, Layer):
            action = layer.passed(action)
        elif isinstance(layer, gymnasium.ActionWrapper):
            action = np.asarray(layer.action(action), dtype=np.float64)
    bare = env.unwrapped
    return np.array(bare.inputs_of(action)) if hasattr(bare, "inputs_of") else np.array(action)


def as_action(action: ArrayLike, size: int) -> FloatArray:
    """A finite action of the right size; a new array."""
    return as_vector(action, "action", size)


def as_widths(value: ArrayLike, name: str, size: int, *, zero: bool = True) -> FloatArray:
    """Numbers above zero, or zero where that means none."""
    array = as_vector(value, name, size, spread=True)
    if (array < 0.0).any() or (not zero and (array == 0.0).any()):
        raise ValueError(f"{name} is {array.tolist()}; expected numbers {'from' if zero else 'above'} zero")
    return array


def widened(space: Any, by: FloatArray) -> spaces.Box:
    """A box that reaches further on either side."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return spaces.Box(low - by, high + by, dtype=np.float64)
