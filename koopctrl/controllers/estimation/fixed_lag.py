r"""The Kalman filter with what is bounded at the last samples beside its state: a fixed-lag smoother.

.. math::
    \zeta_k = [s_k;\ E s_{k-1};\ \dots;\ E s_{k-M}], \qquad
    \zeta_{k+1} = \begin{bmatrix} A & 0 & 0 \\ E & 0 & 0 \\ 0 & I & 0 \end{bmatrix} \zeta_k + \dots

It is a Kalman filter again, so that its start, its gate, missing signals and both gains are those of the
filter. Its estimate of `s` is the filter's; the rest is what all measurements up to now say of the past.
Anderson & Moore, *Optimal Filtering*, 1979, chapter 7.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.gate import corrected_covariance, filter_gain
from koopctrl.controllers.estimation.kalman_law import KalmanLaw, KalmanState


class FixedLagLaw(KalmanLaw):
    """A `KalmanLaw` of `[s; lagged]`.

    Attributes
    ----------
    E : (n_b, n) array
        What is kept of past states.
    n, n_lagged : int
        Of `s`, and of the rest: `n_b` times the number of lags.
    filtered : (n + n_lagged, n + n_lagged) array
        Covariance after a complete measurement, with the steady gain.
    """

    E: FloatArray
    n: int
    n_lagged: int
    filtered: FloatArray

    @classmethod
    def of(cls, kalman: KalmanLaw, E: FloatArray, n_lags: int) -> FixedLagLaw:
        """Keep `E s` of `n_lags` past samples beside a filter's state."""
        made, model = object.__new__(cls), kalman.model
        for name, value in vars(kalman).items():
            setattr(made, name, value)
        n, n_b = len(model.A), len(E)
        n_lagged = n_b * n_lags
        made.E, made.n, made.n_lagged = E, n, n_lagged
        A = np.zeros((n + n_lagged, n + n_lagged))
        A[:n, :n] = model.A
        if n_lags:
            A[n : n + n_b, :n] = E
            A[n + n_b :, n : n + n_lagged - n_b] = np.eye(n_lagged - n_b)

        def below(matrix: FloatArray) -> FloatArray:
            return np.concatenate([matrix, np.zeros((n_lagged, *matrix.shape[1:]))])

        def beside(matrix: FloatArray) -> FloatArray:
            return np.hstack([matrix, np.zeros((len(matrix), n_lagged))])

        made.model = replace(
            model, A=A, B=below(model.B), C=beside(model.C), c=below(model.c), Bv=below(model.Bv),
            B_all=below(model.B_all),
        )  # fmt: skip
        made.C = beside(kalman.C)
        made.noise = np.asarray(linalg.block_diag(kalman.noise, np.zeros((n_lagged, n_lagged))))
        # Before the first measurement the plant is taken to have been at rest.
        rest = np.vstack([np.eye(n), np.tile(E, (n_lags, 1))])
        made.P0 = rest @ kalman.P0 @ rest.T
        made._steady_covariance(kalman.P, n_lags)
        return made

    def _steady_covariance(self, P: FloatArray, n_lags: int) -> None:
        """Fill the lags one after another from the filter's own steady covariance."""
        n, A, C = self.n, self.model.A, self.C
        joint = np.zeros_like(self.noise)
        joint[:n, :n] = P
        for _ in range(n_lags + 1):
            gain = filter_gain(joint, C, self.Rn)[0]
            self.filtered = corrected_covariance(joint, gain, C, self.Rn)
            self.P, joint = joint, A @ self.filtered @ A.T + self.noise
            joint = 0.5 * (joint + joint.T)
            joint[:n, :n] = P  # to rounding
        self.seen_P = C @ self.P
        self.M = np.linalg.solve(self.innovation, self.seen_P).T

    def at_rest(self, s: FloatArray) -> FloatArray:
        """`zeta` of a plant that has been at `s`."""
        return np.concatenate([s, np.tile(self.E @ s, self.n_lagged // max(1, len(self.E)))])

    def start_from(self, z0: FloatArray) -> KalmanState:
        """See `KalmanLaw`."""
        s = np.concatenate([z0, np.zeros(self.model.n_d)])
        return super().with_estimate(self.initial(), self.at_rest(s))

    def with_estimate(self, state: KalmanState, z: FloatArray) -> KalmanState:
        """The state with another estimate, at which the plant has been."""
        return super().with_estimate(state, self.at_rest(z))

    def _start(self, state: KalmanState, y: FloatArray, early: np.ndarray) -> FloatArray:
        """See `KalmanLaw`; a start says that the plant was at rest."""
        found = super()._start(state, y, early)
        return self.at_rest(found[: self.n]) if self.lifts else found
