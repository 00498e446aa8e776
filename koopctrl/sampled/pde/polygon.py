"""Polygons with holes: a triangulation by Delaunay, and a Gauss rule on every triangle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._validation import FloatArray, as_matrix
from koopctrl.errors import DataError
from koopctrl.sampled.pde.domain import BoundaryPoints, Domain, Quadrature

_PER_EDGE = 8  # Gauss points of the boundary's pieces and of the triangles' collapsed squares
_REFINEMENTS = 5


class Polygon(Domain):
    """Polygon with polygonal holes; curved shapes are polygons of many edges.

    Its quadrature is exact for polynomials of degree eight on a triangulation, so the weak form holds to many
    digits.

    Parameters
    ----------
    vertices : (n, 2) array_like
        Outer boundary, either way round, without repeating the first vertex.
    holes : sequence of (k, 2) array_like
        Each inside the outer boundary.

    Raises
    ------
    DataError
        If the outline crosses itself or a hole is not inside.
    """

    def __init__(self, vertices: ArrayLike, holes: Sequence[ArrayLike] = ()) -> None:
        outer = _counter_clockwise(as_matrix(vertices, "vertices"), "vertices")
        inner = [_counter_clockwise(as_matrix(h, f"holes[{i}]"), f"holes[{i}]") for i, h in enumerate(holes)]
        self.loops = [outer, *(loop[::-1] for loop in inner)]  # the region lies to the left of every edge
        self.low, self.high = outer.min(axis=0), outer.max(axis=0)
        self.periodic = np.zeros(2, dtype=bool)
        self.area = _signed_area(outer) - sum(_signed_area(loop) for loop in inner)
        if self.area <= 0.0:
            raise DataError(
                f"the holes have all of the polygon's area; expected them inside, got {self.area:g} left"
            )
        self._mesh: tuple[FloatArray, float] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """`outer`, then `hole0`, `hole1`, .."""
        return ("outer", *(f"hole{i}" for i in range(len(self.loops) - 1)))

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Whether points `(n, 2)` are inside, by the number of edges that a ray to the right crosses."""
        crossings = np.zeros(len(points), dtype=int)
        x, y = points[:, 0, None], points[:, 1, None]
        for loop in self.loops:
            a, b = loop, np.roll(loop, -1, axis=0)
            spans = (a[:, 1] > y) != (b[:, 1] > y)
            rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
            at = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise
            crossings += np.count_nonzero(spans & (x < at), axis=1)
        return crossings % 2 == 1

    def quadrature(self, n_points: int, rng: np.random.Generator) -> Quadrature:
        """Collapsed Gauss rule on the triangles, 25 points each."""
        corners = self._triangles(np.sqrt(2.0 * self.area / max(20.0, n_points / 25.0)))
        node, weight = np.polynomial.legendre.leggauss(5)
        s, w = (node + 1.0) / 2.0, weight / 2.0
        a, b = np.meshgrid(s, s, indexing="ij")
        # The square (a, b) onto the triangle: first coordinate a, second (1 - a) b, area element (1 - a).
        first, second = a.ravel(), ((1.0 - a) * b).ravel()
        share = (np.outer(w, w) * (1.0 - a)).ravel()
        p, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        points = p[:, None] + first[:, None] * e1[:, None] + second[:, None] * e2[:, None]
        doubled = np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0])
        return Quadrature(points.reshape(-1, 2), (doubled[:, None] * share).ravel(), True)

    def boundary(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """Gauss points on the edges of one loop, in pieces of about equal length."""
        loop = self.loops[self.parts.index(part)]
        edge = np.roll(loop, -1, axis=0) - loop
        length = np.linalg.norm(edge, axis=1)
        node, weight = np.polynomial.legendre.leggauss(_PER_EDGE)
        piece = max(
            float(length.sum()) * _PER_EDGE / max(n_points, 8 * _PER_EDGE), 1e-12 * float(length.sum())
        )
        points, normals, weights = [], [], []
        for start, along, size in zip(loop, edge, length, strict=True):
            n = max(1, round(size / piece))
            few = node if size > 0.3 * piece else np.array([-1.0, 1.0]) / np.sqrt(3.0)
            w = weight if size > 0.3 * piece else np.ones(2)
            at = ((np.arange(n)[:, None] + (few + 1.0) / 2.0) / n).ravel()
            points.append(start + at[:, None] * along)
            normals.append(np.broadcast_to(np.array([along[1], -along[0]]) / size, (len(at), 2)))
            weights.append(np.tile(w * size / (2.0 * n), n))
        return BoundaryPoints(np.concatenate(points), np.concatenate(normals), np.concatenate(weights))

    def _triangles(self, spacing: float) -> FloatArray:
        """Corners `(n, 3, 2)` of a triangulation that has the polygon's area, to rounding."""
        if self._mesh is not None and self._mesh[1] <= spacing:
            return self._mesh[0]
        from scipy.spatial import Delaunay  # slow to load, and seldom needed

        h = spacing
        for _ in range(_REFINEMENTS):
            nodes = np.concatenate([self._outline(h), self._inside(h)])
            simplices = Delaunay(nodes).simplices
            corners = nodes[simplices]
            e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
            area = 0.5 * np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0])
            keep = (area > 1e-12 * self.area) & self.contains(corners.mean(axis=1))
            if abs(area[keep].sum() - self.area) <= 1e-9 * self.area:
                self._mesh = (corners[keep], spacing)
                return corners[keep]
            h /= 1.6  # an edge of the outline is no edge of the triangulation yet
        raise DataError(
            "the outline cannot be triangulated; expected loops that neither cross nor touch, with "
            "holes inside. Check the "
            "vertices' order, or give a PointCloud with a mesh of your own"
        )

    def _outline(self, h: float) -> FloatArray:
        pieces = []
        for loop in self.loops:
            edge = np.roll(loop, -1, axis=0) - loop
            for start, along in zip(loop, edge, strict=True):
                n = max(1, int(np.ceil(np.linalg.norm(along) / h)))
                pieces.append(start + np.arange(n)[:, None] / n * along)
        return np.concatenate(pieces)

    def _inside(self, h: float) -> FloatArray:
        """Nodes of a triangular lattice that keep a distance to the outline."""
        columns = np.arange(self.low[0], self.high[0] + h, h)
        rows = np.arange(self.low[1], self.high[1] + h, h * np.sqrt(3.0) / 2.0)
        x, y = np.meshgrid(columns, rows)
        x[1::2] += h / 2.0
        lattice = np.stack([x.ravel(), y.ravel()], axis=1)
        lattice = lattice[self.contains(lattice)]
        keep = np.ones(len(lattice), dtype=bool)
        for loop in self.loops:
            for a, b in zip(loop, np.roll(loop, -1, axis=0), strict=True):
                along = b - a
                at = np.clip((lattice - a) @ along / (along @ along), 0.0, 1.0)
                keep &= np.linalg.norm(lattice - a - at[:, None] * along, axis=1) > 0.6 * h
        return lattice[keep]


def _signed_area(loop: FloatArray) -> float:
    x, y = loop[:, 0], loop[:, 1]
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _counter_clockwise(loop: FloatArray, name: str) -> FloatArray:
    if loop.shape[1] != 2 or len(loop) < 3:
        raise DataError(f"{name} has shape {loop.shape}; expected (n, 2) with three vertices or more")
    area = _signed_area(loop)
    extent = float(np.prod(loop.max(axis=0) - loop.min(axis=0)))
    if abs(area) <= 1e-12 * extent or extent == 0.0:
        raise DataError(f"{name} encloses no area; expected the corners of a polygon")
    if (np.linalg.norm(np.roll(loop, -1, axis=0) - loop, axis=1) == 0.0).any():
        raise DataError(f"{name} repeats a vertex; expected each once, the last joined to the first")
    return (loop if area > 0.0 else loop[::-1]).copy()
