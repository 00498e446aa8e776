r"""A dense QP with its factor, and how far an answer can be from the optimum.

.. math::
    \min_x \tfrac12 x'Hx + g'x \quad\text{s.t.}\quad l_x \le x \le u_x,\ l_a \le A x \le u_a

Multiplying `g` and all bounds by one number multiplies the answer by it, so nothing here is compared with
one: every tolerance is relative to the size of the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray

# Distance from a bound, relative to the answer's size, up to which the bound counts as met.
MET = 1e-7
# Part of the answer's size beside which no range is narrower.
NARROW = 1e-8
# The same where a narrower one is lost in rounding.
LOST = 1e-7
# Bound on an error, relative to the answer's size, above which it is worth working out more closely.
SHARPEN = 1e-9
# What carries any multiplier beyond any bound.
_FAR = 1e200
# Part of what inputs do to a bounded output at all below which they do nothing to it in a step.
FELT = 1e-8
# Part of the unconstrained optimum below which an answer's size is not believed: it is rounding.
ROUNDING = 1e-7


@dataclass(frozen=True)
class DenseQP:
    """Hessian and rows of the problems to come.

    Attributes
    ----------
    H : (n, n) array
        Positive definite.
    A : (m, n) array
    whiten : (n, n) array
        `L^-1` with `H = L L'`.
    inverse : (n, n) array
        Of `H`.
    spread : float
        Largest `sqrt((H^-1)_ii)`: how far an entry may be off where the objective is off by one half.
    n_inputs : int
        Number of first rows that are, like `x`, what is asked for: their errors count relative to
    width : float
        the narrowest range of any of them.
    strict : bool
        Whether an answer beside whose size that range is lost in rounding is none.
    """

    H: FloatArray
    A: FloatArray
    whiten: FloatArray
    inverse: FloatArray
    spread: float
    n_inputs: int = 0
    width: float = math.inf
    strict: bool = False

    @classmethod
    def of(
        cls, H: FloatArray, A: FloatArray, n_inputs: int = 0, width: float = math.inf, strict: bool = False
    ) -> DenseQP:
        """Factor; raises `numpy.linalg.LinAlgError` unless `H` is positive definite."""
        factor, failed = linalg.lapack.dpotrf(H, lower=1, clean=1)
        if failed or not np.isfinite(factor[-1:, -1:]).all():
            raise np.linalg.LinAlgError("the Hessian is not positive definite")
        whiten = linalg.lapack.dtrtri(factor, lower=1)[0] if len(H) else np.empty((0, 0))
        whiten = np.ascontiguousarray(whiten)
        inverse = whiten.T @ whiten
        spread = math.sqrt(float(inverse.diagonal().max(initial=0.0)))
        return cls(H, A, whiten, inverse, spread, n_inputs, width, strict)

    def certify_box(
        self, g: FloatArray, lower: FloatArray, upper: FloatArray, x: FloatArray, multipliers: FloatArray
    ) -> tuple[FloatArray, float] | None:
        """An answer put on its bounds to the bit, and its residual; None where that is not next to nothing.

        For problems without rows. What is left of the conditions is then the gradient alone.
        """
        # Any multiplier, however small, carries its entry to the bound.
        x = np.minimum(np.maximum(x + _FAR * multipliers, lower), upper)
        gradient = self.H @ x
        gradient += g
        gradient += multipliers
        error = self.whiten @ gradient
        off = self.spread * math.sqrt(float(error @ error))
        narrow = self.narrow(float(np.maximum.reduce(np.abs(x))))
        return (x, off / narrow) if off <= SHARPEN * narrow and narrow > 0.0 else None

    def certify(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        x: FloatArray,
        multipliers_x: FloatArray,
        multipliers_a: FloatArray,
    ) -> float:
        """`residual`, with less work where it is next to nothing: for answers that were not moved."""
        m = len(self.A)
        gradient = self.H @ x
        gradient += g
        gradient += multipliers_x
        values, multipliers = x, multipliers_x
        if m:
            gradient += multipliers_a @ self.A
            values = np.concatenate([x, self.A @ x])
            multipliers = np.concatenate([multipliers_x, multipliers_a])
        active = np.flatnonzero(multipliers)
        size = float(np.maximum.reduce(np.abs(values)))
        room = np.minimum(upper - values, values - lower)
        off = -float(np.minimum.reduce(room))
        if len(active):
            at = values[active]
            gap = np.where(multipliers[active] > 0.0, upper[active] - at, lower[active] - at)
            off = max(off, float(np.maximum.reduce(np.abs(gap))))
        error = self.whiten @ gradient
        off = max(off, self.spread * math.sqrt(float(error @ error)))
        narrow = self.narrow(size)
        if 0.0 <= off <= SHARPEN * narrow and narrow > 0.0:
            return off / narrow
        return self.residual(g, lower, upper, x, multipliers_x, multipliers_a)

    def values(self, x: FloatArray) -> FloatArray:
        """`[x; A x]`."""
        return np.concatenate([x, self.A @ x]) if len(self.A) else x

    def free_optimum(self, g: FloatArray) -> FloatArray:
        """`-H^-1 g`, refined once."""
        x = -(self.inverse @ g)
        return x - self.inverse @ (self.H @ x + g)

    def size(
        self, x: FloatArray, values: FloatArray, lower: FloatArray, upper: FloatArray, free: FloatArray
    ) -> float:
        """Largest entry of an answer and its rows, within their bounds; `free` is the optimum without."""
        within = np.minimum(np.maximum(values, lower), upper)
        return max(float(np.abs(within).max(initial=0.0)), ROUNDING * float(np.abs(free).max(initial=0.0)))

    def narrow(self, size: float) -> float:
        """What errors of inputs are relative to, where an answer has this size."""
        if self.strict and self.width < LOST * size:
            return 0.0
        if self.width < NARROW * size:
            return NARROW * size
        return min(size, self.width)

    def residual(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        x: FloatArray,
        multipliers_x: FloatArray,
        multipliers_a: FloatArray,
    ) -> float:
        """Bound on the error of `x`, relative to the answer's size; infinite if it is not finite.

        Inputs, `x` and the first `n_inputs` rows, count relative to their range where that is narrower.

        Multipliers of bounds that are met are taken as they are: with the bounds moved to where `x` is, a
        gradient `s` that they do not balance leaves `|x - x*|_H <= |s|` in the norm of `H^-1`. That, the
        violations and the distances from those bounds are what is left. What the latter move elsewhere is
        not counted: where bounds are met to rounding, as after `polished`, it is rounding too. Positive
        multipliers belong to upper bounds and negative ones to lower; those of bounds that are not met
        count as unbalanced gradient.
        """
        values = self.values(x)
        size = self.size(x, values, lower, upper, self.inverse @ g)
        n = len(x)
        multipliers = np.concatenate([multipliers_x, multipliers_a]) if len(self.A) else multipliers_x
        beyond = np.maximum(values - upper, lower - values)
        distance = np.abs(np.where(multipliers > 0.0, values - upper, lower - values))
        held = (multipliers != 0.0) & (distance <= MET * size)
        off = np.maximum(beyond, np.where(held, distance, 0.0))
        balanced = np.where(held, multipliers, 0.0)
        gradient = self.H @ x + g + balanced[:n]
        if len(self.A):
            gradient += balanced[n:] @ self.A
        error = self.whiten @ gradient
        unbalanced = self.spread * math.sqrt(float(error @ error))
        narrow = self.narrow(size)
        if unbalanced > SHARPEN * narrow and held.any():
            # What other multipliers of the same bounds cannot balance either.
            normals = np.vstack([np.eye(n), self.A])[held]
            basis, weights = np.linalg.svd(self.whiten @ normals.T, full_matrices=False)[:2]
            basis = basis[:, weights > 1e-11 * weights[0]]
            error = error - basis @ (basis.T @ error)
            unbalanced = min(unbalanced, self.spread * math.sqrt(float(error @ error)))
        k = n + self.n_inputs
        of_inputs = max(unbalanced, float(off[:k].max(initial=0.0)))
        of_rows = float(off[k:].max(initial=0.0))
        if of_inputs == 0.0 == of_rows:
            return 0.0
        found = max(of_inputs / narrow, of_rows / size) if narrow > 0.0 else math.inf
        return found if math.isfinite(found) else math.inf

    def polished(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        x: FloatArray,
        multipliers: FloatArray,
    ) -> tuple[FloatArray, FloatArray] | None:
        """The optimum on the answer's active set and its multipliers, signs as they come out.

        With `y = L'(x - x_0)` and the active normals `N`, the least `|y|` on which `N x` meets its bounds.
        Bounds with a multiplier that rounding can explain are dropped unless the answer is beyond them.
        """
        n = len(x)
        values, free = self.values(x), self.free_optimum(g)
        near = MET * self.size(x, values, lower, upper, free)
        at_upper = (multipliers > 0.0) & (upper - values <= near) | (values > upper)
        at_lower = (multipliers < 0.0) & (values - lower <= near) | (values < lower)
        active = np.flatnonzero(at_upper | at_lower)
        side = np.where(at_upper, 1.0, -1.0)[active]
        normals = np.vstack([np.eye(n), self.A])[active]
        gap = np.where(at_upper, upper, lower)[active] - normals @ free
        if not np.isfinite(gap).all():
            return None
        whitened = self.whiten @ normals.T
        basis, triangle = np.linalg.qr(whitened)
        pivots = np.abs(np.diag(triangle))
        try:
            if len(active) <= n and pivots.min(initial=1.0) > 1e-11 * pivots.max(initial=1.0):
                inner = linalg.solve_triangular(triangle, gap, trans=1, check_finite=False)
                y, share = basis @ inner, -linalg.solve_triangular(triangle, inner, check_finite=False)
            else:
                y = np.linalg.lstsq(whitened.T, gap, rcond=1e-11)[0]
                share = np.linalg.lstsq(whitened, -y, rcond=1e-11)[0]
        except np.linalg.LinAlgError:
            return None
        found = np.zeros(len(multipliers))
        found[active] = np.where(share * side > 0.0, share, 0.0)
        return free + self.whiten.T @ y, found


def scale_rows(
    rows: FloatArray, idle: FloatArray, repeated: tuple[int, int, int] = (0, 0, 0)
) -> tuple[FloatArray, FloatArray]:
    """Rows of norm 1 and the factors that made them so; of zero rows these are `idle`, `(m,)`.

    `repeated = (first, N, n)`: from row `first` on the same `n` combinations are looked at in `N` steps, each
    in one unit. One that the variables do not move in a step, beside what they do to it in others, is a row
    of zeros: made a row of norm 1 it would ask for inputs of any size, on the word of rounding.
    """
    norms = np.linalg.norm(rows, axis=1)
    first, N, n = repeated
    same = norms[first : first + N * n].reshape(N, n)
    same[same <= FELT * same.max(axis=0, initial=0.0)] = 0.0
    factors = np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), idle)
    return rows * np.where(norms > 0.0, factors, 0.0)[:, None], factors


def kkt_residual(
    H: FloatArray,
    g: FloatArray,
    A: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    x: FloatArray,
    multipliers_x: FloatArray,
    multipliers_a: FloatArray,
) -> float:
    """`DenseQP.residual` of one problem; `lower`, `upper` hold the bounds of `x`, then of `A x`."""
    ranges = (upper - lower)[: len(H)]
    width = float(np.min(ranges[ranges > 0.0], initial=np.inf))
    return DenseQP.of(H, A, 0, width).residual(g, lower, upper, x, multipliers_x, multipliers_a)
