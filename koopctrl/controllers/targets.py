r"""Steady targets: from a set-point `r` to the steady state and input that come nearest to it.

.. math::
    \min_{z_s, u_s} |W^{1/2} (C z_s + C_d d + y_{op} - r)|^2 \quad\text{s.t.}\quad
    (I - A) z_s = B (u_s - u_{op}) + c + B_d d

and, among the minimisers, the one with the least `|R^{1/2} (u_s - u_op)|`. All steady states are one
particular solution plus the null space of `[I - A, -B]`, so integrators (a singular `I - A`) are no
exception, and the whole map is affine in `r` and in the disturbance `d` (if any): it is worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.lifted import LiftedModel

_RANK_TOL = 1e-10
# Part of a steady target, relative to all of it, below which an input is rounding: integrators hold without.
_NO_INPUT = 1e-12


@dataclass(frozen=True)
class SteadyTarget:
    """The affine map `(r, d) -> (z_s, u_s, y_s)`.

    Attributes
    ----------
    z_gain, z_disturbance, z_offset : (n_z, n_y), (n_z, n_d) and (n_z,) arrays
    u_gain, u_disturbance, u_offset : (n_u, n_y), (n_u, n_d) and (n_u,) arrays
        In absolute inputs.
    y_gain, y_disturbance, y_offset : (n_y, n_y), (n_y, n_d) and (n_y,) arrays
        The output reached; `y_s = r` where `r` can be held.
    """

    z_gain: FloatArray
    z_disturbance: FloatArray
    z_offset: FloatArray
    u_gain: FloatArray
    u_disturbance: FloatArray
    u_offset: FloatArray
    y_gain: FloatArray
    y_disturbance: FloatArray
    y_offset: FloatArray

    def __call__(
        self, r: FloatArray, d: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`(z_s, u_s, y_s)` of one set-point under one disturbance (none by default)."""
        z = self.z_gain @ r + self.z_offset
        u = self.u_gain @ r + self.u_offset
        y = self.y_gain @ r + self.y_offset
        if d is None or not len(d):
            return z, u, y
        return z + self.z_disturbance @ d, u + self.u_disturbance @ d, y + self.y_disturbance @ d


def steady_target(
    lifted: LiftedModel,
    weight: FloatArray,
    R: FloatArray,
    disturbance: tuple[FloatArray, FloatArray] | None = None,
) -> SteadyTarget:
    """Work the map out.

    Parameters
    ----------
    lifted : LiftedModel
    weight : (n_y, n_y) array
        `W`, positive semidefinite.
    R : (n_u, n_u) array
        Positive definite.
    disturbance : ((n_z, n_d), (n_y, n_d)) arrays, optional
        `B_d` and `C_d`.

    Raises
    ------
    SolverError
        If the model has no steady state at all: it drifts, and no input can hold it.
    """
    n_z, n_y = lifted.n_z, lifted.n_y
    bd, cd = disturbance or (np.empty((n_z, 0)), np.empty((n_y, 0)))
    # What does not depend on the set-point is linear in [1; d]: columns.
    drift, seen_offset = np.column_stack([lifted.c, bd]), np.column_stack([lifted.y_op, cd])
    M = np.hstack([np.eye(n_z) - lifted.A, -lifted.B])
    # Pivoted QR of M': M w = drift is solved in the range, and the rest of Q spans the null space.
    q, triangle, pivots = (np.asarray(part) for part in linalg.qr(M.T, pivoting=True))
    diagonal = np.abs(np.diag(triangle))
    rank = int(np.count_nonzero(diagonal > _RANK_TOL * diagonal.max(initial=0.0)))
    top = triangle[:rank, :rank]
    particular = q[:, :rank] @ linalg.solve_triangular(top, drift[pivots][:rank], trans=1)
    defect = np.abs(M @ particular - drift).max(initial=0.0)
    if defect > 1e-6 * max(1.0, np.abs(drift).max(initial=0.0)):
        raise SolverError(
            f"the lifted model drifts at its operating point (|c| is {np.abs(lifted.c).max():.2g}) or is "
            "pushed by a "
            "disturbance where no input can hold it; lift it at an equilibrium with lift_at(x_op=..., "
            "u_op=...)"
        )
    null_z, null_u = q[:n_z, rank:], q[n_z:, rank:]
    root = weight_factor(weight)
    inverse, free = _pinv_and_kernel(root @ lifted.C @ null_z)
    # w = particular + null s with s = gain r + offset [1; d]; then the remaining freedom lowers the input.
    gain = inverse @ root
    offset = -inverse @ root @ (seen_offset + lifted.C @ particular[:n_z])
    if free.shape[1]:
        root_r = weight_factor(R)
        lower = free @ np.linalg.pinv(root_r @ null_u @ free, rcond=_RANK_TOL) @ root_r
        offset = offset - lower @ (null_u @ offset + particular[n_z:])
        gain = gain - lower @ (null_u @ gain)
    z_gain, z_offset = null_z @ gain, null_z @ offset + particular[:n_z]
    u_gain, u_offset = _without_rounding(null_u @ gain, gain, lifted.B), null_u @ offset + particular[n_z:]
    y_gain, y_offset = lifted.C @ z_gain, lifted.C @ z_offset + seen_offset
    return SteadyTarget(
        z_gain,
        z_offset[:, 1:],
        z_offset[:, 0],
        u_gain,
        u_offset[:, 1:],
        u_offset[:, 0] + lifted.u_op,
        y_gain,
        y_offset[:, 1:],
        y_offset[:, 0],
    )


