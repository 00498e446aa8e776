"""Plants that nothing was tuned on: data, weights and references as a sensible user takes them.

Networks have default parameters, and lags where the outputs are not the state. Inputs cost as deviations from
those that hold the set-point (`Task.input_reference`); noise is one per cent of the range in which outputs
move; the mismatch is one parameter off by a fifth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from _plants import Array, Task, env_of

from koopctrl import Trajectories
from koopctrl_envs import (
    CSTR,
    Burgers,
    CartPole,
    CSTRTemperature,
    PHNeutralization,
    Plant,
    Quadrotor,
    QuadrupleTank,
    TwoTanks,
)
from koopctrl_envs.burgers import BurgersEnv
from koopctrl_envs.cart_pole import CartPoleEnv
from koopctrl_envs.cstr import CSTREnv, CSTRTemperatureEnv
from koopctrl_envs.ph import PHNeutralizationEnv
from koopctrl_envs.quadrotor import QuadrotorEnv
from koopctrl_envs.quadruple_tank import QuadrupleTankEnv
from koopctrl_envs.two_tanks import TwoTanksEnv

Sampler = Callable[[np.random.Generator], Trajectories]
SHORTEST = 10
"""Episodes cut off by a failure before this many steps are thrown away."""


def held_levels(
    rng: np.random.Generator, shape: tuple[int, int], low: Any, high: Any, hold: tuple[int, int]
) -> Array:
    """Inputs `(n_episodes, n_steps, n_u)`: uniform levels, each held for a uniform number of samples."""
    low, high = np.broadcast_arrays(np.atleast_1d(low).astype(float), np.atleast_1d(high))
    n_episodes, n_steps = shape
    u = np.empty((n_episodes, n_steps, len(low)))
    for i in range(n_episodes):
        for j in range(len(low)):
            lengths = rng.integers(hold[0], hold[1] + 1, n_steps)
            u[i, :, j] = np.repeat(rng.uniform(low[j], high[j], n_steps), lengths)[:n_steps]
    return u


def record(plant: Plant, starts: Array, inputs: Callable[[int, Array], Array], n_steps: int) -> Trajectories:
    """Episodes side by side under `inputs(k, x)`, each ending where the plant fails."""
    x = np.empty((len(starts), n_steps + 1, plant.n_x))
    u = np.empty((len(starts), n_steps, plant.n_u))
    x[:, 0] = starts
    with np.errstate(all="ignore"):
        for k in range(n_steps):
            u[:, k] = inputs(k, x[:, k])
            x[:, k + 1] = plant.step(x[:, k], u[:, k])
        inside = np.all((x >= plant.x_min) & (x <= plant.x_max), axis=-1)
    # The first sample outside is the last one of its record, as in an env that terminates.
    lengths = np.where(np.all(inside, axis=-1), n_steps, np.argmin(inside, axis=1))
    kept = np.flatnonzero(lengths >= SHORTEST)
    return Trajectories.from_arrays(
        [plant.output(x[i, : lengths[i] + 1]) for i in kept], [u[i, : lengths[i]] for i in kept], dt=plant.dt,
        state_names=list(plant.output_names), input_names=list(plant.input_names),
    )  # fmt: skip


def open_loop(
    plant: Plant, n_episodes: int, n_steps: int, hold: tuple[int, int], *, low: Any = None, high: Any = None,
    starts: Callable[[np.random.Generator], Array] | None = None,
) -> Sampler:  # fmt: skip
    """Sampler of episodes under held multilevel inputs over the plant's limits, or over `low` to `high`."""
    draw = starts or plant.draw_start

    def sample(rng: np.random.Generator) -> Trajectories:
        x0 = np.array([draw(rng) for _ in range(n_episodes)])
        # One level for each input: a scalar limit holds for all of them, the levels are drawn apart.
        limits = [
            np.broadcast_to(own if given is None else given, (plant.n_u,))
            for own, given in ((plant.u_min, low), (plant.u_max, high))
        ]
        u = held_levels(rng, (n_episodes, n_steps), *limits, hold)
        return record(plant, x0, lambda k, x: u[:, k], n_steps)

    return sample


