"""Digits that a transformation lost, brought back from its residuals.

With `F = T^-1 (A T - T L)` the model reads `L + F` in the network's coordinates. A transformation `I + E`
with `L_i E_ij - E_ij L_j = -F_ij` removes what couples layers up to terms of second order, so that two or
three passes end at the rounding of the network's own weights, however large `cond(T)` is, as long as `F`
itself is known: the residuals are computed in twice the working precision (`residuals`).

After Dongarra, Moler and Wilkinson, *Improving the accuracy of computed eigenvalues and eigenvectors*, SIAM
J. Numer. Anal. 20, 1983, for invariant subspaces of any size.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag, schur

from koopctrl._validation import FloatArray
from koopctrl.ltinet.construct.assembly import EPS, BlockForm
from koopctrl.ltinet.construct.residuals import cancelling_pair, cancelling_product, exact_product
from koopctrl.ltinet.construct.splitting import sylvester
from koopctrl.ltinet.grouped import oscillates
from koopctrl.ltinet.structure import LocalDefects

_PASSES = 4
_LARGE = 300
_SPARSE = 100
_INEXACT = 1e3  # condition number from which the inverse itself is put right
_ROUNDING = 4.0
_WORTH = 0.1  # a pass that gains less than a digit is the last
_ENOUGH = 1e-4  # couplings of this many units in the last place are as good as none
_MOVED = 1e-5
_SMALL = 1e-2  # what E may hold without its square mattering after two passes


@dataclass(frozen=True)
class Refined:
    """A block form with its input and output weights, and what is left of their defects.

    `converged` says whether layers are coupled by no more than rounding.
    """

    form: BlockForm
    B: FloatArray
    C: FloatArray
    local: LocalDefects
    converged: bool = True


@dataclass
class _Model:
    """The model in the network's coordinates, `(L + F, B + G, C - H)`, and the steps `P` that led there."""

    F: FloatArray
    G: FloatArray
    H: FloatArray
    P: FloatArray
    P_inv: FloatArray


def refine(
    A: FloatArray, B: FloatArray, C: FloatArray, form: BlockForm, *, anew: bool = True
) -> Refined | None:
    """Correct a block form and its weights to rounding of the weights themselves.

    Parameters
    ----------
    A, B, C : arrays
        The model, balanced.
    form : BlockForm
        Of `A`.
    anew : bool
        Start once more from the result where the steps to it were large.

    Returns
    -------
    Refined or None
        None where entries are so large or small that products would over- or underflow.
    """
    n = len(A)
    B_net, C_net = form.T_inv @ B, C @ form.T
    Lambda = np.asarray(block_diag(*form.blocks)) if n else np.zeros((0, 0))
    # a dead entry carries nothing; anything else must survive being multiplied twice
    sizes = [np.abs(M[M != 0.0]) for M in (A, B, C, form.T, Lambda, B_net, C_net)]
    if any(s.size and (s.max() > 1e100 or s.max() < 1e-100) for s in sizes):
        return None
    model = _residuals(A, B, C, form, Lambda, B_net, C_net)
    edges = np.cumsum([0, *form.sizes]).tolist()
    layer = np.repeat(np.arange(len(form.sizes)), form.sizes)
    across = layer[:, None] != layer[None, :]
    # orthogonal modes of a large symmetric model are right to rounding already: their defects are kept, as
    # such
    passes = 0 if form.method == "symmetric" and n > _LARGE else _PASSES
    for _ in range(passes):
        before = _norm(model.F, across)
        if before <= _ENOUGH * EPS * float(np.abs(Lambda).max(initial=0.0)):
            break
        E = _without_resonances(_separating(Lambda, model.F, edges), edges)
        if float(np.linalg.norm(E)) > 0.1:
            break
        trial = _transformed(model, Lambda, B_net, C_net, E)
        after = _norm(trial.F, across)
        if after < before:
            model = trial
        if not after < _WORTH * before:
            break
    size = float(np.linalg.norm(Lambda))
    converged = _norm(model.F, across) <= _ROUNDING * EPS * n * size
    refined = replace(_rounded(form, Lambda, B_net, C_net, model, edges), converged=converged)
    if anew and float(np.linalg.norm(model.P - np.eye(n))) > _MOVED:
        # rounding of large steps is what is left of their defects: measured again where they led to
        again = refine(A, B, C, refined.form, anew=False)
        refined = refined if again is None else again
    return refined


