"""Plants and tasks of the closed-loop benchmark: one `Task` each.

A new one is an entry in `make_tasks`; a plant of koopctrl_envs needs `from_plant` and what is wanted of it,
and any other object with `reset`, `step` and `info["x"]` a `Task` by hand. A registered gymnasium id without
an entry gets generic settings from `registered`. The plants on which nothing was tuned are in `_unseen`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np

from koopctrl import LQR, LiftedModel, Trajectories
from koopctrl_envs import DCMotor, Duffing, Pendulum, Plant, VanDerPol
from koopctrl_envs.base import PlantEnv
from koopctrl_envs.dc_motor import DCMotorEnv
from koopctrl_envs.duffing import DuffingEnv
from koopctrl_envs.pendulum import PendulumEnv
from koopctrl_envs.van_der_pol import VanDerPolEnv

Array = np.ndarray
STATE = {"n_features": 300, "input_coupling": "quadratic"}
# Feature scale and lags chosen on free runs of the motor's held-out white-noise episodes: RMS error 0.0064 at
# scale 0.03, 0.0070 at 0.1, 0.0086 at the default 0.3; four and two lags err two and five times as much.
OUTPUT = {
    "n_features": 300, "feature_scale": 0.03, "input_coupling": "network", "output_lags": 8, "input_lags": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One plant and what is wanted of it.

    Attributes
    ----------
    make_env : callable
        `make_env(disturbance=, measurement_noise=)`: the true plant, whose `info["x"]` is its state.
    step, output : callable
        `step(x, u, xp)` and `output(x, xp)` on lists of components: the true model for NMPC.
    measure : callable
        Outputs `(n, n_y)` of states `(n, n_x)`.
    sample : callable
        Identification data from a generator.
    references : dict
        Scenarios: a set-point `(n_y,)` for `n_steps` steps, or one row a step, previewed if `previewed`;
        `n_steps = 0` is as many as there are rows.
    network : dict
        Parameters of `KoopmanRNN`.
    load, noise : float or array
        Disturbance on the input and standard deviation of measurement noise, where a condition asks for them.
    x_op, u_op : array, optional
        Where linear faces are made; by default their own. With lags `x_op` is the whole window.
    P : array, optional
        NMPC's terminal weight on the outputs, `Q` by default; with one, RNNMPC uses its Riccati weight.
    y_max, x_max : float, array, optional
        Symmetric bound on outputs, and the same as bounds on states for NMPC.
    previewed : bool
        Whether controllers see references that change ahead of time.
    plant : Plant, optional
        The nominal plant, and `mismatch` the parameters by which another one differs.
    mismatch : dict
        Parameters of the true plant under the condition "mismatch".
    steady : callable, optional
        `steady(plant, y)`: input that holds outputs `(n_y,)`; inputs cost as deviations from it, by default
        from 0.
    """

    name: str
    make_env: Callable[..., Any]
    dt: float
    n_x: int
    n_u: int
    step: Callable[..., Any]
    output: Callable[..., Any]
    measure: Callable[[Array], Array]
    sample: Callable[[np.random.Generator], Trajectories]
    references: dict[str, Any]
    starts: Array
    n_steps: int
    horizon: int
    Q: Array
    R: Any
    u_min: Array
    u_max: Array
    load: Any
    noise: Any
    network: dict[str, Any] = field(default_factory=lambda: STATE)
    x_op: Any = None
    P: Array | None = None
    y_max: float | None = None
    x_max: Array | None = None
    u_op: Any = 0.0
    previewed: bool = True
    plant: Any = None
    mismatch: dict[str, float] = field(default_factory=dict)
    steady: Callable[[Any, Array], Array] | None = None

    def scenario(self, name: str) -> tuple[Array, bool, int]:
        """Reference, whether it is previewed, and number of steps."""
        r = np.asarray(self.references[name], dtype=float)
        return r, r.ndim == 2 and self.previewed, self.n_steps or len(r) - 1

    def env(self, condition: str) -> Any:
        """The true plant under conditions joined by `+`, of plain, noise, load and mismatch."""
        options: dict[str, Any] = {}
        for part in condition.split("+"):
            if part == "mismatch":
                options["plant"] = self.true_plant(part)
            elif part != "plain":
                name, value = {
                    "load": ("disturbance", self.load), "noise": ("measurement_noise", self.noise)
                }[part]  # fmt: skip
                options[name] = value
        return self.make_env(**options)

    def true_plant(self, condition: str) -> Plant | None:
        """The plant under a condition, noise and load aside."""
        return replace(self.plant, **self.mismatch) if "mismatch" in condition.split("+") else self.plant

    def input_reference(self, scenario: str, condition: str = "plain") -> Array:
        """Inputs `(n_u,)`, or `(n_steps + 1, n_u)` where the set-point changes, that hold a scenario's
        set-points on the true plant under its load.
        """
        r, parts = np.asarray(self.references[scenario], dtype=float), condition.split("+")
        load = np.broadcast_to(self.load if "load" in parts else 0.0, (self.n_u,))
        rows, which = np.unique(np.atleast_2d(r), axis=0, return_inverse=True)
        plant = self.true_plant(condition)
        hold = self.steady or (lambda plant, y: np.zeros(self.n_u))
        held = np.array([hold(plant, row) for row in rows])[which.ravel()] - load
        return held if r.ndim == 2 else held[0]

    def told(self, condition: str) -> Callable[..., Any]:
        """The true model for NMPC that knows load and mismatch."""
        if condition in ("plain", "noise"):
            return self.step
        load = np.broadcast_to(self.load if "load" in condition.split("+") else 0.0, (self.n_u,)).tolist()
        plant: Any = self.true_plant(condition)

        def step(x: Any, u: Any, xp: Any = np) -> Any:
            return plant.step_components(x, [a + d for a, d in zip(u, load, strict=True)], xp)

        return step


