"""From any plant's data to a controller: default settings on plants that nothing was tuned on.

Each plant of `_unseen` is identified with default settings from records as a sensible user takes them; costs
are on the true plant, over those of NMPC that knows the plant and sees its state (and is told load and
mismatch).

- RNNMPC, default network;
- LinearMPC on the default lift (`lift_at` compares linear models in closed loop on the network);
- LinearMPC on least-squares DMDc, the same QP and options;
- LinearMPC on one reduced lift at a cut of 1e-6, what `lift_at` did before it chose;
- LinearMPC on the plant's own linearisation, where the outputs are the state;
- under load, NMPC with the plant's own equations and its state, told of load and mismatch no more than the
  others are: what telling is worth.

Conditions: `plain`; `noise` of 1 % of the outputs' range, on the records too, with the filters' default
covariances (`KalmanFilter(lifted)`, `ExtendedKalmanFilter(model)`); `load+mismatch`, a constant input load
and one parameter off by a fifth, with offset_free=True throughout.

Conditions that are not run keep the figures that the results file has of them; `dates` tells from when.

Every LinearMPC of the plain condition is put to `verify_design` too: it should flag those that cost more than
twice what the same controller on DMDc does, on the true plant.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import datetime
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import _common as c
import numpy as np
from _plants import Task
from _true_nmpc import TrueNMPC, Watched, closed_loop, cost
from _unseen import make_unseen_tasks
from _untold_nmpc import untold

from koopctrl import (
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    Trajectories,
    verify_design,
)
from koopctrl.controllers import RNNMPC

CONDITIONS = ("plain", "noise", "load+mismatch")
LINEAR = ("LinearMPC, chosen lift", "LinearMPC, DMDc", "LinearMPC, EDMD at 1e-6")
OWN = "LinearMPC, plant's linearisation"
UNTOLD = "NMPC, told of nothing"


def run(task: Task, controller: Any, condition: str, env: Any = None) -> float:
    """Cost over all starts; infinite where the plant fails."""
    env = Watched(task.env(condition)) if env is None else env
    return sum(cost(task, closed_loop(task, env, controller, x0), "", condition) for x0 in task.starts)


def yardstick(task: Task, condition: str) -> float:
    """Cost of NMPC that knows everything."""
    env = Watched(task.env(condition))
    return run(task, TrueNMPC(task, env, condition=condition), condition, env)


def size(task: Task) -> dict[str, Any]:
    """What every controller is asked."""
    asked = {k: getattr(task, k) for k in ("horizon", "Q", "R", "u_min", "u_max")}
    return asked if task.y_max is None else asked | {"y_min": -task.y_max, "y_max": task.y_max}


def records(task: Task, seed: int, condition: str) -> Trajectories:
    """What is identified from; with the noise of the loop where there is some."""
    rng = np.random.default_rng(1000 + seed)
    data = task.sample(rng)
    if condition != "noise":
        return data
    seen = [e.outputs + np.asarray(task.noise) * rng.normal(size=e.outputs.shape) for e in data]
    names = {"state_names": list(data.output_names), "input_names": list(data.input_names)}
    return Trajectories.from_arrays(seen, [e.inputs for e in data], dt=data.dt, **names)


def identify(
    task: Task, seed: int, condition: str = "plain", linear: bool = True
) -> tuple[KoopmanRNN, dict[str, LiftedModel]]:
    """Default network of one seed, and linear models around the operating point where they are wanted."""
    data = records(task, seed, condition)
    model = KoopmanRNN(random_state=seed, **task.network).fit(data)
    if not linear:
        return model, {}
    point = {"x_op": task.x_op, "u_op": task.u_op}
    lifts = (
        model.lift_at(**point, horizon=task.horizon, Q=task.Q, R=task.R),
        model.lift_at(**point, method="linear"),
        model.lift_at(**point, method="edmd"),
    )
    found: dict[str, LiftedModel] = dict(zip(LINEAR, lifts, strict=True))
    own = own_linearisation(task, model)
    return model, found if own is None else found | {OWN: own}


def own_linearisation(task: Task, model: KoopmanRNN) -> LiftedModel | None:
    """The plant's own derivatives at the operating point, where the state is measured."""
    plant = task.plant
    if model.n_x != plant.n_x or not np.allclose(
        plant.output(np.arange(1.0, 1 + plant.n_x)), np.arange(1.0, 1 + plant.n_x)
    ):
        return None
    lifted = model.lift_at(task.x_op, task.u_op, method="jacobian")
    u_op = np.broadcast_to(task.u_op, (task.n_u,)).astype(float)
    a, b = plant.jacobians(np.asarray(task.x_op, dtype=float), u_op, dt=plant.dt)
    scale = lifted.observables.x_scale
    drift = (plant.step(task.x_op, u_op) - task.x_op) / scale
    return replace(lifted, A=a * scale / scale[:, None], B=b / scale[:, None], c=drift, network=None)


def attempt(make: Callable[[], Any]) -> Any:
    """What is made, or the reason why there is none, as text."""
    try:
        return make()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def cost_of(task: Task, controller: Any, condition: str) -> float | str:
    """Cost of a controller that could be made."""
    return controller if isinstance(controller, str) else attempt(lambda: run(task, controller, condition))


def flags(task: Task, controller: LinearMPC, model: KoopmanRNN) -> bool:
    """Whether the constructor's trial or `verify_design` along the task's references speaks against it."""
    if controller.trial is not None and controller.trial.doubtful:
        return True
    r, preview, _ = task.scenario("")
    goals = [r] if preview else list(np.unique(np.atleast_2d(r), axis=0))
    # Along a trajectory RNNMPC, the rival, seeks a target for each of its rows: a few episodes must do.
    along = verify_design(controller, model, references=goals, n_starts=3 if preview else 10)
    return not (along.ok and verify_design(controller, model).ok)


