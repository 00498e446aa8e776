"""LinearMPC: predictive control on the linear face, condensed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector
from koopctrl.controllers.condensing import condense
from koopctrl.controllers.info import MPCInfo
from koopctrl.controllers.lqr import output_or_lifted_weight
from koopctrl.controllers.measurement import Observer, StateSource, as_measurement
from koopctrl.controllers.plan import InputMemory, Preview
from koopctrl.controllers.problem import describe_problem
from koopctrl.controllers.qp_step import StepSolver
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.targets import ReachableSetPoint, steady_target
from koopctrl.errors import SolverError
from koopctrl.lifted import LiftedModel

if TYPE_CHECKING:
    import control

    from koopctrl.export.c_code import GeneratedCode


class LinearMPC:
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
        Weight on outputs or on lifted coordinates.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on inputs; positive definite.
    R_rate : scalar, (n_u,) or (n_u, n_u) array_like, optional
        Weight `S` on input moves.
    u_min, u_max, du_min, du_max : scalar or (n_u,) array_like, optional
        Hard bounds on inputs and on their moves a sample.
    y_min, y_max : scalar or (n_y,) array_like, optional
        Bounds on outputs at steps 1 to N; relaxed where they cannot be held, and only there, unless
        `soft=False`.
    constraints : (E, low, high), optional
        Further bounds `low <= E x <= high` on combinations of the states; soft or hard as those on outputs.
    soft : bool
        Whether bounds on outputs and states may be relaxed. If not, a step without a solution falls back.
    soft_weights : (float, float)
        Linear and quadratic cost of relaxing by one unit, relative to the largest entry of `Q`.
    blocks : int or sequence of int, optional
        A control horizon (inputs are held after it), or the lengths of blocks over which inputs are held.
    terminal : {"riccati", "none"}
        Weight at the end of the horizon: LQR's cost to go, or `Q`.
    observer : KalmanFilter, optional
        Estimates the lifted state; by default measurements are lifted.
    offset_free : bool, float or "input"
        Without an observer: whether what the model leaves unexplained from one sample to the next is taken as
        a constant disturbance, so that neither a constant load nor a wrong model leaves a steady-state error;
        a number in (0, 1] is the gain with which it is averaged. `"input"` takes it as a constant load on the
        inputs, estimated from the outputs: exact for such loads at the operating point only, but safe far
        from it too, where the features' error is taken for a disturbance otherwise. With an observer:
        `KalmanFilter(disturbance=...)`.
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
        constraints: tuple[ArrayLike, ArrayLike | None, ArrayLike | None] | None = None,
        soft: bool = True,
        soft_weights: tuple[float, float] = (1e3, 1e3),
        blocks: int | Sequence[int] | None = None,
        terminal: str = "riccati",
        observer: Observer | None = None,
        offset_free: bool | float | str = False,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._source = StateSource(lifted, observer, offset_free)
        self.lifted, self.dt = lifted, lifted.dt
        self.Q, lifted_q = output_or_lifted_weight(Q, lifted)
        problem = self.problem = describe_problem(
            lifted.n_y, lifted.n_x, lifted.n_u, horizon=horizon, Q=self.Q, R=R, R_rate=R_rate, u_min=u_min,
            u_max=u_max, du_min=du_min, du_max=du_max, y_min=y_min, y_max=y_max, constraints=constraints,
            soft=soft, soft_weights=soft_weights, blocks=blocks, terminal=terminal,
        )  # fmt: skip
        self.R, self.horizon = problem.R, problem.horizon
        self.u_min, self.u_max = problem.u_min, problem.u_max
        self.du_min, self.du_max = problem.du_min, problem.du_max
        self.y_min, self.y_max = deepcopy((y_min, y_max))
        self.K: FloatArray | None = None
        self.P: FloatArray | None = None
        if terminal == "riccati":
            try:
                found = solve_riccati(lifted.A, lifted.B, lifted_q, self.R, "the lifted pair (A, B)")
            except SolverError as error:
                raise SolverError(f"{error}; or set terminal='none'") from error
            self.K, self.P = found.K, found.P
        weight = self.Q if len(self.Q) == lifted.n_y else np.eye(lifted.n_y)
        source = self._source
        self.target = steady_target(lifted, weight, self.R, (source.model.Bd, source.model.Cd))
        self._reachable = ReachableSetPoint(self.target, weight, self.R, problem.u_min, problem.u_max)
        qp = self._qp = condense(source.model, problem, self.target, self.P, source.basis, source.offset)
        n_rows = len(qp.rows)
        n_soft = n_rows - qp.n_rate if problem.soft else 0
        self._solver = StepSolver(qp.n_v, n_rows, n_soft, solver, solver_options)
        size = float(np.abs(self.Q).max(initial=0.0)) or 1.0
        linear, quadratic = problem.soft_weights
        self._solver.load(qp.H, qp.rows, qp.row_scale, (linear * size, quadratic * size))
        self._preview = Preview(lifted.n_y, problem.horizon, lifted.y_op)
        self._blocking = problem.blocking() if len(problem.blocks) < problem.horizon else None
        self._memory = InputMemory(problem, lifted.u_op)
        self.reset()

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        self._source.reset()
        self._solver.reset()
        self._memory.reset()
        self.info: MPCInfo | None = None

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest outputs; NaN marks missing ones.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point (`y_op` by default), or preview: row `j` for `j` samples from now; the last row is held.

        Returns
        -------
        (n_u,) array
            Within the bounds on inputs and moves.
        """
        start = time.perf_counter()
        y = as_measurement(measurement, self._source.n_measured)
        r, is_preview = self._preview.read(reference)
        p = self._source.read(y, self._memory.u_last)
        u_last = self._memory.effective_last()
        if p is None:
            return self._fall_back(start, None, r, "the measurement has NaN and there is no observer")
        qp, n_v = self._qp, self._qp.n_v
        if is_preview:
            known = qp.online_preview @ p + qp.constant_preview
            g = known[:n_v] + qp.from_preview @ r
        else:
            d = self._source.disturbance(p)
            r = self._reachable.nearest(r, d)
            known = qp.online_set_point @ p + qp.constant_set_point
            g = known[:n_v] + qp.from_set_point @ r
        last = u_last - self.lifted.u_op
        if self._memory.has_rate_cost:
            g += qp.from_last_input @ last
        lower, upper = qp.lower, qp.upper
        if len(qp.rows):
            lower, upper = lower.copy(), upper.copy()
            if qp.n_rate:
                shift = last * qp.row_scale[: len(last)]
                lower[n_v : n_v + len(last)] += shift
                upper[n_v : n_v + len(last)] += shift
            lower[n_v + qp.n_rate :] -= known[n_v:]
            upper[n_v + qp.n_rate :] -= known[n_v:]
        if not np.isfinite(known.sum()):
            return self._fall_back(start, None, r, "the lifted state is not finite")
        answer = self._solver.solve(g, lower, upper)
        if answer.x is None:
            return self._fall_back(start, p, r, answer.status)
        v = answer.x * qp.scale
        inputs = (v if self._blocking is None else self._blocking @ v).reshape(self.horizon, -1)
        inputs = self._memory.accept(inputs + self.lifted.u_op)
        objective = 2.0 * float(answer.x @ (0.5 * (qp.H @ answer.x) + g))
        self.info = MPCInfo(
            answer.status, time.perf_counter() - start, "", answer.n_solves, answer.kkt_residual, objective,
            inputs, answer.slack, self._predictor(p),
        )  # fmt: skip
        return inputs[0].copy()

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """python-control block `[y; r] -> u`; see `koopctrl.export.pycontrol.controller_to_nlsys`."""
        from koopctrl.controllers.memory import PureController
        from koopctrl.export.pycontrol import controller_to_nlsys

        pure = PureController(self)
        return controller_to_nlsys(self, pure, pure.size)

    def to_c(self, folder: str | PathLike[str], name: str = "koopctrl_mpc", **options: Any) -> GeneratedCode:
        """Self-contained C99 of this controller, written to `folder`; see `koopctrl.export.c_code.mpc_to_c`.

        `name` starts every file and identifier; `options` are those of `mpc_to_c`.
        """
        from koopctrl.export.c_code import mpc_to_c

        return mpc_to_c(self, folder, name, **options)

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        self._memory.u_last = as_vector(u, "u", self.lifted.n_u).copy()

    def _fall_back(self, start: float, p: FloatArray | None, r: FloatArray, reason: str) -> FloatArray:
        """The policy: shifted plan, else saturated LQR, else the last input."""
        lqr = None
        if p is not None and self.K is not None:
            z = (self._source.basis @ p + self._source.offset)[: self.lifted.n_z]
            z_s, u_s, _ = self.target(r[: self.lifted.n_y], self._source.disturbance(p))
            lqr = u_s - self.K @ (z - z_s)
        inputs, status = self._memory.fall_back(lqr)
        self.info = MPCInfo(status, time.perf_counter() - start, reason, inputs=inputs)
        return inputs[0].copy()

    def _predictor(self, p: FloatArray) -> Callable[[FloatArray], FloatArray]:
        lifted, source, model = self.lifted, self._source, self._source.model

        def predict(inputs: FloatArray) -> FloatArray:
            z = np.empty((len(inputs) + 1, len(model.A)))
            z[0] = source.basis @ p + source.offset
            for k, u in enumerate(inputs):
                z[k + 1] = model.A @ z[k] + model.B @ (u - lifted.u_op) + model.c
            return z @ model.C.T + lifted.y_op

        return predict
