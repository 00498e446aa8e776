"""SWIM: neurons from pairs of data points, drawn where the target changes fastest."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.samplers.pairs import candidate_pairs

_CANDIDATES_PER_FEATURE = 10


def sample_swim(
    points: FloatArray,
    joint: FloatArray,
    targets: FloatArray,
    n_features: int,
    activation: str,
    feature_scale: float,
    rng: np.random.Generator,
) -> Layer:
    """Sample a layer with pair probabilities `max|y2 - y1| / |p2 - p1|`.

    `p` are the rows of `joint`, which hold the inputs too: otherwise pairs with nearly equal states and
    different inputs would have the steepest quotients, although no function of the state explains them.
    Pairs are drawn without replacement, with uniform probabilities if all quotients vanish.

    Source: Bolager et al., *Sampling weights of deep neural networks*, NeurIPS 2023, arXiv 2306.16830.
    """
    first, second = candidate_pairs(points, _CANDIDATES_PER_FEATURE * n_features, rng)
    rise = np.abs(targets[second] - targets[first]).max(axis=1)
    slope = rise / np.linalg.norm(joint[second] - joint[first], axis=1)
    positive = int(np.count_nonzero(slope))
    weights = slope / slope.sum() if positive >= n_features else None
    chosen = rng.choice(len(slope), size=n_features, replace=False, p=weights)
    return Layer.from_pairs(points[first[chosen]], points[second[chosen]], activation, feature_scale)