def hovering(plant: Quadrotor, n_episodes: int, n_steps: int) -> Sampler:
    """Sampler of flights under a crude cascade that holds random points, with excitation on both rotors."""
    spread = np.array([1.0, 1.0, 0.4, 1.5, 1.5, 2.0])

    def sample(rng: np.random.Generator) -> Trajectories:
        x0 = rng.uniform(-spread, spread, (n_episodes, 6))
        goals = held_levels(rng, (n_episodes, n_steps), -np.ones(2), np.ones(2), (20, 60))
        shaken = held_levels(rng, (n_episodes, n_steps), -0.5 * np.ones(2), 0.5 * np.ones(2), (1, 5))

        def thrusts(k: int, x: Array) -> Array:
            goal_x, goal_z = goals[:, k].T
            p_x, p_z, theta, v_x, v_z, omega = x.T
            lean = np.clip((2.0 * (p_x - goal_x) + 2.5 * v_x) / plant.g, -0.6, 0.6)
            lift = 0.5 * plant.m * (plant.g + 6.0 * (goal_z - p_z) - 4.0 * v_z)
            turn = 0.5 * plant.I / plant.r * (100.0 * (lean - theta) - 16.0 * omega)
            u = np.stack([lift + turn, lift - turn], axis=1) + shaken[:, k]
            return np.clip(u, plant.u_min, plant.u_max)

        return record(plant, x0, thrusts, n_steps)

    return sample


