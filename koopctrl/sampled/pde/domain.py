"""What every domain offers: points with weights, a boundary with normals, coordinates scaled to 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite
from koopctrl.errors import OptionError, ShapeError

_LETTERS = ("x", "y", "z")


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Points and weights: `sum_i weights_i f(points_i)` stands for the integral of `f`.

    Attributes
    ----------
    points : (n, dim) array
    weights : (n,) array
        Positive; they sum to the measure of the domain.
    precise : bool
        Whether smooth functions are integrated to many digits (Gauss rules) or only as a mean over points.
        Weak forms, which rely on integration by parts, need the former.
    """

    points: FloatArray
    weights: FloatArray
    precise: bool


@dataclass(frozen=True, eq=False)
class BoundaryPoints:
    """Points on a part of the boundary, with outward unit normals and weights.

    Attributes
    ----------
    points, normals : (n, dim) array
    weights : (n,) array
        They sum to the measure of that part; at the end of an interval the weight is 1.
    """

    points: FloatArray
    normals: FloatArray
    weights: FloatArray


class Domain(ABC):
    """A bounded region of `dim` coordinates; some axes of an interval or a box may be periodic.

    Attributes
    ----------
    low, high : (dim,) array
        Corners of the box around it.
    periodic : (dim,) array of bool
    """

    low: FloatArray
    high: FloatArray
    periodic: FloatArray

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.low)

    @property
    def extent(self) -> FloatArray:
        """Length of the box around it along every axis."""
        return self.high - self.low

    @property
    def axis_names(self) -> tuple[str, ...]:
        """`x`, `y`, `z`, or `x0, x1, ..` beyond three."""
        return _LETTERS[: self.dim] if self.dim <= len(_LETTERS) else tuple(f"x{i}" for i in range(self.dim))

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of its boundary; `"all"` stands for all of them."""

    @abstractmethod
    def quadrature(self, n_points: int, rng: np.random.Generator) -> Quadrature:
        """About `n_points` points with weights."""

    @abstractmethod
    def boundary(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """About `n_points` points on one part of the boundary."""

    def sample(self, n_points: int, rng: np.random.Generator) -> FloatArray:
        """Points from which neurons are made, `(n_points, dim)`."""
        points = self.quadrature(4 * n_points, rng).points
        return points[rng.integers(len(points), size=n_points)]

    def scaled(self, points: FloatArray) -> FloatArray:
        """Coordinates in which the box around the domain is `[0, 1]^dim`: units have no part in sampling."""
        return (points - self.low) / self.extent

    def all_boundary(self, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """All parts of the boundary together."""
        pieces = [self.boundary(part, max(1, n_points // len(self.parts)), rng) for part in self.parts]
        return BoundaryPoints(
            np.concatenate([p.points for p in pieces]),
            np.concatenate([p.normals for p in pieces]),
            np.concatenate([p.weights for p in pieces]),
        )

    def on(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """Points on a part by name, `"all"` included."""
        self.check_part(part)
        return self.all_boundary(n_points, rng) if part == "all" else self.boundary(part, n_points, rng)

    def check_part(self, part: str) -> str:
        """Refuse a name that is no part of the boundary."""
        if not self.parts:
            raise OptionError(
                f"part is {part!r}, but a periodic domain has no boundary; expected no boundary conditions"
            )
        if part != "all" and part not in self.parts:
            known = ", ".join(map(repr, (*self.parts, "all")))
            raise OptionError(f"part is {part!r}; expected one of {known}")
        return part

    def check_points(self, points: ArrayLike, name: str = "points") -> FloatArray:
        """Finite `(n, dim)` array of points; `(n,)` is accepted on an interval."""
        array = as_float_array(points, name)
        if array.ndim == 1 and self.dim == 1:
            array = array[:, None]
        if array.ndim != 2 or array.shape[1] != self.dim:
            raise ShapeError(
                f"{name} has shape {array.shape}; expected (n, {self.dim}), one row a point of the "
                f"{self.dim}-dimensional domain"
            )
        return check_finite(array, name)
