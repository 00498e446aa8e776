r"""The network's dictionary around an operating point, reduced: the coordinates that candidates choose from.

1. Centre: `g(x) = psi(x) - psi(x_op)`, a layer of the `network` coupling with its input held at `u_op`.
2. Take the state out of the features, `g - P (x - x_op)`, then order what is left by an SVD of the
column-scaled
   matrix: near-orthonormal coordinates, the best explained first. Without this the Riccati equations
   downstream are too ill-conditioned to solve. `P` is either from least squares, or the derivative of `psi`
   at `x_op`: then what is left is of second order there, and a model may have the network's own derivatives
   as its state's part.

A cut keeps the first so many of them, so the coordinates of a coarse cut are the first ones of every finer
cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.lifted.observables import Observables
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.recurrent import RecurrentNetwork


@dataclass(frozen=True, eq=False)
class ReducedDictionary:
    """All coordinates of the reduced dictionary; `observables` keeps the first of them.

    Attributes
    ----------
    layer : Layer
        Hidden layer on raw states.
    x_op, x_scale : (n_x,) arrays
    state_sigma, sigma : arrays
        Singular values of the scaled state and, descending, of the features freed of it.
    reduce, project : (n_features, n) and (n_x, n) arrays
        As in `Observables`, for all `n` directions that are more than rounding.
    """

    layer: Layer
    x_op: FloatArray
    x_scale: FloatArray
    state_sigma: FloatArray
    sigma: FloatArray
    reduce: FloatArray
    project: FloatArray

    def rank(self, rank_tol: float) -> int:
        """Directions whose singular value is above `rank_tol` times the largest of all."""
        top = max(float(self.sigma.max(initial=0.0)), float(self.state_sigma.max(initial=0.0)))
        return min(int(np.count_nonzero(self.sigma > rank_tol * top)), self.reduce.shape[1])

    def observables(self, rank: int) -> Observables:
        """The lift that keeps the first `rank` directions beside the state."""
        if not rank:
            return Observables.identity(self.x_op, self.x_scale)
        return Observables(
            self.layer, self.x_op, self.x_scale, self.reduce[:, :rank].copy(), self.project[:, :rank].copy()
        )


def raw_layer(network: RecurrentNetwork, u_op: FloatArray) -> Layer:
    """The hidden layer as a function of the raw state, its input (if it has one) held at `u_op`."""
    layer = network.layer
    if network.coupling.layer_sees_input:
        layer = layer.at_fixed_tail(
            network.window.n_x, (u_op - network.scaling.u_mean) / network.scaling.u_scale
        )
    weights = layer.weights / network.x_scale
    return Layer(weights, layer.biases - weights @ network.x_mean, layer.activation)


def reduce_dictionary(
    layer: Layer, x: FloatArray, x_op: FloatArray, x_scale: FloatArray, *, tangent: bool = False
) -> ReducedDictionary:
    """Make it from states `x`, `(n, n_x)`; with `tangent`, `P` is the derivative at `x_op`."""
    n = len(x)
    s = (x - x_op) / x_scale
    features = layer(x) - layer(x_op)
    scale = np.linalg.norm(features, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = features / scale
    if tangent:
        projection = (layer.derivative(x_op)[:, None] * layer.weights * x_scale).T / scale
    else:
        projection = np.linalg.lstsq(s, scaled, rcond=None)[0]
    # The SVD of the rest's triangle has the rest's singular values and right vectors.
    _, sigma, vt = np.linalg.svd(np.linalg.qr(scaled - s @ projection, mode="r"), full_matrices=False)
    state_sigma = np.linalg.svd(s / np.linalg.norm(s, axis=0).clip(min=1e-300), compute_uv=False)
    top = max(float(sigma.max(initial=0.0)), float(state_sigma.max(initial=0.0)))
    kept = int(np.count_nonzero(sigma > np.finfo(float).eps * top))
    # Unit variance over the data: divide by sigma, multiply by sqrt(n).
    t = vt[:kept].T * (np.sqrt(n) / sigma[:kept])
    return ReducedDictionary(
        layer, x_op, x_scale, state_sigma, sigma, t / scale[:, None], (projection @ t) / x_scale[:, None]
    )
