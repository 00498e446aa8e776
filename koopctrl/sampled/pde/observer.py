"""The field from its sensors: an extended Kalman filter on the model's own steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_float_array, as_vector, as_weight, check_finite
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde.step_face import StepFace

if TYPE_CHECKING:
    from koopctrl.sampled.pde.semi_discrete import SemiDiscrete


class FieldObserver:
    r"""Estimate of a model's state from its sensors, one sample at a time.

    .. math::
        \hat x^- = f(\hat x, v),\quad P^- = F P F^T + Q,\quad K = P^- C^T (C P^- C^T + R)^{-1},\quad
        \hat x = \hat x^- + K (y - C \hat x^- - D v)

    with `F` the exponential of the model's derivative at the last estimate. The basis is orthonormal, so
    `Qn = q^2 I` means disturbances of the field of size `q` a sample, the same at all scales.

    Parameters
    ----------
    model : SemiDiscrete
        With sensors.
    dt : float
        Sample time, s.
    Qn : scalar, (n_states,) or (n_states, n_states) array_like
        Covariance of what a sample adds to the state, in the field's unit squared.
    Rn : scalar, (n_outputs,) or (n_outputs, n_outputs) array_like
        Covariance of the sensors' noise, definite.
    P0 : scalar, (n_states,) or matrix, optional
        Covariance of the start; a hundred times `Qn` by default.

    Attributes
    ----------
    x : (n_states,) array
        Estimate after the last `step`.
    P : (n_states, n_states) array
    """

    def __init__(
        self,
        model: SemiDiscrete,
        dt: float,
        Qn: ArrayLike,
        Rn: ArrayLike,
        P0: ArrayLike | None = None,
    ) -> None:
        if not model.n_outputs:
            raise OptionError("the model has no sensors; expected some. Give the equation sensors=points")
        self.model, self.face = model, StepFace(model, dt)
        self.Qn = as_weight(Qn, "Qn", model.n_states)
        self.Rn = as_weight(Rn, "Rn", model.n_outputs, definite=True)
        self._P0 = 100.0 * self.Qn if P0 is None else as_weight(P0, "P0", model.n_states)
        _, _, self._C, self._D = model.linearise(np.zeros(model.n_states))
        self.reset()

    def reset(self, initial: float | Callable[[FloatArray], ArrayLike] | None = None) -> None:
        """Start from a function of the points, or the equation's own start."""
        self.face = StepFace(self.model, self.face.dt)
        self.face.reset(initial)
        self.x, self.P = self.face.x.copy(), self._P0.copy()
        self._started = False

    def step(self, y: ArrayLike, v_last: ArrayLike | None = None) -> FloatArray:
        """Estimate from the outputs `(n_outputs,)`, NaN where missing, and the input held before them."""
        measured = as_float_array(y, "y")
        if measured.shape != (self.model.n_outputs,):
            raise ShapeError(f"y has shape {measured.shape}; expected ({self.model.n_outputs},)")
        there = ~np.isnan(measured)
        check_finite(measured[there], "y")
        v = (
            np.zeros(self.model.n_inputs)
            if v_last is None
            else as_vector(v_last, "v_last", self.model.n_inputs)
        )
        if self._started:
            a, _ = self.model.jacobian(self.x, v)
            transition = linalg.expm(self.face.dt * a)
            self.x = self.face.next_state(self.x, v)
            self.P = transition @ self.P @ transition.T + self.Qn
        self._started = True
        if there.any():
            C, noise = self._C[there], self.Rn[np.ix_(there, there)]
            spread = C @ self.P @ C.T + noise
            gain = linalg.solve(spread, C @ self.P, assume_a="pos").T
            self.x = self.x + gain @ (measured - self.model.output(self.x, v))[there]
            left = np.eye(len(self.P)) - gain @ C
            self.P = left @ self.P @ left.T + gain @ noise @ gain.T
        return self.x.copy()
