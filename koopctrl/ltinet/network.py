"""`LTINetwork`: a linear system as a sparse continuous-time network of first- and second-order neurons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl._time import check_dt
from koopctrl._validation import check_bool
from koopctrl.ltinet.construct.build import build
from koopctrl.ltinet.construct.convert import read_statespace
from koopctrl.ltinet.construct.forms import zeros_and_poles
from koopctrl.ltinet.construct.second_order import first_order, modal_fields, read_second_order
from koopctrl.ltinet.faces import Faces
from koopctrl.ltinet.network_file import network_fields, read_network
from koopctrl.ltinet.progress import Progress
from koopctrl.ltinet.reduce.reduction import reduced_fields, reduced_large
from koopctrl.ltinet.reduce.truncate import Truncation, truncate
from koopctrl.ltinet.runs import Runs
from koopctrl.ltinet.simulate.sampling import sampled_fields


def _work(_: Any, sys: Any, *__: Any, **___: Any) -> float:
    """Multiplications of a Schur form, by the size of a dense model's matrix."""
    first = sys[0] if isinstance(sys, (tuple, list)) and len(sys) else sys
    shape = getattr(getattr(first, "A", first), "shape", ())
    return 25.0 * shape[0] ** 3 if len(shape) == 2 else 0.0


@dataclass(frozen=True, eq=False, repr=False)
class LTINetwork(Runs, Faces):
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
    @few_threads(_work)
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
    @few_threads(_work)
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
    @few_threads()
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

    @few_threads()
    def reduce(
        self,
        order: int | None = None,
        *,
        tol: float | None = None,
        method: str = "balanced",
        match_dc: bool | None = None,
        input_weight: Any = None,
        output_weight: Any = None,
    ) -> LTINetwork:
        """A network of few neurons for nearly the same outputs, by balanced reduction.

        Poles that are not stable are kept as they are; discrete networks stay discrete.

        Parameters
        ----------
        order : int, optional
            Number of states, those of unstable poles included; fewer where fewer carry anything beyond
            rounding.
        tol : float, optional
            Instead: the smallest order whose bound is at most `tol` times the largest Hankel singular value.
        method : {"balanced", "irka"}
            Square-root balanced truncation, or from there on to the model whose impulse response has the
            least
            squared error (H2-optimal). For modal truncation see `truncate`.
        match_dc : bool, optional
            Keep the static gain (singular perturbation, the default); otherwise the gain at infinite
            frequency
            is kept, as "irka" has to.
        input_weight, output_weight : model, optional
            Stable models (anything `from_statespace` takes) with as many outputs (inputs) as the network has
            inputs (outputs): the error is small where their gains are large, for method "balanced".

        Returns
        -------
        LTINetwork
            With `reduction`: the Hankel singular values (with weights, those of the weighted Gramians) and
            `bound`, above which no frequency response differs; `error_bound().left_out` is the peak gain
            of the
            difference.

        Raises
        ------
        OptionError, ShapeError
            Neither or both of `order` and `tol`, an order out of range, or a weight that does not fit.
        SolverError
            The reduced model is not stable, which weights on both sides or "irka" may bring about.
        """
        weights = tuple(None if w is None else self._weight(w) for w in (input_weight, output_weight))
        return replace(self, **reduced_fields(self, order, tol, method, match_dc, (weights[0], weights[1])))

    def _weight(self, weight: Any) -> LTINetwork:
        if isinstance(weight, LTINetwork):
            return weight
        return LTINetwork.from_statespace(weight, time="discrete" if self.discrete else "auto")

    @few_threads()
    def truncate(self, tol: float, *, relative: bool = True, refit: bool = False) -> Truncation[LTINetwork]:
        """Drop the layers that contribute least; see `koopctrl.ltinet.reduce.truncate.truncate`."""
        return truncate(self, tol, relative=relative, refit=refit)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> LTINetwork:
        """Read a network that `save` wrote.

        Parameters
        ----------
        path : path-like
            File to read.

        Returns
        -------
        LTINetwork

        Raises
        ------
        DataError
            The file is damaged, holds something else, or was written by a newer version.
        """
        return cls(**read_network(path))


def network_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> LTINetwork:
    """Network in a file's header and arrays; `koopctrl.load` calls this."""
    return LTINetwork(**network_fields(header, arrays))
