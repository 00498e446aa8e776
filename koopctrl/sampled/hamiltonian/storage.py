"""Hamiltonian models in files: arrays and JSON, no pickle.

What is read evaluates to the bit as what was written.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from koopctrl.errors import DataError
from koopctrl.identification.least_squares import LeastSquares
from koopctrl.network.activations import TABLE
from koopctrl.network.hidden_layer import Layer
from koopctrl.sampled.hamiltonian.basis import Basis, Encoding
from koopctrl.sampled.hamiltonian.energy import LagrangianEnergy, MechanicalEnergy, SampledEnergy
from koopctrl.sampled.hamiltonian.equations import Parts
from koopctrl.sampled.hamiltonian.faces import PortHamiltonian
from koopctrl.sampled.hamiltonian.mechanical import MechanicalNetwork
from koopctrl.sampled.hamiltonian.network import HamiltonianNetwork
from koopctrl.sampled.hamiltonian.ports import Damping, InputGain
from koopctrl.storage_arrays import Arrays, one_of
from koopctrl.storage_file import write_file
from koopctrl.storage_packed import Packed, unpack

_CLASSES: dict[str, Any] = {
    "HamiltonianNetwork": HamiltonianNetwork,
    "MechanicalNetwork": MechanicalNetwork,
}
# Bases of each kind of energy, and the units of the momenta or velocities beside them.
_ENERGIES: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "SampledEnergy": (SampledEnergy, ("basis",), ""),
    "MechanicalEnergy": (MechanicalEnergy, ("mobility", "potential"), "p_scale"),
    "LagrangianEnergy": (LagrangianEnergy, ("mass", "potential"), "v_scale"),
}
_CODES = ("line", "sin", "cos")


def save_hamiltonian(model: PortHamiltonian, path: str | PathLike[str]) -> None:
    """Write a fitted model to exactly `path`.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    """
    parts, solution = model._fitted(), model.solution_  # type: ignore[attr-defined]
    params, packed = dict(model.get_params()), Packed()  # type: ignore[attr-defined]
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None  # a Generator has moved on; what it drew is in the file
    header: dict[str, Any] = {
        "params": packed.put("params", params),
        "state_names": list(model.state_names_), "input_names": list(model.input_names_),
        "rank": solution.rank, "n_rows": solution.n_rows, "has_damping": parts.damping is not None,
        "has_gain": parts.gain is not None, "energy": type(parts.energy).__name__,
        "changes": [float(c) for c in getattr(model, "changes_", [])],
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "scale": model.scale_, "x_min": model.x_min_, "x_max": model.x_max_, "coef": solution.coef,
        "singular_values": solution.singular_values, "residual_rms": solution.residual_rms,
        "ridge": np.atleast_1d(solution.ridge), "energy_coef": parts.energy.coef,
        "energy_offset": np.array([parts.energy.offset]),
    }  # fmt: skip
    _, bases, unit = _ENERGIES[header["energy"]]
    for name in bases:
        _write_basis(getattr(parts.energy, name), f"energy_{name}", header, arrays)
    if unit:
        arrays["energy_unit"] = getattr(parts.energy, unit)
    if parts.damping is not None:
        _write_encoding(parts.damping.encoding, "damping", header, arrays)
        arrays |= {
            "damping_centres": parts.damping.centres, "damping_width": np.array([parts.damping.width]),
            "damping_coef": parts.damping.coef,
        }  # fmt: skip
    if parts.gain is not None:
        _write_basis(parts.gain.basis, "gain", header, arrays)
        arrays["gain_coef"] = parts.gain.coef
    write_file(path, type(model).__name__, header, arrays | packed.arrays)


def hamiltonian_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> PortHamiltonian:
    """The model in a file's header and arrays; `koopctrl.load` calls this."""
    own = Arrays(arrays)
    made = _CLASSES[header["kind"]](**unpack(header["params"], arrays))
    scale = own.get("scale", None)
    n, names = len(scale), header["state_names"]
    if n % 2 or len(names) != n:
        raise DataError(f"the header names {len(names)} states, and there are {n}")
    d = n // 2
    kind, bases, unit = _ENERGIES[one_of(header["energy"], tuple(_ENERGIES))]
    width = n if kind is SampledEnergy else d
    given: dict[str, Any] = {b: _read_basis(own, f"energy_{b}", header, width) for b in bases}
    if unit:
        given[unit] = own.get_scale("energy_unit", d)
    blank = kind(**given, coef=np.empty(0))
    offset = float(own.get("energy_offset", 1)[0])
    energy = kind(**given, coef=own.get("energy_coef", blank.n_columns), offset=offset)
    damping = gain = None
    if header["has_damping"]:
        encoding = _read_encoding(own, "damping", header, d)
        centres = own.get("damping_centres", None, encoding.n_code)
        coef = own.get("damping_coef", 1 + len(centres), d)
        damping = Damping(encoding, centres, float(own.get_scale("damping_width", 1)[0]), coef)
    n_u = len(header["input_names"])
    if header["has_gain"]:
        basis = _read_basis(own, "gain", header, d)
        gain = InputGain(basis, own.get("gain_coef", basis.n_functions, d, n_u))
    made.parts_ = Parts(energy, damping, gain)
    made.scale_, made.x_min_, made.x_max_ = (
        own.get_scale("scale", n),
        own.get("x_min", n),
        own.get("x_max", n),
    )
    made.state_names_, made.input_names_ = tuple(names), tuple(header["input_names"])
    if header["kind"] == "HamiltonianNetwork":
        made.changes_ = [float(c) for c in header["changes"]]
    ridge = own.get("ridge", None)
    made.solution_ = LeastSquares(
        own.get("coef", None, 1), int(header["rank"]), own.get("singular_values", None),
        own.get("residual_rms", None), int(header["n_rows"]), ridge,
    )  # fmt: skip
    return made


def _write_encoding(encoding: Encoding, prefix: str, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header[f"{prefix}_source"], header[f"{prefix}_code"] = encoding.source.tolist(), list(encoding.kind)
    arrays[f"{prefix}_mean"], arrays[f"{prefix}_scale"] = encoding.mean, encoding.scale


def _write_basis(basis: Basis, prefix: str, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    _write_encoding(basis.encoding, prefix, header, arrays)
    header[f"{prefix}_layer"] = basis.layer.activation
    header[f"{prefix}_flags"] = [basis.constant, basis.linear]
    arrays[f"{prefix}_weights"], arrays[f"{prefix}_biases"] = basis.layer.weights, basis.layer.biases


def _read_encoding(own: Arrays, prefix: str, header: dict[str, Any], size: int) -> Encoding:
    source = np.array([int(s) for s in header[f"{prefix}_source"]], dtype=np.intp)
    code = tuple(one_of(k, _CODES) for k in header[f"{prefix}_code"])
    if len(source) != len(code) or (source < 0).any() or (source >= size).any():
        raise DataError(f"the header's {prefix} has sources {source.tolist()} of {size} coordinates")
    return Encoding(own.get(f"{prefix}_mean", size), own.get_scale(f"{prefix}_scale", size), source, code)


def _read_basis(own: Arrays, prefix: str, header: dict[str, Any], size: int) -> Basis:
    encoding = _read_encoding(own, prefix, header, size)
    biases = own.get(f"{prefix}_biases", None)
    weights = own.get(f"{prefix}_weights", len(biases), encoding.n_code)
    layer = Layer(weights, biases, one_of(header[f"{prefix}_layer"], tuple(TABLE)))
    constant, linear = (bool(flag) for flag in header[f"{prefix}_flags"])
    return Basis(encoding, layer, constant, linear)
