r"""Noise covariances of a one-step fit: what an extended Kalman filter finds along the training data.

`W`, the covariance of the network's one-step residuals, holds process noise, measurement noise and the
model's own error, and

.. math:: Q = q W, \qquad R = r W

with the ratio `q / r` of largest likelihood of the filter's innovations along stretches of the training data;
their common scale follows in closed form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.identification.held_out import Snapshots, episodes
from koopctrl.identification.window_filter import filter_steps, standardised
from koopctrl.network.folded import Rollout
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

_RATIOS = 10.0 ** np.arange(-4.0, 3.5, 0.5)
_LONGEST, _MOST, _BURN_IN, _FEWEST = 100, 10, 10, 20
_MAX_PAIRS = 5_000
# Of the outputs' training variance: noise-free data keep definite covariances.
_FLOOR = 1e-14


def network_noise(model: KoopmanRNN) -> tuple[FloatArray, FloatArray]:
    """`(Q, R)`, both `(n_y, n_y)`, of a fitted network's next outputs and of their measurements.

    Raises
    ------
    OptionError
        If the model has lost its training data.
    """
    # Smoothed records have no measurement noise left.
    smoothing = getattr(model, "smoothing_", None)
    snapshots = model.snapshots_ if smoothing is None else smoothing.measured
    if not len(snapshots.x):
        raise OptionError(
            "Qn and Rn are not given, and the model has no training data to take them from; expected both "
            "covariances. Pass Qn=..., Rn=..."
        )
    scale = model.network_.scaling.y_scale
    Q, R = one_step_noise(model.network_, snapshots)
    return Q * scale * scale[:, None], R * scale * scale[:, None]


def one_step_noise(network: RecurrentNetwork, snapshots: Snapshots) -> tuple[FloatArray, FloatArray]:
    """`(Q, R)` of a network along measured pairs, in units of its scaling."""
    runs = [r for r in episodes(network.window, snapshots) if r.stop - r.start > _BURN_IN + _FEWEST]
    network, snapshots = standardised(network, snapshots)
    roll = Rollout(network)
    x, u, y_next = snapshots.x[:_MAX_PAIRS], snapshots.u[:_MAX_PAIRS], snapshots.y_next[:_MAX_PAIRS]
    left = y_next - roll.run(x, u[:, None], np.zeros(roll.n_y))[:, 1, : roll.n_y]
    W = left.T @ left / len(left) + _FLOOR * np.eye(roll.n_y)
    if not runs:  # nothing tells the two apart
        return 0.5 * W, 0.5 * W
    longest = max(r.stop - r.start for r in runs)
    length = min(_LONGEST, longest)
    starts = [k for r in runs for k in range(r.start, r.stop - length + 1, length)]
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(_MOST, len(starts))).round().astype(int))
    rows = np.array(starts)[chosen][:, None] + np.arange(length)
    value, common = _likelihoods(roll, snapshots.x[rows], snapshots.u[rows], snapshots.y_next[rows], W)
    if not np.isfinite(value).any():
        return 0.5 * W, 0.5 * W
    best = int(np.argmin(value))
    return common[best] * _RATIOS[best] * W, common[best] * W


def _likelihoods(
    roll: Rollout, x: FloatArray, u: FloatArray, y_next: FloatArray, R: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`-2 log` likelihood a sample of each ratio, and the common scale, over `(n_runs, length)` pairs.

    All filters run side by side.
    """
    n_runs, n = len(x), len(_RATIOS)
    Q = np.repeat(_RATIOS, n_runs)[:, None, None] * R
    squares, logs, count = np.zeros(n), np.zeros(n), 0
    all_u, all_y = (np.tile(a, (n, 1, 1)) for a in (u, y_next))
    for k, step in enumerate(filter_steps(roll, np.tile(x[:, 0], (n, 1)), all_u, all_y, Q, R)):
        if k < _BURN_IN:
            continue
        e = step.error[..., None]
        with np.errstate(all="ignore"):
            squares += (e * np.linalg.solve(step.error_cov, e)).reshape(n, -1).sum(axis=1)
        logs += np.linalg.slogdet(step.error_cov)[1].reshape(n, n_runs).sum(axis=1)
        count += n_runs * roll.n_y
    with np.errstate(all="ignore"):
        common = squares / count
        value = np.log(common) + logs / count
    return np.where(np.isfinite(value), value, np.inf), common
