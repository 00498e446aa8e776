"""How many lags a network of measured outputs needs: free runs over one horizon on held-out data.

Outputs that are the state need none beside the newest sample; of a plant that is seen through a few of its
signals, past samples stand for the rest. Networks with one, two, three, four, six and eight lags of outputs
and inputs are fitted to part of the data and run freely over the horizon from the same samples of the other
part. The fewest lags are taken that come within a twentieth of the best, or within a hundredth of the
outputs' spread.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from koopctrl._validation import check_integer
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError, KoopctrlError
from koopctrl.identification.held_out import Snapshots, cut, held_tail, is_held_out, join
from koopctrl.identification.penalty import free_run_error
from koopctrl.koopman_rnn import KoopmanRNN

LAGS = (1, 2, 3, 4, 6, 8)
_ALIKE, _EXACT, _SEGMENTS = 0.05, 0.01, 200


@dataclass(frozen=True)
class LagChoice:
    """What was tried.

    Attributes
    ----------
    lags : int
        Taken.
    errors : dict
        Root-mean-square error of free runs by number of lags, in standard deviations of the outputs.
    """

    lags: int
    errors: dict[int, float]


def choose_lags(data: Trajectories, horizon: int, **settings: Any) -> tuple[KoopmanRNN, LagChoice]:
    """The network with as many lags as free runs over `horizon` samples need, fitted to all data.

    Parameters
    ----------
    data : Trajectories
    horizon : int
        Samples that a controller looks ahead.
    **settings
        Of `KoopmanRNN`, lags aside.

    Raises
    ------
    DataError
        If no network can be fitted, with the reason that the last one gave.
    """
    horizon = check_integer(horizon, "horizon", low=1)
    train, judge = _parts(data)
    errors: dict[int, float] = {}
    reason = ""
    for lags in LAGS:
        model = KoopmanRNN(**settings | {"output_lags": lags, "input_lags": lags, "smooth": False})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said again when the one that is taken is fitted
                model.fit(train)
            errors[lags] = _error(model, judge, horizon)
        except KoopctrlError as error:
            reason = str(error)
            break
        best = min(errors, key=lambda n: errors[n])
        if errors[lags] <= _EXACT or LAGS.index(lags) >= LAGS.index(best) + 2:
            break
    if not errors:
        raise DataError(f"no network can be fitted to these records: {reason}")
    lowest = min(errors.values())
    taken = next(n for n in errors if errors[n] <= max((1.0 + _ALIKE) * lowest, _EXACT))
    model = KoopmanRNN(output_lags=taken, input_lags=taken, **settings).fit(data)
    return model, LagChoice(taken, errors)


def _parts(data: Trajectories) -> tuple[Trajectories, Trajectories]:
    """For fitting and for judging: every fifth episode, and the tails of the first two."""
    train, judge = [], []
    for i, episode in enumerate(data):
        if is_held_out(i):
            judge.append(episode)
            continue
        tail = held_tail(i, episode.n_steps)
        train.append(episode.slice(0, len(episode) - tail) if tail else episode)
        if tail:
            judge.append(episode.slice(len(episode) - tail - 1, len(episode)))
    if not judge:  # a few short ones: those that were learned from must do
        judge = train
    return Trajectories(train), Trajectories(judge)


def _error(model: KoopmanRNN, judge: Trajectories, horizon: int) -> float:
    """Of free runs from the samples from which networks with most lags could start too."""
    window, parts = model._network.window, []
    for episode in judge:
        first = max(LAGS) - max(window.output_lags, window.input_lags)
        x, u, y_next = window.pairs(episode.outputs, episode.inputs)
        if len(x) > first:
            parts.append(Snapshots(x[first:], u[first:], y_next[first:]))
    if not parts:
        raise DataError(f"no record is longer than {max(LAGS)} samples; expected longer ones")
    snapshots, runs = join(parts)
    longest = max(r.stop - r.start for r in runs)
    return free_run_error(model._network, cut(snapshots, runs, min(horizon, longest), _SEGMENTS))