def episodes(plant: Any, n_episodes: int, n_steps: int) -> Callable[[np.random.Generator], Trajectories]:
    """Sampler of episodes with uniform starts and uniform held inputs."""

    def sample(rng: np.random.Generator) -> Trajectories:
        x = np.empty((n_episodes, n_steps + 1, plant.n_x))
        x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (n_episodes, plant.n_x))
        u = rng.uniform(plant.u_min, plant.u_max, (n_episodes, n_steps, plant.n_u))
        for k in range(n_steps):
            x[:, k + 1] = plant.step(x[:, k], u[:, k])
        return Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)

    return sample


def from_plant(
    name: str, plant: Any, make_env: Callable[..., Any], *, reference: Any, Q: Array, R: Any,
    n_episodes: int = 50, riccati: bool = True, **options: Any,
) -> Task:  # fmt: skip
    """Task on a plant of koopctrl_envs; with `riccati` NMPC has its LQR's cost to go at the end."""
    P = None
    if riccati:
        a, b = plant.jacobians(np.asarray(reference, dtype=float), np.zeros(plant.n_u), dt=plant.dt)
        P = LQR(LiftedModel.from_matrices(a, b, dt=plant.dt), Q, R).P
    return Task(
        name=name, make_env=make_env, dt=plant.dt, n_x=plant.n_x, n_u=plant.n_u, step=plant.step_components,
        output=plant.output_components, measure=plant.output, sample=episodes(plant, n_episodes, 150),
        references={"": reference}, Q=Q, R=R, u_min=np.array(plant.u_min), u_max=np.array(plant.u_max), P=P,
        plant=plant, **options,
    )  # fmt: skip


def env_of(cls: type[PlantEnv], plant: Any) -> Callable[..., Any]:
    """Maker of the env around one plant, or around `plant=` another one."""
    return lambda **options: cls(**{"plant": plant, **options})


def motor_inputs(rng: np.random.Generator) -> Array:
    """White inputs, uniform in [-1, 1]: `(200, 1000, 1)`."""
    return rng.uniform(-1, 1, (200, 1000, 1))


def motor_inputs_held(rng: np.random.Generator) -> Array:
    """The same, each input held for 1 to 20 samples at random."""
    levels, lengths = rng.uniform(-1, 1, (200, 1000)), rng.integers(1, 21, (200, 1000))
    rows = [np.repeat(level, length)[:1000] for level, length in zip(levels, lengths, strict=True)]
    return np.array(rows)[:, :, None]


