r"""Free runs of many segments at once, and their forward sensitivities.

With `g = [1, x, psi, v]` and outer weights `W`, `x_{k+1} = x_k + g W`, all in rows; a sensitivity `S` of the
state to a weight obeys `S_{k+1} = S_k M_k + e_i g_j` with `M_k = I + A-block + (W_x psi') E`: one small
product a step for all segments and weights. Cost a step and segment: `n^2` times the number of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.segments import Segments
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.hidden_state import HiddenNetwork


@dataclass(frozen=True, eq=False)
class Weights:
    """Outer weights `(..., n_columns, n_x or n_y)` and initial states `(..., batch, n_x)`.

    Leading axes, if any, are candidates that roll out side by side.
    """

    state: FloatArray
    output: FloatArray
    x0: FloatArray


def free_run(net: HiddenNetwork, weights: Weights, data: Segments) -> tuple[FloatArray, FloatArray]:
    """States and outputs `(n_time, ..., batch, n)`; infinite or NaN where a run explodes.

    It is `HiddenNetwork.rollout` for several sets of outer weights side by side, what does not depend on
    states computed beforehand.
    """
    n_x, q = net.window.n_x, net.layer.n_features
    w = weights.state
    a = np.eye(n_x) + w[..., 1 : 1 + n_x, :]
    e = w[..., 1 + n_x : 1 + n_x + q, :]
    b = w[..., 1 + n_x + q :, :]
    lead = w.shape[:-2]
    expand = (slice(None), *(None,) * len(lead))
    drive = data.v[expand] @ b[None] + w[None, ..., :1, :]
    x = np.empty((data.n_time, *weights.x0.shape))
    x[0] = weights.x0
    layer = net.layer
    wx, wv = (layer.weights[:, :n_x].T, layer.weights[:, n_x:].T) if q else (None, None)
    pre = (data.v @ wv + layer.biases)[expand] if q and wv is not None else None
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(data.n_time - 1):
            now = x[k]
            nxt = now @ a
            nxt += drive[k]
            if pre is not None:
                h = now @ wx
                h += pre[k]
                nxt += _activate(layer, h) @ e
            x[k + 1] = nxt
        g = net.readout.regressors(x, np.broadcast_to(data.v[expand], (*x.shape[:-1], data.v.shape[-1])))
        return x, g @ weights.output


def _activate(layer: Layer, pre: FloatArray) -> FloatArray:
    return np.tanh(pre, out=pre) if layer.activation == "tanh" else np.maximum(pre, 0.0, out=pre)


@dataclass(frozen=True, eq=False)
class Linearisation:
    """Derivatives of the outputs `(n_time, batch, n_weights, n_y)`: to weights of state, of output, and to
    `x0`.
    """

    state: FloatArray
    output: FloatArray
    x0: FloatArray


def linearise(
    net: HiddenNetwork, weights: Weights, data: Segments, x: FloatArray, only_x0: bool = False
) -> Linearisation:
    """Sensitivities along states `x` of a free run; `only_x0` leaves the weights out."""
    n_x, n_y = net.window.n_x, net.readout.coef.shape[1]
    n_time, batch = data.n_time, data.batch
    g = net.state.dictionary(x, data.v)
    g = np.concatenate([g, data.v], axis=-1)
    r = g.shape[-1]
    m = state_jacobians(net, weights.state, x, data.v)
    c = output_jacobians(net, weights.output, x, data.v)
    n_w = 0 if only_x0 else n_x * r
    s = np.zeros((batch, n_w + n_x, n_x))
    s[:, n_w:] = np.eye(n_x)
    by_weight = s[:, :n_w].reshape(batch, n_x, r, n_x) if n_w else None
    out = np.empty((n_time, batch, n_w + n_x, n_y))
    spare = np.empty_like(s)
    for k in range(n_time):
        np.matmul(s, c[k], out=out[k])
        if k + 1 < n_time:
            np.matmul(s, m[k], out=spare)
            s, spare = spare, s
            if n_w:
                by_weight = s[:, :n_w].reshape(batch, n_x, r, n_x)
                for i in range(n_x):
                    by_weight[:, i, :, i] += g[k]
    if only_x0:
        return Linearisation(np.empty((n_time, batch, 0, n_y)), np.empty((n_time, batch, 0, n_y)), out)
    g_out = net.readout.regressors(x, data.v)
    direct = np.zeros((n_time, batch, n_y, g_out.shape[-1], n_y))
    for i in range(n_y):
        direct[:, :, i, :, i] = g_out
    return Linearisation(out[:, :, :n_w], direct.reshape(n_time, batch, -1, n_y), out[:, :, n_w:])


def state_jacobians(net: HiddenNetwork, state: FloatArray, x: FloatArray, v: FloatArray) -> FloatArray:
    """`M` in rows, `(..., n_x, n_x)`: `dx_{k+1} = dx_k M` with the state's outer weights `state`."""
    n_x, q = net.window.n_x, net.layer.n_features
    a = np.eye(n_x) + state[1 : 1 + n_x]
    if not q:
        return np.broadcast_to(a, (*x.shape, n_x))
    points = np.concatenate([x, v], axis=-1)
    return a + net.layer.jacobian(points, state[1 + n_x : 1 + n_x + q], n_x)


def output_jacobians(net: HiddenNetwork, output: FloatArray, x: FloatArray, v: FloatArray) -> FloatArray:
    """`N` in rows, `(..., n_x, n_y)`: `dw_k = dx_k N` with the readout's outer weights `output`."""
    n_x, layer = net.window.n_x, net.readout.layer
    c = output[1 : 1 + n_x]
    if not layer.n_features:
        return np.broadcast_to(c, (*x.shape, c.shape[1]))
    points = np.concatenate([x, v], axis=-1) if net.readout.feedthrough else x
    return c + layer.jacobian(points, output[1 + n_x : 1 + n_x + layer.n_features], n_x)
