"""A partial differential equation as data: terms, domain, boundary, start, actuators, sensors, parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_names, check_number
from koopctrl.errors import OptionError
from koopctrl.sampled.pde.conditions import Condition, Neumann, check_conditions
from koopctrl.sampled.pde.domain import Domain
from koopctrl.sampled.pde.multi_index import parse
from koopctrl.sampled.pde.terms import LINEAR, Derivative, Pointwise, Product, Term, check_terms

if TYPE_CHECKING:
    from koopctrl.sampled.pde.semi_discrete import SemiDiscrete


@dataclass(frozen=True, eq=False)
class PDE:
    r"""Equation of first or second order in time, on a domain.

    .. math::
        \partial_t u = \sum_k F_k(u) + f(x, t) + \sum_j b_j(x) v_j(t), \qquad
        \text{or} \quad \partial_{tt} u + \delta\, \partial_t u = \dots

    Parameters
    ----------
    domain : Domain
        `Interval`, `Box`, `Ball`, `Polygon` or `PointCloud`.
    terms : sequence of terms
        `Derivative`, `Advection`, `Diffusion`, `Product`, `Pointwise`, `NonlinearDiffusion`.
    boundary : sequence of conditions
        `Dirichlet`, `Neumann`, `Condition`; none for periodic axes.
    initial : float or callable
        `u` at the start: function of points `(n, dim)` with values `(n,)`.
    initial_rate : float or callable
        Its time derivative, if `order` is 2.
    forcing : callable, optional
        `f(points, t)` with values `(n,)`.
    order : {1, 2}
        Of the time derivative.
    damping : float
        Of the second-order equation, 1/s.
    actuators : sequence of callables
        Shapes `b_j(points)`, one an input. Conditions with a `shape` add inputs after them.
    sensors : (n_y, dim) array_like, optional
        Points where `u` is measured.
    parameters : mapping
        Values of the parameters that terms name.
    input_names, output_names : sequence of str, optional
        `v0, v1, ..` and `y0, y1, ..` by default.

    Raises
    ------
    OptionError
        Unknown terms, parts, derivatives, parameters or order.

    Notes
    -----
    In the spirit of C. Datar et al., *Solving partial differential equations with sampled neural networks*,
    arXiv 2405.20836.
    """

    domain: Domain
    terms: Sequence[Term]
    boundary: Sequence[Condition | Neumann] = ()
    initial: float | Callable[[FloatArray], ArrayLike] = 0.0
    initial_rate: float | Callable[[FloatArray], ArrayLike] = 0.0
    forcing: Callable[[FloatArray, float], ArrayLike] | None = None
    order: int = 1
    damping: float = 0.0
    actuators: Sequence[Callable[[FloatArray], ArrayLike]] = ()
    sensors: ArrayLike | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a basis."""
        if not isinstance(self.domain, Domain):
            raise OptionError(f"domain is a {type(self.domain).__name__}; expected Interval, Box, Ball, ..")
        if self.order not in (1, 2):
            raise OptionError(f"order is {self.order!r}; expected 1 or 2, the order in time")
        check_number(self.damping, "damping")
        if self.damping and self.order == 1:
            raise OptionError('damping is given, but order is 1; expected order=2. Use Derivative("u", -k)')
        settle = object.__setattr__
        settle(self, "terms", check_terms(self.terms))
        settle(self, "boundary", check_conditions(self.boundary))
        if not self.terms:
            raise OptionError("terms is empty; expected at least one term")
        for term in self.terms:
            for name in _derivatives(term):
                parse(name, self.domain.axis_names)
        for condition in self.boundary:
            self.domain.check_part(condition.part)
            if isinstance(condition, Condition):
                parse(condition.of, self.domain.axis_names)
        wanted = {t.parameter for t in self.terms if t.parameter is not None}
        given = {str(k): check_number(v, f"parameters[{k!r}]") for k, v in dict(self.parameters).items()}
        if wanted != set(given):
            raise OptionError(
                f"parameters are {sorted(given)}; expected values of {sorted(wanted)}, which the terms name"
            )
        settle(self, "parameters", given)
        settle(self, "actuators", tuple(self.actuators))
        for i, actuator in enumerate(self.actuators):
            if not callable(actuator):
                raise OptionError(f"actuators[{i}] is {actuator!r}; expected a function of the points")
        points = np.empty((0, self.domain.dim))
        if self.sensors is not None:
            points = self.domain.check_points(self.sensors, "sensors")
            outside = (points < self.domain.low - 1e-9 * self.domain.extent) | (
                points > self.domain.high + 1e-9 * self.domain.extent
            )
            if outside.any():
                raise OptionError(
                    f"sensors[{int(np.argwhere(outside)[0, 0])}] is outside the domain; expected points in it"
                )
        settle(self, "sensors", points)
        defaults = [f"v{j}" for j in range(len(self.actuators))]
        defaults += [c.name or f"v{len(self.actuators) + j}" for j, c in enumerate(self.boundary_inputs)]
        names = check_names(self.input_names or defaults, "input_names", self.n_inputs, "v")
        settle(self, "input_names", names)
        settle(self, "output_names", check_names(self.output_names, "output_names", len(points), "y"))

    @property
    def boundary_inputs(self) -> tuple[Condition | Neumann, ...]:
        """Conditions that carry an input: those held by the basis first, then fluxes."""
        with_shape = [c for c in self.boundary if c.shape is not None]
        return tuple(
            [c for c in with_shape if isinstance(c, Condition)]
            + [c for c in with_shape if isinstance(c, Neumann)]
        )

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return len(self.actuators) + len(self.boundary_inputs)

    @property
    def linear(self) -> bool:
        """Whether all terms are linear."""
        return all(isinstance(term, LINEAR) for term in self.terms)

    def discretise(self, n_features: int = 400, **options: Any) -> SemiDiscrete:
        """Ordinary differential equation of the basis coefficients; see `discretise`."""
        from koopctrl.sampled.pde.discretise import discretise

        return discretise(self, n_features, **options)


def _derivatives(term: Term) -> tuple[str, ...]:
    if isinstance(term, Derivative):
        return (term.of,)
    if isinstance(term, Product):
        return (term.first, term.second)
    return tuple(term.of) if isinstance(term, Pointwise) else ()


def fit_work(_: PDE, n_features: int = 400, *, n_points: int | None = None, **__: Any) -> float:
    """Multiplications of a basis of so many features on so many points."""
    width = n_features if isinstance(n_features, int) else 0
    return float(n_points if isinstance(n_points, int) else max(600, 3 * width)) * width**2
