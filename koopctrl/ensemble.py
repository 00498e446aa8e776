r"""KoopmanEnsemble: the mean of several independent samplings, its spread, and conformal bands.

Members differ in their seeds. Each is fitted twice: with one fold of the data held out, which gives its
error on data it has not seen, and on all data, which is the member. Weights are zero for members whose
held-out error is far above the others', equal for the rest; in a prediction a member that diverges or leaves
the others is left out too, and of many members the middle half at each sample is averaged. The held-out
residuals of all folds calibrate the bands,

.. math:: |y - \bar y| \le q_{1-\alpha}\, (s + s_0),

`s` the members' spread, `s_0` the residuals' own size: split conformal prediction (Vovk, Gammerman & Shafer,
*Algorithmic Learning in a Random World*, 2005). Their coverage holds for records like those of training.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone

from koopctrl._validation import FloatArray, check_fitted, check_integer, check_number, items_of
from koopctrl._workers import check_client, run_tasks
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import KoopctrlWarning, OptionError
from koopctrl.identification.conformal import conformal_quantile
from koopctrl.identification.folds import Fold, make_folds
from koopctrl.identification.free_run_score import N_INIT, nrmse
from koopctrl.identification.hidden import LINEAR_ITERATIONS
from koopctrl.identification.settings import make_rng
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.network.free_run import r2_score

if TYPE_CHECKING:
    from os import PathLike

    from koopctrl.identification.report import Report
    from koopctrl.lifted.model import LiftedModel

# A member whose held-out error is more than this times the median of all is not counted.
_PRUNE = 1.5
# In one prediction, a member farther from the median run than this times the typical distance is left out.
_OUTLIER = 4.0


class KoopmanEnsemble(BaseEstimator):
    """Mean of several models that differ in their seed (see the module).

    Parameters
    ----------
    model : KoopmanRNN or sequence of KoopmanRNN
        What members are copies of, in turn; `random_state` is replaced.
    n_members : int
        Number of members.
    n_folds : int
        Folds of the data (episodes, or blocks of time) that are held out in turn; 0 fits on all data alone,
        without pruning and bands.
    random_state : int, numpy.random.Generator or None
        Seed from which the members' seeds are drawn.

    Attributes
    ----------
    members_ : list of KoopmanRNN
        Fitted on all data.
    errors_ : (n_members,) array
        Held-out free-run error of each, relative to the outputs' spread.
    weights_ : (n_members,) array
        0 for members that are not counted.
    residuals_ : (n, n_y) array
        Held-out residuals over their scale: what bands are calibrated on.
    """

    def __init__(
        self,
        model: KoopmanRNN | Sequence[KoopmanRNN] | None = None,
        n_members: int = 8,
        *,
        n_folds: int = 4,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.n_members = n_members
        self.n_folds = n_folds
        self.random_state = random_state

    def fit(
        self,
        X: Trajectories | Iterable[Trajectory],
        y: None = None,
        *,
        deadline: Callable[[], bool] | None = None,
        client: Any = None,
    ) -> KoopmanEnsemble:
        """Fit all members.

        Parameters
        ----------
        X : Trajectories
            Training records.
        y : None
            Not used; there for scikit-learn.
        deadline : callable, optional
            Says True when there is no time left; members that are not begun by then are left out.
        client : dask.distributed.Client, optional
            A cluster whose workers fit the members, each a task; the same members as in this process, and one
            whose worker is lost is fitted again. All of them begin together, whatever the deadline.
        """
        data = Trajectories.coerce(X, missing=True)
        n_members = check_integer(self.n_members, "n_members", low=1)
        n_folds = check_integer(self.n_folds, "n_folds")
        bases = _bases(self.model)
        seeds = make_rng(self.random_state).integers(2**31, size=n_members)
        folds = make_folds(data, n_folds) if n_folds else []
        jobs = []
        for i, seed in enumerate(seeds):
            member = clone(bases[i % len(bases)]).set_params(random_state=int(seed))
            which = (i // len(bases)) % len(folds) if folds else -1
            jobs.append((member, data, folds[which] if folds else None, which))
        self.members_: list[KoopmanRNN] = []
        errors, held_out = [], []
        for member, error, runs, which in self._fitted(jobs, deadline, check_client(client)):
            self.members_.append(member)
            if runs is not None:
                errors.append(error)
                held_out.append((which, runs))
        self.errors_ = np.array(errors) if errors else np.zeros(len(self.members_))
        self.weights_ = _weights(
            self.errors_, [i // len(bases) % max(len(folds), 1) for i in range(len(errors))]
        )
        calibration = []
        for f, fold in enumerate(folds):
            counted = [runs for (g, runs), w in zip(held_out, self.weights_, strict=True) if g == f and w > 0]
            if counted:
                calibration.append((fold, counted))
        self.calibrate(calibration)
        return self

    def _fitted(
        self, jobs: list[tuple[Any, ...]], deadline: Callable[[], bool] | None, client: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Members one after another, as long as there is time; or all of them by the workers."""
        if client is not None:
            yield from run_tasks(client, _fit_member, jobs)
            return
        for i, job in enumerate(jobs):
            if i and deadline is not None and deadline():
                return
            yield _fit_member(*job)

    def calibrate(self, held_out: Sequence[tuple[Fold, Sequence[list[FloatArray]]]]) -> KoopmanEnsemble:
        """Take the size of bands from members' runs through data they were not fitted to.

        Parameters
        ----------
        held_out : sequence of (Fold, runs)
            `runs[i]` are one member's free runs through the fold's held-out records.
        """
        errors, spreads = [], []
        for fold, members in held_out:
            for j, episode in enumerate(fold.test):
                runs = np.stack([member[j] for member in members])
                mean, spread = combine(runs, np.ones(len(runs)))
                errors.append((episode.outputs - mean)[fold.n_init :])
                spreads.append(spread[fold.n_init :])
        n_y = self.members_[0].n_y
        self.residuals_, self.residual_size_ = np.empty((0, n_y)), np.zeros(n_y)
        if errors:
            error, spread = np.concatenate(errors), np.concatenate(spreads)
            size = np.sqrt(np.nanmean(error**2, axis=0))
            size = np.where(size > 0, size, 1.0)
            self.residuals_, self.residual_size_ = np.abs(error) / (spread + size), size
        return self

    # --- predictions -------------------------------------------------------------------------------------

    def predict(self, X: Trajectories | Iterable[Trajectory], n_init: int | None = None) -> list[FloatArray]:
        """Mean free run of each episode.

        Parameters
        ----------
        X : Trajectories
            Episodes with the signals of the training data.
        n_init : int, optional
            Measured samples that initialise, as of `KoopmanRNN.predict`.
        """
        return [mean for mean, _ in self._runs(X, n_init)]

    def spread(self, X: Trajectories | Iterable[Trajectory], n_init: int | None = None) -> list[FloatArray]:
        """Standard deviation over the members; for `X` and `n_init` see `predict`."""
        return [spread for _, spread in self._runs(X, n_init)]

    def predict_band(
        self, X: Trajectories | Iterable[Trajectory], n_init: int | None = None, coverage: float = 0.9
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Lower and upper ends of a band that holds each sample with probability `coverage`.

        Parameters
        ----------
        X, n_init
            As in `predict`.
        coverage : float
            Nominal, in (0, 1); for records like those of training.

        Raises
        ------
        OptionError
            If the ensemble was fitted with `n_folds=0`, which leaves nothing to calibrate on.
        """
        check_fitted(self, "members_")
        check_number(coverage, "coverage", low=0.0, high=1.0, strict=True)
        if not len(self.residuals_):
            raise OptionError("n_folds is 0: there are no held-out residuals; fit with n_folds=4 for bands")
        factor = conformal_quantile(self.residuals_, coverage)
        bands = []
        for mean, spread in self._runs(X, n_init):
            half = factor * (spread + self.residual_size_)
            bands.append((mean - half, mean + half))
        return bands

    def score(
        self, X: Trajectories | Iterable[Trajectory], y: None = None, n_init: int | None = None
    ) -> float:
        """R2 of the mean free run; for `X`, `y` and `n_init` see `KoopmanRNN.score`."""
        check_fitted(self, "members_")
        data, best = Trajectories.coerce(X, missing=True), self.best_
        first = best._n_init(data, n_init)
        return r2_score(data, self.predict(data, first), first, best._network.scaling.y_scale)

    def _runs(
        self, X: Trajectories | Iterable[Trajectory], n_init: int | None
    ) -> list[tuple[FloatArray, FloatArray]]:
        check_fitted(self, "members_")
        data = Trajectories.coerce(X, missing=True)
        n_init = self.best_._n_init(data, n_init)
        data.long_enough(
            n_init, "initialise a free run (n_init)"
        )  # names the others once, not for each member
        with warnings.catch_warnings():
            # Who leaves is left out of the mean.
            warnings.simplefilter("ignore", KoopctrlWarning)
            runs = [m.predict(data, n_init) for m in self.members_]
        return [combine(np.stack([r[j] for r in runs]), self.weights_) for j in range(len(data))]

    # --- one model of many, and the faces it has -----------------------------------------------------------

    @property
    def best_(self) -> KoopmanRNN:
        """Member of the smallest held-out error: what controllers and exports take."""
        check_fitted(self, "members_")
        return self.members_[int(np.argmin(self.errors_))]

    def report(
        self, X: Trajectories | Iterable[Trajectory], horizons: tuple[int, ...] = (1, 10, 100)
    ) -> Report:
        """Report on the best member; for `X` and `horizons` see `KoopmanRNN.report`."""
        return self.best_.report(X, horizons)

    def lift_at(self, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None) -> LiftedModel:
        """Linear face of the best member; for `x_op` and `u_op` see `KoopmanRNN.lift_at`."""
        return self.best_.lift_at(x_op, u_op)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path`; `koopctrl.load` reads it."""
        from koopctrl.storage import save

        save(self, path)


def _fit_member(
    member: KoopmanRNN, data: Trajectories, fold: Fold | None, which: int
) -> tuple[KoopmanRNN, float, list[FloatArray] | None, int]:
    """A member fitted to all data, its held-out error and runs if there is a fold, and which one that is."""
    error, runs = np.nan, None
    if fold is not None:
        twin: Any = clone(member)
        error, runs = held_out_runs(twin, fold)
    return member.fit(data), error, runs, which


def _weights(errors: FloatArray, folds: list[int]) -> FloatArray:
    """1, or 0 for members far worse than the median of those judged on the same fold."""
    weights = np.ones(len(errors))  # all, where nothing was held out
    for f in set(folds):
        same = np.array(folds) == f
        weights[same] = errors[same] <= _PRUNE * np.median(errors[same])
    return weights


def _bases(model: Any) -> list[KoopmanRNN]:
    if model is None:
        return [KoopmanRNN()]
    bases = [model] if isinstance(model, KoopmanRNN) else items_of(model, "model")
    for one in bases:
        if not isinstance(one, KoopmanRNN):
            raise OptionError(f"model holds a {type(one).__name__}; expected KoopmanRNN objects")
    if not bases:
        raise OptionError("model is empty; expected at least one KoopmanRNN")
    return bases


def held_out_runs(
    model: KoopmanRNN,
    fold: Fold,
    deadline: Callable[[], bool] | None = None,
    starts: dict[Any, Any] | None = None,
) -> tuple[float, list[FloatArray]]:
    """Held-out error of a model fitted on a fold's training part, and its free runs on the other part.

    Where the parts are blocks of a record, every model rolls out through the whole record, as it will in
    use: one that is set back to the measurements at every block shows no drift.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # judged by its error
        if model.n_states is None:
            model.fit(fold.train)
            if fold.data is None:
                runs = model.predict(fold.test, fold.n_init)
            else:
                whole = model.predict(fold.data, fold.n_init)
                runs = [whole[i][a:b] for i, a, b in fold.blocks]
        else:
            known: dict[str, Any] = {"with_noise": False, "continuation": False, "deadline": deadline}
            iterations = min(model.max_iter, LINEAR_ITERATIONS) if model.refine is not False else 0
            key = (id(fold), model.n_states, model.feedthrough, iterations, model.refine, model.symmetry)
            if starts is not None and key in starts:
                known["known_start"] = starts[key]
            if (
                fold.data is not None
            ):  # rolled out through the held-out blocks, whose outputs are not looked at
                known["masked"] = (fold.data, fold.hidden_rows)
            model._known = known
            model.fit(fold.train)
            if starts is not None:
                starts[key] = model._start
            if fold.data is None:
                runs = model.predict(fold.test, fold.n_init)
            else:
                runs = [model._masked_runs[i][a:b] for i, a, b in fold.blocks]
    return nrmse(runs, fold), runs


def combine(runs: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation over `(member, time, n_y)` runs, without the members that left the others.

    Of four and more the mean is that of the middle half at every sample: nearly as good as the plain one
    where all are, and it does not follow a member that wanders for a while.
    """
    counted = weights > 0
    some = runs[counted] if counted.any() else runs
    finite = np.isfinite(some).all(axis=(1, 2))
    some = some[finite] if finite.any() else np.nan_to_num(some)
    if len(some) > 2:
        distance = np.sqrt(np.mean((some - np.median(some, axis=0)) ** 2, axis=(1, 2)))
        typical = np.median(distance)
        some = some[distance <= _OUTLIER * typical] if typical > 0 else some
    cut = len(some) // 4
    middle = np.sort(some, axis=0)[cut : len(some) - cut]
    return middle.mean(axis=0), some.std(axis=0)


__all__ = ["N_INIT", "KoopmanEnsemble"]
