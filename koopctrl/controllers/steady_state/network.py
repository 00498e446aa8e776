r"""Steady targets of the nonlinear face, and the local Riccati weight there.

The problem, see `koopctrl.controllers.steady_state.newton`, has local optima (a pendulum can be held upright,
or leaning with all its torque), so unless the first search reaches the set-point, further ones start from
other inputs and the nearest steady state counts. A network also has steady states of its own beyond its data:
there, only one that reaches the set-point counts.

Where a plant has several steady states for one set-point, the search takes the one that it comes to from the
last target. That is a memory: it is in `TargetState`, and nowhere else.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.riccati import Riccati, solve_riccati
from koopctrl.controllers.rollout import SteadyView
from koopctrl.controllers.steady_state.network_preview import follow_rows
from koopctrl.controllers.steady_state.newton import Misfit, Scales, nearest_steady_state
from koopctrl.controllers.steady_state.question import NonlinearTarget, Question, TargetState
from koopctrl.errors import SolverError
from koopctrl.network.folded import Rollout

# Part of the outputs' scale within which a set-point counts as reached, and a changed one as the same region.
REACHED, NEAR = 1e-2, 0.1
# Distance in the outputs' scale over which a row of a preview is followed from one of the last sample's.
FOLLOWED = 1.0
# Added to the misfit of steady states beyond the data.
BEYOND = 1e6
# Where else searches start, as parts of each input's range.
_START_FRACTIONS, _SETTLE_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0), 200
_MAX_WEIGHTS = 64


class TargetSolver:
    """Finds the targets of one network; it remembers nothing that could change an answer.

    Parameters
    ----------
    rollout : Rollout
    channels : InputChannels
    Q, R : (n_y, n_y) and (n_u, n_u) arrays
    u_min, u_max : (n_u,) arrays
    x0, u_mean : arrays
        Where the first search starts; `u_mean`, of all inputs of the model, is also what idle ones stay near.
    y_range : ((n_y,), (n_y,)) arrays
        Of the data.
    horizon : int
        Rows of a preview.

    Attributes
    ----------
    size : float
        Weight of an error as large as the data's spread.
    epsilon : float
        Weight of idle inputs.
    idle : (n_u,) array
        What they stay near.
    start : (n_x,) and (n_u,) arrays
        Of the first search.
    y_low, y_high : (n_y,) arrays
        The data's range and a tenth more.
    starts : (n, n_u) array
        Inputs at which further searches start,
    settled : (n, n_x) array
        and the states, those that the network has come to under each; the first start is at the set-point.
    x_scale, u_scale, v_scale : arrays
        Of the data.
    """

    def __init__(
        self, rollout: Rollout, channels: InputChannels, Q: FloatArray, R: FloatArray, u_min: FloatArray,
        u_max: FloatArray, x0: FloatArray, u_mean: FloatArray, y_range: tuple[FloatArray, FloatArray],
        horizon: int = 1,
    ) -> None:  # fmt: skip
        u0, v0 = channels.split(u_mean)
        self.rollout, self.channels, self.Q, self.R = rollout, channels, Q, R
        self.idle, self._u_min, self._u_max, self._horizon = u0, u_min, u_max, horizon
        self.start = (x0, np.clip(u0, u_min, u_max))
        self.x_scale = rollout.network.x_scale
        self.u_scale, self.v_scale = channels.split(rollout.network.scaling.u_scale)
        self._no_v, self._no_offset = v0, np.zeros(rollout.n_u)
        self._all = np.ones(rollout.n_y, dtype=bool)
        # The tie-break is far below the tracking weight, in standardised units.
        y_scale, su = self.x_scale[: rollout.n_y], self.u_scale
        self.size = float(np.trace(Q * y_scale[:, None] * y_scale)) or 1.0
        level = np.trace(Q * y_scale[:, None] * y_scale) / np.trace(R * su[:, None] * su)
        self.epsilon = 1e-10 * max(float(level), 1e-12)
        self._scales = Scales(self.x_scale, su, self.size)
        # Where an input has no bound, twice the data's spread stands for it.
        low = np.where(np.isfinite(u_min), u_min, np.minimum(u0 - 2.0 * su, u_max))
        high = np.where(np.isfinite(u_max), u_max, np.maximum(u0 + 2.0 * su, u_min))
        base = np.clip(u0, u_min, u_max)
        starts = [base]
        for i in range(len(base)):
            for part in _START_FRACTIONS:
                starts.append(base.copy())
                starts[-1][i] = low[i] + part * (high[i] - low[i])
        self.starts = np.array(starts)
        self.y_range = y_range
        wider = 0.1 * (y_range[1] - y_range[0])
        self.y_low, self.y_high = y_range[0] - wider, y_range[1] + wider
        self.settled = self._settle(x0, v0)
        self._weights: dict[bytes, Riccati | None] = {}

    def _settle(self, x0: FloatArray, v0: FloatArray) -> FloatArray:
        plans = np.repeat(self.starts[:, None], _SETTLE_STEPS, axis=1)
        view = SteadyView(self.rollout, self.channels, v0, None)
        with np.errstate(all="ignore"):
            ends = view.run(x0, plans, np.zeros(view.n_y))[:, -1]
        y = ends[:, : view.n_y]
        inside = np.all((y >= self.y_low) & (y <= self.y_high), axis=1)
        fair = inside & np.isfinite(ends).all(axis=1)
        return np.where(fair.reshape(-1, 1), ends, x0)

    def question(
        self,
        r: FloatArray,
        d: FloatArray,
        v: FloatArray | None = None,
        offset: FloatArray | None = None,
        wish: FloatArray | None = None,
        tracked: np.ndarray | None = None,
    ) -> Question:
        """What is asked; arguments that are None are the data's mean, no disturbance, and all outputs."""
        return Question(
            r, d, self._no_v if v is None else v, self._no_offset if offset is None else offset,
            self.idle if wish is None else wish, self._all if tracked is None else tracked,
        )  # fmt: skip

    def initial(self) -> TargetState:
        """State before the first search."""
        (x, u), N, n_y = self.start, self._horizon, self.rollout.n_y
        n_c = n_y + len(self._no_v) + len(self._no_offset) + len(u)
        unasked, rows = np.zeros(2 * n_y + n_c), np.zeros((N, n_y))
        return TargetState(
            x, u, unasked, x, u, False, False, unasked, False, rows, np.zeros((N, n_y), dtype=bool),
            np.tile(x, (N, 1)), np.tile(u, (N, 1)), np.zeros(n_c), False,
        )  # fmt: skip

    def find(
        self, state: TargetState, asked: Question, deadline: float = np.inf
    ) -> tuple[NonlinearTarget, TargetState]:
        """Target of a set-point, and the state from which the next search starts.

        The search starts at the last target that was reached: from the edge of what can be reached, where
        outputs do not move with inputs, rounding would decide where it leads. Unless it reaches the
        set-point, all starts are tried, once for much the same question: after that, the last answer is
        refined. After `deadline`, on the clock of `time.perf_counter`, no iteration is begun; what was found
        by then counts, but is not remembered as an answer.
        """
        vector = asked.vector
        if state.answered and np.array_equal(vector, state.asked):
            x = state.found_x
            return NonlinearTarget(x, state.found_u, x[: self.rollout.n_y], state.converged), state
        known = state.has_searched and self._is_near(vector, state.searched)
        start = (state.found_x, state.found_u) if known else (state.x, state.u)
        found, reached, tried_all = self._search(asked, start, known, deadline)
        x, u = (found.x, found.u) if reached else (state.x, state.u)
        on_time = time.perf_counter() <= deadline
        return found, replace(
            state, x=x, u=u, asked=vector, found_x=found.x, found_u=found.u, answered=on_time,
            converged=found.converged, searched=vector if tried_all else state.searched,
            has_searched=on_time and found.converged and not reached,
        )  # fmt: skip

    def rows(
        self,
        state: TargetState,
        rows: FloatArray,
        tracked: np.ndarray,
        end: Question,
        target: NonlinearTarget,
        deadline: float = np.inf,
    ) -> tuple[FloatArray, TargetState]:
        """Steady inputs `(N, n_u)` of a preview's rows, whose end has its `target` already.

        A row starts at the nearest of the last sample's (or of the end's), a few Newton steps off; one that
        has none near is searched for from the end's target. A row near a known one that is not reached so
        (beyond what can be, undamped steps go astray) keeps that one's inputs.
        """
        n_y, N = rows.shape[1], len(rows)
        context = end.context
        old = np.vstack([state.rows, end.r])
        marks = np.vstack([state.rows_tracked, end.tracked])
        old_x, old_u = np.vstack([state.rows_x, target.x]), np.vstack([state.rows_u, target.u])
        distance = (np.abs(rows[:, None] - old) / self.x_scale[:n_y]).max(axis=2)
        distance[(tracked[:, None] != marks).any(axis=2)] = np.inf
        if not state.has_rows:
            distance[:, :N] = np.inf
        if not target.converged:
            distance[:, N] = np.inf
        same_context = np.append(np.full(N, np.array_equal(context, state.rows_context)), True)
        # An exact row under the same disturbances comes first, then the nearest.
        exact = (distance == 0.0) & same_context
        nearest = np.where(exact.any(axis=1), np.argmax(exact, axis=1), np.argmin(distance, axis=1))
        far = distance[np.arange(N), nearest]
        known = exact.any(axis=1)
        x, u = old_x[nearest], old_u[nearest]
        follow = np.flatnonzero(~known & (far <= FOLLOWED))
        lost = list(np.flatnonzero(~known & ~(far <= FOLLOWED)))
        if len(follow) and time.perf_counter() <= deadline:
            view = SteadyView(self.rollout, self.channels, end.v, end.offset)
            aim = np.zeros((len(follow), len(self.x_scale) + len(self.u_scale)))
            aim[:, :n_y] = rows[follow] / self.x_scale[:n_y]
            aim[:, len(self.x_scale) :] = end.wish / self.u_scale
            weight = np.array([self._weight(tracked[k]) for k in follow])
            bounds = (self._u_min / self.u_scale, self._u_max / self.u_scale)
            with np.errstate(all="ignore"):
                moved = follow_rows(view, weight, aim, (x[follow], u[follow]), end.d, self._scales, bounds)
            error = (moved.x[:, :n_y] - rows[follow]) * tracked[follow]
            arrived = moved.settled & (np.sum((error @ self.Q) * error, axis=1) <= REACHED**2 * self.size)
            x[follow[arrived]], u[follow[arrived]] = moved.x[arrived], moved.u[arrived]
            lost += [k for k in follow[~arrived] if far[k] > NEAR]
        done: dict[bytes, int] = {}
        for k in map(int, sorted(lost)):
            key = rows[k].tobytes() + tracked[k].tobytes()
            if key not in done:
                one = replace(end, r=rows[k], tracked=tracked[k])
                found = self._search(one, (target.x, target.u), False, deadline)[0]
                done[key] = k
                x[k], u[k] = found.x, found.u
            x[k], u[k] = x[done[key]], u[done[key]]
        state = replace(
            state, rows=rows, rows_tracked=tracked, rows_x=x, rows_u=u, rows_context=context, has_rows=True
        )
        return u, state

    def weight(self, target: NonlinearTarget, asked: Question) -> Riccati | None:
        """Local Riccati weight on the window there, with its gain; None where there is none."""
        key = np.concatenate([target.x, target.u, asked.v, asked.offset, asked.tracked]).tobytes()
        if key not in self._weights:
            # The same key has the same weight, so what is forgotten here changes nothing.
            if len(self._weights) >= _MAX_WEIGHTS:
                self._weights.pop(next(iter(self._weights)))
            self._weights[key] = self._riccati(target, asked) if target.converged else None
        return self._weights[key]

    def _riccati(self, target: NonlinearTarget, asked: Question) -> Riccati | None:
        view = SteadyView(self.rollout, self.channels, asked.v, asked.offset)
        a, b = view.jacobians(target.x[None], target.u[None])
        n_x, n_y = view.n_x, view.n_y
        weight = np.zeros((n_x, n_x))
        weight[:n_y, :n_y] = self.Q * asked.tracked * asked.tracked[:, None]
        try:
            # A doubtful residual changes but a weight, which binds no plan; and there is no rank_tol here
            # that the caller could change.
            return solve_riccati(a[0], b[0], weight, self.R, "the network at its target", warn=False)
        except SolverError:
            return None

    def _search(
        self, asked: Question, start: tuple[FloatArray, FloatArray], known: bool, deadline: float
    ) -> tuple[NonlinearTarget, bool, bool]:
        """From one start; from all of them unless it reaches the set-point or is `known` to be the best.

        Also tells whether the set-point was reached, and whether all starts were tried.
        """
        view = SteadyView(self.rollout, self.channels, asked.v, asked.offset)
        misfit = self._misfit(asked)
        reached = REACHED**2 * self.size

        def descend(x: FloatArray, u: FloatArray) -> tuple[NonlinearTarget | None, float]:
            with np.errstate(all="ignore"):
                found = nearest_steady_state(view, misfit, self._scales, (x, u), asked.d, deadline)
            if found is None:
                return None, np.inf
            x, u, miss = found[0], np.clip(found[1], self._u_min, self._u_max), found[2]
            y = x[: view.n_y].copy()
            if miss > reached and ((y < self.y_low) | (y > self.y_high)).any():
                miss += BEYOND * self.size
            return NonlinearTarget(x, u, y, True), miss

        best, best_miss = descend(*start)
        tried_all = not (best is not None and (best_miss <= reached or known))
        if tried_all:
            past = view.full(self.starts[0])
            at_rest = view.window.repeat_channels(np.clip(asked.r, self.y_low, self.y_high), past)
            for x, u in zip([at_rest, *self.settled[1:]], self.starts, strict=True):
                if time.perf_counter() > deadline:
                    break
                found, miss = descend(x, u)
                if found is not None and (best is None or miss < 0.999 * best_miss):
                    best, best_miss = found, miss
                    if miss <= reached:
                        break
        if best is None:
            x, u = start
            best = NonlinearTarget(x, u, x[: view.n_y].copy(), False)
        return best, best_miss <= reached, tried_all

    def _is_near(self, vector: FloatArray, searched: FloatArray) -> bool:
        """Whether this is much the same question as when all starts were last tried."""
        return bool((np.abs(vector - searched) / self.question_scale).max(initial=0.0) <= NEAR)

    @cached_property
    def question_scale(self) -> FloatArray:
        """What differences of a question's entries are small beside."""
        n_y = self.rollout.n_y
        y_scale, mark = self.x_scale[:n_y], np.full(n_y, NEAR / 2.0)  # a changed mark is never near
        return np.concatenate(
            [y_scale, mark, y_scale, self.v_scale, self.rollout.network.scaling.u_scale, self.u_scale]
        )

    def _misfit(self, asked: Question) -> Misfit:
        sx, su, n_y = self.x_scale, self.u_scale, len(asked.r)
        aim = np.concatenate([asked.r / sx[:n_y], np.zeros(len(sx) - n_y), asked.wish / su])
        return Misfit(self._weight(asked.tracked), aim, self._u_min / su, self._u_max / su)

    def _weight(self, tracked: np.ndarray) -> FloatArray:
        """On standardised `[x; u]`."""
        sx, su = self.x_scale, self.u_scale
        n_x, n_y = len(sx), len(self.Q)
        weight = np.zeros((n_x + len(su), n_x + len(su)))
        weight[:n_y, :n_y] = self.Q * sx[:n_y, None] * sx[:n_y] * tracked * tracked[:, None]
        weight[n_x:, n_x:] = self.epsilon * self.R * su[:, None] * su
        return weight
