"""The tasks that every plant has, made from the plant itself: a new one needs no line here."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.tasks.rest_points import RestManifold, RestPoint, speeds_of
from koopctrl_envs.tasks.task import Task, plant_name

PREFIX = "koopctrl/"

LARGE = 10
"""States beyond which tasks are shorter."""

SHORT = {"horizon": 8, "n_steps": 40, "hold": 20}


@dataclass(frozen=True)
class TaskSettings:
    """Sizes of the standard tasks; an env class overrides them in `task_settings`.

    Attributes
    ----------
    horizon : int
        Samples that predictive controllers look ahead; 0 takes 30, or 8 for plants of more than 10 states,
        on which the yardstick takes seconds a step.
    n_steps : int
        Samples of regulation, of the disturbed task and of a period of the tracked path; 0 takes 80, or 40.
    hold : int
        Samples for which each set-point of a sequence holds; 0 takes 40, or 20.
    n_starts : int
        Starts of the regulation task,
    spread : float
        drawn at this part of the way from the set-point to a start of the plant's own.
    reach : float
        How far set-points move outputs, as part of their range.
    load : float
        Load of the disturbed task, as part of the inputs' range.
    drift : str
        Parameter that drifts there, by default the first that must be above zero,
    growth : float
        and the factor that it has grown by in the end.
    """

    horizon: int = 0
    n_steps: int = 0
    hold: int = 0
    n_starts: int = 2
    spread: float = 1.0
    reach: float = 0.25
    load: float = 0.1
    drift: str = ""
    growth: float = 1.1


def plant_ids() -> list[str]:
    """Ids of the registered plants of this package that have tasks."""
    return [name for name in sorted(gymnasium.registry) if name.startswith(PREFIX) and _env(name) is not None]


def find_id(plant: str) -> str:
    """Registered id of a plant named as `VanDerPol` or `koopctrl/VanDerPol-v0`.

    Raises
    ------
    ValueError
        If there is none.
    """
    known = {name: name for name in plant_ids()} | {plant_name(name): name for name in plant_ids()}
    if plant.split(":")[-1] not in known:
        names = ", ".join(plant_name(name) for name in plant_ids())
        raise ValueError(f"plant is {plant!r}; expected one of {names}")
    return known[plant.split(":")[-1]]


def make_tasks(plant: str | None = None) -> dict[str, Task]:
    """Tasks of a plant by their names, or of all plants by label.

    Parameters
    ----------
    plant : str, optional
        For instance `VanDerPol` or `koopctrl/VanDerPol-v0`.
    """
    if plant is not None:
        return dict(_tasks(find_id(plant)))
    return {task.label: task for name in plant_ids() for task in _tasks(name).values()}


@lru_cache(maxsize=64)
def _tasks(env_id: str) -> dict[str, Task]:
    env = _env(env_id)
    assert env is not None  # both callers have asked
    maker = _Maker(env_id, env)
    made = [make() for make in (maker.regulation, maker.setpoints, maker.tracking, maker.disturbed)]
    return {task.name: task for task in made if task is not None}


@lru_cache(maxsize=64)
def _env(env_id: str) -> PlantEnv | None:
    """A registered env, if it is a plant with an equilibrium that needs no arguments."""
    try:
        env = gymnasium.make(env_id, disable_env_checker=True).unwrapped
    except TypeError:
        return None
    if not isinstance(env, PlantEnv) or not len(env.plant.equilibria):
        return None
    # Whoever could choose what disturbs the plant would choose it away: such plants are not for ranking.
    return None if env.plant.disturbance_names else env


class _Maker:
    """Tasks of one plant."""

    def __init__(self, env_id: str, env: PlantEnv) -> None:
        plant = env.plant
        unknown = set(env.task_settings) - {f.name for f in fields(TaskSettings)}
        if unknown:
            raise ValueError(f"task_settings of {type(env).__name__} has {sorted(unknown)}, which are none")
        asked = replace(TaskSettings(), **env.task_settings)
        usual = {"horizon": 30, "n_steps": 80, "hold": 40} if plant.n_x <= LARGE else SHORT
        self.settings = replace(asked, **{n: getattr(asked, n) or value for n, value in usual.items()})
        self.plant, self.rests = plant, RestManifold(plant)
        self.rest = self.rests.origin
        unbound = np.full(plant.n_y, np.inf)
        self.common: dict[str, Any] = {
            "env_id": env_id, "plant": plant, "Q": env.Q, "R": env.R, "y_min": -unbound, "y_max": unbound,
            "horizon": self.settings.horizon,
        }  # fmt: skip

    def regulation(self) -> Task:
        """To the first equilibrium from anywhere."""
        s, plant = self.settings, self.plant
        rng = np.random.default_rng(0)
        drawn = np.array([plant.draw_start(rng) for _ in range(s.n_starts)])
        rows = [self.rest] * (s.n_steps + 1)
        return self._task(
            "regulation", "To the first equilibrium and hold it, from starts of the plant's own.", rows,
            starts=self.rest.x + s.spread * (drawn - self.rest.x),
        )  # fmt: skip

    def setpoints(self) -> Task:
        """A sequence of rest points, with outputs kept near their range."""
        s, points = self.settings, [self.rest]
        for way in range(len(self.rests.ways)):
            for sign in (1.0, -1.0) if way == 0 else (1.0,):
                amounts = np.zeros(len(self.rests.ways))
                amounts[way] = self.rests.farthest(way, sign, s.reach)
                point = self.rests.at(amounts)
                if amounts[way] and point is not None:
                    points.append(point)
        rows = [points[0]] * 5 + [p for point in [*points[1:], points[0]] for p in [point] * s.hold]
        task = self._task(
            "setpoints", "From one rest point to the next, told in the moment; outputs stay near.",
            [*rows, rows[-1]], starts=self.rest.x[None],
        )  # fmt: skip
        low, high = task.references.min(axis=0), task.references.max(axis=0)
        moves = (high - low) > 1e-3 * self.rests.y_scale
        slack = 0.15 * (high - low)
        return replace(
            task,
            y_min=np.where(moves, low - slack, -np.inf),
            y_max=np.where(moves, high + slack, np.inf),
        )

    def tracking(self) -> Task | None:
        """A path through rest points, seen ahead; None where nothing can be moved."""
        s, plant = self.settings, self.plant
        ends = [
            min(abs(self.rests.farthest(way, sign, s.reach)) for sign in (1.0, -1.0))
            for way in range(len(self.rests.ways))
        ]
        if not any(ends):
            return None
        angle = 2.0 * np.pi * np.arange(s.n_steps + 1) / s.n_steps
        shares = np.stack([np.sin((way + 1) * angle) for way in range(len(ends))], axis=1)
        # Two ways at once may lead to where inputs do not reach: each has two thirds then.
        amounts = shares * np.array(ends) * (0.8 if np.count_nonzero(ends) == 1 else 0.6)
        found = [self.rests.at(a) for a in amounts]
        points = [p if p is not None else self.rest for p in found]
        if any(p is None for p in found):
            return None
        x = np.array([p.x for p in points])
        for i, j in speeds_of(plant, self.rest):
            x[:, j] = np.gradient(x[:, i], plant.dt)
        points = [RestPoint(row, p.u) for row, p in zip(x, points, strict=True)]
        return self._task(
            "tracking", "Along a path through rest points, with its preview.", points,
            starts=self.rest.x[None], preview=self.common["horizon"],
        )  # fmt: skip

    def disturbed(self) -> Task:
        """At rest under a load, and then under a parameter that drifts, neither of them told."""
        s, plant, n = self.settings, self.plant, self.settings.n_steps
        low, high = np.subtract(self.rest.u, plant.u_min), np.subtract(plant.u_max, self.rest.u)
        # The input takes a load back by going the other way: into the side with more room.
        size = np.minimum(s.load * np.subtract(plant.u_max, plant.u_min), 0.5 * np.maximum(low, high))
        loads = np.zeros((n, plant.n_u))
        loads[n // 8 :] = np.where(low >= high, size, -size)
        drift = s.drift or next(iter(plant.positive), "")
        steps = np.clip((np.arange(n) - n // 2) // (n // 8) + 1, 0, 3) / 3.0
        drifts = {drift: getattr(plant, drift) * (1.0 + (s.growth - 1.0) * steps)} if drift else {}
        return self._task(
            "disturbed", "At rest, under a load and then a drifting parameter that nobody tells of.",
            [self.rest] * (n + 1), starts=self.rest.x[None], loads=loads, drifts=drifts,
        )  # fmt: skip

    def _task(self, name: str, description: str, points: list[RestPoint], **more: Any) -> Task:
        outputs = self.plant.output(np.array([p.x for p in points]))
        inputs = np.array([p.u for p in points[:-1]])
        return Task(
            name=name, description=description, references=outputs, input_references=inputs,
            **(self.common | more),
        )  # fmt: skip
