"""One cell: a contender on an experiment with a seed, in a process of its own, written to one JSON."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import resource
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

from benchmarks.experiments.models.contender import Contender, Info
from benchmarks.experiments.problem import CannotRun, Experiment, Problem
from benchmarks.experiments.tuning import choose

PACKAGES = ("numpy", "scipy", "scikit-learn")
PEERS = {
    "reservoirpy": "reservoirpy", "torch": "torch", "pykoop": "pykoop", "pysindy": "pysindy",
    "sysidentpy": "sysidentpy", "jax_sysid": "jax-sysid", "sippy_unipi": "sippy_unipi",
}  # fmt: skip
SHOWN = 400  # samples of the first test episode that a cell keeps for the figures


def path_of(out: Path, experiment: str, contender: str, seed: int) -> Path:
    """File of a cell."""
    plain = re.sub(r"[^a-z0-9]+", "_", contender.lower()).strip("_")
    return out / experiment / f"{plain}-{seed}.json"


def load(path: Path) -> dict[str, Any]:
    """A cell's record, empty without one."""
    return json.loads(path.read_text()) if path.exists() else {}


def done(record: dict[str, Any]) -> bool:
    """Whether there is nothing left to run: a figure, or a reason that another try would not change."""
    return bool(record) and not record.get("again", False)


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a cell in one go, so that a stopped run leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".tmp")
    half.write_text(json.dumps(common._plain(record), allow_nan=False) + "\n")
    half.replace(path)


def run(
    experiment: Experiment, contender: Contender, seed: int, *, n_trials: int, smoke: bool, folder: Any,
    limit: float,
) -> dict[str, Any]:  # fmt: skip
    """Figures of one cell; what cannot run says why."""
    head = {"experiment": experiment.name, "group": experiment.group, "model": contender.name, "seed": seed}
    missing = contender.missing()
    if missing:
        return head | {"cannot_run": f"{', '.join(missing)} not installed", "again": True}
    try:
        problem = experiment.make(seed, smoke, folder)
    except CannotRun as reason:
        return head | {"cannot_run": str(reason), "again": True}
    reason = contender.refuses(problem)
    if reason:
        return head | {"cannot_run": reason}
    context = multiprocessing.get_context("fork")  # the data are there already
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(send, contender, problem, seed, n_trials, smoke))
    child.start()
    send.close()
    found: dict[str, Any]
    try:
        if receive.poll(limit):
            found = receive.recv()
        else:
            found = {"cannot_run": f"not finished in {limit:g} s"}
    except EOFError:
        found = {"cannot_run": "the process ended without an answer (out of memory?)"}
    child.kill()
    child.join()
    return head | _setting(contender) | {"smoke": smoke} | found


def _child(
    send: Connection, contender: Contender, problem: Problem, seed: int, n_trials: int, smoke: bool
) -> None:
    warnings.simplefilter("ignore")  # roll-outs that leave the data: their errors are in the table
    try:
        with common.threads(1):
            found = evaluate(contender, problem, seed, n_trials, smoke)
    except CannotRun as reason:
        found = {"cannot_run": str(reason)}
    except Exception as error:
        found = {
            "cannot_run": f"{type(error).__name__}: {error}"[:300],
            "traceback": traceback.format_exc()[-1500:],
        }
    send.send(common._plain(found))
    send.close()


def evaluate(
    contender: Contender, problem: Problem, seed: int, n_trials: int, smoke: bool
) -> dict[str, Any]:
    """Choose settings, fit, predict, score."""
    before = _peak()
    begun = time.perf_counter()
    settings, tried = choose(contender, problem, seed, n_trials, smoke)
    search_s = time.perf_counter() - begun
    info = Info(problem.n_init, problem.horizon, problem.kind, smoke)
    predict, fit_s = common.timed(lambda: contender.fit(problem.train, settings, seed, info))
    predicted, predict_s = common.timed(lambda: predict(problem.test, problem.n_init))
    figures = problem.score(predicted)
    first = problem.test[0].outputs
    # A little before the run begins, and the run; the output that is shown is the first.
    rows = slice(max(0, problem.n_init - 20), problem.n_init + SHOWN)
    shown = {
        "start": min(20, problem.n_init),
        "truth": np.round(first[rows, 0], 6),
        "predicted": np.round(np.asarray(predicted[0])[rows, 0], 6),
    }
    return {
        "error": next(iter(figures.values())),
        "figures": figures,
        "unit": problem.unit,
        "higher_is_better": problem.higher,
        "settings": settings,
        "trials": tried,
        "search_s": search_s,
        "fit_s": fit_s,
        "predict_s": predict_s,
        "memory_mb": max(0.0, _peak() - before),
        "sizes": {
            "train": problem.train.n_steps, "test": problem.test.n_steps, "outputs": problem.train.n_y,
            "inputs": problem.train.n_u, "n_init": problem.n_init,
        },
        "notes": problem.notes,
        **info.left,
        **({"shown": shown} if seed == 0 else {}),
    }  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _setting(contender: Contender) -> dict[str, Any]:
    """Versions, machine and date."""
    names = [*PACKAGES, *(PEERS[m] for m in contender.needs if m in PEERS)]
    return {
        "versions": {n: importlib.metadata.version(n) for n in names},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": 1,
        "date": datetime.date.today().isoformat(),
    }
