"""The block form as a result, and its assembly from a separated Schur form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack
from scipy.sparse.linalg import aslinearoperator, eigsh

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.ltinet.construct.splitting import Split
from koopctrl.ltinet.quasi_triangular import Merge, quasi_eigenvalues

EPS = float(np.finfo(float).eps)
_HOPELESS = 1e100
_REFINE = 1e4  # condition number from which the inverse is worth a step of refinement


@dataclass(frozen=True)
class BlockForm:
    """`A = T blkdiag(blocks) T_inv`.

    Attributes
    ----------
    T, T_inv : array (n, n)
        Transformation and its inverse; every block's columns of `T` are orthonormal unless balanced.
    blocks : tuple of array (k, k)
        Quasi upper triangular diagonal blocks, in the order of the columns of `T`.
    cond : float
        2-norm condition number of `T`.
    residual : float
        `|A T - T blkdiag| / (|A| |T|)` in Frobenius norms; a few eps when all went well.
    method : str
        Path taken: "symmetric", "normal", "full" (every eigenvalue separated), "clustered", "bavely-stewart"
        "schur" or "decoupled" (parts that nothing links, each by one of these).
    merges : tuple of Merge
        Why eigenvalues stayed together; empty when every one is on its own.
    """

    T: FloatArray
    T_inv: FloatArray
    blocks: tuple[FloatArray, ...]
    cond: float
    residual: float
    method: str
    merges: tuple[Merge, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Orders of the blocks."""
        return tuple(len(block) for block in self.blocks)

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues block by block, one per row."""
        parts = [quasi_eigenvalues(block) for block in self.blocks]
        return np.concatenate(parts) if parts else np.zeros(0, complex)


def assemble(A: FloatArray, split: Split, V: FloatArray, method: str) -> BlockForm:
    """Transformation with orthonormal columns per block: within sqrt(L) of the best block scaling."""
    n = len(A)
    starts = np.array(split.starts)
    sizes = np.diff([*starts, n])
    plain = method in ("schur", "normal")
    if plain:
        W = np.eye(n)
        blocks = [split.S[i : i + k, i : i + k].copy() for i, k in zip(starts, sizes, strict=True)]
    else:
        W, info = lapack.dtrtri(V, lower=0, unitdiag=0)
        if info != 0:
            raise SolverError(f"LAPACK dtrtri failed with info {info}; this is a defect of koopctrl")
        if not np.abs(W).max(initial=0.0) < _HOPELESS:
            # columns so nearly parallel that products would overflow: no splitting at all
            blocks = [split.S[i : i + k, i : i + k].copy() for i, k in zip(starts, sizes, strict=True)]
            return BlockForm(V, W, tuple(blocks), math.inf, math.inf, method)
        blocks = _orthonormalise(V, W, split.S, starts, sizes)
    cond = 1.0 if plain else float(norm2(V) * norm2(W))
    if cond > _REFINE:
        # dtrtri leaves V W = I to cond^2 eps; one Newton step brings it to cond eps
        W += W @ (np.eye(n) - V @ W)
        cond = float(norm2(V) * norm2(W))
    T, T_inv = split.Q @ V, W @ split.Q.T
    AT = A @ T
    for i, k, block in zip(starts, sizes, blocks, strict=True):
        if k > 2:
            AT[:, i : i + k] -= T[:, i : i + k] @ block
    small = starts[sizes <= 2]
    AT -= _small_products(T, small, sizes[sizes <= 2], [b for b in blocks if len(b) <= 2])
    residual = float(np.linalg.norm(AT)) / residual_size(A, T)
    merges = tuple(split.merges)
    return BlockForm(T, T_inv, tuple(blocks), cond, residual, method, merges)


def _orthonormalise(
    V: FloatArray, W: FloatArray, S: FloatArray, starts: np.ndarray, sizes: np.ndarray
) -> list[FloatArray]:
    """Replace `V_i = Q_i R_i` by `Q_i`, in place; rows of W and the blocks follow."""
    blocks: dict[int, FloatArray] = {}
    ones = starts[sizes == 1]
    norms = np.linalg.norm(V[:, ones], axis=0)
    V[:, ones] /= norms
    W[ones] *= norms[:, None]
    blocks.update(zip(ones.tolist(), S[ones, ones].reshape(-1, 1, 1), strict=True))
    twos = starts[sizes == 2]
    if twos.size:
        M = S[
            twos[:, None, None] + np.array([[0, 0], [1, 1]]), twos[:, None, None] + np.array([[0, 1], [0, 1]])
        ]
        blocks.update(zip(twos.tolist(), _orthonormalise_pairs(V, W, M, twos), strict=True))
    for start, size in zip(starts[sizes > 2].tolist(), sizes[sizes > 2].tolist(), strict=True):
        rows = slice(start, start + size)
        Q, R = np.linalg.qr(V[: start + size, rows])
        V[: start + size, rows] = Q
        W[rows] = R @ W[rows]
        block = np.linalg.solve(R.T, (R @ S[rows, rows]).T).T
        # R S R^-1 is quasi-triangular with the same pattern; solving leaves rounding below it
        keep = np.triu(np.ones((size, size), bool)) | (S[rows, rows] != 0.0)
        blocks[start] = np.where(keep, block, 0.0)
    return [blocks[start] for start in starts.tolist()]


def _orthonormalise_pairs(V: FloatArray, W: FloatArray, M: FloatArray, twos: np.ndarray) -> FloatArray:
    """Gram and Schmidt, twice, for all 2x2 blocks at once; V and W change in place."""
    first, second = V[:, twos], V[:, twos + 1]
    r11 = np.linalg.norm(first, axis=0)
    first /= r11
    r12 = np.einsum("ij,ij->j", first, second)
    second -= first * r12
    again = np.einsum("ij,ij->j", first, second)
    second -= first * again
    r12 += again
    r22 = np.linalg.norm(second, axis=0)
    second /= r22
    V[:, twos], V[:, twos + 1] = first, second
    W[twos] = r11[:, None] * W[twos] + r12[:, None] * W[twos + 1]
    W[twos + 1] *= r22[:, None]
    # R M R^-1 written out for R = [[r11, r12], [0, r22]]
    (m11, m12), (m21, m22) = M.transpose(1, 2, 0)
    n11, n21 = m11 + r12 * m21 / r11, r22 * m21 / r11
    n22 = m22 - r12 * m21 / r11
    n12 = (r11 * m12 + r12 * m22 - n11 * r12) / r22
    return np.array([[n11, n12], [n21, n22]]).transpose(2, 0, 1)


def _small_products(
    T: FloatArray, starts: np.ndarray, sizes: np.ndarray, blocks: list[FloatArray]
) -> FloatArray:
    """`T blkdiag` for the 1x1 and 2x2 blocks, zero elsewhere, without a loop."""
    out = np.zeros_like(T)
    ones, twos = starts[sizes == 1], starts[sizes == 2]
    if ones.size:
        out[:, ones] = T[:, ones] * np.array([b[0, 0] for b in blocks if len(b) == 1])
    if twos.size:
        M = np.array([b for b in blocks if len(b) == 2])
        left, right = T[:, twos], T[:, twos + 1]
        out[:, twos] = left * M[:, 0, 0] + right * M[:, 1, 0]
        out[:, twos + 1] = left * M[:, 0, 1] + right * M[:, 1, 1]
    return out


def residual_size(A: FloatArray, T: FloatArray) -> float:
    """What residuals of `A T - T blkdiag` are measured against."""
    return max(float(np.linalg.norm(A)) * float(np.linalg.norm(T)) / math.sqrt(len(A)), np.finfo(float).tiny)


def inverse_norm(V: FloatArray) -> float:
    """Spectral norm of the inverse of an upper triangular matrix; infinite if singular."""
    W, info = lapack.dtrtri(V, lower=0, unitdiag=0)
    return float(norm2(np.triu(W))) if info == 0 and np.isfinite(W).all() else math.inf


def norm2(M: FloatArray) -> float:
    """Spectral norm; by Lanczos to about four digits where a full SVD would be the costliest step."""
    if min(M.shape) <= 200:
        return float(np.linalg.norm(M, 2)) if M.size else 0.0
    gram = aslinearoperator(M.T) @ aslinearoperator(M)
    start = np.random.default_rng(0).standard_normal(M.shape[1])
    options: dict[str, Any] = {"tol": 1e-5, "ncv": 20}
    value = eigsh(gram, k=1, v0=start, return_eigenvectors=False, **options)[0]
    return math.sqrt(float(value))
