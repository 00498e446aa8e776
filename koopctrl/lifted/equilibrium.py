"""Equilibria of the nonlinear face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from koopctrl._validation import FloatArray

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN


def find_equilibrium(model: KoopmanRNN, u_op: FloatArray, guess: FloatArray) -> FloatArray | None:
    """Fixed point of the nonlinear face under constant input, or None if none lies in the data's range."""
    net = model._network
    identity = np.eye(len(guess))
    scale = net.x_scale

    def residual(s: FloatArray) -> FloatArray:
        x = s * scale
        return (net.step(x, u_op) - x) / scale

    def jacobian(s: FloatArray) -> FloatArray:
        return (net.jacobian(s * scale, u_op)[0] - identity) * scale / scale[:, None]

    result = optimize.root(residual, guess / scale, jac=jacobian, method="hybr", options={"xtol": 1e-14})
    x = result.x * scale
    low, high = model.y_range_
    y = x[: net.window.n_y]
    if np.abs(residual(result.x)).max() > 1e-9 or (y < low).any() or (y > high).any():
        return None
    return x
