"""LinearMPC: predictive control on the linear face, condensed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_integer
from koopctrl.controllers.estimation.measurement import Observer, StateSource, check_controllable
from koopctrl.controllers.mpc.base import NoPlan, Plan, PredictiveController
from koopctrl.controllers.mpc.channels import choose_channels
from koopctrl.controllers.mpc.condensing import condense
from koopctrl.controllers.mpc.info import NO_MEASUREMENT, NOT_FINITE
from koopctrl.controllers.mpc.problem import Bounds, describe_problem, stage_weights
from koopctrl.controllers.mpc.request import Request
from koopctrl.controllers.qp.soft import StepSolver
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.steady_state.linear import steady_target
from koopctrl.controllers.steady_state.reachable import ReachableSetPoint
from koopctrl.errors import SolverError
from koopctrl.lifted.model import LiftedModel


class LinearMPC(PredictiveController):
    r"""Model predictive controller on a lifted model.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - y_s|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2 + |z_N - z_s|_P^2

    subject to the lifted model and the bounds. For a constant set-point `(z_s, u_s, y_s)` is its steady
    target, which for an unreachable one is the nearest reachable; along a preview the outputs follow the
    reference itself.

    Parameters
    ----------
    lifted : LiftedModel
        From `model.lift_at(...)` or `LiftedModel.from_matrices(...)`.
    horizon : int
        `N`, in samples.
    Q : scalar, (n_y,), (n_y, n_y) or (n_z, n_z) array_like
        Weight on outputs or on lifted coordinates; of shape `(N, n_y, n_y)` or `(N, n_z, n_z)` one a step,
        the first on the next sample. The last counts for steady targets and the Riccati weight.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on inputs, positive definite; or `(N, n_u, n_u)`, one a step.
    R_rate : scalar, (n_u,) or (n_u, n_u) array_like, optional
        Weight `S` on input moves; or `(N, n_u, n_u)`, one a step.
    u_min, u_max, du_min, du_max : scalar or (n_u,) array_like, optional
        Hard bounds on inputs and on their moves a sample.
    y_min, y_max : scalar or (n_y,) array_like, optional
        Bounds on outputs at steps 1 to N; relaxed where they cannot be held, and only there, unless
        `soft=False`.
    constraints : (E, low, high), optional
        Further bounds `low <= E x <= high` on combinations of the states; soft or hard as those on outputs.
    terminal_set : (E, low, high), optional
        Bounds `low <= E (x_N - x_s) <= high` on the distance of the last state from its steady target; soft
        or hard as the others.
    soft : bool
        Whether bounds on outputs and states may be relaxed. If not, a step without a solution falls back.
    soft_weights : (float, float)
        Linear and quadratic cost of relaxing by one unit, relative to the largest entry of `Q`.
    blocks : int or sequence of int, optional
        A control horizon (inputs are held after it), or the lengths of blocks over which inputs are held.
    terminal : {"riccati", "none"}
        Weight at the end of the horizon: LQR's cost to go, or `Q`.
    measured_disturbances : sequence of str or int, optional
        Names or positions of the model's inputs that are not moved but measured; `control` is then told them,
        with a preview if there is one.
    input_delay : int
        Samples that pass before an input acts on the plant, where the model does not know of them.
    max_solve_time : float, optional
        Seconds after which no further QP is begun; without a solution by then, `control` falls back.
    observer : KalmanFilter, optional
        Estimates the lifted state; by default measurements are lifted.
    offset_free : bool, float or "input"
        Without an observer: whether what the model leaves unexplained from one sample to the next is taken as
        a constant disturbance, so that neither a constant load nor a wrong model leaves a steady-state error;
        a number in (0, 1] is the gain with which it is averaged. `"input"` takes it as a constant load on the
        inputs, estimated from the outputs: exact for such loads at the operating point only, but safe far
        from it too, where the features' error is taken for a disturbance otherwise; for models without input
        lags. With an observer: `KalmanFilter(disturbance=...)`, the choice for lag windows.
    solver : str
        Name of a CasADi conic plugin.
    solver_options : mapping, optional
        Passed to the plugin.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    K, P : arrays or None
        LQR gain and cost to go, if `terminal="riccati"`.
    set_point : (n_y,) array
        Where no reference is given: `y_op`.

    Raises
    ------
    OptionError, ShapeError, DataError
        If the problem cannot be posed, with the reason.
    SolverError
        If the terminal weight does not exist: then use `terminal="none"`.

    Notes
    -----
    Where no certified solution is found, `control` returns the next input of the last plan, else the
    saturated LQR's, else the last input, and says so in `info.status` and `info.reason`. Rawlings, Mayne &
    Diehl, *Model Predictive Control*, 2nd ed., 2017; Korda & Mezic, *Linear predictors for nonlinear
    dynamical systems*, Automatica 2018.
    """

    def __init__(
        self,
        lifted: LiftedModel,
        horizon: int,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        R_rate: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        du_min: ArrayLike | None = None,
        du_max: ArrayLike | None = None,
        y_min: ArrayLike | None = None,
        y_max: ArrayLike | None = None,
        constraints: Bounds | None = None,
        terminal_set: Bounds | None = None,
        soft: bool = True,
        soft_weights: tuple[float, float] = (1e3, 1e3),
        blocks: int | Sequence[int] | None = None,
        terminal: str = "riccati",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        input_delay: int = 0,
        observer: Observer | None = None,
        offset_free: bool | float | str = False,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
        max_solve_time: float | None = None,
    ) -> None:
        check_controllable(lifted)
        channels = choose_channels(lifted.input_names, measured_disturbances)
        source = self._source = StateSource(lifted, observer, offset_free, channels)
        model = source.model
        self.lifted, self.dt, self.set_point = lifted, lifted.dt, lifted.y_op.copy()
        self.n_measured, self.output_names = source.n_measured, lifted.output_names
        self.observer = source.observer
        horizon = check_integer(horizon, "horizon", low=1)
        problem = describe_problem(
            lifted.n_y, lifted.n_x, channels.n_u, horizon=horizon,
            Q=stage_weights(Q, "Q", (lifted.n_y, lifted.n_z), horizon), R=R, R_rate=R_rate, u_min=u_min,
            u_max=u_max, du_min=du_min, du_max=du_max, y_min=y_min, y_max=y_max, constraints=constraints,
            terminal_set=terminal_set, soft=soft, soft_weights=soft_weights, blocks=blocks, terminal=terminal,
            input_delay=input_delay, max_solve_time=max_solve_time,
            centre=np.concatenate([lifted.y_op, lifted.x_op]),
        )  # fmt: skip
        self._begin(problem, channels, lifted.input_names, model.u_op, model.v_op, (y_min, y_max))
        self.Q = problem.Q[-1]
        on_outputs = len(self.Q) == lifted.n_y
        self.K: FloatArray | None = None
        self.P: FloatArray | None = None
        if terminal == "riccati":
            lifted_q = lifted.C.T @ self.Q @ lifted.C if on_outputs else self.Q
            try:
                found = solve_riccati(
                    lifted.A, model.B[: lifted.n_z], lifted_q, self.R, "the lifted pair (A, B)"
                )
            except SolverError as error:
                raise SolverError(f"{error}; or set terminal='none'") from error
            self.K, self.P = found.K, found.P
        weight = self.Q if on_outputs else np.eye(lifted.n_y)
        self.target = steady_target(model, weight, self.R)
        self._reachable = ReachableSetPoint(self.target, model, weight, self.R, problem.u_min, problem.u_max)
        qp = self._qp = condense(model, problem, self.target, self.P, source.basis, source.offset)
        n_rows = len(qp.rows)
        n_soft = n_rows - qp.n_hard if problem.soft else 0
        bounded = (np.isfinite(side[qp.n_v :]) for side in (qp.lower, qp.upper))
        self._solver = StepSolver(
            qp.n_v, n_rows, n_soft, solver, solver_options, problem.max_solve_time, *bounded
        )
        self._solver.load(qp.H, qp.rows, qp.row_scale, problem.row_soft_weights)
        self._blocking = problem.blocking() if len(problem.blocks) < problem.horizon else None
        self.reset()

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        super().reset()
        self._source.reset()
        self._solver.reset()

    def _solve(
        self, y: FloatArray, acted: FloatArray | None, asked: Request, deadline: float
    ) -> Plan | NoPlan:
        p = self._source.read(y, acted)
        if p is None:
            return NoPlan(NO_MEASUREMENT)
        qp, n_v = self._qp, self._qp.n_v
        w, dv = self._known(asked)
        d = self._source.disturbance(p)
        r, wish = asked.r, None
        if asked.u_r is not None and asked.u_r.ndim == 1:
            wish = asked.u_r - self._source.model.u_op
        if asked.is_preview:
            known = qp.online_preview @ p + qp.constant_preview + qp.from_preview @ r.ravel()
            from_wish, from_known = qp.from_wish_preview, qp.from_known_preview
        else:
            r, wish = self._reachable.nearest(r, d, dv, wish)
            known = qp.online_set_point @ p + qp.constant_set_point + qp.from_set_point @ r
            from_wish, from_known = qp.from_wish_set_point, qp.from_known_set_point
        if wish is not None:
            known += from_wish @ wish
        if len(w):
            known += from_known @ w
        g = known[:n_v]
        if asked.u_r is not None and asked.u_r.ndim == 2:
            g = g + qp.from_input_preview @ (asked.u_r - self._steady_inputs(r, d, dv, wish)).ravel()
        last = self._memory.effective_last() - self._source.model.u_op
        if self._memory.has_rate_cost:
            g = g + qp.from_last_input @ last
        lower, upper = qp.lower, qp.upper
        if len(qp.rows):
            lower, upper = lower.copy(), upper.copy()
            if qp.n_rate:
                first = slice(qp.n_inputs, qp.n_inputs + len(last))
                shift = last * qp.row_scale[first]
                lower[n_v:][first] += shift
                upper[n_v:][first] += shift
            lower[n_v + qp.n_static :] -= known[n_v:]
            upper[n_v + qp.n_static :] -= known[n_v:]
        if not np.isfinite(known.sum()):
            self._source.forget_absurd(y)
            return NoPlan(NOT_FINITE)
        answer = self._solver.solve(g, lower, upper, deadline)
        if answer.x is None:
            self._source.forget_absurd(y)
            return NoPlan(answer.status, self._lqr(p, w, asked, r, dv, wish))
        v = qp.inputs(answer.x, known)
        inputs = (v if self._blocking is None else self._blocking @ v).reshape(self.horizon, -1)
        objective = 2.0 * float(answer.x @ (0.5 * (qp.H @ answer.x) + g))
        return Plan(
            inputs + self._source.model.u_op, answer.status, answer.n_solves, answer.kkt_residual, objective,
            answer.slack, self._predictor(p, w),
        )  # fmt: skip

    def _known(self, asked: Request) -> tuple[FloatArray, FloatArray]:
        """`w` (inputs on their way, then measured disturbances) and the last disturbance, in deviations."""
        model = self._source.model
        if not self.problem.delay and not model.n_v:
            return model.v_op, model.v_op
        pending, dv = self._memory.pending - model.u_op, asked.v - model.v_op
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
        self,
        p: FloatArray,
        w: FloatArray,
        asked: Request,
        r: FloatArray,
        dv: FloatArray,
        wish: FloatArray | None,
    ) -> FloatArray | None:
        """What the LQR would send, from the sample on which it acts."""
        if self.K is None:
            return None
        z = self._begin_state(p, w)[: self.lifted.n_z]
        z_s, u_s, _ = self.target(r[0] if asked.is_preview else r, self._source.disturbance(p), dv, wish)
        return u_s - self.K @ (z - z_s)

    def _begin_state(self, p: FloatArray, w: FloatArray) -> FloatArray:
        """`[z; d]` when the new input begins to act."""
        power, forced = self._qp.ahead
        now = self._source.basis @ p + self._source.offset
        return now if not self.problem.delay else power @ now + forced[:, 0] + forced[:, 1:] @ w

    def _predictor(self, p: FloatArray, w: FloatArray) -> Callable[[FloatArray], FloatArray]:
        model, delay = self._source.model, self.problem.delay
        begin = self._begin_state
        told = w[delay * model.n_u :].reshape(-1, model.n_v)[delay:] if model.n_v else None

        def predict(inputs: FloatArray) -> FloatArray:
            z = np.empty((len(inputs) + 1, len(model.A)))
            z[0] = begin(p, w)
            for k, u in enumerate(inputs):
                z[k + 1] = model.A @ z[k] + model.B @ (u - model.u_op) + model.c
                if told is not None:
                    z[k + 1] += model.Bv @ told[k]
            return z @ model.C.T + model.lifted.y_op

        return predict
