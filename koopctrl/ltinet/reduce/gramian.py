"""Gramians of networks, by their own poles as shifts."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import group_blocks
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.reduce.adi import Factors, NetworkPencil, low_rank_gramians, orthonormal, pole_shifts
from koopctrl.ltinet.reduce.halves import Half, to_continuous
from koopctrl.ltinet.structure import NetworkStructure

_FLOOR = 1e-17


def network_gramians(blocks: tuple[FloatArray, ...], B: FloatArray, C: FloatArray) -> Factors:
    """Factors of both Gramians of a stable continuous block diagonal model, in the order of its states."""
    grouped = group_blocks(blocks)
    back = np.argsort(grouped.order)
    values = np.concatenate([quasi_eigenvalues(block) for block in blocks] or [np.zeros(0, complex)])
    Bg, Cg = B[grouped.order], C[:, grouped.order]
    layer = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])[grouped.order]
    shifts = pole_shifts(values[grouped.order], layer, Bg, Cg, _FLOOR)
    found = low_rank_gramians(NetworkPencil(grouped), Bg, Cg, shifts)
    return Factors(orthonormal(found.Zc)[back], orthonormal(found.Zo)[back], found.residuals, found.n_shifts)


def controllability_factor(net: NetworkStructure) -> FloatArray:
    """`Z` with `P = Z Z'` for a stable network, discrete or continuous."""
    blocks, B, C = net.blocks, net.B, net.C
    if net.discrete:
        eye = np.eye(net.n_states)
        blocks, B, C, _ = to_continuous(Half(blocks, B, C, eye, eye), net.D)
    return network_gramians(blocks, B, C).Zc
