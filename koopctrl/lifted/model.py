r"""LiftedModel: the linear face, a state-space model in lifted coordinates around an operating point.

.. math::
    z_{k+1} = A z_k + B (u_k - u_{op}) + \sum_i (u_k - u_{op})_i N_i z_k + c, \qquad
    y_k = C z_k + D (u_k - u_{op}) + y_{op}

`z = lift(x)` is 0 at `x = x_op`. `c` is the drift there: zero where `(x_op, u_op)` is an equilibrium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_matrix,
    as_signal,
    as_vector,
    check_dt,
    check_names,
)
from koopctrl._warnings import warn
from koopctrl.errors import RolloutWarning, ShapeError, SolverError
from koopctrl.lifted.observables import Observables
from koopctrl.network.lag_window import LagWindow

if TYPE_CHECKING:
    import casadi
    import control
    import do_mpc

    from koopctrl.export.c.model import GeneratedPart
    from koopctrl.export.fmu.archive import GeneratedFMU
    from koopctrl.identification.linear_model import InnovationModel
    from koopctrl.lifted.choice import LiftChoice
    from koopctrl.lifted.spectrum import Spectrum
    from koopctrl.network.recurrent import RecurrentNetwork


@dataclass(frozen=True, eq=False)
class LiftedModel:
    """Linear model in lifted coordinates (see the module's equation).

    Attributes
    ----------
    A : (n_z, n_z) array
    B : (n_z, n_u) array
    C : (n_y, n_z) array
    D : (n_y, n_u) array
    c : (n_z,) array
        Drift at the operating point.
    N : (n_u, n_z, n_z) array or None
        Bilinear terms.
    dt : float
        Sample time in seconds.
    u_op, y_op : arrays
        Operating input and output; `x_op` is held by `observables`.
    observables : Observables
        The lift.
    window : LagWindow
        Layout of `x`.
    output_names, input_names : tuple of str
    singular_values : array
        Of the scaled, centred dictionary that was reduced.
    training : tuple of arrays or None
        `(z, u - u_op, z_next)` snapshots, at most 5,000, for spectra and reports.
    choice : LiftChoice or None
        What was compared for this model, if anything was; `print(lifted.choice)` is a table.
    network : RecurrentNetwork or None
        The nonlinear face it was lifted from, on which controllers are tried.
    noise : tuple of arrays or None
        `(Q, R, S)`: identified covariances of process noise on `z`, of measurement noise on `y`, and between
        them.
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    c: FloatArray
    N: FloatArray | None
    dt: float
    u_op: FloatArray
    y_op: FloatArray
    observables: Observables
    window: LagWindow
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]
    singular_values: FloatArray
    training: tuple[FloatArray, FloatArray, FloatArray] | None = None
    choice: LiftChoice | None = None
    network: RecurrentNetwork | None = None
    noise: tuple[FloatArray, FloatArray, FloatArray] | None = None

    def __post_init__(self) -> None:
        """Matrices in one order of memory, so that products are the same to the bit, from files too."""
        for name in ("A", "B", "C", "D"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name)))

    @classmethod
    def from_matrices(
        cls,
        A: ArrayLike,
        B: ArrayLike,
        C: ArrayLike | None = None,
        D: ArrayLike | None = None,
        *,
        dt: float,
        output_names: Sequence[str] | None = None,
        input_names: Sequence[str] | None = None,
    ) -> LiftedModel:
        """Wrap a linear plant whose state is measured: `z = x`, operating point 0.

        Controllers then take any discrete-time `(A, B, C, D)`.

        Parameters
        ----------
        A, B, C, D : array_like
            System matrices; `C` defaults to the identity, `D` to zero.
        dt : float
            Sample time in seconds.
        output_names, input_names : sequence of str, optional
            `y0, y1, ..` and `u0, u1, ..` by default.
        """
        a = as_matrix(A, "A")
        n_x = len(a)
        a = as_matrix(a, "A", (n_x, n_x))
        b = as_matrix(B, "B")
        n_u = b.shape[1]
        b = as_matrix(b, "B", (n_x, n_u))
        c = np.eye(n_x) if C is None else as_matrix(C, "C")
        c = as_matrix(c, "C", (len(c), n_x))
        d = np.zeros((len(c), n_u)) if D is None else as_matrix(D, "D", (len(c), n_u))
        return cls(
            a.copy(),
            b.copy(),
            c.copy(),
            d.copy(),
            np.zeros(n_x),
            None,
            check_dt(dt),
            np.zeros(n_u),
            np.zeros(len(c)),
            Observables.identity(np.zeros(n_x)),
            LagWindow(1, 1, False, n_x, n_u),
            check_names(output_names, "output_names", len(c), "y"),
            check_names(input_names, "input_names", n_u, "u"),
            np.ones(n_x),
        )

    @classmethod
    def from_innovation_form(cls, model: InnovationModel) -> LiftedModel:
        """Linear model that was identified with its noise (`koopctrl.identification.subspace`); `z` is its
        state.
        """
        linear = cls.from_matrices(
            model.A, model.B, model.C, model.D, dt=model.dt,
            output_names=model.output_names, input_names=model.input_names,
        )  # fmt: skip
        return replace(linear, u_op=model.u_op, y_op=model.y_op, c=model.c, noise=model.noise_covariances)

    @property
    def n_z(self) -> int:
        """Number of lifted coordinates."""
        return len(self.A)

    @property
    def n_x(self) -> int:
        """Length of the state (of the lag window)."""
        return len(self.x_op)

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.B.shape[1]

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        return len(self.C)

    @property
    def x_op(self) -> FloatArray:
        """Operating point."""
        return self.observables.x_op

    @property
    def reads_next_state(self) -> bool:
        """Whether `y_k` has bilinear terms too, which `C` and `D` do not hold: with feedthrough and `N`."""
        return self.N is not None and self.window.shift > 0

    @property
    def spectral_radius(self) -> float:
        """Largest modulus of an eigenvalue of `A`; above 1 the linear face is unstable."""
        return float(np.abs(linalg.eigvals(self.A)).max(initial=0.0))

    def lift(self, x: ArrayLike) -> FloatArray:
        """Lift states `x`, `(n_x,)` or `(time, n_x)`; `lift(x_op)` is 0."""
        array = as_float_array(x, "x")
        if array.ndim == 2:
            return self.observables(as_signal(array, "x", self.n_x))
        return self.observables(as_vector(array, "x", self.n_x))

    def unlift(self, z: ArrayLike) -> FloatArray:
        """State of coordinates `z`, `(n_z,)` or `(time, n_z)`: `unlift(lift(x))` is `x`."""
        array = as_float_array(z, "z")
        array = as_signal(array, "z", self.n_z) if array.ndim == 2 else as_vector(array, "z", self.n_z)
        return self.x_op + array[..., : self.n_x] * self.observables.x_scale

    def step(self, z: ArrayLike, u: ArrayLike) -> FloatArray:
        """`z_{k+1}` for coordinates `z`, `(..., n_z)`, and inputs `u`, `(..., n_u)`."""
        z, u = self._checked(z, u)
        du = u - self.u_op
        z_next = z @ self.A.T + du @ self.B.T + self.c
        if self.N is not None:
            z_next = z_next + np.einsum("...i,ijk,...k->...j", du, self.N, z)
        return z_next

    def output(self, z: ArrayLike, u: ArrayLike) -> FloatArray:
        """`y_k` for coordinates `z`, `(..., n_z)`, and inputs `u`, `(..., n_u)`."""
        z, u = self._checked(z, u)
        if self.reads_next_state:
            x_next = self.x_op + self.step(z, u)[..., : self.n_x] * self.observables.x_scale
            return x_next[..., : self.n_y]
        return z @ self.C.T + (u - self.u_op) @ self.D.T + self.y_op

    def _checked(self, z: ArrayLike, u: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Rows of the right lengths; they need not be finite, and their leading axes are broadcast."""
        z, u = as_float_array(z, "z"), as_float_array(u, "u")
        for name, array, size in (("z", z, self.n_z), ("u", u, self.n_u)):
            if not array.ndim or array.shape[-1] != size:
                raise ShapeError(
                    f"{name} has shape {array.shape}; expected (..., {size}) of this model. Use lift(x) for z"
                )
        if z.ndim > 1 and u.ndim > 1 and z.shape[:-1] != u.shape[:-1]:
            try:
                np.broadcast_shapes(z.shape[:-1], u.shape[:-1])
            except ValueError as error:
                raise ShapeError(
                    f"z has shape {z.shape} and u {u.shape}; expected the same leading axes"
                ) from error
        return z, u

    def simulate(self, x0: ArrayLike, u: ArrayLike) -> FloatArray:
        """Roll out linearly from `x0`, lifted once, under `(n_steps, n_u)` inputs `u`: `n_steps + 1` outputs.

        The last output is taken with the last input held (it matters only where `D` is not zero).
        """
        inputs = as_signal(u, "u", self.n_u)
        z = np.empty((len(inputs) + 1, self.n_z))
        z[0] = self.lift(as_vector(x0, "x0", self.n_x))
        with np.errstate(over="ignore", invalid="ignore"):
            for k, row in enumerate(inputs):
                z[k + 1] = self.step(z[k], row)
        finite = np.isfinite(z).all(axis=1)
        if not finite.all():
            overflow = int(np.argmin(finite))
            z[overflow:] = z[overflow - 1]
            warn(
                f"the linear face overflowed at step {overflow} and was held there; its spectral radius is "
                f"{self.spectral_radius:.3g}. Simulate fewer steps, or lift with a larger rank_tol",
                RolloutWarning,
            )
        held = np.concatenate([inputs, inputs[-1:]]) if len(inputs) else self.u_op[None]
        return self.output(z, held)

    def equilibrium(self) -> tuple[FloatArray, FloatArray]:
        """Fixed point `(z_e, y_e)` of the linear face under `u = u_op`: `(I - A) z_e = c`.

        Raises
        ------
        SolverError
            If the drift is not zero and `I - A` is singular, so that there is no fixed point.
        """
        if not self.c.any():
            return np.zeros(self.n_z), self.y_op
        matrix = np.eye(self.n_z) - self.A
        z_e, _, rank, _ = np.linalg.lstsq(matrix, self.c, rcond=None)
        if np.linalg.norm(matrix @ z_e - self.c) > 1e-8 * np.linalg.norm(self.c):
            raise SolverError(
                f"the lifted model drifts at its operating point and has no fixed point (rank of I - A is "
                f"{rank} of {self.n_z}); choose x_op, u_op at an equilibrium"
            )
        return z_e, self.output(z_e, self.u_op)

    def spectrum(self) -> Spectrum:
        """Eigenvalues, modes and their residuals on the training data; see `koopctrl.lifted.spectrum`."""
        from koopctrl.lifted.spectrum import compute_spectrum

        return compute_spectrum(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.storage import save

        save(self, path)

    def without_training(self) -> LiftedModel:
        """Same model without its training snapshots."""
        return replace(self, training=None)

    def to_c(
        self, folder: str | PathLike[str], name: str = "koopctrl_model", *, scalar: str = "double"
    ) -> GeneratedPart:
        """C99 of lift, step and outputs; see `koopctrl.export.c.model.model_to_c`."""
        from koopctrl.export.c.model import model_to_c

        return model_to_c(self, folder, name, scalar=scalar)

    def to_fmu(self, path: str | PathLike[str], **options: Any) -> GeneratedFMU:
        """Co-simulation FMU of this model (FMI 3.0 or 2.0); see `koopctrl.export.fmu.archive.to_fmu`."""
        from koopctrl.export.fmu.archive import to_fmu

        return to_fmu(self, path, **options)

    def to_statespace(self) -> control.StateSpace:
        """`control.StateSpace` in deviations from the fixed point; see `koopctrl.export.pycontrol`."""
        from koopctrl.export.pycontrol import lifted_to_statespace

        return lifted_to_statespace(self)

    def to_casadi(self) -> casadi.Function:
        """`casadi.Function` `(z, u) -> (z_next, y)`; see `koopctrl.export.casadi`."""
        from koopctrl.export.casadi import lifted_to_casadi

        return lifted_to_casadi(self)

    def to_do_mpc(self, **options: Any) -> do_mpc.model.Model:
        """`do_mpc.model.Model`; for `options` see `koopctrl.export.do_mpc.lifted_to_do_mpc`."""
        from koopctrl.export.do_mpc import lifted_to_do_mpc

        return lifted_to_do_mpc(self, **options)

    def __repr__(self) -> str:
        """Dimensions, sample time and spectral radius."""
        return (
            f"LiftedModel(n_z={self.n_z}, n_x={self.n_x}, n_u={self.n_u}, n_y={self.n_y}, dt={self.dt:g} s, "
            f"spectral radius {self.spectral_radius:.4f})"
        )
