"""Least squares at collocation points, boundary as weighted rows: without a precise quadrature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.sampled.pde.basis import Basis
from koopctrl.sampled.pde.domain import BoundaryPoints, Quadrature
from koopctrl.sampled.pde.galerkin import forcing, nonlinearities
from koopctrl.sampled.pde.operators import condition_rows, gradient, strong
from koopctrl.sampled.pde.problem import PDE
from koopctrl.sampled.pde.semi_discrete import BoundarySource, SemiDiscrete
from koopctrl.sampled.pde.terms import LINEAR, NonlinearDiffusion, values_at


def assemble_collocation(
    pde: PDE,
    basis: Basis,
    quadrature: Quadrature,
    places: Mapping[str, BoundaryPoints],
    rate: float | None,
) -> SemiDiscrete:
    r"""Model whose `c'` makes the residual least in

    .. math::
        |\psi(X) c' - R|_w^2 + |B c' - \dot g - \gamma (g - B c)|_{w_b}^2

    with boundary rows `B`, their data `g`, and the rate :math:`\gamma` at which the boundary is pulled to
    them. The rows are weighted to count as much as the interior.
    """
    if any(isinstance(t, NonlinearDiffusion) for t in pde.terms):
        raise OptionError(
            'NonlinearDiffusion needs formulation="galerkin"; expected Pointwise terms with "collocation"'
        )
    points = quadrature.points
    psi = basis(points)
    root = np.sqrt(quadrature.weights)
    rows, factors = [], []
    for condition in pde.boundary:
        at = places[condition.part]
        raw = condition_rows(basis, condition, at)
        share = np.sqrt(at.weights / at.weights.sum())
        size = float(np.linalg.norm(share[:, None] * raw)) / np.sqrt(basis.size)
        factors.append(share / size)
        rows.append(factors[-1][:, None] * raw)
    # psi is orthonormal in the interior's weights: the triangle of all rows is well-conditioned.
    stacked = np.concatenate([root[:, None] * psi, *rows])
    q, r = np.linalg.qr(stacked)
    solve = np.linalg.solve(r, q.T)
    n = len(points)
    project = solve[:, :n] * root
    boundary, start = [], n
    for block in rows:
        boundary.append(solve[:, start : start + len(block)])
        start += len(block)

    size = basis.size
    linear: dict[str | None, FloatArray] = {None: np.zeros((size, size))}
    for term in pde.terms:
        if isinstance(term, LINEAR):
            matrix = project @ strong(basis, points, term)
            linear[term.parameter] = linear.get(term.parameter, 0.0) + matrix
    inputs: dict[str | None, FloatArray] = {None: np.zeros((size, pde.n_inputs))}
    for j, actuator in enumerate(pde.actuators):
        inputs[None][:, j] += project @ values_at(actuator, points, f"actuators[{j}]")
    sources: list[tuple[str | None, Callable[[float], FloatArray]]] = []
    if pde.forcing is not None:
        sources.append((None, partial(forcing, pde, points, project)))
    if rows:
        pull = _pull(linear, pde.parameters) if rate is None else rate  # pyright: ignore[reportArgumentType]
        for condition, block, onto, factor in zip(pde.boundary, rows, boundary, factors, strict=True):
            at = places[condition.part]
            linear[None] -= pull * (onto @ block)
            if callable(condition.value) or condition.value:
                source = BoundarySource(condition.value, at.points, onto * factor, pull, derivative=True)
                sources.append((None, source))
            if condition.shape is not None:
                column = len(pde.actuators) + pde.boundary_inputs.index(condition)
                shape = values_at(condition.shape, at.points, "shape")
                inputs[None][:, column] += pull * (onto @ (factor * shape))
    nonlinear = nonlinearities(
        pde, basis, points, project, quadrature.weights, gradient(basis, points) if not pde.linear else [],
        np.eye(size),
    )  # fmt: skip
    return SemiDiscrete(
        pde, basis, np.eye(size), None, np.zeros((size, pde.n_inputs)), linear, nonlinear, inputs,
        tuple(sources), psi.T * quadrature.weights, points,
        basis(pde.sensors), dict(pde.parameters),  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def _pull(linear: Mapping[str | None, FloatArray], parameters: Mapping[str, float]) -> float:
    """Median magnitude of the interior operator's eigenvalues: as fast as the equation itself."""
    operator = np.sum([(1.0 if p is None else parameters[p]) * m for p, m in linear.items()], axis=0)
    magnitude = np.abs(np.linalg.eigvals(operator))
    found = float(np.median(magnitude)) or float(magnitude.max(initial=0.0))
    return found or 1.0
