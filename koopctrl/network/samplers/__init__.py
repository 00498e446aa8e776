"""Samplers of hidden layers, one a file, all with the signature of `Sampler`."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import ACTIVATIONS, Layer
from koopctrl.network.samplers.elm import sample_elm
from koopctrl.network.samplers.swim import sample_swim
from koopctrl.network.samplers.uniform import sample_uniform

__all__ = ["ACTIVATIONS", "SAMPLERS", "Layer", "Sampler"]


class Sampler(Protocol):
    """Make a layer on standardised `points`; `joint` are points with inputs, `targets` what to predict."""

    def __call__(
        self,
        points: FloatArray,
        joint: FloatArray,
        targets: FloatArray,
        n_features: int,
        activation: str,
        feature_scale: float,
        rng: np.random.Generator,
    ) -> Layer:
        """Sample `n_features` neurons."""
        ...


SAMPLERS: dict[str, Sampler] = {"swim": sample_swim, "uniform": sample_uniform, "elm": sample_elm}
