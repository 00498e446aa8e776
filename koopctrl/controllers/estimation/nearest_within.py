r"""The likeliest value of a Gaussian within bounds.

Of :math:`s` and :math:`q = T s`, jointly Gaussian, the likeliest pair with :math:`l \le q \le h` has

.. math::
    \hat q = \bar q + D F \eta, \quad \hat s = \bar s + G \eta, \qquad
    \min_\eta \tfrac12 |\eta|^2 \quad\text{s.t.}\quad l \le \bar q + D F \eta \le h,

where :math:`D F F' D` is the covariance of `q` and `D` its standard deviations: a point is projected onto a
polyhedron, in as many variables as there are bounded quantities however many states there are. A projection
brings nothing farther from any point within the bounds, so in the norm of its covariance the estimate's error
never grows by it where the truth is within them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.soft import StepSolver

# Eigenvalue of a correlation, relative to the largest, that is rounding; and standard deviation, relative to
# that of a first estimate, below which a quantity is known.
_RANK, _KNOWN = 1e-13, 1e-9


@dataclass(frozen=True)
class Projection:
    """A Gaussian's covariance as the projection needs it.

    Attributes
    ----------
    deviation : (m,) array
        `D`.
    F : (m, r) array
        Rows of unit length.
    G : (n, r) array
    """

    deviation: FloatArray
    F: FloatArray
    G: FloatArray


def projection_of(covariance: FloatArray, cross: FloatArray, unit: FloatArray, *, square: bool) -> Projection:
    """From the covariance `(m, m)` of `q`, and that of `s` with it, `(n, m)`.

    Parameters
    ----------
    covariance, cross : arrays
    unit : (m,) array
        Standard deviations that a first estimate of `q` has.
    square : bool
        Whether to keep `m` columns, for a solver that is made before the covariance is known.
    """
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    floor = np.where(unit > 0.0, _KNOWN * unit, 1.0)
    known = deviation <= floor
    deviation = np.where(known, floor, deviation)
    correlation = covariance / deviation / deviation[:, None]
    correlation[known] = 0.0
    correlation[:, known] = 0.0
    values, vectors = np.linalg.eigh(correlation)
    kept = values > _RANK * max(float(values.max(initial=0.0)), np.finfo(float).tiny)
    root = np.sqrt(np.where(kept, values, 1.0))
    F = vectors * np.where(kept, root, 0.0)
    G = (cross / deviation * ~known) @ (vectors * np.where(kept, 1.0 / root, 0.0))
    if not square:
        kept[-1:] = True  # the largest one: a solver needs a variable
        F, G = F[:, kept], G[:, kept]
    return Projection(deviation, F, G)


class NearestWithin:
    """Solves the projection; a workspace that decides nothing.

    Parameters
    ----------
    n, m : int
        Variables `eta`, and bounded quantities.
    low, high : (m,) arrays
    solver : str
        Name of a CasADi conic plugin.
    """

    def __init__(self, n: int, m: int, low: FloatArray, high: FloatArray, solver: str) -> None:
        self.low, self.high = low, high
        self._free = np.full(n, np.inf)
        self._g = np.zeros(n)
        self._solver = StepSolver(n, m, 0, solver, None, math.inf, np.isfinite(low), np.isfinite(high))

    def load(self, projection: Projection) -> None:
        """Set the covariance."""
        self._projection = projection
        n, m = projection.F.shape[1], len(self.low)
        self._solver.load(np.eye(n), projection.F, np.ones(m), np.empty((2, 0)))

    def solve(self, q: FloatArray) -> tuple[FloatArray | None, float, int]:
        """`G eta` for the mean `q`, None without a certified answer; bound on its error, and QPs solved."""
        projection = self._projection
        low, high = ((side - q) / projection.deviation for side in (self.low, self.high))
        free = self._free
        found = self._solver.solve(self._g, np.concatenate([-free, low]), np.concatenate([free, high]))
        if found.x is None:
            return None, math.inf, found.n_solves
        return projection.G @ found.x, found.kkt_residual, found.n_solves
