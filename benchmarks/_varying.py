"""Plants whose parameter drifts: records, schedules, references and the true model's predictive control."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from koopctrl import Trajectories
from koopctrl.controllers import NMPC
from koopctrl_envs import CSTR, Pendulum, Plant, TwoTanks

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Case:
    """One plant and its task.

    Attributes
    ----------
    plant : Plant
        Nominal; `parameter` is the name of what drifts, between `low` and `high`.
    policy : callable
        `(x, goal, shaken) -> u`, the crude feedback that records are taken under, `(n, ..)` rows.
    goals : (low, high) arrays
        Range of the set-points of records.
    start : callable
        `(goal) -> x` at rest.
    references : list of arrays
        Set-points of the closed loop, in turn.
    steady_input : callable
        `(plant, r) -> u` that holds a set-point, of the true plant.
    shake : array
        Size of the excitation.
    """

    name: str
    plant: Plant
    parameter: str
    low: float
    high: float
    policy: Callable[[Array, Array, Array], Array]
    goals: tuple[Array, Array]
    start: Callable[[Array], Array]
    references: list[Array]
    steady_input: Callable[[Plant, Array], Array]
    shake: Array
    Q: Array
    R: Array
    horizon: int

    def at(self, p: float) -> Plant:
        """The plant at a parameter."""
        return replace(self.plant, **{self.parameter: float(p)})

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, the parameter last."""
        return [*self.plant.input_names, self.parameter]


def _pendulum() -> Case:
    plant = Pendulum()

    def policy(x: Array, goal: Array, shaken: Array) -> Array:
        return -9.81 * np.sin(goal[:, :1]) - 25.0 * (x[:, :1] - goal[:, :1]) - 6.0 * x[:, 1:] + shaken

    return Case(
        "pendulum, length", plant, "l", 0.7, 1.3, policy, (np.array([-0.45]), np.array([0.45])),
        lambda goal: np.stack([goal[:, 0], 0.0 * goal[:, 0]], axis=1),
        [np.array([r, 0.0]) for r in (0.25, -0.25, 0.0)],
        lambda p, r: np.array([-p.m * p.g * p.l * np.sin(r[0])]), np.array([2.0]), np.diag([10.0, 0.1]),
        np.array([[0.002]]), 20,
    )  # fmt: skip


def _reactor() -> Case:
    plant = CSTR(n_substeps=20)
    resting = {round(T, 1): plant.steady_state([np.nan, T])[0] for T in np.arange(338.0, 362.1, 0.1)}

    def policy(x: Array, goal: Array, shaken: Array) -> Array:
        return 300.0 - 6.0 * (x[:, 1:] - goal[:, :1]) + shaken

    return Case(
        "reactor, activation", plant, "E_R", 8650.0, 8850.0, policy, (np.array([342.0]), np.array([358.0])),
        lambda goal: np.array([resting[round(float(T), 1)] for T in goal[:, 0]]),
        [np.array([0.5, T]) for T in (353.0, 347.0, 350.0)],
        lambda p, r: p.steady_state([np.nan, r[1]])[1], np.array([10.0]), np.diag([0.0, 0.01]),
        np.array([[1e-4]]), 20,
    )  # fmt: skip


def _tanks() -> Case:
    plant = TwoTanks()

    def policy(x: Array, goal: Array, shaken: Array) -> Array:
        u = np.array([0.3, 0.6]) + 0.5 * (goal - x) * [1.0, 1.0] - [[0.0, 0.2]] * (goal - x)[:, :1] + shaken
        return u

    return Case(
        "tanks, area", plant, "A1", 0.5, 2.0, policy, (np.array([0.4, 0.4]), np.array([1.8, 1.8])),
        lambda goal: goal.copy(), [np.array(r) for r in ([1.2, 0.8], [0.8, 1.2], [1.0, 1.0])],
        lambda p, r: p.steady_state(r)[1], np.array([0.15, 0.3]), np.diag([1.0, 1.0]),
        np.diag([0.005, 0.005]), 20,
    )  # fmt: skip


CASES: dict[str, Callable[[], Case]] = {"pendulum": _pendulum, "reactor": _reactor, "tanks": _tanks}


