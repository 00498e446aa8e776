"""The hidden layer that samplers make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.activations import TABLE

# Of recurrent networks, which C code and filters know; layers themselves take all of `activations.TABLE`.
ACTIVATIONS = ("tanh", "relu")


@dataclass(frozen=True, eq=False)
class Layer:
    """Hidden layer `psi(p) = activation(W p + b)`.

    Parameters
    ----------
    weights : (n_features, n_in) array
    biases : (n_features,) array
    activation : {"tanh", "relu", "softplus"}
    """

    weights: FloatArray
    biases: FloatArray
    activation: str

    @classmethod
    def from_pairs(
        cls, first: FloatArray, second: FloatArray, activation: str, feature_scale: float
    ) -> Layer:
        """Make one neuron from each pair of points.

        `w = s1 (x2 - x1) / |x2 - x1|^2`, `b = -<w, x1> - s2`, with `(s1, s2)` times `feature_scale`
        (Bolager et al., *Sampling weights of deep neural networks*, arXiv 2306.16830).
        """
        s1, s2 = (feature_scale * s for s in TABLE[activation].pair)
        step = second - first
        weights = s1 * step / np.sum(step**2, axis=1, keepdims=True)
        return cls(weights, -np.sum(weights * first, axis=1) - s2, activation)

    @property
    def n_features(self) -> int:
        """Width."""
        return len(self.biases)

    def __call__(self, points: FloatArray) -> FloatArray:
        """Features of `(..., n_in)` points, shape `(..., n_features)`."""
        pre = points @ self.weights.T
        pre += self.biases
        return TABLE[self.activation].value(pre)

    def derivative(self, points: FloatArray) -> FloatArray:
        """Derivative of the activation at `W p + b`."""
        return TABLE[self.activation].slope(points @ self.weights.T + self.biases)

    def second_derivative(self, points: FloatArray) -> FloatArray:
        """Second derivative of the activation at `W p + b`."""
        return TABLE[self.activation].curvature(points @ self.weights.T + self.biases)

    def jacobian(self, points: FloatArray, outer: FloatArray, n_first: int | None = None) -> FloatArray:
        """Derivative of `psi(p) outer`, `(..., n_in, n_out)`: one row for each entry of `p`, or its first
        ones.

        The one place where slopes of neurons meet their weights: networks, readouts, sensitivities and
        filters differentiate by it.
        """
        return (self.weights[:, :n_first].T * self.derivative(points)[..., None, :]) @ outer

    def split(self, n_first: int) -> tuple[FloatArray, FloatArray]:
        """Weights on the first `n_first` entries of the points, and on the others."""
        return self.weights[:, :n_first], self.weights[:, n_first:]

    def at_fixed_tail(self, n_first: int, tail: FloatArray) -> Layer:
        """Layer on the first `n_first` entries with the others held at `tail`."""
        head, rest = self.split(n_first)
        return Layer(head, self.biases + rest @ tail, self.activation)
