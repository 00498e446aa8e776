"""The law of `LinearMPC`: a condensed problem, what is known at a sample folded into few products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.info import NOT_FINITE
from koopctrl.controllers.mpc.condensing import CondensedMPC, condense
from koopctrl.controllers.mpc.law import NoPlan, Plan, PredictiveLaw, Situation
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.qp.soft import StepSolver
from koopctrl.controllers.riccati import Riccati, solve_riccati
from koopctrl.controllers.steady_state.aim import LinearAim
from koopctrl.controllers.steady_state.linear import SteadyTarget, steady_target
from koopctrl.controllers.steady_state.reachable import ReachableSetPoint
from koopctrl.errors import SolverError
from koopctrl.identification.record_leverage import RecordLeverage
from koopctrl.lifted.model import LiftedModel

# A set-point within reach, the input wished for, and what is known of the QP from both.
Moved = tuple[FloatArray, FloatArray | None, FloatArray]
# So many laws with outputs left out are kept beside the whole one.
_MAX_PARTIAL = 16


@dataclass(frozen=True)
class LinearPrediction:
    """A plan's outputs on the lifted model.

    Attributes
    ----------
    model : Augmented
    begin : (n_z + n_d,) array
        State when the first input begins to act.
    told : (N, n_v) array
        Measured disturbances from then on, in deviations.
    records : RecordLeverage or None
        In deviations of states and of all inputs.
    channels : InputChannels or None
        Where inputs are of two kinds.
    """

    model: Augmented
    begin: FloatArray
    told: FloatArray
    records: RecordLeverage | None = None
    channels: InputChannels | None = None

    def outputs(self, inputs: FloatArray) -> FloatArray:
        """See `Prediction`."""
        return self._states(inputs) @ self.model.C.T + self.model.lifted.y_op

    def leverage(self, inputs: FloatArray) -> float:
        """See `Prediction`; of the lifted model's own prediction."""
        records = self.records
        if records is None:
            return float("nan")
        channels = self.channels
        du = inputs - self.model.u_op
        joined = du if channels is None else channels.join(du, self.told)
        z = self._states(inputs)[:-1, : records.x.shape[1]]
        return float(records(z, joined).max())

    def _states(self, inputs: FloatArray) -> FloatArray:
        """Coordinates, `(N + 1, n_z + n_d)`."""
        model = self.model
        z = np.empty((len(inputs) + 1, len(model.A)))
        z[0] = self.begin
        for k, u in enumerate(inputs):
            z[k + 1] = model.A @ z[k] + model.B @ (u - model.u_op) + model.c
            if model.n_v:
                z[k + 1] += model.Bv @ self.told[k]
        return z