def regulated(plant: CSTR, n_episodes: int, n_steps: int) -> Sampler:
    """Sampler of reactors near states at rest that drift between 335 and 360 K, most of them unstable.

    A crude proportional feedback holds the temperature, with excitation on the coolant; without they ignite.
    """
    block = 25

    def sample(rng: np.random.Generator) -> Trajectories:
        knots = rng.uniform(335.0, 360.0, (n_episodes, n_steps // block + 2))
        at, part = np.divmod(np.arange(n_steps) / block, 1.0)
        low = knots[:, at.astype(int)]
        goals = low + part * (knots[:, at.astype(int) + 1] - low)
        resting = np.array([CSTR().steady_state([np.nan, T])[0] for T in goals[:, 0]])
        x0 = resting + rng.uniform(-1.0, 1.0, (n_episodes, 2)) * [0.02, 5.0]
        shaken = held_levels(rng, (n_episodes, n_steps), -10.0, 10.0, (1, 6))

        def coolant(k: int, x: Array) -> Array:
            u = plant.equilibrium_inputs[0] - 6.0 * (x[:, 1:] - goals[:, k, None]) + shaken[:, k]
            return np.clip(u, plant.u_min, plant.u_max)

        return record(plant, x0, coolant, n_steps)

    return sample


def steps(*blocks: tuple[int, Any]) -> Array:
    """One row a step from `(number of steps, set-point)`, the last one once more for the last sample."""
    rows = [np.tile(np.atleast_1d(y), (n, 1)) for n, y in blocks]
    return np.vstack([*rows, rows[-1][-1:]]).astype(float)


def rest_input(free: tuple[int, ...] = ()) -> Callable[[Plant, Array], Array]:
    """`steady` of a task by the plant's own root finding; `free` outputs follow from the others."""

    def steady(plant: Plant, y: Array) -> Array:
        wanted = np.array(y, dtype=float)
        wanted[list(free)] = np.nan
        return plant.steady_state(wanted)[1]

    return steady


def window(y_op: Any, u_op: Any, lags: int) -> Array:
    """Operating point of a model with `lags` outputs and inputs."""
    return np.concatenate([np.tile(np.atleast_1d(y_op), lags), np.tile(np.atleast_1d(u_op), lags - 1)])


def task(
    name: str, cls: Any, plant: Plant, sample: Sampler, references: Any, *, y_op: Any, u_op: Any,
    y_range: Any, lags: int = 1, n_steps: int = 0, **options: Any,
) -> Task:  # fmt: skip
    """Task on a plant of koopctrl_envs."""
    return Task(
        name=name, make_env=env_of(cls, plant), dt=plant.dt, n_x=plant.n_x, n_u=plant.n_u,
        step=plant.step_components, output=plant.output_components, measure=plant.output, sample=sample,
        references={"": references}, n_steps=n_steps, u_min=np.array(plant.u_min),
        u_max=np.array(plant.u_max), noise=0.01 * np.asarray(y_range, dtype=float), plant=plant,
        network={} if lags == 1 else {"output_lags": lags, "input_lags": lags},
        x_op=window(y_op, u_op, lags), u_op=np.atleast_1d(u_op), **options,
    )  # fmt: skip


def two_tanks() -> list[Task]:
    """Both levels to set-points that change every 100 s, under three weightings."""
    plant = TwoTanks()
    base = task(
        "two_tanks", TwoTanksEnv, plant, open_loop(plant, 30, 150, (1, 20)),
        steps((100, [1.0, 1.0]), (100, [1.5, 0.6]), (100, [0.7, 1.4]), (100, [1.2, 0.9])),
        y_op=plant.output(plant.equilibria[0]), u_op=plant.equilibrium_inputs[0], y_range=[2.0, 2.0],
        starts=np.array([[0.5, 0.5]]), horizon=20, Q=np.eye(2), R=np.eye(2), load=np.array([0.05, 0.0]),
        mismatch={"k1": 1.2 * plant.k1}, steady=rest_input(), previewed=False,
    )  # fmt: skip
    weights = {"output_heavy": (10.0, 0.1), "equal": (1.0, 1.0), "input_heavy": (0.1, 10.0)}
    return [
        replace(base, name=f"two_tanks_{kind}", Q=q * np.eye(2), R=r * np.eye(2))
        for kind, (q, r) in weights.items()
    ]


def quadruple_tank() -> list[Task]:
    """The lower levels to set-points that ask the pumps for different things."""
    plant = QuadrupleTank(u_min=1.0, u_max=5.0)  # pyright: ignore[reportArgumentType]
    return [
        task(
            "quadruple_tank", QuadrupleTankEnv, plant, open_loop(plant, 20, 200, (4, 30), low=1.5, high=4.5),
            steps((60, [12.0, 12.0]), (60, [9.0, 14.0]), (60, [14.0, 10.0])),
            y_op=plant.output(plant.equilibria[0]), u_op=plant.equilibrium_inputs[0], lags=3,
            y_range=[15.0, 15.0], starts=np.array([[8.0, 8.0, 1.2, 1.2]]), horizon=25, Q=np.eye(2),
            R=0.1 * np.eye(2), load=np.array([0.3, -0.3]), mismatch={"k1": 0.8 * plant.k1},
            steady=rest_input(), previewed=False,
        )
    ]  # fmt: skip


def cstr() -> list[Task]:
    """Between points that only feedback holds, both signals or one measured."""
    made = []
    temperatures = (355.0, 343.0, 350.0)
    for name, cls, env, outputs in (
        ("cstr", CSTR, CSTREnv, slice(0, 2)),
        ("cstr_temperature", CSTRTemperature, CSTRTemperatureEnv, slice(1, 2)),
    ):
        plant = cls()
        points = [CSTR().steady_state([np.nan, T])[0][outputs] for T in temperatures]
        free = (0,) if name == "cstr" else ()
        made.append(
            task(
                name, env, plant, regulated(plant, 40, 100), steps(*((50, y) for y in points)),
                y_op=plant.output(plant.equilibria[0]), u_op=plant.equilibrium_inputs[0],
                lags=1 if name == "cstr" else 3, y_range=np.array([0.5, 40.0])[outputs],
                starts=np.array([[0.5, 350.0], [0.55, 346.0]]), horizon=20, Q=np.diag([100.0, 0.04][outputs]),
                R=0.004 * np.eye(1), load=np.array([2.0]), mismatch={"UA": 0.8 * plant.UA},
                steady=rest_input(free), previewed=False,
            )
        )  # fmt: skip
    return made


def figure_eight(plant: Quadrotor, period: float, n_steps: int) -> Array:
    """Points and speeds along a lying eight, 2 m wide and 1 m high; level and not turning."""
    t = plant.dt * np.arange(n_steps)
    w, still = 2.0 * np.pi / period, np.zeros(len(t))
    x, z = np.sin(w * t), 0.5 * np.sin(2.0 * w * t)
    return np.stack([x, z, still, w * np.cos(w * t), w * np.cos(2.0 * w * t), still], axis=1)


def quadrotor() -> list[Task]:
    """A lying eight in five seconds, seen ahead."""
    plant = Quadrotor()
    hover, horizon = plant.equilibrium_inputs[0], 25
    return [
        task(
            "quadrotor", QuadrotorEnv, plant, hovering(plant, 40, 100),
            figure_eight(plant, 5.0, 251 + horizon), n_steps=250,
            y_op=np.zeros(6), u_op=hover, y_range=[2.0, 2.0, 1.2, 4.0, 4.0, 10.0],
            starts=np.array([[0.0] * 6, [-0.5, 0.5, 0.0, 0.0, 0.0, 0.0]]), horizon=horizon,
            Q=np.diag([10.0, 10.0, 0.1, 0.5, 0.5, 0.01]), R=0.05 * np.eye(2), load=np.array([0.1, -0.05]),
            mismatch={"m": 1.2 * plant.m}, steady=lambda p, y: p.equilibrium_inputs[0],
        )
    ]  # fmt: skip


def ph() -> list[Task]:
    """From neutral to basic, to acid and back, with the buffered and the steep part of the curve between."""
    plant = PHNeutralization()
    return [
        task(
            "ph", PHNeutralizationEnv, plant, open_loop(plant, 20, 200, (1, 20), low=8.0, high=24.0),
            steps((40, 8.0), (40, 9.5), (40, 6.0), (40, 7.0)), y_op=[7.0], u_op=plant.equilibrium_inputs[0],
            lags=4, y_range=[6.0], starts=plant.equilibria[:1], horizon=20, Q=np.eye(1), R=0.02 * np.eye(1),
            load=np.array([1.0]), mismatch={"q2": 0.8 * plant.q2}, steady=rest_input(), previewed=False,
        )
    ]  # fmt: skip


def burgers() -> list[Task]:
    """The same speed everywhere, 0.5, then 0.8, then 0.5, from a start with fronts."""
    plant = Burgers()
    return [
        task(
            "burgers", BurgersEnv, plant, open_loop(plant, 40, 80, (1, 12)),
            steps((10, np.full(10, 0.5)), (30, np.full(10, 0.8)), (30, np.full(10, 0.5))),
            y_op=np.full(10, 0.65), u_op=np.zeros(2), lags=2, y_range=np.full(10, 1.2),
            starts=plant.profile(0.5)[None], horizon=5, Q=np.eye(10), R=0.1 * np.eye(2),
            load=np.full(2, 0.01), mismatch={"nu": 0.8 * plant.nu}, steady=lambda p, y: np.zeros(2),
            previewed=False,
        )
    ]  # fmt: skip


def cart_pole() -> list[Task]:
    """Swing-up from hanging, off the ends of the rail."""
    plant = CartPole()
    spread = np.array([1.0, 2.0, np.pi, 8.0])
    upright = plant.output(plant.equilibria[0])
    sample = open_loop(plant, 100, 60, (1, 8), starts=lambda rng: rng.uniform(-spread, spread))
    return [
        task(
            "cart_pole", CartPoleEnv, plant, sample, steps((100, upright)), y_op=upright, u_op=np.zeros(1),
            y_range=[3.0, 8.0, 2.0, 2.0, 16.0], horizon=40,
            starts=np.array([[0.0, 0.0, np.pi, 0.0], [0.5, 0.0, np.pi - 0.5, 0.0]]),
            Q=np.diag([1.0, 0.1, 10.0, 10.0, 0.1]), R=0.01 * np.eye(1), load=np.array([0.5]),
            mismatch={"m": 1.2 * plant.m}, steady=lambda p, y: np.zeros(1),
            # The rail ends at 2.4 m.
            y_max=np.array([2.2, *[np.inf] * 4]), x_max=np.array([2.2, *[np.inf] * 3]),
        )
    ]  # fmt: skip


def make_unseen_tasks() -> dict[str, Task]:
    """All of them, by name."""
    makers = (two_tanks, quadruple_tank, cstr, quadrotor, ph, burgers, cart_pole)
    return {t.name: t for maker in makers for t in maker()}
