"""The sampled layer as a well-conditioned basis: orthonormal in the domain's quadrature, by one SVD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray, check_number
from koopctrl.errors import DataError
from koopctrl.sampled.pde.domain import Quadrature
from koopctrl.sampled.pde.layer import SpatialLayer
from koopctrl.sampled.pde.multi_index import MultiIndex


@dataclass(frozen=True, eq=False)
class Basis:
    r"""Functions :math:`\psi = V^T [\phi; 1]`, orthonormal on the quadrature points.

    With `S = diag(sqrt(w)) [phi(X), 1] = U diag(s) V'`, the columns of `V diag(1/s)` with `s > cut s_1` make
    :math:`\sum_i w_i \psi_j(x_i) \psi_k(x_i) = \delta_{jk}`: least squares on the points is a product.

    Entries of `V diag(1/s)` are up to `1 / cut`, and their rounding tilts the last functions towards the
    first ones by `eps / cut`. A second orthonormalisation of the computed functions, kept as a factor of its
    own, takes that out: what stays is noise of the evaluation, which meets only the small coefficients of
    those last functions.

    Attributes
    ----------
    layer : SpatialLayer
    outer : (n_features + 1, n) array
        First weights on `[phi; 1]`.
    mix : (n, size) array
        Combinations of those: `psi = [phi; 1]' outer mix`.
    singular_values : (n,) array
        All of them, scaled to the largest.
    """

    layer: SpatialLayer
    outer: FloatArray
    mix: FloatArray
    singular_values: FloatArray

    @property
    def size(self) -> int:
        """Number of basis functions."""
        return self.mix.shape[1]

    def jet(self, points: FloatArray, indices: Sequence[MultiIndex]) -> list[FloatArray]:
        """Derivatives `(n_points, size)` of the basis functions."""
        arrays = self.layer.jet(points, indices)
        return [
            (a @ self.outer[:-1] + (0.0 if any(index) else self.outer[-1])) @ self.mix
            for a, index in zip(arrays, indices, strict=True)
        ]

    def __call__(self, points: FloatArray) -> FloatArray:
        """Values `(n_points, size)`."""
        return self.jet(points, [(0,) * self.layer.domain.dim])[0]

    def second_order_sum(self, points: FloatArray, coefficients: FloatArray) -> FloatArray:
        """`sum_i coefficients_i d^2 psi / dx_i^2`, open axes."""
        return self.layer.second_order_sum(points, coefficients) @ self.outer[:-1] @ self.mix

    def combined(self, columns: FloatArray) -> Basis:
        """Basis of combinations `psi columns`."""
        return replace(self, mix=self.mix @ columns)


def make_basis(layer: SpatialLayer, quadrature: Quadrature, cut: float, max_size: int | None = None) -> Basis:
    """Orthonormal basis of the layer and the constant.

    Raises
    ------
    DataError
        If there are fewer points than basis functions would need.
    """
    check_number(cut, "cut", low=0.0, high=1.0, strict=True)
    features = layer.jet(quadrature.points, [(0,) * layer.domain.dim])[0]
    root = np.sqrt(quadrature.weights / quadrature.weights.sum())[:, None]
    matrix = root * np.concatenate([features, np.ones((len(features), 1))], axis=1)
    # The triangle has the matrix's singular values, to rounding, and its left vectors are not needed.
    _, s, vt = np.linalg.svd(np.linalg.qr(matrix, mode="r"))
    rank = int(np.count_nonzero(s > cut * s[0]))
    if rank > 0.8 * len(features):
        raise DataError(
            f"n_points is {len(features)}, and the layer spans {rank} functions on them; expected more than "
            f"{int(rank / 0.8)} points. Take more points, fewer features or a larger pair_distance"
        )
    rank = min(rank, max_size or rank)
    scale = s[:rank] * np.sqrt(quadrature.weights.sum())
    outer = vt[:rank].T / scale
    computed = np.sqrt(quadrature.weights)[:, None] * (features @ outer[:-1] + outer[-1])
    factor = np.linalg.qr(computed, mode="r")
    mix = linalg.solve_triangular(factor, np.eye(rank))
    return Basis(layer, outer, mix, s / s[0])
