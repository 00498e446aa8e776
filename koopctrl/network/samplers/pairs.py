"""Candidate pairs of data points for samplers that make a neuron from two points."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray, IntArray
from koopctrl.errors import DataError

# Pairs closer than this fraction of the data's diameter (root mean square over random pairs) are not
# candidates: duplicates and near-duplicates make both the neuron's slope and its weight explode.
MIN_DISTANCE = 1e-2
_ROUNDS = 20


def candidate_pairs(points: FloatArray, n_pairs: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Draw `n_pairs` index pairs whose points are not (nearly) equal.

    Raises
    ------
    DataError
        If all points coincide.
    """
    n = len(points)
    kept: list[np.ndarray] = []
    found, spread = 0, None
    for _ in range(_ROUNDS):
        pairs = rng.integers(n, size=(2, 2 * n_pairs))
        distance = np.linalg.norm(points[pairs[1]] - points[pairs[0]], axis=1)
        if spread is None:
            spread = float(np.sqrt(np.mean(distance**2)))
        kept.append(pairs[:, distance > MIN_DISTANCE * spread])
        found += kept[-1].shape[1]
        if found >= n_pairs:
            break
    if found == 0:  # nearly all points coincide: pair the first with those that differ
        distance = np.linalg.norm(points - points[0], axis=1)
        far = np.flatnonzero(distance > MIN_DISTANCE * distance.max())
        if not len(far):
            raise DataError(
                f"all {n} data points coincide; expected at least two that differ. "
                "The record is constant: excite the system, or check the columns"
            )
        kept.append(np.stack([np.zeros_like(far), far]))
        found = len(far)
    pairs = np.concatenate(kept, axis=1)
    if found < n_pairs:  # few distinct points: pairs repeat, and the regression drops what repeats
        pairs = pairs[:, rng.integers(found, size=n_pairs)]
    return pairs[0, :n_pairs], pairs[1, :n_pairs]
