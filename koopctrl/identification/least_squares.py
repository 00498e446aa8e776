r"""Linear least squares for tall, ill-conditioned regressor matrices, in bounded memory.

Both accumulators take blocks of rows `(Phi, Y)` and solve

    min_W |Phi W - Y|_F^2 + ridge * sum_j weight_j |Phi_j|^2 |W_j|^2

on column-scaled regressors, `Phi = S D` with unit columns in `S` (over the roots of the weights), cutting
singular values of `S` below `rcond` times the largest. `ridge` is thus relative to each column's own energy.

`QRAccumulator` keeps the triangular factor of `[Phi Y]`: rows are appended and re-triangularised
(Golub & Van Loan, *Matrix Computations*, 4th ed., section 6.5.3), `|R w| = |[Phi Y] w|` for every `w`, so
an SVD of the small `R` has the singular values of the whole matrix, to rounding. `GramAccumulator` keeps
`Phi'Phi`: half the work, but singular values below `sqrt(eps)` relative are lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import linalg, optimize

from koopctrl._validation import FloatArray, check_choice
from koopctrl.errors import DataError

SOLVERS = ("svd", "gram")
AUTO = "auto"
Ridge = float | str | FloatArray
_BLOCK_ELEMENTS = 16_000_000  # 128 MB of float64 regressors at a time


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Solution of one least-squares problem.

    Attributes
    ----------
    coef : (n_features, n_targets) array
        Minimiser of least norm in scaled coordinates.
    rank : int
        Singular values kept.
    singular_values : (n_features,) array
        Of the column-scaled regressors, descending.
    residual_rms : (n_targets,) array
        Root mean square of `Phi coef - Y` over the rows.
    n_rows : int
        Rows seen.
    ridge : (n_targets,) array
        Penalty of each target.
    """

    coef: FloatArray
    rank: int
    singular_values: FloatArray
    residual_rms: FloatArray
    n_rows: int
    ridge: FloatArray

    @property
    def condition(self) -> float:
        """Condition number of the scaled regressors that were kept, as the penalty leaves it."""
        if not self.rank:
            return np.inf
        smallest = np.hypot(self.singular_values[self.rank - 1], np.sqrt(self.ridge.min(initial=np.inf)))
        return float(self.singular_values[0] / smallest)


class Accumulator(Protocol):
    """Collects blocks of rows, then solves."""

    n_rows: int

    def update(self, regressors: FloatArray, targets: FloatArray) -> None:
        """Add rows; the arrays are not kept."""
        ...

    def solve(self, rcond: float, ridge: Ridge = 0.0, weights: FloatArray | None = None) -> LeastSquares:
        """Solve for all rows seen so far; `ridge` is one penalty, `"auto"` or one for each target.

        `weights` `(n_features,)` multiply the penalty of each regressor.
        """
        ...

    def merge(self, other: Any) -> Accumulator:
        """One accumulator that has seen the rows of both."""
        ...


def make_accumulator(solver: str, n_features: int, n_targets: int) -> Accumulator:
    """Accumulator by name: `"svd"` (triangular factor, then SVD) or `"gram"`."""
    check_choice(solver, "solver", SOLVERS)
    return (QRAccumulator if solver == "svd" else GramAccumulator)(n_features, n_targets)


