r"""`B`, `D`, the operating point and initial states of the smallest free-run error, for given `A` and `C`.

The free run is linear in them. Where `A` is not stable it is replaced by that of the predictor with gain `K`,

    x_{k+1} = (A - K C) x_k + (B - K D) u_k + K (y_k - y_0),

linear in them too, and bounded whenever the predictor is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.identification.least_squares import triangle
from koopctrl.identification.linear_model import run_states
from koopctrl.identification.recurrences import linear_states

# Growth of an unstable free run over the longest record that least squares still stands.
_MAX_GROWTH = 1e3
_MAX_CANCELLATION = 1e6


@dataclass(frozen=True, eq=False)
class InputFit:
    """Fitted matrices, the states' and outputs' offsets, root mean square of the errors, and whether they
    are a free run's.
    """

    b: FloatArray
    d: FloatArray
    c: FloatArray
    offset: FloatArray
    rms: float
    is_free_run: bool


def fit_inputs(
    records: Sequence[tuple[FloatArray, FloatArray]],
    a: FloatArray,
    c: FloatArray,
    gain: FloatArray,
    feedthrough: bool,
) -> InputFit | None:
    """Least squares over all records of `(outputs, inputs)`; None where neither free run nor predictor is
    bounded.
    """
    n, n_y, n_u = len(a), len(c), records[0][1].shape[1]
    longest = max(len(y) for y, _ in records)
    free = _bounded(a, longest)
    if not free:
        if not _bounded(a - gain @ c, longest):
            return None
    else:
        gain = np.zeros_like(gain)
    f = a - gain @ c
    n_d = n_y * n_u if feedthrough else 0
    width = n * n_u + n_d + n + n_y
    factor: FloatArray = np.empty((0, width + 1))
    rows = 0
    for y, u in records:
        last = min(len(u), len(y)) if feedthrough else len(y)
        v = np.zeros((last, n_u))
        v[: min(len(u), last)] = u[:last]
        block = _regressors(f, c, gain, v, feedthrough)
        right = y[:last]
        if not free:
            right = right - run_states(f, right @ gain.T, np.zeros(n))[:-1] @ c.T
        # The record's own initial state is eliminated: rows orthogonal to what it can explain.
        observe = _observability(f, c, last)
        q, rr = np.linalg.qr(observe)
        q = q[:, np.abs(np.diag(rr)) > 1e-12 * np.abs(rr).max(initial=0.0)]
        table = np.concatenate([block, right.reshape(-1, 1)], axis=1)
        table -= q @ (q.T @ table)
        factor = triangle(np.concatenate([factor, table]))
        rows += len(table)
    left, target = factor[:, :width], factor[:, width]
    scale = np.linalg.norm(left, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    theta = np.linalg.lstsq(left / scale, target, rcond=1e-11)[0]
    if not np.abs(theta).max(initial=0.0) <= _MAX_CANCELLATION * np.linalg.norm(factor[:, width]):
        return None  # terms far larger than their sum: rounding decides
    theta = theta / scale
    rms = float(np.linalg.norm(left @ theta - target) / np.sqrt(max(rows, 1)))
    if not np.isfinite(theta).all():
        return None
    b = theta[: n * n_u].reshape(n, n_u)
    d = theta[n * n_u : n * n_u + n_d].reshape(n_y, n_u) if feedthrough else np.zeros((n_y, n_u))
    shift = theta[n * n_u + n_d : -n_y]
    # The states are moved so that the drift vanishes, but for directions that (nearly) integrate it.
    move = np.linalg.lstsq(np.eye(n) - a, shift, rcond=2e-2)[0]
    drift = shift - (np.eye(n) - a) @ move
    drift = np.where(np.abs(drift) > 1e-10 * np.abs(shift).max(initial=0.0), drift, 0.0)
    return InputFit(b, d, drift, theta[-n_y:] + c @ move, rms, free)


def _bounded(f: FloatArray, steps: int) -> bool:
    radius = np.abs(linalg.eigvals(f)).max(initial=0.0)
    return radius <= 1.0 or steps * np.log(radius) < np.log(_MAX_GROWTH)


def _regressors(
    f: FloatArray, c: FloatArray, gain: FloatArray, v: FloatArray, feedthrough: bool
) -> FloatArray:
    """Outputs per unit of each entry of `B`, of `D`, of the drift and of the offset, `(steps n_y,
    n_theta)`.
    """
    n, n_y, n_u, steps = len(f), len(c), v.shape[1], len(v)
    n_d = n_y * n_u if feedthrough else 0
    width = n * n_u + n_d + n + n_y
    driven = np.zeros((steps, width, n))  # in rows
    for i in range(n):
        driven[:, i * n_u : (i + 1) * n_u, i] = v
    direct = np.zeros((steps, n_y, width))
    if feedthrough:
        for i in range(n_y):
            columns = slice(n * n_u + i * n_u, n * n_u + (i + 1) * n_u)
            direct[:, i, columns] = v
            driven[:, columns] -= v[:, :, None] * gain[:, i]
    driven[:, width - n_y - n + np.arange(n), np.arange(n)] += 1.0
    driven[:, width - n_y :] -= gain.T
    direct[:, np.arange(n_y), width - n_y + np.arange(n_y)] += 1.0
    x = linear_states(f.T, driven[:-1], np.zeros((width, n)))
    return ((x @ c.T).swapaxes(1, 2) + direct).reshape(steps * n_y, width)


def _observability(f: FloatArray, c: FloatArray, steps: int) -> FloatArray:
    """`C, C F, C F^2, ..`, rows of `steps` samples, by doubling."""
    out = np.empty((steps, *c.shape))
    out[0] = c
    known, power = 1, f
    while known < steps:  # `power` is F^known
        more = min(known, steps - known)
        np.matmul(out[:more], power, out=out[known : known + more])
        known, power = known + more, power @ power
    return out.reshape(-1, c.shape[1])
