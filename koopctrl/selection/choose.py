"""`select`: the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from koopctrl._threads import few_threads
from koopctrl._validation import check_integer, check_number
from koopctrl._workers import check_client
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.ensemble import KoopmanEnsemble
from koopctrl.errors import OptionError
from koopctrl.identification.settings import make_rng
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.selection.drawn_candidates import draw_candidates
from koopctrl.selection.first_candidates import first_candidates, linear_candidates
from koopctrl.selection.search import Search

_BATCH = (12, 4)  # windows, hidden states
_FIRST_LINEAR = 6  # candidates that are tried in any case
_LINEAR_SHARE = 0.15  # of the budget that the others may take before nonlinear ones come
_KEEP, _KEEP_LINEAR = 6, 12  # of a batch, that see all folds; linear ones cost little and are much alike
_PASSES = 3  # of drawing and confirming: what confirming leaves of its time is drawn with


@few_threads()
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
    client: Any = None,
) -> KoopmanRNN | KoopmanEnsemble:
    """Choose a model by its free run on held-out data, and fit it to all of them.

    Parameters
    ----------
    train : Trajectories
        Records; nothing else is looked at. Missing outputs (NaN) do not count.
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
    client : dask.distributed.Client, optional
        A cluster whose workers score the candidates of a batch and fit the members, each a task. With
        `max_trials` and without a budget the choice is the one that this process would make; within a budget
        more candidates are tried.

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
    data = Trajectories.coerce(train, "train", missing=True)
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
    search = Search(data, budget_s, max_trials, n_members, rng, progress, check_client(client))
    linear = linear_candidates(search.data, feedthroughs)
    search.run(linear[:_FIRST_LINEAR], keep=_KEEP_LINEAR, linear=True)
    search.run(linear[_FIRST_LINEAR:], keep=_KEEP_LINEAR, linear=True, share=_LINEAR_SHARE)
    if wanted is not None:
        search.run(wanted, keep=len(wanted))
    else:
        search.run(first_candidates(search.data, feedthroughs, search.linear()), keep=_KEEP)
    for _ in range(_PASSES):
        while wanted is None and not search.over():
            hidden = search.turn_of_hidden()
            drawn = draw_candidates(
                search.data, feedthroughs, search.linear(), search.trials, rng,
                _BATCH[hidden], hidden,
            )  # fmt: skip
            search.run(drawn, keep=_KEEP)
        search.confirm()
    return search.finish()


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
