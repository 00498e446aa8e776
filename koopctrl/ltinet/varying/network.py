"""`ParameterNetwork`: one network for all values of a parameter, with weights that are affine in it.

The full model `x' = (A_0 + sum p_i A_i) x + B(p) u` is projected on one basis for the whole box of its
parameters, found from the sum of the Gramians at a few points of it, so that the dependence on `p` stays as
it is:

    A_r(p) = W' A_0 T + sum_i p_i W' A_i T.

To these Gramians may be added what a moving parameter excites beyond frozen ones, the first term of a
Volterra
series (`gramians`).

The basis is turned such that at the middle of the box the network has the layers of an `LTINetwork`;
elsewhere further
links, in proportion to the distance, join them. Interpolating networks of frozen models instead loses what a
moving
parameter does to the state (their coordinates move with it), which a common basis does not.

Source for the averaged Gramians: Benner, Gugercin and Willcox, *A survey of projection-based model reduction
methods for
parametric dynamical systems*, SIAM Review 57, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag

from koopctrl._time import check_dt
from koopctrl._validation import FloatArray, as_float_array, check_choice, check_integer, check_number
from koopctrl.errors import OptionError, ShapeError, SolverError
from koopctrl.ltinet.construct.block_form import block_form
from koopctrl.ltinet.network import LTINetwork
from koopctrl.ltinet.reduce.balanced import project
from koopctrl.ltinet.simulate.response import LTIResponse, read_grid, read_inputs, read_start
from koopctrl.ltinet.varying.affine import AffineModel, combine, read_affine, sample_points
from koopctrl.ltinet.varying.gramians import common_basis, moving_gramians
from koopctrl.ltinet.varying.motion import moving_response, step_maps_of

_CHECKS = 7


@dataclass(frozen=True, eq=False)
class ParameterNetwork:
    """Network `w' = A(p) w + B(p) u`, `y = C(p) w + D(p) u` with affine weights. Make one with `from_affine`.

    Attributes
    ----------
    model : AffineModel
        Its matrices, in neuron coordinates: at `nominal` they are in block form.
    nominal : array (n_p,)
        Middle of the box.
    T, T_inv : array (n, m), (m, n)
        `x = T w`, `w = T_inv x` with the full model's state.
    hankel : array
        Square roots of the eigenvalues of the product of the summed Gramians, largest first.
    """

    model: AffineModel
    nominal: FloatArray
    T: FloatArray
    T_inv: FloatArray
    hankel: FloatArray

    @classmethod
    def from_affine(
        cls,
        A: Any,
        B: Any,
        C: Any,
        D: Any = 0,
        *,
        p_min: ArrayLike,
        p_max: ArrayLike,
        order: int,
        per_axis: int = 5,
        method: str = "auto",
        motion: float = 0.0,
    ) -> ParameterNetwork:
        """Reduce a model that is affine in a parameter.

        Parameters
        ----------
        A, B, C, D : list of arrays, or one array
            `[A_0, A_1, ..]`: the constant part and one factor per parameter; one array where there is no
            dependence.
            `A` may be scipy.sparse.
        p_min, p_max : scalar or array (n_p,)
            Box of the parameter; the model must be stable in all of it.
        order : int
            Number of states.
        per_axis : int
            Points per parameter at which Gramians are summed.
        method : {"auto", "balanced", "galerkin"}
            "balanced" is a Petrov-Galerkin projection, far more accurate at equal order; "galerkin" uses one
            orthonormal basis for both sides, which keeps a symmetric model stable at every `p`. "auto" turns
            to the latter where the former is unstable and the model is symmetric.
        motion : float
            Share of what a moving parameter excites beyond frozen ones, for parameters that change
            faster than
            the model settles and for lightly damped models; 0.1 is enough. Frozen errors grow with it.

        Returns
        -------
        ParameterNetwork

        Raises
        ------
        ShapeError, OptionError, DataError
            Input that cannot be used.
        SolverError
            The model, or its reduction, is not stable somewhere in the box.
        """
        model = read_affine(A, B, C, D, p_min, p_max)
        order = check_integer(order, "order", low=1)
        per_axis = check_integer(per_axis, "per_axis", low=1)
        motion = check_number(motion, "motion", low=0.0)
        check_choice(method, "method", ("auto", "balanced", "galerkin"))
        Zc, Zo = moving_gramians(model, sample_points(model, per_axis), motion)
        found = project(Zc, Zo, Zo.T @ Zc, order, None, len(Zc))
        symmetric = all(abs(part - part.T).max() <= 1e-12 * abs(part).max() for part in model.A)
        if method != "galerkin":
            net = cls._projected(model, found.T, found.W, found.hankel)
            growth, where = net._growth()
            if growth < 0.0:
                return net
            if method == "balanced" or not symmetric:
                raise SolverError(
                    f"the reduced model of order {order} is unstable at p = {where.tolist()} (a pole at "
                    f"{growth:.3g} 1/s); expected a stable one. Take another order, motion=0.1 "
                    "or a larger per_axis"
                )
        basis = common_basis(Zc, Zo, order)
        net = cls._projected(model, basis, basis, found.hankel)
        growth, where = net._growth()
        if growth >= 0.0:
            raise SolverError(
                f"the reduced model of order {order} is unstable at p = {where.tolist()} (a pole at "
                f"{growth:.3g} 1/s); expected a stable one. Take another order, or method='balanced'"
            )
        return net

    @classmethod
    def _projected(
        cls, model: AffineModel, T: FloatArray, W: FloatArray, hankel: FloatArray
    ) -> ParameterNetwork:
        """`W' (..) T`, turned into block form at the middle of the box."""
        nominal = 0.5 * (model.p_min + model.p_max)
        parts_A = tuple(W.T @ (part @ T) for part in model.A)
        form = block_form(combine(parts_A, nominal))
        left, right = form.T_inv @ W.T, T @ form.T
        reduced = AffineModel(
            tuple(form.T_inv @ part @ form.T for part in parts_A),
            tuple(left @ part for part in model.B), tuple(part @ right for part in model.C), model.D,
            model.p_min, model.p_max,
        )  # fmt: skip
        return cls(_exact_at(reduced, nominal, form.blocks), nominal, right, left, hankel)

    def _growth(self) -> tuple[float, FloatArray]:
        """Largest real part of a pole over a grid of the box, and where."""
        points = sample_points(self.model, _CHECKS if self.n_p == 1 else 3)
        rates = [float(np.linalg.eigvals(self.model.at(p)[0]).real.max()) for p in points]
        worst = int(np.argmax(rates))
        return rates[worst], points[worst]

    @property
    def n_states(self) -> int:
        """Number of network states."""
        return len(self.model.A[0])

    @property
    def n_p(self) -> int:
        """Number of parameters."""
        return self.model.n_p

    def matrices(self) -> dict[str, FloatArray]:
        """`A, B, C, D` as stacks `(1 + n_p, ..)`, or `(1, ..)` without dependence: LPV
        state-space matrices.
        """
        parts = {"A": self.model.A, "B": self.model.B, "C": self.model.C, "D": self.model.D}
        return {name: np.stack([np.asarray(M) for M in value]) for name, value in parts.items()}

    def frozen(self, p: ArrayLike) -> LTINetwork:
        """The `LTINetwork` at a constant parameter."""
        return LTINetwork.from_statespace(self.model.at(self._inside(p)))

    def simulate(
        self,
        t: ArrayLike,
        p: ArrayLike,
        u: ArrayLike | None = None,
        x0: ArrayLike | None = None,
        *,
        hold: str = "linear",
        substeps: int = 4,
    ) -> LTIResponse:
        """Response for a moving parameter.

        Parameters
        ----------
        t : array (N + 1,)
            Uniform grid in seconds.
        p : array (N + 1, n_p) or (N + 1,)
            Parameter at the instants.
        u : array (N or N + 1, n_u), scalar or None
            Inputs, held over each step.
        x0 : array (n,), optional
            Initial state of the full model.
        hold : {"linear", "zoh"}
            How the parameter runs between the instants. Held, the response is exact; linear, it is right to
            the
            fourth order of the step (commutator-free exponential integrator).

        substeps : int
            Steps of the integrator per interval where the parameter moves linearly.

        Returns
        -------
        LTIResponse
        """
        substeps = check_integer(substeps, "substeps", low=1)
        check_choice(hold, "hold", ("linear", "zoh"))
        time, h = read_grid(t)
        values = as_float_array(p, "p")
        values = values[:, None] if values.ndim == 1 else values
        if values.shape != (len(time), self.n_p):
            raise ShapeError(f"p has shape {values.shape}; expected ({len(time)}, {self.n_p})")
        for row in values:
            self._inside(row)
        U = read_inputs(u, len(time), self.model.B[0].shape[1], "zoh")[0][0]
        w0 = self.T_inv @ read_start(x0, len(self.T), 1)[0]
        y = moving_response(self.model, values, U, w0, h, hold, substeps)
        names = [tuple(f"{k}{i}" for i in range(n)) for k, n in (("u", U.shape[1]), ("y", y.shape[1]))]
        states = tuple(f"x{i}" for i in range(len(self.T)))
        return LTIResponse(time, y, U, None, names[0], names[1], states, "zoh")

    def sampled(self, p: ArrayLike, dt: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Discrete `(A, B, C, D)` at a frozen parameter, in the neuron states that all parameters share."""
        values = self._inside(p)
        E = step_maps_of(self.model, np.stack([values, values]), check_dt(dt), "zoh")[0]
        m = self.n_states
        _, _, C, D = self.model.at(values)
        return E[:m, :m], E[:m, m:], C, D

    def lifted_at(self, p: ArrayLike, dt: float) -> Any:
        """Discrete `LiftedModel` at a frozen parameter, in the neuron states that all parameters share.

        A `LinearMPC` per point of a grid of parameters is a scheduled one: all act on the same states.

        Parameters
        ----------
        p : array (n_p,)
            Parameter.
        dt : float
            Sample time in seconds.
        """
        from koopctrl.ltinet.lifted_face import lifted_from_matrices

        return lifted_from_matrices(*self.sampled(p, dt), dt)

    def to_casadi(self, name: str = "parameter_network") -> Any:
        """`casadi.Function` `(x, u, p) -> (dx, y)` in neuron states, called `name`."""
        from koopctrl.export.ltinet_casadi import parameter_network_to_casadi

        return parameter_network_to_casadi(self.model, name)

    def _inside(self, p: ArrayLike) -> FloatArray:
        values = np.atleast_1d(as_float_array(p, "p"))
        if values.shape != (self.n_p,):
            raise ShapeError(f"p has shape {values.shape}; expected ({self.n_p},)")
        slack = 1e-9 * (self.model.p_max - self.model.p_min)
        if (values < self.model.p_min - slack).any() or (values > self.model.p_max + slack).any():
            raise OptionError(
                f"p is {values.tolist()}; expected values between {self.model.p_min.tolist()} and "
                f"{self.model.p_max.tolist()}, for which the network was made. Build it for a wider box"
            )
        return values


def _exact_at(model: AffineModel, nominal: FloatArray, blocks: tuple[FloatArray, ...]) -> AffineModel:
    """Shift the constant part so that at `nominal` the matrix is the block form to the last digit."""
    gap = np.asarray(block_diag(*blocks)) - combine(model.A, nominal)
    return AffineModel((model.A[0] + gap, *model.A[1:]), model.B, model.C, model.D, model.p_min, model.p_max)
