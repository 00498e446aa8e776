"""Networks in files: a zip of arrays and one JSON header, as all models of the package; nothing
is executed.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_names
from koopctrl.errors import DataError
from koopctrl.ltinet.quasi_triangular import Merge
from koopctrl.ltinet.structure import Defects, LocalDefects, NetworkStructure

FORMAT, VERSION, KIND = "koopctrl", 1, "LTINetwork"
_MATRICES = ("T", "T_inv", "B", "C", "D", "scales")


def network_parts(net: NetworkStructure) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """Header and arrays of a network."""
    defects, local = net.defects, net.defects.local
    header: dict[str, Any] = {
        "kind": KIND, "cond": net.cond, "residual": net.residual, "method": net.method,
        "sample_time": net.sample_time, "discrete": net.discrete,
        "state_names": net.state_names, "input_names": net.input_names, "output_names": net.output_names,
        "defects": [defects.A, defects.B],
        "merges": [
            [m.layer, m.eigenvalue.real, m.eigenvalue.imag, m.joined.real, m.joined.imag, m.needed, m.bound,
             m.what, m.note]
            for m in net.merges
        ],
    }  # fmt: skip
    arrays: dict[str, FloatArray] = {name: getattr(net, name) for name in _MATRICES}
    arrays["sizes"] = np.array([len(block) for block in net.blocks], dtype=float)
    arrays["blocks"] = np.concatenate([block.ravel() for block in net.blocks] or [np.zeros(0)])
    arrays |= {"defects_C": defects.C, "left_out": defects.left_out}
    if local is not None:
        arrays |= {"local_F": local.F, "local_G": local.G, "local_H": local.H}
    for name in ("input_delays", "output_delays"):
        if getattr(net, name) is not None:
            arrays[name] = getattr(net, name)
    if net.reduction is not None:
        told = net.reduction
        header["reduction"] = [told.order, told.kept, told.bound, told.match_dc, list(told.residuals)]
        arrays["hankel"] = told.hankel
    return header, arrays


def write_network(net: NetworkStructure, path: str | PathLike[str]) -> None:
    """Write a network to exactly `path`."""
    header, arrays = network_parts(net)
    header |= {"format": FORMAT, "version": VERSION}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez_compressed(file, header=text, **arrays)  # type: ignore[arg-type]


def read_network(path: str | PathLike[str]) -> dict[str, Any]:
    """Fields of the network in a file.

    Raises
    ------
    DataError
        The file is damaged, holds something else, or was written by a newer version.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataError(f"{path} is not a koopctrl network; expected a file that save() wrote")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes().decode())
        if header.get("format") != FORMAT or header.get("kind") != KIND:
            raise DataError(f"{path} holds a {header.get('kind')!r}; expected a network. Use koopctrl.load")
        if header.get("version") != VERSION:
            raise DataError(
                f"{path} has format version {header.get('version')!r}; expected {VERSION}. "
                "Read it with the koopctrl that wrote it"
            )
        return network_fields(header, arrays)
    except (ValueError, KeyError, TypeError, EOFError, AttributeError, IndexError, NotImplementedError,
            MemoryError, OverflowError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is damaged or no koopctrl network ({type(error).__name__}: {error})"
        ) from error


def network_fields(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fields of a network from `network_parts`; shapes are checked against each other."""
    from koopctrl.ltinet.reduce.reduction import Reduction

    sizes = arrays["sizes"].astype(int)
    if (sizes < 1).any() or int((sizes * sizes).sum()) != len(arrays["blocks"]):
        raise DataError(f"blocks has {len(arrays['blocks'])} entries; expected {int((sizes * sizes).sum())}")
    m = int(sizes.sum())
    pieces = np.split(arrays["blocks"], np.cumsum(sizes * sizes)[:-1]) if len(sizes) else []
    fields: dict[str, Any] = {
        "blocks": tuple(piece.reshape(k, k) for piece, k in zip(pieces, sizes.tolist(), strict=True)),
        **{name: _finite(arrays, name) for name in _MATRICES},
    }
    n, n_u, n_y = len(fields["T"]), fields["B"].shape[1], len(fields["C"])
    wanted = {"T": (n, m), "T_inv": (m, n), "B": (m, n_u), "C": (n_y, m), "D": (n_y, n_u)}
    for name, shape in wanted.items():
        if fields[name].shape != shape:
            raise DataError(f"{name} has shape {fields[name].shape}; expected {shape}")
    local = None
    if "local_F" in arrays:
        local = LocalDefects(arrays["local_F"], arrays["local_G"], arrays["local_H"])
    A, B = header["defects"]
    told = header.get("reduction")
    reduction = None
    if told is not None:
        order, kept, bound, match_dc, residuals = told
        reduction = Reduction(order, kept, arrays["hankel"], bound, match_dc, (residuals[0], residuals[1]))
    return {
        **fields,
        **{name: header[name] for name in ("cond", "residual", "method", "sample_time", "discrete")},
        "merges": tuple(
            Merge(layer, complex(a, b), complex(c, d), needed, bound, what, note)
            for layer, a, b, c, d, needed, bound, what, note in header["merges"]
        ),
        "defects": Defects(float(A), float(B), arrays["defects_C"], arrays["left_out"], local),
        "state_names": tuple(header["state_names"]),
        "input_names": check_names(header["input_names"], "input_names", n_u, "u"),
        "output_names": check_names(header["output_names"], "output_names", n_y, "y"),
        "input_delays": arrays.get("input_delays"), "output_delays": arrays.get("output_delays"),
        "reduction": reduction,
    }  # fmt: skip


def _finite(arrays: dict[str, np.ndarray], name: str) -> FloatArray:
    array = arrays[name]
    if array.dtype != np.float64 or not np.isfinite(array).all():
        raise DataError(f"{name} holds something else than finite float64 numbers")
    return array
