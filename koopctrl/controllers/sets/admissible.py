r"""The largest set from which a stable law keeps bounds that are drawn in step by step.

.. math:: O = \{x : H \Phi^j x \le h_j,\ j = 0, 1, \dots\}, \qquad h_j \downarrow h_\infty

It is finitely determined: once all rows of a step are implied by the earlier ones, so are all later ones
(Gilbert & Tan, *Linear systems with state and control constraints*, IEEE Transactions on Automatic Control
36, 1991; Kolmanovsky & Gilbert, *Theory and computation of disturbance invariant sets*, 1998).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.sets.polyhedron import REDUNDANT, Polyhedron
from koopctrl.errors import SolverError

_MOST = 1000


def admissible_set(
    step: FloatArray,
    rows: FloatArray,
    heights: Callable[[int], FloatArray],
    limits: Polyhedron,
    units: FloatArray,
) -> Polyhedron:
    """`O` within `limits`, which the law leaves invariant; rows that others imply are left out.

    Parameters
    ----------
    step : (n, n) array
        `Phi`.
    rows : (m, n) array
    heights : callable
        `h_j`.
    limits : Polyhedron
        What holds in the limit, with a margin: it makes the set finitely determined.
    units : (m,) array
        Of the rows.

    Raises
    ------
    SolverError
        If it is not determined within a thousand steps.
    """
    found, power = limits, rows
    for j in range(_MOST):
        h = heights(j)
        fresh = [
            i
            for i in range(len(rows))
            if found.maximum(power[i], float(units[i])) > h[i] / units[i] + REDUNDANT
        ]
        if not fresh and j > 0:
            return found.pruned()
        found = found.plus(power[fresh], h[fresh], units[fresh])
        power = power @ step
    raise SolverError(
        f"the terminal set is not determined within {_MOST} steps; take a larger Q or a smaller R, so that "
        "the closed loop is faster"
    )


def joined(
    low: FloatArray, high: FloatArray, rows: FloatArray, tight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Two-sided bounds `low + tight <= rows x <= high - tight` as one-sided rows and heights."""
    up, down = np.isfinite(high), np.isfinite(low)
    return np.vstack([rows[up], -rows[down]]), np.concatenate([(high - tight)[up], -(low + tight)[down]])
