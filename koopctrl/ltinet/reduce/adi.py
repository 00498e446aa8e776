"""Low-rank factors of Gramians by the alternating direction implicit iteration.

`A P + P A' + B B' = 0` has the solution `P = Z Z'`; with shifts `p_k` in the left half plane

    V_k = (A + p_k I)^-1 W_(k-1),   W_k = W_(k-1) - 2 Re(p_k) V_k,   Z = [.., sqrt(-2 Re p_k) V_k, ..],   W_0
    = B,

and what is missing solves the same equation with `W_k` in the place of `B`. Complex shifts come in pairs and
keep `Z` real. Both Gramians share their shifts, hence their factorisations.

Sources: Penzl, *A cyclic low-rank Smith method for large sparse Lyapunov equations*, SIAM J. Sci. Comput. 21,
1999; Benner, Kuerschner and Saak, *Efficient handling of complex shift parameters in the low-rank Cholesky
factor ADI method*, Numer. Algorithms 62, 2013; Wachspress, *The ADI model problem*, 2013, for the shifts of a
real spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse
from scipy.linalg import qr
from scipy.sparse.linalg import splu
from scipy.special import ellipj, ellipk, ellipkm1

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.ltinet.grouped import Grouped
from koopctrl.ltinet.judge.frequency import resolvent, transposed


class Pencil(Protocol):
    """What the iteration needs of `(A, E)`."""

    def solve(self, shift: complex) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """`X -> (A + shift E)^-1 X` and the same with the transposed matrices."""
        ...

    def mass(self, X: FloatArray, transposed: bool) -> FloatArray:
        """`E X` or `E' X`."""
        ...


@dataclass(frozen=True)
class Factors:
    """`P = Zc Zc'`, `E' Q E = .. Zo Zo'`, and the sizes of what is missing relative to `B B'` and `C' C`."""

    Zc: FloatArray
    Zo: FloatArray
    residuals: tuple[float, float]
    n_shifts: int


class NetworkPencil:
    """A block diagonal matrix: a solve costs as much as it has states."""

    def __init__(self, grouped: Grouped) -> None:
        self.grouped = grouped
        self.transposed = transposed(grouped)

    def solve(self, shift: complex) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """See `Pencil`."""
        points = np.array([-shift])
        return (
            lambda X: -resolvent(self.grouped, points, X)[0],
            lambda X: -resolvent(self.transposed, points, X)[0],
        )

    def mass(self, X: FloatArray, transposed: bool) -> FloatArray:
        """See `Pencil`."""
        return X


class SparsePencil:
    """Sparse `(A, E)`; one factorisation per shift serves both equations."""

    def __init__(self, A: Any, E: Any | None) -> None:
        self.A = sparse.csc_array(A)
        n = int(self.A.shape[0])  # pyright: ignore[reportOptionalSubscript]
        self.E = sparse.csc_array(E if E is not None else sparse.eye_array(n))
        self.plain = E is None

    def solve(self, shift: complex) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """See `Pencil`."""
        M = self.A + (shift.real if shift.imag == 0.0 else shift) * self.E
        try:
            lu = splu(sparse.csc_array(M), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True},
                      diag_pivot_thresh=0.01)  # fmt: skip
        except RuntimeError as error:
            raise SolverError(
                f"A + p E could not be factorised at p = {shift:.4g} ({error}); expected a "
                f"regular stable pencil. "
                "Check that every state is connected and stable"
            ) from error
        kind = M.dtype
        return (
            lambda X: lu.solve(np.asarray(X, dtype=kind)),
            lambda X: lu.solve(np.asarray(X, dtype=kind), trans="T"),
        )

    def mass(self, X: FloatArray, transposed: bool) -> FloatArray:
        """See `Pencil`."""
        if self.plain:
            return X
        return (self.E.T if transposed else self.E) @ X


class _Side:
    """One of the two equations: its residual factor and its columns so far."""

    def __init__(self, right: FloatArray, transposed: bool) -> None:
        self.W = np.array(right, dtype=float)
        self.start = float(np.linalg.norm(right.T @ right, 2)) if right.size else 0.0
        self.columns: list[FloatArray] = []
        self.transposed = transposed

    def step(self, pencil: Pencil, V: np.ndarray, shift: complex) -> None:
        if shift.imag == 0.0:
            V = V.real
            self.W = self.W - 2.0 * shift.real * pencil.mass(V, self.transposed)
            self.columns.append(math.sqrt(-2.0 * shift.real) * V)
            return
        ratio = shift.real / shift.imag
        mixed = V.real + ratio * V.imag
        self.W = self.W - 4.0 * shift.real * pencil.mass(mixed, self.transposed)
        size = 2.0 * math.sqrt(-shift.real)
        self.columns += [size * mixed, size * math.sqrt(ratio * ratio + 1.0) * V.imag]

    @property
    def residual(self) -> float:
        if self.start == 0.0:
            return 0.0
        return float(np.linalg.norm(self.W.T @ self.W, 2)) / self.start

    def factor(self, n: int) -> FloatArray:
        return np.hstack(self.columns) if self.columns else np.zeros((n, 0))


def low_rank_gramians(
    pencil: Pencil,
    B: FloatArray,
    C: FloatArray,
    next_shift: Callable[[int, FloatArray, FloatArray], complex | None],
) -> Factors:
    """Run the iteration until `next_shift` returns None.

    Parameters
    ----------
    pencil : Pencil
        `(A, E)`, stable.
    B, C : array (n, n_u), (n_y, n)
    next_shift : callable (step, W_c, W_o)
        The next shift, with a negative real part, from the residual factors of both equations; of a complex
        pair the one with positive imaginary part.
    """
    sides = _Side(B, False), _Side(C.T, True)
    k = 0
    while True:
        shift = next_shift(k, sides[0].W, sides[1].W)
        if shift is None:
            break
        forward, back = pencil.solve(shift)
        for side, solve in zip(sides, (forward, back), strict=True):
            if side.W.size:
                side.step(pencil, np.asarray(solve(side.W)), shift)
        k += 1
    n = len(B)
    return Factors(sides[0].factor(n), sides[1].factor(n), (sides[0].residual, sides[1].residual), k)


def pole_shifts(
    values: np.ndarray, layer: np.ndarray, B: FloatArray, C: FloatArray, tol: float
) -> Callable[..., complex | None]:
    """Shifts at the network's own poles, that which still matters most first.

    A shift at a pole takes it out of the residual, so that the iteration ends after as many steps as there
    are
    poles, and long before where poles crowd: it is Cholesky's factorisation with pivoting. What a pole
    matters
    is measured by `|W_c| |W_o| / (2 |Re p|)` of its layer, in which units of the states cancel.

    Parameters
    ----------
    values, layer : array (n,)
        Pole and layer of every state.
    B, C : array (n, n_u), (n_y, n)
    tol : float
        What counts as nothing, relative to the start.
    """
    decay, n_layers = -2.0 * values.real, int(layer.max(initial=-1)) + 1

    def matter(W_c: FloatArray, W_o: FloatArray) -> FloatArray:
        sizes = [
            np.sqrt(np.bincount(layer, (W * W).sum(axis=1), minlength=n_layers))[layer] for W in (W_c, W_o)
        ]
        return sizes[0] * sizes[1] / decay

    start = float(matter(B, C.T).max(initial=0.0))
    used = np.zeros(len(values), dtype=bool)

    def next_shift(k: int, W_c: FloatArray, W_o: FloatArray) -> complex | None:
        left = np.where(used, -1.0, matter(W_c, W_o))
        i = int(np.argmax(left)) if left.size else 0
        if not left.size or not left[i] > tol * start:
            return None
        used[i] = True
        if values[i].imag:
            # its partner goes with it
            partner = np.flatnonzero(~used & (layer == layer[i]) & (values == values[i].conj()))
            used[partner[:1]] = True
        return complex(values[i].real, abs(values[i].imag))

    return next_shift


def sparse_shifts(
    pencil: SparsePencil, B: FloatArray, C: FloatArray, tol: float, most: int
) -> Callable[..., complex | None]:
    """Shifts for a large pencil from Ritz values of it and of its inverse, cycled until both residuals are
    small.

    Raises
    ------
    SolverError
        The pencil is not stable, as its Ritz values show.
    """
    ritz = _ritz_values(pencil, B, C)
    if (ritz.real >= 0.0).any():
        worst = ritz[np.argmax(ritz.real)]
        raise SolverError(
            f"A has (a Ritz value at) {worst:.4g} 1/s, which is not stable; expected a stable "
            f"model. Stabilise it, or "
            "build the complete network (LTINetwork.from_statespace) and reduce that: it keeps "
            "unstable layers"
        )
    if (np.abs(ritz.imag) <= 1e-8 * np.abs(ritz)).all():
        low, high = float(np.abs(ritz).min()), float(np.abs(ritz).max())
        # Ritz values lie inside of the spectrum
        shifts = wachspress_shifts(0.9 * low, 1.1 * high, tol)
    else:
        shifts = penzl_shifts(ritz, 24)
    start = [max(float(np.linalg.norm(M.T @ M, 2)), np.finfo(float).tiny) for M in (B, C.T)]

    def next_shift(k: int, W_c: FloatArray, W_o: FloatArray) -> complex | None:
        sizes = [float(np.linalg.norm(W.T @ W, 2)) / s for W, s in zip((W_c, W_o), start, strict=True)]
        if max(sizes) <= tol or k >= most:
            return None
        return complex(shifts[k % len(shifts)])

    return next_shift


def _ritz_values(pencil: SparsePencil, B: FloatArray, C: FloatArray, count: int = 16) -> np.ndarray:
    """Ritz values of `E^-1 A` on Krylov spaces of `A^-1 E` and of `E^-1 A`: both ends of the spectrum."""
    rng = np.random.default_rng(0)
    start = B.sum(axis=1) + 1e-3 * np.linalg.norm(B) / np.sqrt(len(B)) * rng.standard_normal(len(B))
    inverse, _ = pencil.solve(0.0)
    mass: Any = None if pencil.plain else splu(pencil.E)

    def forward(x: FloatArray) -> FloatArray:
        y = pencil.A @ x
        return y if mass is None else mass.solve(y)

    slow = _arnoldi(lambda x: np.asarray(inverse(pencil.mass(x[:, None], False)))[:, 0].real, start, count)
    fast = _arnoldi(forward, start, count)
    return np.concatenate([1.0 / slow, fast])


def _arnoldi(apply: Callable[[FloatArray], FloatArray], start: FloatArray, count: int) -> np.ndarray:
    n = len(start)
    count = min(count, n)
    Q, H = np.zeros((n, count + 1)), np.zeros((count + 1, count))
    Q[:, 0] = start / np.linalg.norm(start)
    for k in range(count):
        x = apply(Q[:, k])
        for _ in range(2):
            h = Q[:, : k + 1].T @ x
            x = x - Q[:, : k + 1] @ h
            H[: k + 1, k] += h
        H[k + 1, k] = np.linalg.norm(x)
        if H[k + 1, k] <= 1e-12 * np.abs(H[: k + 1, k]).max():
            return np.linalg.eigvals(H[: k + 1, : k + 1])
        Q[:, k + 1] = x / H[k + 1, k]
    return np.linalg.eigvals(H[:count, :count])


def wachspress_shifts(low: float, high: float, tol: float) -> FloatArray:
    """Optimal shifts for a spectrum in `[-high, -low]`, as many as bring the residual below `tol`.

    `p_j = -high dn((2 j - 1) K / (2 J), k)`, `k^2 = 1 - (low / high)^2` (Zolotarev's problem).
    """
    ratio = min(low / high, 1.0 - 1e-9)
    K = float(ellipkm1(ratio * ratio))
    K_other = float(ellipk(ratio * ratio))
    # a sweep of J shifts leaves 4 exp(-2 pi J K' / K) of W W'
    count = max(1, math.ceil(K / (2.0 * math.pi * K_other) * math.log(4.0 / tol)))
    j = np.arange(1, count + 1)
    _, _, dn, _ = ellipj((2 * j - 1) * K / (2 * count), 1.0 - ratio * ratio)
    return -high * dn[np.argsort(np.abs(np.arange(count) - 0.5))]


def penzl_shifts(ritz: np.ndarray, count: int) -> np.ndarray:
    """Ritz values that make the largest factor `|prod (p - r) / (p + r)|` over all of them
    small, greedily.
    """
    pool = np.unique(np.where(ritz.imag < 0.0, ritz.conj(), ritz))

    def factor(p: complex) -> np.ndarray:
        one = np.abs((ritz - np.conj(p)) / (ritz + p))
        return one * np.abs((ritz - p) / (ritz + np.conj(p))) if p.imag else one

    first = min(pool, key=lambda p: float(factor(p).max()))
    chosen, level = [first], factor(first)
    while len(chosen) < min(count, len(pool)):
        worst = ritz[int(np.argmax(level))]
        p = complex(worst.real, abs(worst.imag))
        chosen.append(p)
        level = level * factor(p)
    return np.array(chosen)


def orthonormal(Z: FloatArray) -> FloatArray:
    """Triangular factor of `Z' = Q R`: fewer rows, the same `Z Z'`, where Z has more columns than rows."""
    if Z.shape[1] <= Z.shape[0]:
        return Z
    found: Any = qr(Z.T, mode="economic", pivoting=False)
    return np.ascontiguousarray(found[1].T)
