"""Models that float64 cannot hold: refused, with the reason, rather than answered wrongly."""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.ltinet.structure import LocalDefects

_LOST = 1e-4  # share of the response that may be wrong
_SILENT = 1e-8  # responses below this share of |C| |R| |B| are rounding themselves
_POINTS = 24
_LARGEST = 400  # states up to which the check is made; larger models are judged by their bound alone


def refuse_if_lost(
    blocks: tuple[FloatArray, ...], B: FloatArray, C: FloatArray, local: LocalDefects, discrete: bool
) -> None:
    """Raise where what the weights cannot hold changes the response by more than 1e-4 of its peak.

    The defects `F` of the blocks are known, so that `C R F R B`, with `R = (s - blkdiag)^-1`, is the change
    of the response; it must be small along the imaginary axis (unit circle). Networks of first- and
    second-order layers pass at once: their `F` is rounding of few entries.

    Raises
    ------
    SolverError
        The model's response depends on digits that float64 does not have.
    """
    n = sum(len(block) for block in blocks)
    if not 0 < n <= _LARGEST or max(len(block) for block in blocks) < 3 or not B.size or not C.size:
        return
    Lambda = np.asarray(block_diag(*blocks))
    values = np.linalg.eigvals(Lambda)
    size = float(np.abs(values).max())
    if size == 0.0:
        return
    slowest = max(float(np.abs(values)[np.abs(values) > 0.0].min()), 1e-12 * size)
    points = np.exp(1j * np.linspace(0.0, np.pi, _POINTS))
    if not discrete:
        points = 1j * np.geomspace(0.1 * slowest, size, _POINTS)
    change, peak, scale = np.zeros((3, C.shape[0]))
    for s in points:
        try:
            R = np.linalg.inv(s * np.eye(n) - Lambda)
        except np.linalg.LinAlgError:
            continue
        left, right = C @ R, R @ B
        change = np.maximum(change, np.linalg.norm(left @ local.F @ right, axis=1))
        peak = np.maximum(peak, np.linalg.norm(left @ B, axis=1))
        scale = np.maximum(scale, np.linalg.norm(left, axis=1) * np.linalg.norm(B))
    lost = np.flatnonzero((change > _LOST * peak) & (change > _SILENT * scale) & np.isfinite(change))
    if lost.size:
        i = int(lost[0])
        share = float(change[i] / max(peak[i], np.finfo(float).tiny))
        raise SolverError(
            f"rounding of A's own entries changes the response of output {i} by {share:.1g} of its peak: "
            "float64 does not hold this model. Build it from its parts instead of from the coefficients of a "
            "polynomial: from poles and zeros (zpk), or in balanced coordinates"
        )
