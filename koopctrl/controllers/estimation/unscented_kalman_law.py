r"""The unscented Kalman filter on the nonlinear face as numbers and a pure step.

A prediction's moments are those of `2 n + 1` points that have the estimate's own, sent through the network:

.. math::
    s_0 = \hat s, \quad s_{\pm i} = \hat s \pm c\, L_i, \quad P = L L', \qquad
    w_{\pm i} = \frac{1}{2 c^2}, \quad w_0 = 1 - \frac{n}{c^2}

.. math::
    \hat s^+ = \sum_i w_i f(s_i), \qquad
    P^+ = \sum_{i \neq 0} w_i\, (f(s_i) - f(s_0))(f(s_i) - f(s_0))' + Q

Deviations are counted from the centre's image, so that `P+` is positive semidefinite whatever `n` (the
modified form of Julier and Uhlmann). Corrections are those of the extended filter, exact here: measured
signals are linear in `s`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_number
from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw
from koopctrl.koopman_rnn import KoopmanRNN

# Of a variance: what is left of it in a factor's pivot from rounding alone.
NOTHING = 1e-14


class UnscentedKalmanLaw(ExtendedKalmanLaw):
    """A filter's numbers; parameters and attributes are those of `UnscentedKalmanFilter`."""

    name = "UnscentedKalmanFilter"

    def __init__(
        self,
        model: KoopmanRNN,
        Qn: ArrayLike | None = None,
        Rn: ArrayLike | None = None,
        *,
        measured: Sequence[str | int] | str | int | None = None,
        disturbance: str = "none",
        Qd: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        gate: float | None = None,
        spread: float = 3.0**0.5,
    ) -> None:
        self.spread = check_number(spread, "spread", low=0.0, strict=True)
        super().__init__(
            model, Qn, Rn, measured=measured, disturbance=disturbance, Qd=Qd, P0=P0, gate=gate
        )  # fmt: skip

    def moments(self, s: FloatArray, P: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance one step on, from points around `s`."""
        roll, weight = self.rollout, 0.5 / self.spread**2
        away = self.spread * semidefinite_factor(P).T
        points = np.concatenate([s[None], s + away, s - away])
        f = roll.advance_each(points, np.broadcast_to(u, (len(points), roll.n_u)))
        moved = f[1:] - f[0]
        P = weight * (moved.T @ moved) + self.noise
        return f[0] + weight * moved.sum(axis=0), 0.5 * (P + P.T)


def semidefinite_factor(P: FloatArray) -> FloatArray:
    """Lower triangular `L` with `L L' = P`; a column is zero where nothing is left of a variance.

    The points depend on which factor is taken: generated C takes the same.
    """
    n = len(P)
    L = np.zeros((n, n))
    for j in range(n):
        left = P[j:, j] - L[j:, :j] @ L[j, :j]
        if left[0] > NOTHING * P[j, j]:
            L[j:, j] = left / np.sqrt(left[0])
    return L
