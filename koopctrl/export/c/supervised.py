"""C99 of a supervised network: a soft sensor, a static nonlinearity, a classifier of states."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.export.c.model import GeneratedPart, fill, source_text, write
from koopctrl.export.c.scalar import check_scalar
from koopctrl.export.c.single import UNIT, check_rounding
from koopctrl.export.c.writer import DataSection, StateLayout, check_identifier, comment

if TYPE_CHECKING:
    from koopctrl.sampled.network import SampledNetwork

_ACTIVATIONS = ("tanh", "relu", "softplus")
_SPREADS = 2.0
_PREDICT = """
/* GUARD_N_TARGETS targets y of the features x. */
void NAME_predict(const double *x, double *y);
"""
_CLASSIFY = """
/* Number of the most probable class of the features x, in the order above, and the probabilities of all. */
int NAME_classify(const double *x, double *probabilities);
"""


def supervised_to_c(
    model: SampledNetwork, folder: str | PathLike[str], name: str, scalar: str = "double"
) -> GeneratedPart:
    """Write a fitted estimator.

    Parameters
    ----------
    model : SampledNetworkRegressor or SampledNetworkClassifier
    folder : path
        Made if need be.
    name : str
        Of the files, and prefix of all public identifiers.
    scalar : {"double", "float"}
        Type of all numbers; `rounding` of what is returned says what floats cost.

    Raises
    ------
    OptionError
        If `name` is no usable identifier, or floats cannot hold the network's numbers.
    """
    check_identifier(name)
    check_scalar(scalar)
    layers, n_x = model.layers_, model.n_features_in_
    coef = model.solution_.coef
    rounding = 0.0
    if scalar == "float":
        rounding = check_rounding(_rounding(model, coef), "the network")
    data, classes = DataSection(scalar), getattr(model, "classes_", None)
    widths = [len(layer.biases) for layer in layers]
    data.define(
        N_X=n_x, N_TARGETS=coef.shape[1], N_LAYERS=len(layers), N_WIDEST=max(widths[:-1], default=1),
        ACTIVATION=_ACTIVATIONS.index(layers[-1].activation) if layers else 0,
        CLASSIFIES=int(classes is not None),
    )  # fmt: skip
    arrays = {
        "x_mean": model._scaling.mean, "x_scale": model._scaling.scale, "y_mean": model._target_scaling.mean,
        "y_scale": model._target_scaling.scale, "constant": coef[0], "linear": coef[1 : 1 + n_x].T,
    }  # fmt: skip
    if layers:
        arrays |= {
            "outer": coef[1 + n_x :], "weights": np.concatenate([layer.weights.ravel() for layer in layers]),
            "biases": np.concatenate([layer.biases for layer in layers]), "widths": np.array(widths),
        }  # fmt: skip
    if classes is not None:
        arrays["gain"] = np.array([model.gain_])  # type: ignore[attr-defined]
    for key, values in arrays.items():
        data.array(key, values)
    features = getattr(model, "feature_names_in_", [f"x{i}" for i in range(n_x)])
    values = {
        "SUMMARY": "a supervised network" if classes is None else "a classifier", "n_x": n_x,
        "n_y": coef.shape[1], "features": comment(", ".join(str(f) for f in features)),
        "targets": "" if classes is None else f" /* {comment(', '.join(str(c) for c in classes))} */",
        "FUNCTIONS": _PREDICT if classes is None else _CLASSIFY,
    }  # fmt: skip
    texts = {
        f"{name}.h": fill("supervised.h", values),
        f"{name}.c": source_text(name, data, ("dot.c", "supervised.c")),
    }
    return write(folder, name, texts, data, StateLayout(scalar), rounding)


def _rounding(model: SampledNetwork, coef: FloatArray) -> float:
    """First-order bound on the error of a target, relative to its spread; see `koopctrl.export.c.single`."""

    def grown(n: int) -> float:
        return UNIT * (1.0 + np.sqrt(n))

    mean, scale = model._scaling.mean, model._scaling.scale
    n_x = len(mean)
    # Features are rounded as they come in, and so is what is taken off them.
    size, off = np.full(n_x, _SPREADS), UNIT * (2.0 * np.abs(mean) / scale + 2.0 * _SPREADS)
    total = np.abs(coef[1 : 1 + n_x]).T @ (off + grown(n_x) * size) + UNIT * np.abs(coef[0])
    for layer in model.layers_:
        weights = np.abs(layer.weights)
        reached = weights @ size + np.abs(layer.biases)
        off = weights @ off + grown(len(size)) * reached
        size = np.minimum(reached, 1.0) if layer.activation == "tanh" else reached + 1.0
        off = off + UNIT * size
    if model.layers_:
        outer = np.abs(coef[1 + n_x :]).T
        total = total + outer @ (off + grown(len(size)) * size)
    return float(np.max(total))
