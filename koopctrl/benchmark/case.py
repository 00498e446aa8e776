"""What the maker of a controller gets to see: a task, the plant's interface, and records taken from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from koopctrl import excitation
from koopctrl._validation import FloatArray
from koopctrl.data.collect import collect
from koopctrl.data.trajectories import Trajectories
from koopctrl.koopman_rnn import KoopmanRNN

N_EPISODES, N_STEPS = 40, 100
N_FEATURES = 300


@dataclass(frozen=True)
class Knowledge:
    """What was learned of one plant with one seed, shared by all its tasks and controllers.

    Attributes
    ----------
    task : koopctrl_envs.tasks.Task
        Any of the plant's.
    seed : int
        Of the records and of the network.
    wrappers : tuple of callables env -> env
        Around the plant, in the records as in the loop.
    """

    task: Any
    seed: int
    wrappers: tuple[Any, ...] = ()

    @cached_property
    def records(self) -> Trajectories:
        """Episodes of the plant: half under levels over the inputs' range, half near the resting one."""
        env, plant = self.task.plant_env(), self.task.plant
        for wrapper in self.wrappers:
            env = wrapper(env)
        rest = self.task.input_references[0]
        reach = 0.2 * np.subtract(plant.u_max, plant.u_min)
        low, high = np.clip([rest - reach, rest + reach], plant.u_min, plant.u_max)
        near = excitation.ExcitationPolicy(excitation.multilevel, low, high, hold=(1, 30), seed=self.seed)
        wide = collect(env, n_episodes=N_EPISODES // 2, seed=2 * self.seed, max_steps=N_STEPS)
        quiet = collect(env, near, n_episodes=N_EPISODES // 2, seed=2 * self.seed + 1, max_steps=N_STEPS)
        return Trajectories([*wide, *quiet])

    @cached_property
    def lags(self) -> int:
        """Samples of outputs and inputs that stand for the state: one where the outputs determine it."""
        plant = self.task.plant
        rng = np.random.default_rng(0)
        slopes = plant.output_jacobian(np.array([plant.draw_start(rng) for _ in range(3)]))
        width = np.subtract(plant.x0_high, plant.x0_low)
        scaled = slopes * np.where(width > 0.0, width, 1.0)
        if min(np.linalg.matrix_rank(s / np.abs(s).max(), tol=1e-6) for s in scaled) == plant.n_x:
            return 1
        return int(np.clip(np.ceil(2 * plant.n_x / plant.n_y), 2, 4))

    @cached_property
    def model(self) -> KoopmanRNN:
        """Network with default settings, fitted to the records."""
        return KoopmanRNN(
            N_FEATURES, random_state=self.seed, output_lags=self.lags, input_lags=self.lags
        ).fit(self.records)


@dataclass(frozen=True)
class Case:
    """One task with one seed, for makers of controllers.

    Attributes
    ----------
    task : koopctrl_envs.tasks.Task
        References, weights, starts; `task.plant` is the true plant, which honest makers do not look into.
    env : koopctrl_envs.tasks.TaskEnv
        In which the controller will run.
    knowledge : Knowledge
        Records and a network, made when they are asked for.
    """

    task: Any
    env: Any
    knowledge: Knowledge = field(repr=False)

    @property
    def seed(self) -> int:
        """Of the records and of the network."""
        return self.knowledge.seed

    @property
    def dt(self) -> float:
        """Sample time, s."""
        return self.task.dt

    @property
    def Q(self) -> FloatArray:
        """Weight on the outputs, `(n_y, n_y)`."""
        return self.task.Q

    @property
    def R(self) -> FloatArray:
        """Weight on the inputs, `(n_u, n_u)`."""
        return self.task.R

    @property
    def horizon(self) -> int:
        """Samples to look ahead."""
        return self.task.horizon

    @property
    def u_min(self) -> FloatArray:
        """Lower limits of the inputs, `(n_u,)`."""
        return np.array(self.task.plant.u_min)

    @property
    def u_max(self) -> FloatArray:
        """Upper limits of the inputs, `(n_u,)`."""
        return np.array(self.task.plant.u_max)

    @property
    def y_rest(self) -> FloatArray:
        """Outputs where the task begins to ask, `(n_y,)`: an equilibrium's."""
        return self.task.references[0].copy()

    @property
    def u_rest(self) -> FloatArray:
        """Input that holds `y_rest`, `(n_u,)`."""
        return self.task.input_references[0].copy()

    @property
    def offset_free(self) -> bool:
        """Whether loads or drifts are to be expected."""
        return self.task.loads is not None or bool(self.task.drifts)

    @property
    def records(self) -> Trajectories:
        """Records of the plant, taken anew for each seed."""
        return self.knowledge.records

    @property
    def model(self) -> KoopmanRNN:
        """Network with default settings, fitted to the records."""
        return self.knowledge.model

    @property
    def x_rest(self) -> FloatArray:
        """The model's state at rest: the outputs, or a window of resting outputs and inputs."""
        lags = self.knowledge.lags
        return np.concatenate([np.tile(self.y_rest, lags), np.tile(self.u_rest, lags - 1)])
