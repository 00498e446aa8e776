"""Samples with weights: brought into one order, equal ones joined, and standardised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray

# A spread below this share of the largest size of a column is rounding: the column is constant.
_CONSTANT = 100.0 * np.finfo(float).eps


def joined(
    points: FloatArray, targets: FloatArray, weights: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct rows in one order, and how often (with what weight) each stands there.

    So a weight of two is the sample twice and of zero is none, and the order in which samples come changes
    nothing, although pairs of samples are drawn by number.
    """
    rows = np.concatenate([points, targets], axis=1) + 0.0  # -0 is 0
    counts = np.ones(len(rows)) if weights is None else weights
    if weights is not None:
        rows, counts = rows[weights > 0], counts[weights > 0]
    order = np.lexsort(rows.T[::-1])  # by value, which positive units leave alone
    rows, counts = rows[order], counts[order]
    new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    rows, inverse = rows[new], np.cumsum(new) - 1
    found = np.bincount(inverse, weights=counts).astype(np.float64)
    return rows[:, : points.shape[1]], rows[:, points.shape[1] :], found


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Centre and spread of the columns of a table; constant columns have a spread of one.

    Parameters
    ----------
    mean, scale : (n,) array
    """

    mean: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, table: FloatArray, weights: FloatArray) -> Standardisation:
        """Weighted mean and standard deviation."""
        size = np.abs(table).max(axis=0)
        unit = np.where(size > 0.0, size, 1.0)  # squares of tiny and of huge columns stay within range
        relative = table / unit
        mean = weights @ relative / weights.sum()
        spread = np.sqrt(weights @ (relative - mean) ** 2 / weights.sum())
        return cls(mean * unit, np.where(spread > _CONSTANT, spread * unit, 1.0))

    def apply(self, table: FloatArray) -> FloatArray:
        """Standardised table."""
        return (table - self.mean) / self.scale

    def undo(self, table: FloatArray) -> FloatArray:
        """Table in raw units."""
        return table * self.scale + self.mean
