"""Feedback that follows a measured parameter."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import RegularGridInterpolator
from scipy.linalg import LinAlgError, solve_discrete_are

from koopctrl._time import check_dt
from koopctrl._validation import FloatArray, as_vector, as_weight, check_integer
from koopctrl.errors import SolverError
from koopctrl.ltinet.varying.network import ParameterNetwork


class ScheduledLQR:
    """Gain-scheduled LQR `u = u_s - K(p) (w - w_s)`: Riccati gains on a grid of parameters, linear between
    them.

    All gains act on the same neuron states, which a common basis makes possible. `w_s, u_s` hold the outputs
    at the
    reference for the present parameter.

    Parameters
    ----------
    net : ParameterNetwork
    Q : scalar, (n_y,) or (n_y, n_y)
        Weight on the outputs.
    R : scalar, (n_u,) or (n_u, n_u)
        Weight on the inputs.
    dt : float
        Sample time in seconds.
    per_axis : int
        Grid points per parameter.

    Attributes
    ----------
    gains : array (per_axis, .., n_u, m)
        On the grid.

    Raises
    ------
    SolverError
        No stabilising gain at a grid point.
    """

    def __init__(
        self, net: ParameterNetwork, Q: ArrayLike, R: ArrayLike, *, dt: float, per_axis: int = 9
    ) -> None:
        self.net, self.dt = net, check_dt(dt)
        per_axis = check_integer(per_axis, "per_axis", low=2)
        model = net.model
        n_y, n_u = len(model.C[0]), model.B[0].shape[1]
        Q, R = as_weight(Q, "Q", n_y), as_weight(R, "R", n_u, definite=True)
        axes = [np.linspace(low, high, per_axis) for low, high in zip(model.p_min, model.p_max, strict=True)]
        gains = [self._gain(np.array(p), Q, R) for p in product(*axes)]
        self.gains = np.array(gains).reshape(*[per_axis] * net.n_p, n_u, net.n_states)
        self._interpolate = RegularGridInterpolator(axes, self.gains)

    def _gain(self, p: FloatArray, Q: FloatArray, R: FloatArray) -> FloatArray:
        A, B, C, _ = self.net.sampled(p, self.dt)
        try:
            P = solve_discrete_are(A, B, C.T @ Q @ C, R)
        except LinAlgError as error:
            raise SolverError(
                f"no stabilising gain was found at p = {p.tolist()} ({error}); expected a stabilisable model"
            ) from error
        return np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)

    def gain(self, p: ArrayLike) -> FloatArray:
        """`K(p)`, (n_u, m)."""
        values = as_vector(np.atleast_1d(np.asarray(p, dtype=float)), "p", self.net.n_p)
        return self._interpolate(values)[0]

    def control(self, w: ArrayLike, p: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input for neuron states `w`, measured parameter `p` and a reference of the outputs
        (zero by default).
        """
        state = as_vector(w, "w", self.net.n_states)
        values = as_vector(np.atleast_1d(np.asarray(p, dtype=float)), "p", self.net.n_p)
        K = self.gain(values)
        if reference is None:
            return -K @ state
        A, B, C, D = self.net.model.at(values)
        n_y, n_u, m = len(C), B.shape[1], len(A)
        r = as_vector(reference, "reference", n_y)
        both = np.linalg.lstsq(np.block([[A, B], [C, D]]), np.concatenate([np.zeros(m), r]), rcond=None)[0]
        return both[m : m + n_u] - K @ (state - both[:m])
