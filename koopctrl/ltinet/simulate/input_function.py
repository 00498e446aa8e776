"""Inputs given as a function of time, read once for all layers: polynomials on pieces that halve until they
fit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector

_DEGREE = 12
_DEEPEST = 10  # halvings of an interval; what is rougher still is taken as it is


class InputFunction:
    """A function of time on a grid of intervals, as Chebyshev polynomials.

    Each interval is halved until the polynomial on Chebyshev points agrees with the function at points
    between them, within `tol` of the largest input seen. The polynomials are one-sided at the ends of the
    intervals, so that a jump at an instant of the grid costs nothing.

    Parameters
    ----------
    function : callable
        Seconds to `(n_u,)`.
    time : array (N + 1,)
        Uniform instants in seconds.
    n_u : int
        Number of inputs.
    tol : float
        Accuracy relative to the largest input.
    """

    def __init__(
        self, function: Callable[[float], ArrayLike], time: FloatArray, n_u: int, tol: float
    ) -> None:
        self._function, self._time, self._n_u = function, time, n_u
        self.calls = 0
        nodes = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
        self._fit = np.linalg.inv(chebyshev.chebvander(nodes, _DEGREE))
        self._nodes, self._checks = nodes, np.array([-0.97, -0.41, 0.13, 0.71])
        self._at_checks = chebyshev.chebvander(self._checks, _DEGREE)
        self._instants = np.array([self._read(float(t)) for t in time])
        self._size = float(np.abs(self._instants).max(initial=0.0))
        edges, pieces = [], []
        for low, high in zip(time[:-1].tolist(), time[1:].tolist(), strict=True):
            self._add(low, high, tol, 0, edges, pieces)
        self._edges, self._pieces = np.array([*edges, time[-1]]), np.array(pieces)

    def _read(self, t: float) -> FloatArray:
        self.calls += 1
        return as_vector(self._function(t), "u", self._n_u)

    def _add(
        self, low: float, high: float, tol: float, depth: int, edges: list[float], pieces: list[FloatArray]
    ) -> None:
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        values = np.array([self._read(middle + half * x) for x in self._nodes.tolist()])
        between = np.array([self._read(middle + half * x) for x in self._checks.tolist()])
        self._size = max(self._size, float(np.abs(values).max(initial=0.0)))
        coefficients = self._fit @ values
        error = float(np.abs(self._at_checks @ coefficients - between).max(initial=0.0))
        if error <= max(tol, 1e-14) * self._size or depth == _DEEPEST:
            edges.append(low)
            pieces.append(coefficients)
            return
        self._add(low, middle, tol, depth + 1, edges, pieces)
        self._add(middle, high, tol, depth + 1, edges, pieces)

    def at_instants(self) -> FloatArray:
        """Values at the instants of the grid, (N + 1, n_u)."""
        return self._instants.copy()

    def __call__(self, at: FloatArray, interval: np.ndarray) -> FloatArray:
        """Values at times `(steps, points)`, each row within one `interval` of the grid; adds an axis n_u."""
        low, high = self._time[interval], self._time[interval + 1]
        # rounding must not carry a point across an instant at which the function jumps
        inside = np.clip(at, np.nextafter(low, np.inf)[:, None], np.nextafter(high, -np.inf)[:, None])
        piece = np.searchsorted(self._edges, inside, side="right") - 1
        piece = np.clip(piece, 0, len(self._pieces) - 1)
        left, right = self._edges[piece], self._edges[piece + 1]
        x = (2.0 * inside - left - right) / (right - left)
        coefficients = self._pieces[piece]
        # Clenshaw
        later, last = np.zeros((*at.shape, self._n_u)), np.zeros((*at.shape, self._n_u))
        for k in range(_DEGREE, 0, -1):
            later, last = coefficients[:, :, k] + 2.0 * x[:, :, None] * later - last, later
        return coefficients[:, :, 0] + x[:, :, None] * later - last
