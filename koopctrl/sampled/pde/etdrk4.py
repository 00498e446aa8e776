"""Exponential time differencing, fourth order, for stiff linear parts with milder nonlinear ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.sampled.pde.phi import phi_functions
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete

_MOST_STEPS = 2**18
_MOST_BURSTS = 8


class ETDRK4:
    """Steps of one length of `x' = L x + N(x, t)`.

    S. M. Cox, P. C. Matthews, *Exponential time differencing for stiff systems*, J. Comput. Phys. 176, 2002;
    the coefficients by phi functions of the matrix, which need no diagonal form.
    """

    def __init__(self, matrix: FloatArray, h: float) -> None:
        self.h = h
        self._half, p = phi_functions(0.5 * h * matrix, 1)
        self._whole, p1, p2, p3 = phi_functions(h * matrix, 3)
        self._q = 0.5 * h * p
        self._first = h * (p1 - 3.0 * p2 + 4.0 * p3)
        self._middle = h * (2.0 * p2 - 4.0 * p3)
        self._last = h * (4.0 * p3 - p2)

    def step(
        self,
        x: Any,
        t: float,
        nonlinear: Callable[[Any, float], Any],
        times: Callable[[Any, Any], Any] = np.matmul,
        constant: Callable[[FloatArray], Any] = np.asarray,
    ) -> Any:
        """State after one step; `nonlinear(x, t)` is everything but `L x`.

        `times` multiplies a matrix, wrapped by `constant`, with a state: CasADi's symbols take their own.
        """
        half, q = constant(self._half), constant(self._q)
        n0 = nonlinear(x, t)
        moved = times(half, x)
        a = moved + times(q, n0)
        na = nonlinear(a, t + 0.5 * self.h)
        b = moved + times(q, na)
        nb = nonlinear(b, t + 0.5 * self.h)
        c = times(half, a) + times(q, 2.0 * nb - n0)
        nc = nonlinear(c, t + self.h)
        return (
            times(constant(self._whole), x)
            + times(constant(self._first), n0)
            + times(constant(self._middle), na + nb)
            + times(constant(self._last), nc)
        )


def linear_part(model: SemiDiscrete) -> FloatArray:
    """Matrix of the state that the linear terms make."""
    a = model.operator @ model.null
    if model.pde.order == 1:
        return a
    n = len(a)
    return np.block([[np.zeros((n, n)), np.eye(n)], [a, -model.pde.damping * np.eye(n)]])


def integrate_etdrk4(
    model: SemiDiscrete, times: FloatArray, acting: FloatArray, x0: FloatArray, rtol: float
) -> FloatArray:
    """States at `times`; steps are halved until two runs agree to `rtol` of the largest state.

    The error of the finer run is about a fifteenth of the difference, so that is what is compared.
    """
    matrix = linear_part(model)
    longest = float(np.diff(times).max())
    # First guess: the nonlinear part's own rate at the start.
    slope = model.jacobian(x0, acting[0], float(times[0]))[0] - matrix
    fast = float(np.linalg.norm(slope, 2))
    n = max(1, int(np.ceil(longest * fast / 2.0))) if np.isfinite(fast) else 1
    before: FloatArray | None = None
    burst = 0  # runs in a row that left finite numbers
    while n <= _MOST_STEPS and burst < _MOST_BURSTS:
        states = _run(model, matrix, times, acting, x0, n, longest)
        burst = 0 if np.isfinite(states).all() else burst + 1
        if before is not None and np.isfinite(states).all() and np.isfinite(before).all():
            size = np.abs(states).max()
            if np.abs(states - before).max() / 15.0 <= rtol * size:
                return states
        before, n = states, 2 * n
    raise SolverError(
        f"etdrk4 does not settle to rtol = {rtol:g} with {n // 2} steps between two times; expected a "
        "bounded "
        'solution. Take method="radau", or more features where the solution is steep'
    )


def _run(
    model: SemiDiscrete,
    matrix: FloatArray,
    times: FloatArray,
    acting: FloatArray,
    x0: FloatArray,
    n: int,
    longest: float,
) -> FloatArray:
    kept: dict[float, ETDRK4] = {}
    x, states = x0, [x0]
    for k, (start, end) in enumerate(itertools.pairwise(times)):
        steps = max(1, int(np.ceil(n * (end - start) / longest - 1e-9)))
        h = float(f"{(end - start) / steps:.13e}")
        if h not in kept:
            kept[h] = ETDRK4(matrix, h)
        v = acting[k]

        def nonlinear(state: FloatArray, t: float, v: FloatArray = v) -> FloatArray:
            return model.rest(state, v, t)

        for j in range(steps):
            x = kept[h].step(x, start + j * h, nonlinear)
            if not np.isfinite(x[0]):
                return np.full((len(times), len(x0)), np.nan)
        states.append(x)
    return np.array(states)
