"""Steps and derivatives of formulas on components, which may be numbers, arrays or expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from koopctrl_envs.checks import FloatArray

# Far below rounding: nothing is subtracted, so that derivatives by it are exact.
_TINY = 1e-30


def runge_kutta(
    slopes: Callable[[Any], tuple[Any, ...]], state: tuple[Any, ...], h: float, n_steps: int
) -> tuple[Any, ...]:
    """Components after steps of order four, `h` seconds each."""
    for _ in range(n_steps):
        k1 = slopes(state)
        k2 = slopes([a + 0.5 * h * k for a, k in zip(state, k1, strict=True)])
        k3 = slopes([a + 0.5 * h * k for a, k in zip(state, k2, strict=True)])
        k4 = slopes([a + h * k for a, k in zip(state, k3, strict=True)])
        ks = zip(state, k1, k2, k3, k4, strict=True)
        state = tuple(a + h / 6.0 * (s1 + 2.0 * (s2 + s3) + s4) for a, s1, s2, s3, s4 in ks)
    return state


def complex_step(formula: Callable[[Any], tuple[Any, ...]], point: FloatArray) -> FloatArray:
    """Derivatives `(..., m, n)` of a component formula of `n` arguments at points `(..., n)`."""
    columns = np.moveaxis(point[..., None, :] + 1j * _TINY * np.eye(point.shape[-1]), -1, 0)
    values = np.broadcast_arrays(columns[0], *formula(columns))[1:]
    return np.imag(np.stack(values, axis=-2)) / _TINY