def motor_sampler(
    plant: DCMotor, inputs: Callable[[np.random.Generator], Array]
) -> Callable[[np.random.Generator], Trajectories]:
    """Sampler of 200 episodes of 1,000 steps, starts uniform in [-1, 1]."""

    def sample(rng: np.random.Generator) -> Trajectories:
        u = inputs(rng)
        x = np.empty((len(u), u.shape[1] + 1, 2))
        x[:, 0] = rng.uniform(-1, 1, (len(u), 2))
        for k in range(u.shape[1]):
            x[:, k + 1] = plant.step(x[:, k], u[:, k])
        return Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)

    return sample


def make_tasks() -> dict[str, Task]:
    """All of them, by name."""
    vdp, duffing, pendulum = VanDerPol(), Duffing(u_min=(-0.6,), u_max=(0.6,)), Pendulum()
    motor, k = DCMotor(n_substeps=1), np.arange(301)[:, None]
    tasks = (
        from_plant(
            "van_der_pol", vdp, env_of(VanDerPolEnv, vdp), reference=[0.0, 0.0], Q=np.eye(2), R=0.1,
            horizon=20, starts=np.array([[2.0, -1.0], [-2.5, 2.5], [1.0, 2.0], [-1.0, -2.5]]), n_steps=100,
            x_op=[0.0, 0.0], load=0.4, noise=0.05,
        ),
        from_plant(
            "duffing", duffing, env_of(DuffingEnv, duffing), reference=[-1.0, 0.0], Q=np.eye(2), R=0.1,
            horizon=30, starts=np.array([[1.0, 0.0], [1.3, 0.5]]), n_steps=150, x_op=[-1.0, 0.0], load=0.1,
            noise=0.03,
        ),
        from_plant(
            "pendulum", pendulum, env_of(PendulumEnv, pendulum), reference=[1.0, 0.0, 0.0],
            Q=np.diag([10.0, 10.0, 0.1]), R=0.01, riccati=False, n_episodes=60, horizon=40,
            starts=np.array([[np.pi, 0.0], [2.5, 0.5]]), n_steps=150, x_op=[1.0, 0.0, 0.0], load=0.3,
            noise=0.02,
        ),
        Task(
            "motor", env_of(DCMotorEnv, motor), motor.dt, 2, 1, motor.step_components,
            motor.output_components, motor.output, motor_sampler(motor, motor_inputs),
            {"switched": np.where(k < 100, 0.3, -0.3)[:201], "cosine": 0.5 * np.cos(2.0 * np.pi * k / 300.0)},
            starts=np.array([[0.0, 0.0]]), n_steps=0, horizon=100, Q=np.eye(1), R=0.01, u_min=-np.ones(1),
            u_max=np.ones(1), load=0.05, noise=0.005, network=OUTPUT, y_max=0.4,
            x_max=np.array([np.inf, 0.4]), plant=motor,
        ),
    )  # fmt: skip
    tasks += (replace(tasks[-1], name="motor_held", sample=motor_sampler(motor, motor_inputs_held)),)
    return {t.name: t for t in tasks}


def registered(env_id: str) -> Task:
    """Task on a registered env of koopctrl_envs with generic settings: hold the env's own set-point."""
    env: Any = gymnasium.make(env_id).unwrapped
    plant, cls = env.plant, type(env)
    rng = np.random.default_rng(0)
    measured = plant.n_y == plant.n_x and np.allclose(plant.output(np.ones(plant.n_x)), np.ones(plant.n_x))
    data = episodes(plant, 20, 150)(rng)
    spread = np.std(np.concatenate([e.outputs for e in data]), axis=0)
    return from_plant(
        env_id.split("/")[-1], plant, env_of(cls, plant), reference=env.reference, Q=env.Q, R=env.R,
        riccati=measured, horizon=30, starts=rng.uniform(plant.x0_low, plant.x0_high, (4, plant.n_x)),
        n_steps=150, x_op=env.reference, network=STATE if plant.n_y >= plant.n_x else OUTPUT,
        load=0.1 * (np.array(plant.u_max) - np.array(plant.u_min)) / 2.0, noise=0.03 * spread,
    )  # fmt: skip
