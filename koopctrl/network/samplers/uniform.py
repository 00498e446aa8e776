"""Neurons from uniformly drawn pairs of data points."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.samplers.pairs import candidate_pairs


def sample_uniform(
    points: FloatArray,
    joint: FloatArray,
    targets: FloatArray,
    n_features: int,
    activation: str,
    feature_scale: float,
    rng: np.random.Generator,
) -> Layer:
    """Sample a layer from pairs drawn uniformly; `joint` and `targets` are not used."""
    first, second = candidate_pairs(points, n_features, rng)
    return Layer.from_pairs(points[first], points[second], activation, feature_scale)
