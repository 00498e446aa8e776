"""Who shares an ensemble: picked one after another so that the mean of the held-out runs is best.

The best of many candidates is a matter of luck where folds differ, and those next to it err elsewhere. Each
pick is the candidate that lowers the error of the mean of those picked before and itself most; one that is
picked again is another sampling of the same settings. The best of the other kind of state comes second if it
is nearly as good.

Source: Caruana, Niculescu-Mizil, Crew & Ksikes, *Ensemble selection from libraries of models*, ICML 2004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.folds import Fold
from koopctrl.identification.free_run_score import nrmse
from koopctrl.selection.trials import Trial

POOL = 20
_HUGE = 1e100
_NEAR = 1.15
Runs = list[list[FloatArray]]  # by fold and record


def pick_members(
    best: Trial, trials: Sequence[Trial], folds: Sequence[Sequence[Fold]], count: int
) -> list[Trial]:
    """`count` trials, the best first, with repetitions.

    Parameters
    ----------
    best : Trial
    trials : sequence of Trial
        In order of their rank.
    folds : sequence of sequences of Fold
        By seed. The runs that count are those of the second seed, on which nobody was chosen, where the best
        has them, else the first.
    count : int
    """
    seed = next((s for s in (1, 0) if len(best.runs.get(s, ())) == len(folds[s])), None)
    if seed is None:  # its folds could not be rolled out; nothing to mix with
        return [best] * count
    scored = [t for t in trials if t.full and len(t.runs.get(seed, ())) == len(folds[seed])]
    pool = [best, *(t for t in scored if t is not best)][:POOL]
    runs = [_clean(t.runs[seed]) for t in pool]
    picked, total = [best], runs[0]
    # The best of the other kind of state, if it is nearly as good: the two kinds err in different ways, more
    # so than the held-out data of one record can show.
    other = next((i for i, t in enumerate(pool) if t.hidden != best.hidden), None)
    if other is not None and count > 1 and pool[other].error <= _NEAR * best.error:
        picked, total = [best, pool[other]], _sum(total, runs[other])
    while len(picked) < count:
        n = len(picked) + 1
        errors = [_error(total, one, n, folds[seed]) for one in runs]
        chosen = int(np.argmin(errors))
        picked.append(pool[chosen])
        total = _sum(total, runs[chosen])
    return picked


def _error(total: Runs, one: Runs, n: int, folds: Sequence[Fold]) -> float:
    """Held-out error of the mean of `n` runs, those summed up in `total` and one more."""
    mixed = _sum(total, one)
    errors = [nrmse([run / n for run in runs], fold) for runs, fold in zip(mixed, folds, strict=True)]
    return float(np.mean(errors))


def _sum(first: Runs, second: Runs) -> Runs:
    return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(first, second, strict=True)]


def _clean(found: Runs) -> Runs:
    """Runs in which what has diverged is huge, but finite: it spoils the mean it is in, and no other."""
    return [[np.nan_to_num(run, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE) for run in runs] for runs in found]
