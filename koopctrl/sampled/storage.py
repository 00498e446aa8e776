"""Supervised networks in files: arrays and JSON, no pickle.

What is read predicts to the bit as what was written. The rows that `partial_fit` has seen are not in the
file.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError
from koopctrl.identification.least_squares import LeastSquares
from koopctrl.network.activations import TABLE
from koopctrl.network.hidden_layer import Layer
from koopctrl.sampled.classifier import SampledNetworkClassifier
from koopctrl.sampled.network import SampledNetwork, UnfittedError
from koopctrl.sampled.regressor import SampledNetworkRegressor
from koopctrl.sampled.rows import Standardisation
from koopctrl.storage_arrays import Arrays, one_of
from koopctrl.storage_file import write_file

_CLASSES: dict[str, type[SampledNetwork]] = {
    "SampledNetworkRegressor": SampledNetworkRegressor,
    "SampledNetworkClassifier": SampledNetworkClassifier,
}
# Kinds of labels that JSON can hold.
_LABELS = {"U": str, "i": int, "u": int, "f": float, "b": bool, "O": str}


def save_network(model: SampledNetwork, path: str | PathLike[str]) -> None:
    """Write a fitted estimator to exactly `path`.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    DataError
        If its labels are neither text, numbers nor flags.
    """
    kind = type(model).__name__
    if not hasattr(model, "solution_"):
        raise UnfittedError(f"this {kind} is not fitted; call fit(X, y) first")
    params, solution = dict(model.get_params()), model.solution_
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None  # a Generator has moved on; the sampled weights are in the file
    header: dict[str, Any] = {
        "params": {k: v.item() if isinstance(v, np.generic) else v for k, v in params.items()},
        "activations": [layer.activation for layer in model.layers_],
        "rank": solution.rank,
        "n_rows": solution.n_rows,
        "feature_names": getattr(model, "feature_names_in_", np.empty(0, dtype=object)).tolist(),
        "single": bool(getattr(model, "_single", False)),
    }
    arrays = {
        "coef": solution.coef, "singular_values": solution.singular_values,
        "residual_rms": solution.residual_rms, "ridge": solution.ridge,
        "x_mean": model._scaling.mean, "x_scale": model._scaling.scale,
        "y_mean": model._target_scaling.mean, "y_scale": model._target_scaling.scale,
    }  # fmt: skip
    for i, layer in enumerate(model.layers_):
        arrays |= {f"weights_{i}": layer.weights, f"biases_{i}": layer.biases}
    if isinstance(model, SampledNetworkClassifier):
        header["classes"] = _labels_out(model.classes_)
        arrays["gain"] = np.array([model.gain_])
    write_file(path, kind, header, arrays)


def network_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> SampledNetwork:
    """The estimator in a file's header and arrays; `koopctrl.load` calls this."""
    own, made = Arrays(arrays), _CLASSES[header["kind"]](**header["params"])
    made._options()
    x_mean, y_mean = own.get("x_mean", None), own.get("y_mean", None)
    n_in, n_out = len(x_mean), len(y_mean)
    layers, width = [], n_in
    for i, activation in enumerate(header["activations"]):
        biases = own.get(f"biases_{i}", None)
        weights = own.get(f"weights_{i}", len(biases), width)
        layers.append(Layer(weights, biases, one_of(activation, tuple(TABLE))))
        width = len(biases)
    made.layers_ = tuple(layers)
    n_columns = 1 + n_in + (len(layers[-1].biases) if layers else 0)
    singular_values = own.get("singular_values", None)
    rank, n_rows = int(header["rank"]), int(header["n_rows"])
    if not (0 <= rank <= len(singular_values) and n_rows >= 1):
        raise DataError(f"the header says rank {rank} of {len(singular_values)}, {n_rows} rows")
    made.solution_ = LeastSquares(
        own.get("coef", n_columns, n_out), rank, singular_values, own.get("residual_rms", n_out), n_rows,
        own.get("ridge", n_out),
    )  # fmt: skip
    made._scaling = Standardisation(x_mean, own.get_scale("x_scale", n_in))
    made._target_scaling = Standardisation(y_mean, own.get_scale("y_scale", n_out))
    made._readout, made.n_features_in_ = None, n_in
    names = header["feature_names"]
    if names:
        if len(names) != n_in:
            raise DataError(f"the header names {len(names)} features of {n_in}")
        made.feature_names_in_ = np.array([str(name) for name in names], dtype=object)
    if isinstance(made, SampledNetworkClassifier):
        made.classes_ = _labels_in(header["classes"])
        if len(made.classes_) != n_out:
            raise DataError(f"the header has {len(made.classes_)} classes of {n_out}")
        made.gain_ = float(_positive(own.get("gain", 1))[0])
    elif isinstance(made, SampledNetworkRegressor):
        made._single = bool(header["single"])
    return made


def _positive(values: FloatArray) -> FloatArray:
    if not (values > 0.0).all():
        raise DataError(f"the gain is {values.tolist()}; expected a positive number")
    return values


def _labels_out(classes: np.ndarray) -> dict[str, Any]:
    kind, values = classes.dtype.kind, classes.tolist()
    if kind not in _LABELS or not all(isinstance(v, _LABELS[kind]) for v in values):
        raise DataError(
            f"the classes {values} are of kind {classes.dtype}; expected text, numbers or flags to write"
        )
    return {"kind": kind, "values": values}


def _labels_in(classes: dict[str, Any]) -> np.ndarray:
    kind = one_of(classes["kind"], tuple(_LABELS))
    values = [_LABELS[kind](v) for v in classes["values"]]
    return np.array(values, dtype=object) if kind == "O" else np.array(values)
