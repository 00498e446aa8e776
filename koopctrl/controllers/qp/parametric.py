r"""Multi-parametric quadratic programmes: the answer as a piecewise affine function of the parameters.

.. math::
    \min_x \tfrac12 x'Hx + (g + G\theta)'x \quad\text{s.t.}\quad A x \le b + S \theta, \qquad |\theta_i| \le 1

On the set of parameters that share an active set the answer is affine, and that set is a polyhedron. They are
found by crossing the facets of known ones (Bemporad, Morari, Dua & Pistikopoulos, *The explicit linear
quadratic regulator for constrained systems*, Automatica 38, 2002; Tondel, Johansen & Bemporad, Automatica 39,
2003); points drawn over the box then look for what facets that do not match have hidden.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy import linalg, spatial

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.active_set import solve_by_active_set
from koopctrl.controllers.qp.dense import DenseQP
from koopctrl.controllers.sets.polyhedron import Polyhedron
from koopctrl.errors import OptionError

# How far beyond a facet the next region is looked for, and the radius below which a region is none.
_ACROSS, _FLAT = 1e-5, 1e-7
# Violation up to which a point belongs to a region; multipliers, relative to the largest, that are none.
INSIDE, _IDLE = 1e-8, 1e-10
# Points drawn to look for regions that were not found, and times that this is done.
_DRAWN, _ROUNDS = 3000, 20


@dataclass(frozen=True)
class ParametricQP:
    """The programme.

    Attributes
    ----------
    qp : DenseQP
        `H` and `A`.
    g, G, b, S : arrays
    """

    qp: DenseQP
    g: FloatArray
    G: FloatArray
    b: FloatArray
    S: FloatArray

    @property
    def n_theta(self) -> int:
        """Number of parameters."""
        return self.G.shape[1]

    def solve(self, theta: FloatArray) -> tuple[FloatArray, tuple[int, ...]] | None:
        """Answer and active set; None where there is none."""
        n, m = len(self.g), len(self.b)
        free = np.full(n, np.inf)
        upper = np.concatenate([free, self.b + self.S @ theta])
        lower = np.concatenate([-free, np.full(m, -np.inf)])
        found = solve_by_active_set(self.qp, self.g + self.G @ theta, lower, upper)
        if found is None or not found[2] <= 1e-7:
            return None
        lam = found[1][n:]
        active = np.flatnonzero(lam > _IDLE * max(1.0, float(lam.max(initial=0.0))))
        return found[0], tuple(int(i) for i in active)


@dataclass(frozen=True)
class Region:
    """Where one active set is optimal.

    Attributes
    ----------
    active : tuple of int
    rows, heights : arrays
        `rows theta <= heights`, none of them implied by others, of norm one.
    gain, offset : arrays
        `x = gain theta + offset`.
    centre : (n_theta,) array
        The point farthest inside.
    beyond : (n_facets, n_theta) array
        A point across each facet.
    """

    active: tuple[int, ...]
    rows: FloatArray
    heights: FloatArray
    gain: FloatArray
    offset: FloatArray
    centre: FloatArray
    beyond: FloatArray


def regions_of(problem: ParametricQP, most: int, seed: int = 0) -> list[Region]:
    """All regions in the box.

    Raises
    ------
    OptionError
        If there are more than `most`, with what part of the box they cover.
    """
    search = _Search(problem, most)
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.0, 1.0, (_DRAWN, problem.n_theta))
    search.explore([np.zeros(problem.n_theta), *points[:20]])
    for _ in range(_ROUNDS):
        missed = [p for p in points if not search.holds(p) and problem.solve(p) is not None]
        before = len(search.regions)
        search.explore(missed)
        if len(search.regions) == before:
            break
        points = rng.uniform(-1.0, 1.0, (_DRAWN, problem.n_theta))
    return search.regions


class _Search:
    """Regions found so far."""

    def __init__(self, problem: ParametricQP, most: int) -> None:
        self.problem, self.most = problem, most
        self.regions: list[Region] = []
        self.seen: set[tuple[int, ...]] = set()
        self._rows, self._heights, self._starts = np.empty((0, problem.n_theta)), np.empty(0), [0]

    def holds(self, theta: FloatArray) -> bool:
        """Whether a known region has a point."""
        if not self.regions:
            return False
        excess = self._rows @ theta - self._heights
        return bool(np.maximum.reduceat(excess, self._starts[:-1]).min() <= INSIDE)

    def explore(self, points: list[FloatArray]) -> None:
        """From some points, across facets, as far as regions go."""
        queue = deque(points)
        while queue:
            theta = queue.popleft()
            if self.holds(theta):
                continue
            found = self.problem.solve(theta)
            if found is None or found[1] in self.seen:
                continue
            self.seen.add(found[1])
            region = _region(self.problem, found[1])
            if region is None:
                continue
            self.regions.append(region)
            self._rows = np.vstack([self._rows, region.rows])
            self._heights = np.concatenate([self._heights, region.heights])
            self._starts.append(len(self._heights))
            if len(self.regions) > self.most:
                raise self._too_many()
            queue.extend(p for p in region.beyond if (np.abs(p) < 1.0).all())

    def _too_many(self) -> OptionError:
        points = np.random.default_rng(1).uniform(-1.0, 1.0, (500, self.problem.n_theta))
        solvable = [p for p in points if self.problem.solve(p) is not None]
        covered = sum(self.holds(p) for p in solvable) / max(1, len(solvable))
        return OptionError(
            f"the explicit law has more than max_regions = {self.most} regions: so many cover "
            f"{covered:.0%} of the box that has solutions. Shorten the horizon, hold inputs with blocks=..., "
            "narrow the box, or stay with the online controller"
        )


def _region(problem: ParametricQP, active: tuple[int, ...]) -> Region | None:
    """The region of an active set; None if it is flat."""
    qp, rows_a = problem.qp, problem.qp.A[list(active)]
    free_gain, free_offset = -qp.inverse @ problem.G, -qp.inverse @ problem.g
    rest = [i for i in range(len(problem.b)) if i not in set(active)]
    if active:
        whitened = qp.whiten @ rows_a.T
        basis, triangle = np.linalg.qr(whitened)
        pivots = np.abs(np.diag(triangle))
        if pivots.min() <= 1e-10 * pivots.max():
            return None
        gap_gain = problem.S[list(active)] - rows_a @ free_gain
        gap_offset = problem.b[list(active)] - rows_a @ free_offset
        both = linalg.solve_triangular(triangle, np.column_stack([gap_gain, gap_offset]), trans=1)
        lam = -linalg.solve_triangular(triangle, both)
        moved = qp.whiten.T @ (basis @ both)
        gain, offset = free_gain + moved[:, :-1], free_offset + moved[:, -1]
        dual_rows, dual_heights = -lam[:, :-1], lam[:, -1]
    else:
        gain, offset = free_gain, free_offset
        dual_rows, dual_heights = np.empty((0, problem.n_theta)), np.empty(0)
    A_rest = qp.A[rest]
    rows = np.vstack(
        [dual_rows, A_rest @ gain - problem.S[rest], np.eye(problem.n_theta), -np.eye(problem.n_theta)]
    )
    heights = np.concatenate([dual_heights, problem.b[rest] - A_rest @ offset, np.ones(2 * problem.n_theta)])
    norms = np.linalg.norm(rows, axis=1)
    size = np.abs(heights) + norms
    idle = norms <= 1e-11 * size.max()
    if (heights[idle] < -1e-9 * size.max()).any():
        return None
    rows, heights = rows[~idle] / norms[~idle, None], heights[~idle] / norms[~idle]
    # Rows that the box alone implies cost no further thought.
    needed = np.abs(rows).sum(axis=1) > heights - 1e-12
    needed[-2 * problem.n_theta :] = True
    rows, heights = rows[needed], heights[needed]
    whole = Polyhedron(rows, heights, np.ones(len(rows)))
    centre, radius = whole.centre()
    if radius < _FLAT:
        return None
    kept, points = _facets(whole, centre)
    beyond = points + _ACROSS * rows[kept]
    return Region(active, rows[kept], heights[kept], gain, offset, centre, beyond)


def _facets(whole: Polyhedron, centre: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows that others do not imply, and a point inside each of their facets.

    Around an inner point rows become points, `a / (h - a'c)`, and those that matter corners of their hull.
    """
    rows, heights = whole.rows, whole.heights
    if whole.n > 1:
        try:
            found = spatial.HalfspaceIntersection(np.column_stack([rows, -heights]), centre)
            corners, facets = found.intersections, found.dual_facets
            kept, points = [], []
            for i in range(len(rows)):
                at = [k for k, facet in enumerate(facets) if i in facet and np.isfinite(corners[k]).all()]
                if len(at) >= whole.n:
                    kept.append(i)
                    points.append(corners[at].mean(axis=0))
            return np.array(kept), np.array(points)
        except spatial.QhullError:
            pass  # rows that all but coincide: by linear programmes
    left = list(range(len(rows)))
    for i in range(len(rows) - 1, -1, -1):
        some = Polyhedron(rows[left], heights[left], np.ones(len(left)))
        if len(left) > 1 and some.maximum(rows[i], without=left.index(i)) <= heights[i] + 1e-9:
            left.remove(i)
    points = []
    for i in left:
        others = [j for j in left if j != i]
        # Of the facet: the point that is farthest from the other rows.
        facet = Polyhedron(
            np.vstack([rows[others], rows[i], -rows[i]]),
            np.concatenate([heights[others], [heights[i] + _FLAT, _FLAT - heights[i]]]),
            np.concatenate([np.ones(len(others)), np.full(2, 1e-9)]),
        )
        points.append(facet.centre()[0])
    return np.array(left), np.array(points)
