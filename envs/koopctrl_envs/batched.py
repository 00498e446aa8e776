"""Many copies of a plant that step together as arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import BoolArray, FloatArray, as_floats

Info = dict[str, Any]
AnyVectorEnv = gymnasium.vector.VectorEnv[FloatArray, FloatArray, FloatArray]


class PlantVectorEnv(AnyVectorEnv):
    """Copies of a `PlantEnv` whose states are one array: `gymnasium.make_vec("koopctrl/VanDerPol-v0", 64)`.

    Answers are those of gymnasium's `SyncVectorEnv` around as many envs, seeded alike, to rounding: `math`
    and numpy may differ in the last digit of an exponential. `info` has the entries of `PlantEnv`, one row
    for each copy. The integrator is Runge-Kutta's.

    Parameters
    ----------
    num_envs : int
        Number of copies.
    env_class : type of PlantEnv
        What is copied.
    max_episode_steps : int, optional
        Episodes are truncated there.
    autoreset_mode : gymnasium.vector.AutoresetMode or str
        When a copy whose episode has ended starts anew: with the next step (by default), within the same one,
        whose `info` then holds `final_obs` and `final_info`, or not at all: by
        `reset(options={"reset_mask": ...})`.
    **options
        Those of `env_class`, for instance the parameters of its plant.
    """

    metadata: Info = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        env_class: type[PlantEnv],
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
                raise ValueError(f"{name} is {value!r}; expected a positive integer")
        if options.get("render_mode") is not None:
            raise ValueError('render_mode is for single envs; pass vectorization_mode="sync" to draw them')
        self._mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self._mode}
        self._one = one = env_class(**options)
        if one.integrator != "rk4":
            raise ValueError('integrator is for single envs; pass vectorization_mode="sync" to use it')
        self.plant, self.dt, self.render_mode = one.plant, one.dt, None
        self.num_envs, self._limit = int(num_envs), max_episode_steps
        self.single_action_space, self.single_observation_space = one.action_space, one.observation_space
        self.action_space = batch_space(one.action_space, self.num_envs)
        self.observation_space = batch_space(one.observation_space, self.num_envs)
        self._rngs: list[Any] = [None] * self.num_envs
        self._x: FloatArray | None = None
        self._n_steps = np.zeros(self.num_envs, dtype=int)
        self._ended = np.zeros(self.num_envs, dtype=bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: Info | None = None
    ) -> tuple[FloatArray, Info]:
        """Start all copies, or those of a mask.

        Parameters
        ----------
        seed : int or list of int, optional
            Copy `i` is seeded with `seed + i`, or with its entry.
        options : dict, optional
            As in `PlantEnv.reset`, the same for all copies; and `reset_mask`, (num_envs,) of bool, for the
            copies to start.

        Returns
        -------
        observations : ndarray, (num_envs, n_y)
        info : dict
        """
        n, options = self.num_envs, dict(options or {})
        seeds = (
            [seed + i for i in range(n)] if isinstance(seed, int) else [None] * n if seed is None else seed
        )
        if len(seeds) != n:
            raise ValueError(
                f"seed has {len(seeds)} entries; expected an integer, or one for each of {n} envs"
            )
        mask = np.asarray(options.pop("reset_mask", np.ones(n, dtype=bool)))
        if mask.shape != (n,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(f"reset_mask is {mask}; expected {n} booleans, not all of them False")
        if self._x is None and not mask.all():
            raise gymnasium.error.ResetNeeded(
                "reset_mask leaves copies out that never started; reset all first"
            )
        for i in np.flatnonzero(mask):
            if seeds[i] is not None or self._rngs[i] is None:
                self._rngs[i], _ = seeding.np_random(seeds[i])
        observations = self._restart(mask, options)
        none = np.zeros(n, dtype=bool)
        u = np.tile(self._one.input_reference, (n, 1))
        return observations, self._info(u, np.full(n, "", object), none)

    def step(self, actions: ArrayLike) -> tuple[FloatArray, FloatArray, BoolArray, BoolArray, Info]:
        """Apply an action to each copy for `dt` seconds.

        Parameters
        ----------
        actions : array_like, (num_envs, n_u)
            Finite; clipped to the action space.

        Returns
        -------
        observations : ndarray, (num_envs, n_y)
        rewards : ndarray, (num_envs,)
        terminated, truncated : ndarray of bool, (num_envs,)
        info : dict
        """
        one, plant, n = self._one, self.plant, self.num_envs
        if self._x is None:
            raise gymnasium.error.ResetNeeded("step() was called before reset(); call reset() first")
        given = as_floats(actions, "actions")
        if given.shape != (n, plant.n_u) or not np.isfinite(given).all():
            raise ValueError(f"actions have shape {given.shape}; expected ({n}, {plant.n_u}) finite numbers")
        fresh = self._ended if self._mode is AutoresetMode.NEXT_STEP else np.zeros(n, dtype=bool)
        if self._mode is AutoresetMode.DISABLED and self._ended.any():
            raise gymnasium.error.ResetNeeded(
                f"episodes of copies {np.flatnonzero(self._ended).tolist()} have ended; reset them by a "
                "reset_mask, or choose another autoreset_mode"
            )
        running = ~fresh
        clipped = running & one.outside(given)
        u = one.inputs_of(given)
        x = plant.step(self._x, u + one.disturbance + self._noise(one.process_noise, running))
        x[fresh] = self._x[fresh]
        if not np.isfinite(x).all():
            raise ValueError(f"{plant} diverges with {plant.n_substeps} steps per sample; raise n_substeps")
        self._x = x
        self._n_steps += running
        y = plant.output(x)
        rewards = np.where(running, one.reward_of(y, u), 0.0)
        failures = np.full(n, "", object)
        outside = running & ~((x >= plant.x_min) & (x <= plant.x_max)).all(axis=1)
        for i in np.flatnonzero(outside):
            failures[i] = plant.failure(x[i])
        late = np.zeros(n, dtype=bool) if self._limit is None else self._n_steps >= self._limit
        truncated = running & late
        observations = self._observe(y, running)
        self._ended = outside | truncated
        extra: Info = {}
        if self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            extra = self._final(observations, self._info(u, failures, clipped))
            observations, u, failures = observations.copy(), u.copy(), failures.copy()
            clipped = clipped.copy()
            fresh = self._ended
        if fresh.any():
            observations[fresh] = self._restart(fresh, {})[fresh]
            u[fresh], failures[fresh], clipped[fresh] = one.input_reference, "", False
        return observations, rewards, outside, truncated, self._info(u, failures, clipped) | extra

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of the env that is copied, once for each copy, as `SyncVectorEnv` has it."""
        return (getattr(self._one, name),) * self.num_envs

    def _restart(self, mask: BoolArray, options: Info) -> FloatArray:
        """Start the copies of a mask; observations of all, of which only theirs are new."""
        if self._x is None:
            self._x = np.empty((self.num_envs, self.plant.n_x))
        self._x = self._x.copy()
        for i in np.flatnonzero(mask):
            self._x[i] = self._one.start_of(options, self._rngs[i])
        self._n_steps = np.where(mask, 0, self._n_steps)
        self._ended = self._ended & ~mask
        return self._observe(self.plant.output(self._x), mask)

    def _noise(self, std: FloatArray, mask: BoolArray) -> FloatArray:
        """Noise for the copies of a mask, from the generator of each."""
        noise = np.zeros((self.num_envs, std.size))
        if std.any():
            for i in np.flatnonzero(mask):
                noise[i] = self._one.noise_of(std, self._rngs[i])
        return noise

    def _observe(self, y: FloatArray, mask: BoolArray) -> FloatArray:
        space: Any = self.single_observation_space
        return np.clip(y + self._noise(self._one.measurement_noise, mask), space.low, space.high)

    def _info(self, u: FloatArray, failures: Any, clipped: BoolArray) -> Info:
        info: Info = {
            "t": self._n_steps * self.dt,
            "x": np.array(self._x),
            "u": u.copy(),
            "clipped": clipped.copy(),
            "failure": failures,
        }
        every = np.ones(self.num_envs, dtype=bool)
        return info | {"_" + key: every.copy() for key in info}

    def _final(self, observations: FloatArray, info: Info) -> Info:
        """Last samples of the episodes that have ended, as `SyncVectorEnv` gives them."""
        ended, last = self._ended, np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            last[i] = observations[i].copy()
        masked = {k: ended.copy() if k.startswith("_") else v for k, v in info.items()}
        return {
            "final_obs": last,
            "_final_obs": ended.copy(),
            "final_info": masked,
            "_final_info": ended.copy(),
        }


def __getattr__(name: str) -> Any:
    """Maker of batches of an env of this package, for the strings of registrations."""
    import koopctrl_envs

    env_class = getattr(koopctrl_envs, name, None) if name in koopctrl_envs.__all__ else None
    if isinstance(env_class, type) and issubclass(env_class, PlantEnv):
        return partial(PlantVectorEnv, env_class=env_class)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
