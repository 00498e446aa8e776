"""RNNMPC: predictive control on the nonlinear face by real-time iteration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_fitted, check_integer, check_number
from koopctrl.controllers.estimation.measurement import ABSURD, WindowMemory
from koopctrl.controllers.mpc.base import NoPlan, Plan, PredictiveController
from koopctrl.controllers.mpc.channels import choose_channels
from koopctrl.controllers.mpc.info import NO_MEASUREMENT
from koopctrl.controllers.mpc.problem import Bounds, describe_problem, stage_weights
from koopctrl.controllers.mpc.request import Request
from koopctrl.controllers.mpc.rnn_sqp import Found, Goal, Outlook, RealTimeIteration
from koopctrl.controllers.mpc.rollout import Rollout
from koopctrl.controllers.steady_state.network import TargetSolver
from koopctrl.errors import OptionError
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifted.edmd import find_equilibrium

_COLD_ITERATIONS = 20
# Every so many samples a plan that ends far from its target is compared with new ones, iterated so often.
_RECHECK, _RECHECK_ITERATIONS, _FAR = 5, 5, 0.1


class RNNMPC(PredictiveController):
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
    Q : scalar, (n_y,), (n_y, n_y) or (N, n_y, n_y) array_like
        Weight on outputs.
    R, R_rate, u_min, u_max, du_min, du_max, y_min, y_max, constraints, terminal_set, soft, soft_weights,
    blocks, measured_disturbances, input_delay, solver, solver_options, max_solve_time
        As in `LinearMPC`; `constraints` and `terminal_set` are on the window's entries.
    terminal : {"riccati", "none"}
        Weight on the last state: LQR's cost to go of the network linearised at the target (where it exists,
        else `Q`), or `Q`.
    n_iterations : int
        QPs a sample at most; more than one stop early when the cost settles. Without a plan to start from it
        is 20, from the steady inputs and from the best full swing with one switch. While a plan does not come
        near its target, these two are tried again, with 5 QPs, at every fifth sample: a longer look ahead
        may have shown a better way.
    observer : ExtendedKalmanFilter, optional
        Estimates the window, and disturbances if it was asked to; by default it is filled with measurements.
    offset_free : bool or float
        Without an observer: whether the error of the last one-step prediction is taken as a constant
        disturbance on the next outputs: then a constant model error or load leaves no steady-state error. A
        number in (0, 1] is the gain with which it is averaged.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    set_point : (n_y,) array
        Where no reference is given: the equilibrium nearest the data's mean.

    Raises
    ------
    OptionError, ShapeError, DataError, NotFittedError
        If the problem cannot be posed, with the reason.

    Notes
    -----
    Where the roll-out of the plan breaks a bound on outputs or states that its linearised QP obeys, the
    status is `inexact` and `info.slack` says by how much. Without a certified QP solution, `control` follows
    the shifted plan, else holds the last input. Diehl et al., *Real-time optimization and nonlinear model
    predictive control of processes governed by DAEs*, Journal of Process Control 12, 2002.
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
        constraints: Bounds | None = None,
        terminal_set: Bounds | None = None,
        soft: bool = True,
        soft_weights: tuple[float, float] = (1e3, 1e3),
        blocks: int | Sequence[int] | None = None,
        terminal: str = "riccati",
        n_iterations: int = 1,
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        input_delay: int = 0,
        observer: Any = None,
        offset_free: bool | float = False,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
        max_solve_time: float | None = None,
    ) -> None:
        _check_model(model)
        network = model._network
        window, scaling = network.window, network.scaling
        self.model, self.dt = model, model.dt_
        self.output_names = model.output_names_
        channels = choose_channels(model.input_names_, measured_disturbances)
        horizon = check_integer(horizon, "horizon", low=1)
        problem = describe_problem(
            window.n_y, window.n_x, channels.n_u, horizon=horizon,
            Q=stage_weights(Q, "Q", (window.n_y,), horizon), R=R, R_rate=R_rate, u_min=u_min,
            u_max=u_max, du_min=du_min, du_max=du_max, y_min=y_min, y_max=y_max, constraints=constraints,
            terminal_set=terminal_set, soft=soft, soft_weights=soft_weights, blocks=blocks, terminal=terminal,
            input_delay=input_delay, max_solve_time=max_solve_time,
            centre=np.concatenate([network.x_mean[: window.n_y], network.x_mean]),
        )  # fmt: skip
        self.Q = problem.Q[-1]
        self.n_iterations = check_integer(n_iterations, "n_iterations", low=1)
        self.offset_free = check_number(offset_free, "offset_free", low=0.0, high=1.0)
        self.observer = _check_observer(observer, model, self.offset_free)
        self.n_measured = window.n_y if observer is None else int(observer.n_measured)

        self._rollout = Rollout(network)
        at_rest = find_equilibrium(model, scaling.u_mean, network.x_mean)
        x_rest = network.x_mean if at_rest is None else at_rest
        self.set_point = x_rest[: window.n_y].copy()
        u_mean, v_mean = channels.split(scaling.u_mean)
        u_rest = np.clip(u_mean, problem.u_min, problem.u_max)
        self._begin(problem, channels, model.input_names_, u_rest, v_mean, (y_min, y_max))
        self._targets = TargetSolver(
            self._rollout,
            channels,
            self.Q,
            self.R,
            problem.u_min,
            problem.u_max,
            x_rest,
            scaling.u_mean,
            model.y_range_,
        )
        self._iteration = RealTimeIteration(self._rollout, problem, channels, solver, solver_options)
        self._window = WindowMemory(window, channels.join(u_rest, v_mean), self._predict)
        self.reset()

    def reset(self) -> None:
        """Forget past measurements, inputs, plans and the disturbance."""
        super().reset()
        self._window.reset()
        self._iteration.reset()
        self._targets.reset()
        if self.observer is not None:
            self.observer.reset()
        self._d = np.zeros(self._rollout.n_y)
        self._since = 0

    @property
    def disturbance(self) -> FloatArray:
        """Estimated disturbance on the next outputs `(n_y,)`; zero unless `offset_free`."""
        return self._d.copy()

    def _solve(
        self, y: FloatArray, acted: FloatArray | None, asked: Request, deadline: float
    ) -> Plan | NoPlan:
        offset = None
        if self.observer is not None:
            x, self._d, offset = self.observer.split(self.observer.observe(y, acted))
            if self.observer.estimate is None:
                return NoPlan("nothing has been measured yet, or the observer had to start anew")
        else:
            x = self._read(y, acted)
        if x is None:
            return NoPlan(NO_MEASUREMENT)
        delay = self.problem.delay
        for u, v in zip(self._memory.pending, asked.v, strict=False):
            full = self._channels.join(u, v)
            x = self._rollout.step(x, full if offset is None else full + offset, self._d)
        now = Outlook(x, self._d, asked.v[delay:], offset, self._memory.effective_last())
        goal = self._goal(asked, now)
        found = self._candidates(now, goal, deadline)
        best = min(found, key=lambda f: f.merit)
        if best.answer is None:
            if not (np.abs(self._d) <= ABSURD * self._rollout.network.scaling.y_scale).all():
                # Estimated from an absurd measurement, it would spoil all plans to come.
                self._d = np.zeros_like(self._d)
            return NoPlan(best.reason)
        states = best.states
        slack, obeyed = self._iteration.excess(states, goal)
        status = best.answer.status if obeyed or best.answer.status == "softened" else "inexact"
        n_solves = sum(f.n_solves for f in found)
        return Plan(
            best.plan, status, n_solves, best.answer.kkt_residual, best.merit, slack,
            lambda _: states[:, : self._rollout.n_y].copy(),
        )  # fmt: skip

    def _read(self, y: FloatArray, acted: FloatArray | None) -> FloatArray | None:
        """The window, filled with measurements; and the disturbance, averaged from one-step errors."""
        x_last = self._window.x
        x = self._window.read(y, acted)
        if x is not None and self.offset_free and x_last is not None and acted is not None:
            unexplained = y - self._rollout.step(x_last, acted, np.zeros_like(self._d))[: len(y)]
            self._d = self._d + self.offset_free * (unexplained - self._d)
        return x

    def _candidates(self, now: Outlook, goal: Goal, deadline: float) -> list[Found]:
        """Plans found from the shifted last one; without it, or where it leads nowhere, from cold ones."""
        search, plan, found = self._iteration, self._memory.shifted_plan, []
        if plan is not None:
            warm = search.blocked(np.clip(plan, self.u_min, self.u_max))
            found = [search.optimise(now, warm, goal, self.n_iterations, deadline)]
            self._since += 1
            if self._since % _RECHECK == 0 and self._ends_far(found[0], goal):
                cold = search.cold_plans(now, goal)
                tried = [search.optimise(now, p, goal, _RECHECK_ITERATIONS, deadline) for p in cold]
                found += [f for f in tried if f.merit < 0.999 * found[0].merit]
        if not found or (found[0].answer is None and time.perf_counter() <= deadline):
            n = max(self.n_iterations, _COLD_ITERATIONS)
            found += [search.optimise(now, p, goal, n, deadline) for p in search.cold_plans(now, goal)]
        return found

    def _ends_far(self, found: Found, goal: Goal) -> bool:
        """Whether a plan's last output is far from its target, in the data's scale and beside other steps."""
        error = found.states[-1, : self._rollout.n_y] - goal.tracked[-1]
        missed = float(error @ self.Q @ error)
        beside = missed * self.horizon > _FAR * found.merit
        return found.answer is not None and beside and missed > _FAR**2 * self._targets.size

    def _goal(self, asked: Request, now: Outlook) -> Goal:
        N, r, u_r = self.horizon, asked.r, asked.u_r
        wish = u_r if u_r is not None and u_r.ndim == 1 else None
        # Targets are held for good: the last of the previewed disturbances counts.
        v = now.v[-1]
        if asked.is_preview:
            end = self._targets.find(r[-1], now.d, v, now.offset, wish)
            tracked, steady = r, self._targets.inputs(r[:-1], now.d, v, now.offset, wish)
        else:
            end = self._targets.find(r, now.d, v, now.offset, wish)
            tracked = np.tile(end.y if end.converged else r, (N + 1, 1))
            steady = np.tile(end.u, (N, 1))
        riccati = self.problem.terminal == "riccati"
        P = self._targets.weight(end, v, now.offset) if riccati else None
        return Goal(tracked, u_r if u_r is not None and u_r.ndim == 2 else steady, end.x, P)

    def _predict(self, x: FloatArray, u: FloatArray) -> FloatArray:
        return self._rollout.step(x, u, self._d)[: self._rollout.n_y]


def _check_observer(observer: Any, model: KoopmanRNN, offset_free: float) -> Any:
    """Refuse an observer of another kind or model."""
    if observer is None:
        return None
    if not all(hasattr(observer, n) for n in ("observe", "split", "n_measured")):
        raise OptionError(
            f"observer is a {type(observer).__name__}; expected an ExtendedKalmanFilter of the same model"
        )
    if observer.model is not model:
        raise OptionError("observer was built on another model; expected one built on the controller's model")
    if offset_free:
        raise OptionError(
            "offset_free is set and so is observer; expected one of them. Pass "
            "observer=ExtendedKalmanFilter(..., disturbance='state')"
        )
    return observer


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
