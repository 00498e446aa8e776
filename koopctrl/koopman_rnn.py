"""KoopmanRNN: the estimator. Hidden weights are sampled, outer weights solved for; there are no gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from koopctrl._validation import FloatArray, as_signal, check_fitted, check_integer
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.identification.one_step import Identification, Settings
from koopctrl.identification.settings import check_settings, start, take_steps
from koopctrl.network.free_run import (
    as_state,
    check_signals,
    last_state,
    r2_score,
    run_records,
    run_states,
    warn_outside,
)
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    import casadi
    import control
    import do_mpc

    from koopctrl.identification.report import Report
    from koopctrl.lifted.model import LiftedModel

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
        by the evidence of the data (`koopctrl.identification.least_squares`), and `solution_.ridge` holds it.
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
            work = start(self, data, settings)
        else:
            data = Trajectories.coerce(list(take_steps(X, _FIRST_STEPS)))
            work = start(self, data, settings)
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
            self._identification = start(self, data, self._checked_settings())
        self._finish(self._identification, data)
        return self

    def _checked_settings(self) -> Settings:
        return check_settings(self)

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
        runs = run_records(self._network, data, n_init)
        warn_outside(runs, *self.y_range_)
        return [np.concatenate([e.outputs[: n_init - 1], r.outputs]) for e, r in zip(data, runs, strict=True)]

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
        runs = run_states(self._network, x[None], [u_array])
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
        data = Trajectories.coerce(X)
        first = self._network.window.n_samples if n_init is None else n_init
        return r2_score(data, self.predict(data, n_init), first, self._network.scaling.y_scale)

    def _initial_state(self, x0: ArrayLike | Trajectory) -> FloatArray:
        window = self._network.window
        if not isinstance(x0, Trajectory):
            return as_state(window, x0)
        self._check_signals(Trajectories([x0]))
        return last_state(window, x0)

    def _check_signals(self, data: Trajectories) -> None:
        check_signals(data, self.dt_, self.output_names_, self.input_names_)

    # --- the other faces and exports, each a delegate ------------------------------------------------------

    def lift_at(
        self, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None, **options: Any
    ) -> LiftedModel:
        """Linear face around an operating point; for `options` see `koopctrl.lifted.lift.lift_network`.

        By default several linear models are compared in closed loop on the network, plain least squares among
        them, and the simplest of the best is kept: `print(lifted.choice)`.
        """
        from koopctrl.lifted.lift import lift_network

        return lift_network(self, x_op, u_op, **options)

    def report(
        self, X: Trajectories | Iterable[Trajectory], horizons: tuple[int, ...] = (1, 10, 100)
    ) -> Report:
        """Sizes, conditioning and errors by horizon of both faces on `X`.

        For `horizons` see `koopctrl.identification.report.make_report`.
        """
        from koopctrl.identification.report import make_report

        return make_report(self, Trajectories.coerce(X), horizons)

    def to_statespace(
        self, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None, **options: Any
    ) -> control.StateSpace:
        """`control.StateSpace` in lifted coordinates; `x_op`, `u_op` and `options` are those of `lift_at`."""
        return self.lift_at(x_op, u_op, **options).to_statespace()

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