def _residuals(
    A: FloatArray, B: FloatArray, C: FloatArray, form: BlockForm, Lambda: FloatArray, B_net: FloatArray,
    C_net: FloatArray,
) -> _Model:  # fmt: skip
    n, T = len(A), form.T
    F = form.T_inv @ _block_residual(A, form, Lambda)
    G = form.T_inv @ cancelling_product(np.hstack([B, -T]), np.vstack([np.eye(B.shape[1]), B_net]))
    if form.cond > _INEXACT:
        # T_inv is an inverse to cond(T) eps only, and F is known no better than that
        off = cancelling_product(np.hstack([form.T_inv, -np.eye(n)]), np.vstack([T, np.eye(n)]))
        F, G = F - off @ (F - off @ F), G - off @ (G - off @ G)
    H = cancelling_product(np.hstack([C_net, -C]), np.vstack([np.eye(n), T]))
    return _Model(F, G, H, np.eye(n), np.eye(n))


def _block_residual(A: FloatArray, form: BlockForm, Lambda: FloatArray) -> FloatArray:
    """`A T - T L`, with the columns of first-order layers, which need no sums, apart."""
    T, sizes = form.T, np.array(form.sizes, dtype=int)
    single = np.repeat(sizes == 1, sizes)
    rest = np.flatnonzero(~single)
    high, low = cancelling_pair(A, T)
    if single.any():
        product, rounded = exact_product(T[:, single], np.diagonal(Lambda)[single])
        out = (high[:, single] - product) + (low[:, single] - rounded)
    R = np.empty_like(T)
    if single.any():
        R[:, single] = out
    if rest.size:
        right = T[:, rest]
        two = cancelling_pair(right, Lambda[rest][:, rest])
        R[:, rest] = (high[:, rest] - two[0]) + (low[:, rest] - two[1])
    return R


def _norm(F: FloatArray, across: np.ndarray) -> float:
    """2-norm of the entries that couple different layers."""
    return float(np.linalg.norm(F[across]))


def _without_resonances(E: FloatArray, edges: list[int]) -> FloatArray:
    """`E` without what would turn layers of (nearly) equal eigenvalues into each other.

    Their coupling is rounding, and so is their distance: it stays, as a defect.
    """
    if not E.size:
        return E
    starts = np.array(edges[:-1])
    size = np.where(np.isfinite(E), np.abs(E), np.inf)
    largest = np.maximum.reduceat(np.maximum.reduceat(size, starts, axis=0), starts, axis=1)
    sizes = np.diff(edges)
    small = np.repeat(np.repeat(largest <= _SMALL, sizes, axis=0), sizes, axis=1)
    return np.where(small, E, 0.0)


def _separating(Lambda: FloatArray, F: FloatArray, edges: list[int]) -> FloatArray:
    """`E` with `L_i E_ij - E_ij L_j = -F_ij` for all pairs of layers, zero within them."""
    n = len(Lambda)
    if len(edges) - 1 == n:
        values = np.diagonal(Lambda)
        gaps = values[:, None] - values[None, :]
        # equal eigenvalues of separate layers need no separating: they commute
        return np.where(gaps != 0.0, -F / np.where(gaps != 0.0, gaps, 1.0), 0.0)
    E = np.zeros_like(F)

    def recurse(first: int, last: int) -> None:
        if last - first <= 1:
            return
        cut = (first + last) // 2
        recurse(first, cut)
        recurse(cut, last)
        one, two = slice(edges[first], edges[cut]), slice(edges[cut], edges[last])
        E[one, two] = sylvester(Lambda[one, one], Lambda[two, two], F[one, two])
        E[two, one] = sylvester(Lambda[two, two], Lambda[one, one], F[two, one])

    with np.errstate(over="ignore", invalid="ignore"):
        recurse(0, len(edges) - 1)
    return E


