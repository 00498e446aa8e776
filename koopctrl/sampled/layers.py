"""Hidden layers one upon the other, each sampled from what the last one makes of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.samplers import SAMPLERS


def features(layers: Sequence[Layer], points: FloatArray) -> FloatArray:
    """Output of the last layer at standardised `(n, n_in)` points; `(n, 0)` without layers."""
    if not layers:
        return np.empty((len(points), 0))
    for layer in layers:
        points = layer(points)
    return points


def sample_layers(
    points: FloatArray,
    targets: FloatArray,
    widths: Sequence[int],
    sampler: str,
    activation: str,
    feature_scale: float,
    rng: np.random.Generator,
) -> tuple[Layer, ...]:
    """Sample layers of given widths; none where all points coincide.

    A neuron of a deeper layer is made from a pair of samples as the layer below shows them, and pairs are
    weighted by the rise of the target over their distance there.
    """
    if np.ptp(points, axis=0).max(initial=0.0) == 0.0:
        return ()
    layers: list[Layer] = []
    for width in widths:
        if width == 0:
            return ()
        layers.append(SAMPLERS[sampler](points, points, targets, width, activation, feature_scale, rng))
        points = layers[-1](points)
    return tuple(layers)
