"""The env of a task: its references in `info`, its cost as the reward, its loads inside."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.tasks.task import Task
from koopctrl_envs.wrappers.layer import Env, Layer, Step

OBSERVE = ("outputs", "reference", "preview")


class TaskEnv(Layer):
    """An env whose episodes are those of a task.

    The reward is minus the cost of the step (`Task.stage_cost`). Episodes are truncated after `n_steps`, and
    terminated by nothing but a failure of the plant, which `info["failure"]` names. `info` has

    - `reference`, `(n_y,)`: what is wanted now; `input_reference`, `(n_u,)`, what goes with it;
    - `preview`, `(task.preview + 1, n_y)`: the references from now on, the last one held;
    - `violations`, `(n_y,)`: how far the noise-free outputs lie beyond the constraints; zero within;
    - `cost`: that of the step, and `start`, the number of the episode's start.

    Parameters
    ----------
    env : gymnasium.Env
        Around a `PlantEnv`, with the loads and drifts of the task; `Task.make` puts them there.
    task : Task
    start : int, optional
        Episode `task.starts[start]`, always; by default each reset draws one, or takes
        `options={"start": i}`, or another state by `options={"x0": x}`.
    observe : {"outputs", "reference", "preview"}
        The env's observation alone, or with `reference`, or with all of `preview` behind it.
    """

    def __init__(self, env: Env, task: Task, start: int | None = None, observe: str = "outputs") -> None:
        super().__init__(env, task=task, start=start, observe=observe)
        if observe not in OBSERVE:
            raise ValueError(f"observe is {observe!r}; expected one of {', '.join(OBSERVE)}")
        self.task, self.observe = task, observe
        self.start = None if start is None else self._start_number(start)
        self._plant_env: Any = env.unwrapped
        space: Any = env.observation_space
        if observe != "outputs":
            rows = task.preview + 1 if observe == "preview" else 1
            low, high = self._plant_env.plant.output_bounds()
            self.observation_space = spaces.Box(
                np.concatenate([space.low, np.tile(low, rows)]),
                np.concatenate([space.high, np.tile(high, rows)]),
                dtype=np.float64,
            )
        self._k, self._episode = 0, 0

    @property
    def dt(self) -> float:
        """Sample time, s."""
        return self.task.dt

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode from one of the task's starts; see the class for `options`."""
        self._seed(seed)
        options = dict(options or {})
        number = options.pop("start", self.start)
        drawn = int(self.rng.integers(len(self.task.starts)))
        self._episode = drawn if number is None else self._start_number(number)
        if not {"x0", "x0_low", "x0_high"} & set(options):
            options["x0"] = self.task.starts[self._episode]
        else:
            self._episode = -1
        self._k = 0
        self._plant_env.reference = self.task.references[0].copy()
        observation, info = self.env.reset(seed=seed, options=options)
        return self._seen(observation), self._told(info, 0.0)

    def step(self, action: Any) -> Step:
        """One step; the reward is minus its cost."""
        task, k = self.task, self._k
        if k >= task.n_steps:
            raise gymnasium.error.ResetNeeded(
                f"the episode of {task.n_steps} steps is over; call reset() first"
            )
        self._plant_env.reference = task.references[k + 1].copy()
        observation, _, terminated, truncated, info = self.env.step(action)
        cost = task.stage_cost(k, self._plant_env.plant.output(info["x"]), info["u"])
        self._k += 1
        late = truncated or self._k >= task.n_steps
        return self._seen(observation), -cost, terminated, late, self._told(info, cost)

    def _told(self, info: dict[str, Any], cost: float) -> dict[str, Any]:
        task, k = self.task, self._k
        return {
            **info,
            "reference": task.references[k].copy(),
            "input_reference": task.input_references[min(k, task.n_steps - 1)].copy(),
            "preview": self._preview(),
            "violations": task.violations(self._plant_env.plant.output(info["x"])),
            "cost": cost,
            "start": self._episode,
        }

    def _preview(self) -> FloatArray:
        rows = np.minimum(self._k + np.arange(self.task.preview + 1), self.task.n_steps)
        return self.task.references[rows]

    def _seen(self, observation: FloatArray) -> FloatArray:
        if self.observe == "outputs":
            return observation
        extra = self._preview() if self.observe == "preview" else self.task.references[self._k]
        return np.concatenate([observation, extra.ravel()])

    def _start_number(self, number: Any) -> int:
        n = len(self.task.starts)
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < n:
            raise ValueError(f"start is {number!r}; expected a number from 0 to {n - 1}")
        return int(number)
