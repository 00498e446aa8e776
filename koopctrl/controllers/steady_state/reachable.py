r"""Set-points within reach: those whose steady input obeys the bounds on inputs.

.. math::
    \min_{u, t} |W^{1/2} (y(u, t) - r)|^2 \quad\text{s.t.}\quad u_{min} \le u \le u_{max}

over all steady states; `t` moves those that need no input, as integrators have them. Among equals, the input
nearest (in the norm of `R`) to the one that would be held without bounds: the minimum is unique.

With `u = u_s + F b + E c`, `F b` what moves the outputs by `|b|` and `E c` what they do not feel, this is the
least `|b|` on which the bounds can be met, found by proximal steps in `c`, and for that `b` the least `|c|`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.qp.dense import scale_rows
from koopctrl.controllers.qp.soft import StepSolver
from koopctrl.controllers.steady_state.linear import SteadyTarget

# Unit of `c` beside that of `b`, relative to the largest gain; proximal steps at most; change that ends them.
_PROXIMAL, STEPS, _SETTLED = 1e-4, 30, 1e-12


@dataclass(frozen=True)
class Reach:
    """The two quadratic programmes, rows scaled: what they bound is `u - u_s`.

    Attributes
    ----------
    rows : (n_u, n_b + n_c) array
        In `b` and in `c` in proximal units.
    row_scale : (n_u,) array
    unit : float
        Of `c`: `c = (proximal variable) / unit`.
    near_rows, near_scale : (n_u, n_c) and (n_u,) arrays
        In `c` alone.
    """

    rows: FloatArray
    row_scale: FloatArray
    unit: float
    near_rows: FloatArray
    near_scale: FloatArray


class ReachableSetPoint:
    """Moves set-points whose steady input would leave its bounds to the nearest that can be held.

    Parameters
    ----------
    target : SteadyTarget
    model : Augmented
    u_min, u_max : (n_u,) arrays
    R : (n_u, n_u) array
        Weight on inputs.

    Attributes
    ----------
    reach : Reach
    """

    def __init__(
        self, target: SteadyTarget, model: Augmented, u_min: FloatArray, u_max: FloatArray, R: FloatArray
    ) -> None:
        self._target, self._u_min, self._u_max, self._u_op = target, u_min, u_max, model.u_op
        freedom = target.freedom
        n_u, n_b = freedom.felt_u.shape
        n_c = freedom.unfelt_u.shape[1]
        unit = _PROXIMAL * (freedom.gain or 1.0)
        idle = np.sqrt(np.diag(R))  # of inputs that no steady state may move
        rows, row_scale = scale_rows(np.hstack([freedom.felt_u, freedom.unfelt_u / unit]), idle)
        near_rows, near_scale = scale_rows(freedom.unfelt_u, idle)
        self.reach = Reach(rows, row_scale, unit, near_rows, near_scale)
        sides = (np.isfinite(u_min), np.isfinite(u_max))
        self._first = StepSolver(n_b + n_c, n_u, 0, "daqp", None, np.inf, *sides)
        inputs = (n_u, _narrowest((u_max - u_min) * row_scale), False)
        self._first.load(np.eye(n_b + n_c), rows, row_scale, np.ones((2, 0)), inputs)
        self._second = StepSolver(n_c, n_u, 0, "daqp", None, np.inf, *sides) if n_b and n_c else None
        if self._second is not None:
            inputs = (n_u, _narrowest((u_max - u_min) * near_scale), False)
            self._second.load(np.eye(n_c), near_rows, near_scale, np.ones((2, 0)), inputs)

    def nearest(
        self, r: FloatArray, d: FloatArray, dv: FloatArray | None = None, du: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Set-point and input wish `u_r - u_op` to ask the target for: as they came where within bounds.

        Where no steady state obeys the bounds they are as they came, too.
        """
        target = self._target
        u = target.u_gain @ r + target.u_offset
        for value, on_u in ((d, target.u_disturbance), (dv, target.u_told), (du, target.u_input)):
            if value is not None and len(value):
                u = u + on_u @ value
        low, high = self._u_min - u, self._u_max - u
        if (low.max() <= 0.0 <= high.min()) or not np.isfinite(u).all():
            return r, du
        found = self._within(low, high) if self.reach.rows.size else None
        if found is None:
            return r, du
        b, c = found
        freedom = target.freedom
        y = target(r, d, dv, du)[2]
        moved = freedom.felt_y @ b + freedom.unfelt_y @ c
        y = y + moved + freedom.idle @ (r - y - moved)
        change = np.clip(freedom.felt_u @ b + freedom.unfelt_u @ c, low, high)
        return y, u + change - self._u_op

    def _within(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """`(b, c)` of least `|b|` and then least `|c|` that obey the bounds; None if none does."""
        reach, freedom = self.reach, self._target.freedom
        n_b, n_c = freedom.felt_u.shape[1], freedom.unfelt_u.shape[1]
        n = n_b + n_c
        free = np.full(n, np.inf)
        lower = np.concatenate([-free, low * reach.row_scale])
        upper = np.concatenate([free, high * reach.row_scale])
        x = np.zeros(n)
        for _ in range(STEPS):
            answer = self._first.solve(np.concatenate([np.zeros(n_b), -x[n_b:]]), lower, upper)
            if answer.x is None:
                return None
            step, x = float(np.abs(answer.x - x).max()), answer.x
            if not n_c or not n_b or step <= _SETTLED * float(np.abs(x).max()):
                break
        b, c = x[:n_b], x[n_b:] / reach.unit
        if self._second is not None:
            moved = freedom.felt_u @ b
            free = np.full(n_c, np.inf)
            nearer = self._second.solve(
                np.zeros(n_c),
                np.concatenate([-free, (low - moved) * reach.near_scale]),
                np.concatenate([free, (high - moved) * reach.near_scale]),
            )
            if nearer.x is not None:
                c = nearer.x
        return b, c


def _narrowest(ranges: FloatArray) -> float:
    """The least that is not zero; infinite without any."""
    return float(np.min(ranges[ranges > 0.0], initial=np.inf))
