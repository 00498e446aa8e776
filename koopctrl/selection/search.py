"""The search: trials on folds, the clock, and the final fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from koopctrl._workers import n_slots, run_tasks
from koopctrl.data.trajectories import Trajectories
from koopctrl.ensemble import KoopmanEnsemble, held_out_runs
from koopctrl.errors import DataError, KoopctrlError, NumericalWarning
from koopctrl.identification.folds import Fold, make_folds
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.selection.final_fit import complete, fit_members, picked_members
from koopctrl.selection.mixture import POOL
from koopctrl.selection.thinning import thinned
from koopctrl.selection.trials import Selection, Trial, ordered

# Short records: a larger part to train on, as the final fit has, and more blocks to average over. Both matter
# less the longer a record is, and fits cost more.
_FOLDS = ((4000, 8), (10_000, 5))
_FEW = 3
_SAMPLES = 60  # of a fold: fewer tell little
_NEAR = (1.5, 1.25)  # times the best's error on the folds seen, after the first rung and the later ones
_FINAL_SHARE = 0.4  # of the budget: most that the final fit may take
_LEAST_SHARE = 0.15  # kept for it before the first network was scored
_CONFIRM_SHARE = 0.25  # of the budget: most that is kept for confirming the leaders with other seeds
_RESERVE = 0.9  # of the budget: what is left bears the last fit's uncertainty
_FITS = 2  # of a single model: time is kept for another one where the first has failed
_CLEARLY = 1.3  # times the other kind's error
_SEEDS, _LEADERS = 3, 4
_FAR = 1.5  # times the best's error
_UNFINISHED = 2


class Search:
    """Trials, the clock, and the final fit."""

    def __init__(
        self,
        data: Trajectories,
        budget_s: float | None,
        max_trials: int | None,
        n_members: int,
        rng: np.random.Generator,
        progress: Callable[[str], None] | None,
        client: Any = None,
    ) -> None:
        self.client = client
        self.started = time.perf_counter()
        self.all, self.budget_s, self.max_trials, self.n_members = data, budget_s, max_trials, n_members
        self.progress = progress
        self.data = thinned(data)
        self.folds = _spread(make_folds(self.data, _n_folds(self.data)))
        self.rungs = _rungs(len(self.folds))
        self.trials: list[Trial] = []
        self.confirming = False
        self.starts: dict[Any, Any] = {}
        self.seed = int(rng.integers(2**31))

    # --- the clock ---------------------------------------------------------------------------------------

    def left(self) -> float:
        """Seconds of the budget that are needed neither for confirming the leaders nor for the final fit."""
        if self.budget_s is None:
            return np.inf
        known = any(t.full and not t.linear for t in self.trials)
        least = 0.0 if known else _LEAST_SHARE * self.budget_s
        final = float(np.clip(self.final_cost(), least, _FINAL_SHARE * self.budget_s))
        confirm = 0.0 if self.confirming else min(self._confirm_cost(), _CONFIRM_SHARE * self.budget_s)
        return _RESERVE * self.budget_s - (time.perf_counter() - self.started) - final - confirm

    def final_cost(self) -> float:
        """Seconds that the final fit of the leaders will take."""
        fits = max(self.n_members, _FITS)
        costs = [self.fit_cost(t) * (1 if t.linear else fits) for t in self.leaders()]
        return float(np.mean(costs)) if costs else 0.0

    def fit_cost(self, trial: Trial) -> float:
        """Seconds that one fit of a trial to all data will take."""
        share = (len(self.folds) - 1) / len(self.folds)
        growth = self.all.n_steps / max(self.data.n_steps, 1)
        return growth * float(np.median(trial.seconds_by_fold or [0.0])) / share

    def _confirm_cost(self) -> float:
        missing = [(_SEEDS - min(t.seeds, _SEEDS)) * t.seconds / max(t.seeds, 1.0)
                   for t in self.leaders() if not t.linear]  # fmt: skip
        return float(sum(missing)) / (1 if self.client is None else n_slots(self.client))

    def late(self) -> bool:
        """Whether even a refinement that is under way must end."""
        return self.left() <= 0.0

    def over(self) -> bool:
        """Whether the search has used its budget of time or trials."""
        if self.max_trials is not None and len(self.trials) - len(self.linear()) >= self.max_trials:
            return True
        return self.left() <= 0.0

    # --- trials --------------------------------------------------------------------------------------------

    def linear(self) -> list[Trial]:
        """Linear candidates that were scored."""
        return [t for t in self.trials if t.linear]

    def turn_of_hidden(self) -> bool:
        """Whether the next candidates are to be hidden states.

        They get twice the time of windows, of which many more are tried in it, unless these lead clearly;
        then it is the other way round. Without a budget of time, a hidden state counts as four windows.
        """
        spent, best = [0.0, 0.0], [np.inf, np.inf]
        for t in self.trials:
            if not t.linear:
                spent[t.hidden] += t.seconds if self.budget_s is not None else (4.0 if t.hidden else 1.0)
                best[t.hidden] = min(best[t.hidden], t.error if t.full else np.inf)
        ahead = best[True] < _CLEARLY * best[False] or not np.isfinite(best[False])
        return bool(spent[True] * (1.0 if ahead else 2.0) < spent[False] * (2.0 if ahead else 1.0))

    def leaders(self) -> list[Trial]:
        """The best of each kind of state of those that saw all folds; none that errs far more than the best,
        which would neither win nor share an ensemble.
        """
        full = sorted((t for t in self.trials if t.full), key=lambda t: t.rank)
        far = _FAR * min((t.error for t in full), default=np.inf)
        full = [t for t in full if t.error <= far]
        hidden = [t for t in full if t.hidden and not t.linear][:_LEADERS]
        windows = [t for t in full if not t.hidden and not t.linear][:_LEADERS]
        linear = [t for t in full if t.linear][:1]
        return sorted([*hidden, *windows, *linear], key=lambda t: t.rank)

    def run(
        self, settings: Sequence[dict[str, Any]], keep: int, linear: bool = False, share: float = 1.0
    ) -> None:
        """Try candidates: all on the first fold, the `keep` best, if they are good enough, on the others.

        At most `share` of the budget is taken; linear ones do not count as trials. Every step but the last
        takes at most half of the time that is left, and leaves out those that come then: the better of the
        others can go on.
        """
        end = np.inf if self.budget_s is None else time.perf_counter() + share * self.budget_s
        half = self._half_of_the_time()
        batch: list[Trial] = []
        for one in settings:
            if any(one == t.settings for t in self.trials):
                continue
            if self.trials and (self.left() <= 0.0 if linear else self.over()):
                break
            if batch and time.perf_counter() > min(half, end):
                break
            trial = Trial(dict(one), n_folds=len(self.folds))
            self.trials.append(trial)
            if self.client is None and not self._score_until(trial, self.rungs[0]):
                break
            batch.append(trial)
        if self.client is not None and not self._score_together(batch, self.rungs[0]):
            return
        for i, rung in enumerate(self.rungs[1:]):
            promising = self._promising(batch, self.rungs[i], _NEAR[min(i, 1)])[:keep]
            if self.client is not None:
                if not self._score_together(promising, rung):
                    return
                batch = promising
                continue
            half = self._half_of_the_time()
            batch = []
            for trial in promising:
                if batch and rung != self.rungs[-1] and time.perf_counter() > half:
                    break
                if time.perf_counter() > end or not self._score_until(trial, rung):
                    return
                batch.append(trial)
        for trial in sorted(self.trials, key=lambda t: t.rank)[POOL:]:
            trial.runs = {}  # never mixed

    def _half_of_the_time(self) -> float:
        """The clock when half of what is left now will have passed."""
        return time.perf_counter() + 0.5 * max(self.left(), 0.0)

    def _score_until(self, trial: Trial, n_errors: int) -> bool:
        """Score until it has seen so many folds; False if time is over before. The very first is always
        scored: a search never returns empty-handed.
        """
        while len(trial.errors) < n_errors and np.isfinite(trial.error if trial.errors else 0.0):
            if len(self.trials) > 1 and self.left() <= 0.0:
                return False
            self.score(trial)
        return True

    def _score_together(self, trials: Sequence[Trial], n_errors: int) -> bool:
        """Score until all have seen so many folds, each a task for the workers; False if time is over."""
        jobs, scored = [], []
        for trial in trials:
            seen = len(trial.errors)
            if seen < n_errors and np.isfinite(trial.error if trial.errors else 0.0):
                pairs = [divmod(k, len(self.folds)) for k in range(seen, n_errors)]
                parts = [(self.seed + seed, self.folds[which]) for seed, which in pairs]
                jobs.append((trial.settings, parts, self.left() if self.budget_s is not None else None))
                scored.append((trial, seen))
        for (trial, seen), found in zip(scored, run_tasks(self.client, score_parts, jobs), strict=True):
            for k, (error, runs, seconds, message) in enumerate(found, seen):
                self._note(trial, k // len(self.folds), error, runs, seconds, message)
        return self.left() > 0.0

    def _promising(self, batch: list[Trial], seen: int, near: float) -> list[Trial]:
        """Those near the best on the folds they have seen that can be fitted to all data in time, the best
        first. An ensemble of a slow one has fewer members.
        """
        batch = sorted((t for t in batch if np.isfinite(t.error)), key=lambda t: t.error)
        if self.budget_s is not None:
            limit = _FINAL_SHARE * self.budget_s
            batch = [t for t in batch if self.fit_cost(t) <= limit] or batch[:1]
        full = [t for t in self.trials if t.full]
        bar = min((float(np.mean(t.errors[:seen])) for t in full or batch), default=np.inf)
        return [t for t in batch if t.error <= near * bar]

    def confirm(self) -> None:
        """Score the leaders again with other seeds: the best of many is the luckiest of them."""
        self.confirming = True
        for trial in self._unfinished():
            self._score_until(trial, len(self.folds))
        leaders = [t for t in self.leaders() if not t.linear]  # of which nothing is drawn
        for k in range(1, _SEEDS):
            if self.client is not None:
                if not self.late():
                    self._score_together(leaders, (k + 1) * len(self.folds))
                continue
            for trial in leaders:
                while len(trial.errors) < (k + 1) * len(self.folds) and np.isfinite(trial.error):
                    if self.late():
                        break
                    else:
                        self.score(trial)
        self.confirming = False

    def _unfinished(self) -> list[Trial]:
        """Where the clock has let no nonlinear candidate see all folds: those that come next."""
        if any(t.full and not t.linear for t in self.trials):
            return []
        return [t for t in ordered(self.trials) if not t.linear and np.isfinite(t.error)][:_UNFINISHED]

    def score(self, trial: Trial) -> None:
        """Fit on the next fold's training part (after the last fold, with another seed) and add the error on
        the other part.
        """
        seed, which = divmod(len(trial.errors), len(self.folds))
        end = time.perf_counter() + self.left()  # the same until this score is known, and asked for often

        def late() -> bool:
            return time.perf_counter() > end

        found = score_fold(trial.settings, self.seed + seed, self.folds[which], late, self.starts)
        self._note(trial, seed, *found)

    def _note(self, trial: Trial, seed: int, error: float, runs: Any, seconds: float, message: str) -> None:
        """Add what a trial did on one fold; one that could not be fitted is out."""
        if runs is None:
            trial.message, trial.errors = message, [np.inf]
        else:
            trial.errors.append(error)
            trial.runs.setdefault(seed, []).append(runs)
        trial.seconds_by_fold.append(seconds)
        if self.progress is not None:
            best = min(self.trials, key=lambda t: t.rank).error
            self.progress(f"{len(self.trials)} candidates, best {best:.4f}, last {trial.error:.4f}")

    def _no_time(self, picked: Sequence[Trial]) -> Callable[[], bool]:
        """What says whether the rest of the budget is too short for another fit of what was picked."""
        if self.budget_s is None:
            return lambda: False
        end = self.started + self.budget_s - float(np.mean([self.fit_cost(t) for t in picked]))
        return lambda: time.perf_counter() > end

    # --- the end -------------------------------------------------------------------------------------------

    def finish(self) -> KoopmanRNN | KoopmanEnsemble:
        """Fit the best to all data; the next best if that fails."""
        order = ordered(self.trials)
        problems = []
        while order and np.isfinite(order[0].error):
            picked = picked_members(order, self.folds, self.n_members)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumericalWarning)
                    model = fit_members(
                        picked, self.all, self.folds, self.n_members, self.seed, self._no_time(picked),
                        self.client,
                    )  # fmt: skip
            except (KoopctrlError, np.linalg.LinAlgError) as problem:
                problems.append(str(problem))
                order = [t for t in order if t not in picked]
                continue
            best = picked[0]
            rest = [t for t in self.trials if t is not best]
            model.selection_ = Selection(
                [best, *sorted(rest, key=lambda t: t.rank)],
                best,
                len(self.folds),
                f"settings of {len(self.trials)} candidates by free run on held-out data; fitted to all "
                f"{self.all.n_steps} steps",
            )
            return model
        first = next((t.message for t in self.trials if t.message), problems[0] if problems else "")
        raise DataError(f"no candidate could be fitted to the records: {first}")


def score_fold(
    settings: dict[str, Any],
    seed: int,
    fold: Fold,
    deadline: Callable[[], bool] | None,
    starts: dict[Any, Any] | None = None,
) -> tuple[float, Any, float, str]:
    """Error, held-out runs (None if it cannot be fitted, and why), and seconds of a candidate on a fold."""
    begun = time.perf_counter()
    error, runs, message = np.inf, None, ""
    try:
        model = KoopmanRNN(**complete(settings), random_state=seed)
        error, runs = held_out_runs(model, fold, deadline, starts)
    except (KoopctrlError, np.linalg.LinAlgError, MemoryError) as problem:
        message = f"{type(problem).__name__}: {problem}"[:200]
    return error, runs, time.perf_counter() - begun, message


def score_parts(
    settings: dict[str, Any], parts: list[tuple[int, Fold]], seconds: float | None
) -> list[tuple[float, Any, float, str]]:
    """On a worker: a candidate on several `(seed, fold)`, until it fails or has had its seconds."""
    end = None if seconds is None else time.perf_counter() + seconds
    late = None if end is None else (lambda: time.perf_counter() > end)
    found = []
    for seed, fold in parts:
        if found and ((late is not None and late()) or not np.isfinite(found[-1][0])):
            break
        found.append(score_fold(settings, seed, fold, late))
    return found


def _n_folds(data: Trajectories) -> int:
    """More folds the shorter the records; whole episodes where there are a few."""
    wanted = next((n for steps, n in _FOLDS if data.n_steps <= steps), _FEW)
    if len(data) >= _FEW:
        return min(len(data), wanted)
    return max(_FEW, min(wanted, data.n_steps // _SAMPLES))


def _spread(folds: list[Fold]) -> list[Fold]:
    """Folds in an order in which the first few lie far apart in time."""
    n = len(folds)
    step = next(k for k in (3, 2, 1) if np.gcd(k, n) == 1)
    return [folds[(step * (i + 1)) % n] for i in range(n)]


def _rungs(n_folds: int) -> list[int]:
    """Numbers of folds after which candidates are thinned out."""
    rungs, n = [], max(1, n_folds // 4)
    while n < n_folds:
        rungs.append(n)
        n *= 2
    return [*rungs, n_folds]
