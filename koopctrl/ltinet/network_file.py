"""LTI networks in files; `koopctrl.storage_file` has the format."""

from __future__ import annotations

from dataclasses import fields
from os import PathLike
from typing import Any

import numpy as np

from koopctrl._validation import check_finite, check_names
from koopctrl.errors import DataError
from koopctrl.ltinet.network import Defects, LTINetwork, Merge
from koopctrl.storage_file import write_file
from koopctrl.storage_packed import Packed, check_shapes, unpack

_KNOWN = (Defects, Merge)


def write_network(net: LTINetwork, path: str | PathLike[str]) -> None:
    """Write to exactly `path`."""
    packed = Packed()
    header = {"fields": packed.put_fields("network", net)}
    write_file(path, "LTINetwork", header, packed.arrays)


def network_of_parts(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> LTINetwork:
    """Network in a file's header and arrays; `koopctrl.load` calls this.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    given = {name: unpack(value, arrays, _KNOWN) for name, value in header["fields"].items()}
    wanted = {f.name for f in fields(LTINetwork)}
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
        "T": (n, m), "T_inv": (m, n), "B": (m, n_u), "C": (n_y, m), "D": (n_y, n_u),
    }  # fmt: skip
    check_shapes(given, shapes)
    for name in shapes:
        check_finite(given[name], name)
    for name, size in zip(names, (n, n_u, n_y), strict=True):
        given[name] = check_names(given[name], name, size, "")
    return LTINetwork(**given)
