"""Terms applied to basis functions: strongly at points, or weakly against the basis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.sampled.pde.basis import Basis
from koopctrl.sampled.pde.conditions import Condition, Neumann
from koopctrl.sampled.pde.domain import BoundaryPoints
from koopctrl.sampled.pde.multi_index import parse, unit
from koopctrl.sampled.pde.terms import Advection, Derivative, Diffusion, Term, values_at


def gradient(basis: Basis, points: FloatArray) -> list[FloatArray]:
    """First derivatives of the basis, one `(n_points, size)` array an axis."""
    dim = basis.layer.domain.dim
    return basis.jet(points, [unit(dim, i) for i in range(dim)])


def strong(basis: Basis, points: FloatArray, term: Term) -> FloatArray:
    """Linear term of the basis functions at points, `(n_points, size)`, without its parameter."""
    domain = basis.layer.domain
    if isinstance(term, Derivative):
        index = parse(term.of, domain.axis_names)
        return values_at(term.coefficient, points, "coefficient")[:, None] * basis.jet(points, [index])[0]
    if isinstance(term, Advection):
        velocity = values_at(term.velocity, points, "velocity", domain.dim)
        return -sum(velocity[:, i, None] * slope for i, slope in enumerate(gradient(basis, points)))  # pyright: ignore[reportReturnType]
    assert isinstance(term, Diffusion)  # the caller passes linear terms
    if callable(term.conductivity):
        raise OptionError(
            'Diffusion has a function as conductivity, which needs formulation="galerkin"; expected '
            "a number. "
            "Write it as Derivative terms with functions as coefficients"
        )
    k = values_at(term.conductivity, points[:1], "conductivity", domain.dim)[0]
    if not domain.periodic.any():
        return basis.second_order_sum(points, k)
    second = basis.jet(points, [unit(domain.dim, i, 2) for i in range(domain.dim)])
    return sum(k[i] * d for i, d in enumerate(second))  # pyright: ignore[reportReturnType]


def conductivity_at(term: Diffusion, points: FloatArray, dim: int) -> FloatArray:
    """Conductivity along every axis at points, `(n_points, dim)`."""
    if callable(term.conductivity):
        return np.repeat(values_at(term.conductivity, points, "conductivity")[:, None], dim, axis=1)
    return values_at(term.conductivity, points, "conductivity", dim)


def weak_diffusion(
    term: Diffusion, points: FloatArray, weights: FloatArray, slopes: Sequence[FloatArray], test: FloatArray
) -> FloatArray:
    """`-<grad psi, k grad psi>`, the test functions being the combinations `test` of the basis."""
    k = conductivity_at(term, points, len(slopes))
    parts = [(slope @ test).T @ ((weights * k[:, i])[:, None] * slope) for i, slope in enumerate(slopes)]
    return -np.sum(parts, axis=0)


def normal_conductivity(term: Diffusion, at: BoundaryPoints) -> FloatArray:
    """Conductivity along the normal of an isotropic or axis-aligned one, `(n_points,)`."""
    k = conductivity_at(term, at.points, at.points.shape[1])
    return np.sum(k * at.normals**2, axis=1)


def condition_rows(basis: Basis, condition: Condition | Neumann, at: BoundaryPoints) -> FloatArray:
    """What a condition prescribes, of the basis functions at boundary points: `(n_points, size)`."""
    if isinstance(condition, Condition):
        return basis.jet(at.points, [parse(condition.of, basis.layer.domain.axis_names)])[0]
    slopes = gradient(basis, at.points)
    rows = np.sum([at.normals[:, i, None] * slope for i, slope in enumerate(slopes)], axis=0)
    return rows + condition.loss * basis(at.points)
