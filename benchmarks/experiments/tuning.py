"""Choosing a contender's settings on the training part alone, with as many trials for all.

The last fifth of the training record, or of the training episodes, is held out; every trial is fitted to the
rest and predicts segments of the held-out part over the experiment's horizon. The best settings are fitted to
all of the training part (contenders that stop early hold some of it out themselves). Trials end with half of
a cell's processor time, whoever's they are; the best of those that were finished goes on.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import Contender, Info
from benchmarks.experiments.problem import CannotRun, OutOfTime, Problem, within
from koopctrl import Trajectories

HELD_OUT = 0.2
MAX_SEGMENTS = 20
LATE = "not finished within the"  # what a trial says that ran out of time


def parts(problem: Problem) -> tuple[Trajectories, Trajectories]:
    """What trials are fitted to, and the segments they predict."""
    train, length = problem.train, problem.n_init + problem.horizon
    if len(train) >= 5:
        kept = round(len(train) * (1.0 - HELD_OUT))
        fitted, judged = train[:kept], train[kept:]
    else:
        cuts = [max(round(len(e) * (1.0 - HELD_OUT)), 1) for e in train]
        fitted = Trajectories(e.slice(0, n) for e, n in zip(train, cuts, strict=True))
        judged = Trajectories(e.slice(n, len(e)) for e, n in zip(train, cuts, strict=True))
    segments = []
    share = max(1, MAX_SEGMENTS // len(judged))
    for e in judged:
        last = len(e) - length
        starts = [0] if last <= 0 else np.unique(np.linspace(0, last, share).astype(int))
        segments += [e.slice(int(s), int(min(s + length, len(e)))) for s in starts]
    return fitted, Trajectories(s for s in segments if len(s) > problem.n_init)


def choose(
    contender: Contender, problem: Problem, seed: int, n_trials: int, smoke: bool, seconds: float = np.inf
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Best of the contender's first `n_trials` settings for this kind of problem that can be fitted at all
    within `seconds` of processor time together, and all that was tried: a list that names what the data are
    too wide for goes on to the next.
    """
    space = contender.space(problem.kind, smoke)
    if len(space[:n_trials]) == 1:
        return space[0], []
    fitted, judged = parts(problem)
    truth = [e.outputs for e in judged]
    tried: list[dict[str, Any]] = []
    first = time.process_time()
    for settings in space:
        left = seconds - (time.process_time() - first)
        late = bool(tried) and (left <= 0.0 or tried[-1]["message"].startswith(LATE))
        if late or sum(not t["message"] for t in tried) >= n_trials:
            break
        info = Info(problem.n_init, problem.horizon, problem.kind, smoke, trial=True)
        begun = time.process_time()
        message, error = "", np.inf
        try:
            with within(left) if np.isfinite(left) else contextlib.nullcontext():
                predict = contender.fit(fitted, settings, seed, info)
                error = problem.trial_score(truth, predict(judged, problem.n_init))
        except CannotRun:
            raise
        except OutOfTime:
            message = f"{LATE} {seconds:g} s of all trials"
        except (ValueError, RuntimeError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as problem_met:
            message = f"{type(problem_met).__name__}: {problem_met}"[:200]
        tried.append(
            {
                "settings": settings,
                "error": error,
                "seconds": time.process_time() - begun,
                "message": message,
            }
        )
    best = min(tried, key=lambda t: t["error"])
    if not np.isfinite(best["error"]):
        if tried[-1]["message"].startswith(LATE):
            raise OutOfTime
        raise CannotRun(f"no trial could be fitted: {tried[0]['message']}")
    return best["settings"], tried
