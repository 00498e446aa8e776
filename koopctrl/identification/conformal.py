"""Split conformal prediction: the quantile of held-out scores that the next one stays below."""

from __future__ import annotations

import math

import numpy as np

from koopctrl._validation import FloatArray


def conformal_quantile(scores: FloatArray, coverage: float) -> FloatArray:
    """Of each column of `(n, ..)` scores, the `ceil((n + 1) coverage)`-th smallest; the largest of a few.

    A further score from the same source, exchangeable with these, is not above it with probability
    `coverage`. NaN is left out. Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World*, 2005.
    """
    n = len(scores)
    level = min(1.0, math.ceil((n + 1) * coverage) / n)
    return np.nanquantile(scores, level, axis=0, method="higher")


def fewest_scores(coverage: float) -> int:
    """Number of scores from which the quantile is not the largest of too few."""
    return math.ceil(coverage / (1.0 - coverage) * (1.0 - 1e-12))