def wandering(rng: np.random.Generator, n: int, low: float, high: float, block: int = 25) -> Array:
    """A signal that goes straight from one random value to the next."""
    knots = rng.uniform(low, high, n // block + 2)
    return np.interp(np.arange(n) / block, np.arange(len(knots)), knots)


def records(
    case: Case, rng: np.random.Generator, n_episodes: int, n_steps: int, p: Array | None = None
) -> Trajectories:
    """Records of inputs and parameter; `p` `(n_episodes,)` holds it still."""
    xs, us = [], []
    for i in range(n_episodes):
        drift = wandering(rng, n_steps, case.low, case.high) if p is None else np.full(n_steps, p[i])
        goals = np.stack([wandering(rng, n_steps, a, b) for a, b in zip(*case.goals, strict=True)], axis=1)
        shaken = np.empty((n_steps, case.plant.n_u))
        for j, size in enumerate(case.shake):
            levels, lengths = rng.uniform(-size, size, n_steps), rng.integers(1, 7, n_steps)
            shaken[:, j] = np.repeat(levels, lengths)[:n_steps]
        x = [case.start(goals[:1])[0]]
        u = np.empty((n_steps, case.plant.n_u))
        for k in range(n_steps):
            u[k] = np.clip(
                case.policy(x[-1][None], goals[k : k + 1], shaken[k : k + 1])[0], case.plant.u_min,
                case.plant.u_max,
            )  # fmt: skip
            x.append(np.asarray(case.at(drift[k]).step(x[-1], u[k])))
        xs.append(np.array(x))
        us.append(np.column_stack([u, drift]))
    return Trajectories.from_arrays(xs, us, dt=case.plant.dt, input_names=case.inputs)


def without_parameter(data: Trajectories, n_u: int) -> Trajectories:
    """The same records, whose last input nobody has measured."""
    return Trajectories.from_arrays(
        [e.outputs for e in data], [e.inputs[:, :n_u] for e in data], dt=data.dt,
        input_names=list(data.input_names[:n_u]),
    )  # fmt: skip


def true_nmpc(case: Case) -> NMPC:
    """Predictive control with the true model, whose parameter is a load: previewed, and never moved."""
    n_u = case.plant.n_u

    def step(x: Any, u: Any, xp: Any) -> Any:
        plant = copy.copy(case.plant)
        object.__setattr__(plant, "n_substeps", min(plant.n_substeps, 10))
        object.__setattr__(plant, case.parameter, u[n_u])
        return plant.step_components(x, u[:n_u], xp)

    R = np.eye(n_u + 1)
    R[:n_u, :n_u] = case.R
    low, high = (np.append(np.broadcast_to(b, n_u), 0.0) for b in (case.plant.u_min, case.plant.u_max))
    return NMPC(
        step, case.plant.n_x, n_u + 1, case.horizon, case.Q, R, dt=case.plant.dt, u_min=low, u_max=high
    )


@cache
def schedule(case: Case, n_steps: int, phase: float) -> tuple[Array, Array, Array]:
    """Parameter, references and the inputs that hold them, `n_steps + horizon + 1` rows; worked out once."""
    n = n_steps + case.horizon + 1
    t = np.arange(n) / n_steps
    middle, half = 0.5 * (case.low + case.high), 0.45 * (case.high - case.low)
    p = middle + half * np.sin(2.0 * np.pi * (1.5 * t + phase))
    each = n_steps // len(case.references)
    r = np.array([case.references[min(k // each, len(case.references) - 1)] for k in range(n)])
    u = np.array([case.steady_input(case.at(p[k]), r[k]) for k in range(n)])
    return p, r, u


def closed_loop(
    case: Case, control: Callable[[int, Array], Array], phase: float, n_steps: int
) -> tuple[float, Array]:
    """Cost of an episode, inf where the plant leaves its limits, and the states."""
    p, r, u_s = schedule(case, n_steps, phase)
    x, cost, states = case.start(_goal(case))[0], 0.0, []
    for k in range(n_steps):
        u = np.clip(control(k, x), case.plant.u_min, case.plant.u_max)
        x = np.asarray(case.at(p[k]).step(x, u))
        states.append(x)
        if not np.all((x >= case.plant.x_min) & (x <= case.plant.x_max)):
            return np.inf, np.array(states)
        e, v = x - r[k + 1], u - u_s[k]
        cost += float(e @ case.Q @ e + v @ case.R @ v)
    return cost, np.array(states)


def _goal(case: Case) -> Array:
    """The middle of the goals, where episodes start."""
    return np.round(0.5 * (case.goals[0] + case.goals[1]), 1)[None]
