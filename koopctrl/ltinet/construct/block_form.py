"""Block form `A = T blkdiag(A_1 .. A_L) T^-1` of a real matrix, with a bound on `cond(T)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, eigh

from koopctrl._validation import FloatArray, as_matrix, check_bool, check_choice, check_number
from koopctrl.errors import DataError, ShapeError, SolverError
from koopctrl.ltinet.construct.assembly import EPS, BlockForm, assemble, inverse_norm, norm2, residual_size
from koopctrl.ltinet.construct.clustering import cluster
from koopctrl.ltinet.construct.components import decoupled_parts, ordered_schur
from koopctrl.ltinet.construct.splitting import Split, separate, split_bounded
from koopctrl.ltinet.quasi_triangular import Merge, quasi_starts

METHODS = ("auto", "symmetric", "schur")
OnStep = Callable[[int, int], None] | None


def block_form(
    A: ArrayLike,
    *,
    cond_max: float = 1e8,
    method: str = "auto",
    balance: bool = False,
    on_step: Callable[[int, int], None] | None = None,
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
    on_step : callable (done, total), optional
        Told how far the splitting has come.

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
    check_bool(balance, "balance")
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
    if method != "schur" and asymmetry <= 2 * EPS:
        form = _symmetric(scaled)
    elif method == "schur":
        form = _general(scaled, cond_max, method, on_step)
    else:
        form = _by_parts(scaled, cond_max, method, on_step)
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
    residual = float(np.linalg.norm(A @ T - T * values)) / residual_size(A, T)
    blocks = tuple(values.reshape(-1, 1, 1))
    return BlockForm(T, np.ascontiguousarray(T.T), blocks, (1 + defect) / (1 - defect), residual, "symmetric")


def _by_parts(A: FloatArray, cond_max: float, method: str, on_step: OnStep) -> BlockForm:
    """States that nothing links are split for nothing; each part is a problem of its own."""
    parts = decoupled_parts(A)
    if len(parts) == 1:
        return _general(A, cond_max, method, on_step)
    n = len(A)
    T, T_inv, blocks, merges, size, large = np.zeros((n, n)), np.zeros((n, n)), [], [], 0.0, 0.0
    at = 0
    for part in parts:
        inner = A[part][:, part]
        form = _general(inner, cond_max, method, on_step)
        # |T| = |T^-1| for every part, so that their condition numbers do not multiply
        factor = math.sqrt(form.cond) / max(float(norm2(form.T)), np.finfo(float).tiny)
        factor = 1.0 if form.cond < 2.0 else factor
        columns = slice(at, at + len(part))
        T[part, columns], T_inv[columns, part] = form.T * factor, form.T_inv / factor
        merges += [replace(m, layer=m.layer + len(blocks)) for m in form.merges]
        blocks += form.blocks
        size = max(size, float(norm2(T[part, columns])))
        large = max(large, float(norm2(T_inv[columns, part])))
        at += len(part)
    residual = A @ T
    edges = np.cumsum([0, *(len(block) for block in blocks)]).tolist()
    for low, high, block in zip(edges[:-1], edges[1:], blocks, strict=True):
        residual[:, low:high] -= T[:, low:high] @ block
    relative = float(np.linalg.norm(residual)) / residual_size(A, T)
    return BlockForm(T, T_inv, tuple(blocks), size * large, relative, "decoupled", tuple(merges))


def _general(A: FloatArray, cond_max: float, method: str, on_step: OnStep) -> BlockForm:
    try:
        decomposition: Any = ordered_schur(A)
    except LinAlgError as error:
        raise SolverError(f"the QR algorithm did not converge ({error}); check the scaling of A") from error
    (S, Q), n = decomposition, len(A)
    if method == "schur":
        merges = (Merge(0, 0j, 0j, math.inf, 1.0, note='method="schur" keeps one layer'),) if n > 1 else ()
        return assemble(A, Split(S, Q, (0,), merges), np.eye(n), "schur")
    starts = quasi_starts(S)
    sizes = np.diff([*starts, n])
    group = np.repeat(np.arange(len(starts)), sizes)
    coupling = np.where(group[:, None] == group[None, :], 0.0, S)
    # dropping couplings of this size is a rounding-level change of A, and keeps cond(T) = 1
    if np.linalg.norm(coupling) <= 4 * EPS * np.linalg.norm(S) * math.sqrt(n):
        return assemble(A, Split(S - coupling, Q, tuple(starts), ()), np.eye(n), "normal")
    form = _separated(A, Split(S, Q, tuple(starts), ()), "full", cond_max)
    return form if form is not None else _search(A, S, Q, cond_max, on_step)


def _separated(A: FloatArray, split: Split, method: str, cond_max: float) -> BlockForm | None:
    """Block form of a splitting, or None where it breaks `cond_max` or its residual is not rounding."""
    V = separate(split.S, split.starts)
    if V is None:
        return None
    form = assemble(A, split, V, method)
    # the residual rules out what cond(T) cannot see: columns so nearly parallel that one came out wrong
    return form if form.cond <= cond_max and form.residual <= 10 * EPS * len(A) else None


def _clustered(
    A: FloatArray, S: FloatArray, Q: FloatArray, cond_max: float, on_step: OnStep
) -> BlockForm | None:
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
        merged = cluster(split.S, split.Q, split.starts, V, limit, on_step)
        if merged is None:
            return None
        form = _separated(A, replace(merged, merges=split.merges + merged.merges), "clustered", cond_max)
        if form is not None:
            return form
        limit *= 0.3
    return None


def _search(A: FloatArray, S: FloatArray, Q: FloatArray, cond_max: float, on_step: OnStep) -> BlockForm:
    """Bisect on Bavely and Stewart's bound for the finest splitting with `cond <= cond_max`."""
    n = len(A)
    low, high = 0.0, math.log10(cond_max) + 1.0
    best = _clustered(A, S, Q, cond_max, on_step)
    if best is not None and len(best.blocks) > 1:
        return best
    trial = math.log10(cond_max)
    for _ in range(8):
        split = split_bounded(S, Q, 10.0**trial, on_step)
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
    if best is None or len(best.blocks) == 1:
        reason = f"no splitting into two or more layers keeps cond(T) below {cond_max:.2g}"
        merges = best.merges if best is not None else (Merge(0, 0j, 0j, math.inf, cond_max, note=reason),)
        return assemble(A, Split(S, Q, (0,), merges), np.eye(n), "schur")
    return best


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