class LazyPrediction(NamedTuple):
    """The same, with the state worked out only where it is asked for."""

    law: LinearLaw
    p: FloatArray
    w: FloatArray

    def outputs(self, inputs: FloatArray) -> FloatArray:
        """See `Prediction`."""
        return self._full.outputs(inputs)

    def leverage(self, inputs: FloatArray) -> float:
        """See `Prediction`."""
        return self._full.leverage(inputs)

    @property
    def _full(self) -> LinearPrediction:
        law = self.law
        model, delay = law.model, law.problem.delay
        told = self.w[delay * model.n_u :].reshape(-1, model.n_v)[delay:] if model.n_v else np.empty((0, 0))
        return LinearPrediction(model, law.begin_state(self.p, self.w), told, law.records, law.channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLaw(PredictiveLaw):
    """Numbers of a `LinearMPC`.

    Attributes
    ----------
    lifted : LiftedModel
    model : Augmented
        With the estimator's disturbances, its inputs told apart.
    riccati : Riccati or None
        LQR gain and cost to go, where the end of the horizon is weighted by it.
    target : SteadyTarget
    reachable : ReachableSetPoint
    qp : CondensedMPC
    solver : StepSolver
        Workspace of the QP: it decides nothing.
    counted : (n_y,) bool array
        Outputs that are tracked.
    moved, partial : dict
        What has been worked out before: set-points within reach, and laws without some outputs.
    """

    lifted: LiftedModel
    model: Augmented
    estimator: LinearEstimator
    riccati: Riccati | None
    target: SteadyTarget
    reachable: ReachableSetPoint
    qp: CondensedMPC
    solver: StepSolver
    solver_name: str
    solver_options: Mapping[str, Any] | None
    counted: np.ndarray
    moved: dict[bytes, Moved] = field(default_factory=dict, repr=False)
    partial: dict[bytes, LinearLaw] = field(default_factory=dict, repr=False)

    @cached_property
    def seen(self) -> tuple[FloatArray, FloatArray] | None:
        """See `PredictiveLaw`."""
        training = self.lifted.training
        if training is None or not len(training[0]):
            return None
        y = self.lifted.output(training[0], training[1] + self.lifted.u_op)
        return y.min(axis=0), y.max(axis=0)

    @cached_property
    def records(self) -> RecordLeverage | None:
        """Of the state's own coordinates and all inputs, in deviations from the operating point."""
        training = self.lifted.training
        if training is None or not len(training[0]):
            return None
        return RecordLeverage(training[0][:, : self.lifted.n_x], training[1])

    @cached_property
    def blocking(self) -> FloatArray | None:
        """Map from block values to inputs; None where every input is its own block."""
        problem = self.problem
        return problem.blocking() if len(problem.blocks) < problem.horizon else None

    def plan(self, now: Situation, search: Any) -> tuple[Plan | NoPlan, Any]:
        """See `PredictiveLaw`."""
        if now.asked.tracked is not None:
            asked = replace(now.asked, tracked=None)
            return self.without(now.asked.tracked).plan(now._replace(asked=asked), search)
        return self._plan(now), search

    def _plan(self, now: Situation) -> Plan | NoPlan:
        p, asked = now.estimate, now.asked
        qp, n_v = self.qp, self.qp.n_v
        w, dv = self._known(now)
        d = self.estimator.disturbances(p)
        r, wish = asked.r, None
        if asked.u_r is not None and asked.u_r.ndim == 1:
            wish = asked.u_r - self.model.u_op
        if asked.is_preview:
            known = qp.online_preview @ p + qp.constant_preview + qp.from_preview @ r.ravel()
            if wish is not None:
                known += qp.from_wish_preview @ wish
            from_known = qp.from_known_preview
        else:
            r, wish, wanted = self._nearest(r, d, dv, wish)
            known = qp.online_set_point @ p
            known += wanted
            from_known = qp.from_known_set_point
        if len(w):
            known += from_known @ w
        g = known[:n_v]
        if asked.u_r is not None and asked.u_r.ndim == 2:
            g = g + qp.from_input_preview @ (asked.u_r - self._steady_inputs(r, d, dv, wish)).ravel()
        if self.policy.has_rate_cost:
            g = g + qp.from_last_input @ (now.last - self.model.u_op)
        lower, upper = qp.lower, qp.upper
        if len(qp.rows):
            lower, upper = lower.copy(), upper.copy()
            if qp.n_rate:
                last = now.last - self.model.u_op
                first = slice(qp.n_inputs, qp.n_inputs + len(last))
                shift = last * qp.row_scale[first]
                lower[n_v:][first] += shift
                upper[n_v:][first] += shift
            lower[n_v + qp.n_static :] -= known[n_v:]
            upper[n_v + qp.n_static :] -= known[n_v:]
        if not math.isfinite(np.add.reduce(known)):
            return NoPlan(NOT_FINITE, spoilt=True)
        answer = self.solver.solve(g, lower, upper, now.deadline)
        if answer.x is None:
            return NoPlan(answer.status, self._lqr(p, w, asked.is_preview, r, dv, wish), spoilt=True)
        v = qp.inputs(answer.x, known)
        inputs = (v if self.blocking is None else self.blocking @ v).reshape(self.problem.horizon, -1)
        objective = float(answer.x @ (qp.H @ answer.x) + 2.0 * (answer.x @ g))
        end = r[-1] if asked.is_preview else r
        wanted = asked.r[-1] if asked.is_preview else asked.r
        return Plan(
            inputs + self.model.u_op, answer.status, answer.n_solves, answer.kkt_residual, objective,
            answer.slack, LazyPrediction(self, p, w),
            LinearAim(self.target, self.reachable, wanted, end, d, dv, wish, self.counted),
        )  # fmt: skip

    def _nearest(self, r: FloatArray, d: FloatArray, dv: FloatArray, wish: FloatArray | None) -> Moved:
        """See `ReachableSetPoint`, and what is known from it; what has been asked is not worked out again."""
        key = b"|".join(b"-" if part is None else part.tobytes() for part in (r, d, dv, wish))
        found = self.moved.get(key)
        if found is None:
            if len(self.moved) >= _MAX_PARTIAL:
                self.moved.pop(next(iter(self.moved)))
            r, wish = self.reachable.nearest(r, d, dv, wish)
            qp = self.qp
            wanted = qp.constant_set_point + qp.from_set_point @ r
            if wish is not None:
                wanted += qp.from_wish_set_point @ wish
            found = self.moved[key] = r, wish, wanted
        return found

    def _known(self, now: Situation) -> tuple[FloatArray, FloatArray]:
        """`w` (inputs on their way, then measured disturbances) and the last disturbance, in deviations."""
        model = self.model
        if not self.problem.delay and not model.n_v:
            return model.v_op, model.v_op
        pending, dv = now.history.pending - model.u_op, now.v - model.v_op
        return np.concatenate([pending.ravel(), dv.ravel()]), dv[-1]

    def _steady_inputs(
        self, r: FloatArray, d: FloatArray, dv: FloatArray, wish: FloatArray | None
    ) -> FloatArray:
        """Inputs that the cost is measured from, one row for each of a preview's."""
        if r.ndim == 1:
            return self.target(r, d, dv, wish)[1]
        at_zero = self.target(np.zeros_like(r[0]), d, dv, wish)[1]
        return r[:-1] @ self.target.u_gain.T + at_zero

    def _lqr(
        self, p: FloatArray, w: FloatArray, is_preview: bool, r: FloatArray, dv: FloatArray,
        wish: FloatArray | None,
    ) -> FloatArray | None:  # fmt: skip
        """What the LQR would send, from the sample on which it acts."""
        if self.riccati is None:
            return None
        z = self.begin_state(p, w)[: self.lifted.n_z]
        z_s, u_s, _ = self.target(r[0] if is_preview else r, self.estimator.disturbances(p), dv, wish)
        return u_s - self.riccati.K @ (z - z_s)

    def begin_state(self, p: FloatArray, w: FloatArray) -> FloatArray:
        """`[z; d]` when the new input begins to act."""
        power, forced = self.qp.ahead
        now = self.estimator.basis @ p + self.estimator.offset
        return now if not self.problem.delay else power @ now + forced[:, 0] + forced[:, 1:] @ w

    def without(self, tracked: np.ndarray) -> LinearLaw:
        """The law in which outputs that are not tracked have no weight; made once for each choice of them."""
        key = tracked.tobytes() + bytes([tracked.ndim])
        found = self.partial.get(key)
        if found is None:
            problem = untracked_problem(self.problem, tracked, self.lifted.n_y)
            end = tracked if tracked.ndim == 1 else tracked[-1]
            found = build_linear_law(
                self.lifted, problem, self.channels, self.estimator, self.solver_name, self.solver_options,
                end=end, strict=False,
            )  # fmt: skip
            if len(self.partial) >= _MAX_PARTIAL:
                self.partial.pop(next(iter(self.partial)))
            self.partial[key] = found
        return found


def untracked_problem(problem: MPCProblem, tracked: np.ndarray, n_y: int) -> MPCProblem:
    """The problem without weight on outputs where `tracked`, `(n_y,)` or `(N + 1, n_y)`, is false.

    Weights on lifted coordinates stay: they are on no output.
    """
    if problem.Q.shape[1] != n_y:
        return problem
    rows = tracked if tracked.ndim == 1 else tracked[1:]
    keep = np.broadcast_to(rows, (problem.horizon, n_y)).astype(float)
    return replace(problem, Q=problem.Q * keep[:, :, None] * keep[:, None, :])


def build_linear_law(
    lifted: LiftedModel,
    problem: MPCProblem,
    channels: InputChannels,
    estimator: LinearEstimator,
    solver: str,
    solver_options: Mapping[str, Any] | None,
    *,
    riccati: Riccati | None = None,
    end: np.ndarray | None = None,
    strict: bool = True,
) -> LinearLaw:
    """Work out all that a step needs.

    Parameters
    ----------
    lifted, problem, channels, estimator, solver, solver_options
        See `LinearLaw`.
    riccati : Riccati, optional
        The terminal weight, where it is known already.
    end : (n_y,) bool array, optional
        Outputs that a steady target is sought for; all by default.
    strict : bool
        Whether a terminal weight that does not exist is an error; else the end is weighted as other steps.

    Raises
    ------
    SolverError
        If the terminal weight does not exist.
    """
    model = estimator.model.select(channels)
    Q, R = problem.Q[-1], problem.input_weight
    on_outputs = len(Q) == lifted.n_y
    if problem.terminal == "riccati" and riccati is None:
        lifted_q = lifted.C.T @ Q @ lifted.C if on_outputs else Q
        try:
            riccati = solve_riccati(
                lifted.A, model.B[: lifted.n_z], lifted_q, R, "the lifted pair (A, B)", warn=strict
            )
        except SolverError as error:
            if strict:
                raise SolverError(f"{error}; or set terminal='none'") from error
    weight = Q if on_outputs else np.eye(lifted.n_y)
    if end is not None:
        weight = weight * end * end[:, None]
    target = steady_target(model, weight, R)
    reachable = ReachableSetPoint(target, model, problem.u_min, problem.u_max, R)
    P = None if riccati is None else riccati.P
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            qp = condense(model, problem, target, P, estimator.basis, estimator.offset)
    except np.linalg.LinAlgError as error:
        raise SolverError(_lost(model.A, problem.horizon, error)) from error
    n_rows = len(qp.rows)
    n_soft = n_rows - qp.n_hard if problem.soft else 0
    bounded = (np.isfinite(side[qp.n_v :]) for side in (qp.lower, qp.upper))
    steps = StepSolver(qp.n_v, n_rows, n_soft, solver, solver_options, problem.max_solve_time, *bounded)
    inputs = (qp.n_inputs, qp.width, qp.n_inputs > 0)
    try:
        steps.load(qp.H, qp.rows, qp.row_scale, problem.row_soft_weights, inputs)
    except np.linalg.LinAlgError as error:
        raise SolverError(_lost(model.A, problem.horizon, error)) from error
    counted = np.ones(lifted.n_y, dtype=bool) if end is None else end
    return LinearLaw(
        lifted=lifted, model=model, problem=problem, channels=channels, estimator=estimator, riccati=riccati,
        target=target, reachable=reachable, qp=qp, solver=steps, solver_name=solver,
        solver_options=solver_options, counted=counted, output_names=lifted.output_names,
        input_names=lifted.input_names, dt=lifted.dt, set_point=lifted.y_op.copy(), u_rest=model.u_op,
        v_rest=model.v_op,
    )  # fmt: skip


def _lost(A: FloatArray, horizon: int, error: Exception) -> str:
    radius = float(np.abs(np.linalg.eigvals(A)).max(initial=0.0))
    return (
        f"{error}: with a spectral radius of {radius:.3g} the model grows until its predictions over the "
        f"horizon of {horizon} samples are lost in rounding. Shorten the horizon, or lower the lifted "
        "dimension with a larger rank_tol"
    )
