"""Running controllers on tasks."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from koopctrl._validation import check_integer
from koopctrl.benchmark.builtin import BUILTIN
from koopctrl.benchmark.case import Case, Knowledge
from koopctrl.benchmark.result import BenchResult, Run
from koopctrl.controllers.loop.closed_loop import run_closed_loop
from koopctrl.controllers.protocol import Controller
from koopctrl.errors import KoopctrlError, KoopctrlWarning, OptionError

Maker = Callable[[Case], Any]


def bench(
    controllers: Any = ("lqr", "linear_mpc", "rnn_mpc", "dmdc", "nmpc"),
    plants: Sequence[str] | str | None = None,
    tasks: Sequence[Any] | str | None = None,
    *,
    seeds: Sequence[int] = (0,),
    wrappers: Sequence[Callable[[Any], Any]] = (),
    n_steps: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> BenchResult:
    """Run controllers on the tasks of `koopctrl_envs.tasks`, and compare costs with the yardstick's.

    Costs are those of the true plant, summed over the starts of a task, with noise-free outputs and applied
    inputs; the yardstick is NMPC with the true model, whose costs are stored with the tasks. An episode that
    the plant ends by a failure costs infinity.

    Parameters
    ----------
    controllers : sequence of str, or dict of str to maker or controller
        Names: `lqr`, `linear_mpc`, `rnn_mpc`, `dmdc`, `deepc`, `nmpc`, or import paths `module:maker`. A
        maker is called with a `koopctrl.benchmark.case.Case` (weights, bounds, horizon, records) for each
        task and seed and returns a controller; an object with `reset` and `control` runs as it is.
    plants : sequence of str, optional
        For instance `["VanDerPol", "Pendulum"]`; all by default.
    tasks : sequence of str or Task, optional
        Names, such as `["setpoints"]`, or tasks of your own, which then say what plants they are on; by
        default all of each plant.
    seeds : sequence of int
        Of records, networks, and of what wrappers draw.
    wrappers : sequence of callables env -> env
        Of `koopctrl_envs.wrappers`, say: put around the plant in every run, and while records are taken.
    n_steps : int, optional
        Cuts episodes short for a quick look; costs are then not compared with the yardstick's.
    progress : callable, optional
        Told what is being done.

    Returns
    -------
    BenchResult

    Raises
    ------
    OptionError
        For a name or import path that is none.
    """
    makers = find_makers(controllers)
    chosen = _find_tasks(plants, tasks)
    seeds = [check_integer(s, "seeds", low=0) for s in np.atleast_1d(np.asarray(seeds, dtype=object))]
    if n_steps is not None:
        n_steps = check_integer(n_steps, "n_steps", low=1)
    runs: list[Run] = []
    known: dict[tuple[str, int], Knowledge] = {}
    for task in chosen:
        for seed in seeds:
            knowledge = known.setdefault((task.env_id, seed), Knowledge(task, seed, tuple(wrappers)))
            for name, maker in makers.items():
                if progress is not None:
                    progress(f"{task.label}: {name}, seed {seed}")
                runs.append(_one(task, name, maker, knowledge, n_steps))
    return BenchResult(tuple(runs), seeds=tuple(seeds), n_steps=n_steps)


def find_makers(controllers: Any) -> dict[str, Maker]:
    """Makers by name; see `bench`."""
    if isinstance(controllers, str):
        controllers = [controllers]
    given = controllers if isinstance(controllers, Mapping) else {_label(c): c for c in controllers}
    if not given:
        raise OptionError(f"controllers is empty; expected names of {', '.join(BUILTIN)}, or module:maker")
    return {str(name): _maker(value) for name, value in given.items()}


def _label(controller: Any) -> str:
    if isinstance(controller, str):
        return controller
    return getattr(controller, "__name__", type(controller).__name__)


def _maker(value: Any) -> Maker:
    if isinstance(value, str):
        return BUILTIN[value] if value in BUILTIN else _imported(value)
    if isinstance(value, Controller) and not isinstance(value, type):
        return lambda _case: copy.deepcopy(value)
    if callable(value):
        return value
    raise OptionError(
        f"controllers has a {type(value).__name__}; expected a name, a maker, or an object with reset() and "
        "control()"
    )


def _imported(path: str) -> Maker:
    """What `module:name` is."""
    module, _, name = path.partition(":")
    if not name:
        raise OptionError(
            f"controllers has {path!r}; expected one of {', '.join(BUILTIN)}, or an import path module:maker"
        )
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise OptionError(
            f"controllers has {path!r}, and {module} could not be imported ({error}); run in its folder, or "
            "install it"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise OptionError(f"controllers has {path!r}, and {module} has no {name}")
        found = getattr(found, part)
    return _maker(found)


def _find_tasks(plants: Any, tasks: Any) -> list[Any]:
    """Tasks in the order of plants, then of names."""
    home: Any = importlib.import_module("koopctrl_envs.tasks")
    wanted = [tasks] if isinstance(tasks, str) else None if tasks is None else list(tasks)
    own = [t for t in wanted or [] if not isinstance(t, str)]
    if own:
        if len(own) < len(wanted or []) or plants is not None:
            raise OptionError(
                "tasks has tasks of your own beside names or plants; expected them alone, since they name "
                "their plants"
            )
        return own
    names = [plants] if isinstance(plants, str) else plants
    try:
        ids = home.plant_ids() if names is None else [home.find_id(p) for p in names]
    except ValueError as error:
        raise OptionError(str(error).replace("plant is", "plants has", 1)) from error
    chosen: list[Any] = []
    for env_id in dict.fromkeys(ids):
        found = home.make_tasks(env_id)
        chosen += [found[name] for name in (found if wanted is None else wanted) if name in found]
        unknown = [name for name in wanted or [] if name not in found]
        if unknown:
            raise OptionError(
                f"tasks has {unknown[0]!r}; expected tasks of {home.plant_name(env_id)}: {', '.join(found)}"
            )
    if not chosen:
        raise OptionError("plants and tasks leave nothing to run; expected at least one of each")
    return chosen


def _one(task: Any, name: str, maker: Maker, knowledge: Knowledge, n_steps: int | None) -> Run:
    """One controller on all starts of a task."""
    steps = task.n_steps if n_steps is None else min(n_steps, task.n_steps)
    costs: list[float] = []
    times: list[float] = []
    violations, message, results = 0, "", []
    controller: Any = None
    for start in range(len(task.starts)):
        env = task.make(start=start, wrappers=knowledge.wrappers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KoopctrlWarning)
            try:
                controller = maker(Case(task, env, knowledge))
                result = run_closed_loop(
                    env, controller, steps, task.references, seed=knowledge.seed, preview=task.preview > 0
                )
            except (KoopctrlError, ArithmeticError, np.linalg.LinAlgError) as error:
                message = message or f"{type(error).__name__}: {error}"
                costs.append(float("inf"))
                continue
        failed = result.ended == "terminated"
        costs.append(float("inf") if failed else -float(result.rewards.sum()))
        beyond = task.violations(task.plant.output(result.states[1:]))
        violations += int((beyond > 0.0).any(axis=1).sum())
        times += result.solve_times.tolist()
        results.append(result)
        if failed:
            message = message or f"the plant failed after {result.n_steps} of {steps} steps"
    return Run(
        plant=task.label.split("/")[0], task=task.name, controller=name, seed=knowledge.seed,
        costs=tuple(costs), reference=None if n_steps is not None or knowledge.wrappers else _reference(task),
        violations=violations, step_time=float(np.median(times)) if times else float("nan"),
        message=message, results=tuple(results),
    )  # fmt: skip


def _reference(task: Any) -> float | None:
    home: Any = importlib.import_module("koopctrl_envs.tasks")
    score = home.reference_score(task)
    return None if score is None else float(score.cost)
