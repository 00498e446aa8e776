r"""LiftedFamily: a linear face that is affine in a measured parameter, an LPV state-space model.

.. math::
    z_{k+1} = A(p_k) z_k + B(p_k) (u_k - u_{op}) + c(p_k), \qquad y_k = C z_k + y_{op},
    \qquad A(p) = A_0 + \sum_i p_i A_i

and `B`, `c` alike. All parameters share one lift `z = lift(x)`, so a moving parameter does nothing to the
state but by these matrices, and feedback laws made at several of them act on the same coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_signal, as_vector
from koopctrl._warnings import warn
from koopctrl.errors import RolloutWarning, ShapeError
from koopctrl.lifted.model import LiftedModel
from koopctrl.lifted.observables import Observables
from koopctrl.ltinet.varying.affine import AffineModel, combine
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    import casadi
    import control


@dataclass(frozen=True, eq=False)
class LiftedFamily:
    """Linear models for all values of a parameter (see the module's equation); made by `model.lift_family()`.

    Attributes
    ----------
    model : AffineModel
        `A, B, C, D` as tuples: the constant part and one factor per parameter; and the box `p_min, p_max` of
        the records.
    c : tuple of (n_z,) arrays
        Drift at the operating point, likewise.
    dt : float
        Sample time in seconds.
    u_op, y_op, p_op : arrays
        Operating input and output, and the parameter's mean.
    observables : Observables
        The lift that all parameters share.
    window : LagWindow
        Layout of `x`.
    output_names, input_names, parameter_names : tuple of str
    method : str
        How it was made.
    errors : dict of str to float
        Free-run error of each candidate that was compared, in standard deviations of the outputs,
    costs : dict of str to float
        and its cost in closed loop on the network, over the best one's.
    misfit : float
        Of `"jacobian"`: what is not affine in the parameter, relative to what changes with it; else 0.
    network : RecurrentNetwork or None
        The network with its parameters.
    """

    model: AffineModel
    c: tuple[FloatArray, ...]
    dt: float
    u_op: FloatArray
    y_op: FloatArray
    p_op: FloatArray
    observables: Observables
    window: LagWindow
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]
    parameter_names: tuple[str, ...]
    method: str
    errors: dict[str, float]
    costs: dict[str, float]
    misfit: float
    network: RecurrentNetwork | None = None

    @property
    def n_z(self) -> int:
        """Number of lifted coordinates."""
        return len(self.model.A[0])

    @property
    def n_x(self) -> int:
        """Length of the state (of the lag window)."""
        return self.window.n_x

    @property
    def n_u(self) -> int:
        """Number of inputs that are moved."""
        return self.model.B[0].shape[1]

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        return len(self.model.C[0])

    @property
    def n_p(self) -> int:
        """Number of parameters."""
        return self.model.n_p

    @property
    def x_op(self) -> FloatArray:
        """Operating point."""
        return self.observables.x_op

    def matrices(self) -> dict[str, FloatArray]:
        """`A, B, c` as stacks `(1 + n_p, ..)`; `C, D` as `(1, ..)`, which do not depend on the parameter."""
        parts = {"A": self.model.A, "B": self.model.B, "C": self.model.C, "D": self.model.D, "c": self.c}
        return {name: np.stack([np.asarray(M) for M in value]) for name, value in parts.items()}

    def lift(self, x: ArrayLike) -> FloatArray:
        """Lift states `x`, `(n_x,)` or `(time, n_x)`; `lift(x_op)` is 0."""
        array = as_float_array(x, "x")
        if array.ndim == 2:
            return self.observables(as_signal(array, "x", self.n_x))
        return self.observables(as_vector(array, "x", self.n_x))

    def frozen(self, p: ArrayLike) -> LiftedModel:
        """The `LiftedModel` at a constant parameter `p` `(n_p,)`, in the coordinates that all share."""
        values = as_vector(np.atleast_1d(as_float_array(p, "p")), "p", self.n_p)
        A, B, C, D = self.model.at(values)
        network = None if self.network is None else self.network.frozen(values)
        return LiftedModel(
            A, B, C, D, combine(self.c, values), None, self.dt, self.u_op, self.y_op, self.observables,
            self.window, self.output_names, self.input_names, np.ones(self.n_x), network=network,
        )  # fmt: skip

    def step(self, z: ArrayLike, u: ArrayLike, p: ArrayLike) -> FloatArray:
        """`z_{k+1}` of coordinates `z` `(n_z,)`, inputs `u` `(n_u,)` and parameters `p` `(n_p,)`."""
        values = as_vector(np.atleast_1d(as_float_array(p, "p")), "p", self.n_p)
        return self.advance(as_vector(z, "z", self.n_z), as_vector(u, "u", self.n_u), values)

    def advance(self, z: FloatArray, u: FloatArray, p: FloatArray) -> FloatArray:
        """The same, unchecked, of rows `z, u, p` `(..., n_z)`, `(..., n_u)`, `(..., n_p)`."""
        weight, u_dev = np.concatenate([np.ones((*p.shape[:-1], 1)), p], axis=-1), u - self.u_op
        parts = zip(self.model.A, self.model.B, self.c, strict=True)
        rows = np.stack([z @ A.T + u_dev @ B.T + c for A, B, c in parts], axis=-2)
        return np.einsum("...p,...pz->...z", weight, rows)

    def simulate(self, x0: ArrayLike, u: ArrayLike, p: ArrayLike) -> FloatArray:
        """Roll out from `x0` under inputs `u` `(n_steps, n_u)` and parameters `p` `(n_steps, n_p)`.

        There are `n_steps + 1` outputs, the initial one first.

        Warns
        -----
        RolloutWarning
            If it overflows; it is held there.
        """
        inputs = as_signal(u, "u", self.n_u)
        values = as_float_array(p, "p")
        values = values[:, None] if values.ndim == 1 and self.n_p == 1 else values
        if values.shape != (len(inputs), self.n_p):
            raise ShapeError(
                f"p has shape {values.shape}; expected ({len(inputs)}, {self.n_p}), one row a step"
            )
        z = np.empty((len(inputs) + 1, self.n_z))
        z[0] = self.lift(as_vector(x0, "x0", self.n_x))
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(len(inputs)):
                z[k + 1] = self.advance(z[k], inputs[k], values[k])
        finite = np.isfinite(z).all(axis=1)
        if not finite.all():
            overflow = int(np.argmin(finite))
            z[overflow:] = z[overflow - 1]
            warn(f"the family overflowed at step {overflow} and was held there", RolloutWarning)
        return z @ self.model.C[0].T + self.y_op

    def split_inputs(self, full: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Moved inputs and parameters in all inputs `full` `(..., n)` of the network."""
        if self.network is None:
            return full[..., : self.n_u], full[..., self.n_u :]
        coupling = self.network.coupling
        return full[..., coupling.moved], full[..., list(coupling.parameters)]

    def inside(self, p: FloatArray) -> FloatArray:
        """The nearest parameter to `p` in the box of the records."""
        return np.clip(p, self.model.p_min, self.model.p_max)

    def without_network(self) -> LiftedFamily:
        """Same family without the network it is from."""
        return replace(self, network=None)

    def to_statespace(self, p: ArrayLike) -> control.StateSpace:
        """`control.StateSpace` at a constant parameter `p`; see `LiftedModel.to_statespace`."""
        return self.frozen(p).to_statespace()

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """`control.NonlinearIOSystem` in lifted coordinates; inputs are those moved, then parameters."""
        from koopctrl.export.varying import family_to_nlsys

        return family_to_nlsys(self)

    def to_casadi(self) -> casadi.Function:
        """`casadi.Function` `(z, u, p) -> (z_next, y)`."""
        from koopctrl.export.varying import family_to_casadi

        return family_to_casadi(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.storage_varying import save_family

        save_family(self, path)

    def __repr__(self) -> str:
        """Dimensions, sample time and how it was made."""
        return (
            f"LiftedFamily(n_z={self.n_z}, n_u={self.n_u}, n_p={self.n_p}, n_y={self.n_y}, dt={self.dt:g} s, "
            f"method={self.method!r})"
        )
