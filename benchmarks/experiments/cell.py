"""One cell: a contender on an experiment with a seed, in a process of its own, written to one JSON.

Seconds are those of the processor, on one thread, so that they mean the same on a busy machine; they are what
budgets of time count too. A cell has `limit_s` of them: trials end with half of that and the best so far goes
on; what is not finished at the end says at what it was.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _common as common
import numpy as np

from benchmarks.experiments.models.contender import Contender, Info
from benchmarks.experiments.problem import CannotRun, Experiment, OutOfTime, Problem, WithBands, within
from benchmarks.experiments.tuning import choose
from koopctrl import Trajectories

PACKAGES = ("numpy", "scipy", "scikit-learn")
PEERS = {
    "reservoirpy": "reservoirpy", "torch": "torch", "pykoop": "pykoop", "pysindy": "pysindy",
    "sysidentpy": "sysidentpy", "jax_sysid": "jax-sysid", "sippy_unipi": "sippy_unipi",
}  # fmt: skip
SEARCH = 0.5  # share of a cell's time that trials may take
GRACE = 10  # s after which a process that does not hear its clock is ended
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
        # What a contender refuses has nothing to do with the data's size: few are simulated in no time.
        problem = experiment.make(seed, smoke or not experiment.measured, folder)
        refused = contender.refuses(problem)
        if refused:
            return head | {"cannot_run": refused}
        if not smoke and not experiment.measured:
            problem = experiment.make(seed, smoke, folder)
    except CannotRun as reason:
        return head | {"cannot_run": str(reason), "again": True}
    limit_s = round(limit)
    context = multiprocessing.get_context("fork")  # the data are there already
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(send, contender, problem, seed, n_trials, smoke, limit_s))
    child.start()
    send.close()
    found: dict[str, Any]
    try:
        found = receive.recv()
    except EOFError:
        child.join()
        late = child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        why = (
            late_at(limit_s, "compiled code of the package") if late else f"ended with code {child.exitcode}"
        )
        found = {"cannot_run": why}
    child.join()
    return head | _setting(contender) | {"smoke": smoke, "limit_s": limit_s} | found


def _child(
    send: Connection,
    contender: Contender,
    problem: Problem,
    seed: int,
    n_trials: int,
    smoke: bool,
    limit_s: int,
) -> None:
    from koopctrl.selection import search

    used = round(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + limit_s + GRACE, used + limit_s + GRACE + 5))
    search.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    warnings.simplefilter("ignore")  # roll-outs that leave the data: their errors are in the table
    try:
        with common.threads(1):
            found = evaluate(contender, problem, seed, n_trials, smoke, limit_s)
    except CannotRun as reason:
        found = {"cannot_run": str(reason)}
    except Exception as error:
        found = {
            "cannot_run": f"{type(error).__name__}: {error}"[:300],
            "traceback": traceback.format_exc()[-1500:],
        }
    send.send(common._plain(found))
    send.close()


def late_at(limit_s: float, doing: str) -> str:
    """What a cell says whose time was used up."""
    return f"not finished within {limit_s:g} s of processor time ({doing})"


def size_of(data: Trajectories) -> str:
    """In words."""
    what = f"{data.n_steps:,} samples of {data.n_y} output{'s' if data.n_y > 1 else ''}"
    return what + (f" and {data.n_u} input{'s' if data.n_u > 1 else ''}" if data.n_u else "")


def evaluate(
    contender: Contender, problem: Problem, seed: int, n_trials: int, smoke: bool, limit_s: float
) -> dict[str, Any]:
    """Choose settings, fit, predict, score."""
    before, begun = _peak(), time.process_time()
    doing, done = f"no trial on {size_of(problem.train)}", {}
    try:
        (settings, tried), search_s = timed(
            lambda: choose(contender, problem, seed, n_trials, smoke, SEARCH * limit_s)
        )
        done = {"settings": settings, "trials": tried, "search_s": search_s}
        info = Info(problem.n_init, problem.horizon, problem.kind, smoke)
        doing = f"fit to {size_of(problem.train)}"
        with within(limit_s - (time.process_time() - begun)):
            predict, fit_s = timed(lambda: contender.fit(problem.train, settings, seed, info))
        done["fit_s"] = fit_s
        doing = f"prediction of {size_of(problem.test)}"
        with within(limit_s - (time.process_time() - begun)):
            predicted, predict_s = timed(lambda: predict(problem.test, problem.n_init))
    except OutOfTime:
        return done | {"cannot_run": late_at(limit_s, doing)}
    figures = problem.score(predicted)
    if problem.band_score is not None and isinstance(predict, WithBands):
        figures |= problem.band_score(predict.bands(problem.test, problem.n_init))
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
        **{k: v for k, v in info.left.items() if v is not None},
        **({"shown": shown} if seed == 0 else {}),
    }  # fmt: skip


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and processor time of one call, s."""
    begun = time.process_time()
    result = call()
    return result, time.process_time() - begun


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
