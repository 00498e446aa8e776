"""Zonotopes, invariant tubes and polyhedra beside sampling, closed forms and linear programmes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from koopctrl.controllers.sets.admissible import admissible_set
from koopctrl.controllers.sets.invariant import invariant_tube
from koopctrl.controllers.sets.polyhedron import Polyhedron
from koopctrl.controllers.sets.zonotope import Zonotope, as_zonotope
from koopctrl.errors import OptionError, ShapeError, SolverError


def contains(inner: np.ndarray, outer: np.ndarray) -> float:
    """Least factor by which `outer` holds `inner`, by the linear programme of zonotope inclusion."""
    n, k, m = len(inner), inner.shape[1], outer.shape[1]
    # Variables: X+ (m k), X- (m k), factor.
    cost = np.zeros(2 * m * k + 1)
    cost[-1] = 1.0
    equal = np.zeros((n * k, len(cost)))
    for j in range(k):
        for i in range(n):
            equal[i * k + j, j : m * k : k] = outer[i]
            equal[i * k + j, m * k + j : 2 * m * k : k] = -outer[i]
    sums = np.zeros((m, len(cost)))
    for i in range(m):
        sums[i, i * k : (i + 1) * k] = sums[i, m * k + i * k : m * k + (i + 1) * k] = 1.0
    sums[:, -1] = -1.0
    found = optimize.linprog(
        cost, A_ub=sums, b_ub=np.zeros(m), A_eq=equal, b_eq=inner.ravel(), method="highs"
    )
    assert found.status == 0
    return float(found.fun)


def stable(seed: int, n: int) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, n))
    return 0.8 * a / np.abs(np.linalg.eigvals(a)).max()


@pytest.mark.parametrize(
    "generators",
    [
        np.diag([0.1, 2.0]),
        np.array([[0.3, -0.1, 0.0], [1.0, 0.5, 2.0]]),
        pytest.param(np.array([[0.0], [1.0]]), marks=pytest.mark.slow),
    ],
)
def test_tube_is_invariant_and_next_to_the_smallest(generators: np.ndarray) -> None:
    A, W = stable(3, 2), Zonotope(generators)
    tube = invariant_tube(A, W)
    F = tube.cross_section
    assert contains(np.hstack([A @ F.generators, W.generators]), F.generators) <= 1.0 + 1e-7
    directions = np.random.default_rng(0).standard_normal((20, 2))
    smallest, power = np.zeros(20), directions
    for _ in range(400):
        smallest += W.support(power)
        power = power @ A
    assert (F.support(directions) >= smallest * (1.0 - 1e-12)).all()
    assert (F.support(directions) <= smallest * 1.01).all()


def test_support_is_that_of_the_corners() -> None:
    W = Zonotope(np.array([[0.3, -0.1, 0.4], [1.0, 0.5, 2.0]]))
    corners = W.generators @ np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1)
    directions = np.random.default_rng(1).standard_normal((10, 2))
    assert W.support(directions) == pytest.approx((directions @ corners).max(axis=1))
    assert W.half_widths == pytest.approx(corners.max(axis=1))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_tube_in_other_units(unit: float) -> None:
    A, scale = stable(5, 3), np.array([1.0, unit, 1.0 / unit])
    W = np.diag([0.1, 0.2, 0.3])[:, :2]
    plain = invariant_tube(A, Zonotope(W))
    other = invariant_tube(A * scale[:, None] / scale, Zonotope(W * scale[:, None]))
    assert other.n_terms == plain.n_terms
    assert other.cross_section.half_widths / scale == pytest.approx(plain.cross_section.half_widths)


def test_unstable_has_no_tube() -> None:
    with pytest.raises(SolverError, match="spectral radius"):
        invariant_tube(np.array([[1.01]]), Zonotope(np.eye(1)))


def test_bad_disturbances_by_name() -> None:
    with pytest.raises(ShapeError, match="disturbance has shape"):
        as_zonotope([1.0], "disturbance", 2)
    with pytest.raises(OptionError, match="none below zero"):
        as_zonotope([1.0, -1.0], "disturbance", 2)


def test_pruning_keeps_the_set_and_nothing_more() -> None:
    rng = np.random.default_rng(2)
    rows = np.vstack([np.eye(3), -np.eye(3), rng.standard_normal((30, 3))])
    heights = np.concatenate([np.ones(6), rng.uniform(0.5, 3.0, 30)])
    whole = Polyhedron(rows, heights, np.abs(heights))
    small = whole.pruned()
    points = rng.uniform(-1.2, 1.2, (3000, 3))
    inside = (points @ rows.T <= heights).all(axis=1)
    assert ((points @ small.rows.T <= small.heights).all(axis=1) == inside).all()
    for i in range(len(small.rows)):  # every row that is left cuts something off
        rest = np.delete(small.rows, i, axis=0), np.delete(small.heights, i)
        found = optimize.linprog(-small.rows[i], A_ub=rest[0], b_ub=rest[1], bounds=(None, None))
        assert found.status == 3 or -found.fun > small.heights[i] + 1e-9


def test_admissible_set_is_the_largest() -> None:
    step = np.array([[0.9, 0.5], [-0.3, 0.7]])
    rows, units = np.vstack([np.eye(2), -np.eye(2)]), np.ones(4)
    box = Polyhedron(np.empty((0, 2)), np.empty(0), np.empty(0)).plus(rows, np.full(4, 5.0), units)
    found = admissible_set(step, rows, lambda j: np.ones(4), box, units)
    points = np.random.default_rng(3).uniform(-1.2, 1.2, (2000, 2))
    stays, x = np.ones(len(points), dtype=bool), points
    for _ in range(100):
        stays &= (np.abs(x) <= 1.0).all(axis=1)
        x = x @ step.T
    assert ((points @ found.rows.T <= found.heights).all(axis=1) == stays).all()
