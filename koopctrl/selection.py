"""Choose a model for records: kind of state, order, lags, neurons and penalty, by free run on held-out data.

Candidates are drawn at random around what the linear models show, scored on the same held-out samples with a
score that one divergent fold cannot ruin, and thinned out by successive halving: all see one fold, the
better ones the others. Linear models are always among them. The winner is fitted to all data in the end.

Source of the halving: Jamieson & Talwalkar, *Non-stochastic best arm identification and hyperparameter
optimization*, AISTATS 2016.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import check_integer, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.ensemble import KoopmanEnsemble, held_out_runs
from koopctrl.errors import DataError, KoopctrlError, NumericalWarning, OptionError
from koopctrl.identification.candidates import draw_candidates, first_candidates, linear_candidates
from koopctrl.identification.folds import Fold, make_folds
from koopctrl.identification.settings import make_rng
from koopctrl.koopman_rnn import KoopmanRNN

if TYPE_CHECKING:
    import pandas as pd

_FOLDS = 3
_STEPS = 20_000  # more data than that are thinned to blocks for the choice, not for the final fit
_BLOCKS = 10
_BATCH = 16
_FIRST_LINEAR = 7  # candidates before the first nonlinear ones; the others come after
_KEEP = 5
_GOOD_ENOUGH = 1.25  # times the first fold's error of the best so far
_FINAL_SHARE = 0.4  # of the budget: most that the final fit may take
_LEAST_SHARE = 0.15  # kept for it before the first network was scored
_MARGIN = 0.5
_NEAR, _MOST_BESIDE = 1.15, 4
_SEARCH = 0.65  # of the budget's search: the rest confirms the leaders with other seeds
_SEEDS, _LEADERS = 3, 5
_LUCK = 0.05  # by which the error of one seed is raised: the best of many is the luckiest of them
_RESERVE = 0.85  # of the budget: what is left bears the last fit's uncertainty


@dataclass
class Trial:
    """One candidate: its settings, held-out errors by fold, and seconds."""

    settings: dict[str, Any]
    errors: list[float] = field(default_factory=list)
    seconds_by_fold: list[float] = field(default_factory=list)
    n_folds: int = _FOLDS
    message: str = ""

    @property
    def seconds(self) -> float:
        """Time spent on it."""
        return float(sum(self.seconds_by_fold))

    @property
    def error(self) -> float:
        """Mean over the folds, whatever the number of seeds on each."""
        if not self.errors:
            return np.inf
        n = self.n_folds
        return float(np.mean([np.mean(self.errors[i::n]) for i in range(min(n, len(self.errors)))]))


@dataclass
class Selection:
    """What `select` tried.

    Attributes
    ----------
    trials : list of Trial
        Best first; those that saw all folds before the others.
    best : Trial
    n_folds : int
    message : str
        How the final model was made.
    """

    trials: list[Trial]
    best: Trial
    n_folds: int
    message: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Table of all candidates, the best first: settings, error relative to the outputs' spread, folds,
        seconds.
        """
        return [
            {
                **t.settings,
                "error": t.error,
                "folds": len(t.errors),
                "seconds": round(t.seconds, 3),
                "message": t.message,
            }
            for t in self.trials
        ]

    @property
    def table(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def select(
    train: Trajectories | Iterable[Trajectory],
    budget_s: float | None = None,
    *,
    max_trials: int | None = None,
    candidates: Sequence[dict[str, Any]] | None = None,
    n_members: int = 1,
    feedthrough: bool | None = None,
    random_state: Any = None,
    progress: Callable[[str], None] | None = None,
) -> KoopmanRNN | KoopmanEnsemble:
    """Choose a model by its free run on held-out data, and fit it to all of them.

    Parameters
    ----------
    train : Trajectories
        Records; nothing else is looked at.
    budget_s : float, optional
        Wall time in seconds; 60 if `max_trials` is not given either.
    max_trials : int, optional
        Most candidates beside the linear ones; with it and without a budget the same seed makes the same
        choice.
    candidates : sequence of dict, optional
        Settings of `KoopmanRNN` to try instead of random ones; linear models are tried beside them.
    n_members : int
        1 for one model, more for a `KoopmanEnsemble` of the best settings.
    feedthrough : bool, optional
        Whether `u[k]` may act on `y[k]`; tried both ways by default. Controllers need False.
    random_state : int, numpy.random.Generator or None
        Seed of candidates and layers.
    progress : callable, optional
        Called with a line of text after every candidate.

    Returns
    -------
    KoopmanRNN or KoopmanEnsemble
        Fitted to all of `train`; its attribute `selection_` is a `Selection` with the table of all tried.

    Raises
    ------
    DataError
        If the records are too short or constant for any model.
    OptionError
        If an option is outside the values it may take.
    """
    data = Trajectories.coerce(train, "train")
    check_integer(n_members, "n_members", low=1)
    if budget_s is not None:
        check_number(budget_s, "budget_s", low=0.0, strict=True)
    if max_trials is not None:
        check_integer(max_trials, "max_trials", low=1)
    if budget_s is None and max_trials is None:
        budget_s = 60.0
    feedthroughs = _feedthroughs(data, feedthrough)
    wanted = None if candidates is None else [_checked(c) for c in candidates]
    rng = make_rng(random_state)
    search = _Search(data, budget_s, max_trials, n_members, rng, progress)
    linear = linear_candidates(search.data, feedthroughs)
    search.run(linear[:_FIRST_LINEAR], keep=_KEEP, linear=True)
    if wanted is not None:
        search.run(wanted, keep=len(wanted))
    else:
        search.run(first_candidates(search.data, feedthroughs, search.linear()), keep=_KEEP)
    search.run(linear[_FIRST_LINEAR:], keep=_KEEP, linear=True)
    while wanted is None and not search.over():
        drawn = draw_candidates(search.data, feedthroughs, search.linear(), search.trials, rng, _BATCH)
        search.run(drawn, keep=_KEEP)
    search.confirm()
    return search.finish()


class _Search:
    """Trials, the clock, and the final fit."""

    def __init__(
        self,
        data: Trajectories,
        budget_s: float | None,
        max_trials: int | None,
        n_members: int,
        rng: np.random.Generator,
        progress: Callable[[str], None] | None,
    ) -> None:
        self.started = time.perf_counter()
        self.all, self.budget_s, self.max_trials, self.n_members = data, budget_s, max_trials, n_members
        self.progress = progress
        self.data = thinned(data)
        self.folds = make_folds(self.data, _FOLDS)
        self.trials: list[Trial] = []
        self.confirming = False
        self.starts: dict[Any, Any] = {}
        self.seed = int(rng.integers(2**31))

    # --- the clock ---------------------------------------------------------------------------------------

    def reserve(self) -> float:
        """Seconds kept for the final fit: an ensemble that takes longer gets fewer members."""
        if self.budget_s is None:
            return 0.0
        drawn = any(
            t.settings.get("n_features") != 0 and len(t.errors) >= len(self.folds) for t in self.trials
        )
        least = 0.0 if drawn else _LEAST_SHARE * self.budget_s
        return float(np.clip(self.final_cost(), least, _FINAL_SHARE * self.budget_s))

    def left(self) -> float:
        """Seconds of the budget that are not needed for the final fit."""
        if self.budget_s is None:
            return np.inf
        search = 1.0 if self.confirming else _SEARCH
        return search * _RESERVE * self.budget_s - (time.perf_counter() - self.started) - self.reserve()

    def final_cost(self, trial: Trial | None = None) -> float:
        """Seconds that the final fit of a trial, by default the best one, will take."""
        trial = self.best() if trial is None and self.trials else trial
        if trial is None or not np.isfinite(trial.error):
            return 0.0
        share = (_FOLDS - 1) / _FOLDS
        growth = self.all.n_steps / max(self.data.n_steps, 1)
        fits = self.n_members * (2 if self.n_members > 1 else 1)
        if trial.settings.get("n_features") == 0:  # its members are one and the same
            fits = 1
        return fits * growth * min(trial.seconds_by_fold, default=0.0) / share

    def late(self) -> bool:
        """Whether even a refinement that is under way must end."""
        if self.budget_s is None:
            return False
        return self.left() <= (0.0 if self.confirming else -0.1 * self.budget_s)

    def over(self) -> bool:
        """Whether the search has used its budget of time or trials."""
        if self.max_trials is not None and len(self.trials) - len(self.linear()) >= self.max_trials:
            return True
        return self.left() <= 0.0

    # --- trials --------------------------------------------------------------------------------------------

    def linear(self) -> list[Trial]:
        """Linear candidates that were scored."""
        return [t for t in self.trials if t.settings.get("n_features") == 0]

    def run(self, settings: Sequence[dict[str, Any]], keep: int, linear: bool = False) -> None:
        """Try candidates: all on the first fold, the `keep` best, if they are good enough, on the others."""
        batch = []
        for one in settings:
            if self.trials and (self.left() <= 0.0 if linear else self.over()):
                break
            trial = Trial(dict(one), n_folds=len(self.folds))
            self.trials.append(trial)
            self.score(trial, self.folds[0])
            batch.append(trial)
        batch = [t for t in batch if np.isfinite(t.error)]
        done = [t for t in self.trials if len(t.errors) == len(self.folds)]
        bar = min((t.errors[0] for t in done), default=np.inf)
        batch = [t for t in sorted(batch, key=lambda t: t.error) if t.error <= _GOOD_ENOUGH * bar]
        if self.budget_s is not None:  # what cannot be fitted to all data in time is of no use
            batch = [t for t in batch if self.final_cost(t) <= _FINAL_SHARE * self.budget_s] or batch[:1]
        batch = batch[:keep]
        for trial in batch:
            for fold in self.folds[1:]:
                if len(self.trials) > 1 and self.budget_s is not None and self.left() <= 0.0:
                    return
                self.score(trial, fold)

    def confirm(self) -> None:
        """Score the leaders again with other seeds: the best of many is the luckiest of them."""
        leaders = sorted((t for t in self.trials if len(t.errors) == len(self.folds)), key=lambda t: t.error)
        self.confirming = True
        for k in range(1, _SEEDS):
            for trial in leaders[:_LEADERS]:
                if trial.settings.get("n_features") == 0:  # nothing in it is drawn
                    trial.errors += trial.errors[: len(self.folds)]
                    continue
                for fold in self.folds:
                    if self.late():
                        break
                    self.score(trial, fold, k)

    def score(self, trial: Trial, fold: Fold, seed: int = 0) -> None:
        """Fit on a fold's training part and add the error on the other."""
        begun = time.perf_counter()
        try:
            model = KoopmanRNN(**trial.settings, random_state=self.seed + seed)
            error, _ = held_out_runs(model, fold, self.late, self.starts)
            trial.errors.append(error)
        except (KoopctrlError, np.linalg.LinAlgError, MemoryError) as problem:
            trial.message = f"{type(problem).__name__}: {problem}"[:200]
            trial.errors = [np.inf]
        trial.seconds_by_fold.append(time.perf_counter() - begun)
        if self.progress is not None:
            best = self.best().error
            self.progress(f"{len(self.trials)} candidates, best {best:.4f}, last {trial.error:.4f}")

    def best(self) -> Trial:
        """Best of those that saw most folds."""
        most = max(
            (min(len(t.errors), len(self.folds)) for t in self.trials if np.isfinite(t.error)), default=0
        )
        full = [t for t in self.trials if len(t.errors) >= most and np.isfinite(t.error)]
        return min(full or self.trials, key=self._rank)

    # --- the end -------------------------------------------------------------------------------------------

    def finish(self) -> KoopmanRNN | KoopmanEnsemble:
        """Fit the best to all data; the next best if that fails."""
        order = sorted(self.trials, key=self._rank)
        problems = []
        for trial in order:
            if not np.isfinite(trial.error):
                break
            bases = [
                KoopmanRNN(**{**t.settings, "rollout_margin": _MARGIN}) for t in self._beside(trial, order)
            ]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumericalWarning)
                    model = self._fit(bases)
            except (KoopctrlError, np.linalg.LinAlgError) as problem:
                problems.append(str(problem))
                continue
            model.selection_ = Selection(
                order,
                trial,
                len(self.folds),
                f"settings of {len(self.trials)} candidates by free run on held-out data; fitted to all "
                f"{self.all.n_steps} steps",
            )
            return model
        first = next((t.message for t in order if t.message), problems[0] if problems else "")
        raise DataError(f"no candidate could be fitted to the records: {first}")

    def _rank(self, trial: Trial) -> tuple[bool, float]:
        """Those that saw all folds first; errors with one seed alone count a little more than confirmed
        ones.
        """
        seeds = len(trial.errors) / len(self.folds)
        drawn = trial.settings.get("n_features") != 0
        return seeds < 1.0, trial.error * (1.0 + (_LUCK / max(seeds, 1.0) if drawn else 0.0))

    def _beside(self, trial: Trial, order: list[Trial]) -> list[Trial]:
        """Trials whose settings share an ensemble with the best: nearly as good, the other kind of state
        first.
        """
        if self.n_members == 1:
            return [trial]
        near = [t for t in order if len(t.errors) >= len(self.folds) and t.error <= _NEAR * trial.error]
        other_kind = [t for t in near if _is_hidden(t) != _is_hidden(trial)]
        ranked = [trial, *other_kind[:1], *(t for t in near if t is not trial and t not in other_kind[:1])]
        return ranked[: min(_MOST_BESIDE, max(1, self.n_members // 2))]

    def _fit(self, bases: list[KoopmanRNN]) -> Any:
        if self.n_members == 1:
            return bases[0].set_params(random_state=self.seed).fit(self.all)
        limit = None
        if self.budget_s is not None:
            end = self.started + self.budget_s
            limit = lambda: time.perf_counter() > end  # noqa: E731
        linear = all(b.n_features == 0 for b in bases)  # nothing in them is drawn: one member each
        n_members = len(bases) if linear else self.n_members
        ensemble = KoopmanEnsemble(bases, n_members, random_state=self.seed)
        return ensemble.fit(self.all, deadline=limit)


def _is_hidden(trial: Trial) -> bool:
    return trial.settings.get("n_states") is not None


def thinned(data: Trajectories) -> Trajectories:
    """At most `_STEPS` steps of the records, in blocks spread over them."""
    if data.n_steps <= _STEPS:
        return data
    length = _STEPS // _BLOCKS
    if len(data) >= _BLOCKS:
        step = data.n_steps / _STEPS
        chosen = np.unique((np.arange(0, len(data), step)).astype(int))
        some = [data[int(i)] for i in chosen]
        return Trajectories(e.slice(0, min(len(e), length)) for e in some)
    blocks = []
    for e in data:
        n = max(1, round(_BLOCKS * len(e) / data.n_steps))
        if len(e) <= n * length:
            blocks.append(e)
            continue
        for start in np.linspace(0, len(e) - length, n).round().astype(int):
            blocks.append(e.slice(int(start), int(start) + length))
    return Trajectories(blocks)


def _feedthroughs(data: Trajectories, feedthrough: bool | None) -> tuple[bool, ...]:
    possible = data.n_u > 0 and all(len(e.inputs) == len(e) for e in data)
    if feedthrough is None:
        return (False, True) if possible else (False,)
    if feedthrough and not possible:
        raise OptionError(
            "feedthrough is True, but the records have fewer inputs than outputs; pass the last input too"
        )
    return (bool(feedthrough),)


def _checked(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise OptionError(
            f"candidates holds a {type(settings).__name__}; expected dicts of KoopmanRNN settings"
        )
    known = KoopmanRNN().get_params()
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise OptionError(f"candidates names {unknown}; expected settings of KoopmanRNN: {sorted(known)}")
    return dict(settings)
