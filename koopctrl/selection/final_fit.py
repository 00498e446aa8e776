"""The end of a selection: what was picked is fitted to all data, and again where a fit has failed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.ensemble import KoopmanEnsemble
from koopctrl.errors import KoopctrlError
from koopctrl.identification.folds import Fold
from koopctrl.identification.free_run_score import nrmse
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.selection.mixture import first_choice, pick_members
from koopctrl.selection.trials import Trial

_MARGIN = 0.5
# Unless a candidate says so: smoothing takes several fits, and hidden states know noise by themselves.
_AS_MEASURED: dict[str, Any] = {"smooth": False}
# Nor are windows refined, of which many are tried in the time of one.
_AS_FITTED: dict[str, Any] = {"refine": False}
# Times the held-out error of its settings (the median over folds, some of which may have failed themselves):
# a fit whose error on its own data is larger is made again, or left out of the mean.
_AGAIN, _FAILED = 1.25, 2.0
_SEEDS = 3  # most that are tried where the first is not good


def complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a candidate with what a search takes where it says nothing."""
    hidden = settings.get("n_states") is not None
    return _AS_MEASURED | ({} if hidden else _AS_FITTED) | settings


def picked_members(order: list[Trial], folds: list[Fold], n_members: int) -> list[Trial]:
    """Trials that the members are samplings of, `order` being all of them, the best first."""
    if not order[0].full:  # the clock left it with some folds only, on which it was far better
        return [order[0]] * n_members
    if n_members == 1:
        return [first_choice(order)]
    return pick_members(order, folds, n_members)


def fit_members(
    picked: list[Trial],
    data: Trajectories,
    folds: list[Fold],
    n_members: int,
    seed: int,
    late: Callable[[], bool],
    client: Any = None,
) -> KoopmanRNN | KoopmanEnsemble:
    """One model, or an ensemble of the trials that were picked.

    Parameters
    ----------
    picked : list of Trial
    data : Trajectories
        All that there are.
    folds : list of Fold
        That the trials were scored on: their held-out runs calibrate an ensemble's bands.
    n_members : int
    seed : int
    late : callable
        Says True when there is no time left: no other member is begun, and no failed one is fitted again.
    client : dask.distributed.Client, optional
        Whose workers fit the members.
    """
    own = Fold(data, data, folds[0].n_init)
    if n_members == 1:
        return _sampled_again(_fitted(picked[0], seed, data), picked[0], own, late)[0]
    if all(t.linear for t in picked):  # nothing in them is drawn: one member each
        picked = list({id(t): t for t in picked}.values())
    ensemble = KoopmanEnsemble([_model(t) for t in picked], len(picked), n_folds=0, random_state=seed)
    ensemble.fit(data, deadline=late, client=client)
    picked = picked[: len(ensemble.members_)]
    ensemble.errors_ = np.array([t.error for t in picked])
    again = [_sampled_again(m, t, own, late) for m, t in zip(ensemble.members_, picked, strict=True)]
    ensemble.members_ = [model for model, _ in again]
    ensemble.weights_ = np.array([not failed for _, failed in again], dtype=float)
    return ensemble.calibrate(_held_out(picked, folds))


def _sampled_again(
    model: KoopmanRNN, trial: Trial, own: Fold, late: Callable[[], bool]
) -> tuple[KoopmanRNN, bool]:
    """The model, or the best of a few with other seeds where it errs more on its own data than its settings
    did on data they had not seen (free runs have minima that some samplings do not leave); and whether that
    has failed too.
    """
    typical = float(np.median(trial.by_fold))
    best, error = model, _own_error(model, own)
    for k in range(1, _SEEDS):
        if error <= _AGAIN * typical or trial.linear or late():
            break
        try:
            other = _fitted(trial, model.get_params()["random_state"] + k, own.train)
        except (KoopctrlError, np.linalg.LinAlgError):  # that seed's fit has failed as well
            continue
        found = _own_error(other, own)
        if found < error:
            best, error = other, found
    return best, not error <= _FAILED * typical


def _model(trial: Trial) -> KoopmanRNN:
    settings = {**complete(trial.settings), "rollout_margin": _MARGIN}
    return KoopmanRNN(**settings)


def _fitted(trial: Trial, seed: int, data: Trajectories) -> KoopmanRNN:
    return _model(trial).set_params(random_state=seed).fit(data)


def _own_error(model: KoopmanRNN, own: Fold) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # judged by its error
        return nrmse(model.predict(own.test, own.n_init), own)


def _held_out(picked: Sequence[Trial], folds: Sequence[Fold]) -> list[tuple[Fold, list[list[FloatArray]]]]:
    """Held-out runs of what the members are other samplings of: of a trial that was picked several times,
    those of its seeds in turn.
    """
    chosen: list[list[list[FloatArray]]] = []
    for i, t in enumerate(picked):
        seeds = [runs for runs in t.runs.values() if len(runs) == len(folds)]
        if seeds:
            chosen.append(seeds[sum(p is t for p in picked[:i]) % len(seeds)])
    if not chosen:
        return []
    return [(fold, [runs[f] for runs in chosen]) for f, fold in enumerate(folds)]
