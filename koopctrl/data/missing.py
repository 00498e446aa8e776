"""Records with missing outputs (NaN): the stretches between, and a guess of what was there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError


def whole_stretches(episodes: Iterable[Trajectory], n_samples: int) -> list[Trajectory]:
    """Stretches of at least `n_samples` samples without a missing output, `label/0`, `label/1`, ..

    Raises
    ------
    DataError
        If there is none.
    """
    found, longest = [], 0
    for e in episodes:
        if not e.missing:
            found.append(e)
            continue
        whole = np.concatenate([[False], np.isfinite(e.outputs).all(axis=1), [False]])
        edges = np.flatnonzero(np.diff(whole.astype(int))).reshape(-1, 2)
        longest = max(longest, int(np.diff(edges, axis=1).max(initial=0)))
        long = [(int(a), int(b)) for a, b in edges if b - a >= n_samples]
        found += [e.slice(a, b, f"{e.label}/{i}") for i, (a, b) in enumerate(long)]
    if not found:
        raise DataError(
            f"the longest stretch without a missing output has {longest} samples; expected {n_samples}. For "
            "outputs that are sampled at different rates use a hidden state, KoopmanRNN(n_states=...)"
        )
    return found


def interpolated(outputs: FloatArray) -> FloatArray:
    """Outputs with straight lines where samples are missing, and the nearest value before the first and after
    the last one.
    """
    filled = outputs.copy()
    time = np.arange(len(outputs))
    for column in filled.T:
        seen = np.isfinite(column)
        column[~seen] = np.interp(time[~seen], time[seen], column[seen]) if seen.any() else 0.0
    return filled
