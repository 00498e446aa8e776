"""Free runs of a fitted model: `predict`, `simulate` and `score`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, as_signal, check_finite, check_fitted, check_integer
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.identification.hidden_estimator import default_n_init, run_hidden, simulate_hidden
from koopctrl.network.free_run import (
    Bounds,
    as_state,
    bounds_of,
    check_signals,
    last_state,
    r2_score,
    run_records,
    run_states,
    warn_outside,
    with_short,
)

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN


class Runs:
    """What a `KoopmanRNN` predicts by itself."""

    if TYPE_CHECKING:
        # Of the estimator.
        hidden: bool
        n_u: int
        rollout_margin: float | None
        snapshots_: Any
        y_range_: tuple[FloatArray, FloatArray]
        dt_: float
        output_names_: tuple[str, ...]
        input_names_: tuple[str, ...]
        _network: Any

    @property
    def _model(self) -> KoopmanRNN:
        return cast("KoopmanRNN", self)

    @few_threads()
    def predict(self, X: Trajectories | Iterable[Trajectory], n_init: int | None = None) -> list[FloatArray]:
        """Free-run outputs of each episode, from its own start and inputs.

        Parameters
        ----------
        X : Trajectories
            Episodes with the signals the model was fitted to.
        n_init : int, optional
            Measured samples that initialise; by default as many as one window needs. Of a hidden state all of
            them are used (by default 20, or twice its order), of a window the last ones; if they do not fill
            it, the first sample is repeated before them.

        Returns
        -------
        list of (n_samples, n_y) arrays
            One per episode; the first `n_init` rows are the measured ones (where one is missing, of a hidden
            state the model's, of a window NaN). An episode of fewer has no others.

        Raises
        ------
        DataError
            If a sample that a window needs to start is missing; a hidden state starts from the others.

        Warns
        -----
        KoopctrlWarning
            If episodes are too short to initialise; they are named.
        RolloutWarning
            If a roll-out leaves the training data's range by more than half of it, or diverges.
        """
        check_fitted(self, "network_")
        data = Trajectories.coerce(X, missing=True)
        self._check_signals(data)
        first = self._n_init(data, n_init)
        return with_short(data, first, lambda kept: self._free_runs(kept, first))

    def _free_runs(self, data: Trajectories, n_init: int) -> list[FloatArray]:
        if self.hidden:
            runs = run_hidden(self._model, data, n_init, self.rollout_bounds())
            kept = [replace(r, outputs=r.outputs[n_init:]) for r in runs]
            first = [
                np.where(np.isnan(e.outputs[:n_init]), r.outputs[:n_init], e.outputs[:n_init])
                for e, r in zip(data, runs, strict=True)
            ]
        else:
            for e in data:
                check_finite(e.outputs[max(0, n_init - self._network.window.n_samples) : n_init], "X")
            kept = run_records(self._network, data, n_init, self.rollout_bounds())
            first = [e.outputs[: n_init - 1] for e in data]
        warn_outside(kept, *self.y_range_)
        return [np.concatenate([y, r.outputs]) for y, r in zip(first, kept, strict=True)]

    def rollout_bounds(self) -> Bounds | None:
        """What `predict` and exports hold their roll-outs within: the training range, widened.

        Returns
        -------
        (low, high) : arrays, or None
            Of the outputs, `(n_y,)`, or of hidden states, `(n_states,)`: their training range and
            `rollout_margin` times its width on both sides; None without a margin.
        """
        check_fitted(self, "network_")
        low, high = self.y_range_
        if self.hidden:
            low, high = self.snapshots_.x.min(axis=0), self.snapshots_.x.max(axis=0)
        return bounds_of(low, high, self.rollout_margin)

    def _n_init(self, data: Trajectories, n_init: int | None) -> int:
        if n_init is not None:
            return check_integer(n_init, "n_init", low=1)
        return default_n_init(self._model, data) if self.hidden else self._network.window.n_samples

    @few_threads()
    def simulate(self, x0: ArrayLike | Trajectory, u: ArrayLike | int) -> FloatArray:
        """One roll-out.

        Parameters
        ----------
        x0 : (n_x,) or (output_lags, n_y) array_like, or Trajectory
            State (lag window, newest first); or the last measured outputs in time order if there are no input
            lags; or a record whose end fills the window.
        u : (n_steps, n_u) array_like, or int
            Inputs, one row a step; for a model without inputs, the number of steps. With feedthrough, row `j`
            is the input at the time of output row `j + 1`.

        Returns
        -------
        (n_steps + 1, n_y) array
            Outputs, the initial one first.
        """
        if self.n_u == 0 and isinstance(u, (int, np.integer)):
            u_array = np.empty((check_integer(u, "u"), 0))
        else:
            u_array = as_signal(u, "u", self.n_u)
        if self.hidden:
            if isinstance(x0, Trajectory):
                self._check_signals(Trajectories([x0]))
            runs = simulate_hidden(self._model, x0, u_array, self.rollout_bounds())
        else:
            runs = run_states(self._network, self._initial_state(x0)[None], [u_array], self.rollout_bounds())
        warn_outside(runs, *self.y_range_)
        return runs[0].outputs

    def score(
        self, X: Trajectories | Iterable[Trajectory], y: None = None, n_init: int | None = None
    ) -> float:
        """Mean over outputs of the free run's coefficient of determination R2, all episodes pooled.

        Parameters
        ----------
        X : Trajectories
            Episodes with the signals the model was fitted to.
        y : None
            Not used; there for scikit-learn.
        n_init : int, optional
            Measured samples that initialise, and do not count; as in `predict`.

        Returns
        -------
        float
            1 for a perfect free run, 0 for one no better than the mean.
        """
        data = Trajectories.coerce(X, missing=True)
        first = self._n_init(data, n_init)
        return r2_score(data, self.predict(data, n_init), first, self._network.scaling.y_scale)

    def _initial_state(self, x0: ArrayLike | Trajectory) -> FloatArray:
        window = self._network.window
        if not isinstance(x0, Trajectory):
            return as_state(window, x0)
        self._check_signals(Trajectories([x0]))
        return last_state(window, x0)

    def _check_signals(self, data: Trajectories) -> None:
        check_signals(data, self.dt_, self.output_names_, self.input_names_)
