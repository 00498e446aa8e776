"""Closed loop on true plants: controllers on identified models beside NMPC that knows the plant.

Every controller has the same horizon, weights and input bounds, and is judged on the true plant by
`sum (y - r)'Q(y - r) + u'Ru`, summed over starts and divided by the cost of NMPC with the true model (CasADi,
multiple shooting, ipopt), which is given the true state, noise-free. Identification
seeds differ in data, hidden layer and nothing else.

- van_der_pol: to the origin (unstable) with |u| <= 3.
- duffing: from one well to the other with |u| <= 0.6.
- pendulum: swing-up from hanging with |torque| <= 5 N m, about half of gravity's.
- motor: bilinear DC motor of Korda and Mezic, one output, 8 + 8 lags, horizon 100; 0.3 and back, |y| <= 0.4.

With `load`: the same with an unknown constant input disturbance, controllers with `offset_free`; the figure
is the error at the end. With `noise`: measurement noise of 1 % of the outputs' range, cost as above.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _common as c
import numpy as np

from koopctrl import LQR, KoopmanRNN, LiftedModel, LinearMPC, Trajectories, run_closed_loop
from koopctrl.controllers import NMPC, RNNMPC
from koopctrl.errors import KoopctrlError
from koopctrl_envs import Duffing, Pendulum, VanDerPol
from koopctrl_envs.base import PlantEnv
from koopctrl_envs.duffing import DuffingEnv
from koopctrl_envs.pendulum import PendulumEnv
from koopctrl_envs.van_der_pol import VanDerPolEnv


@dataclass(frozen=True)
class Task:
    """One plant and what is wanted of it."""

    name: str
    make_env: Callable[..., Any]
    step: Callable[..., Any]
    n_x: int
    n_u: int
    starts: np.ndarray
    reference: Any
    horizon: int
    n_steps: int
    Q: np.ndarray
    R: float
    u_max: float
    x_op: Any
    sample: Callable[[np.random.Generator], Trajectories]
    network: dict[str, Any]
    load: float
    noise: float
    terminal: str = "riccati"
    y_max: float | None = None
    output: Callable[..., Any] | None = None


def from_plant(plant: Any, n_episodes: int, n_steps: int, scale: float = 1.0) -> Callable[..., Trajectories]:
    """Episodes with uniform starts and inputs."""

    def sample(rng: np.random.Generator) -> Trajectories:
        low, high = scale * np.array(plant.x0_low), scale * np.array(plant.x0_high)
        x = np.empty((n_episodes, n_steps + 1, plant.n_x))
        x[:, 0] = rng.uniform(low, high, (n_episodes, plant.n_x))
        u = rng.uniform(plant.u_min, plant.u_max, (n_episodes, n_steps, plant.n_u))
        for k in range(n_steps):
            x[:, k + 1] = plant.step(x[:, k], u[:, k])
        return Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)

    return sample


class Motor:
    """Bilinear DC motor; only x2 is measured. RK4 at 0.01 s."""

    dt = 0.01

    def __init__(self, disturbance: float = 0.0, measurement_noise: float = 0.0) -> None:
        self.load, self.noise = disturbance, measurement_noise

    @staticmethod
    def step_components(x: Any, u: Any, xp: Any = np) -> tuple[Any, ...]:
        """One sample."""
        del xp

        def f(a: Any, b: Any) -> tuple[Any, Any]:
            return 19.10828025 - 39.3153 * a - 32.2293 * b * u[
                0
            ], -3.333333333 - 1.6599 * b + 22.9478 * a * u[0]

        h, (a, b) = 0.01, x
        k1 = f(a, b)
        k2 = f(a + 0.5 * h * k1[0], b + 0.5 * h * k1[1])
        k3 = f(a + 0.5 * h * k2[0], b + 0.5 * h * k2[1])
        k4 = f(a + h * k3[0], b + h * k3[1])
        return tuple(
            s + h / 6.0 * (p + 2.0 * q + 2.0 * r + w)
            for s, p, q, r, w in zip((a, b), k1, k2, k3, k4, strict=True)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start."""
        self.rng = np.random.default_rng(seed)
        self.x = np.array((options or {}).get("x0", [0.0, 0.0]), dtype=float)
        return self._see(), {"x": self.x}

    def step(self, u: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One sample."""
        u = np.clip(u, -1.0, 1.0)
        self.x = np.array(self.step_components(self.x.tolist(), (u + self.load).tolist()))
        return self._see(), 0.0, False, False, {"x": self.x.copy(), "u": u}

    def _see(self) -> np.ndarray:
        return self.x[1:] + self.noise * self.rng.standard_normal(1)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Trajectories:
        """Episodes."""
        n, steps = 60, 400
        x, u = np.empty((n, steps + 1, 2)), rng.uniform(-1, 1, (n, steps, 1))
        x[:, 0] = rng.uniform(-1, 1, (n, 2))
        for k in range(steps):
            x[:, k + 1] = np.stack(cls.step_components((x[:, k, 0], x[:, k, 1]), (u[:, k, 0],)), axis=-1)
        return Trajectories.from_arrays(x[:, :, 1:], u, dt=0.01)


def make_tasks() -> dict[str, Task]:
    """All of them."""
    vdp, duffing, pendulum = VanDerPol(), Duffing(u_min=(-0.6,), u_max=(0.6,)), Pendulum()
    quadratic = {"n_features": 300, "input_coupling": "quadratic"}
    switched = np.where(np.arange(201)[:, None] < 100, 0.3, -0.3)

    def env(cls: type[PlantEnv], plant: Any) -> Callable[..., Any]:
        return lambda **options: cls(plant, **options)

    return {
        t.name: t
        for t in (
            Task(
                "van_der_pol", env(VanDerPolEnv, vdp), vdp.step_components, 2, 1,
                np.array([[2.0, -1.0], [-2.5, 2.5], [1.0, 2.0], [-1.0, -2.5]]), [0.0, 0.0], 20, 100,
                np.eye(2), 0.1, 3.0, 0.0, from_plant(vdp, 50, 150), quadratic, 0.4, 0.05,
            ),
            Task(
                "duffing", env(DuffingEnv, duffing), duffing.step_components, 2, 1,
                np.array([[1.0, 0.0], [1.3, 0.5]]), [-1.0, 0.0], 30, 150, np.eye(2), 0.1, 0.6, [-1.0, 0.0],
                from_plant(duffing, 50, 150), quadratic, 0.1, 0.03,
            ),
            Task(
                "pendulum", env(PendulumEnv, pendulum), pendulum.step_components, 2, 1,
                np.array([[np.pi, 0.0], [2.5, 0.5]]), [1.0, 0.0, 0.0], 40, 150, np.diag([10.0, 10.0, 0.1]),
                0.01, 5.0, [1.0, 0.0, 0.0], from_plant(pendulum, 60, 150), quadratic, 0.3, 0.02, "none",
                output=pendulum.output_components,
            ),
            Task(
                "motor", Motor, Motor.step_components, 2, 1, np.array([[0.0, 0.0]]), switched, 100, 200,
                np.eye(1), 0.01, 1.0, None, Motor.sample,
                {"n_features": 300, "input_coupling": "network", "output_lags": 8, "input_lags": 8},
                0.05, 0.005, "none", y_max=0.4, output=lambda x, xp: (x[1],),
            ),
        )
    }  # fmt: skip


class Seeing:
    """NMPC that is shown the plant's state."""

    def __init__(self, nmpc: NMPC, env: Any) -> None:
        self.nmpc, self.env, self.dt, self.horizon = nmpc, env, nmpc.dt, nmpc.horizon
        self.bounds = {}
        nmpc._to_state = lambda y: env.x if isinstance(env, Motor) else env._x

    def reset(self) -> None:
        """Forget."""
        self.nmpc.reset()

    def control(self, y: Any, reference: Any = None) -> np.ndarray:
        """Input."""
        return self.nmpc.control(y, reference)

    @property
    def info(self) -> Any:
        """Status."""
        return self.nmpc.info


def make_controllers(task: Task, data: Trajectories, seed: int, offset_free: bool = False) -> dict[str, Any]:
    """All on identified models; a name with an error where one cannot be made."""
    model = KoopmanRNN(random_state=seed, **task.network).fit(data)
    size = {"horizon": task.horizon, "Q": task.Q, "R": task.R, "u_min": -task.u_max, "u_max": task.u_max}
    if task.y_max is not None:
        size |= {"y_min": -task.y_max, "y_max": task.y_max}
    lqr_size = {k: v for k, v in size.items() if k not in ("horizon", "y_min", "y_max")}
    point = {} if task.x_op is None else {"x_op": task.x_op, "u_op": 0.0}

    def linear() -> LinearMPC:
        return LinearMPC(model.lift_at(**point), offset_free=offset_free, **size)

    def dmdc() -> LinearMPC:
        plain = KoopmanRNN(
            n_features=0, input_coupling="linear", output_lags=task.network.get("output_lags", 1),
            input_lags=task.network.get("input_lags", 1),
        ).fit(data)  # fmt: skip
        return LinearMPC(plain.lift_at(**point), offset_free=offset_free, **size)

    makers: dict[str, Callable[[], Any]] = {
        "RNNMPC": lambda: RNNMPC(model, terminal=task.terminal, offset_free=offset_free, **size),
        "LinearMPC": linear,
        "LQR": lambda: LQR(model.lift_at(**point), offset_free=offset_free, **lqr_size),
        "DMDc + LinearMPC": dmdc,
    }
    made = {}
    for name, maker in makers.items():
        try:
            made[name] = maker()
        except KoopctrlError as error:
            made[name] = str(error)
    return made


def make_nmpc(task: Task, env: Any) -> Any:
    """The yardstick."""
    P = None
    if task.terminal == "riccati":
        a, b = env.plant.linearize(np.asarray(task.reference, dtype=float), [0.0], dt=env.dt)
        P = LQR(LiftedModel.from_matrices(a, b, dt=env.dt), task.Q, task.R).P
    bounds = {} if task.y_max is None else {"x_min": [-np.inf, -task.y_max], "x_max": [np.inf, task.y_max]}
    nmpc = NMPC(
        task.step, task.n_x, task.n_u, task.horizon, task.Q, task.R, dt=env.dt, P=P, u_min=-task.u_max,
        u_max=task.u_max, output=task.output,
        to_state=task.output and np.asarray, **bounds,
    )  # fmt: skip
    return Seeing(nmpc, env)


def run(task: Task, env: Any, controller: Any) -> dict[str, Any]:
    """All starts."""
    cost, times, statuses, excess, final = 0.0, [], [], 0.0, 0.0
    for i, x0 in enumerate(task.starts):
        result = run_closed_loop(
            env, controller, task.n_steps, task.reference, x0=x0, seed=i, preview=task.name == "motor",
            Q=task.Q, R=task.R,
        )  # fmt: skip
        cost += result.cost
        times.append(result.solve_times)
        statuses += result.statuses
        if task.y_max is not None:
            excess = max(excess, float(np.max(np.abs(result.outputs[1:]) - task.y_max)))
        final = max(final, float(np.abs(result.outputs[-1, 0] - result.references[-1, 0])))
    fallbacks = sum(s.startswith("fallback") for s in statuses)
    return {
        "cost": cost, "median_step": float(np.median(np.concatenate(times))), "fallbacks": fallbacks,
        "excess": excess, "final_error": final,
    }  # fmt: skip


def compare(task: Task, seeds: int, condition: str) -> dict[str, Any]:
    """One plant under one condition."""
    options = {"load": {"disturbance": task.load}, "noise": {"measurement_noise": task.noise}}.get(
        condition, {}
    )
    env = task.make_env(**options)
    best = run(task, env, make_nmpc(task, env))
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        data = task.sample(np.random.default_rng(1000 + seed))
        for name, controller in make_controllers(task, data, seed, condition == "load").items():
            found = controller if isinstance(controller, str) else run(task, env, controller)
            runs.setdefault(name, []).append({"error": found} if isinstance(found, str) else found)
    summary = {}
    for name, all_runs in runs.items():
        good = [r for r in all_runs if "error" not in r]
        summary[name] = {"failed": len(all_runs) - len(good), "runs": all_runs}
        if good:
            summary[name] |= {
                "cost_ratio": c.spread([r["cost"] / best["cost"] for r in good]),
                "final_error": c.spread([r["final_error"] for r in good]),
                "median_step": c.spread([r["median_step"] for r in good]),
                "excess": max(r["excess"] for r in good),
                "fallbacks": sum(r["fallbacks"] for r in good),
            }
    return {"nmpc": best, "controllers": summary}


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    tasks = make_tasks()
    p = c.parser(__doc__, seeds=10)
    p.set_defaults(threads=1)
    p.add_argument("--plants", nargs="+", default=list(tasks), choices=list(tasks))
    p.add_argument("--conditions", nargs="+", default=["plain", "noise", "load"])
    args = p.parse_args()
    figures: dict[str, Any] = {}
    with c.threads(args.threads):
        for condition in args.conditions:
            for name in args.plants:
                found = compare(tasks[name], args.seeds, condition)
                figures[f"{name}, {condition}"] = found
                rows = [
                    [k, v["cost_ratio"]["median"], v["cost_ratio"]["max"], v["final_error"]["median"],
                     v["excess"], 1e3 * v["median_step"]["median"], v["fallbacks"], v["failed"]]
                    for k, v in found["controllers"].items() if "cost_ratio" in v
                ]  # fmt: skip
                best = found["nmpc"]
                rows.append(
                    [
                        "true-model NMPC",
                        1.0,
                        1.0,
                        best["final_error"],
                        best["excess"],
                        1e3 * best["median_step"],
                        0,
                        0,
                    ]
                )
                c.print_table(
                    f"{name}, {condition}, {args.seeds} seeds",
                    ["", "cost/NMPC", "worst", "final error", "|y| excess", "step ms", "fallbacks", "failed"],
                    rows,
                )
                c.write(args, "closed_loop", figures, peers=("casadi",))


if __name__ == "__main__":
    main()
