"""Who shares an ensemble: picked one after another so that the mean of the held-out runs is best.

The best of many candidates is a matter of luck where folds differ, and those next to it err elsewhere. A
candidate stands for the mean of its runs over the seeds it was tried with, since in the ensemble every pick is
another sampling: one whose samplings differ much, but about the right answer, is worth more there than alone.
Each pick is the candidate that lowers the error of the mean of those picked before and itself most; it may be
one that was picked before. The best of the other kind of state comes second if it is nearly as good.

Source: Caruana, Niculescu-Mizil, Crew & Ksikes, *Ensemble selection from libraries of models*, ICML 2004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ensemble import combine
from koopctrl.identification.folds import Fold
from koopctrl.identification.free_run_score import nrmse
from koopctrl.selection.trials import Trial

POOL = 20
_HUGE = 1e100
_NEAR = 1.15
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
    confirmed = [t for t in pool if t.seeds >= 2.0]
    pool = (confirmed or pool)[:POOL]
    if not pool:  # its folds could not be rolled out; nothing to mix with
        return [trials[0]] * count
    runs = [found for t in pool if (found := mean_runs(t, folds)) is not None]
    errors = [_error(one, 1, folds) for one in runs]
    first = int(np.argmin(errors))
    picked, total = [pool[first]], runs[first]
    # The best of the other kind of state, if it is nearly as good: the two kinds err in different ways, more
    # so than the held-out data of one record can show.
    others = [i for i, t in enumerate(pool) if t.hidden != picked[0].hidden]
    if others and count > 1:
        other = min(others, key=lambda i: errors[i])
        if errors[other] <= _NEAR * errors[first]:
            picked, total = [*picked, pool[other]], _sum(total, runs[other])
    while len(picked) < count:
        n = len(picked) + 1
        mixed = [_sum(total, one) for one in runs]
        chosen = int(np.argmin([_error(one, n, folds) for one in mixed]))
        picked.append(pool[chosen])
        total = mixed[chosen]
    return picked


def mean_runs(trial: Trial, folds: Sequence[Fold]) -> Runs | None:
    """Mean over the seeds of a trial's held-out runs, samplings that left the others set aside; None if it has
    not been rolled out through all folds.
    """
    seeds = [_clean(runs) for runs in trial.runs.values() if len(runs) == len(folds)]
    if not seeds:
        return None
    return [
        [combine(np.stack(runs), np.ones(len(runs)))[0] for runs in zip(*by_seed, strict=True)]
        for by_seed in zip(*seeds, strict=True)
    ]


def _error(total: Runs, n: int, folds: Sequence[Fold]) -> float:
    """Held-out error of the mean of `n` runs whose sum is `total`."""
    errors = [nrmse([run / n for run in runs], fold) for runs, fold in zip(total, folds, strict=True)]
    return float(np.mean(errors))


def _sum(first: Runs, second: Runs) -> Runs:
    return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(first, second, strict=True)]


def _clean(found: Runs) -> Runs:
    """Runs in which what has diverged is huge, but finite: it spoils the mean it is in, and no other."""
    return [[np.nan_to_num(run, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE) for run in runs] for runs in found]
