"""Sums over time of `|C exp(A_i t)|`-like norms: what error bounds and truncation are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import expm

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import Grouped, apply_pairs

_OCTAVES = 200
_AT_ONCE = 4_000_000


def responses(
    grouped: Grouped, left: FloatArray, right: FloatArray, eigenvalues: np.ndarray, end: float, nodes: int = 4
) -> Iterator[tuple[float, FloatArray, FloatArray]]:
    """Yield `t`, `left exp(A t)` and `exp(A t) right` at `nodes` instants per octave, up to `end`.

    `left` is (p, n) and `right` (n, q), in grouped order. Stacked blocks are advanced by squaring one
    exponential per octave; the others are closed forms.
    """
    ones, first, second, rest = grouped.shape()
    fastest = max(float(np.abs(eigenvalues).max(initial=0.0)), 1.0 / end)
    h = min(1.0 / fastest, end) / (2 * nodes)
    powers = [expm(stack * h) for stack in grouped.others]
    lefts = [left[:, where].reshape(len(left), *stack.shape[:2]).transpose(1, 0, 2)
             for where, stack in zip(rest, grouped.others, strict=True)]  # fmt: skip
    rights = [
        right[where].reshape(*stack.shape[:2], right.shape[1])
        for where, stack in zip(rest, grouped.others, strict=True)
    ]
    step, t = 0, 0.0
    for _ in range(nodes * (2 + _OCTAVES)):
        rows, columns = np.empty_like(left), np.empty_like(right)
        decay = np.exp(grouped.real * t)
        rows[:, ones], columns[ones] = left[:, ones] * decay, right[ones] * decay[:, None]
        F = apply_pairs(grouped, np.exp, t) if t > 0.0 else np.tile(np.eye(2), (len(grouped.pairs), 1, 1))
        for where, i in ((first, 0), (second, 1)):
            rows[:, where] = left[:, first] * F[:, 0, i] + left[:, second] * F[:, 1, i]
            columns[where] = F[:, i, 0, None] * right[first] + F[:, i, 1, None] * right[second]
        for where, L, R in zip(rest, lefts, rights, strict=True):
            rows[:, where] = L.transpose(1, 0, 2).reshape(len(left), where.stop - where.start)
            columns[where] = R.reshape(where.stop - where.start, right.shape[1])
        yield t, rows, columns
        if t >= end:
            return
        step += 1
        t = step * h
        lefts = [L @ E for L, E in zip(lefts, powers, strict=True)]
        rights = [E @ R for R, E in zip(rights, powers, strict=True)]
        if step == 2 * nodes:
            powers = [E @ E for E in powers]
            step, h = nodes, 2.0 * h


def instants(eigenvalues: np.ndarray, end: float, nodes: int = 4) -> FloatArray:
    """The instants of `responses`."""
    fastest = max(float(np.abs(eigenvalues).max(initial=0.0)), 1.0 / end)
    h = min(1.0 / fastest, end) / (2 * nodes)
    parts, first = [h * np.arange(2 * nodes + 1)], nodes + 1
    for _ in range(_OCTAVES):
        if parts[-1][-1] >= end:
            break
        h *= 2.0
        parts.append(h * np.arange(first, 2 * nodes + 1))
    t = np.concatenate(parts)
    return t[: int(np.searchsorted(t, end)) + 1]


def kernel_sizes(grouped: Grouped, left: FloatArray, right: FloatArray, t: FloatArray) -> FloatArray:
    """Norms of the rows of `left exp(A t) right`, (len(t), p), for first- and second-order layers alone."""
    ones, first, second, _ = grouped.shape()
    out = np.empty((len(t), len(left)))
    stride = max(1, _AT_ONCE // max(1, grouped.n * right.shape[1]))
    for at in range(0, len(t), stride):
        part = t[at : at + stride]
        moved = np.empty((len(part), *right.shape))
        moved[:, ones] = np.exp(np.outer(part, grouped.real))[:, :, None] * right[ones]
        if len(grouped.pairs):
            F = apply_pairs(grouped, lambda z, part=part: np.exp(part[:, None] * z), 1.0)
            for where, i in ((first, 0), (second, 1)):
                moved[:, where] = F[:, :, i, 0, None] * right[first] + F[:, :, i, 1, None] * right[second]
        out[at : at + stride] = np.linalg.norm(left @ moved, axis=2)
    return out


def upper_sum(times: list[float], values: list[FloatArray], end: float) -> FloatArray:
    """Upper Riemann sum: each interval counts with the larger of its end values."""
    t, v = np.minimum(np.array(times), end), np.array(values)
    return np.tensordot(np.diff(t), np.maximum(v[1:], v[:-1]), axes=1)
