r"""What the filters share: gain and covariance of one correction, and the gate that rejects outliers.

.. math::
    S = C P C' + R, \quad M = P C' S^{-1}, \quad P \leftarrow (I - M C) P (I - M C)' + M R M'
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class GateState:
    """What a gate remembers.

    Attributes
    ----------
    rejected : bool
        Whether the last measurement was.
    n_rejected : int
        How many were since the reset.
    in_a_row : int
        How many of the last ones were too far away.
    """

    rejected: bool = False
    n_rejected: int = 0
    in_a_row: int = 0

    def accepting(self) -> GateState:
        """At a new sample, before anything is judged."""
        return GateState(False, self.n_rejected, self.in_a_row) if self.rejected else self

    def rejecting(self) -> GateState:
        """With one more rejection."""
        return GateState(True, self.n_rejected + 1, self.in_a_row)


def check_gate(gate: Any) -> float | None:
    """Standard deviations from which on a measurement is rejected; None for never."""
    return None if gate is None else check_number(gate, "gate", low=0.0, strict=True)


def judge(gate: float | None, state: GateState, error: FloatArray, S: FloatArray) -> GateState:
    """Judge an innovation of covariance `S`.

    It is too far where its root mean square over the entries, in the covariance's norm, is above `gate`;
    after five in a row it is the estimate that is doubted, and the measurement passes.
    """
    if gate is None:
        return state
    with np.errstate(all="ignore"):
        distance = float(np.sqrt(error @ np.linalg.solve(S, error) / len(error)))
    if distance <= gate:  # what overflows to inf or NaN is far, too
        return GateState(False, state.n_rejected, 0)
    if state.in_a_row >= MAX_REJECTIONS:
        return state
    return GateState(True, state.n_rejected + 1, state.in_a_row + 1)
