r"""Least squares for the linear dynamics of every cut at once.

.. math::
    z_{k+1} - c = [A\ B]\,[z_k;\ u_k - u_{op}] \quad\text{over all pairs}

Coordinates of a coarse cut are the first ones of a finer cut, so one triangular factor of
`[1, s, du, rest | next]` holds the least-squares problem of each of them: `s` is the scaled state, `rest` the
reduced features, `next` what they become, less the drift `c` of the operating point.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray

# Directions of the column-scaled regressors below this are rounding.
_RCOND = 1e-12


class NestedRegression:
    """The triangular factor of some rows; `add` joins two of them.

    Parameters
    ----------
    z, du, z_next : arrays
        Coordinates of the finest cut, `(n, n_z)`; inputs' deviations, `(n, n_u)`; and `z_next - c`.
    n_x : int
        Number of leading coordinates that are the state.
    """

    def __init__(self, z: FloatArray, du: FloatArray, z_next: FloatArray, n_x: int) -> None:
        self.n_x, self.n_u, self.n_z = n_x, du.shape[1], z.shape[1]
        ones = np.ones((len(z), 1))
        stacked = np.concatenate([ones, z[:, :n_x], du, z[:, n_x:], z_next], axis=1)
        self._factor = np.asarray(np.linalg.qr(stacked, mode="r"))

    def __add__(self, other: NestedRegression) -> NestedRegression:
        """Rows of both."""
        both = object.__new__(NestedRegression)
        both.n_x, both.n_u, both.n_z = self.n_x, self.n_u, self.n_z
        both._factor = np.asarray(np.linalg.qr(np.concatenate([self._factor, other._factor]), mode="r"))
        return both

    def dynamics(self, n_z: int, ridge: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """`A`, `B` of the first `n_z` coordinates; `ridge` is relative to each regressor's energy."""
        n_x, n_u = self.n_x, self.n_u
        columns = np.concatenate([np.arange(1, 1 + n_x + n_u), 1 + n_u + np.arange(n_x, n_z)])
        w = self._solve(columns, n_z, ridge).T
        return np.hstack([w[:, :n_x], w[:, n_x + n_u :]]), w[:, n_x : n_x + n_u].copy()

    def affine(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`A`, `B` of the state alone with a constant of its own, to be added to `c`: plain least squares."""
        n_x, n_u = self.n_x, self.n_u
        w = self._solve(np.arange(1 + n_x + n_u), n_x, 0.0).T
        return w[:, 1 : 1 + n_x].copy(), w[:, 1 + n_x :].copy(), w[:, 0].copy()

    def around(
        self, n_z: int, A_op: FloatArray, B_op: FloatArray, ridge: float, *, driven: bool
    ) -> tuple[FloatArray, FloatArray]:
        """`A`, `B` whose state's part is given, `s+ = A_op s + B_op du + E rest`.

        The features move by `rest+ = F rest`, or if `driven` by `F [s; rest] + G du` too.
        """
        n_x, n_u, f = self.n_x, self.n_u, self._factor
        s, du = f[:, 1 : 1 + n_x], f[:, 1 + n_x : 1 + n_x + n_u]
        rest, target = f[:, 1 + n_x + n_u : 1 + n_u + n_z], f[:, self._targets(n_z)]
        A, B = np.zeros((n_z, n_z)), np.zeros((n_z, n_u))
        A[:n_x, :n_x], B[:n_x] = A_op, B_op
        unexplained = target[:, :n_x] - s @ A_op.T - du @ B_op.T
        A[:n_x, n_x:] = _least_squares(rest, unexplained, ridge).T
        if not driven:
            A[n_x:, n_x:] = _least_squares(rest, target[:, n_x:], ridge).T
            return A, B
        w = _least_squares(np.hstack([s, rest, du]), target[:, n_x:], ridge).T
        A[n_x:], B[n_x:] = w[:, :n_z], w[:, n_z:]
        return A, B

    def inputs(self, A: FloatArray) -> FloatArray:
        """`B` for a given `A` of the first coordinates."""
        n_x, n_u, n_z = self.n_x, self.n_u, len(A)
        f = self._factor
        state = np.concatenate([np.arange(1, 1 + n_x), 1 + n_u + np.arange(n_x, n_z)])
        du, target = f[:, 1 + n_x : 1 + n_x + n_u], f[:, self._targets(n_z)]
        return _least_squares(du, target - f[:, state] @ A.T, 0.0).T.copy()

    def _targets(self, n_z: int) -> slice:
        first = 1 + self.n_z + self.n_u
        return slice(first, first + n_z)

    def _solve(self, columns: np.ndarray, n_z: int, ridge: float) -> FloatArray:
        # Below the last of its columns the factor holds zeros for the regressors of a cut.
        rows = self._factor[: columns.max() + 1]
        return _least_squares(rows[:, columns], rows[:, self._targets(n_z)], ridge)


def _least_squares(regressors: FloatArray, targets: FloatArray, ridge: float) -> FloatArray:
    scale = np.linalg.norm(regressors, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    u, s, vt = np.linalg.svd(regressors / scale, full_matrices=False)
    kept = s > _RCOND * s.max(initial=0.0)
    gain = s[kept] / (s[kept] ** 2 + ridge)
    return (vt[kept].T @ (gain[:, None] * (u[:, kept].T @ targets))) / scale[:, None]
