"""Long records, thinned to blocks for the choice (the final fit sees all)."""

from __future__ import annotations

import numpy as np

from koopctrl.data.trajectories import Trajectories

_STEPS = 12_000
_BLOCKS = 6


def thinned(data: Trajectories) -> Trajectories:
    """At most `_STEPS` steps of the records, in blocks spread over them."""
    if data.n_steps <= _STEPS:
        return data
    length = _STEPS // _BLOCKS
    if len(data) >= _BLOCKS:
        step = data.n_steps / _STEPS
        chosen = np.unique((np.arange(0, len(data), step)).astype(int))
        some = [data[int(i)] for i in chosen]
        return Trajectories(e.slice(0, min(len(e), length)) for e in some)
    blocks = []
    for e in data:
        n = max(1, round(_BLOCKS * len(e) / data.n_steps))
        if len(e) <= n * length:
            blocks.append(e)
            continue
        for start in np.linspace(0, len(e) - length, n).round().astype(int):
            blocks.append(e.slice(int(start), int(start) + length))
    return Trajectories(blocks)
