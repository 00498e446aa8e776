"""Peak gain of the difference of two networks: the most that outputs of one can differ from those of the
other.
"""

from __future__ import annotations

import math

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import group_blocks, multiply
from koopctrl.ltinet.judge.decay import instants, kernel_sizes, responses, upper_sum
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.structure import NetworkStructure

_NODES = 16
_DECAYED = 60.0


def peak_gain_of_difference(net: NetworkStructure, other: NetworkStructure) -> FloatArray:
    """`int |h - h_other| dt` per output for inputs of 2-norm at most one, by upper sums; infinite if it
    grows.

    Layers that both networks share (those that are not stable) cancel and must be the same arrays.
    """
    mine, theirs = _without_shared(net, other), _without_shared(other, net)
    direct = np.linalg.norm(net.D - other.D, axis=1)
    blocks = (*mine[0], *theirs[0])
    if not blocks:
        return direct
    B, C = np.vstack([mine[1], theirs[1]]), np.hstack([mine[2], -theirs[2]])
    values = np.concatenate([quasi_eigenvalues(block) for block in blocks])
    if (np.abs(values) >= 1.0).any() if net.discrete else (values.real >= 0.0).any():
        return np.full(len(C), np.inf)
    if net.discrete:
        return direct + _summed(blocks, B, C, values)
    grouped = group_blocks(blocks)
    order = grouped.order
    end = _DECAYED / float(-values.real.max())
    if not grouped.others:
        t = instants(values, end, _NODES)
        sizes = kernel_sizes(grouped, C[:, order], B[order], t)
        times, kernel, last = list(t), list(sizes), sizes[-1]
    else:
        times, kernel, last = [], [], np.zeros(len(C))
        for t, left, _ in responses(grouped, C[:, order], B[order], values, end, nodes=_NODES):
            times.append(t)
            last = np.linalg.norm(left @ B[order], axis=1)
            kernel.append(last)
    # what follows decays at least as the slowest pole does once the fast ones are gone
    rest = last / float(-values.real.max())
    return direct + upper_sum(times, kernel, end) + rest


def _without_shared(
    net: NetworkStructure, other: NetworkStructure
) -> tuple[tuple[FloatArray, ...], FloatArray, FloatArray]:
    blocks, rows = [], []
    for start, block in zip(net.starts, net.blocks, strict=True):
        if any(block is theirs for theirs in other.blocks):
            continue
        blocks.append(block)
        rows += list(range(start, start + len(block)))
    return tuple(blocks), net.B[rows], net.C[:, rows]


def _summed(blocks: tuple[FloatArray, ...], B: FloatArray, C: FloatArray, values: np.ndarray) -> FloatArray:
    """Sum of `|C A^k B|` of a stable discrete model, step by step until the rest is rounding."""
    grouped = group_blocks(blocks)
    order = grouped.order
    radius = min(float(np.abs(values).max()), 1.0 - 1e-12)
    steps = int(min(_DECAYED / max(-math.log(max(radius, 1e-300)), 1e-12), 200_000)) + len(B)
    X, Cg, out = B[order], C[:, order], np.zeros(len(C))
    last = np.zeros(len(C))
    for _ in range(steps):
        last = np.linalg.norm(Cg @ X, axis=1)
        out += last
        X = multiply(grouped, grouped.real, grouped.pairs, list(grouped.others), X)
    return out + last / max(1.0 - radius, 1e-12)
