"""KoopmanRNN: the estimator. Hidden weights are sampled, outer weights solved for; there are no gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from itertools import chain
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_signal,
    as_vector,
    check_choice,
    check_finite,
    check_fitted,
    check_integer,
    check_number,
    check_same_dt,
)
from koopctrl.coupling import COUPLINGS, Coupling
from koopctrl.errors import DataError, OptionError, RolloutWarning, ShapeError
from koopctrl.features import ACTIVATIONS, SAMPLERS
from koopctrl.features.lags import LagWindow
from koopctrl.identification import Identification, Settings
from koopctrl.recurrent import RecurrentNetwork
from koopctrl.regression import AUTO, SOLVERS
from koopctrl.trajectories import Trajectories, Trajectory

if TYPE_CHECKING:
    import casadi
    import control
    import do_mpc

    from koopctrl.lifted import LiftedModel
    from koopctrl.report import Report

# An iterator's first episodes, up to this many steps, fix scaling and hidden layer.
_FIRST_STEPS = 20_000


class KoopmanRNN(BaseEstimator):
    r"""Recurrent network with sampled hidden weights and one least-squares solve.

    The model (its nonlinear face) is

    .. math:: x_{k+1} = V\,[1;\ x_k;\ \psi(x_k);\ \mathrm{coupling}(x_k, u_k)]

    with `x` the measured signals, or a window of their last samples and inputs (lags).

    Parameters
    ----------
    n_features : int
        Width of the hidden layer; 0 leaves a model that is affine in `x`.
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
        by the evidence of the data (`koopctrl.regression`), and `solution_.ridge` holds it.
    solver : {"svd", "gram"}
        Triangular factor and SVD, or normal equations (half the work, half the digits).
    random_state : int, numpy.random.Generator or None
        Seed of the sampler; the same seed gives the same model to the bit.

    Attributes
    ----------
    network_ : RecurrentNetwork
        The nonlinear face.
    solution_ : LeastSquares
        Rank, singular values and residuals of the solve.
    dt_, output_names_, input_names_
        From the data.

    Notes
    -----
    In the spirit of Bolager, Cukarska, Burak, Monfared, Dietrich, *Gradient-free training of recurrent neural
    networks*, arXiv 2410.23467.
    """

    def __init__(
        self,
        n_features: int = 300,
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

    # --- fitting -----------------------------------------------------------------------------------------

    def fit(self, X: Trajectories | Iterable[Trajectory], y: None = None) -> KoopmanRNN:
        """Fit to episodes.

        Parameters
        ----------
        X : Trajectories, or an iterable or iterator of Trajectory
            An iterator is read once, in bounded memory; its first 20,000 steps fix scaling and hidden layer.
        y : None
            Not used; there for scikit-learn.

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
        if not isinstance(X, Iterator):
            data = Trajectories.coerce(X)
            work = self._start(data, settings)
        else:
            data = Trajectories.coerce(list(_take_steps(X, _FIRST_STEPS)))
            work = self._start(data, settings)
            data = data[:1]
            for episode in X:
                work.add((data + Trajectories.coerce(episode))[1:])  # refuses other signals
        self._finish(work, data)
        self.__dict__.pop("_identification", None)
        return self

    def partial_fit(self, X: Trajectories | Iterable[Trajectory], y: None = None) -> KoopmanRNN:
        """Add episodes and solve again; the first call fixes scaling and hidden layer.

        Only `partial_fit` keeps what it takes to go on: a first call after `fit` or `load` starts anew.

        Parameters
        ----------
        X : Trajectories, or an iterable of Trajectory
            Episodes with the signals of the first call.
        y : None
            Not used; there for scikit-learn.

        Returns
        -------
        KoopmanRNN
            Itself.
        """
        data = Trajectories.coerce(X)
        if hasattr(self, "_identification"):
            self._check_signals(data)
            self._identification.add(data)
        else:
            self._identification = self._start(data, self._checked_settings())
        self._finish(self._identification, data)
        return self

    def _checked_settings(self) -> Settings:
        check_choice(self.input_coupling, "input_coupling", COUPLINGS)
        check_integer(self.output_lags, "output_lags", low=1)
        check_integer(self.input_lags, "input_lags", low=1)
        return Settings(
            n_features=check_integer(self.n_features, "n_features"),
            sampler=check_choice(self.sampler, "sampler", tuple(SAMPLERS)),
            activation=check_choice(self.activation, "activation", ACTIVATIONS),
            feature_scale=check_number(self.feature_scale, "feature_scale", low=0.0, strict=True),
            rcond=check_number(self.rcond, "rcond", low=0.0, high=1.0),
            ridge=self._checked_ridge(),
            solver=check_choice(self.solver, "solver", SOLVERS),
        )

    def _checked_ridge(self) -> float | str:
        if isinstance(self.ridge, str):
            return check_choice(self.ridge, "ridge", (AUTO,))
        return check_number(self.ridge, "ridge", low=0.0)

    def _start(self, data: Trajectories, settings: Settings) -> Identification:
        if data.n_u == 0 and self.input_lags > 1:
            raise OptionError(f"input_lags is {self.input_lags} but the data have no inputs; expected 1")
        window = LagWindow(self.output_lags, self.input_lags, bool(self.feedthrough), data.n_y, data.n_u)
        try:
            rng = np.random.default_rng(self.random_state)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"random_state is {self.random_state!r}; expected a non-negative integer, a Generator or None"
            ) from error
        return Identification(data, window, Coupling(self.input_coupling, data.n_u), settings, rng)

    def _finish(self, work: Identification, data: Trajectories) -> None:
        self.network_, self.solution_ = work.solve()
        self.snapshots_ = work.snapshots
        self.y_range_ = (work.y_min, work.y_max)
        self.dt_, self.output_names_, self.input_names_ = data.dt, data.output_names, data.input_names

    # --- sizes -------------------------------------------------------------------------------------------

    @property
    def n_x(self) -> int:
        """Length of the state (of the lag window)."""
        return self._network.window.n_x

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        return self._network.window.n_y

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self._network.window.n_u

    @property
    def state_names_(self) -> tuple[str, ...]:
        """Names of the window's entries."""
        return self._network.window.names(self.output_names_, self.input_names_)

    @property
    def _network(self) -> RecurrentNetwork:
        check_fitted(self, "network_")
        return self.network_

    # --- roll-outs ---------------------------------------------------------------------------------------

    def predict(self, X: Trajectories | Iterable[Trajectory], n_init: int | None = None) -> list[FloatArray]:
        """Free-run outputs of each episode, from its own start and inputs.

        Parameters
        ----------
        X : Trajectories
            Episodes with the signals the model was fitted to.
        n_init : int, optional
            Measured samples that initialise; by default as many as one window needs.

        Returns
        -------
        list of (n_samples, n_y) arrays
            One per episode; the first `n_init` rows are the measured ones.

        Warns
        -----
        RolloutWarning
            If a roll-out leaves the training data's range by more than half of it, or diverges.
        """
        window = self._network.window
        data = Trajectories.coerce(X)
        self._check_signals(data)
        n_init = window.n_samples if n_init is None else check_integer(n_init, "n_init", low=1)
        x0 = np.stack([window.initial(e.outputs, e.inputs, n_init) for e in data])
        inputs = [window.acting_inputs(e.outputs, e.inputs, n_init) for e in data]
        n_steps = [len(e) - n_init for e in data]
        # Ragged episodes are rolled out together, padded with the last input; the padding is cut off again.
        padded = np.empty((len(data), max(n_steps), window.n_u))
        for i, u in enumerate(inputs):
            padded[i, : len(u)] = u
            padded[i, len(u) :] = u[-1] if len(u) else self._network.scaling.u_mean
        y, diverged_at = self._network.rollout(x0, padded)
        free_runs = [y[i, : n + 1] for i, n in enumerate(n_steps)]
        self._warn_outside(
            free_runs, [int(d) if d <= n else None for d, n in zip(diverged_at, n_steps, strict=True)]
        )
        return [
            np.concatenate([e.outputs[: n_init - 1], run]) for e, run in zip(data, free_runs, strict=True)
        ]

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
        x = self._initial_state(x0)
        if self.n_u == 0 and isinstance(u, (int, np.integer)):
            u_array = np.empty((check_integer(u, "u"), 0))
        else:
            u_array = as_signal(u, "u", self.n_u)
        y, diverged_at = self._network.rollout(x[None], u_array[None])
        self._warn_outside([y[0]], [int(diverged_at[0]) if diverged_at[0] <= len(u_array) else None])
        return y[0]

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
        data = Trajectories.coerce(X)
        start = self._network.window.n_samples if n_init is None else n_init
        predicted = self.predict(data, n_init)
        scale = self._network.scaling.y_scale  # so that squares of extreme units neither over- nor underflow
        truth = np.concatenate([e.outputs[start:] for e in data]) / scale
        if not len(truth):
            raise DataError(
                f"X has no sample after the first {start}, which initialise; expected longer episodes"
            )
        error = truth - np.concatenate([p[start:] for p in predicted]) / scale
        spread = np.sum((truth - truth.mean(axis=0)) ** 2, axis=0)
        spread = np.where(spread > 0, spread, len(truth))
        return float(np.mean(1.0 - np.sum(error**2, axis=0) / spread))

    def _initial_state(self, x0: ArrayLike | Trajectory) -> FloatArray:
        window = self._network.window
        if isinstance(x0, Trajectory):
            self._check_signals(Trajectories([x0]))
            if len(x0) < window.n_samples:
                raise DataError(
                    f"x0 has {len(x0)} samples; expected at least {window.n_samples} to fill the lag window"
                )
            return window.initial(x0.outputs, x0.inputs, len(x0))
        array = as_float_array(x0, "x0")
        if array.ndim == 2 and window.n_x == window.output_lags * window.n_y:
            if array.shape != (window.output_lags, window.n_y):
                raise ShapeError(
                    f"x0 has shape {array.shape}; expected ({window.n_x},) or "
                    f"({window.output_lags}, {window.n_y})"
                )
            return check_finite(array, "x0")[::-1].ravel()
        return as_vector(array, "x0", window.n_x)

    def _check_signals(self, data: Trajectories) -> None:
        check_same_dt(self.dt_, data.dt, "the model and the data")
        for name, count, expected in (
            ("outputs", data.n_y, len(self.output_names_)),
            ("inputs", data.n_u, len(self.input_names_)),
        ):
            if count != expected:
                raise ShapeError(f"the data have {count} {name}; expected {expected} as in the training data")
        for name in ("output_names", "input_names"):
            got, expected = getattr(data, name), getattr(self, name + "_")
            if got != expected:
                raise OptionError(
                    f"the data have {name} {list(got)}; expected {list(expected)} as in training"
                )

    def _warn_outside(self, runs: list[FloatArray], diverged: list[int | None]) -> None:
        held = [d for d in diverged if d is not None]
        if held:
            warnings.warn(
                f"{len(held)} of {len(runs)} roll-outs diverged, the first at step {min(held)}, and were "
                "held there. "
                "Try other lags, input_coupling='network', a larger ridge or more data",
                RolloutWarning,
                stacklevel=3,
            )
            return
        low, high = self.y_range_
        margin = 0.5 * (high - low)
        n_left = sum(bool(((r < low - margin) | (r > high + margin)).any()) for r in runs)
        if n_left:
            warnings.warn(
                f"{n_left} of {len(runs)} roll-outs left the training data's range by more than half of it; "
                "the model has not seen such values",
                RolloutWarning,
                stacklevel=3,
            )

    # --- the other faces and exports, each a delegate ------------------------------------------------------

    def lift_at(
        self,
        x_op: ArrayLike | None = None,
        u_op: ArrayLike | None = None,
        *,
        rank_tol: float = 1e-6,
        bilinear: bool = False,
    ) -> LiftedModel:
        """Linear face around an operating point; see `koopctrl.lifting.lift_network`."""
        from koopctrl.lifting import lift_network

        return lift_network(self, x_op, u_op, rank_tol=rank_tol, bilinear=bilinear)

    def report(
        self, X: Trajectories | Iterable[Trajectory], horizons: tuple[int, ...] = (1, 10, 100)
    ) -> Report:
        """Sizes, conditioning, errors by horizon of both faces on `X`; see `koopctrl.report.make_report`."""
        from koopctrl.report import make_report

        return make_report(self, Trajectories.coerce(X), horizons)

    def to_statespace(
        self, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None, *, rank_tol: float = 1e-6
    ) -> control.StateSpace:
        """`control.StateSpace` in lifted coordinates; for `x_op`, `u_op` and `rank_tol` see `lift_at`."""
        return self.lift_at(x_op, u_op, rank_tol=rank_tol).to_statespace()

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """`control.NonlinearIOSystem` of the nonlinear face."""
        from koopctrl.export.pycontrol import network_to_nlsys

        return network_to_nlsys(self)

    def to_casadi(self) -> casadi.Function:
        """`casadi.Function` `(x, u) -> x_next` of the nonlinear face."""
        from koopctrl.export.casadi import network_to_casadi

        return network_to_casadi(self)

    def to_do_mpc(self, **options: Any) -> do_mpc.model.Model:
        """`do_mpc.model.Model`; for `options` see `koopctrl.export.do_mpc.network_to_do_mpc`."""
        from koopctrl.export.do_mpc import network_to_do_mpc

        return network_to_do_mpc(self, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.storage import save

        save(self, path)


def _take_steps(episodes: Iterator[Trajectory], n_steps: int) -> Iterator[Trajectory]:
    """Take episodes until they hold `n_steps` steps."""
    taken = 0
    for episode in chain(episodes):
        yield episode
        taken += episode.n_steps
        if taken >= n_steps:
            return
