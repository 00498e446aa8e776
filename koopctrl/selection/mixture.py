"""Who shares an ensemble: picked one after another so that the mean of the held-out runs is best.

The best of many candidates is a matter of luck where folds differ, and those next to it err elsewhere. A
candidate stands for the mean of its runs over the seeds it was tried with, since in the ensemble every pick
is another sampling: one whose samplings differ much, but about the right answer, is worth more there than
alone. Each pick is the candidate that lowers the error of the mean of those picked before and itself most; a
new one must lower it by more than the standard error of that over the folds, else one that was picked before
is taken again (the rule of one standard error: Hastie, Tibshirani & Friedman, *The Elements of Statistical
Learning*, section 7.10). What is to stand in the place of the best linear candidate, or to share an ensemble
with it, has to be better at the level of 5 % (Student's test on the folds): a linear model is what is given
up for it. That a plant knows no sign (mirror images of the records) is taken to be so where it lowers the
error of the same settings by more than the standard error.

Source: Caruana, Niculescu-Mizil, Crew & Ksikes, *Ensemble selection from libraries of models*, ICML 2004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from koopctrl._validation import FloatArray
from koopctrl.identification.folds import Fold
from koopctrl.identification.free_run_score import nrmse, spread_over_seeds
from koopctrl.selection.trials import Trial

POOL = 20
_LEVEL = 0.05
_HUGE = 1e100
Runs = list[list[FloatArray]]  # by fold and record


def pick_members(trials: Sequence[Trial], folds: Sequence[Fold], count: int) -> list[Trial]:
    """`count` trials, with repetitions, the one whose mean over seeds is best first.

    Parameters
    ----------
    trials : sequence of Trial
        In order of their rank. Those that were scored with several seeds alone share, if there are any.
    folds : sequence of Fold
    count : int
    """
    pool = [t for t in trials if t.full and mean_runs(t, folds) is not None]
    confirmed = [t for t in pool if t.seeds >= 2.0 or t.linear]
    if not all(t.linear for t in confirmed):
        pool = confirmed
    pool = pool[:POOL]
    if not pool:  # its folds could not be rolled out; nothing to mix with
        return [trials[0]] * count
    runs = [found for t in pool if (found := mean_runs(t, folds)) is not None]
    spreads = [_spreads(t, folds) for t in pool]
    seeds = np.array([_seeds(t, folds) for t in pool], dtype=float)

    def judged(chosen: list[int], total: Runs) -> FloatArray:
        """Errors by fold of the mean of the chosen ones, in an ensemble of `count` with these shares.

        Of a candidate's variance over seeds, its mean over `S` of them holds `1 / S`, and its `n` members
        among `count` will hold `1 / n`; that is put right.
        """
        share = np.bincount(chosen, minlength=len(pool)) / len(chosen)
        members = np.maximum(share * count, 1.0)
        extra = [
            [float(sum(w**2 * v[f][j] * (1.0 / m - 1.0 / s)
                       for w, v, m, s in zip(share, spreads, members, seeds, strict=True) if w and s > 1))
             for j in range(len(fold.test))]
            for f, fold in enumerate(folds)
        ]  # fmt: skip
        return _errors(total, len(chosen), folds, extra)

    alone = [judged([i], one) for i, one in enumerate(runs)]
    first = int(np.argmin([errors.mean() for errors in alone]))
    twin = _plain_twin(pool[first], pool)
    if twin is not None and not _clearly(alone[twin] - alone[first]):
        first = twin
    linear = best_linear(trials)
    if linear is not None and not pool[first].linear and not _surely(linear.by_fold - alone[first]):
        if linear not in pool:
            return [linear] * count
        first = pool.index(linear)
    picked, total, error = [first], runs[first], judged([first], runs[first])
    while len(picked) < count:
        mixed = [judged([*picked, i], _sum(total, one)) for i, one in enumerate(runs)]
        ranked = np.argsort([e.mean() for e in mixed], kind="stable")
        better = _surely if all(pool[i].linear for i in picked) else _clearly
        chosen = next(int(i) for i in ranked if i in picked or better(error - mixed[i]))
        picked.append(chosen)
        total, error = _sum(total, runs[chosen]), mixed[chosen]
    return [pool[i] for i in picked]


def best_linear(trials: Sequence[Trial]) -> Trial | None:
    """The linear trial of smallest error among those that saw all folds."""
    return min((t for t in trials if t.linear and t.full), key=lambda t: t.error, default=None)


def first_choice(trials: Sequence[Trial]) -> Trial:
    """The first of some trials in order of their rank, unless the best linear one is as good (see above)."""
    linear = best_linear(trials)
    first = trials[0]
    twin = _plain_twin(first, trials)
    if twin is not None and trials[twin].full:
        shared = len(first.by_fold)  # the clock may have left it with some
        if not _clearly(trials[twin].by_fold[:shared] - first.by_fold):
            first = trials[twin]
    if linear is None or first.linear or not first.full or _surely(linear.by_fold - first.by_fold):
        return first
    return linear


def _plain_twin(trial: Trial, trials: Sequence[Trial]) -> int | None:
    """Place of the same settings without mirror images of the records; None where there are none."""
    if trial.settings.get("symmetry") is None:
        return None
    plain = trial.settings | {"symmetry": None}
    return next((i for i, t in enumerate(trials) if t.settings == plain), None)


def _seeds(trial: Trial, folds: Sequence[Fold]) -> int:
    return sum(len(runs) == len(folds) for runs in trial.runs.values())


def _spreads(trial: Trial, folds: Sequence[Fold]) -> list[list[float]]:
    """Variance over seeds of a trial's runs, by fold and record."""
    seeds = [_clean(runs) for runs in trial.runs.values() if len(runs) == len(folds)]
    return [
        [spread_over_seeds([s[f][j] for s in seeds], fold) for j in range(len(fold.test))]
        for f, fold in enumerate(folds)
    ]


def _clearly(gain: FloatArray) -> bool:
    """Whether the mean of a gain over folds is more than its standard error."""
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _surely(gain: FloatArray) -> bool:
    """Whether it is above zero at the level of 5 %."""
    if len(gain) < 2:
        return False
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return bool(gain.mean() > stats.t.ppf(1.0 - _LEVEL, len(gain) - 1) * error)


def mean_runs(trial: Trial, folds: Sequence[Fold]) -> Runs | None:
    """Mean over the seeds of a trial's held-out runs; None if it has not been rolled out through all folds.

    Of all seeds: the variance that is put right afterwards is that of the plain mean.
    """
    seeds = [_clean(runs) for runs in trial.runs.values() if len(runs) == len(folds)]
    if not seeds:
        return None
    return [
        [np.mean(np.stack(runs), axis=0) for runs in zip(*by_seed, strict=True)]
        for by_seed in zip(*seeds, strict=True)
    ]


def _errors(total: Runs, n: int, folds: Sequence[Fold], extra: list[list[float]]) -> FloatArray:
    """Held-out error on each fold of the mean of `n` runs whose sum is `total`."""
    found = [
        nrmse([run / n for run in runs], fold, more)
        for runs, fold, more in zip(total, folds, extra, strict=True)
    ]
    return np.array(found)


def _sum(first: Runs, second: Runs) -> Runs:
    return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(first, second, strict=True)]


def _clean(found: Runs) -> Runs:
    """Runs in which what has diverged is huge, but finite: it spoils the mean it is in, and no other."""
    return [[np.nan_to_num(run, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE) for run in runs] for runs in found]
