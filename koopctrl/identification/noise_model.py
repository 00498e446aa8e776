r"""Noise of a hidden-state model, from its residuals: what an estimator in a loop needs.

Refinement fits the free run, so that nothing says how much of the error came in through the states. Here

.. math:: x_{k+1} = f(x_k, u_k) + w_k, \qquad y_k = h(x_k, u_k) + v_k, \qquad
          \mathrm{cov}\,w = q P_x, \quad \mathrm{cov}\,v = r R_0

with `P_x` the states' covariance and `R_0` that of the outputs' free-run error; the ratio `q / r` is the one
of largest likelihood of an extended Kalman filter's innovations over the training records, `r` follows in
closed form.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.initial_state import StatePrior
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import output_jacobians, state_jacobians
from koopctrl.network.hidden_state import HiddenNetwork

_RATIOS = 10.0 ** np.arange(-7.0, 1.0)
_MAX_BATCH, _MAX_TIME = 20, 600
_BURN_IN = 0.1


def identify_noise(
    net: HiddenNetwork, data: Segments, x0: FloatArray, prior: StatePrior
) -> tuple[FloatArray, FloatArray]:
    """`(Q, R)`: covariances of process noise, and of measurement noise in standardised outputs."""
    chosen = np.unique(np.linspace(0, data.batch - 1, min(_MAX_BATCH, data.batch)).round().astype(int))
    some = Segments(data.v[:_MAX_TIME, chosen], data.w[:_MAX_TIME, chosen], data.mask[:_MAX_TIME, chosen])
    n_x, n_y = net.window.n_x, data.w.shape[2]
    floor = 1e-8 * np.eye(n_y)  # of a standard deviation squared: noise-free records keep a definite R
    r0 = prior.error_cov + floor
    p_x = prior.cov + 1e-12 * np.trace(prior.cov) / n_x * np.eye(n_x)
    best = (np.inf, 0.0, 1.0)
    for ratio in _RATIOS:
        value, scale = _likelihood(net, some, x0[chosen], p_x, ratio * np.trace(r0) / n_y, r0)
        if value < best[0]:
            best = (value, ratio * np.trace(r0) / n_y, scale)
    _, q, scale = best
    return q * scale * p_x, scale * r0


def _likelihood(
    net: HiddenNetwork, data: Segments, x0: FloatArray, p_x: FloatArray, q: float, r: FloatArray
) -> tuple[float, float]:
    """`-2 log` likelihood per sample with the common scale of `Q` and `R` at its best, and that scale."""
    n_y = len(r)
    x, p = x0.copy(), np.tile(1e-4 * p_x, (len(x0), 1, 1))
    eye_big = 1e12
    squares, logs, count = 0.0, 0.0, 0.0
    first = int(_BURN_IN * data.n_time)
    for k in range(data.n_time):
        seen = data.mask[k] > 0
        out, c = _output(net, x, data.v[k])
        e = np.where(seen, data.w[k] - out, 0.0)
        noise = r + np.einsum("bi,ij->bij", np.where(seen, 0.0, eye_big), np.eye(n_y))
        s = c @ p @ np.swapaxes(c, 1, 2) + noise
        gain = np.swapaxes(np.linalg.solve(s, c @ p), 1, 2)
        if k >= first:
            with np.errstate(over="ignore", invalid="ignore"):
                squares += float(np.sum(e[:, None, :] @ np.linalg.solve(s, e[..., None])))
            missing = (~seen).sum() * np.log(eye_big)
            logs += float(np.linalg.slogdet(s)[1].sum() - missing)
            count += float(seen.sum())
        x = x + (gain @ e[..., None])[..., 0]
        p = p - gain @ s @ np.swapaxes(gain, 1, 2)
        x, a = _step(net, x, data.v[k])
        p = a @ p @ np.swapaxes(a, 1, 2) + q * p_x
        p = 0.5 * (p + np.swapaxes(p, 1, 2))
        if not (np.isfinite(x).all() and np.isfinite(p).all()):
            return np.inf, 1.0
    if not count or not squares > 0:
        return np.inf, 1.0
    scale = squares / count
    return float(np.log(scale) + logs / count), scale


def _output(net: HiddenNetwork, x: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standardised outputs of a batch and their derivatives `(batch, n_y, n_x)`."""
    out = net.readout.regressors(x, v) @ net.readout.coef
    return out, np.swapaxes(output_jacobians(net, net.readout.coef, x, v), 1, 2)


def _step(net: HiddenNetwork, x: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Next states of a batch and their derivatives `(batch, n_x, n_x)`."""
    nxt = x + net.coupling.apply(net.state.dictionary(x, v), v, net.coef)
    return nxt, np.swapaxes(state_jacobians(net, net.coef, x, v), 1, 2)
