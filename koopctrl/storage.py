"""Saving and loading of models, and `load` for all that is saved; `koopctrl.storage_file` has the format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_dt, check_fitted, check_names
from koopctrl.ensemble import KoopmanEnsemble
from koopctrl.errors import DataError
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.least_squares import LeastSquares
from koopctrl.identification.smoothing import Smoothing
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifted.choice import LiftChoice
from koopctrl.lifted.model import LiftedModel
from koopctrl.lifted.observables import Observables
from koopctrl.network.coupling import COUPLINGS, PARAMETER_COUPLINGS, Coupling
from koopctrl.network.hidden_layer import ACTIVATIONS, Layer
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork, Scaling
from koopctrl.storage_arrays import Arrays, one_of
from koopctrl.storage_file import reading, write_file
from koopctrl.storage_hidden import read_hidden, write_hidden
from koopctrl.storage_known import known_arrays, read_grey_box, read_known_part, wanted_known, write_grey_box

Parts = tuple[dict[str, Any], dict[str, FloatArray]]
# Read by their own layer, which is imported on call.
_ELSEWHERE = {
    "Trajectories": ("koopctrl.data.record_file", "records_of_parts"),
    "LTINetwork": ("koopctrl.ltinet.network", "network_of_parts"),
    "SampledNetworkRegressor": ("koopctrl.sampled.storage", "network_of_parts"),
    "SampledNetworkClassifier": ("koopctrl.sampled.storage", "network_of_parts"),
    "HamiltonianNetwork": ("koopctrl.sampled.hamiltonian.storage", "hamiltonian_of_parts"),
    "MechanicalNetwork": ("koopctrl.sampled.hamiltonian.storage", "hamiltonian_of_parts"),
    "LiftedFamily": ("koopctrl.storage_varying", "family_of_parts"),
    "ClosedLoopResult": ("koopctrl.controllers.loop.result_file", "result_of_parts"),
    "LQR": ("koopctrl.controllers.storage", "read_controller"),
    "LinearMPC": ("koopctrl.controllers.storage", "read_controller"),
    "RNNMPC": ("koopctrl.controllers.storage", "read_controller"),
    "TubeMPC": ("koopctrl.controllers.storage", "read_controller"),
    "DeePC": ("koopctrl.controllers.storage", "read_controller"),
    "ExplicitMPC": ("koopctrl.controllers.storage", "read_controller"),
    "GainScheduled": ("koopctrl.controllers.storage_scheduled", "scheduled_of_parts"),
}


def save(model: KoopmanRNN | KoopmanEnsemble | LiftedModel, path: str | PathLike[str]) -> None:
    """Write a fitted model to exactly `path`.

    Parameters
    ----------
    model : KoopmanRNN, KoopmanEnsemble or LiftedModel
    path : path-like
        File to write; by convention it ends in `.npz`.
    """
    header, arrays = model_parts(model)
    write_file(path, header["kind"], header, arrays)


def model_parts(model: KoopmanRNN | KoopmanEnsemble | LiftedModel) -> Parts:
    """Header and arrays of a model."""
    kind = type(model).__name__
    if kind not in _WRITERS:
        raise DataError(f"model is a {kind}; expected one of {', '.join(_WRITERS)}")
    header, arrays = _WRITERS[kind](model)
    return {"kind": kind, **header}, arrays


def model_from_parts(header: dict[str, Any], arrays: dict[str, np.ndarray], known: Any = None) -> Any:
    """Inverse of `model_parts`."""
    return _READERS[header["kind"]](header, Arrays(arrays, known))


def load(path: str | PathLike[str], *, known: Callable[..., Any] | None = None) -> Any:
    """Read what a `save` of this package wrote: a model, a controller, records, a closed-loop result.

    Parameters
    ----------
    path : path-like
        File to read.
    known : callable, optional
        The known part of a grey-box model, as it was fitted with: no file holds a function, and none is run
        that was not handed over here. It is compared with what the model was fitted with at a few of its
        data.

    Returns
    -------
    KoopmanRNN, KoopmanEnsemble, LiftedModel, LiftedFamily, LTINetwork, LQR, LinearMPC, RNNMPC, TubeMPC,
    Trajectories
        Or a ClosedLoopResult: whatever was saved.

    Raises
    ------
    DataError
        If the file is damaged, is not koopctrl's, or was written by another version.
    FileNotFoundError
        If there is no such file.
    """
    with reading(path) as (header, arrays):
        kind = header.get("kind")
        if known is not None and not _has_known(header):
            raise DataError("known is given, and what is in the file has no known part; expected load(path)")
        if kind in _ELSEWHERE:
            module, name = _ELSEWHERE[kind]
            reader = getattr(import_module(module), name)
            return reader(header, arrays) if known is None else reader(header, arrays, known)
        if kind not in _READERS:
            raise DataError(f"it holds a {kind!r}; expected one of {', '.join([*_READERS, *_ELSEWHERE])}")
        return model_from_parts(header, arrays, known)


def _has_known(header: Any) -> bool:
    """Whether there is a known part anywhere in a header."""
    if isinstance(header, dict):
        return isinstance(header.get("known_part"), list) or any(_has_known(v) for v in header.values())
    return isinstance(header, list) and any(_has_known(v) for v in header)


def _write_rnn(model: KoopmanRNN) -> Parts:
    check_fitted(model, "network_")
    if model.hidden:
        return write_hidden(model, _params(model))
    net, solution, snapshots = model.network_, model.solution_, model.snapshots_
    header = {
        "params": _params(model),
        "dt": model.dt_,
        "output_names": model.output_names_,
        "input_names": model.input_names_,
        "rank": solution.rank,
        "n_rows": solution.n_rows,
        "window": window_header(net.window),
        **network_header(net),
    }
    arrays = {
        **network_arrays(net, snapshots=snapshots),
        "singular_values": solution.singular_values, "residual_rms": solution.residual_rms,
        "ridge": solution.ridge,
        "snapshots_x": snapshots.x, "snapshots_u": snapshots.u, "snapshots_y": snapshots.y_next,
        "y_min": model.y_range_[0], "y_max": model.y_range_[1],
    }  # fmt: skip
    if hasattr(model, "grey_box_"):
        header["grey_box"], more = write_grey_box(model.grey_box_)
        arrays |= more
    smoothing = getattr(model, "smoothing_", None)
    if smoothing is not None:
        shots = smoothing.measured
        arrays |= {
            "smoothing_errors": np.array(smoothing.errors),
            "measured_x": shots.x, "measured_u": shots.u, "measured_y": shots.y_next,
        }  # fmt: skip
    return header, arrays


def _params(model: KoopmanRNN) -> dict[str, Any]:
    params = model.get_params()
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None  # a Generator has moved on; the sampled weights are in the file
    params["known"] = None  # a function; whoever loads the model hands it over again
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in params.items()}


def network_header(net: RecurrentNetwork) -> dict[str, Any]:
    """What a network is, beside its arrays."""
    coupling = net.coupling
    header: dict[str, Any] = {"coupling": coupling.kind, "activation": net.layer.activation}
    if coupling.parameters:
        header["parameters"] = list(coupling.parameters)
        header["parameter_coupling"] = coupling.parameter_coupling
    if net.known is not None:
        header["known_part"] = list(net.known.names)
    return header


def network_arrays(
    net: RecurrentNetwork, prefix: str = "", snapshots: Snapshots | None = None
) -> dict[str, FloatArray]:
    """Arrays of a network; those of a known part are taken at some of its data, or at their mean."""
    s = net.scaling
    arrays = {
        "weights": net.layer.weights, "biases": net.layer.biases, "coef": net.coef,
        "y_mean": s.y_mean, "y_scale": s.y_scale, "u_mean": s.u_mean, "u_scale": s.u_scale,
    }  # fmt: skip
    if net.known is not None:
        arrays |= known_arrays(net, snapshots)
    return {prefix + name: array for name, array in arrays.items()}


def read_network(
    header: dict[str, Any], arrays: Arrays, window: LagWindow, prefix: str = ""
) -> RecurrentNetwork:
    """Inverse of `network_header` and `network_arrays`."""
    n_y, n_u, n_x = window.n_y, window.n_u, window.n_x
    coupling = _read_coupling(header, n_u)
    biases = arrays.get(prefix + "biases", None)
    n_points = n_x + n_u if coupling.layer_sees_input else n_x
    weights = arrays.get(prefix + "weights", len(biases), n_points if len(biases) else None)
    layer = Layer(weights, biases, one_of(header["activation"], ACTIVATIONS))
    coef = arrays.get(prefix + "coef", coupling.n_columns(1 + n_x + len(biases)), n_y)
    scaling = Scaling(
        arrays.get(prefix + "y_mean", n_y),
        arrays.get_scale(prefix + "y_scale", n_y),
        arrays.get(prefix + "u_mean", n_u),
        arrays.get_scale(prefix + "u_scale", n_u),
    )
    known = None
    if header.get("known_part") is not None:
        known = read_known_part(header["known_part"], arrays, prefix, n_x, n_u, scaling.y_scale)
    return RecurrentNetwork(window, layer, coupling, coef, scaling, known)


def _read_coupling(header: dict[str, Any], n_u: int) -> Coupling:
    kind = one_of(header["coupling"], COUPLINGS)
    where = header.get("parameters", [])
    if not where:
        return Coupling(kind, n_u)
    inside = all(type(i) is int and 0 <= i < n_u for i in where)
    if not inside or len(set(where)) < len(where):
        raise DataError(f"the header says parameters {where!r} of {n_u} inputs")
    return Coupling(kind, n_u, tuple(where), one_of(header["parameter_coupling"], PARAMETER_COUPLINGS))


def _read_rnn(header: dict[str, Any], arrays: Arrays) -> KoopmanRNN:
    params = dict(header["params"])
    if header.get("known_part") is not None:
        params["known"] = wanted_known(arrays)
    model = KoopmanRNN(**params)
    model._checked_settings()
    if model.n_states is not None:
        return read_hidden(model, header, arrays)
    window = read_window(header["window"])
    n_y, n_u = window.n_y, window.n_u
    net = model.network_ = read_network(header, arrays, window)
    coef = net.coupling.contract(net.coef, net.n_dictionary)
    singular_values = arrays.get("singular_values", None)
    rank, n_rows = int(header["rank"]), int(header["n_rows"])
    if not (0 <= rank <= len(singular_values) and n_rows >= 1):
        raise DataError(f"the header says rank {rank} of {len(singular_values)}, {n_rows} rows")
    model.solution_ = LeastSquares(
        coef, rank, singular_values, arrays.get("residual_rms", n_y), n_rows, arrays.get("ridge", n_y)
    )
    model.snapshots_ = _read_pairs(arrays, "snapshots", window)
    if "smoothing_errors" in arrays:
        errors = tuple(arrays.get("smoothing_errors", None).tolist())
        model.smoothing_ = Smoothing(errors, _read_pairs(arrays, "measured", window))
    model.y_range_ = (arrays.get("y_min", n_y), arrays.get("y_max", n_y))
    model.dt_ = check_dt(header["dt"])
    model.output_names_ = check_names(header["output_names"], "output_names", n_y, "y")
    model.input_names_ = check_names(header["input_names"], "input_names", n_u, "u")
    if header.get("grey_box") is not None:
        model.grey_box_ = read_grey_box(header["grey_box"], arrays, n_y)
        model.theta_ = dict(zip(model.grey_box_.names, model.grey_box_.theta.tolist(), strict=True))
    return model


def _read_pairs(arrays: Arrays, name: str, window: LagWindow) -> Snapshots:
    x = arrays.get(f"{name}_x", None, window.n_x)
    rest = (arrays.get(f"{name}_{part}", len(x), n) for part, n in (("u", window.n_u), ("y", window.n_y)))
    return Snapshots(x, *rest)


def _write_lifted(model: LiftedModel) -> Parts:
    observables = model.observables
    header = {
        "dt": model.dt,
        "output_names": model.output_names,
        "input_names": model.input_names,
        "window": window_header(model.window),
        "activation": observables.layer.activation,
        "choice": None if model.choice is None else model.choice.to_dict(),
        "network": None if model.network is None else network_header(model.network),
    }
    arrays = {
        "A": model.A, "B": model.B, "C": model.C, "D": model.D, "c": model.c,
        "u_op": model.u_op, "y_op": model.y_op, "singular_values": model.singular_values,
        "weights": observables.layer.weights, "biases": observables.layer.biases,
        "x_op": observables.x_op, "x_scale": observables.x_scale,
        "reduce": observables.reduce, "project": observables.project,
    }  # fmt: skip
    if model.N is not None:
        arrays["N"] = model.N
    if model.noise is not None:
        arrays |= dict(zip(("noise_q", "noise_r", "noise_s"), model.noise, strict=True))
    if model.network is not None:
        arrays |= network_arrays(model.network, "network_")
    if model.training is not None:
        arrays |= dict(zip(("training_z", "training_u", "training_z_next"), model.training, strict=True))
    return header, arrays


def _read_lifted(header: dict[str, Any], arrays: Arrays) -> LiftedModel:
    window = read_window(header["window"])
    a = arrays.get("A", None, None)
    n_z, n_x, n_u = len(a), window.n_x, window.n_u
    c = arrays.get("C", None, n_z)
    biases = arrays.get("biases", None)
    layer = Layer(arrays.get("weights", len(biases), n_x), biases, one_of(header["activation"], ACTIVATIONS))
    observables = Observables(
        layer,
        arrays.get("x_op", n_x),
        arrays.get_scale("x_scale", n_x),
        arrays.get("reduce", len(biases), n_z - n_x),
        arrays.get("project", n_x, n_z - n_x),
    )
    training = None
    if "training_z" in arrays:
        z = arrays.get("training_z", None, n_z)
        training = (z, arrays.get("training_u", len(z), n_u), arrays.get("training_z_next", len(z), n_z))
    noise = None
    if "noise_q" in arrays:
        n_y = len(c)
        noise = (
            arrays.get("noise_q", n_z, n_z), arrays.get("noise_r", n_y, n_y), arrays.get("noise_s", n_z, n_y)
        )  # fmt: skip
    return LiftedModel(
        arrays.get("A", n_z, n_z),
        arrays.get("B", n_z, n_u),
        c,
        arrays.get("D", len(c), n_u),
        arrays.get("c", n_z),
        arrays.get("N", n_u, n_z, n_z) if "N" in arrays else None,
        check_dt(header["dt"]),
        arrays.get("u_op", n_u),
        arrays.get("y_op", len(c)),
        observables,
        window,
        check_names(header["output_names"], "output_names", len(c), "y"),
        check_names(header["input_names"], "input_names", n_u, "u"),
        arrays.get("singular_values", None),
        training,
        None if header.get("choice") is None else LiftChoice.from_dict(header["choice"]),
        None
        if header.get("network") is None
        else read_network(header["network"], arrays, window, "network_"),
        noise,
    )


def window_header(window: LagWindow) -> dict[str, int | bool]:
    return {
        name: getattr(window, name) for name in ("output_lags", "input_lags", "feedthrough", "n_y", "n_u")
    }


def read_window(header: dict[str, Any]) -> LagWindow:
    lags = (int(header["output_lags"]), int(header["input_lags"]))
    sizes = (int(header["n_y"]), int(header["n_u"]))
    if min(lags) < 1 or min(sizes) < 0:
        raise DataError(f"the lag window {header} has sizes out of range")
    return LagWindow(*lags, bool(header["feedthrough"]), *sizes)


def _write_ensemble(model: KoopmanEnsemble) -> Parts:
    check_fitted(model, "members_")
    headers, arrays = [], {}
    for i, member in enumerate(model.members_):
        header, own = _write_rnn(member)
        headers.append(header)
        arrays |= {f"{i}_{name}": array for name, array in own.items()}
    seed = model.random_state if isinstance(model.random_state, (int, np.integer)) else None
    seed = None if seed is None else int(seed)
    header = {"members": headers, "n_folds": model.n_folds, "random_state": seed}
    arrays |= {
        "errors": model.errors_, "member_weights": model.weights_,
        "residuals": model.residuals_, "residual_size": model.residual_size_,
    }  # fmt: skip
    return header, arrays


def _read_ensemble(header: dict[str, Any], arrays: Arrays) -> KoopmanEnsemble:
    members = [_read_rnn(h, arrays.part(f"{i}_")) for i, h in enumerate(header["members"])]
    if not members:
        raise DataError("the ensemble has no members")
    bases = [KoopmanRNN(**m.get_params()) for m in members]
    model = KoopmanEnsemble(
        bases, len(members), n_folds=int(header["n_folds"]), random_state=header["random_state"]
    )
    n_y = members[0].n_y
    model.members_ = members
    model.errors_ = arrays.get("errors", len(members))
    model.weights_ = arrays.get("member_weights", len(members))
    model.residuals_ = arrays.get("residuals", None, n_y)
    model.residual_size_ = arrays.get("residual_size", n_y)
    return model


_WRITERS: dict[str, Callable[[Any], Parts]] = {
    "KoopmanRNN": _write_rnn,
    "KoopmanEnsemble": _write_ensemble,
    "LiftedModel": _write_lifted,
}
_READERS: dict[str, Callable[[dict[str, Any], Arrays], KoopmanRNN | KoopmanEnsemble | LiftedModel]] = {
    "KoopmanRNN": _read_rnn,
    "KoopmanEnsemble": _read_ensemble,
    "LiftedModel": _read_lifted,
}
