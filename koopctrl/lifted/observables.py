"""The lift from states to near-orthonormal coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import Layer


@dataclass(frozen=True, eq=False)
class Observables:
    r"""The lift `z = [(x - x_op) / s; T'(psi(x) - psi(x_op)) - P (x - x_op)]`.

    The first `n_x` coordinates are the scaled state itself, so that `unlift(lift(x)) = x` exactly; the others
    are the reduced features, orthogonal to the state over the training data.

    Parameters
    ----------
    layer : Layer
        Hidden layer on raw states.
    x_op : (n_x,) array
    x_scale : (n_x,) array
    reduce : (n_features, n_z - n_x) array
        `T`.
    project : (n_x, n_z - n_x) array
        `P'`.
    """

    layer: Layer
    x_op: FloatArray
    x_scale: FloatArray
    reduce: FloatArray
    project: FloatArray

    @property
    def n_z(self) -> int:
        """Number of lifted coordinates."""
        return len(self.x_op) + self.reduce.shape[1]

    def __call__(self, x: FloatArray) -> FloatArray:
        """Lift `(..., n_x)` states to `(..., n_z)`."""
        n_x = len(self.x_op)
        deviation = x - self.x_op
        z = np.empty((*x.shape[:-1], self.n_z))
        z[..., :n_x] = deviation / self.x_scale
        if self.reduce.shape[1]:
            features = self.layer(x) - self.layer(self.x_op)
            z[..., n_x:] = features @ self.reduce - deviation @ self.project
        return z

    @classmethod
    def identity(cls, x_op: FloatArray) -> Observables:
        """The state's deviation alone."""
        n_x = len(x_op)
        layer = Layer(np.empty((0, n_x)), np.empty(0), "tanh")
        return cls(layer, x_op, np.ones(n_x), np.empty((0, 0)), np.empty((n_x, 0)))
