r"""Steady targets of the nonlinear face, and the local Riccati weight there.

.. math::
    \min_{x, u} |W^{1/2} (y - r)|^2 + \epsilon |R^{1/2} (u - u_0)|^2 \quad\text{s.t.}\quad x = f(x, u) + d,
    \ u_{min} \le u \le u_{max}

by Gauss-Newton with exact Jacobians inside the bounds, damped where a step makes things worse: at the edge of
what can be reached the steady output no longer moves with the input, and undamped steps are arbitrary. The
problem has local optima (a pendulum can be held upright, or leaning with all its torque), so unless the first
search reaches the set-point, further ones start from other inputs and the nearest steady state counts. A
network also has steady states of its own beyond its data: there, only one that reaches the set-point counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.channels import InputChannels
from koopctrl.controllers.mpc.rollout import Rollout, SteadyView
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.steady_state.network_preview import follow_rows
from koopctrl.errors import SolverError

_TOL, _MAX_ITERATIONS, _CACHE = 1e-10, 60, 256
# Scaled misfit of `x = f(x, u) + d` below which a state counts as steady.
_STEADY = 1e-6
# Part of the outputs' scale within which a set-point counts as reached, and a changed one as the same region.
_REACHED, _NEAR, _EXACT = 1e-2, 0.1, 1e-12
# Added to the misfit of steady states beyond the data.
_BEYOND = 1e6
# Where else searches start, as parts of each input's range.
_START_FRACTIONS, _SETTLE_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0), 200

_NONE = np.empty(0)
# Up to so many different rows of a preview are searched for one by one.
_FEW = 3


@dataclass(frozen=True)
class NonlinearTarget:
    """One steady state.

    Attributes
    ----------
    x, u, y : arrays
    converged : bool
        Whether it is one to 1e-6 of the signals' scales; if none was found, it is the last that was.
    """

    x: FloatArray
    u: FloatArray
    y: FloatArray
    converged: bool


class TargetSolver:
    """Finds and remembers the targets of one network.

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

    Attributes
    ----------
    size : float
        Weight of an error as large as the data's spread.
    y_low, y_high : (n_y,) arrays
        The data's range and a tenth more.
    starts : (n, n_u) array
        Inputs at which further searches start,
    settled : (n, n_x) array
        and the states, those that the network has come to under each; the first start is at the set-point.
    """

    def __init__(
        self, rollout: Rollout, channels: InputChannels, Q: FloatArray, R: FloatArray, u_min: FloatArray,
        u_max: FloatArray, x0: FloatArray, u_mean: FloatArray, y_range: tuple[FloatArray, FloatArray],
    ) -> None:  # fmt: skip
        u0, v0 = channels.split(u_mean)
        self._all, self._channels, self._Q, self._R = rollout, channels, Q, R
        self._rollout, self._idle = SteadyView(rollout, channels, v0, None), u0
        self._u_min, self._u_max = u_min, u_max
        self._start, self._u0 = (x0, np.clip(u0, u_min, u_max)), u0
        self._scale = rollout.network.x_scale
        self._u_scale, self._v_scale = channels.split(rollout.network.scaling.u_scale)
        # The tie-break is far below the tracking weight, in standardised units.
        y_scale = self._scale[: rollout.n_y]
        self.size = float(np.trace(Q * y_scale[:, None] * y_scale)) or 1.0
        level = np.trace(Q * y_scale[:, None] * y_scale) / np.trace(
            R * self._u_scale[:, None] * self._u_scale
        )
        self._epsilon = 1e-10 * max(float(level), 1e-12)
        # Where an input has no bound, twice the data's spread stands for it.
        low = np.where(np.isfinite(u_min), u_min, np.minimum(u0 - 2.0 * self._u_scale, u_max))
        high = np.where(np.isfinite(u_max), u_max, np.maximum(u0 + 2.0 * self._u_scale, u_min))
        base = np.clip(u0, u_min, u_max)
        starts = [base]
        for i in range(len(base)):
            for part in _START_FRACTIONS:
                starts.append(base.copy())
                starts[-1][i] = low[i] + part * (high[i] - low[i])
        self.starts = np.array(starts)
        wider = 0.1 * (y_range[1] - y_range[0])
        self.y_low, self.y_high = y_range[0] - wider, y_range[1] + wider
        self.settled = self._settle(x0)
        self._first_start = self._start
        self.reset()
        self._known: dict[bytes, NonlinearTarget] = {}
        self._weights: dict[bytes, FloatArray | None] = {}

    def reset(self) -> None:
        """Start searches as the first one did; what was found is kept."""
        self._start = self._first_start
        self._searched: FloatArray | None = None
        self._row_starts: tuple[FloatArray, FloatArray] | None = None

    def _settle(self, x0: FloatArray) -> FloatArray:
        plans = np.repeat(self.starts[:, None], _SETTLE_STEPS, axis=1)
        with np.errstate(all="ignore"):
            ends = self._rollout.run(x0, plans, np.zeros(self._rollout.n_y))[:, -1]
        y = ends[:, : self._rollout.n_y]
        inside = np.all((y >= self.y_low) & (y <= self.y_high), axis=1)
        fair = inside & np.isfinite(ends).all(axis=1)
        return np.where(fair.reshape(-1, 1), ends, x0)

    def find(
        self,
        r: FloatArray,
        d: FloatArray,
        v: FloatArray = _NONE,
        offset: FloatArray | None = None,
        wish: FloatArray | None = None,
    ) -> NonlinearTarget:
        """Target of a set-point.

        Parameters
        ----------
        r : (n_y,) array
        d : (n_y,) array
            Disturbance on the next outputs.
        v : (n_v,) array
            Measured disturbances.
        offset : array, optional
            Disturbance on all inputs of the model.
        wish : (n_u,) array, optional
            What idle inputs stay near; the data's mean by default.
        """
        key = _key(r, d, v, offset, wish)
        found = self._known.get(key)
        if found is None:
            self._rollout = SteadyView(self._all, self._channels, v, offset)
            self._idle = self._u0 if wish is None else wish
            with np.errstate(all="ignore"):
                found = self._search(r, d, self._question(r, d, v, offset))
            if len(self._known) >= _CACHE:
                self._known.pop(next(iter(self._known)))
            self._known[key] = found
            if found.converged:
                self._start = (found.x, found.u)
        return found

    def inputs(
        self,
        rows: FloatArray,
        d: FloatArray,
        v: FloatArray = _NONE,
        offset: FloatArray | None = None,
        wish: FloatArray | None = None,
    ) -> FloatArray:
        """Steady inputs `(M, n_u)` of a preview's rows; arguments as of `find`.

        Many different rows are followed from those of the last call, which was one sample ago: with a
        disturbance that changes from sample to sample, searching for each anew would take too long. A row
        that does not settle (beyond what can be reached, steps go astray) keeps its inputs of then.
        """
        different, inverse = np.unique(rows, axis=0, return_inverse=True)
        known = all(_key(r, d, v, offset, wish) in self._known for r in different)
        if (
            known
            or len(different) <= _FEW
            or self._row_starts is None
            or len(self._row_starts[0]) != len(rows)
        ):
            found = [self.find(r, d, v, offset, wish) for r in different]
            x, u = (np.array([getattr(t, name) for t in found])[inverse.ravel()] for name in ("x", "u"))
        else:
            last = self.find(rows[-1], d, v, offset, wish)
            x, u = (
                np.concatenate([part[1:], end[None]])
                for part, end in zip(self._row_starts, (last.x, last.u), strict=True)
            )
            n_x, n_y, su = len(self._scale), rows.shape[1], self._u_scale
            aim = np.zeros((len(rows), n_x + len(su)))
            aim[:, :n_y] = rows / self._scale[:n_y]
            aim[:, n_x:] = (self._u0 if wish is None else wish) / su
            view = SteadyView(self._all, self._channels, v, offset)
            with np.errstate(all="ignore"):
                moved = follow_rows(
                    view, self._weight(), aim, (x, u), d, (self._scale, su), (self._u_min, self._u_max)
                )
            x = np.where(moved.settled[:, None], moved.x, x)
            u = np.where(moved.settled[:, None], moved.u, u)
        self._row_starts = (x, u)
        return u

    def weight(
        self, target: NonlinearTarget, v: FloatArray = _NONE, offset: FloatArray | None = None
    ) -> FloatArray | None:
        """Local Riccati weight on the window there; None where there is none."""
        key = _key(target.x, target.u, v, offset)
        if key not in self._weights:
            self._rollout = SteadyView(self._all, self._channels, v, offset)
            if len(self._weights) >= _CACHE:
                self._weights.pop(next(iter(self._weights)))
            self._weights[key] = self._riccati(target) if target.converged else None
        return self._weights[key]

    def _riccati(self, target: NonlinearTarget) -> FloatArray | None:
        a, b = self._rollout.jacobians(target.x[None], target.u[None])
        n_x, n_y = self._rollout.n_x, self._rollout.n_y
        weight = np.zeros((n_x, n_x))
        weight[:n_y, :n_y] = self._Q
        try:
            # A doubtful residual changes but a weight, which binds no plan; and there is no rank_tol here
            # that the caller could change.
            return solve_riccati(a[0], b[0], weight, self._R, "the network at its target", warn=False).P
        except SolverError:
            return None

    def _search(self, r: FloatArray, d: FloatArray, question: FloatArray) -> NonlinearTarget:
        """From the last target; from further starts unless it reaches `r` or is the best of a like search."""
        best, best_miss = self._newton(*self._start, r, d)
        if best is not None and (best_miss <= _REACHED**2 * self.size or self._is_near(question)):
            return best
        past = self._rollout.full(self.starts[0])
        at_rest = self._rollout.window.repeat_channels(np.clip(r, self.y_low, self.y_high), past)
        for x, u in zip([at_rest, *self.settled[1:]], self.starts, strict=True):
            found, miss = self._newton(x, u, r, d)
            if found is not None and (best is None or miss < 0.999 * best_miss):
                best, best_miss = found, miss
                if miss <= _REACHED**2 * self.size:
                    break
        self._searched = question
        if best is None:
            x, u = self._start
            return NonlinearTarget(x, u, x[: self._rollout.n_y].copy(), False)
        return best

    def _question(self, r: FloatArray, d: FloatArray, v: FloatArray, offset: FloatArray | None) -> FloatArray:
        """What is asked, each signal in its scale."""
        y_scale = self._scale[: self._rollout.n_y]
        w = np.zeros(self._all.n_u) if offset is None else offset
        return np.concatenate(
            [r / y_scale, d / y_scale, v / self._v_scale, w / self._all.network.scaling.u_scale]
        )

    def _is_near(self, question: FloatArray) -> bool:
        """Whether this is much the same question as when all starts were last tried."""
        if self._searched is None:
            return False
        return bool(np.abs(question - self._searched).max(initial=0.0) <= _NEAR)

    def _newton(
        self, x: FloatArray, u: FloatArray, r: FloatArray, d: FloatArray
    ) -> tuple[NonlinearTarget | None, float]:
        """Best steady state met on the way from one start, and its misfit; None if there is none."""
        n_x, n_y = self._rollout.n_x, self._rollout.n_y
        sx, su = self._scale, self._u_scale
        weight = self._weight()
        aim = np.concatenate([r / sx[:n_y], np.zeros(n_x - n_y), self._idle / su])
        low, high = self._u_min / su, self._u_max / su
        w = np.concatenate([x / sx, np.clip(u / su, low, high)])
        gap = self._gap(w, d)
        damping, penalty = 0.0, 0.0
        found, miss = None, np.inf
        for _ in range(_MAX_ITERATIONS):
            if not np.isfinite(gap).all():
                break
            here = self._cost(w[:n_y], weight[:n_y, :n_y], aim[:n_y])
            # The newest of those that are as near as any: it is the most exact one.
            if np.abs(gap).max() < _STEADY and here <= 1.001 * miss + _EXACT * self.size:
                found, miss = w, here
            step, multiplier = self._step(w, gap, weight, aim, damping, low, high)
            size = float(np.abs(step).max(initial=0.0))
            if not np.isfinite(size) or size < _TOL:
                break
            step *= min(1.0, 2.0 / size)
            trial = w + step
            trial[n_x:] = np.clip(trial[n_x:], low, high)
            trial_gap = self._gap(trial, d)
            penalty = max(penalty, 2.0 * multiplier)
            before = self._cost(w, weight, aim) + penalty * np.abs(gap).sum()
            after = self._cost(trial, weight, aim) + penalty * np.abs(trial_gap).sum()
            # The first test alone would refuse good steps along a curved set of steady states.
            if after <= before or np.abs(trial_gap).max() <= 0.5 * np.abs(gap).max():
                w, gap = trial, trial_gap
                damping = 0.1 * damping if damping > 1e-8 * self.size else 0.0
            else:
                damping = max(10.0 * damping, 1e-6 * self.size)
        if found is None:
            return None, np.inf
        x, u = found[:n_x] * sx, np.clip(found[n_x:] * su, self._u_min, self._u_max)
        y = x[:n_y].copy()
        if miss > _REACHED**2 * self.size and ((y < self.y_low) | (y > self.y_high)).any():
            miss += _BEYOND * self.size
        return NonlinearTarget(x, u, y, True), miss

    def _weight(self) -> FloatArray:
        """On standardised `[x; u]`."""
        sx, su = self._scale, self._u_scale
        n_x, n_y = len(sx), len(self._Q)
        weight = np.zeros((n_x + len(su), n_x + len(su)))
        weight[:n_y, :n_y] = self._Q * sx[:n_y, None] * sx[:n_y]
        weight[n_x:, n_x:] = self._epsilon * self._R * su[:, None] * su
        return weight

    @staticmethod
    def _cost(w: FloatArray, weight: FloatArray, aim: FloatArray) -> float:
        return float((w - aim) @ weight @ (w - aim))

    def _gap(self, w: FloatArray, d: FloatArray) -> FloatArray:
        n_x = self._rollout.n_x
        x = w[:n_x] * self._scale
        return (self._rollout.step(x, w[n_x:] * self._u_scale, d) - x) / self._scale

    def _step(
        self, w: FloatArray, gap: FloatArray, weight: FloatArray, aim: FloatArray, damping: float,
        low: FloatArray, high: FloatArray,
    ) -> tuple[FloatArray, float]:  # fmt: skip
        """Gauss-Newton step that stops inputs at their bounds, and the steadiness' largest multiplier."""
        n_x, n = self._rollout.n_x, len(w)
        sx, su = self._scale, self._u_scale
        a, b = self._rollout.jacobians((w[:n_x] * sx)[None], (w[n_x:] * su)[None])
        rows = np.hstack([a[0] * sx / sx[:, None] - np.eye(n_x), b[0] * su / sx[:, None]])
        hessian, gradient = weight + damping * np.eye(n), weight @ (w - aim)
        step, free = np.zeros(n), np.full(n, True)
        while True:
            fixed, m = step * ~free, int(free.sum())
            kkt = np.zeros((m + n_x, m + n_x))
            kkt[:m, :m] = hessian[free][:, free]
            kkt[m:, :m], kkt[:m, m:] = rows[:, free], rows[:, free].T
            rhs = np.concatenate([-(gradient + hessian @ fixed)[free], -(gap + rows @ fixed)])
            answer = np.linalg.lstsq(kkt, rhs, rcond=1e-14)[0]
            step[free] = answer[:m]
            new = w[n_x:] + step[n_x:]
            outside = free[n_x:] & ((new < low) | (new > high))
            if not outside.any():
                return step, float(np.abs(answer[m:]).max(initial=0.0))
            held = np.clip(new, low, high) - w[n_x:]
            step[n_x:][outside] = held[outside]
            free[n_x:][outside] = False


def _key(*parts: FloatArray | None) -> bytes:
    """What tells questions apart."""
    return b"|".join(b"-" if part is None else part.tobytes() for part in parts)
