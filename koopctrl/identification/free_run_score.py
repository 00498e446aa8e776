"""One number for a free run on held-out records that a divergent one cannot ruin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.folds import N_INIT, Fold

# Errors count at most this many standard deviations of the output.
_CAP = 2.0

__all__ = ["N_INIT", "nrmse"]


def nrmse(runs: Sequence[FloatArray], fold: Fold) -> float:
    """Mean over held-out records of the root mean square error over the outputs' spread in the training part.

    Every candidate is scored on the same samples: those after the fold's `n_init`. The mean of roots, not of
    squares: one record whose initial state does not show in its first samples would decide alone.
    """
    outputs = np.concatenate([e.outputs for e in fold.train])
    scale = np.nanstd(outputs, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    found = []
    for run, e in zip(runs, fold.test, strict=True):
        error = (run - e.outputs)[fold.n_init :] / scale
        seen = ~np.isnan(e.outputs[fold.n_init :])  # what is missing does not count
        if seen.any():
            error = np.where(np.isfinite(error), np.clip(error, -_CAP, _CAP), _CAP)
            found.append(float(np.sqrt(np.mean(error[seen] ** 2))))
    return float(np.mean(found)) if found else np.inf
