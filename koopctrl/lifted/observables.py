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

    def on_features(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(R_x, R_psi)`: `rows @ z = R_x (x - x_op) + R_psi (psi(x) - psi(x_op))`, for `(n, n_z)` rows."""
        n_x = len(self.x_op)
        on_rest = rows[:, n_x:]
        return rows[:, :n_x] / self.x_scale - on_rest @ self.project.T, on_rest @ self.reduce.T

    @classmethod
    def identity(cls, x_op: FloatArray, x_scale: FloatArray | None = None) -> Observables:
        """The state's deviation alone, scaled by 1 if nothing else is given."""
        n_x = len(x_op)
        layer = Layer(np.empty((0, n_x)), np.empty(0), "tanh")
        scale = np.ones(n_x) if x_scale is None else x_scale
        return cls(layer, x_op, scale, np.empty((0, 0)), np.empty((n_x, 0)))
