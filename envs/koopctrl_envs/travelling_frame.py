r"""Steps of the viscous Burgers equation on fine grids, where viscosity would cut Runge-Kutta's steps short.

In a frame that travels with the mean speed `c`, with :math:`w = v - c`, the equation on the grid of `Burgers`
is

.. math:: \dot w = L_c w + N(w) + p, \qquad N_i(w) = -\frac{(w_{i+1} - w_{i-1})(w_{i-1} + w_i + w_{i+1})}{6 h}

with :math:`L_c` diffusion and transport by `c`: circulant, so its exponential is a product in Fourier space.
Lawson's Runge-Kutta method of order four takes the rest; neither viscosity nor the mean speed limits its
steps. What is left to be resolved is how the profile steepens. `c` is taken anew at every sub-step, so all
sub-steps are one map.

Source: J. D. Lawson, *Generalized Runge-Kutta processes for stable systems with large Lipschitz constants*,
SIAM J. Numer. Anal. 4, 1967.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components

GROWTH = 1e-3
"""By how much a wave may grow in a sub-step: less than viscosity takes from the profile that it stands on."""


@lru_cache(maxsize=32)
def n_steps_of(n: int, nu: float, reach: float, dt: float) -> int:
    """Smallest number of sub-steps in which no wave grows, on a profile that is `reach` m/s off its mean."""
    angle = np.linspace(0.0, np.pi, 257)
    n_steps = 1
    while True:
        h = dt / n_steps
        z = 1j * reach * n * np.sin(angle) * h
        growth = np.abs(1.0 + z * (1.0 + z * (0.5 + z * (1.0 / 6.0 + z / 24.0))))
        if np.max(growth * np.exp(-2.0 * nu * n * n * (1.0 - np.cos(angle)) * h)) <= 1.0 + GROWTH:
            return n_steps
        n_steps += 1


@lru_cache(maxsize=32)
def _half_step(n: int, nu: float, h: float) -> tuple[FloatArray, FloatArray]:
    """Decay of each wave over `h / 2`, and its turn for a unit of speed, rad, `(n // 2 + 1,)` each."""
    angle = 2.0 * np.pi * np.arange(n // 2 + 1) / n
    turn = 0.5 * h * n * np.sin(angle)
    if n % 2 == 0:
        turn[-1] = 0.0  # the wave of the grid itself stands
    return np.exp(-2.0 * nu * n * n * h * np.sin(0.5 * angle) ** 2), turn


def advance(v: FloatArray, push: FloatArray, nu: float, dt: float, n_steps: int) -> FloatArray:
    """Profiles `(..., n)` after `dt` seconds under a constant push `(..., n)`."""
    n, h = v.shape[-1], dt / n_steps
    lead = np.broadcast_shapes(v.shape[:-1], push.shape[:-1])
    decay, turn = _half_step(n, nu, h)
    # In units of 12 / (n h) the convective part of half a step is a product of two sums.
    scale = n * h / 12.0
    half_push = (0.5 * h * scale) * push
    pair, wide = np.empty((2, *lead, n)), np.empty((*lead, n + 2))
    before, here, after = wide[..., :-2], wide[..., 1:-1], wide[..., 2:]
    difference, total, q2, q3 = (np.empty((*lead, n)) for _ in range(4))
    start, q1 = pair
    mean = np.zeros((*lead, 1))

    def slope(out: FloatArray) -> None:
        """Half a step times the slope at `here`."""
        wide[..., 0] = wide[..., -2]
        wide[..., -1] = wide[..., 1]
        np.subtract(after, before, difference)
        np.add(before, after, total)
        np.add(total, here, total)
        np.multiply(difference, total, difference)
        np.subtract(half_push, difference, out)

    np.multiply(v, scale, start)
    for _ in range(n_steps):
        own = np.add.reduce(start, axis=-1, keepdims=True) / n
        mean += own
        start -= own
        # Over half a step in the frame: exponential of the linear part.
        carry = decay * np.exp((-1j / scale) * mean * turn)
        here[...] = start
        slope(q1)
        carried, turned = np.fft.irfft(np.fft.rfft(pair) * carry, n)
        np.add(carried, turned, here)
        slope(q2)
        np.add(carried, q2, here)
        slope(q3)
        # What is carried over the second half: the argument of the last slope, and the sum of the others.
        np.add(q2, q3, q2)
        np.add(q2, q2, q2)
        np.add(q2, turned, q2)
        q2 *= 1.0 / 3.0
        np.add(carried, q2, q1)
        np.add(q3, q3, q3)
        np.add(carried, q3, start)
        last, rest = np.fft.irfft(np.fft.rfft(pair) * carry, n)
        here[...] = last
        slope(q3)
        q3 *= 1.0 / 3.0
        np.add(rest, q3, start)
    return (start + mean) / scale


def advance_components(
    v: Components, push: Components, nu: float, dt: float, n_steps: int, xp: Any
) -> tuple[Any, ...]:
    """`advance` on components, with the exponential as a kernel along the grid."""
    n, h = len(v), dt / n_steps
    decay, turn = (a.tolist() for a in _half_step(n, nu, h))
    waves = [k for k in range(n // 2 + 1) if decay[k] > 1e-18]
    weight = [(1.0 if k in (0, n / 2) else 2.0) / n * decay[k] for k in range(n // 2 + 1)]
    cosines = [math.cos(2.0 * math.pi * j / n) for j in range(n)]
    sines = [math.sin(2.0 * math.pi * j / n) for j in range(n)]

    def slope(w: list[Any]) -> list[Any]:
        factor = -h * n / 12.0
        return [
            factor * ((w[i + 1 - n] - w[i - 1]) * (w[i - 1] + w[i] + w[i + 1 - n])) + 0.5 * h * push[i]
            for i in range(n)
        ]

    state = list(v)
    for _ in range(n_steps):
        mean = sum(state) / n
        turned = [(k, weight[k] * xp.cos(mean * turn[k]), weight[k] * xp.sin(mean * turn[k])) for k in waves]
        kernel = [sum(c * cosines[k * j % n] + s * sines[k * j % n] for k, c, s in turned) for j in range(n)]

        def carry(w: list[Any], kernel: list[Any] = kernel) -> list[Any]:
            return [sum(kernel[i - j] * w[j] for j in range(n)) for i in range(n)]

        w = [a - mean for a in state]
        q1 = slope(w)
        carried, moved = carry(w), carry(q1)
        q2 = slope([a + b for a, b in zip(carried, moved, strict=True)])
        q3 = slope([a + b for a, b in zip(carried, q2, strict=True)])
        last = carry([a + 2.0 * b for a, b in zip(carried, q3, strict=True)])
        parts = zip(carried, moved, q2, q3, strict=True)
        rest = carry([a + (m + 2.0 * (b + c)) / 3.0 for a, m, b, c in parts])
        state = [mean + a + b / 3.0 for a, b in zip(rest, slope(last), strict=True)]
    return tuple(state)