class ReachableSetPoint:
    """Moves set-points whose steady input would leave its bounds to the nearest that can be held.

    Parameters
    ----------
    target : SteadyTarget
    weight, R : arrays
        The distance `|W^1/2 (y - r)|`, and the (much smaller) weight that picks among equals.
    u_min, u_max : (n_u,) arrays
    """

    def __init__(
        self,
        target: SteadyTarget,
        weight: FloatArray,
        R: FloatArray,
        u_min: FloatArray,
        u_max: FloatArray,
    ) -> None:
        self._target, self._u_min, self._u_max = target, u_min, u_max
        # Steady outputs move with steady inputs as y_s = G u_s + ..., on what set-points can ask for.
        self._gain = target.y_gain @ np.linalg.pinv(target.u_gain, rcond=_RANK_TOL)
        self._root = np.vstack([weight_factor(weight) @ self._gain, 1e-8 * weight_factor(R)])
        self._weight = weight_factor(weight)

    def nearest(self, r: FloatArray, d: FloatArray) -> FloatArray:
        """The set-point itself where its steady input is within bounds."""
        target = self._target
        u = target.u_gain @ r + target.u_offset
        if len(d):
            u = u + target.u_disturbance @ d
        if ((u >= self._u_min) & (u <= self._u_max)).all() or not np.isfinite(u).all():
            return r
        y = target(r, d)[2]
        # min over bounded u of |W^1/2 (y + G (u - u_s) - r)|.
        rhs = np.concatenate(
            [self._weight @ (r - y + self._gain @ u), np.zeros(len(self._root) - len(self._weight))]
        )
        held = self._u_min == self._u_max
        low = np.where(held, self._u_min - 1e-9, self._u_min)
        high = np.where(held, self._u_max + 1e-9, self._u_max)
        found = optimize.lsq_linear(self._root, rhs, (low, high), method="bvls", tol=1e-12)
        return y + self._gain @ (found.x - u)


def _without_rounding(u_gain: FloatArray, gain: FloatArray, B: FloatArray) -> FloatArray:
    """Set to zero what only rounding makes of the steady inputs of integrators, which need none.

    Its inverse, of order 1e16, would else decide which set-points are within reach.
    """
    felt = np.abs(u_gain) * np.linalg.norm(B, axis=0)[:, None]
    return np.where(felt <= _NO_INPUT * np.linalg.norm(gain, axis=0), 0.0, u_gain)


def weight_factor(weight: FloatArray) -> FloatArray:
    """`L` of full row rank with `L'L = weight`."""
    values, vectors = np.linalg.eigh(weight)
    keep = values > 1e-14 * max(float(values.max(initial=0.0)), np.finfo(float).tiny)
    return np.sqrt(values[keep])[:, None] * vectors[:, keep].T


def _pinv_and_kernel(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    u, s, vt = np.linalg.svd(matrix, full_matrices=True)
    rank = int(np.count_nonzero(s > _RANK_TOL * s.max(initial=0.0)))
    return vt[:rank].T @ (u[:, :rank].T / s[:rank, None]), vt[rank:].T
