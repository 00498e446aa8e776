"""ELM: Gaussian weights, scaled by the data but not otherwise chosen from them."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import Layer


def sample_elm(
    points: FloatArray,
    joint: FloatArray,
    targets: FloatArray,
    n_features: int,
    activation: str,
    feature_scale: float,
    rng: np.random.Generator,
) -> Layer:
    """Sample `w ~ N(0, feature_scale^2 / n_in)`, `b = -<w, p>` with `p` a random data point.

    `points` are standardised, so `w'p` has a standard deviation near `feature_scale`; each neuron's centre
    lies on the data. `joint` and `targets` are not used.

    Source: Huang, Zhu, Siew, *Extreme learning machine*, Neurocomputing 70, 2006.
    """
    weights = rng.normal(scale=feature_scale / np.sqrt(points.shape[1]), size=(n_features, points.shape[1]))
    centres = points[rng.integers(len(points), size=n_features)]
    return Layer(weights, -np.sum(weights * centres, axis=1), activation)
