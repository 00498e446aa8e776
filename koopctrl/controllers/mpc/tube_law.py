r"""The law of `TubeMPC`: a condensed problem in what is added to a feedback, and in an artificial target.

.. math::
    \min_{c, b} \sum_{k<N} |c_k|_{R + B'PB}^2 + |z_0 - z_s(b)|_P^2 + \tau |y_s(b) - r|_W^2

which is the infinite-horizon cost to the artificial target (whatever is not fed back is `c`), and what it is
worth to have the target where it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.info import NOT_FINITE
from koopctrl.controllers.mpc.artificial import ArtificialTargets
from koopctrl.controllers.mpc.law import NoPlan, Plan, PredictiveLaw, Situation
from koopctrl.controllers.mpc.linear_law import LinearPrediction
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.tube_set import TubeSet
from koopctrl.controllers.qp.dense import scale_rows
from koopctrl.controllers.qp.soft import StepSolver
from koopctrl.controllers.riccati import Riccati
from koopctrl.controllers.steady_state.linear import SteadyTarget
from koopctrl.lifted.model import LiftedModel

# What the distance of the artificial target costs, in the largest cost to go over the same distance.
_OFFSET = 1e4
# Cost of leaving a bound by its unit, linear and quadratic, in what inputs cost at theirs.
_RELAXED = 1e3


class TubeAim(NamedTuple):
    """The artificial target."""

    law: TubeLaw
    b: FloatArray
    wanted: FloatArray

    @property
    def output(self) -> FloatArray:
        """Steady outputs aimed at."""
        return self.law.family.outputs(self.b)

    @property
    def reachable(self) -> bool:
        """Whether the set-point is a steady state with room for the tube."""
        y = self.law.target(self.wanted)[2]
        size = np.abs(self.law.target.y_gain) @ np.abs(self.wanted) + np.abs(self.wanted)
        held = (np.abs(y - self.wanted) <= 1e-6 * size)[self.law.counted].all()
        return bool(held) and self.law.sets.targets.holds(
            np.concatenate([np.zeros(self.law.lifted.n_z), self.law.family.from_reference @ self.wanted])
        )


@dataclass(frozen=True)
class TubeQP:
    """The quadratic programme: rows are inputs step by step, combinations step by step, the terminal set.

    Attributes
    ----------
    H, scale : arrays
        Hessian with a unit diagonal, `v = scale x`.
    g_state, g_reference, g_constant : arrays
        Gradient from `z_0`, from `r`, and alone.
    rows, row_scale : arrays
        Rows of norm one, and the factors that made them so.
    free, level : (n_rows, n_z) and (n_rows,) arrays
        Rows' own values from `z_0`, and alone; scaled.
    lower, upper : arrays
        Of variables and rows, scaled.
    inputs, inputs_free, inputs_level : arrays
        The plan from `v`, from `z_0`, and alone, in deviations.
    """

    H: FloatArray
    scale: FloatArray
    g_state: FloatArray
    g_reference: FloatArray
    g_constant: FloatArray
    rows: FloatArray
    row_scale: FloatArray
    free: FloatArray
    level: FloatArray
    lower: FloatArray
    upper: FloatArray
    inputs: FloatArray
    inputs_free: FloatArray
    inputs_level: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class TubeLaw(PredictiveLaw):
    """Numbers of a `TubeMPC`.

    Attributes
    ----------
    relaxed : (2, n_rows - n_u) array
        Linear and quadratic cost of relaxing rows, all but those of the first input.
    """

    lifted: LiftedModel
    model: Augmented
    estimator: LinearEstimator
    riccati: Riccati
    target: SteadyTarget
    family: ArtificialTargets
    weight: FloatArray
    sets: TubeSet
    qp: TubeQP
    relaxed: FloatArray
    solver: StepSolver
    solver_name: str
    solver_options: Mapping[str, Any] | None
    counted: np.ndarray
    partial: dict[bytes, TubeLaw] = field(default_factory=dict, repr=False)

    def plan(self, now: Situation, search: Any) -> tuple[Plan | NoPlan, Any]:
        """See `PredictiveLaw`; of a preview the last row counts."""
        tracked = now.asked.tracked
        if tracked is not None:
            ends = tracked if tracked.ndim == 1 else tracked[-1]
            asked = replace(now.asked, tracked=None)
            return self.without(ends).plan(now._replace(asked=asked), search)
        r = now.asked.r[-1] if now.asked.is_preview else now.asked.r
        z = self.estimator.basis @ now.estimate + self.estimator.offset
        qp = self.qp
        g = qp.g_state @ z + qp.g_reference @ r + qp.g_constant
        shift = qp.free @ z + qp.level
        if not np.isfinite(shift).all() or not np.isfinite(g).all():
            return NoPlan(NOT_FINITE, spoilt=True), search
        lower, upper = qp.lower.copy(), qp.upper.copy()
        lower[len(g) :] -= shift
        upper[len(g) :] -= shift
        answer = self.solver.solve(g, lower, upper, now.deadline)
        if answer.x is None:
            z_s, u_s, _ = self.target(r)
            return NoPlan(answer.status, u_s - self.riccati.K @ (z - z_s), spoilt=True), search
        v = answer.x * qp.scale
        inputs = (qp.inputs @ v + qp.inputs_free @ z + qp.inputs_level).reshape(self.problem.horizon, -1)
        objective = float(answer.x @ (qp.H @ answer.x) + 2.0 * (answer.x @ g))
        b = v[len(v) - self.family.n_b :]
        return Plan(
            inputs + self.model.u_op, answer.status, answer.n_solves, answer.kkt_residual, objective,
            answer.slack, LinearPrediction(self.model, z, np.empty((len(inputs), 0))), TubeAim(self, b, r),
        ), search  # fmt: skip

    def without(self, tracked: np.ndarray) -> TubeLaw:
        """The law with no weight on the distance of targets from what is not tracked."""
        key = tracked.tobytes()
        found = self.partial.get(key)
        if found is None:
            found = build_tube_law(
                self.lifted, self.problem, self.channels, self.estimator, self.riccati, self.target,
                self.family, self.weight, self.sets, self.solver_name, self.solver_options, counted=tracked,
            )  # fmt: skip
            if len(self.partial) >= 16:
                self.partial.pop(next(iter(self.partial)))
            self.partial[key] = found
        return found


def build_tube_law(
    lifted: LiftedModel,
    problem: MPCProblem,
    channels: InputChannels,
    estimator: LinearEstimator,
    riccati: Riccati,
    target: SteadyTarget,
    family: ArtificialTargets,
    weight: FloatArray,
    sets: TubeSet,
    solver: str,
    solver_options: Mapping[str, Any] | None,
    *,
    counted: np.ndarray | None = None,
) -> TubeLaw:
    """Work out all that a step needs from the sets."""
    model = estimator.model.select(channels)
    counted = np.ones(lifted.n_y, dtype=bool) if counted is None else counted
    qp, weights = _condensed(model, problem, riccati, family, weight * counted * counted[:, None], sets)
    n_v, n_rows, n_hard = len(qp.H), len(qp.rows), problem.n_u
    bounded = (np.isfinite(side[n_v:]) for side in (qp.lower, qp.upper))
    steps = StepSolver(n_v, n_rows, n_rows - n_hard, solver, solver_options, problem.max_solve_time, *bounded)
    ranges = (qp.upper - qp.lower)[n_v : n_v + n_hard]
    width = float(np.min(ranges[ranges > 0.0], initial=np.inf))
    steps.load(qp.H, qp.rows, qp.row_scale, weights, (n_hard, width, False))
    return TubeLaw(
        lifted=lifted, model=model, problem=problem, channels=channels, estimator=estimator,
        riccati=riccati, target=target, family=family, weight=weight, sets=sets, qp=qp, relaxed=weights,
        solver=steps,
        solver_name=solver, solver_options=solver_options, counted=counted,
        output_names=lifted.output_names, input_names=lifted.input_names, dt=lifted.dt,
        set_point=lifted.y_op.copy(), u_rest=model.u_op, v_rest=model.v_op,
    )  # fmt: skip


def _condensed(
    model: Augmented,
    problem: MPCProblem,
    riccati: Riccati,
    family: ArtificialTargets,
    tracked: FloatArray,
    sets: TubeSet,
) -> tuple[TubeQP, FloatArray]:
    """The programme, and what relaxing its rows costs."""
    N, n_u, K, P = problem.horizon, problem.n_u, riccati.K, riccati.P
    n_z, n_y, B = len(P), len(tracked), model.B[: len(P)]
    n_v = N * n_u + family.n_b
    weight = problem.R[-1] + B.T @ P @ B
    # Distance from the target, e_k, from v = [c; b] and from z_0, and alone.
    on_v, on_z, alone = np.zeros((n_z, n_v)), np.eye(n_z), -family.z_0
    on_v[:, N * n_u :] = -family.Z
    inputs, states = [], []
    for k in range(N):
        u = -K @ on_v
        u[:, N * n_u :] += family.U
        u[:, k * n_u : (k + 1) * n_u] += np.eye(n_u)
        inputs.append((u, -K @ on_z, family.u_0 - model.u_op - K @ alone))
        on_v, on_z, alone = sets.A_K @ on_v, sets.A_K @ on_z, sets.A_K @ alone
        on_v[:, k * n_u : (k + 1) * n_u] += B
        seen = sets.rows @ on_v
        seen[:, N * n_u :] += sets.rows @ family.Z
        states.append((seen, sets.rows @ on_z, sets.rows @ (alone + family.z_0) + sets.level))
    at_end = sets.terminal.rows[:, :n_z] @ on_v
    at_end[:, N * n_u :] += sets.terminal.rows[:, n_z:]
    end = (at_end, sets.terminal.rows[:, :n_z] @ on_z, sets.terminal.rows[:, :n_z] @ alone)
    # The bounds of step N are the terminal set's first.
    rows, free, level = (
        np.vstack(
            [part[i] if part[i].ndim == 2 else part[i][:, None] for part in (*inputs, *states[:-1], end)]
        )
        for i in range(3)
    )
    n_terminal, n_e = len(end[0]), len(sets.rows)
    low = np.concatenate([sets.u_low.ravel(), sets.low[1:N].ravel(), np.full(n_terminal, -np.inf)])
    high = np.concatenate([sets.u_high.ravel(), sets.high[1:N].ravel(), sets.terminal.heights])
    through = family.Z.T @ P @ family.Z
    pull = _OFFSET * family.stiffness * family.Y.T @ tracked
    H = np.asarray(linalg.block_diag(*[weight] * N, through + pull @ family.Y))
    scale = 1.0 / np.sqrt(np.diag(H))
    g_state, g_reference, g_constant = np.zeros((n_v, n_z)), np.zeros((n_v, n_y)), np.zeros(n_v)
    g_state[N * n_u :] = -family.Z.T @ P
    g_reference[N * n_u :] = -pull
    g_constant[N * n_u :] = family.Z.T @ P @ family.z_0 + pull @ family.y_0
    units = np.concatenate([
        np.tile(sets.units[n_e:], N), np.tile(sets.units[:n_e], N - 1), sets.terminal.units
    ])  # fmt: skip
    scaled, row_scale = scale_rows(rows * scale, 1.0 / units)
    level_of_cost = float(np.sum(np.diag(weight) * sets.units[n_e:] ** 2))
    soft = units[n_u:]
    weights = _RELAXED * level_of_cost * np.stack([1.0 / soft, 1.0 / soft**2])
    none = np.full(n_v, np.inf)
    qp = TubeQP(
        H=H * scale * scale[:, None], scale=scale, g_state=g_state * scale[:, None],
        g_reference=g_reference * scale[:, None], g_constant=g_constant * scale, rows=scaled,
        row_scale=row_scale, free=free * row_scale[:, None], level=level.ravel() * row_scale,
        lower=np.concatenate([-none, low * row_scale]), upper=np.concatenate([none, high * row_scale]),
        inputs=np.vstack([u for u, _, _ in inputs]), inputs_free=np.vstack([u for _, u, _ in inputs]),
        inputs_level=np.concatenate([u for _, _, u in inputs]),
    )  # fmt: skip
    return qp, weights
