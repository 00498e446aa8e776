"""The stable half of a network, which is reduced, and the rest, which is kept; discrete ones through `z ->
s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import block_diag, schur, solve_sylvester

from koopctrl._validation import FloatArray
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.structure import NetworkStructure


@dataclass(frozen=True)
class Half:
    """Blocks with their weights; `T` (m, k) and `T_inv` (k, m) lead to and from the network's coordinates."""

    blocks: tuple[FloatArray, ...]
    B: FloatArray
    C: FloatArray
    T: FloatArray
    T_inv: FloatArray

    @property
    def A(self) -> FloatArray:
        """The blocks as one matrix."""
        return np.asarray(block_diag(*self.blocks)) if self.blocks else np.zeros((0, 0))


def halves(net: NetworkStructure) -> tuple[Half, Half]:
    """Stable layers and the others; a layer that holds both kinds of poles is split."""

    def decays(values: np.ndarray) -> np.ndarray:
        return np.abs(values) < 1.0 if net.discrete else values.real < 0.0

    m = net.n_states
    kept: tuple[list[Any], list[Any]] = ([], [])
    for start, block in zip(net.starts, net.blocks, strict=True):
        k = len(block)
        E = np.zeros((m, k))
        E[start : start + k] = np.eye(k)
        stable = decays(quasi_eigenvalues(block))
        if stable.all() or not stable.any():
            kept[0 if stable.all() else 1].append((block, E, E.T))
            continue
        found: Any = schur(block, output="real", sort="iuc" if net.discrete else "lhp")
        S, Z, count = found
        X = solve_sylvester(S[:count, :count], -S[count:, count:], -S[:count, count:])
        # [I X; 0 I] separates the two parts
        left, right = Z[:, :count], Z[:, :count] @ X + Z[:, count:]
        kept[0].append((S[:count, :count], E @ left, (Z[:, :count].T - X @ Z[:, count:].T) @ E.T))
        kept[1].append((S[count:, count:], E @ right, Z[:, count:].T @ E.T))
    return _half(net, kept[0]), _half(net, kept[1])


def _half(net: NetworkStructure, parts: list[Any]) -> Half:
    m = net.n_states
    T = np.hstack([p[1] for p in parts]) if parts else np.zeros((m, 0))
    T_inv = np.vstack([p[2] for p in parts]) if parts else np.zeros((0, m))
    return Half(tuple(p[0] for p in parts), T_inv @ net.B, net.C @ T, T, T_inv)


def to_continuous(
    half: Half, D: FloatArray
) -> tuple[tuple[FloatArray, ...], FloatArray, FloatArray, FloatArray]:
    """Blocks, `B`, `C`, `D` under `z = (1 + s) / (1 - s)`, which keeps both Gramians and the largest gain."""
    blocks, at = [], 0
    B, C, D = half.B.copy(), half.C.copy(), D.copy()
    for block in half.blocks:
        rows, eye = slice(at, at + len(block)), np.eye(len(block))
        inverse = np.linalg.inv(block + eye)
        upper = inverse @ (block - eye)
        keep = np.triu(np.ones_like(block, dtype=bool)) | (block != 0.0)
        blocks.append(np.where(keep, upper, 0.0))
        D -= C[:, rows] @ inverse @ B[rows]
        B[rows], C[:, rows] = np.sqrt(2.0) * inverse @ B[rows], np.sqrt(2.0) * C[:, rows] @ inverse
        at = rows.stop
    return tuple(blocks), B, C, D


def to_discrete(
    A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """The way back."""
    inverse = np.linalg.inv(np.eye(len(A)) - A)
    return (
        inverse @ (np.eye(len(A)) + A), np.sqrt(2.0) * inverse @ B, np.sqrt(2.0) * C @ inverse,
        D + C @ inverse @ B,
    )  # fmt: skip
