"""One number for a free run on held-out records that a divergent one cannot ruin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.folds import N_INIT, Fold

# Errors count at most this many standard deviations of the output.
_CAP = 2.0

__all__ = ["N_INIT", "nrmse"]


def nrmse(runs: Sequence[FloatArray], fold: Fold, variances: Sequence[float] | None = None) -> float:
    """Mean over held-out records of the root mean square error over the outputs' spread in the training part.

    Every candidate is scored on the same samples: those after the fold's `n_init`. The mean of roots, not of
    squares: one record whose initial state does not show in its first samples would decide alone. `variances`
    are added to the mean square errors of the records.
    """
    scale = output_scale(fold)
    found = []
    for i, (run, e) in enumerate(zip(runs, fold.test, strict=True)):
        error = (run - e.outputs)[fold.n_init :] / scale
        seen = ~np.isnan(e.outputs[fold.n_init :])  # what is missing does not count
        if seen.any():
            error = np.where(np.isfinite(error), np.clip(error, -_CAP, _CAP), _CAP)
            square = float(np.mean(error[seen] ** 2)) + (0.0 if variances is None else variances[i])
            found.append(float(np.sqrt(max(square, 0.0))))
    return float(np.mean(found)) if found else np.inf


def output_scale(fold: Fold) -> FloatArray:
    """Spread of the outputs in the training part."""
    scale = np.nanstd(np.concatenate([e.outputs for e in fold.train]), axis=0)
    return np.where(scale > 0, scale, 1.0)


def spread_over_seeds(runs: Sequence[FloatArray], fold: Fold) -> float:
    """Mean square deviation of several samplings' runs through one record, unbiased, on the score's scale."""
    if len(runs) < 2:
        return 0.0
    stacked = np.stack(runs)[:, fold.n_init :] / output_scale(fold)
    centre = stacked.mean(axis=0)
    off = np.clip(stacked - centre, -_CAP, _CAP)
    return float(np.mean(np.sum(off**2, axis=0)) / (len(runs) - 1)) if off.size else 0.0
