"""Block form `A = T blkdiag(A_1 .. A_L) T^-1` of a real matrix, with a bound on `cond(T)`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, eigh, lapack, schur
from scipy.sparse.linalg import aslinearoperator, eigsh

from koopctrl._validation import FloatArray, as_matrix, check_choice, check_number
from koopctrl.errors import DataError, ShapeError, SolverError
from koopctrl.ltinet.clustering import cluster
from koopctrl.ltinet.progress import Progress
from koopctrl.ltinet.splitting import (
    Merge,
    Split,
    quasi_eigenvalues,
    quasi_starts,
    separate,
    split_bounded,
)

EPS = float(np.finfo(float).eps)
_REFINE = 1e4  # condition number from which the inverse is worth a step of refinement
METHODS = ("auto", "symmetric", "schur")


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
        or "schur".
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


def block_form(
    A: ArrayLike,
    *,
    cond_max: float = 1e8,
    method: str = "auto",
    balance: bool = False,
    progress: bool = False,
) -> BlockForm:
    """Split `A` into the finest independent blocks that `cond_max` allows.

    A symmetric `A` goes through `eigh`; a normal one through the real Schur form, whose couplings then are
    rounding. Otherwise the Schur form is split completely if that keeps `cond(T) <= cond_max`; if not,
    nearly dependent blocks are merged until it does (`clustering`), and where that fails (defective
    eigenvalues) Bavely and Stewart's algorithm decides, with the largest bound on its entries that does.

    Parameters
    ----------
    A : array (n, n)
        Real matrix; it is not modified.
    cond_max : float
        Largest condition number of `T`, at least 1.
    method : {"auto", "symmetric", "schur"}
        "schur" stops at one block with `cond(T) = 1`: the accuracy reference. "symmetric" demands symmetry.
    balance : bool
        Scale each 2x2 block so that its off-diagonal entries have equal size; this changes `cond(T)`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    BlockForm

    Raises
    ------
    ShapeError
        `A` is not square, or "symmetric" was asked for and it is not.
    DataError
        NaN, inf, or entries at the very bottom of the range of float64.
    OptionError
        `cond_max` below 1 or an unknown method.
    SolverError
        The QR algorithm did not converge.
    """
    A = as_matrix(A, "A")
    if A.shape[0] != A.shape[1]:
        raise ShapeError(f"A has shape {A.shape}; expected a square matrix")
    cond_max = check_number(cond_max, "cond_max", low=1.0)
    check_choice(method, "method", METHODS)
    if A.shape[0] == 0:
        return BlockForm(A.copy(), A.copy(), (), 1.0, 0.0, "symmetric")
    # a power of two brings entries near 1 without rounding, so that nothing over- or underflows on the way
    largest = float(np.abs(A).max())
    if 0.0 < largest < np.finfo(float).tiny / EPS:
        raise DataError(
            f"A has the largest entry {largest:.3g}, so near the smallest float that results could not be "
            "rounded relatively; expected larger entries. Express time in another unit"
        )
    exponent = int(np.frexp(largest)[1])
    scaled = np.ldexp(A, -exponent)
    asymmetry = float(np.abs(scaled - scaled.T).max())
    if method == "symmetric" and asymmetry > 100 * EPS:
        raise ShapeError(
            f"A differs from its transpose by {asymmetry:.2g} of its largest entry; expected a "
            'symmetric matrix. Use method="auto"'
        )
    with Progress(progress, "block form", A.shape[0]) as bar:
        if method != "schur" and asymmetry <= 2 * EPS:
            form = _symmetric(scaled)
        else:
            form = _general(scaled, cond_max, method, bar)
    if balance:
        form = _balanced(form, scaled)
    merges = tuple(
        replace(m, eigenvalue=_scaled(m.eigenvalue, exponent), joined=_scaled(m.joined, exponent))
        for m in form.merges
    )
    return replace(form, blocks=tuple(np.ldexp(block, exponent) for block in form.blocks), merges=merges)


def _scaled(value: complex, exponent: int) -> complex:
    return complex(np.ldexp(value.real, exponent), np.ldexp(value.imag, exponent))


def _symmetric(A: FloatArray) -> BlockForm:
    try:
        values, T = eigh(0.5 * (A + A.T), driver="evd")
    except LinAlgError as error:
        raise SolverError(
            f"the symmetric eigenvalue solver failed ({error}); check the scaling of A"
        ) from error
    # fastest neuron last, the slow modes that carry the response first
    order = np.argsort(-values, kind="stable")
    values, T = values[order], np.ascontiguousarray(T[:, order])
    defect = float(np.linalg.norm(T.T @ T - np.eye(len(T)), 2 if len(T) <= 64 else "fro"))
    residual = float(np.linalg.norm(A @ T - T * values)) / _size(A, T)
    blocks = tuple(values.reshape(-1, 1, 1))
    return BlockForm(T, np.ascontiguousarray(T.T), blocks, (1 + defect) / (1 - defect), residual, "symmetric")


def _general(A: FloatArray, cond_max: float, method: str, bar: Progress) -> BlockForm:
    try:
        decomposition: Any = schur(A, output="real")
    except LinAlgError as error:
        raise SolverError(f"the QR algorithm did not converge ({error}); check the scaling of A") from error
    (S, Q), n = decomposition, len(A)
    if method == "schur":
        merges = (Merge(0, 0j, 0j, math.inf, 1.0, note='method="schur" keeps one layer'),) if n > 1 else ()
        return _assemble(A, Split(S, Q, (0,), merges), np.eye(n), "schur")
    starts = quasi_starts(S)
    sizes = np.diff([*starts, n])
    group = np.repeat(np.arange(len(starts)), sizes)
    coupling = np.where(group[:, None] == group[None, :], 0.0, S)
    # dropping couplings of this size is a rounding-level change of A, and keeps cond(T) = 1
    if np.linalg.norm(coupling) <= 4 * EPS * np.linalg.norm(S) * math.sqrt(n):
        return _assemble(A, Split(S - coupling, Q, tuple(starts), ()), np.eye(n), "normal")
    form = _separated(A, Split(S, Q, tuple(starts), ()), "full", cond_max)
    return form if form is not None else _search(A, S, Q, cond_max, bar)


def _separated(A: FloatArray, split: Split, method: str, cond_max: float) -> BlockForm | None:
    """Block form of a splitting, or None where it breaks `cond_max` or its residual is not rounding."""
    V = separate(split.S, split.starts)
    if V is None:
        return None
    form = _assemble(A, split, V, method)
    # the residual rules out what cond(T) cannot see: columns so nearly parallel that one came out wrong
    return form if form.cond <= cond_max and form.residual <= 10 * EPS * len(A) else None


def _clustered(A: FloatArray, S: FloatArray, Q: FloatArray, cond_max: float) -> BlockForm | None:
    """Merge from the complete splitting, or from one that keeps (nearly) defective eigenvalues together."""
    split = Split(S, Q, tuple(quasi_starts(S)), ())
    V = separate(S, split.starts)
    if V is None or not norm2(V) * inverse_norm(V) < 1.0 / EPS:
        split = split_bounded(S, Q, 1e3 * cond_max)
        V = separate(split.S, split.starts)
        if V is None:
            return None
    limit = cond_max
    # the estimate of cond may fall a little short: try again with a margin
    for _ in range(3):
        merged = cluster(split.S, split.Q, split.starts, V, limit)
        if merged is None:
            return None
        form = _separated(A, replace(merged, merges=split.merges + merged.merges), "clustered", cond_max)
        if form is not None:
            return form
        limit *= 0.3
    return None


def _search(A: FloatArray, S: FloatArray, Q: FloatArray, cond_max: float, bar: Progress) -> BlockForm:
    """Bisect on Bavely and Stewart's bound for the finest splitting with `cond <= cond_max`."""
    n = len(A)
    low, high = 0.0, math.log10(cond_max) + 1.0
    best = _clustered(A, S, Q, cond_max)
    if best is not None and len(best.blocks) > 1:
        return best
    trial = math.log10(cond_max)
    for _ in range(8):
        split = split_bounded(S, Q, 10.0**trial, bar.step)
        form = _separated(A, split, "bavely-stewart", cond_max)
        if form is not None:
            low = trial
            if best is None or len(form.blocks) > len(best.blocks):
                best = form
        else:
            high = trial
        if high - low < 0.1:
            break
        trial = 0.5 * (low + high)
        bar.restart()
    if best is None or len(best.blocks) == 1:
        reason = f"no splitting into two or more layers keeps cond(T) below {cond_max:.2g}"
        merges = best.merges if best is not None else (Merge(0, 0j, 0j, math.inf, cond_max, note=reason),)
        return _assemble(A, Split(S, Q, (0,), merges), np.eye(n), "schur")
    return best


def _assemble(A: FloatArray, split: Split, V: FloatArray, method: str) -> BlockForm:
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
    residual = float(np.linalg.norm(AT)) / _size(A, T)
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


def _balanced(form: BlockForm, A: FloatArray) -> BlockForm:
    """Scale the second state of each 2x2 block so that `|m12| = |m21|`."""
    T, T_inv, blocks, start = form.T.copy(), form.T_inv.copy(), [], 0
    for block in form.blocks:
        if len(block) == 2 and block[0, 1] * block[1, 0] != 0.0:
            s = math.sqrt(abs(block[1, 0] / block[0, 1]))
            block = np.array([[block[0, 0], block[0, 1] * s], [block[1, 0] / s, block[1, 1]]])
            T[:, start + 1] *= s
            T_inv[start + 1] /= s
        blocks.append(block)
        start += len(block)
    return replace(form, T=T, T_inv=T_inv, blocks=tuple(blocks), cond=float(norm2(T) * norm2(T_inv)))


def _size(A: FloatArray, T: FloatArray) -> float:
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
