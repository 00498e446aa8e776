r"""LQR in lifted coordinates.

.. math::
    u_k = u_s - K (z_k - z_s), \qquad
    \min \sum_k (y_k - y_s)' Q (y_k - y_s) + (u_k - u_s)' R (u_k - u_s)

`(z_s, u_s, y_s)` is the steady target of the set-point (`koopctrl.controllers.steady_state.linear`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_vector, as_weight, broadcast_vector
from koopctrl.controllers.estimation.measurement import ABSURD, Observer, StateSource, as_measurement
from koopctrl.controllers.mpc.info import NO_MEASUREMENT, NOT_FINITE, ControlInfo
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.steady_state.linear import steady_target
from koopctrl.controllers.steady_state.reachable import ReachableSetPoint
from koopctrl.errors import OptionError
from koopctrl.lifted.model import LiftedModel

if TYPE_CHECKING:
    import control


class LQR:
    """Linear-quadratic regulator on a lifted model, saturated at the input's bounds.

    Parameters
    ----------
    lifted : LiftedModel
        From `model.lift_at(...)` or `LiftedModel.from_matrices(...)`.
    Q : scalar, (n_y,), (n_y, n_y) or (n_z, n_z) array_like
        Weight on the outputs, or on the lifted coordinates; positive semidefinite.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on the inputs; positive definite.
    u_min, u_max : scalar or (n_u,) array_like, optional
        The input is clipped to these.
    observer : KalmanFilter, optional
        Estimates the lifted state; by default measurements are lifted.
    offset_free : bool, float or "input"
        As in `LinearMPC`: no steady-state error under a constant load or a wrong model.

    Attributes
    ----------
    K : (n_u, n_z) array
        Feedback gain, `u = u_s - K (z - z_s)`.
    P : (n_z, n_z) array
        Cost to go.
    residual : float
        Of the Riccati equation, relative to `P`.
    spectral_radius : float
        Of the closed loop `A - B K` in lifted coordinates.
    target : SteadyTarget
        The map from set-points to steady states.

    Raises
    ------
    SolverError
        If no stabilising gain exists or none is found.
    OptionError, ShapeError
        If a weight or bound does not fit the model.

    Notes
    -----
    Anderson & Moore, *Optimal Control: Linear Quadratic Methods*, 1990.
    """

    def __init__(
        self,
        lifted: LiftedModel,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        observer: Observer | None = None,
        offset_free: bool | float | str = False,
    ) -> None:
        source = self._source = StateSource(lifted, observer, offset_free)
        self.lifted, self.dt, self.set_point = lifted, lifted.dt, lifted.y_op.copy()
        self.n_measured, self.observer = source.n_measured, source.observer
        self.Q, lifted_q = output_or_lifted_weight(Q, lifted)
        self.R = as_weight(R, "R", lifted.n_u, definite=True)
        self.u_min, self.u_max = input_bounds(u_min, u_max, lifted.n_u)
        found = solve_riccati(lifted.A, lifted.B, lifted_q, self.R, "the lifted pair (A, B)")
        self.K, self.P = found.K, found.P
        self.residual, self.spectral_radius = found.residual, found.spectral_radius
        weight = self.Q if len(self.Q) == lifted.n_y else np.eye(lifted.n_y)
        target = self.target = steady_target(source.model, weight, self.R)
        self._reachable = ReachableSetPoint(target, source.model, weight, self.R, self.u_min, self.u_max)
        # u = u_s + K z_s - K z with [z; d] = basis p + offset, folded into three small products.
        on_augmented = np.hstack([self.K, -(target.u_disturbance + self.K @ target.z_disturbance)])
        self._gain = on_augmented @ source.basis
        self._from_r = target.u_gain + self.K @ target.z_gain
        self._from_wish = target.u_input + self.K @ target.z_input
        self._constant = target.u_offset + self.K @ target.z_offset - on_augmented @ source.offset
        self.reset()

    def reset(self) -> None:
        """Forget past measurements and inputs."""
        self._source.reset()
        self._u_last: FloatArray | None = None
        self.info: ControlInfo | None = None

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest outputs; NaN marks a missing one, then the last input is held unless there is an observer.
        reference : (n_y,) array_like, optional
            Set-point, `y_op` by default; of a preview `(n, n_y)` the first row counts.

        Returns
        -------
        (n_u,) array
        """
        start = time.perf_counter()
        y = as_measurement(measurement, self._source.n_measured)
        r = set_point(reference, self.lifted)
        # Absurd measurements overflow; what comes of them is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            p = self._source.read(y, self._u_last)
            free = None if p is None else self._unbounded(p, r)
        reason = ""
        if free is not None and np.isfinite(free).all():
            u = np.clip(free, self.u_min, self.u_max)
            status = "optimal" if np.array_equal(u, free) else "saturated"
        else:
            held = self.lifted.u_op if self._u_last is None else self._u_last
            u, status = np.clip(held, self.u_min, self.u_max), "fallback_hold"
            reason = NO_MEASUREMENT if free is None else NOT_FINITE
        # No solver tells when it has become too much, as in LinearMPC.
        self._source.forget_absurd(y, ABSURD**2)
        self._u_last = u
        self.info = ControlInfo(status, time.perf_counter() - start, reason)
        return u.copy()

    def _unbounded(self, p: FloatArray, r: FloatArray) -> FloatArray:
        """The input without its bounds."""
        r, wish = self._reachable.nearest(r, self._source.disturbance(p))
        free = self._from_r @ r + self._constant - self._gain @ p
        return free if wish is None else free + self._from_wish @ wish

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """python-control block `[y; r] -> u`; see `koopctrl.export.pycontrol.controller_to_nlsys`."""
        from koopctrl.controllers.mpc.memory import PureController
        from koopctrl.export.pycontrol import controller_to_nlsys

        pure = PureController(self)
        return controller_to_nlsys(self, pure, pure.size)

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        self._u_last = as_vector(u, "u", self.lifted.n_u).copy()


