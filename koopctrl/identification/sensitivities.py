r"""Free runs of many segments at once, and their forward sensitivities.

With `g = [1, x, psi, v]` and outer weights `W`, `x_{k+1} = x_k + g W`, all in rows; a sensitivity `S` of the
state to a weight obeys `S_{k+1} = S_k M_k + e_i g_j` with `M_k = I + A-block + (W_x psi') E`: one small
product a step for all segments and weights. Cost a step and segment: `n^2` times the number of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.recurrences import GROWTH, SHORT, linear_states
from koopctrl.identification.segments import Segments
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.hidden_state import HiddenNetwork

# Numbers that one step works on, up to which the interpreter costs more than they do.
_SMALL = 2000


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
    with np.errstate(over="ignore", invalid="ignore"):
        if q:
            _roll(net.layer, a, e, drive, data.v, x)
        else:
            for i in np.ndindex(lead):
                x[:, *i] = linear_states(a[i], drive[:-1, *i], weights.x0[i])
        g = net.readout.regressors(x, np.broadcast_to(data.v[expand], (*x.shape[:-1], data.v.shape[-1])))
        return x, g @ weights.output


def _roll(
    layer: Layer, a: FloatArray, e: FloatArray, drive: FloatArray, v: FloatArray, x: FloatArray
) -> None:
    """States `x` in place, from the first on: `x_{k+1} = x_k A + drive_k + phi(x_k W_x + v_k W_v + b) E`.

    What neurons and states get of the state is one product, and what they get beside it one array, made
    beforehand: a step is five calls, whose cost is all there is to small systems.
    """
    n_x, q = a.shape[-1], layer.n_features
    wx = np.broadcast_to(layer.weights[:, :n_x].T, (*a.shape[:-2], n_x, q))
    both = np.concatenate([wx, a], axis=-1)
    beside = np.empty((*drive.shape[:-1], q + n_x))
    pre = v @ layer.weights[:, n_x:].T + layer.biases
    beside[..., :q] = pre.reshape(len(pre), *(1,) * (drive.ndim - 3), *pre.shape[1:])
    beside[..., q:] = drive
    total = np.empty(beside.shape[1:])
    inner, outer = total[..., :q], total[..., q:]
    active = np.empty(inner.shape)
    smooth = layer.activation == "tanh"
    for now, later, more in zip(x[:-1], x[1:], beside, strict=False):
        np.matmul(now, both, out=total)
        np.add(total, more, out=total)
        if smooth:
            np.tanh(inner, out=active)
        else:
            np.maximum(inner, 0.0, out=active)
        np.matmul(active, e, out=later)
        np.add(later, outer, out=later)


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
    out = _in_blocks(m, c, g, n_w) if n_time >= SHORT and batch * n_w * n_x <= _SMALL else None
    if out is None:
        out = np.empty((n_time, batch, n_w + n_x, n_y))
        _run(m, c, g, n_w, out)
    if only_x0:
        return Linearisation(np.empty((n_time, batch, 0, n_y)), np.empty((n_time, batch, 0, n_y)), out)
    g_out = net.readout.regressors(x, data.v)
    direct = np.zeros((n_time, batch, n_y, g_out.shape[-1], n_y))
    for i in range(n_y):
        direct[:, :, i, :, i] = g_out
    return Linearisation(out[:, :, :n_w], direct.reshape(n_time, batch, -1, n_y), out[:, :, n_w:])


def _run(m: FloatArray, c: FloatArray, g: FloatArray, n_w: int, out: FloatArray) -> FloatArray:
    """Derivatives of outputs `out` `(n_time, batch, n_w + n_x, n_y)` to weights and first states, in place;
    those of the states after the last sample are returned.
    """
    n_time, batch, n_x = m.shape[:3]
    s = np.zeros((batch, n_w + n_x, n_x))
    s[:, n_w:] = np.eye(n_x)
    spare = np.empty_like(s)
    for k in range(n_time):
        np.matmul(s, c[k], out=out[k])
        np.matmul(s, m[k], out=spare)
        s, spare = spare, s
        if n_w:
            by_weight = s[:, :n_w].reshape(batch, n_x, -1, n_x)
            for i in range(n_x):
                by_weight[:, i, :, i] += g[k]
    return s


def _in_blocks(m: FloatArray, c: FloatArray, g: FloatArray, n_w: int) -> FloatArray | None:
    """The same as `_run` gives, all blocks of time at once; None where a state grows too much within one.

    Within a block `S_k = S_h F_k + S^0_k` with the sensitivities `S_h` at its head, `F_k` those of its states
    to the state at the head, and `S^0` begun from zero: both are what `_run` does.
    """
    n_time, batch, n_x = m.shape[:3]
    n_y, rows = c.shape[-1], n_w + n_x
    length = int(np.sqrt(n_time))
    blocks = -(-n_time // length)

    def cut(values: FloatArray) -> FloatArray:
        """`(length, blocks * batch, ..)`, zeros after the end."""
        padded = np.zeros((blocks * length, *values.shape[1:]))
        padded[:n_time] = values
        apart = padded.reshape(blocks, length, *values.shape[1:]).swapaxes(0, 1)
        return np.ascontiguousarray(apart).reshape(length, blocks * batch, *values.shape[2:])

    own = np.empty((length, blocks * batch, rows, n_y))
    ends = _run(cut(m), cut(c), cut(g), n_w, own).reshape(blocks, batch, rows, n_x)
    if not np.abs(ends[:, :, n_w:]).max() <= GROWTH:
        return None
    heads = np.zeros((blocks, batch, rows, n_x))
    heads[0, :, n_w:] = np.eye(n_x)
    for b in range(blocks - 1):
        np.matmul(heads[b], ends[b, :, n_w:], out=heads[b + 1])
        heads[b + 1, :, :n_w] += ends[b, :, :n_w]
    own = own.reshape(length, blocks, batch, rows, n_y)
    out = np.empty((blocks, length, batch, rows, n_y))
    np.matmul(heads[:, None], own[:, :, :, n_w:].swapaxes(0, 1), out=out)
    out[:, :, :, :n_w] += own[:, :, :, :n_w].swapaxes(0, 1)
    return out.reshape(blocks * length, batch, rows, n_y)[:n_time]


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
