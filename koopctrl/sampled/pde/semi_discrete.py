"""The equation in coefficients: `c' = A C + F(t) + B v + sum_k P_k f_k(E C)`, `C = null c + lift(t, v)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite, check_number
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde.basis import Basis
from koopctrl.sampled.pde.conditions import BoundaryData, data_at
from koopctrl.sampled.pde.problem import PDE
from koopctrl.sampled.pde.terms import Pointwise, partials_of, values_at

if TYPE_CHECKING:
    import casadi
    import control

    from koopctrl.sampled.pde.solution import Solution
    from koopctrl.sampled.pde.step_face import StepFace


@dataclass(frozen=True, eq=False)
class Nonlinearity:
    """One nonlinear term: `project f(E_1 C, E_2 C, ..)`.

    Attributes
    ----------
    term : Pointwise
    project : (n, n_points) array
        Onto the state.
    evaluations : tuple of (n_points, size) arrays
        The arguments at the quadrature points.
    """

    term: Pointwise
    project: FloatArray
    evaluations: tuple[FloatArray, ...]

    def value(self, full: FloatArray) -> FloatArray:
        """Contribution to `c'`, `(n,)`; of a batch `(.., size)` it is `(.., n)`."""
        return np.asarray(self.term.function(*(full @ e.T for e in self.evaluations))) @ self.project.T

    def jacobian(self, full: FloatArray) -> FloatArray:
        """Its derivative with respect to `C`, `(n, size)`."""
        values = [e @ full for e in self.evaluations]
        slopes = partials_of(self.term, values)
        return sum((self.project * slope) @ e for slope, e in zip(slopes, self.evaluations, strict=True))  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, eq=False)
class BoundarySource:
    """Boundary data that enter the equation: `project value(points, t)`, `rate` times and differentiated.

    `derivative` is 1 where the time derivative of the data enters too (penalty form).
    """

    value: BoundaryData
    points: FloatArray
    project: FloatArray
    rate: float = 1.0
    derivative: bool = False

    def __call__(self, t: float) -> FloatArray:
        """Contribution to `c'`."""
        g = self.rate * np.asarray(data_at(self.value, self.points, t))
        if self.derivative and callable(self.value):
            h = 1e-3 / self.rate
            at = [np.asarray(data_at(self.value, self.points, t + k * h)) for k in (-2, -1, 1, 2)]
            g = g + (at[0] - 8.0 * at[1] + 8.0 * at[2] - at[3]) / (12.0 * h)
        return self.project @ np.broadcast_to(g, len(self.points))


@dataclass(frozen=True, eq=False)
class SemiDiscrete:
    """A partial differential equation as a small model: states are basis coefficients (and their rates).

    Attributes
    ----------
    pde : PDE
    basis : Basis
    null : (size, n) array
        Combinations of the basis that satisfy the boundary conditions; they are the coordinates `c`.
    offset : callable or None
        Lift `(size,)` of boundary data at time `t`.
    lift_inputs : (size, n_inputs) array
        Lift of inputs in boundary conditions.
    linear : dict
        `(n, size)` matrix by parameter, `None` for terms without one.
    nonlinear : tuple of (parameter, Nonlinearity)
    input_parts : dict
        `(n, n_inputs)` matrix by parameter.
    sources : tuple of (parameter, callable)
        Functions of time that enter `c'`.
    project : (n, n_points) array
        From values at `points` to coordinates.
    points : (n_points, dim) array
        Quadrature points.
    sensors : (n_outputs, size) array
    parameters : dict
        Values in use.
    notes : tuple of str
        What was shrunk or relaxed.
    """

    pde: PDE
    basis: Basis
    null: FloatArray
    offset: Callable[[float], FloatArray] | None
    lift_inputs: FloatArray
    linear: dict[str | None, FloatArray]
    nonlinear: tuple[tuple[str | None, Nonlinearity], ...]
    input_parts: dict[str | None, FloatArray]
    sources: tuple[tuple[str | None, Callable[[float], FloatArray]], ...]
    project: FloatArray
    points: FloatArray
    sensors: FloatArray
    parameters: dict[str, float]
    notes: tuple[str, ...] = field(default=())

    # -- sizes and parameters

    @property
    def n_coordinates(self) -> int:
        """Basis functions in use."""
        return self.null.shape[1]

    @property
    def n_states(self) -> int:
        """Coordinates, twice as many with the rates of a second-order equation."""
        return self.pde.order * self.n_coordinates

    @property
    def n_inputs(self) -> int:
        """Inputs."""
        return self.pde.n_inputs

    @property
    def n_outputs(self) -> int:
        """Sensors."""
        return len(self.sensors)

    @property
    def autonomous(self) -> bool:
        """Whether nothing but the inputs depends on time."""
        return self.offset is None and not self.sources

    def at(self, **parameters: float) -> SemiDiscrete:
        """The same model at other values of its parameters: exact, since they enter affinely."""
        for name, value in parameters.items():
            if name not in self.parameters:
                raise OptionError(f"{name!r} is no parameter; expected one of {sorted(self.parameters)}")
            check_number(value, name)
        return replace(self, parameters={**self.parameters, **{k: float(v) for k, v in parameters.items()}})

    def weight(self, parameter: str | None) -> float:
        """Value that multiplies a term."""
        return 1.0 if parameter is None else self.parameters[parameter]

    def combined(self, parts: dict[str | None, FloatArray]) -> FloatArray:
        """Sum of matrices by parameter, at the values in use."""
        return np.sum([self.weight(p) * m for p, m in parts.items()], axis=0)

    # -- the differential equation

    def full(self, c: FloatArray, v: FloatArray, t: float = 0.0) -> FloatArray:
        """Coefficients of all basis functions, `(.., size)`."""
        full = c @ self.null.T + v @ self.lift_inputs.T
        return full if self.offset is None else full + self.offset(t)

    @cached_property
    def operator(self) -> FloatArray:
        """Linear terms at the parameters in use, `(n, size)`."""
        return self.combined(self.linear)

    @cached_property
    def inputs_in(self) -> FloatArray:
        """How inputs enter at the parameters in use, `(n, n_inputs)`."""
        return self.combined(self.input_parts)

    def slope(self, c: FloatArray, v: FloatArray, t: float = 0.0) -> FloatArray:
        """Right-hand side of the equation in coordinates, `(n,)`."""
        full = self.full(c, v, t)
        return full @ self.operator.T + self._beside(full, v, t)

    def _beside(self, full: FloatArray, v: FloatArray, t: float) -> FloatArray:
        """What adds to the linear terms: inputs, nonlinear terms, sources."""
        result = v @ self.inputs_in.T
        for parameter, term in self.nonlinear:
            result = result + self.weight(parameter) * term.value(full)
        for parameter, source in self.sources:
            result = result + self.weight(parameter) * source(t)
        return result

    def rest(self, x: FloatArray, v: FloatArray, t: float = 0.0) -> FloatArray:
        """`derivative` without the linear terms of the state: what exponential steps treat explicitly."""
        c = x[..., : self.n_coordinates]
        full = self.full(c, v, t)
        value = self._beside(full, v, t)
        if self.offset is not None or self.lift_inputs.any():
            value = value + (full - c @ self.null.T) @ self.operator.T
        return value if self.pde.order == 1 else np.concatenate([np.zeros_like(value), value], axis=-1)

    def slope_jacobian(self, c: FloatArray, v: FloatArray, t: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Derivatives of `slope` with respect to coordinates and inputs."""
        whole = self.operator
        if self.nonlinear:
            full = self.full(c, v, t)
            whole = whole + np.sum(
                [self.weight(p) * term.jacobian(full) for p, term in self.nonlinear], axis=0
            )
        return whole @ self.null, whole @ self.lift_inputs + self.inputs_in

    def derivative(self, x: FloatArray, v: FloatArray, t: float = 0.0) -> FloatArray:
        """Time derivative of the state `(n_states,)`."""
        if self.pde.order == 1:
            return self.slope(x, v, t)
        n = self.n_coordinates
        c, rate = x[..., :n], x[..., n:]
        return np.concatenate([rate, self.slope(c, v, t) - self.pde.damping * rate], axis=-1)

    def jacobian(self, x: FloatArray, v: FloatArray, t: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Derivatives of `derivative` with respect to state and inputs."""
        n = self.n_coordinates
        a, b = self.slope_jacobian(x[:n], v, t)
        if self.pde.order == 1:
            return a, b
        zero, eye = np.zeros((n, n)), np.eye(n)
        return np.block([[zero, eye], [a, -self.pde.damping * eye]]), np.concatenate([np.zeros_like(b), b])

    # -- between functions and coordinates

    def coordinates(self, function: float | Callable[[FloatArray], ArrayLike], t: float = 0.0) -> FloatArray:
        """Projection of a function of the points onto the coordinates."""
        return self.project @ values_at(function, self.points, "function")

    def initial_state(self) -> FloatArray:
        """State of the equation's start."""
        c = self.coordinates(self.pde.initial)
        return c if self.pde.order == 1 else np.concatenate([c, self.coordinates(self.pde.initial_rate)])

    def evaluate(
        self, x: ArrayLike, points: ArrayLike, v: ArrayLike | None = None, t: float = 0.0, of: str = "u"
    ) -> FloatArray:
        """`u`, or a derivative of it, at points: `(.., n_points)` from states `(.., n_states)`."""
        from koopctrl.sampled.pde.multi_index import parse

        at = self.pde.domain.check_points(points)
        index = parse(of, self.pde.domain.axis_names)
        return self.full(self._state(x)[..., : self.n_coordinates], self._inputs(v), t) @ (
            self.basis.jet(at, [index])[0].T
        )

    def output(self, x: ArrayLike, v: ArrayLike | None = None, t: float = 0.0) -> FloatArray:
        """`u` at the sensors, `(.., n_outputs)`."""
        c = self._state(x)[..., : self.n_coordinates]
        return self.full(c, self._inputs(v), t) @ self.sensors.T

    def _state(self, x: ArrayLike) -> FloatArray:
        state = as_float_array(x, "x")
        if state.shape[-1:] != (self.n_states,):
            raise ShapeError(f"x has shape {state.shape}; expected (.., {self.n_states}), the model's states")
        return check_finite(state, "x")

    def _inputs(self, v: ArrayLike | None) -> FloatArray:
        inputs = np.zeros(self.n_inputs) if v is None else as_float_array(v, "v")
        if inputs.shape[-1:] != (self.n_inputs,):
            raise ShapeError(
                f"v has shape {inputs.shape}; expected (.., {self.n_inputs}), the model's inputs"
            )
        return check_finite(inputs, "v")

    # -- delegates

    def solve(self, t: ArrayLike, inputs: Any = None, **options: Any) -> Solution:
        """Integrate over times; see `koopctrl.sampled.pde.solve`."""
        from koopctrl.sampled.pde.solve import solve

        return solve(self, t, inputs, **options)

    def matrices(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """`(A, B, C, D)` of a linear equation; see `linear_matrices`."""
        from koopctrl.sampled.pde.faces import linear_matrices

        return linear_matrices(self)

    def linearise(self, x: ArrayLike, v: ArrayLike | None = None) -> tuple[FloatArray, ...]:
        """`(A, B, C, D)` of deviations from a state and input."""
        from koopctrl.sampled.pde.faces import linearise

        return linearise(self, x, v)

    def affine_matrices(self) -> dict[str | None, tuple[FloatArray, FloatArray]]:
        """`(A_p, B_p)` by parameter; see `koopctrl.sampled.pde.faces.affine_matrices`."""
        from koopctrl.sampled.pde.faces import affine_matrices

        return affine_matrices(self)

    def to_statespace(self, name: str = "pde") -> control.StateSpace:
        """Linear equation as a continuous-time `control.StateSpace`."""
        from koopctrl.export.pde import to_statespace

        return to_statespace(self, name)

    def to_nlsys(self, name: str = "pde") -> control.NonlinearIOSystem:
        """Continuous-time `control.NonlinearIOSystem`; parameters can be set in `params`."""
        from koopctrl.export.pde import to_nlsys

        return to_nlsys(self, name)

    def to_casadi(self, dt: float | None = None, n_substeps: int = 1, name: str = "pde") -> casadi.Function:
        """`(x, v, p) -> derivative`, or with `dt` the next state; see `koopctrl.export.pde.to_casadi`."""
        from koopctrl.export.pde import to_casadi

        return to_casadi(self, dt, n_substeps, name)

    def step_face(self, dt: float) -> StepFace:
        """`reset` and `step` with held inputs; see `StepFace`."""
        from koopctrl.sampled.pde.step_face import StepFace

        return StepFace(self, dt)

    def reduce(self, n_states: int, snapshots: ArrayLike) -> SemiDiscrete:
        """Model in the leading directions of snapshots; see `koopctrl.sampled.pde.reduce`."""
        from koopctrl.sampled.pde.reduce import reduce_model

        return reduce_model(self, n_states, snapshots)
