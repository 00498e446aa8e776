"""Real quasi upper triangular matrices: their blocks, their eigenvalues, and why some stay together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray


@dataclass(frozen=True)
class Merge:
    """Why two eigenvalues share a layer.

    Attributes
    ----------
    layer : int
        Index of the block in the order of the splitting.
    eigenvalue, joined : complex
        A member of the block, and the eigenvalue that was pulled in next to it.
    needed, bound : float
        What keeping them apart would take, and the largest allowed.
    what : str
        What is bounded: "entries" of the transformation that separates them, or "cond(T)".
    note : str
        What else happened.
    """

    layer: int
    eigenvalue: complex
    joined: complex
    needed: float
    bound: float
    what: str = "entries"
    note: str = ""

    @property
    def reason(self) -> str:
        """The same in words."""
        if not math.isfinite(self.needed):
            return self.note
        return (
            f"separating {self.joined:.4g} from {self.eigenvalue:.4g} needs {self.what} of "
            f"{self.needed:.2g}, above {self.bound:.2g}{self.note}"
        )


def quasi_starts(S: FloatArray) -> list[int]:
    """First rows of the 1x1 and 2x2 diagonal blocks of a quasi-triangular matrix."""
    inside = np.zeros(S.shape[0], dtype=bool)
    inside[1:] = np.diagonal(S, -1) != 0.0
    return np.flatnonzero(~inside).tolist()


def quasi_eigenvalues(S: FloatArray) -> np.ndarray:
    """Eigenvalues along the diagonal, one per row; a 2x2 block gives its conjugate pair."""
    values = np.diagonal(S).astype(complex)
    rows = np.flatnonzero(np.diagonal(S, -1))
    if rows.size:
        a, b, c, d = S[rows, rows], S[rows, rows + 1], S[rows + 1, rows], S[rows + 1, rows + 1]
        gap = 0.5 * (a - d)
        # factor by factor, so that b*c neither under- nor overflows
        product = np.sqrt(np.abs(b)) * np.sqrt(np.abs(c))
        size = np.maximum(np.maximum(np.abs(gap), product), np.finfo(float).tiny)
        disc = (gap / size) ** 2 + np.sign(b) * np.sign(c) * (product / size) ** 2
        mean, root = d + gap, size * np.sqrt(disc.astype(complex))
        values[rows], values[rows + 1] = mean + root, mean - root
    return values
