r"""What the filters share: gain and covariance of one correction, and the gate that rejects outliers.

.. math::
    S = C P C' + R, \quad M = P C' S^{-1}, \quad P \leftarrow (I - M C) P (I - M C)' + M R M'
"""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_number

# So many measurements in a row may be rejected; after them the estimate is doubted instead.
MAX_REJECTIONS = 5


def filter_gain(P: FloatArray, C: FloatArray, R: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gain `M` `(n, n_y)` and the innovation's covariance `S` `(n_y, n_y)`."""
    seen = C @ P
    S = seen @ C.T + R
    return np.linalg.solve(S, seen).T, S


def corrected_covariance(P: FloatArray, gain: FloatArray, C: FloatArray, R: FloatArray) -> FloatArray:
    """Covariance after the correction, in Joseph's form: positive semidefinite under rounding, any gain."""
    left = np.eye(len(P)) - gain @ C
    P = left @ P @ left.T + gain @ R @ gain.T
    return 0.5 * (P + P.T)


class InnovationGate:
    """Base of the filters: rejects measurements that the estimate makes too unlikely.

    Its memory are plain attributes of the filter, so that a controller's memory can be carried as numbers.

    Parameters
    ----------
    gate : float or None
        Standard deviations (root mean square over the entries, in the innovation covariance's norm) from
        which on a measurement is rejected, five in a row at most; None for never.

    Attributes
    ----------
    rejected : bool
        Whether the last measurement was.
    n_rejected : int
        How many were since the last reset.
    """

    rejected: bool
    n_rejected: int
    _in_a_row: int

    def __init__(self, gate: Any) -> None:
        self.gate = None if gate is None else check_number(gate, "gate", low=0.0, strict=True)

    def _reset_gate(self) -> None:
        self.rejected, self.n_rejected, self._in_a_row = False, 0, 0

    def _reject(self) -> None:
        self.rejected = True
        self.n_rejected += 1

    def _rejects(self, error: FloatArray, S: FloatArray) -> bool:
        """Judge an innovation of covariance `S`, and remember the verdict."""
        if self.gate is None:
            return False
        with np.errstate(all="ignore"):
            distance = float(np.sqrt(error @ np.linalg.solve(S, error) / len(error)))
        far = not distance <= self.gate  # what overflows to inf or NaN is far, too
        self._in_a_row = self._in_a_row + 1 if far else 0
        if far and self._in_a_row <= MAX_REJECTIONS:
            self._reject()
        return self.rejected