def _transformed(
    model: _Model, Lambda: FloatArray, B_net: FloatArray, C_net: FloatArray, E: FloatArray
) -> _Model:
    """The model after `w -> (I + E)^-1 w`; every difference is formed between small things."""
    F, G, H = model.F, model.G, model.H
    # most networks have small layers: their products with E are cheap
    L = sparse.csr_array(Lambda) if len(Lambda) > _SPARSE else Lambda
    change = np.asarray(L @ E - E @ L) + F @ E - E @ F
    return _Model(
        F + _back(E, change),
        _back(E, G - E @ B_net),
        H + H @ E - C_net @ E,
        model.P + model.P @ E,
        _back(E, model.P_inv),
    )


def _back(E: FloatArray, X: FloatArray) -> FloatArray:
    """`(I + E)^-1 X` for a small `E`, by its series."""
    term, total, ratio = X, X, float(np.linalg.norm(E))
    for _ in range(16):
        term = -(E @ term)
        total = total + term
        # the next term is smaller by the norm of E at least
        if ratio * float(np.linalg.norm(term)) <= 0.1 * EPS * float(np.abs(total).max(initial=0.0)):
            break
    return total


def _rounded(
    form: BlockForm, Lambda: FloatArray, B_net: FloatArray, C_net: FloatArray, model: _Model, edges: list[int]
) -> Refined:
    """Put what is known into the weights; what their last digits cannot hold is returned as defects."""
    F, G, H = model.F.copy(), model.G.copy(), model.H.copy()
    T, T_inv = form.T @ model.P, model.P_inv @ form.T_inv
    B_new, C_new = B_net + G, C_net - H
    G += B_net - B_new
    H += C_new - C_net
    blocks = []
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        rows, block = slice(low, high), form.blocks[i]
        own = F[rows, rows]
        if len(block) > 2 or (len(block) == 2 and not oscillates(block)):
            block, own = _triangular_again(block, own, rows, (T, T_inv, B_new, C_new, F, G, H))
        whole = block + own
        # below the quasi-triangle the network has no links: that part stays a defect
        keep = np.triu(np.ones_like(block, dtype=bool)) | (block != 0.0)
        new = np.where(keep, whole, 0.0)
        blocks.append(new)
        F[rows, rows] = (block - new) + own
    return Refined(replace(form, T=T, T_inv=T_inv, blocks=tuple(blocks)), B_new, C_new, LocalDefects(F, G, H))


def _triangular_again(
    block: FloatArray, own: FloatArray, rows: slice, parts: tuple[FloatArray, ...]
) -> tuple[FloatArray, FloatArray]:
    """Turn a layer so that its corrected block is quasi-triangular; all `parts` follow, in place.

    Returns
    -------
    block, own : array (k, k)
        New block and its defect.
    """
    k = len(block)
    if not np.tril(own, -1).any():
        return block, own
    found: Any = schur(block + own, output="real")
    S, Z = found
    T, T_inv, B, C, F, G, H = parts
    # Z S Z^T = block + own to rounding; the difference is known to twice that
    known = cancelling_product(np.hstack([block, -Z]), np.vstack([Z, S])) + own @ Z
    own = Z.T @ known
    T[:, rows], T_inv[rows] = T[:, rows] @ Z, Z.T @ T_inv[rows]
    turned_B, turned_C = Z.T @ B[rows], C[:, rows] @ Z
    # Z^-1 differs from Z^T by as much as G holds: what is missing is B - Z (Z^T B), not Z^T B - (Z^T B)
    G[rows] = Z.T @ (G[rows] + cancelling_product(np.hstack([np.eye(k), -Z]), np.vstack([B[rows], turned_B])))
    H[:, rows] = H[:, rows] @ Z - cancelling_product(
        np.hstack([C[:, rows], -turned_C]), np.vstack([Z, np.eye(k)])
    )
    B[rows], C[:, rows] = turned_B, turned_C
    F[:, rows] = F[:, rows] @ Z
    F[rows] = Z.T @ F[rows]
    return S, own
