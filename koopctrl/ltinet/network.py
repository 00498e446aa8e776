"""`LTINetwork`: a linear system as a sparse continuous-time network of first- and second-order neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._time import check_dt, same_dt
from koopctrl._validation import FloatArray, as_float_array, as_vector, check_bool, check_choice
from koopctrl.errors import OptionError, ShapeError, TimeBaseError
from koopctrl.ltinet.construct.build import build
from koopctrl.ltinet.construct.convert import read_statespace
from koopctrl.ltinet.construct.forms import zeros_and_poles
from koopctrl.ltinet.construct.second_order import first_order, modal_fields, read_second_order
from koopctrl.ltinet.judge.error_bound import ErrorBound, error_bound
from koopctrl.ltinet.judge.frequency import transfer_error, transfer_function
from koopctrl.ltinet.neurons import Summary
from koopctrl.ltinet.progress import Progress
from koopctrl.ltinet.reduce.reduction import reduced_fields, reduced_large
from koopctrl.ltinet.reduce.truncate import Truncation, truncate
from koopctrl.ltinet.simulate import exact as engine
from koopctrl.ltinet.simulate.dead_time import delayed_outputs
from koopctrl.ltinet.simulate.integrate import simulate_neurons
from koopctrl.ltinet.simulate.response import LTIResponse, read_grid, read_inputs, read_start
from koopctrl.ltinet.simulate.sampling import sampled_fields
from koopctrl.ltinet.structure import NetworkStructure

HOLDS = ("zoh", "foh")


@dataclass(frozen=True, eq=False, repr=False)
class LTINetwork(NetworkStructure):
    """Network of independent horizontal layers that computes `x' = A x + B u, y = C x + D u`.

    With `A = T blkdiag(A_1 .. A_L) T^-1` every block is a layer `w_i' = A_i w_i + B_i u`, whose 1x1 and 2x2
    diagonal entries are first- and second-order neurons, evaluated last to first; the outputs are
    `y = sum_i C_i w_i + D u`. Make one with `from_statespace`.

    In the spirit of Datar, Datar, Dietrich and Schilders, *Systematic construction of continuous-time neural
    networks for linear dynamical systems*, SIAM J. Sci. Comput. 47(4), 2025, arXiv 2403.16215.

    Attributes
    ----------
    blocks : tuple of array (k, k)
        One quasi upper triangular block per layer, in 1/s.
    T, T_inv : array (n, m) and (m, n)
        `x = T w`, `w = T_inv x`; square unless slow modes alone were asked for.
    B, C, D : array (m, n_u), (n_y, m), (n_y, n_u)
        Input weights, output weights and direct links.
    cond : float
        2-norm condition number of `T`.
    residual : float
        Relative residual of the block form.
    method : str
        Path of the block form.
    merges : tuple of Merge
        Why eigenvalues share a layer.
    defects : Defects
        What the error bound is made of.
    sample_time : float
        Sample time in seconds of the discrete model it came from; 0 if that was continuous.
    state_names, input_names, output_names : tuple of str
    scales : array (n,)
        Powers of two by which the model's states were balanced; `cond` is that of `T / scales`.
    discrete : bool
        Neurons are recurrences `w_i+ = A_i w_i + B_i u` at `sample_time` instead of differential equations.
    input_delays, output_delays : array (n_u,), (n_y,) or None
        Dead times in seconds.
    reduction : Reduction or None
        How it was reduced: order, Hankel singular values, bound.
    """

    @classmethod
    def from_statespace(
        cls,
        sys: Any,
        *,
        cond_max: float = 1e8,
        method: str = "auto",
        balance: bool = False,
        n_modes: int | None = None,
        dt: float | None = None,
        time: str = "auto",
        input_delays: ArrayLike | None = None,
        output_delays: ArrayLike | None = None,
        match_dc: bool = True,
        progress: bool = False,
    ) -> LTINetwork:
        """Build the network of a model.

        Parameters
        ----------
        sys : model or tuple (A, B, C, D[, E][, dt])
            A control.StateSpace or TransferFunction, an object with `A, B, C, D` (and `E`), with `num, den`
            or
            with `zeros, poles, gain`, a pyMOR model. `E x' = A x + B u` may be singular with index 1.
            Continuous, or discrete with a sample time; matrices may be scipy.sparse. A discrete model gives
            continuous neurons through the matrix logarithm (sampled with held inputs, the network gives it
            back) or, where there is none, discrete ones; see `time`.
        cond_max : float
            Largest condition number of the transformation. Larger means more and smaller layers, and an error
            of up to `cond_max` times rounding.
        method : {"auto", "symmetric", "schur"}
            "schur" keeps one layer with `cond = 1`, the accuracy reference.
        balance : bool
            Scale second-order neurons so that their two states weigh alike; this changes `cond`.
        n_modes : int, optional
            Keep the slowest modes only, of a symmetric `A`, which may be large and sparse.
        dt : float, optional
            Sample time in seconds where `sys` does not carry one; another than its own is refused.
        time : {"auto", "continuous", "discrete"}
            Whether the neurons of a discrete model are continuous (found through the matrix logarithm) or
            discrete (recurrences). "auto" is continuous where a real logarithm exists.
        input_delays, output_delays : scalar or array (n_u,), (n_y,), optional
            Dead times in seconds.
        match_dc : bool
            With `n_modes`: keep the static gain by a direct link.
        progress : bool
            Show a progress bar.

        Returns
        -------
        LTINetwork

        Raises
        ------
        ShapeError, DataError, OptionError, TimeBaseError
            Input that cannot be used.
        SolverError
            A model whose response depends on digits that float64 does not have; `time="continuous"` and no
            real logarithm; a LAPACK failure.
        """
        check_bool(progress, "progress")
        with Progress(progress, "block form") as bar:
            return cls(
                **build(
                    sys,
                    cond_max,
                    method,
                    balance,
                    n_modes,
                    dt,
                    time,
                    (input_delays, output_delays),
                    match_dc,
                    bar.step,
                )
            )

    @classmethod
    def from_second_order(
        cls,
        M: Any,
        P: Any,
        K: Any,
        B: Any,
        *,
        C_position: Any = None,
        C_velocity: Any = None,
        D: Any = None,
        cond_max: float = 1e8,
    ) -> LTINetwork:
        """Network of `M q'' + P q' + K q = B u`, `y = C_position q + C_velocity q' + D u`.

        Where mass, damping and stiffness are symmetric and the modes diagonalise the damping (Rayleigh
        damping), each
        mode is one neuron of second order, from one symmetric problem of the size of `M`; any other model
        goes
        through its first-order form. States are `(q, q')`.

        Parameters
        ----------
        M, P, K : array (n, n)
            Mass, damping, stiffness; may be scipy.sparse.
        B : array (n, n_u)
            Forces.
        C_position, C_velocity : array (n_y, n), optional
            Outputs; one of them is needed.
        D : array (n_y, n_u), optional
            Direct link.
        cond_max : float
            As in `from_statespace`, for models without a modal form.

        Returns
        -------
        LTINetwork

        Raises
        ------
        ShapeError, DataError, OptionError
            Matrices that cannot be used.
        SolverError
            As in `from_statespace`.
        """
        M, P, K, B, C_q, C_v, D = read_second_order(M, P, K, B, C_position, C_velocity, D)
        n, n_u, n_y = len(M), B.shape[1], len(C_q)
        names: dict[str, Any] = {
            "state_names": tuple([*(f"q{i}" for i in range(n)), *(f"v{i}" for i in range(n))]),
            "input_names": tuple(f"u{j}" for j in range(n_u)), "output_names": tuple(f"y{i}" for i in
            range(n_y)),
        }  # fmt: skip
        fields = modal_fields(M, P, K, B, C_q, C_v)
        if fields is None:
            whole = (*first_order(M, P, K, B, C_q, C_v), D)
            fields = build(whole, cond_max, "auto", False, None, None)
        return cls(**{**fields, "D": D, "sample_time": 0.0, **names})

    @classmethod
    def from_zpk(cls, zeros: ArrayLike, poles: ArrayLike, gain: float, *, dt: float = 0.0) -> LTINetwork:
        """Network of `gain prod(s - z) / prod(s - p)`; no polynomial is formed.

        Parameters
        ----------
        zeros, poles : array
            Complex ones with their conjugates.
        gain : float
            Leading coefficient.
        dt : float
            Sample time in seconds of a discrete model; 0 for a continuous one.

        Returns
        -------
        LTINetwork
        """
        return cls.from_statespace((*zeros_and_poles(zeros, poles, gain), dt))

    @classmethod
    def from_reduced(
        cls,
        sys: Any,
        order: int | None = None,
        *,
        tol: float | None = None,
        match_dc: bool = True,
    ) -> LTINetwork:
        """Network of few neurons for a large sparse model, which is never made dense.

        Balanced reduction with low-rank Gramians (ADI); memory is `n` times a few dozen columns.

        Parameters
        ----------
        sys : as in `from_statespace`
            Continuous and stable; `A` (and `E`) scipy.sparse.
        order : int, optional
            Number of states.
        tol : float, optional
            Instead: the smallest order whose bound is at most `tol` times the largest Hankel singular value.
        match_dc : bool
            Keep the static gain.

        Returns
        -------
        LTINetwork
            `reduction.residuals` say how much of the Gramians was found, `reduction.bound` counts the Hankel
            singular values that were.

        Raises
        ------
        ShapeError, DataError, OptionError, TimeBaseError
            Input that cannot be used.
        SolverError
            The model is not stable, or its pencil is singular.
        """
        data = read_statespace(sys)
        return cls(**reduced_large(data, data.E, order, tol, match_dc))

    @cached_property
    def _dynamics(self) -> Any:
        return self.block_matrix()

    def ode(
        self, t: float, x: ArrayLike, u: ArrayLike | Callable[[float], ArrayLike] | None = None
    ) -> FloatArray:
        """Right-hand side `blkdiag(A_i) x + B u` in neuron states, for `scipy.integrate.solve_ivp`.

        Parameters
        ----------
        t : float
            Seconds; used only to evaluate a callable `u`.
        x : array (m,)
            Neuron states; `to_neurons(x0)` gives those of an original state.
        u : array (n_u,), callable of t, or None
            Inputs; None is zero.

        Returns
        -------
        array (m,)
        """
        if self.discrete:
            raise OptionError("ode was called of a discrete network; expected a continuous one. Use step")
        self._check_prompt("ode")
        return self._linear(x, u(t) if callable(u) else u)

    def step(self, x: ArrayLike, u: ArrayLike | None = None) -> FloatArray:
        """Next neuron states `blkdiag(A_i) x + B u` of a discrete network; see `sample` for continuous
        ones.
        """
        if not self.discrete:
            raise OptionError(
                "step was called of a continuous network; expected a discrete one. Use sample(dt)"
            )
        self._check_prompt("step")
        return self._linear(x, u)

    def _linear(self, x: ArrayLike, u: ArrayLike | None) -> FloatArray:
        state = as_float_array(x, "x")
        if state.shape != (self.n_states,):
            raise ShapeError(f"x has shape {state.shape}; expected ({self.n_states},), see to_neurons")
        rate = self._dynamics @ state
        return rate if u is None else rate + self.B @ as_vector(u, "u", self.B.shape[1])

    def _check_prompt(self, what: str) -> None:
        if self.delayed:
            raise OptionError(
                f"{what} was called of a network with dead times; expected none. Use simulate, or the "
                "matrices of sample(dt), which hold dead times as chains of states"
            )

    def sample(self, dt: float) -> LTINetwork:
        """The discrete network with the same layers that gives this one's outputs for inputs held over `dt`.

        Exact, layer by layer: `A_i -> exp(A_i dt)`, `B_i -> int_0^dt exp(A_i s) ds B_i`. Dead times stay;
        they must be multiples of `dt` for what needs matrices.

        Parameters
        ----------
        dt : float
            Sample time in seconds.

        Returns
        -------
        LTINetwork
        """
        return replace(self, **sampled_fields(self, check_dt(dt)))

    def output(self, x: ArrayLike, u: ArrayLike | None = None) -> FloatArray:
        """Outputs `C x + D u` of neuron states `(..., m)` and inputs `(..., n_u)`."""
        y = _rows(x, "x", self.n_states) @ self.C.T
        return y if u is None else y + _rows(u, "u", self.B.shape[1]) @ self.D.T

    def to_neurons(self, x: ArrayLike) -> FloatArray:
        """Neuron states `T_inv x` of original states `(..., n)`."""
        return _rows(x, "x", self.T.shape[0]) @ self.T_inv.T

    def to_states(self, w: ArrayLike) -> FloatArray:
        """Original states `T w` of neuron states `(..., m)`."""
        return _rows(w, "w", self.n_states) @ self.T.T

    def simulate(
        self,
        t: ArrayLike,
        u: ArrayLike | None = None,
        x0: ArrayLike | None = None,
        *,
        hold: str = "zoh",
        states: bool = False,
    ) -> LTIResponse:
        """Exact response on a uniform grid; no solver tolerance is involved.

        Parameters
        ----------
        t : array (N + 1,)
            Uniform grid in seconds.
        u : array ([batch,] N or N + 1, n_u), scalar or None
            Inputs. Held over `[t_k, t_k+1)` for "zoh", interpolated linearly for "foh" (N + 1 rows), as
            `control.forced_response` does.
        x0 : array ([batch,] n), optional
            Initial state in the original coordinates.
        hold : {"zoh", "foh"}
            How inputs run between the instants.
        states : bool
            Return the states too, in original coordinates; this costs a product with `T` per instant.

        Returns
        -------
        LTIResponse

        Raises
        ------
        ShapeError, TimeBaseError, DataError, OptionError
            Input that cannot be used.
        SolverError
            The response of an unstable system overflows.
        """
        check_choice(hold, "hold", HOLDS)
        time, h = read_grid(t)
        U, batched = read_inputs(u, len(time), self.B.shape[1], hold)
        if self.sample_time and hold == "foh":
            raise OptionError(
                'hold is "foh", but the model was discrete; expected "zoh", under which it was converted'
            )
        if self.discrete and not same_dt(h, self.sample_time, len(time)):
            raise TimeBaseError(
                f"t has steps of {h:g} s; expected the sample time of the discrete network, "
                f"{self.sample_time:g} s. Resample, or build continuous neurons (time='continuous')"
            )
        w0 = read_start(x0, self.T.shape[0], len(U)) @ self.T_inv.T
        if states and self.delayed:
            raise OptionError("states is True, but the network has dead times; expected states=False")
        if self.delayed:
            y, X = delayed_outputs(self, U, w0, h, hold), None
        elif states:
            W = engine.neuron_states(self, U, w0, h, hold)
            y, X = W @ self.C.T + U @ self.D.T, W @ self.T.T
        else:
            y, X = engine.outputs(self, U, w0, h, hold), None
        if not batched:
            y, U, X = y[0], U[0], None if X is None else X[0]
        return LTIResponse(time, y, U, X, self.input_names, self.output_names, self.state_names, hold)

    def error_bound(
        self,
        u_bound: float = 1.0,
        tol: ArrayLike = 0.0,
        x0_bound: float = 0.0,
        horizon: float | None = None,
        step: float | None = None,
    ) -> ErrorBound:
        """Bound on the outputs' error; see `koopctrl.ltinet.judge.error_bound.error_bound`."""
        return error_bound(self, u_bound, tol, x0_bound, horizon, step)

    def transfer_function(self, points: ArrayLike) -> np.ndarray:
        """`C (s I - blkdiag)^-1 B + D` at complex points; see `koopctrl.ltinet.judge.frequency`."""
        return transfer_function(self, points)

    def transfer_error(self, points: ArrayLike) -> np.ndarray:
        """Model's transfer function minus the network's; see `koopctrl.ltinet.judge.frequency`."""
        return transfer_error(self, points)

    def reduce(
        self,
        order: int | None = None,
        *,
        tol: float | None = None,
        method: str = "balanced",
        match_dc: bool = True,
    ) -> LTINetwork:
        """A network of few neurons for nearly the same outputs, by balanced reduction.

        Poles that are not stable are kept as they are; discrete networks stay discrete.

        Parameters
        ----------
        order : int, optional
            Number of states, those of unstable poles included.
        tol : float, optional
            Instead: the smallest order whose bound is at most `tol` times the largest Hankel singular value.
        method : {"balanced"}
            Square-root balanced truncation; for modal truncation see `truncate`.
        match_dc : bool
            Keep the static gain (singular perturbation); otherwise the gain at infinite frequency is kept.

        Returns
        -------
        LTINetwork
            With `reduction`: the Hankel singular values and `bound`, above which no frequency response
            differs; `error_bound().left_out` is the peak gain of the difference.

        Raises
        ------
        OptionError
            Neither or both of `order` and `tol`, or an order out of range.
        """
        return replace(self, **reduced_fields(self, order, tol, method, match_dc))

    def truncate(self, tol: float, *, relative: bool = True, refit: bool = False) -> Truncation[LTINetwork]:
        """Drop the layers that contribute least; see `koopctrl.ltinet.reduce.truncate.truncate`."""
        return truncate(self, tol, relative=relative, refit=refit)

    def simulate_neurons(
        self,
        t: ArrayLike,
        u: ArrayLike | Callable[[float], ArrayLike] | None = None,
        x0: ArrayLike | None = None,
        *,
        tol: float = 1e-8,
    ) -> LTIResponse:
        """Integrate neuron by neuron; see `koopctrl.ltinet.simulate.integrate.simulate_neurons`."""
        return simulate_neurons(self, t, u, x0, tol)

    def __repr__(self) -> str:
        """Dimensions, neurons by order and conditioning."""
        second = sum(int(np.count_nonzero(np.diagonal(block, -1))) for block in self.blocks)
        return (
            f"LTINetwork({self.n_states} states in {len(self.blocks)} layers, "
            f"{self.n_states - 2 * second} first- and {second} second-order neurons, "
            f"n_u={self.B.shape[1]}, n_y={self.C.shape[0]}, cond(T)={self.cond:.3g})"
        )

    def summary(self) -> Summary:
        """Layers, neurons, weights, conditioning and bound; prints as a table."""
        second = sum(int(np.count_nonzero(np.diagonal(block, -1))) for block in self.blocks)
        inner = sum(int(np.count_nonzero(layer.weights)) for layer in self.layers if len(layer.matrix) > 1)
        total = sum(int(np.count_nonzero(M)) for M in (*self.blocks, self.B, self.C, self.D))
        n, n_u, n_y = self.T.shape[0], self.B.shape[1], self.C.shape[0]
        return Summary(
            n_states=self.n_states,
            n_layers=len(self.blocks),
            first_order=self.n_states - 2 * second,
            second_order=second,
            depth=max((layer.depth for layer in self.layers), default=0),
            intra_layer_weights=inner,
            weights=total,
            dense_weights=n * n + n * n_u + n * n_y + n_u * n_y,
            cond=self.cond,
            residual=self.residual,
            method=self.method,
            bound=float(self.error_bound().total.max(initial=0.0)),
        )

    def to_statespace(self, coordinates: str = "block") -> Any:
        """`control.StateSpace`; `coordinates` are neuron states ("block") or the model's own ("original")."""
        from koopctrl.export.ltinet_pycontrol import network_to_statespace

        return network_to_statespace(self, coordinates)

    def to_casadi(self, name: str = "ltinet") -> Any:
        """`casadi.Function` `(x, u) -> (dx, y)` in neuron states, called `name`."""
        from koopctrl.export.ltinet_casadi import network_to_casadi

        return network_to_casadi(self, name)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the network on `ax`; for the other `options` see `koopctrl.plotting.ltinet.plot_network`."""
        from koopctrl.plotting.ltinet import plot_network

        return plot_network(self, ax, **options)


def _rows(value: ArrayLike, name: str, size: int) -> FloatArray:
    """Convert to `(..., size)`; a scalar is accepted when `size` is 1."""
    array = as_float_array(value, name)
    if array.ndim == 0 and size == 1:
        array = array[None]
    if array.ndim == 0 or array.shape[-1] != size:
        raise ShapeError(f"{name} has shape {array.shape}; expected (..., {size})")
    return array
