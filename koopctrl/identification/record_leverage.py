r"""How far a point lies from the records, combinations of signals included.

Every signal may be within its range while no record has such a combination of them: a lag window that turns
faster than any that was seen, a flow that comes with the wrong level. The leverage of a state `x` and inputs
`u` in the regression on `[1, x, u]` over the records,

.. math:: h(x, u) = z' (Z' Z)^{-1} z, \qquad z = [1;\ x;\ u],

says how little the records hold there: the variance of what a model with these regressors predicts is
proportional to it (Cook & Weisberg, *Residuals and Influence in Regression*, 1982). It is given relative to
the largest one among the records, so above one a point is further out than all of them, and no linear change
of units alters it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctrl._validation import FloatArray

# Directions of the standardised records below this share of the largest hold rounding.
_RCOND = 1e-10


@dataclass(frozen=True, eq=False)
class RecordLeverage:
    """Leverage in some records; nothing is worked out before it is asked for.

    Attributes
    ----------
    x, u : (n, n_x), (n, n_inputs) arrays
        The records' states (lag windows) and inputs, in any units.
    """

    x: FloatArray
    u: FloatArray

    def __call__(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Leverage `(n,)` of states and inputs, over the records' largest."""
        mean, whitening, top = self._frame
        with np.errstate(over="ignore", invalid="ignore"):
            z = 1.0 / len(self.x) + np.sum(((np.hstack([x, u]) - mean) @ whitening) ** 2, axis=1)
        return z / top

    @cached_property
    def _frame(self) -> tuple[FloatArray, FloatArray, float]:
        """Mean, map to coordinates in which the records are the identity, and their largest leverage."""
        points = np.hstack([self.x, self.u])
        mean = points.mean(axis=0)
        away = points - mean
        spread = np.abs(away).max(axis=0)
        # A constant signal tells nothing: rounding of its mean is no spread.
        known = spread > 1e-12 * np.abs(points).max(axis=0)
        scale = np.where(known, 1.0 / np.where(known, spread, 1.0), 0.0)
        s, vt = np.linalg.svd(np.linalg.qr(away * scale, mode="r"))[1:]
        kept = s > _RCOND * s.max(initial=0.0)
        whitening = scale[:, None] * vt[: len(s)][kept].T / s[kept]
        own = 1.0 / len(points) + np.sum((away @ whitening) ** 2, axis=1)
        return mean, whitening, float(own.max())
