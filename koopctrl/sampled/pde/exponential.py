"""Linear equations in time: exact for held inputs, by interpolated forcing to a tolerance otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import factorial

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.sampled.pde.phi import phi_functions

_DEGREE = 7  # of the polynomial through the forcing on each step
_MOST_STEPS = 2**14


class LinearPropagator:
    """Exact steps of `x' = A x + F`, matrices kept by step length."""

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self._kept: dict[tuple[float, int], list[FloatArray]] = {}

    def functions(self, h: float, k_max: int) -> list[FloatArray]:
        """`phi_k(h A)` up to `k_max`."""
        key = (float(f"{h:.12e}"), k_max)
        if key not in self._kept:
            if len(self._kept) > 8:  # times without a common step would fill the memory
                self._kept.clear()
            self._kept[key] = phi_functions(h * self.matrix, k_max)
        return self._kept[key]

    def held(self, x: FloatArray, h: float, push: FloatArray) -> FloatArray:
        """State after `h` seconds under constant forcing."""
        e, p = self.functions(h, 1)
        return e @ x + h * (p @ push)

    def forced(self, x: FloatArray, t: float, h: float, force: Callable[[float], FloatArray]) -> FloatArray:
        """State after `h` seconds, the forcing replaced by its polynomial at Chebyshev points."""
        phis = self.functions(h, _DEGREE + 1)
        values = np.array([force(t + s * h) for s in _NODES])
        result = phis[0] @ x
        for k, coefficient in enumerate(_TO_POWERS @ values):
            result = result + h * factorial(k) * (phis[k + 1] @ coefficient)
        return result


_NODES = 0.5 * (1.0 - np.cos(np.pi * np.arange(_DEGREE + 1) / _DEGREE))
_TO_POWERS = np.linalg.inv(np.vander(_NODES, increasing=True))


def integrate_linear(
    matrix: FloatArray,
    force: Callable[[float], FloatArray] | None,
    held: FloatArray,
    x0: FloatArray,
    times: FloatArray,
    rtol: float,
) -> FloatArray:
    """States `(n_times, n)` of `x' = A x + held_k + force(t)`, `held_k` constant on each step `(n_times - 1,
    n)`.

    Between times the number of steps is doubled until the final states agree to `rtol` of their largest.
    """
    propagator = LinearPropagator(matrix)
    if force is None:
        states = [x0]
        for push, h in zip(held, np.diff(times), strict=True):
            states.append(propagator.held(states[-1], float(h), push))
        return np.array(states)
    longest = float(np.diff(times).max(initial=0.0))
    before: FloatArray | None = None
    n = 1
    while n <= _MOST_STEPS:
        found = [x0]
        for k, (start, end) in enumerate(itertools.pairwise(times)):
            steps = max(1, int(np.ceil(n * (end - start) / longest - 1e-9)))
            h, x = float(end - start) / steps, found[-1]
            for j in range(steps):
                push = held[k]
                x = propagator.forced(x, start + j * h, h, lambda s, push=push: force(s) + push)
            found.append(x)
        states = np.array(found)
        if before is not None and np.abs(states - before).max() <= rtol * np.abs(states).max():
            return states
        before, n = states, 2 * n
    raise SolverError(
        f"the forcing is not resolved by {_MOST_STEPS} steps between two times to rtol = {rtol:g}; "
        "expected a smooth "
        "function of time. Ask for more times, or a larger rtol"
    )
