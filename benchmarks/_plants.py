"""Plants and tasks of the closed-loop benchmark: one `Task` each.

A new one is an entry in `make_tasks`; a plant of koopctrl_envs needs `from_plant` and what is wanted of it,
and any other object with `reset`, `step` and `info["x"]` a `Task` by hand (see the motor). A registered
gymnasium id without an entry gets generic settings from `registered`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np

from koopctrl import LQR, LiftedModel, Trajectories
from koopctrl_envs import Duffing, Pendulum, VanDerPol
from koopctrl_envs.base import PlantEnv
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
        Scenarios: a set-point `(n_y,)` for `n_steps` steps, or one row a step, which is then previewed.
    network : dict
        Parameters of `KoopmanRNN`.
    load, noise : float or array
        Disturbance on the input and standard deviation of measurement noise, where a condition asks for them.
    x_op : array, optional
        Where linear faces are made; by default their own.
    P : array, optional
        NMPC's terminal weight on the outputs, `Q` by default; with one, RNNMPC uses its Riccati weight.
    y_max, x_max : float, array, optional
        Symmetric bound on outputs, and the same as bounds on states for NMPC.
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

    def scenario(self, name: str) -> tuple[Array, bool, int]:
        """Reference, whether it is previewed, and number of steps."""
        r = np.asarray(self.references[name], dtype=float)
        return r, r.ndim == 2, self.n_steps if r.ndim == 1 else len(r) - 1

    def env(self, condition: str) -> Any:
        """The true plant under a condition."""
        options = {"load": {"disturbance": self.load}, "noise": {"measurement_noise": self.noise}}
        return self.make_env(**options.get(condition, {}))


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
        a, b = plant.linearize(np.asarray(reference, dtype=float), np.zeros(plant.n_u), dt=plant.dt)
        P = LQR(LiftedModel.from_matrices(a, b, dt=plant.dt), Q, R).P
    return Task(
        name=name, make_env=make_env, dt=plant.dt, n_x=plant.n_x, n_u=plant.n_u, step=plant.step_components,
        output=plant.output_components, measure=plant.output, sample=episodes(plant, n_episodes, 150),
        references={"": reference}, Q=Q, R=R, u_min=np.array(plant.u_min), u_max=np.array(plant.u_max), P=P,
        **options,
    )  # fmt: skip


def env_of(cls: type[PlantEnv], plant: Any) -> Callable[..., Any]:
    """Maker of the env around one plant."""
    return lambda **options: cls(plant, **options)


class Motor:
    """Bilinear DC motor of Korda and Mezic in scaled form; only x2 is measured. RK4 at 0.01 s."""

    dt = 0.01

    def __init__(self, disturbance: float = 0.0, measurement_noise: float = 0.0) -> None:
        self.load, self.noise = disturbance, measurement_noise

    @staticmethod
    def rhs(a: Any, b: Any, u: Any) -> tuple[Any, Any]:
        """Time derivatives."""
        return (
            19.10828025 - 39.3153 * a - 32.2293 * b * u,
            -3.333333333 - 1.6599 * b + 22.9478 * a * u,
        )

    @classmethod
    def step_components(cls, x: Any, u: Any, xp: Any = np) -> tuple[Any, ...]:
        """One sample."""
        del xp
        h, (a, b), (v,) = cls.dt, x, u
        k1 = cls.rhs(a, b, v)
        k2 = cls.rhs(a + 0.5 * h * k1[0], b + 0.5 * h * k1[1], v)
        k3 = cls.rhs(a + 0.5 * h * k2[0], b + 0.5 * h * k2[1], v)
        k4 = cls.rhs(a + h * k3[0], b + h * k3[1], v)
        return tuple(
            s + h / 6.0 * (p + 2.0 * q + 2.0 * r + w)
            for s, p, q, r, w in zip((a, b), k1, k2, k3, k4, strict=True)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start."""
        self.rng = np.random.default_rng(seed)
        self.x = np.array((options or {}).get("x0", [0.0, 0.0]), dtype=float)
        return self._see(), {"x": self.x.copy()}

    def step(self, u: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One sample."""
        u = np.clip(u, -1.0, 1.0)
        self.x = np.array(self.step_components(self.x.tolist(), (u + self.load).tolist()))
        return self._see(), 0.0, False, False, {"x": self.x.copy(), "u": u}

    def _see(self) -> Array:
        return self.x[1:] + self.noise * self.rng.standard_normal(1)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Trajectories:
        """200 episodes of 1,000 steps, inputs and starts uniform in [-1, 1]."""
        return cls.record(rng, rng.uniform(-1, 1, (200, 1000, 1)))

    @classmethod
    def sample_held(cls, rng: np.random.Generator) -> Trajectories:
        """The same, each input held for 1 to 20 samples at random."""
        levels, lengths = rng.uniform(-1, 1, (200, 1000)), rng.integers(1, 21, (200, 1000))
        rows = [np.repeat(level, length)[:1000] for level, length in zip(levels, lengths, strict=True)]
        return cls.record(rng, np.array(rows)[:, :, None])

    @classmethod
    def record(cls, rng: np.random.Generator, u: Array) -> Trajectories:
        """Episodes under inputs `(n, steps, 1)`, starts uniform in [-1, 1]."""
        n, steps = u.shape[:2]
        x = np.empty((n, steps + 1, 2))
        x[:, 0] = rng.uniform(-1, 1, (n, 2))
        for k in range(steps):
            x[:, k + 1] = np.stack(cls.step_components((x[:, k, 0], x[:, k, 1]), (u[:, k, 0],)), axis=-1)
        return Trajectories.from_arrays(x[:, :, 1:], u, dt=cls.dt)


def make_tasks() -> dict[str, Task]:
    """All of them, by name."""
    vdp, duffing, pendulum = VanDerPol(), Duffing(u_min=(-0.6,), u_max=(0.6,)), Pendulum()
    k = np.arange(301)[:, None]
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
            "motor", Motor, Motor.dt, 2, 1, Motor.step_components, lambda x, xp: (x[1],), lambda x: x[:, 1:],
            Motor.sample,
            {"switched": np.where(k < 100, 0.3, -0.3)[:201], "cosine": 0.5 * np.cos(2.0 * np.pi * k / 300.0)},
            starts=np.array([[0.0, 0.0]]), n_steps=0, horizon=100, Q=np.eye(1), R=0.01, u_min=-np.ones(1),
            u_max=np.ones(1), load=0.05, noise=0.005, network=OUTPUT, y_max=0.4,
            x_max=np.array([np.inf, 0.4]),
        ),
    )  # fmt: skip
    tasks += (replace(tasks[-1], name="motor_held", sample=Motor.sample_held),)
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
