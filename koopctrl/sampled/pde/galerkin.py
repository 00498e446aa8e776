"""Projection with a precise quadrature: diffusion in weak form, boundary conditions held by the basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from koopctrl._validation import FloatArray, as_float_array, check_finite
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde.basis import Basis
from koopctrl.sampled.pde.conditions import Condition, Neumann
from koopctrl.sampled.pde.constraint import Constraint, constrain
from koopctrl.sampled.pde.domain import BoundaryPoints, Quadrature
from koopctrl.sampled.pde.multi_index import MultiIndex, parse, unit
from koopctrl.sampled.pde.operators import (
    conductivity_at,
    gradient,
    normal_conductivity,
    strong,
    weak_diffusion,
)
from koopctrl.sampled.pde.problem import PDE
from koopctrl.sampled.pde.semi_discrete import BoundarySource, Nonlinearity, SemiDiscrete
from koopctrl.sampled.pde.terms import (
    LINEAR,
    Diffusion,
    NonlinearDiffusion,
    Pointwise,
    Product,
    as_pointwise,
    axis_flux,
    values_at,
)

Source = tuple[str | None, Callable[[float], FloatArray]]


def assemble_galerkin(
    pde: PDE,
    basis: Basis,
    quadrature: Quadrature,
    places: Mapping[str, BoundaryPoints],
    tolerance: float,
) -> SemiDiscrete:
    """Model `<psi null, equation> = 0`; see `discretise`."""
    held = [c for c in pde.boundary if isinstance(c, Condition)]
    fluxes = [c for c in pde.boundary if isinstance(c, Neumann)]
    _check_fluxes(pde, fluxes)
    constraint = constrain(basis, held, places.__getitem__, tolerance)
    basis, constraint = _without_lift(basis, constraint)
    points, weights, test = quadrature.points, quadrature.weights, constraint.null
    project = (basis(points) @ test).T * weights
    slopes = gradient(basis, points)

    linear: dict[str | None, FloatArray] = {None: np.zeros((test.shape[1], basis.size))}
    inputs: dict[str | None, FloatArray] = {None: np.zeros((test.shape[1], pde.n_inputs))}
    sources: list[Source] = []
    for term in pde.terms:
        if not isinstance(term, LINEAR):
            continue
        if isinstance(term, Diffusion):
            matrix = weak_diffusion(term, points, weights, slopes, test)
            matrix += _boundary_flux(pde, basis, test, term, fluxes, places, inputs, sources)
            matrix += _own_flux(basis, test, term, held, places)
        else:
            matrix = project @ strong(basis, points, term)
        linear[term.parameter] = linear.get(term.parameter, 0.0) + matrix
    for j, actuator in enumerate(pde.actuators):
        inputs[None][:, j] += project @ values_at(actuator, points, f"actuators[{j}]")
    if pde.forcing is not None:
        sources.append((None, partial(forcing, pde, points, project)))
    n_lifted = constraint.inputs.shape[1]
    lift_inputs = np.zeros((basis.size, pde.n_inputs))
    first = len(pde.actuators)
    lift_inputs[:, first : first + n_lifted] = constraint.inputs
    return SemiDiscrete(
        pde, basis, test, None if constraint.homogeneous else constraint.offset, lift_inputs, linear,
        nonlinearities(pde, basis, points, project, weights, slopes, test), inputs, tuple(sources), project,
        points, basis(pde.sensors), dict(pde.parameters),  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def _check_fluxes(pde: PDE, fluxes: list[Neumann]) -> None:
    """Refuse fluxes of which the weak form knows nothing."""
    conservative = any(isinstance(t, NonlinearDiffusion) for t in pde.terms)
    if fluxes and not conservative and not any(isinstance(t, Diffusion) for t in pde.terms):
        raise OptionError(
            "boundary has a Neumann condition, but no term is Diffusion, whose flux it is; expected "
            'Condition(part, "u_x", value), held by the basis'
        )
    for c in fluxes:
        if conservative and (callable(c.value) or c.value or c.loss or c.shape is not None):
            raise OptionError(
                f"boundary has a flux through {c.part!r} with NonlinearDiffusion; expected no flux "
                "there, or Dirichlet. "
                'Condition(part, "u_x", value) prescribes a slope'
            )


def _without_lift(basis: Basis, constraint: Constraint) -> tuple[Basis, Constraint]:
    """Where nothing is lifted, the null space itself becomes the basis: all matrices shrink."""
    if not constraint.homogeneous or constraint.inputs.size:
        return basis, constraint
    basis = basis.combined(constraint.null)
    n = basis.size
    return basis, Constraint(np.eye(n), np.zeros((n, 0)), (), np.zeros((n, 0)), constraint.residual)


def _boundary_flux(
    pde: PDE,
    basis: Basis,
    test: FloatArray,
    term: Diffusion,
    fluxes: list[Neumann],
    places: Mapping[str, BoundaryPoints],
    inputs: dict[str | None, FloatArray],
    sources: list[Source],
) -> FloatArray:
    """Boundary integral `<psi, k du/dn>` of the weak form: losses as a matrix, data and inputs as sources."""
    matrix = np.zeros((test.shape[1], basis.size))
    columns = pde.boundary_inputs
    for condition in fluxes:
        at = places[condition.part]
        values = basis(at.points)
        weighted = (values @ test).T * (at.weights * normal_conductivity(term, at))
        matrix -= condition.loss * (weighted @ values)
        if callable(condition.value) or condition.value:
            sources.append((term.parameter, BoundarySource(condition.value, at.points, weighted)))
        if condition.shape is not None:
            column = len(pde.actuators) + columns.index(condition)
            part = inputs.setdefault(term.parameter, np.zeros((test.shape[1], pde.n_inputs)))
            part[:, column] += weighted @ values_at(condition.shape, at.points, "shape")
    return matrix


def _own_flux(
    basis: Basis,
    test: FloatArray,
    term: Diffusion,
    held: list[Condition],
    places: Mapping[str, BoundaryPoints],
) -> FloatArray:
    """`<psi, k du/dn>` where the basis holds a derivative: the test functions do not vanish there, and the
    flux is that of the solution itself.
    """
    matrix = np.zeros((test.shape[1], basis.size))
    parts = {c.part for c in held if c.of != "u"} - {c.part for c in held if c.of == "u"}
    for part in parts:
        at = places[part]
        slopes = gradient(basis, at.points)
        k = conductivity_at(term, at.points, len(slopes))
        normal = np.sum([(k[:, i] * at.normals[:, i])[:, None] * s for i, s in enumerate(slopes)], axis=0)
        matrix += (basis(at.points) @ test).T @ (at.weights[:, None] * normal)
    return matrix


def forcing(pde: PDE, points: FloatArray, project: FloatArray, t: float) -> FloatArray:
    """Projected forcing at one time."""
    assert pde.forcing is not None
    values = as_float_array(pde.forcing(points, t), "forcing(points, t)")
    if values.shape not in ((), (len(points),)):
        raise ShapeError(f"forcing(points, t) has shape {values.shape}; expected ({len(points)},)")
    return project @ np.broadcast_to(check_finite(values, "forcing(points, t)"), len(points))


def nonlinearities(
    pde: PDE,
    basis: Basis,
    points: FloatArray,
    project: FloatArray,
    weights: FloatArray,
    slopes: list[FloatArray],
    test: FloatArray,
) -> tuple[tuple[str | None, Nonlinearity], ...]:
    """Nonlinear terms with their arguments at the points; equal derivatives share one array."""
    names = pde.domain.axis_names
    cache: dict[MultiIndex, FloatArray] = {unit(pde.domain.dim, i): s for i, s in enumerate(slopes)}

    def evaluation(name: str) -> FloatArray:
        index = parse(name, names)
        if index not in cache:
            cache[index] = basis.jet(points, [index])[0]
        return cache[index]

    found: list[tuple[str | None, Nonlinearity]] = []
    for term in pde.terms:
        if isinstance(term, NonlinearDiffusion):
            for axis, name in enumerate(names):
                flux = axis_flux(term, f"u_{name}")
                against = -(slopes[axis] @ test).T * weights
                found.append((term.parameter, _make(flux, against, evaluation)))
        elif isinstance(term, (Product, Pointwise)):
            pointwise = as_pointwise(term) if isinstance(term, Product) else term
            found.append((term.parameter, _make(pointwise, project, evaluation)))
    return tuple(found)


def _make(term: Pointwise, project: FloatArray, evaluation: Callable[[str], FloatArray]) -> Nonlinearity:
    return Nonlinearity(term, project, tuple(evaluation(name) for name in term.of))
