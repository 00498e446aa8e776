r"""Steady targets: from a set-point `r` to the steady state and input that come nearest to it.

.. math::
    \min_{z_s, u_s} |W^{1/2} (C z_s + C_d d + y_{op} - r)|^2 \quad\text{s.t.}\quad
    (I - A) z_s = B (u_s - u_{op}) + B_v (v - v_{op}) + c + B_d d

and, among the minimisers, the one with the least `|R^{1/2} (u_s - u_r)|`, where `u_r` is the input wished for
(`u_op` by default). All steady states are one particular solution plus the null space of `[I - A, -B]`, so
integrators (a singular `I - A`) are no exception, and the whole map is affine in `r`, `u_r` and the
disturbances `d` and `v` (if any): it is worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.errors import SolverError

RANK_TOL = 1e-10
# Part of a steady target, relative to all of it, below which an input is rounding: integrators hold without.
_NO_INPUT = 1e-12


@dataclass(frozen=True)
class SteadyStates:
    """All steady states of a model: a particular one plus a null space.

    Attributes
    ----------
    particular : (n_z + n_u, 1 + n_d + n_v) array
        `[z; u - u_op]` linear in `[1; d; dv]`.
    null_z, null_u : (n_z, n_s) and (n_u, n_s) arrays
    """

    particular: FloatArray
    null_z: FloatArray
    null_u: FloatArray


@dataclass(frozen=True)
class SteadyTarget:
    """The affine map from `r`, `d`, `dv = v - v_op` and `du = u_r - u_op` to `z_s`, `u_s`, `y_s`.

    Attributes
    ----------
    z_gain, z_disturbance, z_told, z_input, z_offset : arrays
        `z_s = z_gain r + z_disturbance d + z_told dv + z_input du + z_offset`.
    u_gain, u_disturbance, u_told, u_input, u_offset : arrays
        Likewise for the steady input, in absolute units.
    y_gain, y_disturbance, y_told, y_input, y_offset : arrays
        Likewise for the output reached; `y_s = r` where `r` can be held.
    states : SteadyStates
        All that the map chooses from.
    """

    z_gain: FloatArray
    z_disturbance: FloatArray
    z_told: FloatArray
    z_input: FloatArray
    z_offset: FloatArray
    u_gain: FloatArray
    u_disturbance: FloatArray
    u_told: FloatArray
    u_input: FloatArray
    u_offset: FloatArray
    y_gain: FloatArray
    y_disturbance: FloatArray
    y_told: FloatArray
    y_input: FloatArray
    y_offset: FloatArray
    states: SteadyStates

    def __call__(
        self,
        r: FloatArray,
        d: FloatArray | None = None,
        dv: FloatArray | None = None,
        du: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`(z_s, u_s, y_s)` of one set-point; what is None is 0."""
        z = self.z_gain @ r + self.z_offset
        u = self.u_gain @ r + self.u_offset
        y = self.y_gain @ r + self.y_offset
        for value, on_z, on_u, on_y in (
            (d, self.z_disturbance, self.u_disturbance, self.y_disturbance),
            (dv, self.z_told, self.u_told, self.y_told),
            (du, self.z_input, self.u_input, self.y_input),
        ):
            if value is not None and len(value):
                z, u, y = z + on_z @ value, u + on_u @ value, y + on_y @ value
        return z, u, y


