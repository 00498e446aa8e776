r"""Set-points within reach: those whose steady input obeys the bounds on inputs.

.. math::
    \min_{u, t} |W^{1/2} (y(u, t) - r)|^2 \quad\text{s.t.}\quad u_{min} \le u \le u_{max}

over all steady states; `t` moves those that need no input, as integrators have them. Among equals, the input
nearest the one that would have been held without bounds.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.steady_state.linear import RANK_TOL, SteadyTarget, weight_factor

# Weight of staying near the unbounded input, and of staying among the steady inputs, both relative to W.
_NEAR, _STEADY = 1e-8, 1e4


class ReachableSetPoint:
    """Moves set-points whose steady input would leave its bounds to the nearest that can be held.

    Parameters
    ----------
    target : SteadyTarget
    model : Augmented
    weight, R : arrays
        The distance `|W^1/2 (y - r)|`, and the (much smaller) weight that picks among equals.
    u_min, u_max : (n_u,) arrays
    """

    def __init__(
        self,
        target: SteadyTarget,
        model: Augmented,
        weight: FloatArray,
        R: FloatArray,
        u_min: FloatArray,
        u_max: FloatArray,
    ) -> None:
        self._target, self._u_min, self._u_max, self._u_op = target, u_min, u_max, model.u_op
        self._weight = weight_factor(weight)
        states = target.states
        left, s, vt = np.linalg.svd(states.null_u, full_matrices=True)
        # Null vectors have norm 1, so this tolerance is absolute.
        rank = int(np.count_nonzero(s > RANK_TOL))
        on_outputs = model.lifted.C @ states.null_z
        # Outputs move with steady inputs as y = gain (u - u_s) + idle t.
        self._gain = on_outputs @ (vt[:rank].T @ (left[:, :rank].T / s[:rank, None]))
        idle = on_outputs @ vt[rank:].T
        _, size, directions = np.linalg.svd(self._weight @ idle, full_matrices=False)
        seen = directions[size > RANK_TOL * max(float(np.abs(on_outputs).max(initial=0.0)), 1e-300)]
        self._idle = idle @ seen.T
        outside = np.eye(model.n_u) - left[:, :rank] @ left[:, :rank].T
        level = max(float(np.abs(self._weight @ self._gain).max(initial=0.0)), 1e-300)
        n_t = self._idle.shape[1]
        self._n_weighted = len(self._weight)
        self._rows = np.vstack(
            [
                np.hstack([self._weight @ self._gain, self._weight @ self._idle]),
                np.hstack([_NEAR * level * weight_factor(R), np.zeros((model.n_u, n_t))]),
                np.hstack([_STEADY * level * outside, np.zeros((model.n_u, n_t))]),
            ]
        )
        self._free = np.full(n_t, np.inf)

    def nearest(
        self, r: FloatArray, d: FloatArray, dv: FloatArray | None = None, du: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Set-point and input wish `u_r - u_op` to ask the target for: as they came where within bounds."""
        target = self._target
        u = target.u_gain @ r + target.u_offset
        for value, on_u in ((d, target.u_disturbance), (dv, target.u_told), (du, target.u_input)):
            if value is not None and len(value):
                u = u + on_u @ value
        if ((u >= self._u_min) & (u <= self._u_max)).all() or not np.isfinite(u).all():
            return r, du
        y = target(r, d, dv, du)[2]
        # Unknowns: the input's distance from u, and t.
        rhs = np.zeros(len(self._rows))
        rhs[: self._n_weighted] = self._weight @ (r - y)
        held = self._u_min == self._u_max
        low = np.concatenate([np.where(held, self._u_min - 1e-9, self._u_min) - u, -self._free])
        high = np.concatenate([np.where(held, self._u_max + 1e-9, self._u_max) - u, self._free])
        if not (low < high).all():  # u is beyond all measure, and with it the disturbance
            return r, du
        found = optimize.lsq_linear(self._rows, rhs, (low, high), method="bvls", tol=1e-12)
        change, t = found.x[: len(u)], found.x[len(u) :]
        return y + self._gain @ change + self._idle @ t, u + change - self._u_op
