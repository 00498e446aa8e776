r"""Noise covariances of an extended Kalman filter where the caller gives none: those of the training data.

`W`, the covariance of the network's one-step residuals, holds process noise, measurement noise and the
model's own error, and

.. math:: Q_n = q W, \qquad R_n = r W

with the ratio `q / r` of largest likelihood of the filter's innovations along stretches of the training data;
their common scale follows in closed form.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.rollout import Rollout
from koopctrl.errors import OptionError
from koopctrl.identification.held_out import episodes
from koopctrl.koopman_rnn import KoopmanRNN

_RATIOS = 10.0 ** np.arange(-4.0, 3.5, 0.5)
_LONGEST, _MOST, _BURN_IN, _FEWEST = 100, 10, 10, 20
_MAX_PAIRS = 5_000
# Of the outputs' training variance: noise-free data keep definite covariances.
_FLOOR = 1e-14


def network_noise(model: KoopmanRNN) -> tuple[FloatArray, FloatArray]:
    """`(Qn, Rn)`, both `(n_y, n_y)`, on the next outputs and on their measurements.

    Raises
    ------
    OptionError
        If the model has lost its training data.
    """
    snapshots = model.snapshots_
    if not len(snapshots.x):
        raise OptionError(
            "Qn and Rn are not given, and the model has no training data to take them from; expected both "
            "covariances. Pass Qn=..., Rn=..."
        )
    roll, scale = Rollout(model.network_), model.network_.scaling.y_scale
    runs = [r for r in episodes(roll.window, snapshots) if r.stop - r.start > _BURN_IN + _FEWEST]
    x, u, y_next = snapshots.x[:_MAX_PAIRS], snapshots.u[:_MAX_PAIRS], snapshots.y_next[:_MAX_PAIRS]
    left = (y_next - _next_outputs(roll, x, u)) / scale
    W = left.T @ left / len(left) + _FLOOR * np.eye(len(scale))
    unit = scale * scale[:, None]
    if not runs:  # nothing tells the two apart
        return 0.5 * W * unit, 0.5 * W * unit
    longest = max(r.stop - r.start for r in runs)
    length = min(_LONGEST, longest)
    starts = [k for r in runs for k in range(r.start, r.stop - length + 1, length)]
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(_MOST, len(starts))).round().astype(int))
    rows = np.array(starts)[chosen][:, None] + np.arange(length)
    value, common = _likelihoods(roll, snapshots.x[rows], snapshots.u[rows], snapshots.y_next[rows], W * unit)
    if not np.isfinite(value).any():
        return 0.5 * W * unit, 0.5 * W * unit
    best = int(np.argmin(value))
    return common[best] * _RATIOS[best] * W * unit, common[best] * W * unit


def _next_outputs(roll: Rollout, x: FloatArray, u: FloatArray) -> FloatArray:
    return roll.run(x, u[:, None], np.zeros(roll.n_y))[:, 1, : roll.n_y]


def _likelihoods(
    roll: Rollout, x: FloatArray, u: FloatArray, y_next: FloatArray, W: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`-2 log` likelihood a sample of each ratio, and the common scale, over `(n_runs, length)` pairs.

    All filters run side by side, in units of the training data.
    """
    n_runs, length, n_x = x.shape
    n_y, n = roll.n_y, len(_RATIOS)
    size = roll.network.x_scale
    W = W / size[:n_y] / size[:n_y, None]
    q = np.zeros((n, 1, n_x, n_x))
    q[:, 0, :n_y, :n_y] = _RATIOS[:, None, None] * W
    first = np.zeros((n_x, n_x))  # a first window is as inexact as measurements are
    for lag in range(roll.window.output_lags):
        own = slice(lag * n_y, (lag + 1) * n_y)
        first[own, own] = W
    P = np.broadcast_to(first, (n, n_runs, n_x, n_x))
    s = np.broadcast_to(x[:, 0], (n, n_runs, n_x))
    squares, logs, count = np.zeros(n), np.zeros(n), 0
    with np.errstate(all="ignore"):
        for k in range(length):
            flat, acting = s.reshape(-1, n_x), np.tile(u[:, k], (n, 1))
            a, _ = roll.jacobians(flat, acting)
            a = (a * size / size[:, None]).reshape(n, n_runs, n_x, n_x)
            predicted = roll.run(flat, acting[:, None], np.zeros(n_y))[:, 1].reshape(n, n_runs, n_x)
            P = a @ P @ np.swapaxes(a, 2, 3) + q
            S = P[..., :n_y, :n_y] + W
            e = (y_next[:, k] - predicted[..., :n_y]) / size[:n_y]
            S = np.where(np.isfinite(S), S, np.inf)
            bad = ~np.isfinite(S).all(axis=(1, 2, 3))
            S[bad] = np.eye(n_y)
            e[bad] = np.inf
            gain = np.swapaxes(np.linalg.solve(S, P[..., :n_y, :]), 2, 3)
            if k >= _BURN_IN:
                squares += np.einsum("...i,...ij,...j->...", e, np.linalg.inv(S), e).sum(axis=1)
                logs += np.linalg.slogdet(S)[1].sum(axis=1)
                count += n_runs * n_y
            s = predicted + (gain @ e[..., None])[..., 0] * size
            P = P - gain @ P[..., :n_y, :]
            P = 0.5 * (P + np.swapaxes(P, 2, 3))
        common = squares / count
        value = np.log(common) + logs / count
    return np.where(np.isfinite(value), value, np.inf), common
