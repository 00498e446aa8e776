r"""Adapted sampling: the layer sampled anew in the directions in which the learned nonlinear part varies.

Of a learned `f(p) = E' psi(p)` the matrix

.. math:: M = \overline{(\nabla f - \overline{\nabla f})' (\nabla f - \overline{\nabla f})}

over the data has large eigenvalues along the directions in which `f` is curved (its mean gradient is linear,
and not the neurons' business). Neurons sampled in the span of the leading ones are all of use, where most of
those sampled in a window of 30 signals are not. The outer weights start as those that hold the old function
best.

In the spirit of active subspaces (Constantine, *Active Subspaces*, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.recurrent import RecurrentNetwork
from koopctrl.network.samplers import SAMPLERS

# Share of the curvature's energy that the kept directions hold.
ENERGY = 0.98
_ENERGY_WINDOW = 0.9  # of a lag window, many of whose directions hold nothing but errors of the first fit
_MAX_POINTS = 5_000


@dataclass(frozen=True, eq=False)
class Directions:
    """Orthonormal directions `(n_in, n)` and all eigenvalues of `M`, descending."""

    basis: FloatArray
    energies: FloatArray

    @property
    def shares(self) -> FloatArray:
        """Share of the energy that each input of the layer carries: which lags or states matter."""
        energy = np.sum(self.basis**2 * self.energies[: self.basis.shape[1]], axis=1)
        return energy / max(float(energy.sum()), np.finfo(float).tiny)


def leading_directions(
    layer: Layer, outer: FloatArray, points: FloatArray, energy: float = ENERGY
) -> Directions:
    """Directions of `f = psi outer` over `(n, n_in)` standardised points."""
    points = points[:: max(1, -(-len(points) // _MAX_POINTS))]
    n_in = points.shape[1]
    slopes = layer.derivative(points)  # (n, q)
    slopes = slopes - slopes.mean(axis=0)
    # M = sum_ij W_i' W_j (outer outer')_ij cov(psi'_i, psi'_j): no gradient is ever formed.
    weight = (outer @ outer.T) * (slopes.T @ slopes / len(points))
    matrix = layer.weights.T @ weight @ layer.weights
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    total = values.sum()
    if not total > 0:
        return Directions(np.eye(n_in), values)
    n = int(np.searchsorted(np.cumsum(values) / total, energy)) + 1
    return Directions(vectors[:, : min(n, n_in)], values)


def adapted_layer(
    net: RecurrentNetwork, snapshots: Snapshots, sampler: str, feature_scale: float, rng: np.random.Generator
) -> tuple[Layer, Directions]:
    """Layer for the next round of a one-step fit, and the directions it is sampled in.

    Parameters
    ----------
    net : RecurrentNetwork
        With its outer weights.
    snapshots : Snapshots
        Pairs it was fitted to.
    sampler, feature_scale, rng
        As for the first layer.
    """
    xs, us = net.standardise(snapshots.x, snapshots.u)
    points = np.concatenate([xs, us], axis=1) if net.coupling.layer_sees_input else xs
    if net.coupling.parameters and net.coupling.layer_sees_input:
        points[:, [net.window.n_x + i for i in range(us.shape[1]) if i not in net.coupling.layer_inputs]] = (
            0.0
        )
    m, first = net.n_dictionary, 1 + net.window.n_x
    # Every monomial of the input has neurons' weights of its own.
    outer = np.concatenate(
        [net.coef[j * m + first : (j + 1) * m] for j in range(net.coupling.n_products)], axis=1
    )
    directions = leading_directions(net.layer, outer, points, _ENERGY_WINDOW)
    projected = points @ directions.basis
    low = SAMPLERS[sampler](
        projected, projected, net.layer(points) @ outer, net.layer.n_features, net.layer.activation,
        feature_scale, rng,
    )  # fmt: skip
    return Layer(low.weights @ directions.basis.T, low.biases, low.activation), directions


def resample(
    layer: Layer,
    outer: FloatArray,
    points: FloatArray,
    targets: FloatArray,
    sampler: str,
    feature_scale: float,
    rng: np.random.Generator,
) -> tuple[Layer, FloatArray, Directions]:
    """New layer in the leading directions, and weights `(1 + n_in + q, n)` that hold the old function.

    Parameters
    ----------
    layer : Layer
    outer : (q, n) array
        Its outer weights.
    points : (n_points, n_in) array
        Standardised.
    targets : (n_points, n) array
        What `swim` weights pairs by.
    sampler : str
    feature_scale : float
    rng : numpy.random.Generator
    """
    directions = leading_directions(layer, outer, points)
    projected = points @ directions.basis
    low = SAMPLERS[sampler](
        projected, projected, targets, layer.n_features, layer.activation, feature_scale, rng
    )
    new = Layer(low.weights @ directions.basis.T, low.biases, layer.activation)
    some = points[:: max(1, -(-len(points) // _MAX_POINTS))]
    left = np.concatenate([np.ones((len(some), 1)), some, new(some)], axis=1)
    right = layer(some) @ outer
    scale = np.linalg.norm(left, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    root = 1e-4 * np.eye(left.shape[1])  # relative to unit columns: keeps twins of neurons from cancelling
    system = np.concatenate([left / scale, root])
    rest = np.concatenate([right, np.zeros((left.shape[1], right.shape[1]))])
    return new, np.linalg.lstsq(system, rest, rcond=None)[0] / scale[:, None], directions
