"""CasADi functions of both faces, for optimal control and code generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import casadi
import numpy as np

from koopctrl.network.free_run import Bounds
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel


def network_to_casadi(model: KoopmanRNN, name: str = "koopman_rnn") -> casadi.Function:
    """`(x, u) -> x_next` of the recurrent network, in raw units.

    The newest output is `x_next[:n_y]`. Matrix-valued expressions (MX) keep the graph small; call `.expand()`
    for scalar ones. Of a hidden state it is `(x, u) -> (x_next, y)`, `y` the outputs at the time of `x`. With
    a `rollout_margin` the step is held within the training range as in `predict`; its derivative is 0 there.
    """
    net, bounds = model._network, model.rollout_bounds()
    if isinstance(net, HiddenNetwork):
        x, u = casadi.MX.sym("x", net.window.n_x), casadi.MX.sym("u", net.window.n_u)
        step = _step_function(net.state, name, bounds)
        return casadi.Function(name, [x, u], [step(x, u), _readout(net, x, u)], ["x", "u"], ["x_next", "y"])
    return _step_function(net, name, bounds)


def _readout(net: HiddenNetwork, x: casadi.MX, u: casadi.MX) -> casadi.MX:
    """Outputs of a hidden state."""
    readout, scaling = net.readout, net.scaling
    v = (u - casadi.DM(scaling.u_mean)) / casadi.DM(scaling.u_scale)
    parts = [casadi.DM(1.0), x]
    if readout.layer.n_features:
        parts.append(_features(readout.layer, casadi.vertcat(x, v) if readout.feedthrough else x))
    if readout.feedthrough:
        parts.append(v)
    standardised = casadi.mtimes(casadi.DM(readout.coef.T), casadi.vertcat(*parts))
    return casadi.DM(scaling.y_mean) + casadi.DM(scaling.y_scale) * standardised


def _features(layer: Layer, points: casadi.MX) -> casadi.MX:
    pre = casadi.mtimes(casadi.DM(layer.weights), points) + casadi.DM(layer.biases)
    return casadi.tanh(pre) if layer.activation == "tanh" else casadi.fmax(pre, 0.0)


def _step_function(net: RecurrentNetwork, name: str, bounds: Bounds | None) -> casadi.Function:
    window, coupling, scaling = net.window, net.coupling, net.scaling
    x, u = casadi.MX.sym("x", window.n_x), casadi.MX.sym("u", window.n_u)
    x_at, u_at = x, u
    if net.known is not None:  # beyond the data the remainder keeps its value at their edge
        low_x, high_x, low_u, high_u = (casadi.DM(bound) for bound in net.known.region)
        x_at = casadi.fmin(casadi.fmax(x, low_x), high_x)
        u_at = casadi.fmin(casadi.fmax(u, low_u), high_u)
    xs = (x_at - casadi.DM(net.x_mean)) / casadi.DM(net.x_scale)
    us = (u_at - casadi.DM(scaling.u_mean)) / casadi.DM(scaling.u_scale)
    points = casadi.vertcat(xs, us) if coupling.layer_sees_input else xs
    phi = casadi.vertcat(1.0, xs, _features(net.layer, points))

    m = net.n_dictionary
    increment = casadi.MX(window.n_y, 1)
    for j, indices in enumerate(coupling.products):
        term = casadi.mtimes(casadi.DM(net.coef[j * m : (j + 1) * m].T), phi)
        for i in indices:
            term = term * us[i]
        increment = increment + term
    if coupling.adds_input:
        increment = increment + casadi.mtimes(casadi.DM(net.coef[coupling.n_products * m :].T), us)
    base = x[: window.n_y]
    if net.known is not None:
        parts = net.known.call(casadi.vertsplit(x), casadi.vertsplit(u) if window.n_u else [], casadi)
        base = casadi.vertcat(*parts)
    y_next = base + casadi.DM(scaling.y_scale) * increment
    if bounds is not None:
        y_next = casadi.fmin(casadi.fmax(y_next, casadi.DM(bounds[0])), casadi.DM(bounds[1]))

    keep_y, end_y = (window.output_lags - 1) * window.n_y, window.output_lags * window.n_y
    parts = [y_next, x[:keep_y]]
    if window.input_lags > 1 and window.n_u:
        parts += [u, x[end_y : window.n_x - window.n_u]]
    return casadi.Function(name, [x, u], [casadi.vertcat(*parts)], ["x", "u"], ["x_next"])


def lifted_to_casadi(lifted: LiftedModel, name: str = "lifted") -> casadi.Function:
    """`(z, u) -> (z_next, y)` of the linear face; `u` in raw units, `z = lifted.lift(x)`."""
    z, u = casadi.MX.sym("z", lifted.n_z), casadi.MX.sym("u", lifted.n_u)
    du = u - casadi.DM(lifted.u_op)
    z_next = (
        casadi.mtimes(casadi.DM(lifted.A), z) + casadi.mtimes(casadi.DM(lifted.B), du) + casadi.DM(lifted.c)
    )
    for i in range(lifted.n_u if lifted.N is not None else 0):
        z_next = z_next + du[i] * casadi.mtimes(casadi.DM(np.asarray(lifted.N)[i]), z)
    y = (
        casadi.mtimes(casadi.DM(lifted.C), z)
        + casadi.mtimes(casadi.DM(lifted.D), du)
        + casadi.DM(lifted.y_op)
    )
    if lifted.reads_next_state:
        x_next = casadi.DM(lifted.x_op) + z_next[: lifted.n_x] * casadi.DM(lifted.observables.x_scale)
        y = x_next[: lifted.n_y]
    return casadi.Function(name, [z, u], [z_next, y], ["z", "u"], ["z_next", "y"])
