"""One task on one plant: what is wanted, from where, under which loads, and what it costs to miss it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_floats
from koopctrl_envs.plant import Plant

if TYPE_CHECKING:
    from koopctrl_envs.tasks.task_env import TaskEnv


@dataclass(frozen=True, eq=False)
class Task:
    r"""References, weights, constraints, loads and starts on one plant, all as numbers.

    The cost of step `k` is

    .. math::

        (y_{k+1} - r_{k+1})^T Q (y_{k+1} - r_{k+1}) + (u_k - u_{r,k})^T R (u_k - u_{r,k})

    with the noise-free output and the input that was applied; that of an episode is the sum, infinite where
    the plant fails.

    Attributes
    ----------
    env_id : str
        Registered env.
    name : str
        What kind of task it is, for instance "regulation".
    description : str
        One sentence.
    plant : Plant
        Nominal parameters.
    starts : (n, n_x) array
        Episodes.
    references : (n_steps + 1, n_y) array
        Row `k` is wanted at time `k dt`.
    input_references : (n_steps, n_u) array
        Inputs from which deviations cost.
    Q, R : arrays, (n_y, n_y) and (n_u, n_u)
        Weights.
    y_min, y_max : (n_y,) arrays
        Constraints on outputs, infinite where there are none; passing them is told, and costs nothing.
    horizon : int
        Samples that a predictive controller should look ahead.
    preview : int
        Samples of the references that controllers are shown ahead of time; 0 for none.
    loads : (n_steps, n_u) array or None
        Added to the inputs after their limits, unknown to controllers.
    drifts : dict of str to (n_steps,) array
        Parameters of the plant over time, unknown to controllers.
    """

    env_id: str
    name: str
    description: str
    plant: Plant
    starts: FloatArray
    references: FloatArray
    input_references: FloatArray
    Q: FloatArray
    R: FloatArray
    y_min: FloatArray
    y_max: FloatArray
    horizon: int
    preview: int = 0
    loads: FloatArray | None = None
    drifts: dict[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, (n_y, n_u) = self.n_steps, (self.plant.n_y, self.plant.n_u)
        shapes = {
            "references": (n + 1, n_y), "input_references": (n, n_u), "Q": (n_y, n_y), "R": (n_u, n_u),
            "y_min": (n_y,), "y_max": (n_y,), "loads": (n, n_u),
        }  # fmt: skip
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(as_floats(value, name))
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        for name, value in self.drifts.items():
            if np.shape(value) != (n,):
                raise ValueError(f"drifts[{name!r}] has shape {np.shape(value)}; expected ({n},)")
        starts = np.array(as_floats(self.starts, "starts", self.plant.n_x))
        if starts.ndim != 2 or not len(starts):
            raise ValueError(f"starts has shape {starts.shape}; expected (n, {self.plant.n_x}) with n >= 1")
        object.__setattr__(self, "starts", starts)

    @property
    def n_steps(self) -> int:
        """Length of an episode."""
        return len(self.input_references)

    @property
    def dt(self) -> float:
        """Sample time, s."""
        return self.plant.dt

    @property
    def label(self) -> str:
        """Plant and task, for tables and files."""
        return f"{plant_name(self.env_id)}/{self.name}"

    def make(self, *, start: int | None = None, wrappers: Any = (), **options: Any) -> TaskEnv:
        """The env of this task.

        Parameters
        ----------
        start : int, optional
            Episode `starts[start]`, always; by default each reset draws one.
        wrappers : sequence of callables env -> env
            Put around the plant, inside of the task: noise, limits of actuators, and so on. Costs stay those
            of the noise-free output and of the input that was applied.
        **options
            Those of `TaskEnv` (`observe`), and of the env (`render_mode`, `integrator`, ...).
        """
        from koopctrl_envs.tasks.task_env import TaskEnv
        from koopctrl_envs.wrappers import LoadDisturbance, ParameterDrift

        observe = options.pop("observe", "outputs")
        env = gymnasium.make(
            self.env_id, disable_env_checker=True, max_episode_steps=self.n_steps + 1, **options
        )
        if self.loads is not None:
            env = LoadDisturbance(env, self.loads)
        if self.drifts:
            env = ParameterDrift(env, {name: rows[:, None] for name, rows in self.drifts.items()})
        for wrapper in wrappers:
            env = wrapper(env)
        return TaskEnv(env, self, start=start, observe=observe)

    def plant_env(self, **options: Any) -> gymnasium.Env[FloatArray, FloatArray]:
        """The plant alone, without references, loads and end, for records; `options` are the env's."""
        return gymnasium.make(self.env_id, disable_env_checker=True, max_episode_steps=-1, **options)

    def stage_cost(self, k: int, y: ArrayLike, u: ArrayLike) -> float:
        """Cost of step `k`: noise-free output at its end, `y` `(n_y,)`, and input `u` `(n_u,)` over it."""
        error = np.asarray(y) - self.references[k + 1]
        effort = np.asarray(u) - self.input_references[k]
        return float(error @ self.Q @ error + effort @ self.R @ effort)

    def violations(self, y: ArrayLike) -> FloatArray:
        """How far outputs `(..., n_y)` lie beyond the constraints, in their units; zero within."""
        y = np.asarray(y, dtype=np.float64)
        return np.maximum(np.maximum(self.y_min - y, y - self.y_max), 0.0)

    def fingerprint(self) -> str:
        """Short text that changes with anything that changes the cost of a run, to seven digits."""
        digest = hashlib.sha256(
            f"{self.env_id} {self.name} {self.plant!r} {self.horizon} {self.preview}".encode()
        )
        parts = [self.starts, self.references, self.input_references, self.Q, self.R]
        parts += [self.loads] if self.loads is not None else []
        parts += [np.asarray(self.drifts[name]) for name in sorted(self.drifts)]
        for part in parts:
            scale = float(np.abs(part).max(initial=0.0)) or 1.0
            # Rounded, since the last digits of rest points are the machine's; -0 is 0.
            digest.update(f"{scale:.6e}".encode() + (np.round(part / scale, 7) + 0.0).tobytes())
        return digest.hexdigest()[:16]


def plant_name(env_id: str) -> str:
    """`VanDerPol` of `koopctrl/VanDerPol-v0`."""
    return env_id.split(":")[-1].split("/")[-1].rsplit("-v", 1)[0]