def output_or_lifted_weight(Q: ArrayLike, lifted: LiftedModel) -> tuple[FloatArray, FloatArray]:
    """The weight as given `(n_y, n_y)` or `(n_z, n_z)`, and its `(n_z, n_z)` form."""
    shape = np.shape(Q)
    if len(shape) == 2 and shape == (lifted.n_z, lifted.n_z) and lifted.n_z != lifted.n_y:
        weight = as_weight(Q, "Q", lifted.n_z)
        return weight, weight
    weight = as_weight(Q, "Q", lifted.n_y)
    return weight, lifted.C.T @ weight @ lifted.C


def input_bounds(
    low: ArrayLike | None, high: ArrayLike | None, size: int, names: tuple[str, str] = ("u_min", "u_max")
) -> tuple[FloatArray, FloatArray]:
    """Bounds as vectors, infinite where there is none; refused when they cross."""
    lower = np.full(size, -np.inf) if low is None else broadcast_vector(low, names[0], size, finite=False)
    upper = np.full(size, np.inf) if high is None else broadcast_vector(high, names[1], size, finite=False)
    if (lower > upper).any() or (lower == np.inf).any() or (upper == -np.inf).any():
        raise OptionError(
            f"{names[0]} is {lower.tolist()} and {names[1]} is {upper.tolist()}; expected {names[0]} <= "
            f"{names[1]} "
            "in every entry"
        )
    return lower.copy(), upper.copy()


def set_point(reference: ArrayLike | None, lifted: LiftedModel) -> FloatArray:
    """One set-point `(n_y,)`; the first row of a preview."""
    if reference is None:
        return lifted.y_op
    array = as_float_array(reference, "reference")
    return as_vector(array[0] if array.ndim == 2 and len(array) else array, "reference", lifted.n_y)
