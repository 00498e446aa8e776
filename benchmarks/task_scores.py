"""Reference scores of all tasks: NMPC with the true model, its state, and all loads and drifts told.

Writes `envs/koopctrl_envs/tasks/scores.json`, task by task; what belongs to the task as it is now
is left alone unless `--again` is given. About twenty seconds for a small plant and some minutes for a partial
differential equation on one core.

    python benchmarks/task_scores.py [--plants NAME ..] [--again] [--prune]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import time
from collections import Counter
from typing import Any

import numpy as np

from koopctrl import bench
from koopctrl_envs.tasks import Task, make_tasks
from koopctrl_envs.tasks.scores import FILE

SETTINGS = {
    "controller": "NMPC with the true model and state, multiple shooting, the env's own integration steps",
    "solver": "ipopt, tol 1e-8, started from the shifted plan of the step before",
    "told": "loads over the horizon and parameters as they are; references as other controllers: previewed "
    "in tracking, else the set-point of the moment",
    "constraints": "bounds on inputs and the plant's limits on states; not the task's on outputs",
    "cost": "sum over starts and steps of Task.stage_cost",
    "command": "python benchmarks/task_scores.py",
}


def score(task: Task) -> dict[str, Any] | None:
    """Entry of one task; None where the yardstick itself fails."""
    began = time.perf_counter()
    (run,) = bench(["nmpc"], tasks=[task]).runs
    statuses = Counter(s for result in run.results for s in result.statuses)
    print(
        f"{task.label:40s} cost {run.cost:12.6g}  violations {run.violations:3d}  {dict(statuses)}  "
        f"{time.perf_counter() - began:.0f} s  {run.message}", flush=True,
    )  # fmt: skip
    if not np.isfinite(run.cost):
        return None
    return {
        "cost": float(f"{run.cost:.10g}"), "violations": run.violations, "horizon": task.horizon,
        "unsolved": sum(statuses.values()) - statuses["optimal"], "fingerprint": task.fingerprint(),
    }  # fmt: skip


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plants", nargs="+", help="names, for instance VanDerPol; all by default")
    parser.add_argument("--again", action="store_true", help="compute those again that are up to date")
    parser.add_argument("--prune", action="store_true", help="throw out scores whose plant or task is gone")
    args = parser.parse_args()
    tasks = make_tasks() if args.plants is None else {
        task.label: task for plant in args.plants for task in make_tasks(plant).values()
    }  # fmt: skip
    scores = json.loads(FILE.read_text())["scores"] if FILE.exists() else {}
    if args.prune:
        scores = {label: entry for label, entry in scores.items() if label in make_tasks()}
    for label, task in tasks.items():
        if not args.again and scores.get(label, {}).get("fingerprint") == task.fingerprint():
            continue
        entry = score(task)
        scores.pop(label, None)
        if entry is not None:
            scores[label] = entry
        ordered = {name: scores[name] for name in sorted(scores)}
        FILE.write_text(json.dumps({"settings": SETTINGS, "scores": ordered}, indent=1) + "\n")


if __name__ == "__main__":
    main()