def one_seed(
    task: Task, model: KoopmanRNN, lifts: dict[str, LiftedModel], condition: str, nonlinear: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All controllers of one seed under a condition, and their costs."""
    extra = {"offset_free": True} if "load" in condition else {}
    filtered = condition == "noise"

    def on_network() -> RNNMPC:
        return RNNMPC(model, **size(task), **extra, **_filter(ExtendedKalmanFilter, model, filtered))

    def linear(lifted: LiftedModel) -> LinearMPC:
        return LinearMPC(lifted, **size(task), **extra, **_filter(KalmanFilter, lifted, filtered))

    made = {"RNNMPC": attempt(on_network)} if nonlinear else {}
    for name, lifted in lifts.items():
        made[name] = attempt(lambda m=lifted: linear(m))
    return made, {name: cost_of(task, controller, condition) for name, controller in made.items()}


def _filter(kind: Any, model: Any, filtered: bool) -> dict[str, Any]:
    return {"estimator": kind(model)} if filtered else {}


def judged(
    task: Task, seed: int, model: KoopmanRNN, made: dict[str, Any], costs: dict[str, Any]
) -> list[dict[str, Any]]:
    """What `verify_design` says of each LinearMPC, and what is true on the plant."""
    base = costs[LINEAR[1]]
    rows = []
    for name in LINEAR:
        if isinstance(costs[name], str) or isinstance(base, str):
            continue
        worse = name != LINEAR[1] and bool(costs[name] > 2.0 * base)
        flagged = attempt(lambda n=name: flags(task, made[n], model))
        rows.append({"seed": seed, "name": name, "worse": worse, "flagged": flagged})
    return rows


def compare(
    task: Task, seeds: int, conditions: list[str], only: str | None, old: dict[str, Any]
) -> dict[str, Any]:
    """One plant; of `only` RNNMPC or LinearMPC where that is said, beside the yardstick's `old` costs."""
    linear, nonlinear = only != "rnn", only != "linear"
    best = {k: yardstick(task, k) if nonlinear else old["nmpc"][k] for k in conditions}
    found: dict[str, dict[str, list[Any]]] = {k: {} for k in conditions}
    verdicts: list[dict[str, Any]] = []
    for seed in range(seeds):
        known = identify(task, seed, linear=linear)
        for condition in conditions:
            model, lifts = identify(task, seed, condition, linear) if condition == "noise" else known
            made, costs = one_seed(task, model, lifts, condition, nonlinear)
            for name, value in costs.items():
                ratio = value if isinstance(value, str) else value / best[condition]
                found[condition].setdefault(name, []).append(ratio)
            if condition == "plain" and linear:
                verdicts += judged(task, seed, model, made, costs)
    for condition in conditions:
        if "load" in condition and nonlinear:
            found[condition][UNTOLD] = [untold(task, condition) / best[condition]]
    today = datetime.date.today().isoformat()
    return {"nmpc": best, "ratios": found, "verdicts": verdicts, "dates": dict.fromkeys(conditions, today)}


def kept(args: argparse.Namespace) -> dict[str, Any]:
    """Figures of the results file, if it is of the same seeds."""
    path = args.out / "unseen_plants.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    if old.get("seeds") != list(range(args.seeds)):
        return {}
    return {k: {"dates": dict.fromkeys(v["ratios"], old["date"])} | v for k, v in old["figures"].items()}


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """One plant's figures, those of conditions and controllers that were not run from before."""
    both = {key: old.get(key, {}) | new[key] for key in ("nmpc", "dates")}
    before = old.get("ratios", {})
    both["ratios"] = before | {k: before.get(k, {}) | found for k, found in new["ratios"].items()}
    return both | {"verdicts": new["verdicts"] or old.get("verdicts", [])}


def summary(values: list[Any]) -> list[Any]:
    """Median, worst, and how many failed."""
    good = [v for v in values if isinstance(v, float) and np.isfinite(v)]
    failed = len(values) - len(good)
    return [float(np.median(good)) if good else "-", float(max(good)) if good else "-", failed]


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    tasks = make_unseen_tasks()
    p = c.parser(__doc__, seeds=5)
    p.set_defaults(threads=1)
    p.add_argument("--tasks", nargs="+", default=list(tasks), choices=list(tasks))
    p.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    p.add_argument(
        "--only", choices=("rnn", "linear"),
        help="RNNMPC or LinearMPC alone; other controllers and the yardstick keep their figures",
    )  # fmt: skip
    args = p.parse_args()
    figures = kept(args)
    with c.threads(args.threads):
        for name in args.tasks:
            found, seconds = c.timed(
                lambda n=name: compare(tasks[n], args.seeds, args.conditions, args.only, figures.get(n, {}))
            )
            figures[name] = joined(figures.get(name, {}), found)
            for condition, by_name in found["ratios"].items():
                rows = [[k, *summary(v)] for k, v in by_name.items()]
                c.print_table(f"{name}, {condition}", ["", "cost/NMPC", "worst", "failed"], rows)
            print(f"{name}: {seconds:.0f} s", flush=True)
            verdicts = [v for f in figures.values() for v in f["verdicts"]]
            bad = [v for v in verdicts if v["worse"]]
            fine = [v for v in verdicts if not v["worse"]]
            print(
                f"verify_design: flags {sum(bool(v['flagged']) for v in bad)} of {len(bad)} that cost over "
                f"twice DMDc's, {sum(bool(v['flagged']) for v in fine)} of {len(fine)} others", flush=True,
            )  # fmt: skip
            c.write(args, "unseen_plants", figures, peers=("casadi",))


if __name__ == "__main__":
    main()
