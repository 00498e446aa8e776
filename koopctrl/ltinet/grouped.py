"""Independent blocks grouped by kind, so that all blocks of one kind are worked on at once.

The states are reordered: real 1x1 blocks, then complex 2x2 blocks (all first states, then all second ones),
then the others by size. Matrix functions are closed forms for the first two kinds and LAPACK for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctrl._validation import FloatArray

ComplexFunction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Grouped:
    """Blocks by kind.

    Attributes
    ----------
    order : array (n,)
        State of the network that stands at each grouped position.
    real : array (n1,)
        The 1x1 blocks.
    pairs : array (n2, 2, 2)
        2x2 blocks with a complex pair.
    others : tuple of array (L, k, k)
        Remaining blocks, stacked by size.
    """

    order: np.ndarray
    real: FloatArray
    pairs: FloatArray
    others: tuple[FloatArray, ...]

    @property
    def n(self) -> int:
        """Number of states."""
        return len(self.order)

    def shape(self) -> tuple[slice, slice, slice, list[slice]]:
        """Positions of the real states, first and second states of pairs, and of each stack of others."""
        a = len(self.real)
        b = a + len(self.pairs)
        c = b + len(self.pairs)
        rest, at = [], c
        for stack in self.others:
            rest.append(slice(at, at + stack.shape[0] * stack.shape[1]))
            at = rest[-1].stop
        return slice(0, a), slice(a, b), slice(b, c), rest

    def pair_parts(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See `_pair_parts`."""
        return self._pair_parts

    @cached_property
    def _pair_parts(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`(a, omega, J)` with `M = a I + J`, eigenvalues `a +- i omega` and `J^2 = -omega^2 I`."""
        a = 0.5 * (self.pairs[:, 0, 0] + self.pairs[:, 1, 1])
        J = self.pairs - a[:, None, None] * np.eye(2)
        # sqrt factor by factor, so that a badly scaled block neither under- nor overflows
        omega = np.sqrt(np.abs(J[:, 0, 1])) * np.sqrt(np.abs(J[:, 1, 0]))
        gap = J[:, 0, 0] / omega if len(omega) else omega
        return a, omega * np.sqrt(np.maximum(1.0 - gap * gap, 0.0)), J

    @cached_property
    def long_pair_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """`a` and `omega` of `pair_parts` in extended precision, where the platform has one."""
        M = self.pairs.astype(np.longdouble)
        a, half_gap = 0.5 * (M[:, 0, 0] + M[:, 1, 1]), 0.5 * (M[:, 0, 0] - M[:, 1, 1])
        omega = np.sqrt(np.abs(M[:, 0, 1])) * np.sqrt(np.abs(M[:, 1, 0]))
        gap = half_gap / omega
        return a, omega * np.sqrt(np.maximum(1.0 - gap * gap, 0.0))


def group_blocks(blocks: Sequence[FloatArray]) -> Grouped:
    """Sort blocks into kinds; a 2x2 block whose eigenvalues are real or nearly equal counts as "other"."""
    sizes = np.array([len(block) for block in blocks], dtype=int)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int) if len(sizes) else np.zeros(0, int)
    ones = np.flatnonzero(sizes == 1)
    twos = [i for i in np.flatnonzero(sizes == 2).tolist() if oscillates(blocks[i])]
    other: dict[int, list[int]] = {}
    for i in sorted(set(np.flatnonzero(sizes > 1).tolist()) - set(twos)):
        other.setdefault(int(sizes[i]), []).append(i)
    order = [starts[ones], starts[twos], starts[twos] + 1]
    stacks = []
    for size, members in sorted(other.items()):
        order.append((starts[members][:, None] + np.arange(size)).ravel())
        stacks.append(np.array([blocks[i] for i in members]))
    real = np.array([blocks[i][0, 0] for i in ones.tolist()], dtype=float)
    pairs = np.array([blocks[i] for i in twos], dtype=float).reshape(-1, 2, 2)
    return Grouped(np.concatenate(order).astype(int), real, pairs, tuple(stacks))


def ungroup(grouped: Grouped, sizes: list[int]) -> tuple[FloatArray, ...]:
    """Blocks in the order they had before `group_blocks`, whose sizes are given."""
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    found: dict[int, FloatArray] = {}
    ones, first, _, rest = grouped.shape()
    found.update(zip(grouped.order[ones].tolist(), grouped.real.reshape(-1, 1, 1), strict=True))
    found.update(zip(grouped.order[first].tolist(), grouped.pairs, strict=True))
    for where, stack in zip(rest, grouped.others, strict=True):
        found.update(zip(grouped.order[where][:: stack.shape[1]].tolist(), stack, strict=True))
    return tuple(found[start] for start in starts[:-1].tolist())


def oscillates(block: FloatArray) -> bool:
    """Whether a 2x2 block has a complex pair, not so near to a double real eigenvalue that 1/omega hurts."""
    half_gap = 0.5 * (block[0, 0] - block[1, 1])
    product = np.sqrt(abs(block[0, 1])) * np.sqrt(abs(block[1, 0]))
    return bool(block[0, 1] * np.sign(block[1, 0]) < 0.0 and abs(half_gap) < 0.99 * product)


def phi1(z: np.ndarray) -> np.ndarray:
    """`(exp z - 1) / z`, accurate near zero."""
    return _phi(z, 1)


def phi2(z: np.ndarray) -> np.ndarray:
    """`(exp z - 1 - z) / z^2`, accurate near zero."""
    return _phi(z, 2)


def _phi(z: np.ndarray, order: int) -> np.ndarray:
    z = np.asarray(z)
    near = np.abs(z) < 1.0
    series, large = phi_series(np.where(near, z, 0.0), order), np.where(near, 1.0, z)
    with np.errstate(over="ignore", invalid="ignore"):
        closed = np.expm1(large) / large
        if order == 2:
            closed = (closed - 1.0) / large
    return np.where(near, series, closed)


def phi_series(z: np.ndarray, order: int) -> np.ndarray:
    """`sum_j z^j / (j + order)!`; 20 terms leave less than 1e-19 for `|z| < 1`."""
    coefficients = 1.0 / np.cumprod(np.arange(1, 21 + order, dtype=float))[order - 1 :]
    series = np.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        series = series * z + coefficient
    return series


def apply_pairs(grouped: Grouped, function: ComplexFunction, h: float) -> FloatArray:
    """Matrix function of every 2x2 block times `h`: `Re f I + Im f / omega J`; shape `(..., n2, 2, 2)`."""
    a, omega, _ = grouped.pair_parts()
    return pair_matrices(grouped, function((a + 1j * omega) * h))


def pair_matrices(grouped: Grouped, values: np.ndarray) -> FloatArray:
    """Functions of the 2x2 blocks from their values at the upper poles, `(..., n2)`."""
    _, omega, J = grouped.pair_parts()
    return values.real[..., None, None] * np.eye(2) + (values.imag / omega)[..., None, None] * J


def multiply(
    grouped: Grouped, real: FloatArray, pairs: FloatArray, others: list[FloatArray], X: FloatArray
) -> FloatArray:
    """Product of a grouped block diagonal matrix with `X` (n, p) in grouped order."""
    ones, first, second, rest = grouped.shape()
    out = np.empty_like(X)
    out[ones] = real[:, None] * X[ones]
    out[first] = pairs[:, 0, 0, None] * X[first] + pairs[:, 0, 1, None] * X[second]
    out[second] = pairs[:, 1, 0, None] * X[first] + pairs[:, 1, 1, None] * X[second]
    for where, stack in zip(rest, others, strict=True):
        out[where] = (stack @ X[where].reshape(*stack.shape[:2], -1)).reshape(-1, X.shape[1])
    return out
