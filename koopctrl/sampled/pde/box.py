"""Intervals and boxes, with Gauss points on open axes and equidistant ones on periodic axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_bool, check_finite, check_number
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde.domain import BoundaryPoints, Domain, Quadrature

_PANEL = 16  # Gauss points on a panel: degree 31 on each
_GAUSS_DIM = 3  # beyond, tensor rules have too many points


def gauss_panels(edges: FloatArray, per_panel: int = _PANEL) -> tuple[FloatArray, FloatArray]:
    """Composite Gauss-Legendre points and weights on panels between `edges`."""
    nodes, weights = np.polynomial.legendre.leggauss(per_panel)
    half = np.diff(edges) / 2.0
    middle = (edges[:-1] + edges[1:]) / 2.0
    return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * weights).ravel()


def axis_rule(low: float, high: float, n: int, periodic: bool) -> tuple[FloatArray, FloatArray]:
    """About `n` points on one axis: Gauss panels, or equidistant without a duplicate of the end."""
    if periodic:
        return low + (high - low) * np.arange(n) / n, np.full(n, (high - low) / n)
    panels = max(1, round(n / _PANEL))
    per_panel = max(2, round(n / panels))
    return gauss_panels(np.linspace(low, high, panels + 1), per_panel)


class Box(Domain):
    """Box between a lower and an upper corner.

    Up to three dimensions its points are tensor products of Gauss rules (equidistant along periodic axes);
    beyond, scrambled Sobol points of equal weight.

    Parameters
    ----------
    low, high : (dim,) array_like
        Corners.
    periodic : bool or sequence of bool
        Which axes are periodic. A periodic axis has no boundary parts.

    Raises
    ------
    OptionError
        If an axis has no positive length.
    """

    def __init__(self, low: ArrayLike, high: ArrayLike, periodic: bool | Sequence[bool] = False) -> None:
        self.low = check_finite(np.atleast_1d(as_float_array(low, "low")).copy(), "low")
        self.high = check_finite(np.atleast_1d(as_float_array(high, "high")).copy(), "high")
        if self.low.ndim != 1 or self.low.shape != self.high.shape:
            raise ShapeError(
                f"low has shape {self.low.shape} and high {self.high.shape}; expected two corners (dim,)"
            )
        if not (self.high > self.low).all():
            raise OptionError(f"high is {self.high}; expected it above low = {self.low} along every axis")
        flags = [periodic] * self.dim if isinstance(periodic, (bool, np.bool_)) else list(periodic)
        if len(flags) != self.dim:
            raise ShapeError(f"periodic has {len(flags)} entries; expected {self.dim}, one an axis")
        self.periodic = np.array([check_bool(flag, "periodic") for flag in flags])

    @property
    def parts(self) -> tuple[str, ...]:
        """`x-`, `x+`, `y-`, ..: the faces where an axis begins and ends, unless it is periodic."""
        open_axes = np.flatnonzero(np.logical_not(self.periodic))
        return tuple(f"{self.axis_names[i]}{side}" for i in open_axes for side in "-+")

    def quadrature(self, n_points: int, rng: np.random.Generator) -> Quadrature:
        """Tensor Gauss rule with about `n_points` points, or as many Sobol points."""
        return _rule(self.low, self.high, self.periodic, n_points, rng)

    def boundary(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """Rule of the face."""
        axis, upper = self.axis_names.index(part[:-1]), part[-1] == "+"
        others = np.arange(self.dim) != axis
        if others.any():
            face = _rule(self.low[others], self.high[others], self.periodic[others], n_points, rng)
            points, weights = np.empty((len(face.weights), self.dim)), face.weights
            points[:, others] = face.points
        else:
            points, weights = np.empty((1, 1)), np.ones(1)
        points[:, axis] = self.high[axis] if upper else self.low[axis]
        normals = np.zeros_like(points)
        normals[:, axis] = 1.0 if upper else -1.0
        return BoundaryPoints(points, normals, weights)


def _rule(
    low: FloatArray, high: FloatArray, periodic: FloatArray, n_points: int, rng: np.random.Generator
) -> Quadrature:
    dim = len(low)
    if dim > _GAUSS_DIM:
        from scipy.stats import qmc  # slow to load, and seldom needed

        unit = qmc.Sobol(dim, seed=rng).random_base2(max(1, int(np.ceil(np.log2(max(n_points, 2))))))  # pyright: ignore[reportCallIssue]
        weight = np.prod(high - low) / len(unit)
        return Quadrature(low + (high - low) * unit, np.full(len(unit), weight), False)
    per_axis = max(4, round(n_points ** (1.0 / dim)))
    rules = [axis_rule(a, b, per_axis, bool(p)) for a, b, p in zip(low, high, periodic, strict=True)]
    grids = np.meshgrid(*(points for points, _ in rules), indexing="ij")
    weights = rules[0][1]
    for _, w in rules[1:]:
        weights = np.multiply.outer(weights, w)
    return Quadrature(np.stack([g.ravel() for g in grids], axis=1), weights.ravel(), True)


class Interval(Box):
    """Interval `[low, high]`, or a circle of that length.

    Parameters
    ----------
    low, high : float
    periodic : bool
    edges : (n + 1,) array, optional
        Panels of the Gauss rule from `low` to `high`, finer where the solution is steep; equal ones by
        default. With them neurons are made in the coordinate in which the panels are equally long. They are
        what `resample` finds.
    """

    def __init__(
        self, low: float, high: float, periodic: bool = False, *, edges: FloatArray | None = None
    ) -> None:
        super().__init__([check_number(low, "low")], [check_number(high, "high")], periodic)
        if edges is not None:
            edges = as_float_array(edges, "edges")
            ends = (edges[0], edges[-1]) if edges.ndim == 1 and len(edges) > 1 else None
            if ends != (self.low[0], self.high[0]) or not (np.diff(edges) > 0).all():
                raise OptionError(f"edges are {edges}; expected them to rise from {low:g} to {high:g}")
        self.edges = edges

    @property
    def parts(self) -> tuple[str, ...]:
        """`left` and `right`; none if periodic."""
        return () if self.periodic[0] else ("left", "right")

    def quadrature(self, n_points: int, rng: np.random.Generator) -> Quadrature:
        """Gauss panels between the edges, or a uniform rule."""
        if self.edges is None:
            return super().quadrature(n_points, rng)
        per_panel = int(np.clip(round(n_points / (len(self.edges) - 1)), 4, 32))
        points, weights = gauss_panels(self.edges, per_panel)
        return Quadrature(points[:, None], weights, True)

    def boundary(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """One end."""
        upper = part == "right"
        end = self.high if upper else self.low
        return BoundaryPoints(end[None].copy(), np.array([[1.0 if upper else -1.0]]), np.ones(1))

    def from_level(self, level: FloatArray) -> FloatArray:
        """Positions of levels in `[0, 1]`, the coordinate in which panels are equally long."""
        edges = np.array([self.low[0], self.high[0]]) if self.edges is None else self.edges
        return np.interp(level, np.linspace(0.0, 1.0, len(edges)), edges)