def block_rows(n_features: int) -> int:
    """Rows per block: enough that the triangular factor's own rows cost little, bounded in memory."""
    return max(4 * n_features, _BLOCK_ELEMENTS // max(n_features, 1))


class QRAccumulator:
    """Triangular factor of `[Phi Y]`, updated block by block."""

    def __init__(self, n_features: int, n_targets: int) -> None:
        self._n = n_features
        self._factor: FloatArray = np.empty((0, n_features + n_targets))
        self._decomposed: tuple[Any, ...] | None = None  # of the factor as it is now, and its column scale
        self.n_rows = 0

    def update(self, regressors: FloatArray, targets: FloatArray) -> None:
        """Add rows: `R <- qr([R; Phi Y])`."""
        # Invariant: factor' factor equals the sum of block' block over all blocks seen.
        k = len(self._factor)
        stacked = np.empty((k + len(regressors), self._factor.shape[1]))
        stacked[:k] = self._factor
        stacked[k:, : self._n] = regressors
        stacked[k:, self._n :] = targets
        self._factor = np.linalg.qr(stacked, mode="r")
        self._decomposed = None
        self.n_rows += len(regressors)

    @property
    def factor(self) -> FloatArray:
        """Triangular factor of `[Phi Y]`, at most `n_features + n_targets` rows."""
        return self._factor.copy()

    def merge(self, other: QRAccumulator) -> QRAccumulator:
        """One accumulator that has seen the rows of both."""
        both = QRAccumulator(self._n, self._factor.shape[1] - self._n)
        both._factor = np.linalg.qr(np.concatenate([self._factor, other._factor]), mode="r")
        both.n_rows = self.n_rows + other.n_rows
        return both

    def solve(self, rcond: float, ridge: Ridge = 0.0, weights: FloatArray | None = None) -> LeastSquares:
        """Solve by SVD of the column-scaled triangle, which is kept for further penalties."""
        _check_rows(self.n_rows)
        n = self._n
        top = self._factor[:n]
        triangle, right = top[:, :n], top[:, n:]
        scale = _column_scale(np.linalg.norm(triangle, axis=0), weights)
        if self._decomposed is None or not np.array_equal(self._decomposed[0], scale):
            self._decomposed = scale, *_svd(triangle / scale)
        _, u, s, vt = self._decomposed
        unreachable = np.sum(self._factor[n:, n:] ** 2, axis=0)
        coef, rank, penalty = _filtered(vt.T, s, u.T @ right, rcond, ridge, unreachable, self.n_rows)
        residual = self._factor[:, n:].copy()
        residual[: len(top)] -= triangle @ (coef / scale[:, None])
        return LeastSquares(
            coef / scale[:, None],
            rank,
            s,
            np.linalg.norm(residual, axis=0) / np.sqrt(self.n_rows),
            self.n_rows,
            penalty,
        )


class GramAccumulator:
    """Normal equations `Phi'Phi`, `Phi'Y`, accumulated block by block."""

    def __init__(self, n_features: int, n_targets: int) -> None:
        self._gram = np.zeros((n_features, n_features))
        self._cross = np.zeros((n_features, n_targets))
        self._energy = np.zeros(n_targets)
        self.n_rows = 0

    def update(self, regressors: FloatArray, targets: FloatArray) -> None:
        """Add rows."""
        self._gram += regressors.T @ regressors
        self._cross += regressors.T @ targets
        self._energy += np.einsum("ij,ij->j", targets, targets)
        self.n_rows += len(regressors)

    def merge(self, other: GramAccumulator) -> GramAccumulator:
        """One accumulator that has seen the rows of both."""
        both = GramAccumulator(*self._cross.shape)
        both._gram, both._cross = self._gram + other._gram, self._cross + other._cross
        both._energy, both.n_rows = self._energy + other._energy, self.n_rows + other.n_rows
        return both

    def solve(self, rcond: float, ridge: Ridge = 0.0, weights: FloatArray | None = None) -> LeastSquares:
        """Solve by the eigendecomposition of the scaled Gram matrix."""
        _check_rows(self.n_rows)
        scale = _column_scale(np.sqrt(np.diag(self._gram)), weights)
        eigenvalues, vectors = np.linalg.eigh(self._gram / np.outer(scale, scale))
        s = np.sqrt(np.maximum(eigenvalues[::-1], 0.0))
        v = vectors[:, ::-1]
        # Rounding of the Gram matrix is eps |S|^2: singular values under sqrt(n eps) are noise.
        floor = np.sqrt(len(s) * np.finfo(float).eps)
        rotated = (v.T @ (self._cross / scale[:, None])) / np.where(s > 0, s, np.inf)[:, None]
        unreachable = np.maximum(self._energy - np.sum(rotated**2, axis=0), 0.0)
        coef, rank, penalty = _filtered(v, s, rotated, max(rcond, floor), ridge, unreachable, self.n_rows)
        coef /= scale[:, None]
        square = (
            self._energy - 2 * np.sum(coef * self._cross, axis=0) + np.sum(coef * (self._gram @ coef), axis=0)
        )
        rms = np.sqrt(np.maximum(square, 0.0) / self.n_rows)
        return LeastSquares(coef, rank, s, rms, self.n_rows, penalty)


def triangle(matrix: FloatArray) -> FloatArray:
    """Triangular factor `R` of `(..., m, n)` matrices, `min(m, n)` rows each."""
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def _svd(matrix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    try:
        return np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:  # divide and conquer can fail where plain QR iteration converges
        u, s, vt = linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
        return u, s, vt


def _filtered(
    v: FloatArray,
    s: FloatArray,
    rotated: FloatArray,
    rcond: float,
    ridge: Ridge,
    unreachable: FloatArray,
    n_rows: int,
) -> tuple[FloatArray, int, FloatArray]:
    """Scaled coefficients `V diag(s / (s^2 + ridge)) U'Y` over the singular values kept, rank and penalties.

    `unreachable` is each target's energy outside the range of the regressors.
    """
    rank = int(np.count_nonzero(s > rcond * s[0])) if len(s) and s[0] > 0 else 0
    kept, components = s[:rank], rotated[:rank]
    if isinstance(ridge, str):
        check_choice(ridge, "ridge", (AUTO,))
        rest = unreachable + np.sum(rotated[rank:] ** 2, axis=0)
        penalty = _evidence_ridges(kept, components, rest, n_rows)
    else:
        penalty = np.broadcast_to(np.asarray(ridge, dtype=float), rotated.shape[1]).copy()
    gain = kept[:, None] / (kept[:, None] ** 2 + penalty)
    return v[:, :rank] @ (gain * components), rank, penalty


def _evidence_ridges(s: FloatArray, b: FloatArray, rest: FloatArray, n_rows: int) -> FloatArray:
    """Penalty of largest evidence for each target, of components `b` `(r, m)` and energy `rest` outside."""
    energy, penalty = b**2, np.zeros(b.shape[1])
    reached = energy.any(axis=0) if len(s) else np.zeros(len(penalty), dtype=bool)
    if not reached.any():
        return penalty
    # From rounding of the largest singular value, squared, to a penalty that leaves nothing of it.
    top = 2.0 * np.log10(s[0])
    grid = np.arange(top + 2.0 * np.log10(np.finfo(float).eps) - 2.0, top + 2.0, 0.5)
    shares = s**2 / 10.0 ** grid[:, None] + 1.0
    # -2 log evidence with the noise variance at its best, up to a constant: one row for each penalty.
    costs = n_rows * np.log((1.0 / shares) @ energy[:, reached] + rest[reached])
    costs += np.log(shares).sum(axis=1)[:, None]
    for j, best in zip(np.flatnonzero(reached), np.argmin(costs, axis=0), strict=True):
        exponent = grid[best]
        if best not in (0, len(grid) - 1):

            def cost(t: float, e: FloatArray = energy[:, j], outside: float = float(rest[j])) -> float:
                v = s**2 / 10.0**t + 1.0
                return float(n_rows * np.log(np.sum(e / v) + outside) + np.sum(np.log(v)))

            bounds = (grid[best - 1], grid[best + 1])
            exponent = optimize.minimize_scalar(cost, bounds=bounds, method="bounded").x
        penalty[j] = 10.0**exponent
    return penalty


def _column_scale(norms: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Norms times roots of weights; 1 in place of 0, so that an all-zero column keeps a zero coefficient."""
    scale = np.where(norms > 0, norms, 1.0)
    return scale if weights is None else scale * np.sqrt(weights)


def _check_rows(n_rows: int) -> None:
    if n_rows == 0:
        raise DataError("no rows have been accumulated; expected at least one. Pass data before solving")
