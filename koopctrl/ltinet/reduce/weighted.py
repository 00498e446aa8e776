"""Gramians seen through frequency weights (Enns).

For the error `W_o (G - G_r) W_i` the controllability Gramian is that of `G W_i` and the observability
Gramian that
of `W_o G`, restricted to the states of `G`. Both series connections are block triangular, so that a
solve with
them costs as much as one with each part.

Source: Enns, *Model reduction with balanced realizations: an error bound and a frequency weighted
generalization*, CDC 1984. With one weight the reduced model is stable; with two that is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import group_blocks
from koopctrl.ltinet.judge.frequency import resolvent
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.reduce.adi import low_rank_gramians, orthonormal

_FLOOR = 1e-17

Blocks = tuple[FloatArray, ...]


@dataclass(frozen=True)
class Weight:
    """A stable continuous weight `C (s - blkdiag)^-1 B + D`."""

    blocks: Blocks
    B: FloatArray
    C: FloatArray
    D: FloatArray

    def transposed(self) -> Weight:
        """The weight of the dual problem."""
        return Weight(tuple(block.T for block in self.blocks), self.C.T, self.B.T, self.D.T)


class _Series:
    """`[A, B C_w; 0, A_w]`, in the order of the states: model first."""

    def __init__(self, blocks: Blocks, B: FloatArray, weight: Weight) -> None:
        self.parts = group_blocks(blocks), group_blocks(weight.blocks)
        self.link = B @ weight.C
        self.n = len(B)

    def solve(self, shift: complex) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """`X -> (A + shift)^-1 X`, and nothing for the transposed matrices, which nobody asks for."""
        return (lambda X: self._solved(shift, X)), (lambda X: X)

    def _solved(self, shift: complex, X: FloatArray) -> np.ndarray:
        lower = self._part(1, shift, X[self.n :])
        return np.vstack([self._part(0, shift, X[: self.n] - self.link @ lower), lower])

    def _part(self, which: int, shift: complex, X: np.ndarray) -> np.ndarray:
        grouped, out = self.parts[which], np.empty(X.shape, dtype=complex)
        out[grouped.order] = -resolvent(grouped, np.array([-shift]), X[grouped.order])[0]
        return out

    def mass(self, X: FloatArray, transposed: bool) -> FloatArray:
        """Nothing stands before `x'`."""
        return X


def weighted_factor(blocks: Blocks, B: FloatArray, C: FloatArray, weight: Weight) -> FloatArray:
    """`Z` with `P = Z Z'`, the block of the model's own states of the Gramian of `G W`.

    Parameters
    ----------
    blocks : tuple of arrays
        A stable continuous model.
    B, C : array (n, n_u), (n_y, n)
        `C` says which states matter.
    weight : Weight
        With as many outputs as the model has inputs.
    """
    series, n = _Series(blocks, B, weight), len(B)
    both = np.vstack([B @ weight.D, weight.B])
    values = np.concatenate(
        [quasi_eigenvalues(block) for block in (*weight.blocks, *blocks)] or [np.zeros(0)]
    )
    own, rows = values[len(weight.B) :], np.linalg.norm(C, axis=0)
    waiting = [v for v in values[: len(weight.B)] if v.imag >= 0.0]
    left_over = np.ones(len(own), dtype=bool)
    start: float | None = None

    def next_shift(k: int, W: FloatArray, _: FloatArray) -> complex | None:
        # the weight's own poles first: from then on the model's states are driven as they will be
        nonlocal start
        if waiting:
            return complex(waiting.pop())
        matter = np.where(left_over, np.linalg.norm(W[:n], axis=1) * rows / np.abs(own.real), 0.0)
        largest = float(matter.max(initial=0.0))
        start = largest if start is None else start
        if not largest > _FLOOR * start:
            return None
        i = int(np.argmax(matter))
        left_over[i] = False
        if own[i].imag:
            # its partner goes with it
            partner = np.flatnonzero(left_over & (np.abs(own - own[i].conj()) <= 1e-12 * abs(own[i])))
            left_over[partner[:1]] = False
        return complex(own[i].real, abs(own[i].imag))

    found = low_rank_gramians(series, both, np.zeros((0, len(both))), next_shift)
    return orthonormal(found.Zc[:n])
