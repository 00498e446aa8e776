r"""Steady targets of the nonlinear face, and the local Riccati weight there.

.. math::
    \min_{x, u} |W^{1/2} (y - r)|^2 + \epsilon |R^{1/2} (u - u_0)|^2 \quad\text{s.t.}\quad x = f(x, u) + d,
    \ u_{min} \le u \le u_{max}

by Gauss-Newton with exact Jacobians. An input beyond its bounds is held at the bound and the rest solved
again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.rollout import Rollout, SteadyView
from koopctrl.errors import SolverError

_TOL, _MAX_ITERATIONS, _CACHE = 1e-10, 40, 256


@dataclass(frozen=True)
class NonlinearTarget:
    """One steady state.

    Attributes
    ----------
    x, u, y : arrays
    converged : bool
        Whether it is one to 1e-6 of the signals' scales; if not, it is the best iterate.
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
    x0, u0 : arrays
        Where the first search starts; `u0` is also what idle inputs stay near.
    """

    def __init__(
        self, rollout: Rollout, channels: InputChannels, Q: FloatArray, R: FloatArray, u_min: FloatArray,
        u_max: FloatArray, x0: FloatArray, u0: FloatArray,
    ) -> None:  # fmt: skip
        self._all, self._channels, self._Q, self._R = rollout, channels, Q, R
        self._u_min, self._u_max = u_min, u_max
        self._start, self._u0 = (x0, np.clip(u0, u_min, u_max)), u0
        self._scale = rollout.network.x_scale
        self._u_scale = rollout.network.scaling.u_scale[channels.moved]
        # The tie-break is far below the tracking weight, in standardised units.
        y_scale = self._scale[: rollout.n_y]
        level = np.trace(Q * y_scale[:, None] * y_scale) / np.trace(
            R * self._u_scale[:, None] * self._u_scale
        )
        self._epsilon = 1e-10 * max(float(level), 1e-12)
        self._known: dict[bytes, NonlinearTarget] = {}
        self._weights: dict[bytes, FloatArray | None] = {}

    def find(
        self,
        r: FloatArray,
        d: FloatArray,
        v: FloatArray,
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
            What idle inputs stay near; `u0` by default.
        """
        key = b"".join(part.tobytes() if part is not None else b"-" for part in (r, d, v, offset, wish))
        self._rollout = SteadyView(self._all, self._channels, v, offset)
        self._idle = self._u0 if wish is None else wish
        found = self._known.get(key)
        if found is None:
            found = self._search(r, d)
            if len(self._known) >= _CACHE:
                self._known.pop(next(iter(self._known)))
            self._known[key] = found
            if found.converged:
                self._start = (found.x, found.u)
        return found

    def weight(
        self, target: NonlinearTarget, v: FloatArray, offset: FloatArray | None = None
    ) -> FloatArray | None:
        """Local Riccati weight on the window there; None where there is none."""
        key = b"".join(
            part.tobytes() if part is not None else b"-" for part in (target.x, target.u, v, offset)
        )
        self._rollout = SteadyView(self._all, self._channels, v, offset)
        if key not in self._weights:
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
            return solve_riccati(a[0], b[0], weight, self._R, "the network at its target").P
        except SolverError:
            return None

    def _search(self, r: FloatArray, d: FloatArray) -> NonlinearTarget:
        free = np.ones(self._rollout.n_u, dtype=bool)
        x, u = self._start
        best = self._newton(x, u.copy(), r, d, free)
        # Each pass holds at least one more input at a bound.
        for _ in range(self._rollout.n_u):
            outside = free & ((best.u < self._u_min) | (best.u > self._u_max))
            if not outside.any():
                break
            free &= ~outside
            best = self._newton(best.x, np.clip(best.u, self._u_min, self._u_max), r, d, free)
        return best

    def _newton(
        self, x: FloatArray, u: FloatArray, r: FloatArray, d: FloatArray, free: np.ndarray
    ) -> NonlinearTarget:
        """Equality-constrained Gauss-Newton in standardised coordinates, its steps kept short."""
        roll = self._rollout
        n_x, n_y, n_f = roll.n_x, roll.n_y, int(free.sum())
        sx, su = self._scale, self._u_scale[free]
        Q = self._Q * sx[:n_y, None] * sx[:n_y]
        R = self._R[free][:, free] * su[:, None] * su * self._epsilon
        n = n_x + n_f
        kkt, rhs = np.zeros((n + n_x, n + n_x)), np.zeros(n + n_x)
        size = np.inf
        for _ in range(_MAX_ITERATIONS):
            a, b = roll.jacobians(x[None], u[None])
            gap = (roll.step(x, u, d) - x) / sx
            kkt[:] = 0.0
            kkt[:n_y, :n_y] = Q
            kkt[n_x:n, n_x:n] = R
            rows = np.hstack([a[0] * sx / sx[:, None] - np.eye(n_x), b[0][:, free] * su / sx[:, None]])
            kkt[n:, :n], kkt[:n, n:] = rows, rows.T
            rhs[:] = 0.0
            rhs[:n_y] = -Q @ ((x[:n_y] - r) / sx[:n_y])
            rhs[n_x:n] = -R @ ((u[free] - self._idle[free]) / su)
            rhs[n:] = -gap
            step = np.linalg.lstsq(kkt, rhs, rcond=1e-14)[0][:n]
            size = float(np.abs(step).max(initial=0.0))
            if not np.isfinite(size):
                break
            step *= min(1.0, 2.0 / max(size, 1e-300))
            x = x + step[:n_x] * sx
            u = u.copy()
            u[free] += step[n_x:] * su
            if size < _TOL:
                break
        gap = np.abs((roll.step(x, u, d) - x) / sx).max()
        return NonlinearTarget(x, u, x[:n_y].copy(), bool(np.isfinite(gap) and gap < 1e-6 and size < 1e-3))
