"""KoopmanRNN: the estimator. Hidden weights are sampled, outer weights solved for; there are no gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from koopctrl._threads import few_threads
from koopctrl._validation import (
    check_integer,
    check_number,
)
from koopctrl._workers import check_client
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import OptionError
from koopctrl.identification.hidden_estimator import fit_hidden_model, hidden_settings
from koopctrl.identification.one_step import MOST_BY_DEFAULT, Identification, Settings
from koopctrl.identification.recursive import RecursiveWeights
from koopctrl.identification.settings import (
    check_settings,
    fit_coefficients,
    fit_rounds,
    make_rng,
    refine_fit,
    start,
    take_steps,
)
from koopctrl.identification.symmetry import with_mirror_images
from koopctrl.model_faces import Faces
from koopctrl.model_runs import Runs
from koopctrl.model_sizes import Sizes
from koopctrl.network.lag_window import LagWindow

# An iterator's first episodes, up to this many steps, fix scaling and hidden layer.
_FIRST_STEPS = 20_000
# No layer is wider; what is asked for has not been checked where its work is estimated.
_WIDEST = 10**9


def _fit_work(model: KoopmanRNN, X: Any, *_: Any, **__: Any) -> float:
    """Multiplications of the least squares, by the size of records that are there as a whole."""
    n_pairs = sum(getattr(e, "n_steps", 0) for e in X) if isinstance(X, (Trajectories, list, tuple)) else 0
    asked = model.n_features if isinstance(model.n_features, int) else MOST_BY_DEFAULT
    return float(n_pairs) * min(max(asked, 0), _WIDEST) ** 2


class KoopmanRNN(Sizes, Runs, Faces, BaseEstimator):
    r"""Recurrent network with sampled hidden weights and one least-squares solve.

    The model (its nonlinear face) is

    .. math:: x_{k+1} = V\,[1;\ x_k;\ \psi(x_k);\ \mathrm{coupling}(x_k, u_k)]

    with `x` the measured signals, or a window of their last samples and inputs (lags). With `n_states` the
    state is hidden instead,

    .. math:: x_{k+1} = A x_k + B u_k + c + E\,\psi(x_k, u_k), \qquad y_k = C x_k + D u_k + d + F\,\psi_y(x_k)

    started from the best linear model of that order and refined along its own free run: the choice for
    measured records (`koopctrl.identification.hidden`, `koopctrl.identification.refinement`).

    Parameters
    ----------
    n_features : int, optional
        Width of the hidden layer; 0 leaves a model that is affine in `x`. By default a tenth of the pairs of
        samples that are fitted to (of the first batch, where there are several), and at most 300, or 20 with
        a hidden state.
    sampler : {"swim", "uniform", "elm"}
        How hidden weights are drawn: from pairs of data points weighted by the target's slope, from uniform
        pairs, or Gaussian.
    activation : {"tanh", "relu"}
    feature_scale : float
        Multiplies the neurons' width constants; 1 makes steep neurons, smooth systems like 0.1 to 0.5.
    input_coupling : {"bilinear", "linear", "quadratic", "network"}
        How inputs enter: `u`; also `u_i [1, x, psi]`; also `u_i u_j [1, x, psi]`; or a layer on `(x, u)`.
    output_lags, input_lags : int
        Numbers of past outputs and inputs that act on the next output; 1 and 1 where the state is measured.
    feedthrough : bool
        Whether `u[k]` acts on `y[k]`; then episodes need as many inputs as outputs.
    rcond : float
        Singular values of the column-scaled regressors below `rcond` times the largest are cut.
    ridge : float or "auto"
        Penalty on the outer weights, relative to each regressor's energy; `"auto"` chooses it for each output
        by the evidence of the data (`koopctrl.identification.least_squares`), and `solution_.ridge` holds it.
    solver : {"svd", "gram"}
        Triangular factor and SVD, or normal equations (half the work, half the digits).
    random_state : int, numpy.random.Generator or None
        Seed of the sampler; the same seed gives the same model to the bit.
    n_states : int, optional
        Order of a hidden state; None (default) for a state of measured signals or their lags. With it,
        `input_coupling`, `rcond` and `solver` are not used, `ridge` is the penalty on the neurons' weights in
        standardised units (`"auto"`: 1e-4), and `feature_scale` counts on states of unit spread.
    n_output_features : int
        Neurons of a hidden state's readout.
    refine : {"auto", "simulation"} or int or False
        Free run that outer weights are refined on: whole records (those beyond 1,000 samples in segments),
        segments of that many samples, or none. `"auto"`: whole records with a hidden state; without, twenty
        samples where a one-step fit loses some of the held-out segments, but few
        (`koopctrl.identification.window_refinement`).
    rounds : int
        Times the layer is sampled anew in the directions in which the learned nonlinear part varies: with
        long windows, where most neurons of the first sampling are wasted, and with hidden states.
    max_iter : int
        Most iterations of a refinement.
    validation_fraction : float
        Last part of every record that is not trained on and says where a refinement stops; 0 for none.
    rollout_margin : float, optional
        Roll-outs of `predict` and `simulate` are held within the training data's range of outputs (of hidden
        states), widened by this fraction of it; by default they may go anywhere.
    smooth : {"auto", False}
        Whether records with noise are smoothed by a first fit before a one-step fit to them, in rounds, as
        long as the free run on held-out episodes, as measured, gets better
        (`koopctrl.identification.smoothing`). Up to 50,000 pairs.
    symmetry : {None, "odd"}
        With `"odd"`, records are fitted to together with their mirror images `(-y, -u)`: of plants that know
        no sign, such as pendulums, whose records show one side better (`koopctrl.identification.symmetry`).
    parameters : str or sequence of str, optional
        Names of the records' inputs that are measured parameters: they make the model vary, and nobody moves
        them. Controllers take them as measured disturbances.
    parameter_coupling : {"affine", "layer"}
        Whether all outer weights are affine in the parameters (the model's matrices then are too:
        `lift_family`), or the neurons are functions of them.
    known : callable, optional
        Known part of a grey-box model: `known(x, u)`, or `known(x, u, theta)`, gives the next outputs from
        lists of components, and the network learns the rest. Written with functions from its argument `xp`
        (numpy or casadi) it is in exports too. `koopctrl.discretise(rhs, dt)` makes it from a right-hand
        side.
    theta0 : mapping of str to float, optional
        Names and first guesses of coefficients that are identified with the rest
        (`koopctrl.identification.grey_box`); `known` gets them as a dict.

    Attributes
    ----------
    network_ : RecurrentNetwork or HiddenNetwork
        The nonlinear face.
    solution_ : LeastSquares
        Rank, singular values and residuals of the solve (not with a hidden state).
    history_ : list of History
        Costs of each refinement of a hidden state.
    refinement_ : WindowHistory
        Of a one-step fit that was refined: costs and held-out errors.
    directions_ : list of Directions
        Of each round: `directions_[-1].shares` says which inputs of the layer matter
        (`koopctrl.plotting.plot_directions`).
    smoothing_ : Smoothing
        Where records were smoothed: held-out errors of each round, and the pairs as measured; `snapshots_`
        are the smoothed ones.
    noise_ : (Q, R)
        Covariances of process noise on a hidden state and of measurement noise, from the residuals.
    linear_ : InnovationModel
        Linear start of a hidden state.
    theta_ : dict of str to float
        Coefficients of the known part,
    grey_box_ : GreyBoxFit
        and their standard deviations and covariance; `print(model.grey_box_)`.
    dt_, output_names_, input_names_
        From the data.

    Notes
    -----
    In the spirit of Bolager, Cukarska, Burak, Monfared, Dietrich, *Gradient-free training of recurrent neural
    networks*, arXiv 2410.23467.
    """

    def __init__(
        self,
        n_features: int | None = None,
        *,
        sampler: str = "swim",
        activation: str = "tanh",
        feature_scale: float = 0.3,
        input_coupling: str = "bilinear",
        output_lags: int = 1,
        input_lags: int = 1,
        feedthrough: bool = False,
        rcond: float = 1e-15,
        ridge: float | str = "auto",
        solver: str = "svd",
        random_state: Any = None,
        n_states: int | None = None,
        n_output_features: int = 0,
        refine: str | int | bool = "auto",
        rounds: int = 0,
        max_iter: int = 60,
        validation_fraction: float = 0.0,
        rollout_margin: float | None = None,
        smooth: str | bool = "auto",
        symmetry: str | None = None,
        parameters: Sequence[str] | str | None = None,
        parameter_coupling: str = "affine",
        known: Callable[..., Any] | None = None,
        theta0: Mapping[str, float] | None = None,
    ) -> None:
        self.n_features = n_features
        self.sampler = sampler
        self.activation = activation
        self.feature_scale = feature_scale
        self.input_coupling = input_coupling
        self.output_lags = output_lags
        self.input_lags = input_lags
        self.feedthrough = feedthrough
        self.rcond = rcond
        self.ridge = ridge
        self.solver = solver
        self.random_state = random_state
        self.n_states = n_states
        self.n_output_features = n_output_features
        self.refine = refine
        self.rounds = rounds
        self.max_iter = max_iter
        self.validation_fraction = validation_fraction
        self.rollout_margin = rollout_margin
        self.smooth = smooth
        self.symmetry = symmetry
        self.parameters = parameters
        self.parameter_coupling = parameter_coupling
        self.known = known
        self.theta0 = theta0

    # --- fitting -----------------------------------------------------------------------------------------

    @few_threads(_fit_work)
    def fit(
        self, X: Trajectories | Iterable[Trajectory], y: None = None, *, client: Any = None
    ) -> KoopmanRNN:
        """Fit to episodes.

        Parameters
        ----------
        X : Trajectories, or an iterable or iterator of Trajectory
            An iterator is read once, in bounded memory; its first 20,000 steps fix scaling and hidden layer.
        y : None
            Not used; there for scikit-learn.
        client : dask.distributed.Client, optional
            A cluster whose workers lift and factor the pairs; the same answer to rounding, and what a lost
            worker took along is made again. For one-step fits.

        Returns
        -------
        KoopmanRNN
            Itself.

        Raises
        ------
        DataError
            If no episode is long enough for one pair, or nothing changes in the data.
        OptionError
            If a parameter is outside the values it may take.
        """
        settings = self._checked_settings()
        check_client(client)
        if self.n_states is not None:
            if client is not None:
                raise OptionError(
                    "client is for one-step fits, and n_states is set: a refinement is one task. Pass client "
                    "to KoopmanEnsemble.fit or select, whose members and candidates are tasks of their own"
                )
            hidden = hidden_settings(self, settings)
            known = self.__dict__.pop(
                "_known", {}
            )  # set by `select` and ensembles for fits that are only judged
            fit_hidden_model(
                self,
                with_mirror_images(Trajectories.coerce(X, missing=True), self.symmetry),
                hidden,
                make_rng(self.random_state),
                **known,
            )
            return self
        if not isinstance(X, Iterator):
            data = self._whole(X)
            work, fitted, directions, smoothing = fit_rounds(self, data, settings, client)
            self._forget()
            if directions:
                self.directions_ = directions
            if smoothing is not None:
                self.smoothing_ = smoothing
            known = work.blank.known
            if known is not None and known.names:
                work, self.grey_box_ = fit_coefficients(self, fitted, settings, work)
                self.theta_ = dict(zip(known.names, self.grey_box_.theta.tolist(), strict=True))
        else:
            self._refuse_rounds("fit on an iterator")
            self._refuse_known("fit on an iterator")
            self._forget()
            data = with_mirror_images(self._whole(list(take_steps(X, _FIRST_STEPS))), self.symmetry)
            work = start(self, data, settings, client=client)
            data = data[:1]
            for episode in X:
                more = with_mirror_images(self._whole(episode), self.symmetry)
                work.add((data + more)[1:])  # refuses other signals
        self._finish(work, data)
        refine_fit(self, work)
        self.__dict__.pop("_identification", None)
        return self

    @few_threads(_fit_work)
    def partial_fit(
        self,
        X: Trajectories | Iterable[Trajectory],
        y: None = None,
        *,
        forgetting: float | None = None,
    ) -> KoopmanRNN:
        """Add episodes and solve again; the first call fixes scaling and hidden layer.

        Without `forgetting`, only `partial_fit` keeps what it takes to go on: a first call after `fit` or
        `load` starts anew. With it, a fitted model follows its plant: outer weights are updated by each pair
        (`koopctrl.identification.recursive`), `solution_` stays that of the last whole solve.

        Parameters
        ----------
        X : Trajectories, or an iterable of Trajectory
            Episodes with the signals of the first call; with `forgetting` one of two samples (or one more
            than a lag window holds) is one new pair.
        y : None
            Not used; there for scikit-learn.
        forgetting : float, optional
            Weight of a pair relative to the next one, in (0, 1]: 0.999 remembers some thousand.

        Returns
        -------
        KoopmanRNN
            Itself.
        """
        if self.n_states is not None:
            raise OptionError(
                "partial_fit is for one-step fits, and n_states is set; call fit with all episodes"
            )
        if forgetting is not None:
            check_number(forgetting, "forgetting", low=0.0, high=1.0, strict=True)
        data = with_mirror_images(self._whole(X), self.symmetry)
        if forgetting is not None and hasattr(self, "network_"):
            self._check_signals(data)
            self._follow(data, float(forgetting))
            return self
        if hasattr(self, "_identification"):
            self._check_signals(data)
            self._identification.add(data)
        else:
            self._refuse_rounds("partial_fit")
            self._refuse_known("partial_fit")
            self._identification = start(self, data, self._checked_settings())
            self._forget()
        self._finish(self._identification, data)
        return self

    def _follow(self, data: Trajectories, forgetting: float) -> None:
        """Update the outer weights; what it takes is made again where anything else has changed the model."""
        self.__dict__.pop("_identification", None)  # has not seen these pairs
        work = self.__dict__.get("_recursive")
        if work is None or work.network is not self.network_ or work.forgetting != forgetting:
            work = RecursiveWeights(self.network_, self.snapshots_, self.solution_, forgetting)
        w = self.network_.window
        self.network_ = work.update(*data.snapshots(w.output_lags, w.input_lags, w.feedthrough))
        self.snapshots_, self._recursive = work.snapshots, work
        self.__dict__.pop("smoothing_", None)  # new pairs are as measured
        low, high = self.y_range_
        outputs = np.concatenate([e.outputs for e in data])
        self.y_range_ = (np.minimum(low, outputs.min(axis=0)), np.maximum(high, outputs.max(axis=0)))

    def _forget(self) -> None:
        """Drop what not every fit leaves behind."""
        for name in ("directions_", "smoothing_", "theta_", "grey_box_", "refinement_"):
            self.__dict__.pop(name, None)

    def _refuse_rounds(self, where: str) -> None:
        if self.rounds:
            raise OptionError(
                f"rounds is {self.rounds}, and {where} reads the data once; expected 0, or "
                "fit on Trajectories"
            )

    def _refuse_known(self, where: str) -> None:
        if self.theta0 is not None:
            raise OptionError(
                f"theta0 is given, and {where} reads the data once; expected fit on Trajectories, then None"
            )

    def _whole(self, X: Any) -> Trajectories:
        """Records, those with missing outputs cut into the stretches between, each long enough for a pair."""
        data = Trajectories.coerce(X, missing=True)
        if not data.missing:
            return data
        output_lags = check_integer(self.output_lags, "output_lags", low=1)
        input_lags = check_integer(self.input_lags, "input_lags", low=1)
        window = LagWindow(output_lags, input_lags, bool(self.feedthrough), data.n_y, data.n_u)
        return data.whole_stretches(window.n_samples + 1)

    def _checked_settings(self) -> Settings:
        return check_settings(self)

    def _finish(self, work: Identification, data: Trajectories) -> None:
        self.network_, self.solution_ = work.solve()
        self.snapshots_ = work.snapshots
        self.y_range_ = (work.y_min, work.y_max)
        self.dt_, self.output_names_, self.input_names_ = data.dt, data.output_names, data.input_names
