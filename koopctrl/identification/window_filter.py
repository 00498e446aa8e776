r"""Extended Kalman filters on a network's window, many side by side, for identification.

.. math:: x_{k+1} = f(x_k, u_k) + E q_k, \quad y_k = H x_k + v_k, \quad
          \mathrm{cov}\, q = Q,\ \mathrm{cov}\, v = R

with `E` and `H` those of the newest outputs: the rest of a lag window is an exact shift. All in units of the
network's scaling: see `standardised`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.folded import Rollout
from koopctrl.network.recurrent import RecurrentNetwork, Scaling

# Share by which the diagonal of an innovation's covariance is raised: far below what is told apart.
_REGULAR = 1e-13


@dataclass(frozen=True, eq=False)
class FilterStep:
    """One step of a batch.

    Attributes
    ----------
    slope : (batch, n_x, n_x) array
        `df/dx` at the estimate before it.
    predicted, predicted_cov : (batch, n_x) and (batch, n_x, n_x) arrays
        Estimate of the next state before its outputs are seen.
    error, error_cov : (batch, n_y) and (batch, n_y, n_y) arrays
        Innovation; infinite, with a covariance of one, where the prediction is no number.
    filtered, filtered_cov
        Estimate after they are.
    """

    slope: FloatArray
    predicted: FloatArray
    predicted_cov: FloatArray
    error: FloatArray
    error_cov: FloatArray
    filtered: FloatArray
    filtered_cov: FloatArray


def standardised(network: RecurrentNetwork, data: Snapshots) -> tuple[RecurrentNetwork, Snapshots]:
    """The same network and pairs with signals of mean zero and spread one."""
    n_y, n_u, old = network.window.n_y, network.window.n_u, network.scaling
    unit = Scaling(np.zeros(n_y), np.ones(n_y), np.zeros(n_u), np.ones(n_u))
    x, u = network.standardise(data.x, data.u)
    known = network.known
    if known is not None:
        known = known.standardised((network.x_mean, network.x_scale), (old.u_mean, old.u_scale))
    return replace(network, scaling=unit, known=known), Snapshots(
        x, u, (data.y_next - old.y_mean) / old.y_scale
    )


def first_covariance(roll: Rollout, R: FloatArray) -> FloatArray:
    """`(n_x, n_x)`: a measured window's outputs are as inexact as measurements, its inputs exact."""
    n_y = roll.n_y
    P = np.zeros((roll.n_x, roll.n_x))
    for lag in range(roll.window.output_lags):
        own = slice(lag * n_y, (lag + 1) * n_y)
        P[own, own] = R
    return P


def filter_steps(
    roll: Rollout,
    x0: FloatArray,
    u: FloatArray,
    y_next: FloatArray,
    Q: FloatArray,
    R: FloatArray,
    lengths: np.ndarray | None = None,
) -> Iterator[FilterStep]:
    """Run filters from measured windows.

    Parameters
    ----------
    roll : Rollout
    x0 : (batch, n_x) array
    u, y_next : (batch, n_time, n_u) and (batch, n_time, n_y) arrays
    Q, R : (n_y, n_y) or (batch, n_y, n_y), and (n_y, n_y) arrays
    lengths : (batch,) int array, in falling order, optional
        Steps that each row has; step `k` is of those rows that have it.
    """
    batch, n_time, n_y = y_next.shape
    still = np.zeros(n_y)
    noise = np.zeros((*np.shape(Q)[:-2], roll.n_x, roll.n_x))
    noise[..., :n_y, :n_y] = Q
    x, P = x0, np.broadcast_to(first_covariance(roll, R), (batch, roll.n_x, roll.n_x))
    for k in range(n_time):
        if lengths is not None:
            n = int(np.searchsorted(-lengths, -k, side="left"))  # rows with more than k steps
            x, P = x[:n], P[:n]
        here = slice(0, len(x))
        with np.errstate(all="ignore"):  # what is no number is told by the innovation
            slope = roll.jacobians(x, u[here, k])[0]
            predicted = roll.run(x, u[here, k][:, None], still)[:, 1]
            M = slope @ P @ np.swapaxes(slope, 1, 2) + (noise if noise.ndim == 2 else noise[here])
            S = M[:, :n_y, :n_y] + R
            error = y_next[here, k] - predicted[:, :n_y]
            bad = ~(np.isfinite(S).all(axis=(1, 2)) & np.isfinite(error).all(axis=1))
            S[bad], error[bad] = np.eye(n_y), np.inf
            # Where a roll-out runs away S is one huge direction to rounding: it stays regular.
            S[:, range(n_y), range(n_y)] *= 1.0 + _REGULAR
            gain = np.swapaxes(np.linalg.solve(S, M[:, :n_y, :]), 1, 2)
            x = predicted + (gain @ error[..., None])[..., 0]
            P = M - gain @ M[:, :n_y, :]
            P = 0.5 * (P + np.swapaxes(P, 1, 2))
        yield FilterStep(slope, predicted, M, error, S, x, P)
