"""The whole pipeline on every plant of `koopctrl_envs`: records, model, controller, loop.

Nothing is set by plant. Records are 20 episodes of 100 samples under the default excitation of `collect` and
20 near the resting input (`koopctrl.benchmark.case.Knowledge`). Models have default settings, and lags where
outputs are not the state; weights, horizons, starts and references are those of the tasks, which are made
from the plants. Costs are those of the true plant over those of NMPC with the true model and state, told of
loads and drifts.

- `RNNMPC` on the network;
- `LinearMPC` on the lift that `lift_at` chooses;
- `LinearMPC` on least-squares DMDc, the same QP;
- `LinearMPC` on pykoop's EDMD, the same QP, the lifting functions chosen on held-out episodes;
- where outputs are not the state, NMPC with the true model that has to estimate the state from them: what
  telling the state is worth.

Each plant is saved when it is through; controllers that the results file has of a plant are left alone unless
`--again` is given.

    python benchmarks/pipeline.py [--plants NAME ..] [--controllers NAME ..] [--seeds N] [--again]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import datetime
import warnings
from typing import Any

import _common as c
import numpy as np
from _output_nmpc import OutputNMPC
from _scaled_edmd import ScaledEdmd, ScaledEdmdMPC

from koopctrl import LinearMPC, Trajectories, bench
from koopctrl.benchmark.builtin import BUILTIN
from koopctrl.benchmark.case import Case, Knowledge
from koopctrl.benchmark.result import Run
from koopctrl_envs.tasks import make_tasks, plant_ids, plant_name

LARGE = 10
OUTPUTS = "nmpc_outputs"


class Lifts:
    """Makers that share what belongs to a plant and a seed and not to a task; with notes on what was made."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Any] = {}
        self.notes: dict[str, dict[str, Any]] = {}

    def linear_mpc(self, case: Case) -> LinearMPC:
        """`LinearMPC` on the chosen lift."""

        def lift() -> Any:
            lifted = case.model.lift_at(case.x_rest, case.u_rest, horizon=case.horizon, Q=case.Q, R=case.R)
            self._note(case, lift=str(lifted.choice).splitlines()[0], n_z=len(lifted.A))
            return lifted

        lifted = self._once(case, "lift", lift)
        bounds = {"u_min": case.u_min, "u_max": case.u_max}
        return LinearMPC(lifted, case.horizon, case.Q, case.R, **bounds, offset_free=case.offset_free)

    def rnn_mpc(self, case: Case) -> Any:
        """`RNNMPC`, with the network's errors along free runs over the horizon noted."""

        def judge() -> dict[str, Any]:
            return {"lags": case.knowledge.lags, "n_features": case.model.network_.layer.n_features} | {
                "free_run": free_run_error(case)
            }

        self._note(case, **self._once(case, "judge", judge))
        return BUILTIN["rnn_mpc"](case)

    def pykoop(self, case: Case) -> ScaledEdmdMPC:
        """`LinearMPC` on pykoop's model."""
        model = self._once(case, "pykoop", lambda: ScaledEdmd(case))
        made = ScaledEdmdMPC(case, model)
        self._note(case, pykoop=made.note)
        return made

    def _once(self, case: Case, what: str, make: Any) -> Any:
        key = (what, case.task.env_id, case.seed, case.x_rest.tobytes(), case.Q.tobytes())
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _note(self, case: Case, **said: Any) -> None:
        self.notes.setdefault(f"{plant_name(case.task.env_id)} {case.seed}", {}).update(said)


def free_run_error(case: Case) -> float:
    """RMSE of free runs over the horizon on records of another seed, over the outputs' spread."""
    fresh = Knowledge(case.task, 1000 + case.seed).records
    n_init, parts = case.knowledge.lags, []
    for e in fresh:
        for k in range(0, e.n_steps - case.horizon - n_init, case.horizon):
            rows = slice(k, k + case.horizon + n_init)
            parts.append((e.outputs[rows], e.inputs[rows][:-1]))
    names = {"state_names": list(fresh.output_names), "input_names": list(fresh.input_names)}
    cut = Trajectories.from_arrays([y for y, _ in parts], [u for _, u in parts], dt=fresh.dt, **names)
    spread = np.concatenate([e.outputs for e in fresh]).std(axis=0)
    found = case.model.predict(cut, n_init=n_init)
    with np.errstate(all="ignore"):
        error = np.array([y - e.outputs for y, e in zip(found, cut, strict=True)])[:, n_init:]
        return float(np.sqrt(np.mean(np.square(error / np.where(spread > 0.0, spread, 1.0)))))