def steady_states(model: Augmented) -> SteadyStates:
    """Solve `(I - A) z = B du + c + B_d d + B_v dv` for all `z`, `du`.

    Raises
    ------
    SolverError
        If there is none: the model drifts, and no input can hold it.
    """
    lifted, n_z = model.lifted, model.lifted.n_z
    drift = np.column_stack([lifted.c, model.Bd, model.Bv[:n_z]])
    M = np.hstack([np.eye(n_z) - lifted.A, -model.B[:n_z]])
    # Pivoted QR of M': M w = drift is solved in the range, and the rest of Q spans the null space.
    q, triangle, pivots = (np.asarray(part) for part in linalg.qr(M.T, pivoting=True))
    diagonal = np.abs(np.diag(triangle))
    rank = int(np.count_nonzero(diagonal > RANK_TOL * diagonal.max(initial=0.0)))
    top = triangle[:rank, :rank]
    particular = q[:, :rank] @ linalg.solve_triangular(top, drift[pivots][:rank], trans=1)
    defect = np.abs(M @ particular - drift).max(initial=0.0)
    if defect > 1e-6 * max(1.0, np.abs(drift).max(initial=0.0)):
        raise SolverError(
            f"the lifted model drifts at its operating point (|c| is {np.abs(lifted.c).max():.2g}) or is "
            "pushed by a disturbance where no input can hold it; lift it at an equilibrium with "
            "lift_at(x_op=..., u_op=...)"
        )
    null = np.asarray(q[:, rank:], dtype=float)
    return SteadyStates(particular, null[:n_z], null[n_z:])


def steady_target(model: Augmented, weight: FloatArray, R: FloatArray) -> SteadyTarget:
    """Work the map out.

    Parameters
    ----------
    model : Augmented
    weight : (n_y, n_y) array
        `W`, positive semidefinite.
    R : (n_u, n_u) array
        Positive definite.

    Raises
    ------
    SolverError
        If the model has no steady state at all.
    """
    lifted, n_z, n_u, n_d, n_v = model.lifted, model.lifted.n_z, model.n_u, model.n_d, model.n_v
    states = steady_states(model)
    null_z, null_u, C = states.null_z, states.null_u, lifted.C
    # What does not depend on the set-point is linear in [1; d; dv; du]: columns.
    particular = np.hstack([states.particular, np.zeros((n_z + n_u, n_u))])
    seen = np.column_stack([lifted.y_op, model.Cd, np.zeros((lifted.n_y, n_v + n_u))])
    root = weight_factor(weight)
    inverse, free = _pinv_and_kernel(root @ C @ null_z)
    # w = particular + null s with s = gain r + offset [1; d; dv; du]; the remaining freedom brings the input
    # near the one wished for.
    gain = inverse @ root
    offset = -inverse @ root @ (seen + C @ particular[:n_z])
    if free.shape[1]:
        root_r = weight_factor(R)
        # Null vectors have norm 1: an input part below the tolerance is rounding, of integrators.
        lower = free @ _pinv(root_r @ null_u @ free, RANK_TOL * np.abs(root_r).max()) @ root_r
        wish = np.eye(n_u, particular.shape[1], k=1 + n_d + n_v)
        offset = offset - lower @ (null_u @ offset + particular[n_z:] - wish)
        gain = gain - lower @ (null_u @ gain)
    z_gain, z_rest = null_z @ gain, null_z @ offset + particular[:n_z]
    u_gain, u_rest = _without_rounding(null_u @ gain, gain, model.B), null_u @ offset + particular[n_z:]
    y_gain, y_rest = C @ z_gain, C @ z_rest + seen
    u_rest[:, 0] += model.u_op
    parts: dict[str, FloatArray] = {}
    for name, on_r, rest in (("z", z_gain, z_rest), ("u", u_gain, u_rest), ("y", y_gain, y_rest)):
        offset_part, d_part, v_part, u_part = np.split(rest, [1, 1 + n_d, 1 + n_d + n_v], axis=1)
        parts |= {
            f"{name}_gain": on_r, f"{name}_disturbance": d_part, f"{name}_told": v_part,
            f"{name}_input": u_part, f"{name}_offset": offset_part[:, 0],
        }  # fmt: skip
    return SteadyTarget(**parts, states=states)


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
    rank = int(np.count_nonzero(s > RANK_TOL * s.max(initial=0.0)))
    return vt[:rank].T @ (u[:, :rank].T / s[:rank, None]), vt[rank:].T


def _pinv(matrix: FloatArray, floor: float) -> FloatArray:
    """Pseudo-inverse that takes singular values below `floor`, or relatively small ones, for zero."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    keep = s > max(floor, RANK_TOL * float(s.max(initial=0.0)))
    return vt[keep].T @ (u[:, keep].T / s[keep, None])
