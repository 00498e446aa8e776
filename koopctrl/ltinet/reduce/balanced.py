"""Balanced truncation and singular perturbation, by the square-root method.

From factors `P = Zc Zc'`, `Q = Zo Zo'` of the Gramians, `Zo' Zc = U S V'` holds the Hankel singular values.
The projections `T = Zc V S^-1/2` and `W = Zo U S^-1/2` belong to a model of order `r` whose H-infinity error
is at most `2 (s_(r+1) + .. + s_n)`. Truncation takes `W' A T`; singular perturbation (`match_dc`) does the
same to the reciprocal model `s -> 1 / s`, which has the same Gramians, and so keeps the static gain.

Sources: Tombs and Postlethwaite, *Truncated balanced realization of a stable non-minimal state-space system*,
Int. J. Control 46, 1987; Liu and Anderson, *Singular perturbation approximation of balanced systems*, Int. J.
Control 50, 1989; Glover, *All optimal Hankel-norm approximations ..*, Int. J. Control 39, 1984, for the
bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import svd

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

_FLOOR = 1e-15  # Hankel singular values below this share of the first are rounding


@dataclass(frozen=True)
class Projection:
    """`T` (n, r) and `W` (n, r), all Hankel singular values, and the order kept."""

    T: FloatArray
    W: FloatArray
    hankel: FloatArray
    order: int

    @property
    def bound(self) -> float:
        """Twice the sum of the Hankel singular values that were dropped."""
        return 2.0 * float(self.hankel[self.order :].sum())


def project(
    Zc: FloatArray, Zo: FloatArray, inner: FloatArray, order: int | None, tol: float | None, largest: int
) -> Projection:
    """Square-root projections of a given order, or of the smallest whose bound is at most `tol` of the first
    value.

    Parameters
    ----------
    Zc, Zo : array (n, k_c), (n, k_o)
    inner : array (k_o, k_c)
        `Zo' E Zc`.
    order, tol : int, float
        One of them; `tol` is relative to the largest Hankel singular value.
    largest : int
        Number of states.
    """
    if order is not None and order > largest:
        raise OptionError(f"order is {order}; expected at most the number of states, {largest}")
    U, s, Vt = svd(inner, full_matrices=False, lapack_driver="gesvd") if inner.size else _nothing(inner)
    rank = int(np.count_nonzero(s > _FLOOR * s.max(initial=0.0)))
    if order is None:
        tails = 2.0 * np.append(np.cumsum(s[::-1])[::-1], 0.0)
        order = int(np.argmax(tails <= (tol or 0.0) * s.max(initial=0.0))) if s.size else 0
    order = min(order, rank)
    root = np.sqrt(s[:order])
    return Projection(Zc @ (Vt[:order].T / root), Zo @ (U[:, :order] / root), s, order)


def _nothing(inner: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return np.zeros((inner.shape[0], 0)), np.zeros(0), np.zeros((0, inner.shape[1]))


def truncated(
    found: Projection, AT: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Reduced `(A, B, C, D)` from `A T`."""
    return found.W.T @ AT, found.W.T @ B, C @ found.T, D.copy()


def perturbed(
    found: Projection,
    A_inv_T: FloatArray,
    A_inv_B: FloatArray,
    C: FloatArray,
    static: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Reduced `(A, B, C, D)` with the static gain `static`, from `A^-1 E T` and `A^-1 B`.

    `W` must be dual to `T` under the mass matrix, which the caller has applied.
    """
    A = found.W.T @ A_inv_T
    B, C = found.W.T @ A_inv_B, -C @ A_inv_T
    back = np.linalg.solve(A, np.hstack([np.eye(found.order), B]))
    inverse, AB = back[:, : found.order], back[:, found.order :]
    return inverse, AB, -C @ inverse, static - C @ AB