def figures_of(runs: list[Run], notes: dict[str, Any]) -> dict[str, Any]:
    """What is saved of a plant: ratios by task, controller and seed, with what went wrong."""
    tasks: dict[str, Any] = {}
    for run in runs:
        task = tasks.setdefault(run.task, {"nmpc": run.reference, "controllers": {}})
        found = task["controllers"].setdefault(
            run.controller, {"ratios": [], "failed": [], "step_ms": [], "violations": [], "messages": []}
        )
        found["ratios"].append(run.ratio if run.reference else None)
        found["failed"].append(run.n_failed)
        found["step_ms"].append(1e3 * run.step_time if np.isfinite(run.step_time) else None)
        found["violations"].append(run.violations)
        found["messages"].append(run.message)
    return {"tasks": tasks, "notes": notes, "date": datetime.date.today().isoformat()}


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A plant's figures, those of controllers that were not run from before."""
    if not old:
        return new
    tasks = {
        t: found
        | {"controllers": old["tasks"].get(t, {"controllers": {}})["controllers"] | found["controllers"]}
        for t, found in new["tasks"].items()
    }
    seeds = old["notes"].keys() | new["notes"].keys()
    notes = {k: old["notes"].get(k, {}) | new["notes"].get(k, {}) for k in sorted(seeds)}
    return {"tasks": old["tasks"] | tasks, "notes": notes, "date": new["date"]}


def hidden(name: str) -> bool:
    """Whether a plant's outputs are not its state."""
    return Knowledge(next(iter(make_tasks(name).values())), 0).lags > 1


def missing(name: str, args: argparse.Namespace, old: dict[str, Any]) -> list[tuple[list[str], int]]:
    """Controllers that are to be run, with the number of their seeds."""
    known = [] if args.again else [set(task["controllers"]) for task in old.get("tasks", {}).values()]
    asked = [k for k in args.controllers if not known or any(k not in had for had in known)]
    # What knows the plant depends on no seed, and is the yardstick itself where the state is measured.
    told = [k for k in asked if k == OUTPUTS and hidden(name)]
    return [(some, n) for some, n in (([k for k in asked if k != OUTPUTS], args.seeds), (told, 1)) if some]


def show(name: str, figures: dict[str, Any]) -> None:
    """Print a plant's table."""
    rows = []
    for task, found in figures["tasks"].items():
        for controller, f in found["controllers"].items():
            ratios = [np.nan if r is None else r for r in f["ratios"]]
            ms = float(np.median([s or np.nan for s in f["step_ms"]]))
            row = [task, controller, float(np.median(ratios)), float(np.max(ratios)), sum(f["failed"]), ms]
            rows.append(row)
    c.print_table(name, ["task", "controller", "cost/NMPC", "worst", "failed starts", "ms"], rows)


def in_order() -> list[str]:
    """Plants with tasks, the small ones first."""
    sizes = {plant_name(i): next(iter(make_tasks(i).values())).plant.n_x for i in plant_ids()}
    return sorted(sizes, key=lambda name: (sizes[name] > LARGE, sizes[name] if sizes[name] > LARGE else 0))


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    lifts = Lifts()
    makers = {
        "rnn_mpc": lifts.rnn_mpc, "linear_mpc": lifts.linear_mpc, "dmdc": BUILTIN["dmdc"],
        "pykoop": lifts.pykoop, OUTPUTS: OutputNMPC,
    }  # fmt: skip
    p: argparse.ArgumentParser = c.parser(__doc__, seeds=3)
    p.set_defaults(threads=1)
    p.add_argument("--plants", nargs="+", default=in_order())
    p.add_argument("--tasks", nargs="+")
    p.add_argument("--controllers", nargs="+", default=list(makers), choices=list(makers))
    p.add_argument("--again", action="store_true", help="run plants again that are in the results")
    args = p.parse_args()
    figures = c.earlier(args, "pipeline")
    with c.threads(args.threads):
        for name in args.plants:
            seconds, runs = 0.0, []
            for some, seeds in missing(name, args, figures.get(name, {})):
                result, taken = c.timed(
                    lambda n=name, some=some, seeds=seeds: bench(
                        {k: makers[k] for k in some}, [n], args.tasks, seeds=range(seeds)
                    )
                )
                runs, seconds = runs + list(result.runs), seconds + taken
            if not runs:
                continue
            notes = {k.split()[1]: v for k, v in lifts.notes.items() if k.split()[0] == name}
            new = figures_of(runs, notes)
            show(f"{name}, {seconds:.0f} s", new)
            figures[name] = joined(figures.get(name, {}), new)
            c.write(args, "pipeline", figures, peers=("casadi", "pykoop"))


if __name__ == "__main__":
    main()
