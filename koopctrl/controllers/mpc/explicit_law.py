r"""The law of `ExplicitMPC`: a table of regions and the affine law in each.

.. math:: u = F_i \theta + f_i \quad\text{where}\quad H_i \theta \le h_i, \qquad \theta = [x; r; u_{last}]
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.info import NOT_FINITE
from koopctrl.controllers.mpc.law import NoPlan, Plan, Situation
from koopctrl.controllers.mpc.linear_law import LazyPrediction, LinearLaw
from koopctrl.controllers.qp.dense import DenseQP
from koopctrl.controllers.qp.parametric import ParametricQP, regions_of
from koopctrl.controllers.steady_state.aim import LinearAim

# Violation, in half-widths of the box, up to which a point belongs to the region nearest to it.
NEAR = 1e-7
OUTSIDE = "the state, set-point or last input is outside the regions of the explicit law"
MOVED = (
    "the explicit law was made for another set-point, {}; make it with references=(low, high) for set-points "
    "that change"
)


@dataclass(frozen=True)
class RegionTable:
    """Regions in scaled parameters `(theta - middle) / half`.

    Attributes
    ----------
    middle, half : (n_theta,) arrays
    rows, heights : (n_rows, n_theta), (n_rows,) arrays
        Of all regions, one after another.
    starts : (n_regions + 1,) int array
    gains, offsets : (n_regions, N n_u, n_theta), (n_regions, N n_u) arrays
        Plans, in deviations from `u_op`.
    """

    middle: FloatArray
    half: FloatArray
    rows: FloatArray
    heights: FloatArray
    starts: np.ndarray
    gains: FloatArray
    offsets: FloatArray

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.offsets)

    def find(self, theta: FloatArray) -> int:
        """The region of a parameter; -1 if there is none."""
        excess = self.rows @ ((theta - self.middle) / self.half) - self.heights
        worst = np.maximum.reduceat(excess, self.starts[:-1])
        best = int(np.argmin(worst))
        return best if worst[best] <= NEAR else -1

    def plan(self, region: int, theta: FloatArray) -> FloatArray:
        """The plan `(N n_u,)` in deviations."""
        return self.gains[region] @ ((theta - self.middle) / self.half) + self.offsets[region]


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplicitLaw(LinearLaw):
    """Numbers of an `ExplicitMPC`: a `LinearLaw` that looks its plans up.

    Attributes
    ----------
    table : RegionTable
    fixed : (n_y,) array or None
        The set-point, where it is no parameter.
    """

    table: RegionTable
    fixed: FloatArray | None

    def theta(self, now: Situation) -> FloatArray:
        """Parameters of one sample."""
        z = self.estimator.basis @ now.estimate + self.estimator.offset
        parts: list[Any] = [self.lifted.x_op + z * self.lifted.observables.x_scale]
        if self.fixed is None:
            parts.append(now.asked.r if now.asked.r.ndim == 1 else now.asked.r[-1])
        if sees_last_input(self):
            parts.append(now.last)
        return np.concatenate(parts)

    def _plan(self, now: Situation) -> Plan | NoPlan:
        r = now.asked.r if now.asked.r.ndim == 1 else now.asked.r[-1]
        theta, d, dv = self.theta(now), np.empty(0), np.empty(0)
        w = self.model.v_op[:0]
        if not np.isfinite(theta).all():
            return NoPlan(NOT_FINITE, spoilt=True)
        moved = self.fixed is not None and not np.array_equal(r, self.fixed)
        region = -1 if moved else self.table.find(theta)
        if region < 0:
            why = MOVED.format(self.fixed) if moved else OUTSIDE
            return NoPlan(why, self._lqr(now.estimate, w, False, r, dv, None))
        inputs = self.table.plan(region, theta).reshape(self.problem.horizon, -1)
        counted = np.ones(self.lifted.n_y, dtype=bool)
        return Plan(
            inputs + self.model.u_op, "optimal", 0, 0.0, float("nan"), 0.0,
            LazyPrediction(self, now.estimate, w),
            LinearAim(self.target, self.reachable, r, r, d, dv, None, counted),
        )  # fmt: skip


def sees_last_input(law: LinearLaw) -> bool:
    """Whether the last input is a parameter."""
    return law.policy.has_rate_cost or law.problem.bounds_rate


def explicit_law(
    law: LinearLaw, box: tuple[FloatArray, FloatArray], fixed: FloatArray | None, most: int
) -> ExplicitLaw:
    """Explore the regions of a law in a box of parameters `(low, high)`."""
    middle, half = 0.5 * (box[0] + box[1]), 0.5 * (box[1] - box[0])
    problem, on_inputs, free = _parametric(law, middle, half, fixed)
    found = regions_of(problem, most)
    # Where no region is, nothing can be looked up: an empty table has one that is nowhere.
    starts = np.cumsum([0, *[len(r.heights) for r in found]])
    table = RegionTable(
        middle, half, np.vstack([r.rows for r in found]), np.concatenate([r.heights for r in found]), starts,
        np.array([on_inputs @ r.gain + free[:, :-1] for r in found]),
        np.array([on_inputs @ r.offset + free[:, -1] for r in found]),
    )  # fmt: skip
    return with_table(law, table, fixed)


def with_table(law: LinearLaw, table: RegionTable, fixed: FloatArray | None) -> ExplicitLaw:
    """The same law with its plans in a table."""
    known: dict[str, Any] = {f.name: getattr(law, f.name) for f in fields(LinearLaw)}
    known |= {"moved": {}, "partial": {}}
    return ExplicitLaw(**known, table=table, fixed=fixed)


def _parametric(
    law: LinearLaw, middle: FloatArray, half: FloatArray, fixed: FloatArray | None
) -> tuple[ParametricQP, FloatArray, FloatArray]:
    """The programme in scaled parameters; inputs from its variables, and from `[theta; 1]` beside them."""
    qp, model, lifted = law.qp, law.model, law.lifted
    n_x, n_y, n_u, n_v = lifted.n_x, lifted.n_y, model.n_u, qp.n_v
    n_theta = len(middle)
    # Known parts (gradient, then rows) as maps of [theta; 1].
    on_x = linalg.solve(law.estimator.basis.T, qp.online_set_point.T).T
    at_x = (on_x @ (-law.estimator.offset)) + qp.constant_set_point
    scale = lifted.observables.x_scale
    known = np.zeros((len(on_x), n_theta + 1))
    known[:, :n_x] = on_x / scale
    known[:, -1] = at_x - known[:, :n_x] @ lifted.x_op
    if fixed is None:
        known[:, n_x : n_x + n_y] = qp.from_set_point
    else:
        held, wish = law.reachable.nearest(fixed, model.v_op[:0], model.v_op[:0], None)
        known[:, -1] += qp.from_set_point @ held
        if wish is not None:
            known[:, -1] += qp.from_wish_set_point @ wish
    gradient = known[:n_v].copy()
    shift = np.zeros((n_v + len(qp.rows), n_theta + 1))
    shift[n_v + qp.n_static :] = -known[n_v:]
    if sees_last_input(law):
        last = slice(n_theta - n_u, n_theta)
        if law.policy.has_rate_cost:
            gradient[:, last] += qp.from_last_input
            gradient[:, -1] -= qp.from_last_input @ model.u_op
        if qp.n_rate:
            first = slice(n_v + qp.n_inputs, n_v + qp.n_inputs + n_u)
            factors = np.diag(qp.row_scale[qp.n_inputs : qp.n_inputs + n_u])
            shift[first, last] += factors
            shift[first, -1] -= factors @ model.u_op
    to_scaled = np.zeros((n_theta + 1, n_theta + 1))
    to_scaled[:-1, :-1], to_scaled[:-1, -1], to_scaled[-1, -1] = np.diag(half), middle, 1.0
    gradient, shift, known = gradient @ to_scaled, shift @ to_scaled, known @ to_scaled
    A = np.vstack([np.eye(n_v), qp.rows])
    up, down = np.isfinite(qp.upper), np.isfinite(qp.lower)
    rows = np.vstack([A[up], -A[down]])
    S = np.vstack([shift[up], -shift[down]])
    b = np.concatenate([qp.upper[up], -qp.lower[down]]) + S[:, -1]
    problem = ParametricQP(DenseQP.of(qp.H, rows), gradient[:, -1], gradient[:, :-1], b, S[:, :-1])
    blocks = np.eye(n_v) if law.blocking is None else law.blocking
    if not qp.n_inputs:
        return problem, blocks * qp.scale, np.zeros((len(blocks), n_theta + 1))
    own = blocks / qp.row_scale[:n_v]
    return problem, own @ qp.rows[:n_v], own @ known[n_v : 2 * n_v]
