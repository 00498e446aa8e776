"""Equations without time: one least-squares solve, or a few where they are nonlinear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, check_integer, check_number
from koopctrl.errors import OptionError, SolverError
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.sampled.pde.basis import Basis, make_basis
from koopctrl.sampled.pde.conditions import data_at
from koopctrl.sampled.pde.constraint import constrain, no_constraint
from koopctrl.sampled.pde.layer import sample_layer
from koopctrl.sampled.pde.multi_index import parse
from koopctrl.sampled.pde.operators import condition_rows, strong
from koopctrl.sampled.pde.problem import PDE, fit_work
from koopctrl.sampled.pde.terms import (
    LINEAR,
    NonlinearDiffusion,
    Pointwise,
    Product,
    as_pointwise,
    expanded,
    partials_of,
    values_at,
)

_MOST_ITERATIONS = 60
_RCOND = 1e-13


@dataclass(frozen=True, eq=False)
class StaticSolution:
    """Solution of an equation without time; call it with points.

    Attributes
    ----------
    basis : Basis
    coef : (size,) array
    residual : float
        Root mean square of what is left of the equation, relative to its largest term.
    iterations : int
        Least-squares solves.
    """

    basis: Basis
    coef: FloatArray
    residual: float
    iterations: int

    def __call__(self, points: ArrayLike, of: str = "u") -> FloatArray:
        """`u` or a derivative at points, `(n_points,)`."""
        domain = self.basis.layer.domain
        at = domain.check_points(points)
        return self.basis.jet(at, [parse(of, domain.axis_names)])[0] @ self.coef


@few_threads(fit_work)
def solve_static(
    pde: PDE,
    n_features: int = 400,
    *,
    inputs: ArrayLike | None = None,
    n_points: int | None = None,
    pair_distance: float = 0.1,
    directions: str | ArrayLike = "any",
    cut: float = 1e-10,
    boundary_tolerance: float = 1e-7,
    rtol: float = 1e-10,
    random_state: int | np.random.Generator | None = None,
) -> StaticSolution:
    """Solve `0 = sum of terms + forcing(x, 0) + actuators' inputs` with the equation's boundary conditions.

    The residual is made least at the quadrature points. On domains with a precise quadrature the basis holds
    the boundary conditions; on others they are rows that weigh as much as the interior. Nonlinear terms take
    Gauss-Newton steps, halved where they do not lower the residual, from `initial`.

    Parameters
    ----------
    pde : PDE
        Of which the time derivative is left out.
    n_features, n_points, pair_distance, directions, cut, boundary_tolerance, random_state
        As in `discretise`.
    inputs : (n_actuators,) array_like, optional
        Constant inputs of the interior actuators.
    rtol : float
        Change of the coefficients, relative to the largest, at which nonlinear equations are done.

    Raises
    ------
    SolverError
        If Gauss-Newton does not settle.
    """
    check_integer(n_features, "n_features", low=2)
    check_number(rtol, "rtol", low=0.0, strict=True)
    if pde.boundary_inputs:
        raise OptionError("boundary has inputs; expected numbers in value for a static equation")
    rng = np.random.default_rng(random_state)
    wanted = max(600, 3 * n_features) if n_points is None else check_integer(n_points, "n_points", low=4)
    quadrature = pde.domain.quadrature(wanted, rng)
    layer = sample_layer(pde.domain, n_features, rng, pair_distance=pair_distance, directions=directions)
    basis = make_basis(layer, quadrature, cut)
    places = {part: pde.domain.on(part, wanted, rng) for part in {c.part for c in pde.boundary}}
    points, root = quadrature.points, np.sqrt(quadrature.weights / quadrature.weights.sum())

    operator = np.zeros((len(points), basis.size))
    pointwise: list[tuple[float, Pointwise, list[FloatArray]]] = []
    for term in pde.terms:
        weight = 1.0 if term.parameter is None else pde.parameters[term.parameter]
        if isinstance(term, LINEAR):
            operator += weight * strong(basis, points, term)
            continue
        function = (
            as_pointwise(term) if isinstance(term, Product)
            else expanded(term, pde.domain.axis_names) if isinstance(term, NonlinearDiffusion) else term
        )  # fmt: skip
        indices = [parse(name, pde.domain.axis_names) for name in function.of]
        pointwise.append((weight, function, basis.jet(points, indices)))
    known = np.zeros(len(points))
    if pde.forcing is not None:
        known = known + values_at(lambda x: pde.forcing(x, 0.0), points, "forcing")  # pyright: ignore[reportOptionalCall]
    for j, actuator in enumerate(pde.actuators):
        gain = 0.0 if inputs is None else float(np.asarray(inputs, dtype=float)[j])
        known = known + gain * values_at(actuator, points, f"actuators[{j}]")

    if quadrature.precise:
        constraint = constrain(basis, pde.boundary, places.__getitem__, boundary_tolerance)
        rows, data = np.zeros((0, basis.size)), np.zeros(0)
    else:
        constraint = no_constraint(basis.size)
        rows, data = _weighted_rows(pde, basis, places, float(np.linalg.norm(root[:, None] * operator)))

    def residual(full: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, slope = operator @ full + known, operator
        for weight, function, evaluations in pointwise:
            arguments = [e @ full for e in evaluations]
            value = value + weight * np.asarray(function.function(*arguments))
            for partial, e in zip(partials_of(function, arguments), evaluations, strict=True):
                slope = slope + weight * partial[:, None] * e
        return (
            np.concatenate([root * value, rows @ full - data]),
            np.concatenate([root[:, None] * slope, rows]),
        )

    fixed = constraint.offset(0.0)
    start = basis(points).T @ (quadrature.weights * values_at(pde.initial, points, "initial"))
    free = constraint.null.T @ (start if pointwise else np.zeros(basis.size))
    most = _MOST_ITERATIONS if pointwise else 1
    iterations = 0
    while iterations < most:
        iterations += 1
        value, slope = residual(constraint.null @ free + fixed)
        step = _solve(slope @ constraint.null, -value)
        length = 1.0
        while length > 1e-4 and not _lower(residual, constraint.null @ (free + length * step) + fixed, value):
            length /= 2.0
        length = length if pointwise else 1.0
        free = free + length * step
        if np.abs(length * step).max() <= rtol * np.abs(free).max(initial=0.0) or length <= 1e-4 or most == 1:
            break
    else:
        raise SolverError(
            f"the static equation does not settle in {most} Gauss-Newton steps; expected a start "
            "nearer to its "
            "solution. Give one as initial"
        )
    full = constraint.null @ free + fixed
    left = residual(full)[0]
    size = max(float(np.sqrt(np.mean((operator @ full) ** 2))), float(np.sqrt(np.mean(known**2))))
    return StaticSolution(basis, full, float(np.linalg.norm(left)) / (size or 1.0), iterations)


def _lower(residual, full: FloatArray, before: FloatArray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        value = residual(full)[0]
    return bool(np.isfinite(value).all() and np.linalg.norm(value) <= np.linalg.norm(before))


def _solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    accumulator = QRAccumulator(matrix.shape[1], 1)
    accumulator.update(matrix, right[:, None])
    return accumulator.solve(_RCOND).coef[:, 0]


def _weighted_rows(pde: PDE, basis: Basis, places: dict, size: float) -> tuple[FloatArray, FloatArray]:
    """Boundary rows with the norm of the interior's, and their data."""
    rows, data = [np.zeros((0, basis.size))], [np.zeros(0)]
    for condition in pde.boundary:
        at = places[condition.part]
        raw = condition_rows(basis, condition, at)
        share = np.sqrt(at.weights / at.weights.sum())
        factor = share * size / float(np.linalg.norm(share[:, None] * raw))
        rows.append(factor[:, None] * raw)
        data.append(factor * data_at(condition.value, at.points, 0.0))
    return np.concatenate(rows), np.concatenate(data)
