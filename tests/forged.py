"""Files of the package's own format, changed by hand."""

import json

import numpy as np


def parts_of(path):
    """Header and arrays of a file."""
    with np.load(path) as archive:
        arrays = dict(archive)
    return json.loads(arrays.pop("header").tobytes()), arrays


def forge(path, header, arrays, listed=True):
    """Write a header and arrays as `save` does; the header's list of arrays is brought up to date."""
    if listed:
        header = {**header, "arrays": {n: [str(a.dtype), list(a.shape)] for n, a in arrays.items()}}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez(file, header=text, **arrays)
