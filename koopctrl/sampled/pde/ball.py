"""Balls of any dimension: a polar Gauss rule in the plane, random points beyond."""

from __future__ import annotations

from math import gamma, pi

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite, check_number
from koopctrl.errors import ShapeError
from koopctrl.sampled.pde.box import gauss_panels
from koopctrl.sampled.pde.domain import BoundaryPoints, Domain, Quadrature


class Ball(Domain):
    """Ball `|x - centre| <= radius`; its boundary is one part, `"sphere"`.

    Parameters
    ----------
    centre : (dim,) array_like
        At least two coordinates.
    radius : float
    """

    def __init__(self, centre: ArrayLike, radius: float = 1.0) -> None:
        self.centre = check_finite(as_float_array(centre, "centre").copy(), "centre")
        if self.centre.ndim != 1 or len(self.centre) < 2:
            raise ShapeError(
                f"centre has shape {self.centre.shape}; expected (dim,) with two or more entries"
            )
        self.radius = check_number(radius, "radius", low=0.0, strict=True)
        self.low, self.high = self.centre - self.radius, self.centre + self.radius
        self.periodic = np.zeros(len(self.centre), dtype=bool)

    @property
    def parts(self) -> tuple[str, ...]:
        """The sphere."""
        return ("sphere",)

    @property
    def volume(self) -> float:
        """Measure of the ball."""
        return pi ** (self.dim / 2.0) / gamma(self.dim / 2.0 + 1.0) * self.radius**self.dim

    def quadrature(self, n_points: int, rng: np.random.Generator) -> Quadrature:
        """Polar rule in two dimensions; uniform random points of equal weight beyond."""
        if self.dim == 2:
            n_radii = max(8, round(np.sqrt(n_points / 3.0)))
            n_angles = max(16, round(n_points / n_radii))
            r, w = gauss_panels(np.array([0.0, self.radius]), n_radii)
            angle = 2.0 * np.pi * np.arange(n_angles) / n_angles
            circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
            points = self.centre + (r[:, None, None] * circle).reshape(-1, 2)
            return Quadrature(points, np.repeat(w * r, n_angles) * (2.0 * np.pi / n_angles), True)
        radii = self.radius * rng.uniform(size=(n_points, 1)) ** (1.0 / self.dim)
        points = self.centre + radii * _directions(n_points, self.dim, rng)
        return Quadrature(points, np.full(n_points, self.volume / n_points), False)

    def boundary(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """Points of the sphere: equidistant on a circle, uniform random beyond."""
        if self.dim == 2:
            angle = 2.0 * np.pi * np.arange(n_points) / n_points
            normals = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        else:
            normals = _directions(n_points, self.dim, rng)
        area = self.dim * self.volume / self.radius
        points = self.centre + self.radius * normals
        return BoundaryPoints(points, normals, np.full(len(points), area / len(points)))


def _directions(n: int, dim: int, rng: np.random.Generator) -> FloatArray:
    raw = rng.standard_normal((n, dim))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)
