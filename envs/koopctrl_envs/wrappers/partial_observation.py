"""Sensors that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.wrappers.layer import Env, Layer, Step, layers


class PartialObservation(Layer):
    """Some entries of the observation, in the order given; `info["hidden"]` holds the others, in theirs.

    Parameters
    ----------
    env : gymnasium.Env
    keep : sequence of str or int
        Names of outputs, or numbers of entries.

    Attributes
    ----------
    output_names : tuple of str
        Names of what is left, where those of the env are known; `koopctrl.collect` takes them.
    """

    def __init__(self, env: Env, keep: Sequence[str | int]) -> None:
        super().__init__(env, keep=keep)
        known = _names(env, self.n_observed)
        chosen = [keep] if isinstance(keep, (str, int, np.integer)) else list(keep)
        numbers = [_number(k, known, self.n_observed) for k in chosen]
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"keep is {keep!r}; expected entries, each of them once")
        self._keep = np.array(numbers)
        self._rest = np.setdiff1d(np.arange(self.n_observed), self._keep)
        self.output_names = tuple(known[i] for i in numbers) if known else None
        space: Any = env.observation_space
        self.observation_space = spaces.Box(
            space.low[self._keep], space.high[self._keep], dtype=space.dtype.type
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation[self._keep], {**info, "hidden": observation[self._rest]}

    def step(self, action: ArrayLike) -> Step:
        """One step of the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)  # pyright: ignore
        hidden = {**info, "hidden": observation[self._rest]}
        return observation[self._keep], reward, terminated, truncated, hidden


def _names(env: Any, size: int) -> tuple[str, ...]:
    """Names of the observation's entries, the outermost that fit; empty where there are none."""
    for layer in layers(env):
        for holder in (layer, getattr(layer, "plant", None)):
            names = getattr(holder, "output_names", None)
            if names is not None and len(names) == size:
                return tuple(names)
    return ()


def _number(entry: Any, names: tuple[str, ...], size: int) -> int:
    if isinstance(entry, str):
        if entry not in names:
            has = ", ".join(names) or "no names; give numbers"
            raise ValueError(f"keep has {entry!r}; the observation has {has}")
        return names.index(entry)
    if isinstance(entry, bool) or not isinstance(entry, (int, np.integer)) or not 0 <= entry < size:
        raise ValueError(f"keep has {entry!r}; expected names, or numbers from 0 to {size - 1}")
    return int(entry)
