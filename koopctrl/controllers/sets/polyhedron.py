"""Polyhedra `rows x <= heights` by linear programmes, in units of their own.

Every programme is scaled before it is solved (rows by what is said to be large for them, columns by their
largest entry), so that the solver's absolute tolerances mean the same whatever signals are measured in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError

# Part of a row's unit by which it may pass a bound and still not matter.
REDUNDANT = 1e-8
_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True)
class Polyhedron:
    """`rows x <= heights`.

    Attributes
    ----------
    rows : (m, n) array
    heights : (m,) array
    units : (m,) array
        Positive: what is large for a row.
    """

    rows: FloatArray
    heights: FloatArray
    units: FloatArray

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return self.rows.shape[1]

    def holds(self, x: FloatArray, slack: float = 1e-9) -> bool:
        """Whether a point is inside, but for `slack` units of each row."""
        return bool((self.rows @ x <= self.heights + slack * self.units).all())

    def plus(self, rows: FloatArray, heights: FloatArray, units: FloatArray) -> Polyhedron:
        """With more rows."""
        return Polyhedron(
            np.vstack([self.rows, rows]),
            np.concatenate([self.heights, heights]),
            np.concatenate([self.units, units]),
        )

    @cached_property
    def _scaled(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Rows and heights in their units, and the columns' own."""
        rows, heights = self.rows / self.units[:, None], self.heights / self.units
        largest = np.abs(rows).max(axis=0, initial=0.0)
        columns = 1.0 / np.where(largest > 0.0, largest, 1.0)
        return rows * columns, heights, columns

    def maximum(self, row: FloatArray, unit: float = 1.0, without: int | None = None) -> float:
        """Largest `row x` inside, in `unit`s; infinite where there is none, minus infinity where it is empty.

        The row at position `without` is left out.
        """
        rows, heights, columns = self._scaled
        if without is not None:
            rows, heights = np.delete(rows, without, axis=0), np.delete(heights, without)
        cost = -row * columns / unit
        size = float(np.abs(cost).max(initial=0.0))
        if size == 0.0:
            return 0.0
        found = optimize.linprog(
            cost / size, A_ub=rows, b_ub=heights, bounds=(None, None), method="highs", options=_OPTIONS
        )
        if found.status == 0:
            return -float(found.fun) * size
        if found.status == 2:
            return -np.inf
        if found.status in (3, 4):
            return np.inf  # a row that is not bounded is never redundant
        raise SolverError(f"a linear programme of {len(rows)} rows failed: {found.message}")

    def centre(self) -> tuple[FloatArray, float]:
        """The point that is farthest inside, and by how much, in units of rows; below 0 if it is empty."""
        rows, heights, columns = self._scaled
        m, n = rows.shape
        cost = np.zeros(n + 1)
        cost[n] = -1.0
        found = optimize.linprog(
            cost, A_ub=np.hstack([rows, np.ones((m, 1))]), b_ub=heights,
            bounds=[(None, None)] * n + [(None, 1e3)], method="highs", options=_OPTIONS,
        )  # fmt: skip
        if found.status != 0:
            raise SolverError(f"a linear programme of {m} rows failed: {found.message}")
        return found.x[:n] * columns, float(found.x[n])

    def pruned(self) -> Polyhedron:
        """Without rows that others imply."""
        kept = self
        for i in range(len(self.rows) - 1, -1, -1):
            if len(kept.rows) == 1:
                break
            top = kept.maximum(kept.rows[i], float(kept.units[i]), without=i)
            if top <= kept.heights[i] / kept.units[i] + REDUNDANT:
                kept = Polyhedron(
                    np.delete(kept.rows, i, axis=0), np.delete(kept.heights, i), np.delete(kept.units, i)
                )
        return kept
