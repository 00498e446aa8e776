"""One sampled hidden layer in space, periodic where the domain is, with its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_matrix, check_integer, check_number
from koopctrl.errors import OptionError, ShapeError
from koopctrl.network.hidden_layer import Layer
from koopctrl.sampled.pde.box import Interval
from koopctrl.sampled.pde.domain import Domain
from koopctrl.sampled.pde.multi_index import MultiIndex, bell, outer_orders, tanh_derivative

_CANDIDATES = 64  # second points among which the one nearest to the drawn distance is taken
_ACROSS = 0.5  # pairs farther apart than this share are made by a step beyond the domain
_RADIUS = 1.0 / (2.0 * np.pi)  # of a circle of length one


@dataclass(frozen=True, eq=False)
class SpatialLayer:
    r"""Hidden layer :math:`\phi(x) = \tanh(W e(x) + b)` on the embedded coordinates `e(x)`.

    An open axis is embedded as `(x - low) / extent`, a periodic one as the point of a circle of length one,
    so that every neuron is smooth and periodic by construction.

    Parameters
    ----------
    domain : Domain
    hidden : Layer
        On the embedded coordinates, open or circular, axis by axis.
    """

    domain: Domain
    hidden: Layer

    @property
    def n_features(self) -> int:
        """Width."""
        return self.hidden.n_features

    def jet(self, points: FloatArray, indices: Sequence[MultiIndex]) -> list[FloatArray]:
        """Derivatives `(n_points, n_features)` of all neurons, one array a multi-index."""
        value = self.hidden(embed(self.domain, points))
        outer: dict[int, FloatArray] = {}
        results = []
        for index in indices:
            parts = [
                bell(m, partial(self._inner, axis, points[:, axis])) for axis, m in enumerate(index) if m
            ]
            total: FloatArray | None = None
            for order, factor in outer_orders(parts):
                if order not in outer:
                    outer[order] = tanh_derivative(value, order)
                term = outer[order] * factor
                total = term if total is None else total + term
            assert total is not None  # outer_orders is never empty
            results.append(total)
        return results

    def second_order_sum(self, points: FloatArray, coefficients: FloatArray) -> FloatArray:
        """`sum_i coefficients_i d^2 phi / dx_i^2` in one pass where all axes are open: cheap in 100
        dimensions.
        """
        scaled = self.hidden.weights / self.domain.extent
        value = self.hidden(embed(self.domain, points))
        return tanh_derivative(value, 2) * (scaled**2 @ coefficients)

    def _inner(self, axis: int, x: FloatArray, order: int) -> FloatArray:
        """`order`-th derivative of what the axis adds to the neurons' arguments."""
        length = self.domain.extent[axis]
        at = axis + int(np.count_nonzero(self.domain.periodic[:axis]))
        if not self.domain.periodic[axis]:
            return self.hidden.weights[None, :, at] / length if order == 1 else np.zeros((1, 1))
        rate = 2.0 * np.pi / length
        angle = rate * (x - self.domain.low[axis]) + order * np.pi / 2.0
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return _RADIUS * rate**order * (circle @ self.hidden.weights[:, at : at + 2].T)


def embed(domain: Domain, points: FloatArray) -> FloatArray:
    """Points in the coordinates that neurons see, `(n, dim + number of periodic axes)`."""
    scaled = domain.scaled(points)
    if not domain.periodic.any():
        return scaled
    columns = []
    for axis in range(domain.dim):
        if domain.periodic[axis]:
            angle = 2.0 * np.pi * scaled[:, axis]
            columns += [_RADIUS * np.cos(angle), _RADIUS * np.sin(angle)]
        else:
            columns.append(scaled[:, axis])
    return np.stack(columns, axis=1)


