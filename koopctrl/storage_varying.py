"""Families of linear models in files."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import check_dt, check_names
from koopctrl.errors import DataError
from koopctrl.lifted.observables import Observables
from koopctrl.lifted.varying.family import LiftedFamily
from koopctrl.ltinet.varying.affine import AffineModel
from koopctrl.network.hidden_layer import ACTIVATIONS, Layer
from koopctrl.storage import network_arrays, network_header, read_network, read_window, window_header
from koopctrl.storage_arrays import Arrays, one_of
from koopctrl.storage_file import write_file


def save_family(family: LiftedFamily, path: str | PathLike[str]) -> None:
    """Write a family to exactly `path`."""
    header, arrays = family_parts(family)
    write_file(path, "LiftedFamily", header, arrays)


def family_parts(family: LiftedFamily) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a family."""
    o, net = family.observables, family.network
    header: dict[str, Any] = {
        "dt": family.dt, "output_names": family.output_names, "input_names": family.input_names,
        "parameter_names": family.parameter_names, "method": family.method, "errors": _plain(family.errors),
        "costs": _plain(family.costs),
        "misfit": family.misfit, "window": window_header(family.window), "activation": o.layer.activation,
        "network": None if net is None else network_header(net),
        "network_window": None if net is None else window_header(net.window),
    }  # fmt: skip
    arrays = {
        **family.matrices(), "p_min": family.model.p_min, "p_max": family.model.p_max, "u_op": family.u_op,
        "y_op": family.y_op, "p_op": family.p_op, "weights": o.layer.weights, "biases": o.layer.biases,
        "x_op": o.x_op, "x_scale": o.x_scale, "reduce": o.reduce, "project": o.project,
    }  # fmt: skip
    if net is not None:
        arrays |= network_arrays(net, "network_")
    return header, arrays


def family_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray], known: Any = None) -> LiftedFamily:
    """The family in a file's header and arrays; `koopctrl.load` calls this."""
    own = Arrays(arrays, known)
    window = read_window(header["window"])
    c = own.get("c", None, None)
    (n_parts, n_z), n_x, n_u, n_y = c.shape, window.n_x, window.n_u, window.n_y
    n_p = n_parts - 1
    biases = own.get("biases", None)
    layer = Layer(own.get("weights", len(biases), n_x), biases, one_of(header["activation"], ACTIVATIONS))
    observables = Observables(
        layer, own.get("x_op", n_x), own.get_scale("x_scale", n_x), own.get("reduce", len(biases), n_z - n_x),
        own.get("project", n_x, n_z - n_x),
    )  # fmt: skip
    low, high = own.get("p_min", n_p), own.get("p_max", n_p)
    if not (low < high).all():
        raise DataError(f"the box of the parameters is {low.tolist()} to {high.tolist()}")
    model = AffineModel(
        tuple(own.get("A", n_parts, n_z, n_z)), tuple(own.get("B", n_parts, n_z, n_u)),
        tuple(own.get("C", 1, n_y, n_z)), tuple(own.get("D", 1, n_y, n_u)), low, high,
    )  # fmt: skip
    network = None
    if header.get("network") is not None:
        network = read_network(header["network"], own, read_window(header["network_window"]), "network_")
    return LiftedFamily(
        model, tuple(c), check_dt(header["dt"]), own.get("u_op", n_u), own.get("y_op", n_y),
        own.get("p_op", n_p),
        observables, window, check_names(header["output_names"], "output_names", n_y, "y"),
        check_names(header["input_names"], "input_names", n_u, "u"),
        check_names(header["parameter_names"], "parameter_names", n_p, "p"), str(header["method"]),
        _numbers(header["errors"]), _numbers(header["costs"]), float(header["misfit"]), network,
    )  # fmt: skip


def _numbers(named: dict[str, float]) -> dict[str, float]:
    return {str(k): float("nan") if v is None else float(v) for k, v in named.items()}


def _plain(named: dict[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {k: None if np.isnan(v) else v for k, v in named.items()}
