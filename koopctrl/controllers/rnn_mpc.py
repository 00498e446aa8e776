"""RNNMPC: predictive control on the nonlinear face by real-time iteration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector, as_weight, check_fitted, check_integer, check_number
from koopctrl.controllers.condensing import input_hessian, input_rows, scale_rows, static_bounds
from koopctrl.controllers.info import MPCInfo
from koopctrl.controllers.measurement import WindowMemory, as_measurement
from koopctrl.controllers.plan import InputMemory, Preview
from koopctrl.controllers.problem import describe_problem
from koopctrl.controllers.qp_step import StepSolution, StepSolver
from koopctrl.controllers.rnn_targets import TargetSolver
from koopctrl.controllers.rollout import Rollout
from koopctrl.controllers.targets import weight_factor
from koopctrl.errors import OptionError
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifting import find_equilibrium

if TYPE_CHECKING:
    import control

    from koopctrl.export.c_code import GeneratedCode

# Step lengths tried, the full one first and alone, for it is nearly always taken.
_COLD_ITERATIONS, _SETTLED = 20, 1e-10
# Every so many samples a plan that ends far from its target is compared with new ones, iterated so often.
_RECHECK, _RECHECK_ITERATIONS, _FAR = 5, 5, 0.1
_STEPS = (np.array([1.0]), np.array([0.5, 0.2, 0.05]))


@dataclass(frozen=True)
class _Goal:
    """What one sample aims at: outputs `(N + 1, n_y)`, inputs `(N, n_u)`, last state and its weight."""

    tracked: FloatArray
    steady: FloatArray
    x_end: FloatArray
    P: FloatArray | None


@dataclass(frozen=True)
class _Found:
    """A plan, its roll-out and cost, and the last certified QP behind it."""

    plan: FloatArray
    states: FloatArray
    merit: float
    answer: StepSolution | None
    n_solves: int
    reason: str


class RNNMPC:
    r"""Nonlinear model predictive controller on a fitted recurrent network.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - y_s|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2 + |x_N - x_s|_P^2

    At each sample the network is linearised along the shifted last plan, the problem condensed, and one QP
    solved (`n_iterations` for more). A step is taken only as far as it lowers the cost along the network's
    own roll-out, relaxed bounds included, so a bad step cannot make the plan worse.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted, without feedthrough.
    horizon : int
        `N`, in samples.
    Q : scalar, (n_y,) or (n_y, n_y) array_like
        Weight on outputs.
    R, R_rate, u_min, u_max, du_min, du_max, y_min, y_max, constraints, soft, soft_weights, blocks, solver,
    solver_options
        As in `LinearMPC`; `constraints` are on the window's entries.
    terminal : {"riccati", "none"}
        Weight on the last state: LQR's cost to go of the network linearised at the target (where it exists,
        else `Q`), or `Q`.
    n_iterations : int
        QPs a sample at most; more than one stop early when the cost settles. Without a plan to start from it
        is 20, from the steady inputs and from the best full swing with one switch. While a plan does not come
        near its target, these two are tried again, with 5 QPs, at every fifth sample: a longer look ahead
        may have shown a better way.
    offset_free : bool
        Whether the error of the last one-step prediction is taken as a constant disturbance on the next
        outputs: then a constant model error or load leaves no steady-state error.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.

    Raises
    ------
    OptionError, ShapeError, DataError, NotFittedError
        If the problem cannot be posed, with the reason.

    Notes
    -----
    Without a certified QP solution, `control` follows the shifted plan, else holds the last input. Diehl et
    al., *Real-time optimization and nonlinear model predictive control of processes governed by DAEs*,
    Journal of Process Control 12, 2002.
    """

    def __init__(
        self,
        model: KoopmanRNN,
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
        n_iterations: int = 1,
        offset_free: bool | float = False,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
    ) -> None:
        _check_model(model)
        network = model._network
        window, scaling = network.window, network.scaling
        self.model, self.dt = model, model.dt_
        self.output_names, self.input_names = model.output_names_, model.input_names_
        self.Q = as_weight(Q, "Q", window.n_y)
        problem = self.problem = describe_problem(
            window.n_y, window.n_x, window.n_u, horizon=horizon, Q=self.Q, R=R, R_rate=R_rate, u_min=u_min,
            u_max=u_max, du_min=du_min, du_max=du_max, y_min=y_min, y_max=y_max, constraints=constraints,
            soft=soft, soft_weights=soft_weights, blocks=blocks, terminal=terminal,
        )  # fmt: skip
        self.R, self.horizon = problem.R, problem.horizon
        self.u_min, self.u_max = problem.u_min, problem.u_max
        self.du_min, self.du_max = problem.du_min, problem.du_max
        self.y_min, self.y_max = deepcopy((y_min, y_max))
        self.n_iterations = check_integer(n_iterations, "n_iterations", low=1)
        self.offset_free = check_number(offset_free, "offset_free", low=0.0, high=1.0)

        self._rollout = Rollout(network)
        self._root = weight_factor(self.Q)
        at_rest = find_equilibrium(model, scaling.u_mean, network.x_mean)
        x_rest = network.x_mean if at_rest is None else at_rest
        self.set_point = x_rest[: window.n_y].copy()
        u_rest = np.clip(scaling.u_mean, problem.u_min, problem.u_max)
        self._targets = TargetSolver(
            self._rollout,
            self.Q,
            self.R,
            problem.u_min,
            problem.u_max,
            x_rest,
            scaling.u_mean,
            model.y_range_,
        )
        # Combinations of [y; x] become combinations of the window, whose first entries are y.
        self._E = problem.E[:, window.n_y :].copy()
        self._E[:, : window.n_y] += problem.E[:, : window.n_y]
        self._input_hessian, self._from_last = input_hessian(problem)
        self._move_rows = input_rows(problem)
        n_v, n_moves = len(self._input_hessian), len(self._move_rows)
        n_rows = n_moves + len(self._E) * problem.horizon
        self._solver = StepSolver(
            n_v, n_rows, n_rows - n_moves if problem.soft else 0, solver, solver_options
        )
        size = float(np.abs(self.Q).max(initial=0.0)) or 1.0
        self._penalty = (problem.soft_weights[0] * size, problem.soft_weights[1] * size)
        self._blocking = problem.blocking()
        self._preview = Preview(window.n_y, problem.horizon, self.set_point)
        self._memory = InputMemory(problem, u_rest)
        self._window = WindowMemory(window, u_rest, self._predict)
        self.reset()

    def reset(self) -> None:
        """Forget past measurements, inputs, plans and the disturbance."""
        self._window.reset()
        self._solver.reset()
        self._memory.reset()
        self._d = np.zeros(self._rollout.n_y)
        self._since = 0
        self.info: MPCInfo | None = None

    @property
    def disturbance(self) -> FloatArray:
        """Estimated disturbance on the next outputs `(n_y,)`; zero unless `offset_free`."""
        return self._d.copy()

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
        self._memory.u_last = as_vector(u, "u", self._rollout.n_u).copy()

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest outputs; NaN marks missing ones.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point (the equilibrium nearest the data's mean by default), or preview: row `j` for `j`
            samples from now; the last row is held.

        Returns
        -------
        (n_u,) array
            Within the bounds on inputs and moves.
        """
        start = time.perf_counter()
        y = as_measurement(measurement, self._rollout.n_y)
        r, is_preview = self._preview.read(reference)
        x_last, u_last = self._window.x, self._memory.u_last
        x = self._window.read(y, u_last)
        if x is None:
            return self._fall_back(start, "the measurement has NaN")
        if self.offset_free and x_last is not None and u_last is not None:
            unexplained = y - self._rollout.step(x_last, u_last, np.zeros_like(self._d))[: len(y)]
            self._d = self._d + self.offset_free * (unexplained - self._d)
        goal = self._goal(r, is_preview)
        plan = self._memory.shifted_plan
        found = []
        if plan is not None:
            warm = self._blocked(np.clip(plan, self.u_min, self.u_max))
            found = [self._optimise(x, warm, goal, self.n_iterations)]
            self._since += 1
            if self._since % _RECHECK == 0 and self._ends_far(found[0], goal):
                tried = [self._optimise(x, p, goal, _RECHECK_ITERATIONS) for p in self._cold_plans(x, goal)]
                found += [f for f in tried if f.merit < 0.999 * found[0].merit]
        if not found or found[0].answer is None:
            n = max(self.n_iterations, _COLD_ITERATIONS)
            found += [self._optimise(x, p, goal, n) for p in self._cold_plans(x, goal)]
        best = min(found, key=lambda f: f.merit)
        n_solves = sum(f.n_solves for f in found)
        if best.answer is None:
            return self._fall_back(start, best.reason)
        inputs, states = self._memory.accept(best.plan), best.states
        self.info = MPCInfo(
            best.answer.status, time.perf_counter() - start, "", n_solves, best.answer.kkt_residual,
            best.merit, inputs, best.answer.slack, lambda _: states[:, : self._rollout.n_y].copy(),
        )  # fmt: skip
        return inputs[0].copy()

    def _optimise(self, x: FloatArray, plan: FloatArray, goal: _Goal, n_iterations: int) -> _Found:
        """Iterate from one plan; without any certified QP the merit is infinite."""
        states = self._rollout.run(x, plan[None], self._d)[0]
        merit = float(self._merit(states[None], plan[None], goal)[0])
        answer, reason, n_solves = None, "", 0
        for _ in range(n_iterations):
            if not np.isfinite(states).all():
                reason = "the roll-out of the plan is not finite"
                break
            newest, direction = self._iterate(states, plan, goal)
            n_solves += newest.n_solves
            if direction is None:
                reason = newest.status
                break
            answer = newest
            # The longest step that lowers the merit; where none does, the plan is kept.
            for steps in _STEPS:
                plans = np.clip(plan + steps[:, None, None] * direction, self.u_min, self.u_max)
                rolled = self._rollout.run(x, plans, self._d)
                merits = self._merit(rolled, plans, goal)
                better = np.flatnonzero(merits <= merit * (1.0 + 1e-12))
                if len(better):
                    break
            else:
                break
            best, before = int(better[0]), merit
            plan, states, merit = plans[best], rolled[best], float(merits[best])
            if before - merit <= _SETTLED * abs(before):
                break
        return _Found(plan, states, merit if answer is not None else np.inf, answer, n_solves, reason)

    def _goal(self, r: FloatArray, is_preview: bool) -> _Goal:
        N = self.horizon
        if is_preview:
            rows = r.reshape(N + 1, -1)
            found = [self._targets.find(row, self._d) for row in rows]
            tracked, steady, end = rows, np.array([t.u for t in found[:-1]]), found[-1]
        else:
            end = self._targets.find(r, self._d)
            tracked = np.tile(end.y if end.converged else r, (N + 1, 1))
            steady = np.tile(end.u, (N, 1))
        P = self._targets.weight(end) if self.problem.terminal == "riccati" else None
        return _Goal(tracked, steady, end.x, P)

    def _iterate(
        self, states: FloatArray, plan: FloatArray, goal: _Goal
    ) -> tuple[StepSolution, FloatArray | None]:
        """One QP around a roll-out: its answer and the plan's direction, None if it has none."""
        N, n_u, problem, T = self.horizon, self._rollout.n_u, self.problem, self._blocking
        a, b = self._rollout.jacobians(states[:-1], plan)
        gamma = _sensitivities(a, b)
        P, n_y = goal.P, self._rollout.n_y
        n_stage = N if P is None else N - 1
        seen = (self._root @ gamma[:n_stage, :n_y]).reshape(-1, N * n_u) @ T
        error = ((states[1 : n_stage + 1, :n_y] - goal.tracked[1 : n_stage + 1]) @ self._root.T).ravel()
        H = self._input_hessian + seen.T @ seen
        g = seen.T @ error + T.T @ ((plan - goal.steady) @ problem.R).ravel()
        if P is not None:
            last = gamma[-1] @ T
            weighted = last.T @ P
            H = H + weighted @ last
            g = g + weighted @ (states[-1] - goal.x_end)
        u_last = self._memory.effective_last()
        values = plan[problem.blocks].ravel()
        if self._memory.has_rate_cost:
            moves = np.diff(plan, axis=0, prepend=u_last[None]) @ problem.S
            g = g + T.T @ (moves - np.vstack([moves[1:], np.zeros((1, n_u))])).ravel()
        scale = 1.0 / np.sqrt(np.diag(H))
        e_rows = (self._E @ gamma).reshape(-1, N * n_u) @ T
        rows, row_scale = scale_rows(np.vstack([self._move_rows, e_rows]) * scale)
        lower, upper = static_bounds(problem, np.zeros(n_u), scale, row_scale)
        # Bounds of the change: what the plan uses already is taken off.
        used = [values / scale]
        if len(self._move_rows):
            moves = self._move_rows @ values
            moves[:n_u] -= u_last
            used.append(moves * row_scale[: len(moves)])
        used.append((states[1:] @ self._E.T).ravel() * row_scale[len(self._move_rows) :])
        used = np.concatenate(used)
        try:
            self._solver.load(H * scale * scale[:, None], rows, row_scale, self._penalty)
        except np.linalg.LinAlgError:
            reason = (
                "the condensed Hessian is not positive definite: the roll-out of the plan all but diverges"
            )
            return StepSolution(None, reason, np.inf, 0), None
        answer = self._solver.solve(g * scale, lower - used, upper - used)
        if answer.x is None:
            return answer, None
        return answer, (T @ (answer.x * scale)).reshape(N, n_u)

    def _merit(self, states: FloatArray, plans: FloatArray, goal: _Goal) -> FloatArray:
        """Cost of plans `(batch, N, n_u)` along their roll-outs, relaxations included."""
        n_y, problem, P = self._rollout.n_y, self.problem, goal.P
        n_stage = self.horizon if P is None else self.horizon - 1
        with np.errstate(all="ignore"):
            error = (states[:, 1 : n_stage + 1, :n_y] - goal.tracked[1 : n_stage + 1]) @ self._root.T
            du = plans - goal.steady
            cost = np.sum(error**2, axis=(1, 2)) + np.sum((du @ problem.R) * du, axis=(1, 2))
            if P is not None:
                last = states[:, -1] - goal.x_end
                cost += np.sum((last @ P) * last, axis=1)
            first = np.broadcast_to(self._memory.effective_last(), (len(plans), 1, plans.shape[2]))
            moves = np.diff(plans, axis=1, prepend=first)
            if self._memory.has_rate_cost:
                cost += np.sum((moves @ problem.S) * moves, axis=(1, 2))
            if len(self._E):
                e = states[:, 1:] @ self._E.T
                excess = np.maximum(e - problem.e_max, 0.0) + np.maximum(problem.e_min - e, 0.0)
                cost += np.sum(self._penalty[0] * excess + self._penalty[1] * excess**2, axis=(1, 2))
            if problem.bounds_rate:
                # The shifted plan may break move bounds when the plant applied another input than was sent.
                excess = np.maximum(moves - problem.du_max, 0.0) + np.maximum(problem.du_min - moves, 0.0)
                cost += np.where(np.max(excess, axis=(1, 2)) > 1e-9, 1e12, 0.0)
        return np.where(np.isfinite(cost), cost, np.inf)

    def _cold_plans(self, x: FloatArray, goal: _Goal) -> list[FloatArray]:
        """Plans to start from without a last one: the steady inputs, and the best full swing with one switch.

        Swing-ups have many local optima; which one is found depends on the start.
        """
        plans = [self._blocked(np.clip(goal.steady, self.u_min, self.u_max))]
        if np.isfinite([self.u_min, self.u_max]).all() and not self.problem.bounds_rate:
            swings = []
            for switch in range(0, self.horizon, max(1, self.horizon // 8)):
                early = (np.arange(self.horizon) < switch)[:, None]
                swings += [np.where(early, self.u_min, self.u_max), np.where(early, self.u_max, self.u_min)]
            batch = np.array([self._blocked(p) for p in swings])
            merits = self._merit(self._rollout.run(x, batch, self._d), batch, goal)
            plans.append(batch[int(np.argmin(merits))])
        return plans

    def _ends_far(self, found: _Found, goal: _Goal) -> bool:
        """Whether a plan's last output is far from its target, in the data's scale and beside other steps."""
        error = found.states[-1, : self._rollout.n_y] - goal.tracked[-1]
        missed = float(error @ self.Q @ error)
        beside = missed * self.horizon > _FAR * found.merit
        return found.answer is not None and beside and missed > _FAR**2 * self._targets.size

    def _blocked(self, plan: FloatArray) -> FloatArray:
        blocks = self.problem.blocks
        if len(blocks) == self.horizon:
            return plan
        return (self._blocking @ plan[blocks].ravel()).reshape(plan.shape)

    def _predict(self, x: FloatArray, u: FloatArray) -> FloatArray:
        return self._rollout.step(x, u, self._d)[: self._rollout.n_y]

    def _fall_back(self, start: float, reason: str) -> FloatArray:
        """The policy: shifted plan, else the last input."""
        inputs, status = self._memory.fall_back(None)
        self.info = MPCInfo(status, time.perf_counter() - start, reason, inputs=inputs)
        return inputs[0].copy()


def _sensitivities(a: FloatArray, b: FloatArray) -> FloatArray:
    """`dx_{k+1} / du_j` along a roll-out, `(N, n_x, N n_u)`, by the forward recursion."""
    N, n_x, n_u = b.shape
    out = np.zeros((N, n_x, N * n_u))
    out[0, :, :n_u] = b[0]
    for k in range(1, N):
        np.matmul(a[k], out[k - 1, :, : k * n_u], out=out[k, :, : k * n_u])
        out[k, :, k * n_u : (k + 1) * n_u] = b[k]
    return out


def _check_model(model: Any) -> None:
    if not isinstance(model, KoopmanRNN):
        raise OptionError(f"model is a {type(model).__name__}; expected a fitted KoopmanRNN")
    check_fitted(model, "network_")
    if model.n_u == 0:
        raise OptionError("the model has no inputs, so nothing can be controlled; fit it to data with inputs")
    if model._network.window.shift:
        raise OptionError(
            "the model has feedthrough: u[k] acts on y[k], which is measured before u[k] is chosen. Fit with "
            "feedthrough=False, delaying the inputs by one sample"
        )
