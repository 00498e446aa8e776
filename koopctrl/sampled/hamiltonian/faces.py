"""What can be done with a port-Hamiltonian model once it is there: evaluate, simulate, linearise, export."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_vector,
    check_choice,
    check_dt,
    check_finite,
    check_integer,
)
from koopctrl.errors import NotFittedError, ShapeError
from koopctrl.sampled.hamiltonian.equations import Parts
from koopctrl.sampled.hamiltonian.simulate import discrete_gradient_step, gauss_step

if TYPE_CHECKING:
    import casadi
    import control

    from koopctrl.lifted.model import LiftedModel

METHODS = ("discrete_gradient", "gauss")


class PortHamiltonian:
    r"""A model :math:`\dot x = (J - R(x)) \nabla H(x) + G(x) u` with `x = [q, p]`; base of the estimators.

    Attributes
    ----------
    parts_ : Parts
        Energy, damping and gain.
    scale_ : (2d,) array
        Units of the states, from the data.
    """

    parts_: Parts
    scale_: FloatArray
    x_min_: FloatArray
    x_max_: FloatArray
    state_names_: tuple[str, ...]
    input_names_: tuple[str, ...]

    @property
    def n_dof(self) -> int:
        """Degrees of freedom."""
        return self._fitted().energy.n_dof

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        gain = self._fitted().gain
        return 0 if gain is None else gain.n_u

    def _fitted(self) -> Parts:
        if not hasattr(self, "parts_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted; call fit or fit_derivatives first"
            )
        return self.parts_

    def _states(self, x: ArrayLike, name: str = "x") -> tuple[FloatArray, tuple[int, ...]]:
        """States `(n, 2d)`, and the shape before the last axis as given."""
        array = check_finite(as_float_array(x, name), name)
        width = 2 * self.n_dof
        if array.ndim == 0 or array.shape[-1] != width:
            raise ShapeError(
                f"{name} has shape {array.shape}; expected (..., {width}), positions then momenta"
            )
        return array.reshape(-1, width), array.shape[:-1]

    def _inputs(self, u: ArrayLike | None, shape: tuple[int, ...]) -> FloatArray:
        if u is None:
            return np.zeros((int(np.prod(shape)), self.n_u))
        array = check_finite(as_float_array(u, "u"), "u")
        if array.ndim == 0 or array.shape[-1] != self.n_u:
            raise ShapeError(f"u has shape {array.shape}; expected (..., {self.n_u})")
        return np.broadcast_to(array, (*shape, self.n_u)).reshape(int(np.prod(shape)), self.n_u)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.sampled.hamiltonian.storage import save_hamiltonian

        save_hamiltonian(self, path)

    def energy(self, x: ArrayLike) -> FloatArray:
        """Energy `H`, `(...)`, of states `x`, `(..., 2d)`."""
        states, shape = self._states(x)
        return self.parts_.energy.value(states).reshape(shape)

    def energy_gradient(self, x: ArrayLike) -> FloatArray:
        """Gradient of `H`, `(..., 2d)`, at states `x`; its second half are the velocities."""
        states, shape = self._states(x)
        return self.parts_.energy.gradient(states).reshape(*shape, -1)

    def rhs(self, x: ArrayLike, u: ArrayLike | None = None) -> FloatArray:
        """Time derivative at states `x`, `(..., 2d)`, and inputs `u`, `(..., n_u)`, by default zero."""
        states, shape = self._states(x)
        return self.parts_.rhs(states, self._inputs(u, shape)).reshape(*shape, -1)

    def damping_at(self, q: ArrayLike) -> FloatArray:
        """Damping of each degree of freedom, `(..., d)`, at positions `q`, `(..., d)`; never negative."""
        positions, shape = self._positions(q)
        part = self.parts_.damping
        found = np.zeros_like(positions) if part is None else part.diagonal(positions)
        return found.reshape(*shape, -1)

    def input_gain_at(self, q: ArrayLike) -> FloatArray:
        """Gain `G(q)`, `(..., d, n_u)`, at positions `q`, `(..., d)`."""
        positions, shape = self._positions(q)
        part = self.parts_.gain
        found = np.zeros((len(positions), self.n_dof, 0)) if part is None else part.matrix(positions)
        return found.reshape(*shape, *found.shape[1:])

    def _positions(self, q: ArrayLike) -> tuple[FloatArray, tuple[int, ...]]:
        array = check_finite(as_float_array(q, "q"), "q")
        if array.ndim == 0 or array.shape[-1] != self.n_dof:
            raise ShapeError(f"q has shape {array.shape}; expected (..., {self.n_dof})")
        return array.reshape(-1, self.n_dof), array.shape[:-1]

    def linearize(self, x: ArrayLike, u: ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
        """Continuous-time `A`, `(2d, 2d)`, and `B`, `(2d, n_u)`, at one state `x` and input `u`."""
        width = 2 * self.n_dof
        state = as_vector(x, "x", width)[None]
        held = np.zeros((1, self.n_u)) if u is None else as_vector(u, "u", self.n_u)[None]
        a, b = self.parts_.jacobian(state, held)
        return a[0], b[0]

    def simulate(
        self,
        x0: ArrayLike,
        u: ArrayLike | int,
        dt: float,
        *,
        method: str = "discrete_gradient",
        substeps: int = 1,
        n_stages: int = 2,
    ) -> FloatArray:
        """Free run.

        Parameters
        ----------
        x0 : (2d,) or (n, 2d) array_like
            Start, or several that run side by side.
        u : (n_steps, n_u) or (n_steps, n, n_u) array_like, or int
            Inputs, each held for `dt`, the same for all runs or their own; or the number of steps without
            any.
        dt : float
            Sample time, s.
        method : {"discrete_gradient", "gauss"}
            Order two, its energy balance exact to rounding; or Gauss collocation, symplectic, of order
            `2 n_stages`.
        substeps : int
            Steps of the method per sample.
        n_stages : int
            Stages of Gauss collocation.

        Returns
        -------
        (n_steps + 1, 2d) or (n_steps + 1, n, 2d) array

        Raises
        ------
        SolverError
            If a step does not converge.
        """
        check_choice(method, "method", METHODS)
        dt, substeps = check_dt(dt), check_integer(substeps, "substeps", low=1)
        check_integer(n_stages, "n_stages", low=1)
        x, shape = self._states(x0, "x0")
        if isinstance(u, (int, np.integer)):
            inputs = np.zeros((check_integer(u, "u"), self.n_u))
        else:
            inputs = check_finite(as_float_array(u, "u"), "u")
            own = inputs.ndim == 3 and inputs.shape[1:] == (len(x), self.n_u)
            if not own and (inputs.ndim != 2 or inputs.shape[1] != self.n_u):
                raise ShapeError(
                    f"u has shape {inputs.shape}; expected (n_steps, {self.n_u}) or "
                    f"(n_steps, {len(x)}, {self.n_u})"
                )
        out = np.empty((len(inputs) + 1, *x.shape))
        out[0], h, before = x, dt / substeps, None
        booked = self.parts_.energy.value(x)
        for k, row in enumerate(inputs):
            held = np.broadcast_to(row, (len(x), self.n_u))
            for _ in range(substeps):
                if method == "gauss":
                    x = gauss_step(self.parts_, x, held, h, self.scale_, n_stages)
                    continue
                guess = x + h * self.parts_.rhs(x, held) if before is None else 2.0 * x - before
                new, booked = discrete_gradient_step(self.parts_, x, booked, held, h, self.scale_, guess)
                before, x = x, new
            out[k + 1] = x
        return out.reshape(len(out), *shape, x.shape[1])

    def to_statespace(
        self, x: ArrayLike, u: ArrayLike | None = None, dt: float | None = None
    ) -> control.StateSpace:
        """Linear model in deviations from state `x` and input `u`, as python-control's object.

        Parameters
        ----------
        x : (2d,) array_like
        u : (n_u,) array_like, optional
        dt : float, optional
            Sample time with inputs held; by default continuous time.
        """
        from koopctrl.export.hamiltonian import hamiltonian_to_statespace

        return hamiltonian_to_statespace(self, x, u, dt)

    def to_lifted(self, x: ArrayLike, u: ArrayLike | None = None, *, dt: float) -> LiftedModel:
        """Linear model at state `x` and input `u`, sampled at `dt`, for `LQR`, `KalmanFilter`, `LinearMPC`.

        Its coordinates, outputs and inputs are deviations from `x` and `u`.
        """
        from koopctrl.lifted.model import LiftedModel

        self._fitted()
        a, b = sampled(*self.linearize(x, u), check_dt(dt))
        names = {"output_names": self.state_names_, "input_names": self.input_names_}
        return LiftedModel.from_matrices(a, b, dt=dt, **names)

    def to_nlsys(self, name: str = "hamiltonian") -> control.NonlinearIOSystem:
        """Continuous-time system of python-control, its outputs the states; `name` is the system's."""
        from koopctrl.export.hamiltonian import hamiltonian_to_nlsys

        return hamiltonian_to_nlsys(self, name)

    def to_casadi(
        self, dt: float | None = None, substeps: int = 4, name: str = "hamiltonian"
    ) -> casadi.Function:
        """CasADi function `(x, u) -> xdot`; with `dt` `(x, u) -> x_next`, for `NMPC` and optimal control.

        Parameters
        ----------
        dt : float, optional
            Sample time, s: the step is `substeps` Runge-Kutta steps of order four with the input held.
        substeps : int
        name : str
            Of the function.
        """
        from koopctrl.export.hamiltonian import hamiltonian_to_casadi

        return hamiltonian_to_casadi(self, dt, substeps, name)


def sampled(a: FloatArray, b: FloatArray, dt: float) -> tuple[Any, Any]:
    """Discrete-time matrices of a linear model with held inputs."""
    from scipy.linalg import expm

    n, m = b.shape
    # Columns of inputs are brought to the size of the dynamics: expm's scaling sees one norm of all.
    size = np.linalg.norm(b, axis=0)
    size = np.where(size > 0.0, size, 1.0)
    block = np.zeros((n + m, n + m))
    block[:n, :n], block[:n, n:] = a, b / size
    full = expm(dt * block)
    return full[:n, :n], full[:n, n:] * size
