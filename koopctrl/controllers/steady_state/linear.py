r"""Steady targets: from a set-point `r` to the steady state and input that come nearest to it.

.. math::
    \min_{z_s, u_s} |W^{1/2} (C z_s + C_d d + y_{op} - r)|^2 \quad\text{s.t.}\quad
    (I - A) z_s = B (u_s - u_{op}) + B_v (v - v_{op}) + c + B_d d

and, among the minimisers, the one with the least `|R^{1/2} (u_s - u_r)|`, where `u_r` is the input wished for
(`u_op` by default). All steady states are one particular solution plus the null space of `[I - A, -B]`, so
integrators (a singular `I - A`) are no exception, and the whole map is affine in `r`, `u_r` and the
disturbances `d` and `v` (if any): it is worked out once.

Directions of the inputs that the outputs cannot be told to feel, `|W^{1/2} G R^{-1/2}|` below 1e-7 of the
largest such gain, are left to the second aim: they would take huge inputs for next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.units import balance, weight_factor
from koopctrl.errors import SolverError

# Part of the largest below which pivots, and parts of orthonormal vectors, are rounding.
RANK_TOL = 1e-10
# Part of the largest weighted steady gain below which the outputs do not feel a direction of the inputs.
FELT = 1e-7


@dataclass(frozen=True)
class SteadyStates:
    """All steady states of a model, `[z; u - u_op] = particular [1; d; dv] + along_input a + idle t`.

    Attributes
    ----------
    particular : (n_z + n_u, 1 + n_d + n_v) array
    along_input : (n_z + n_u, n_a) array
        What moves with the input: columns whose inputs are orthonormal in the norm of `R`.
    idle : (n_z, n_t) array
        States that need no input, as integrators have them.
    """

    particular: FloatArray
    along_input: FloatArray
    idle: FloatArray


@dataclass(frozen=True)
class Freedom:
    """How outputs move with the steady inputs: what a set-point out of reach is judged by.

    Attributes
    ----------
    felt_u, felt_y : (n_u, n_b) and (n_y, n_b) arrays
        Inputs and outputs that move `|W^{1/2} y|` by one each, at right angles.
    unfelt_u, unfelt_y : arrays
        Inputs that the outputs do not feel, orthonormal in the norm of `R`.
    idle : (n_y, n_y) array
        From a distance of the outputs to the part that states without input take over.
    gain : float
        Largest weighted gain.
    """

    felt_u: FloatArray
    felt_y: FloatArray
    unfelt_u: FloatArray
    unfelt_y: FloatArray
    idle: FloatArray
    gain: float


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
    freedom : Freedom
        How outputs move with the steady inputs.
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
    freedom: Freedom

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


def steady_states(model: Augmented, root: FloatArray, root_r: FloatArray) -> SteadyStates:
    """Solve `(I - A) z = B du + c + B_d d + B_v dv` for all `z`, `du`.

    `root` and `root_r` factor the weights on outputs and inputs, and with them give units to both.

    Raises
    ------
    SolverError
        If there is none: the model drifts, and no input can hold it.
    """
    lifted, n_z = model.lifted, model.lifted.n_z
    drift = np.column_stack([lifted.c, model.Bd[:n_z], model.Bv[:n_z]])
    to_u = np.linalg.inv(root_r)
    B = model.B[:n_z] @ to_u
    D = balance(lifted.A, B, np.sum((root @ lifted.C) ** 2, axis=0))
    M = np.hstack([np.eye(n_z) - lifted.A / D[:, None] * D, -B / D[:, None]])
    size = np.linalg.norm(M, axis=1)
    per_row = 1.0 / (np.where(size > 0.0, size, 1.0) * D)
    M = M / np.where(size > 0.0, size, 1.0)[:, None]
    rhs = drift * per_row[:, None]
    # Pivoted QR of M': M w = rhs is solved in the range, and the rest of Q spans the null space.
    q, triangle, pivots = (np.asarray(part) for part in linalg.qr(M.T, pivoting=True))
    diagonal = np.abs(np.diag(triangle))
    rank = int(np.count_nonzero(diagonal > RANK_TOL * diagonal.max(initial=0.0)))
    particular = q[:, :rank] @ linalg.solve_triangular(triangle[:rank, :rank], rhs[pivots][:rank], trans=1)
    defect = np.abs(M @ particular - rhs)
    largest = np.abs(rhs).max(axis=0)
    # c is known to the rounding of lifted coordinates, which are of order one.
    largest[0] = max(largest[0], float(per_row.max(initial=0.0)) if drift[:, 0].any() else 0.0)
    if (defect.max(axis=0) > 1e-6 * largest).any():
        raise SolverError(
            f"the lifted model drifts at its operating point (|c| is {np.abs(lifted.c).max():.2g}) or is "
            "pushed by a disturbance where no input can hold it; lift it at an equilibrium with "
            "lift_at(x_op=..., u_op=...)"
        )
    null = np.asarray(q[:, rank:], dtype=float)
    # The null vectors are orthonormal: their inputs' singular values are compared with one.
    _, moved, turn = np.linalg.svd(null[n_z:], full_matrices=True)
    n_a = int(np.count_nonzero(moved > RANK_TOL))
    along = null @ (turn[:n_a].T / moved[:n_a])
    back = np.concatenate([D, np.ones(len(to_u))])[:, None]
    particular, along = back * particular, back * along
    for part in (particular, along):
        part[n_z:] = to_u @ part[n_z:]
    return SteadyStates(particular, along, D[:, None] * (null[:n_z] @ turn[n_a:].T))


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
    root, root_r, C = weight_factor(weight), weight_factor(R), lifted.C
    states = steady_states(model, root, root_r)
    # What does not depend on the set-point is linear in [1; d; dv; du]: columns.
    particular = np.hstack([states.particular, np.zeros((n_z + n_u, n_u))])
    seen = np.column_stack([lifted.y_op, model.Cd, np.zeros((lifted.n_y, n_v + n_u))]) + C @ particular[:n_z]
    along, idle_y = states.along_input, C @ states.idle
    # States that need no input take over what they can: t = take (r - y), the rest is left to the inputs.
    level = float(
        np.linalg.norm(root * np.linalg.norm(C * np.abs(states.idle).max(axis=1, initial=0.0), axis=1))
    )
    take = _pinv(root @ idle_y, RANK_TOL * level) @ root
    left = root - root @ idle_y @ take
    gains = root @ C @ along[:n_z]
    U, s, V = np.linalg.svd(left @ C @ along[:n_z], full_matrices=True)
    gain = float(np.linalg.norm(gains, 2)) if gains.size else 0.0
    n_b = int(np.count_nonzero(s > FELT * gain))
    felt, unfelt = V[:n_b].T / s[:n_b], V[n_b:].T
    # a = felt (what is left of r - y) + unfelt (what brings the input near the one wished for).
    wish = np.eye(n_u, particular.shape[1], k=1 + n_d + n_v)
    on_r = felt @ (U[:, :n_b].T @ left)
    nearer = unfelt @ (unfelt.T @ (root_r @ along[n_z:]).T) @ root_r
    rest = -on_r @ seen - nearer @ (particular[n_z:] - wish)
    t_r = take - take @ C @ along[:n_z] @ on_r
    t_rest = -take @ seen - take @ C @ along[:n_z] @ rest
    z_gain = along[:n_z] @ on_r + states.idle @ t_r
    z_rest = along[:n_z] @ rest + states.idle @ t_rest + particular[:n_z]
    u_gain, u_rest = along[n_z:] @ on_r, along[n_z:] @ rest + particular[n_z:]
    y_gain, y_rest = C @ z_gain, C @ z_rest + seen - C @ particular[:n_z]
    u_rest[:, 0] += model.u_op
    parts: dict[str, FloatArray] = {}
    for name, by_r, others in (("z", z_gain, z_rest), ("u", u_gain, u_rest), ("y", y_gain, y_rest)):
        offset_part, d_part, v_part, u_part = np.split(others, [1, 1 + n_d, 1 + n_d + n_v], axis=1)
        parts |= {
            f"{name}_gain": by_r, f"{name}_disturbance": d_part, f"{name}_told": v_part,
            f"{name}_input": u_part, f"{name}_offset": offset_part[:, 0],
        }  # fmt: skip
    by_input = C @ along[:n_z]
    freedom = Freedom(
        along[n_z:] @ felt, by_input @ felt, along[n_z:] @ unfelt, by_input @ unfelt, idle_y @ take, gain
    )
    return SteadyTarget(**parts, freedom=freedom)


def _pinv(matrix: FloatArray, floor: float) -> FloatArray:
    """Pseudo-inverse that takes singular values below `floor`, or relatively small ones, for zero."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    keep = s > max(floor, RANK_TOL * float(s.max(initial=0.0)))
    return vt[keep].T @ (u[:, keep].T / s[keep, None])
