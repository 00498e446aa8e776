"""Saving and loading of models with a hidden state; `koopctrl.storage` writes the file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_dt, check_names
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.initial_state import StatePrior
from koopctrl.identification.linear_model import InnovationModel
from koopctrl.identification.refinement import History
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.network.hidden_layer import ACTIVATIONS, Layer
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import Scaling
from koopctrl.storage_arrays import Arrays, one_of

_LINEAR = ("A", "B", "C", "D", "K", "innovation_cov", "u_op", "y_op", "c", "state_cov", "singular_values")


def write_hidden(model: KoopmanRNN, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """Header and arrays."""
    net, shots, prior, linear = model.network_, model.snapshots_, model.state_prior_, model.linear_
    readout = net.readout
    header = {
        "params": params,
        "dt": model.dt_,
        "output_names": model.output_names_,
        "input_names": model.input_names_,
        "activation": net.layer.activation,
        "output_activation": readout.layer.activation,
        "feedthrough": readout.feedthrough,
        "history": [asdict(h) for h in model.history_],
    }
    arrays = {
        "weights": net.layer.weights, "biases": net.layer.biases, "coef": net.coef,
        "output_weights": readout.layer.weights, "output_biases": readout.layer.biases,
        "output_coef": readout.coef,
        "y_mean": net.scaling.y_mean, "y_scale": net.scaling.y_scale,
        "u_mean": net.scaling.u_mean, "u_scale": net.scaling.u_scale,
        "prior_mean": prior.mean, "prior_cov": prior.cov, "prior_error": prior.error_cov,
        "noise_q": model.noise_[0], "noise_r": model.noise_[1],
        "snapshots_x": shots.x, "snapshots_u": shots.u, "snapshots_next": shots.y_next,
        "y_min": model.y_range_[0], "y_max": model.y_range_[1],
    }  # fmt: skip
    arrays |= {f"linear_{name}": getattr(linear, name) for name in _LINEAR}
    return header, arrays


def read_hidden(model: KoopmanRNN, header: dict[str, Any], arrays: Arrays) -> KoopmanRNN:
    """Set the attributes of an estimator that was made from the header's parameters."""
    n_y, n_u = len(header["output_names"]), len(header["input_names"])
    coef = arrays.get("coef", None, None)
    n_x = coef.shape[1]
    feedthrough = bool(header["feedthrough"])
    biases, output_biases = arrays.get("biases", None), arrays.get("output_biases", None)
    layer = Layer(
        arrays.get("weights", len(biases), n_x + n_u), biases, one_of(header["activation"], ACTIVATIONS)
    )
    n_in = n_x + (n_u if feedthrough else 0)
    output_layer = Layer(
        arrays.get("output_weights", len(output_biases), n_in),
        output_biases,
        one_of(header["output_activation"], ACTIVATIONS),
    )
    scaling = Scaling(
        arrays.get("y_mean", n_y),
        arrays.get_scale("y_scale", n_y),
        arrays.get("u_mean", n_u),
        arrays.get_scale("u_scale", n_u),
    )
    model.network_ = HiddenNetwork.build(
        layer,
        arrays.get("coef", 1 + n_x + len(biases) + n_u, n_x),
        output_layer,
        arrays.get("output_coef", 1 + n_in + len(output_biases), n_y),
        scaling,
        feedthrough,
    )
    model.state_prior_ = StatePrior(
        arrays.get("prior_mean", n_x), arrays.get("prior_cov", n_x, n_x), arrays.get("prior_error", n_y, n_y)
    )
    model.noise_ = arrays.get("noise_q", n_x, n_x), arrays.get("noise_r", n_y, n_y)
    x = arrays.get("snapshots_x", None, n_x)
    model.snapshots_ = Snapshots(
        x, arrays.get("snapshots_u", len(x), n_u), arrays.get("snapshots_next", len(x), n_x)
    )
    model.y_range_ = arrays.get("y_min", n_y), arrays.get("y_max", n_y)
    model.dt_ = check_dt(header["dt"])
    model.output_names_ = check_names(header["output_names"], "output_names", n_y, "y")
    model.input_names_ = check_names(header["input_names"], "input_names", n_u, "u")
    model.history_ = [History(**h) for h in header["history"]]
    model.directions_ = []
    n = len(arrays.get("linear_A", None, None))
    shapes = {
        "A": (n, n), "B": (n, n_u), "C": (n_y, n), "D": (n_y, n_u), "K": (n, n_y),
        "innovation_cov": (n_y, n_y), "u_op": (n_u,), "y_op": (n_y,), "c": (n,),
        "state_cov": (n, n), "singular_values": (None,),
    }  # fmt: skip
    model.linear_ = InnovationModel(
        **{name: np.asarray(arrays.get(f"linear_{name}", *shapes[name])) for name in _LINEAR},
        dt=model.dt_,
        output_names=model.output_names_,
        input_names=model.input_names_,
    )
    return model
