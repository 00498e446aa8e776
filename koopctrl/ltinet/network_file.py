"""LTI networks in files; `koopctrl.storage_file` has the format."""

from __future__ import annotations

from dataclasses import fields
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import check_finite, check_names
from koopctrl.errors import DataError
from koopctrl.ltinet.quasi_triangular import Merge
from koopctrl.ltinet.reduce.reduction import Reduction
from koopctrl.ltinet.structure import Defects, LocalDefects, NetworkStructure
from koopctrl.storage_file import reading, write_file
from koopctrl.storage_packed import Packed, check_shapes, unpack

_KNOWN = (Defects, LocalDefects, Merge, Reduction)


def write_network(net: NetworkStructure, path: str | PathLike[str]) -> None:
    """Write to exactly `path`."""
    packed = Packed()
    header = {"fields": packed.put_fields("network", net)}
    write_file(path, "LTINetwork", header, packed.arrays)


def read_network(path: str | PathLike[str]) -> dict[str, Any]:
    """Fields of the network in a file.

    Raises
    ------
    DataError
        The file is damaged, holds something else, or was written by another version.
    """
    with reading(path) as (header, arrays):
        if header.get("kind") != "LTINetwork":
            raise DataError(f"it holds a {header.get('kind')!r}; expected a network. Use koopctrl.load")
        return network_fields(header, arrays)


def network_fields(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fields of a network from a file's parts, checked against each other.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    given = {name: unpack(value, arrays, _KNOWN) for name, value in header["fields"].items()}
    wanted = {f.name for f in fields(NetworkStructure)}
    if set(given) != wanted:
        raise DataError(f"the header's fields are {sorted(given)}; expected {sorted(wanted)}")
    merges = given["merges"]
    if not (isinstance(given["defects"], Defects) and isinstance(merges, tuple)) or not all(
        isinstance(merge, Merge) for merge in merges
    ):
        raise DataError("its defects or merges are not what save() writes")
    blocks, names = given["blocks"], ("state_names", "input_names", "output_names")
    for i, block in enumerate(blocks):
        if block.ndim != 2 or len(set(block.shape)) != 1:
            raise DataError(f"block {i} has shape {block.shape}; expected a square one")
        check_finite(block, f"block {i}")
    n, n_u, n_y = (len(given[name]) for name in names)
    m = sum(len(block) for block in blocks)
    shapes: dict[str, tuple[int | None, ...]] = {
        "T": (n, m), "T_inv": (m, n), "B": (m, n_u), "C": (n_y, m), "D": (n_y, n_u), "scales": (n,),
        "input_delays": (n_u,), "output_delays": (n_y,),
    }  # fmt: skip
    check_shapes(given, shapes)
    for name in shapes:
        if given[name] is not None:
            check_finite(given[name], name)
        elif not name.endswith("_delays"):
            raise DataError(f"array {name!r} is missing")
    local, reduction = given["defects"].local, given["reduction"]
    if local is not None:
        parts = {name: getattr(local, name) for name in "FGH"}
        check_shapes(parts, {"F": (m, m), "G": (m, n_u), "H": (n_y, m)})
    if reduction is not None and not isinstance(reduction, Reduction):
        raise DataError("its reduction is not what save() writes")
    for name, size in zip(names, (n, n_u, n_y), strict=True):
        given[name] = check_names(given[name], name, size, "")
    return given
