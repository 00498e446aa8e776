r"""Activations: value, slope and curvature, and how a pair of points makes a neuron of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray

Function = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Activation:
    r"""One activation :math:`\sigma(z)`.

    Parameters
    ----------
    value, slope, curvature : callable
        :math:`\sigma, \sigma', \sigma''` of arrays; `value` may overwrite its argument.
    pair : (s1, s2)
        Constants of a neuron made from a pair, `w = s1 (x2 - x1) / |x2 - x1|^2`, `b = -<w, x1> - s2`.
    """

    value: Function
    slope: Function
    curvature: Function
    pair: tuple[float, float]


def _tanh_slope(z: FloatArray) -> FloatArray:
    return 1.0 - np.tanh(z) ** 2


def _tanh_curvature(z: FloatArray) -> FloatArray:
    t = np.tanh(z)
    return -2.0 * t * (1.0 - t**2)


def _sigmoid(z: FloatArray) -> FloatArray:
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def _sigmoid_slope(z: FloatArray) -> FloatArray:
    s = _sigmoid(z)
    return s * (1.0 - s)


# From a pair: tanh is -1/2 at x1 and +1/2 at x2; relu is 0 at x1 and 1 at x2; the slope of softplus is 1/4 at
# x1 and 3/4 at x2, so that it bends where tanh rises.
TABLE: dict[str, Activation] = {
    "tanh": Activation(
        lambda z: np.tanh(z, out=z), _tanh_slope, _tanh_curvature, (np.log(3.0), np.log(3.0) / 2.0)
    ),
    "relu": Activation(
        lambda z: np.maximum(z, 0.0, out=z), lambda z: (z > 0).astype(np.float64), np.zeros_like, (1.0, 0.0)
    ),
    "softplus": Activation(
        lambda z: np.logaddexp(z, 0.0, out=z), _sigmoid, _sigmoid_slope, (2.0 * np.log(3.0), np.log(3.0))
    ),
}
