"""The linear readout of sampled layers: one weighted least-squares solve, in blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.least_squares import LeastSquares, Ridge, block_rows, make_accumulator
from koopctrl.network.hidden_layer import Layer
from koopctrl.sampled.layers import features

# Residuals above this share of the targets' spread are far above what normal equations lose.
_ROUGH = 1e-3


def regressors(layers: Sequence[Layer], points: FloatArray) -> FloatArray:
    """`[1, p, psi(p)]` at standardised points, `(n, 1 + n_in + n_features)`."""
    return np.concatenate([np.ones((len(points), 1)), points, features(layers, points)], axis=1)


class Readout:
    r"""Weights `V` of :math:`y = V [1;\ p;\ \psi(p)]`, from rows added in any number of batches.

    A row of weight `w` counts as `w` rows, in the fit and in the evidence.
    """

    def __init__(self, layers: Sequence[Layer], n_in: int, n_targets: int, solver: str) -> None:
        self.layers = tuple(layers)
        self._n_columns = 1 + n_in + (self.layers[-1].n_features if self.layers else 0)
        self._rows = make_accumulator(solver, self._n_columns, n_targets)
        self._weight = 0.0

    def add(self, points: FloatArray, targets: FloatArray, weights: FloatArray) -> None:
        """Add standardised rows."""
        step = block_rows(self._n_columns)
        for start in range(0, len(points), step):
            rows = slice(start, start + step)
            root = np.sqrt(weights[rows])[:, None]
            self._rows.update(root * regressors(self.layers, points[rows]), root * targets[rows])
        self._weight += float(weights.sum())
        # The evidence counts observations: their weight, not the rows that carry it.
        self._rows.n_rows = self._weight  # pyright: ignore[reportAttributeAccessIssue]

    def solve(self, rcond: float, ridge: Ridge) -> LeastSquares:
        """Solve for all rows seen so far."""
        return self._rows.solve(rcond, ridge)


def fit_readout(
    layers: Sequence[Layer],
    points: FloatArray,
    targets: FloatArray,
    weights: FloatArray,
    rcond: float,
    ridge: Ridge,
    solver: str,
) -> tuple[Readout, LeastSquares]:
    """Readout of one batch; `solver="auto"` tries normal equations, half the work, where they are enough.

    They lose what lies below the root of the machine's precision. Where the residual of every target is
    above a thousandth of its spread this is noise; else the triangular factor is taken.
    """

    def solved(kind: str) -> tuple[Readout, LeastSquares]:
        readout = Readout(layers, points.shape[1], targets.shape[1], kind)
        readout.add(points, targets, weights)
        return readout, readout.solve(rcond, ridge)

    if solver == "auto":
        n_columns = 1 + points.shape[1] + (layers[-1].n_features if layers else 0)
        if len(points) > 2 * n_columns:
            readout, solution = solved("gram")
            if (solution.residual_rms > _ROUGH).all():
                return readout, solution
        solver = "svd"
    return solved(solver)