def sample_layer(
    domain: Domain,
    n_features: int,
    rng: np.random.Generator,
    *,
    pair_distance: float = 0.1,
    directions: str | ArrayLike = "any",
) -> SpatialLayer:
    """Sample neurons from pairs of points of the domain.

    Parameters
    ----------
    domain : Domain
    n_features : int
    rng : numpy.random.Generator
    pair_distance : float
        Least distance of a pair, as a share of the domain; distances are drawn log-uniformly from there to
        half of the domain, or to twice the least one if that is more. It is the finest scale the layer
        resolves: neurons finer than the solution only add directions in which the projected equation is
        stiff. Above 1 neurons are flat across the domain and span polynomials of low degree, for smooth
        solutions in many dimensions.
    directions : {"any", "axes"} or (dim, k) array_like
        Along which pairs lie: any, single axes (solutions that are sums over coordinates, many dimensions),
        or the span of given columns, outside of which the solution does not vary.

    Raises
    ------
    OptionError
        If the distance is no share, or `directions` is neither.
    """
    check_integer(n_features, "n_features", low=1)
    check_number(pair_distance, "pair_distance", low=0.0, high=100.0, strict=True)
    reach = max(0.5 / pair_distance, 2.0)
    distance = pair_distance * np.exp(rng.uniform(0.0, np.log(reach), n_features))
    if isinstance(domain, Interval) and domain.edges is not None:
        first, second = _along_levels(domain, distance, rng)
    elif isinstance(directions, str) and directions == "any" and pair_distance <= _ACROSS:
        first, second = _nearest_to_distance(domain, distance, rng)
    else:
        first = domain.sample(n_features, rng)
        chosen = _directions(domain, directions, n_features, rng)
        scaled = distance[:, None] * chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        second = first + scaled * domain.extent
    start, end = embed(domain, first), embed(domain, second)
    if domain.periodic.any():
        # Two points of a circle are equally far from its centre: all neurons would be odd under half a
        # turn, and even harmonics out of reach. The step of the pair starts from a point of its own.
        elsewhere = embed(domain, domain.sample(n_features, rng))
        start, end = elsewhere, elsewhere + (end - start)
    return SpatialLayer(domain, Layer.from_pairs(start, end, "tanh", 1.0))


def _along_levels(
    domain: Interval, distance: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Pairs that are `distance` apart in the coordinate in which panels are equally long: finer where it
    is.
    """
    distance = np.minimum(distance, 1.0)
    start = rng.uniform(size=len(distance)) * (1.0 - distance)
    return domain.from_level(start)[:, None], domain.from_level(start + distance)[:, None]


def _nearest_to_distance(
    domain: Domain, distance: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Pairs of sampled points, the second the one of several whose distance is nearest to the one drawn."""
    n = len(distance)
    first, others = domain.sample(n, rng), domain.sample(max(4 * n, _CANDIDATES), rng)
    pool = rng.integers(len(others), size=(n, _CANDIDATES))
    step = domain.scaled(others)[pool] - domain.scaled(first)[:, None]
    wrapped = np.where(domain.periodic, step - np.round(step), step)
    apart = np.linalg.norm(wrapped, axis=2)
    miss = np.where(apart < 0.5 * distance[:, None], np.inf, np.abs(apart - distance[:, None]))
    # Points of a grid are equally far to many digits: rounding, and so units, must not decide between them.
    best = np.argmin(np.round(miss, 9), axis=1)
    return first, others[pool[np.arange(n), best]]


def _directions(domain: Domain, directions: str | ArrayLike, n: int, rng: np.random.Generator) -> FloatArray:
    if isinstance(directions, str):
        if directions == "any":
            return rng.standard_normal((n, domain.dim))
        if directions != "axes":
            raise OptionError(f"directions is {directions!r}; expected 'any', 'axes' or columns (dim, k)")
        return np.eye(domain.dim)[np.arange(n) % domain.dim] * rng.choice([-1.0, 1.0], size=(n, 1))
    columns = as_matrix(directions, "directions")
    if columns.shape[0] != domain.dim:
        raise ShapeError(f"directions has shape {columns.shape}; expected ({domain.dim}, k), one column each")
    if domain.periodic.any():
        raise OptionError("directions are given, but the domain is periodic; expected open axes")
    # A neuron varies along `W / extent`; pairs are steps in scaled coordinates, so the columns scale too.
    return (rng.standard_normal((n, columns.shape[1])) @ columns.T) * domain.extent
