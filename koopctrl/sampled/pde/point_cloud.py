"""A domain given by its points: collocation points, boundary points and normals from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import as_float_array, as_matrix, as_vector, check_bool
from koopctrl.errors import DataError, OptionError
from koopctrl.sampled.pde.domain import BoundaryPoints, Domain, Quadrature


class PointCloud(Domain):
    """Domain of given points, in one to any number of dimensions.

    Parameters
    ----------
    points : (n, dim) array_like
        Collocation points.
    weights : (n,) array_like, optional
        Quadrature weights, as of a finite-element mesh; equal by default.
    parts : mapping of str to (points, normals, weights)
        Boundary points `(k, dim)`, outward normals `(k, dim)` (they are scaled to length one) and weights
        `(k,)`; weights may be None for equal ones.
    precise : bool
        Whether the weights integrate smooth functions to many digits; the weak form relies on it.
    """

    def __init__(
        self,
        points: ArrayLike,
        weights: ArrayLike | None = None,
        parts: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike | None]] | None = None,
        *,
        precise: bool = False,
    ) -> None:
        cloud = as_matrix(points, "points").copy()
        n, dim = cloud.shape
        if n < 4:
            raise DataError(f"points has {n} rows; expected at least 4 collocation points")
        w = np.full(n, 1.0 / n) if weights is None else as_vector(weights, "weights", n).copy()
        if not (w > 0.0).all():
            raise DataError(
                f"weights has {int((w <= 0.0).sum())} entries of zero or less; expected positive ones"
            )
        self._quadrature = Quadrature(cloud, w, check_bool(precise, "precise"))
        self._parts: dict[str, BoundaryPoints] = {}
        every = [cloud]
        for name, given in dict(parts or {}).items():
            if name == "all" or len(given) != 3:
                raise OptionError(f"parts[{name!r}] is no (points, normals, weights); 'all' is taken")
            at = as_matrix(given[0], f"parts[{name!r}] points")
            normals = as_matrix(given[1], f"parts[{name!r}] normals", (len(at), dim))
            at = as_matrix(at, f"parts[{name!r}] points", (len(at), dim))
            length = np.linalg.norm(normals, axis=1, keepdims=True)
            if not (length > 0.0).all():
                raise DataError(f"parts[{name!r}] has a normal of length zero; expected outward normals")
            raw = np.full(len(at), 1.0 / len(at)) if given[2] is None else as_float_array(given[2], "weights")
            self._parts[name] = BoundaryPoints(
                at.copy(), normals / length, as_vector(raw, "weights", len(at))
            )
            every.append(at)
        together = np.concatenate(every)
        self.low, self.high = together.min(axis=0), together.max(axis=0)
        if not (self.high > self.low).all():
            raise DataError("points lie in a plane across an axis; expected a region of full dimension")
        self.periodic = np.zeros(dim, dtype=bool)

    @property
    def parts(self) -> tuple[str, ...]:
        """As given."""
        return tuple(self._parts)

    def quadrature(self, n_points: int, rng: np.random.Generator) -> Quadrature:
        """The given points, all of them, whatever number is asked for."""
        return self._quadrature

    def boundary(self, part: str, n_points: int, rng: np.random.Generator) -> BoundaryPoints:
        """The given points of that part."""
        return self._parts[part]
