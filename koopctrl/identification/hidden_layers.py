"""Networks with a hidden state on their way: from a linear model, in other units, with layers sampled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.adapted import Directions, resample
from koopctrl.identification.linear_model import InnovationModel
from koopctrl.identification.refinement import RefineOptions
from koopctrl.identification.segments import Segments
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import Scaling
from koopctrl.network.samplers import SAMPLERS

_MAX_POINTS = 20_000


@dataclass(frozen=True)
class HiddenSettings:
    """What a fit needs beside the data."""

    n_states: int
    n_features: int | None  # None: set by who knows the data
    n_output_features: int = 0
    sampler: str = "swim"
    activation: str = "tanh"
    feature_scale: float = 0.3
    feedthrough: bool = False
    segment: int = 1000
    rounds: int = 0
    options: RefineOptions = field(default_factory=RefineOptions)


def linear_start(linear: InnovationModel, scaling: Scaling, feedthrough: bool) -> HiddenNetwork:
    """A linear model as a network without neurons, in standardised units; its states keep their units."""
    n_x, n_u = linear.n_x, linear.n_u
    b = linear.B * scaling.u_scale
    c0 = linear.B @ (scaling.u_mean - linear.u_op)
    coef = np.concatenate([c0[None], (linear.A - np.eye(n_x)).T, b.T])
    y_scale = scaling.y_scale
    d0 = (linear.y_op + linear.D @ (scaling.u_mean - linear.u_op) - scaling.y_mean) / y_scale
    parts = [d0[None], (linear.C / y_scale[:, None]).T]
    if feedthrough:
        parts.append((linear.D * scaling.u_scale / y_scale[:, None]).T)
    empty = Layer(np.empty((0, n_x + n_u)), np.empty(0), "tanh")
    empty_out = Layer(np.empty((0, n_x + (n_u if feedthrough else 0))), np.empty(0), "tanh")
    return HiddenNetwork.build(empty, coef, empty_out, np.concatenate(parts), scaling, feedthrough)


def rescale(net: HiddenNetwork, mean: FloatArray, spread: FloatArray) -> HiddenNetwork:
    """Same network without neurons in the states `(x - mean) / spread`."""
    w = net.coef
    n_x = len(mean)
    a = w[1 : 1 + n_x]
    state = w / spread
    state[1 : 1 + n_x] = a * spread[:, None] / spread
    state[0] = (w[0] + mean @ a) / spread
    output = net.readout.coef.copy()
    output[0] += mean @ output[1 : 1 + n_x]
    output[1 : 1 + n_x] *= spread[:, None]
    return HiddenNetwork(replace(net.state, coef=state), replace(net.readout, coef=output))


def add_layers(
    net: HiddenNetwork, x: FloatArray, data: Segments, settings: HiddenSettings, rng: np.random.Generator
) -> HiddenNetwork:
    """Sample layers on the states' and inputs' cloud, their outer weights zero."""
    n_x, n_u = net.window.n_x, net.window.n_u
    inside = data.mask.any(axis=2)
    states, inputs = x[inside], data.v[inside]
    _, out = x, net.readout.regressors(x, data.v) @ net.readout.coef
    targets = ((data.w - out) * data.mask)[inside]  # no error where there is no sample
    if len(states) > _MAX_POINTS:
        chosen = rng.choice(len(states), _MAX_POINTS, replace=False)
        states, inputs, targets = states[chosen], inputs[chosen], targets[chosen]
    joint = np.concatenate([states, inputs], axis=1)
    if not len(joint):
        return net

    def sample(points: FloatArray, count: int) -> Layer:
        if not count:
            return Layer(np.empty((0, points.shape[1])), np.empty(0), settings.activation)
        return SAMPLERS[settings.sampler](
            points, joint, targets, count, settings.activation, settings.feature_scale, rng
        )

    layer = sample(joint, settings.n_features or 0)
    feedthrough = net.readout.feedthrough
    output_layer = sample(joint if feedthrough else states, settings.n_output_features)
    return with_layers(net, layer, output_layer, n_x, n_u)


def with_layers(net: HiddenNetwork, layer: Layer, output_layer: Layer, n_x: int, n_u: int) -> HiddenNetwork:
    """The network's linear part with other layers, their outer weights zero."""
    old, old_out = net.layer.n_features, net.readout.layer.n_features
    w, v = net.coef, net.readout.coef
    state = np.concatenate([w[: 1 + n_x], np.zeros((layer.n_features, n_x)), w[1 + n_x + old :]])
    output = np.concatenate(
        [v[: 1 + n_x], np.zeros((output_layer.n_features, v.shape[1])), v[1 + n_x + old_out :]]
    )
    return HiddenNetwork.build(layer, state, output_layer, output, net.scaling, net.readout.feedthrough)


def resample_layers(
    net: HiddenNetwork, x: FloatArray, data: Segments, settings: HiddenSettings, rng: np.random.Generator
) -> tuple[HiddenNetwork, Directions]:
    """Layers sampled anew where the old ones are curved, the old function kept as well as they can."""
    n_x, n_u, feedthrough = net.window.n_x, net.window.n_u, net.readout.feedthrough
    inside = np.asarray(data.mask.any(axis=2)) & np.isfinite(x).all(axis=2)
    states, inputs = x[inside], data.v[inside]
    joint = np.concatenate([states, inputs], axis=1)
    w, v = net.coef, net.readout.coef
    q, q_out = net.layer.n_features, net.readout.layer.n_features
    layer, output_layer = net.layer, net.readout.layer
    state, output = w.copy(), v.copy()
    directions = Directions(np.eye(n_x + n_u), np.ones(n_x + n_u))
    if q:
        e = w[1 + n_x : 1 + n_x + q]
        layer, found, directions = resample(
            layer, e, joint, layer(joint) @ e, settings.sampler, settings.feature_scale, rng
        )
        state[: 1 + n_x] += found[: 1 + n_x]
        state[1 + n_x + q :] += found[1 + n_x : 1 + n_x + n_u]
        state[1 + n_x : 1 + n_x + q] = found[1 + n_x + n_u :]
    if q_out:
        f, points = v[1 + n_x : 1 + n_x + q_out], joint if feedthrough else states
        output_layer, found, _ = resample(
            output_layer, f, points, output_layer(points) @ f, settings.sampler, settings.feature_scale, rng
        )
        n_in = points.shape[1]
        output[: 1 + n_x] += found[: 1 + n_x]
        if feedthrough:
            output[1 + n_x + q_out :] += found[1 + n_x : 1 + n_in]
        output[1 + n_x : 1 + n_x + q_out] = found[1 + n_in :]
    return HiddenNetwork.build(layer, state, output_layer, output, net.scaling, feedthrough), directions
