r"""Noise covariances of a Kalman filter where the caller gives none: those that the data showed.

A model that was identified with its noise has `(Q, R, S)`. The filter here takes noises that are not
correlated: with `S`, the gain is that of `(gamma Q, R)` whose innovations,

.. math:: \tilde x_{k+1} = (A - L C)\,\tilde x_k + (K - L)\, e_k, \qquad K = S R^{-1},

are smallest. A model that was fitted one step ahead has its training pairs: `W`, the covariance of the
one-step residuals in lifted coordinates, holds process noise, measurement noise and the model's own error,
and `Q = q W, R = r C W C'` with the ratio `q / r` of largest likelihood of the filter's innovations along
them.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import OptionError, SolverError
from koopctrl.lifted.model import LiftedModel

_RATIOS = 10.0 ** np.arange(-4.0, 3.5, 0.5)  # of Q to R, in units of their first guess
_MAX_PAIRS = 1_000
_BURN_IN, _FEWEST = 10, 20
# Of the coordinates' and outputs' training variance: noise-free data keep definite covariances.
_FLOOR = 1e-14


def identified_noise(lifted: LiftedModel) -> tuple[FloatArray, FloatArray]:
    """`(Qn, Rn)`, `(n_z, n_z)` in lifted coordinates and `(n_y, n_y)` of all outputs.

    Raises
    ------
    OptionError
        If the model has neither identified noise nor training pairs.
    """
    if lifted.noise is not None:
        q, r, s = lifted.noise
        return _uncorrelated(lifted, q, r, s) if s.any() else (q, r)
    if lifted.training is None or not len(lifted.training[0]):
        raise OptionError(
            "Qn and Rn are not given, and the model has neither identified noise nor training data; expected "
            "both covariances. Pass Qn=..., Rn=..."
        )
    return _from_residuals(lifted)


def _uncorrelated(
    lifted: LiftedModel, q: FloatArray, r: FloatArray, s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    gain, root = np.linalg.solve(r.T, s.T).T, np.linalg.cholesky(r)
    best, factor = np.inf, 1.0
    for ratio in _RATIOS:
        found = _predictor(lifted, ratio * q, r)
        if found is None:
            continue
        left = (gain - found) @ root
        error = linalg.solve_discrete_lyapunov(lifted.A - found @ lifted.C, left @ left.T)
        seen = np.linalg.solve(root, lifted.C)
        size = float(np.trace(seen @ error @ seen.T))
        if size < best:
            best, factor = size, ratio
    return factor * q, r


def _from_residuals(lifted: LiftedModel) -> tuple[FloatArray, FloatArray]:
    assert lifted.training is not None
    z, du, z_next = (a[:_MAX_PAIRS] for a in lifted.training)
    # Of pairs that are thinned or begin an episode the next state is not the state of the pair after it.
    n_x = lifted.n_x
    follows = np.concatenate([[False], (z_next[:-1, :n_x] == z[1:, :n_x]).all(axis=1)])
    counted = _counted(follows)
    residual = z_next - lifted.step(z, du + lifted.u_op)
    floor_z = _floor(np.diag(z.T @ z) / len(z))
    y = lifted.output(z, du + lifted.u_op) - lifted.y_op
    floor_y = _floor(np.diag(y.T @ y) / len(z))
    w = residual.T @ residual / len(z) + np.diag(floor_z)
    r = lifted.C @ w @ lifted.C.T + np.diag(floor_y)
    best, found = np.inf, (0.5 * w, 0.5 * r)  # where pairs do not follow one another nothing tells them apart
    for ratio in _RATIOS if counted.sum() >= _FEWEST else ():
        likelihood, scale = _likelihood(lifted, ratio * w, r, (z, du, y), follows, counted)
        if likelihood < best:
            best, found = likelihood, (scale * ratio * w, scale * r)
    return found


def _counted(follows: np.ndarray) -> np.ndarray:
    """Pairs before which a filter has run long enough."""
    since = np.zeros(len(follows), dtype=int)
    for k in range(1, len(follows)):
        since[k] = since[k - 1] + 1 if follows[k] else 0
    return since >= min(_BURN_IN, max(since.max(initial=0) // 2, 1))


def _floor(variance: FloatArray) -> FloatArray:
    """A trace of each variance; signals that do not move get one of the others'."""
    moving = variance[variance > 0]
    return _FLOOR * np.where(variance > 0, variance, moving.min() if len(moving) else 1.0)


def _predictor(lifted: LiftedModel, q: FloatArray, r: FloatArray) -> FloatArray | None:
    """Gain `A M` of the steady one-step predictor; None where there is none."""
    try:
        return solve_riccati(lifted.A.T, lifted.C.T, q, r, "", warn=False).K.T
    except SolverError:
        return None  # the filter itself says why


def _likelihood(
    lifted: LiftedModel,
    q: FloatArray,
    r: FloatArray,
    data: tuple[FloatArray, FloatArray, FloatArray],
    follows: np.ndarray,
    counted: np.ndarray,
) -> tuple[float, float]:
    """`-2 log` likelihood a sample with the common scale of `q` and `r` at its best, and that scale."""
    try:
        found = solve_riccati(lifted.A.T, lifted.C.T, q, r, "", warn=False)
    except SolverError:
        return np.inf, 1.0
    z, du, y = data
    gain, s = found.K.T, lifted.C @ found.P @ lifted.C.T + r
    a, push = lifted.A - gain @ lifted.C, du @ lifted.B.T + lifted.c + y @ gain.T
    if lifted.N is not None:
        push = push + np.einsum("ti,ijk,tk->tj", du, lifted.N, z)
    states = np.empty_like(z)
    for k in range(len(z)):
        states[k] = a @ states[k - 1] + push[k - 1] if follows[k] else z[k]
    e = (y - states @ lifted.C.T)[counted]
    root = np.linalg.cholesky(s)
    scale = float(np.mean(linalg.solve_triangular(root, e.T, lower=True) ** 2))
    if not (np.isfinite(scale) and scale > 0):
        return np.inf, 1.0
    return len(s) * np.log(scale) + 2.0 * float(np.log(np.diag(root)).sum()), scale
