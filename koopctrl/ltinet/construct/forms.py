"""Models in other forms than `(A, B, C, D)`: descriptor, zeros and poles, polynomials, objects
of other packages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag, cholesky, solve_triangular

from koopctrl._validation import FloatArray, as_matrix, as_vector
from koopctrl.errors import OptionError, ShapeError, SolverError

_SINGULAR = 1e-13  # of E's largest singular value: below it an equation has no derivative


@dataclass(frozen=True)
class RawModel:
    """What was passed in, with names for its parts; nothing is checked yet."""

    A: Any
    B: Any
    C: Any
    D: Any
    E: Any = None
    dt: Any = None


def raw_model(sys: Any) -> RawModel:
    """Parts of anything that holds a linear model.

    Raises
    ------
    OptionError
        Nothing that is known.
    """
    if isinstance(sys, (tuple, list)):
        return _from_tuple(sys)
    if hasattr(sys, "to_lti") and hasattr(sys, "M") and hasattr(sys, "K"):
        sys = sys.to_lti()  # a second-order model of pyMOR
    if hasattr(sys, "to_matrices"):
        A, B, C, D, E = sys.to_matrices()
        D = 0 if D is None else D
        return RawModel(A, B, C, D, E, getattr(sys, "sampling_time", None))
    if all(hasattr(sys, name) for name in "ABCD"):
        return RawModel(sys.A, sys.B, sys.C, sys.D, getattr(sys, "E", None), getattr(sys, "dt", None))
    if all(hasattr(sys, name) for name in ("zeros", "poles", "gain")) and not callable(sys.poles):
        return RawModel(*zeros_and_poles(sys.zeros, sys.poles, sys.gain), None, getattr(sys, "dt", None))
    if hasattr(sys, "num") and hasattr(sys, "den"):
        return RawModel(*polynomials(sys.num, sys.den), None, getattr(sys, "dt", None))
    raise OptionError(
        f"sys is a {type(sys).__name__}; expected a control.StateSpace or TransferFunction, an object with "
        "A, B, C, D (and E), with num and den, or with zeros, poles and gain, or a tuple "
        "(A, B, C, D[, E][, dt])"
    )


def _from_tuple(sys: Any) -> RawModel:
    if len(sys) not in (4, 5, 6):
        raise OptionError(
            f"sys has {len(sys)} entries; expected (A, B, C, D), (A, B, C, D, dt), (A, B, C, D, E) or "
            "(A, B, C, D, E, dt)"
        )
    A, B, C, D, *more = sys
    if len(more) == 2:
        return RawModel(A, B, C, D, more[0], more[1])
    fifth: Any = more[0] if more else None
    if sparse.issparse(fifth) or np.ndim(fifth) == 2:
        return RawModel(A, B, C, D, fifth, None)
    return RawModel(A, B, C, D, None, fifth)


@dataclass(frozen=True)
class Explicit:
    """`x' = A x + B u` for part of the coordinates, `x_all = T x (+ F u)`, `x = T_inv x_all`."""

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    T: FloatArray
    T_inv: FloatArray


def without_mass(A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, E: FloatArray) -> Explicit:
    """`E x' = A x + B u` as an explicit model.

    A symmetric positive definite `E` is split by Cholesky, so that a symmetric `A` stays symmetric; any other
    non-singular one is solved for. Where `E` is singular, the equations without a derivative are solved for
    the
    unknowns without one (index 1).

    Raises
    ------
    ShapeError
        `E` does not fit to `A`.
    SolverError
        The equations without a derivative do not determine those unknowns (index above 1, or a singular
        pencil).
    """
    E = as_matrix(E, "E")
    n = len(A)
    if E.shape != (n, n):
        raise ShapeError(f"E has shape {E.shape}; expected {(n, n)} to match A")
    if np.array_equal(E, E.T):
        try:
            L = cholesky(E, lower=True)
        except np.linalg.LinAlgError:
            L = None
        if L is not None and float(np.diagonal(L).min()) > np.sqrt(_SINGULAR) * float(np.diagonal(L).max()):
            return _by_cholesky(A, B, C, D, L)
    # rows and columns of like size before the rank is judged
    rows = 1.0 / np.maximum(np.abs(E).max(axis=1), np.abs(A).max(axis=1) * 1e-300 + np.finfo(float).tiny)
    rows = np.where(np.abs(E).any(axis=1), rows, 1.0)
    U, s, Vt = np.linalg.svd(E * rows[:, None])
    rank = int(np.count_nonzero(s > _SINGULAR * s.max(initial=0.0)))
    if rank == n:
        solved = np.linalg.solve(E * rows[:, None], np.hstack([A, B]) * rows[:, None])
        return Explicit(solved[:, :n], solved[:, n:], C, D, np.eye(n), np.eye(n))
    left, V = U.T * rows, Vt.T
    A, B, C_v = left @ A @ V, left @ B, C @ V
    A22 = A[rank:, rank:]
    sizes = np.linalg.svd(
        A22 / np.maximum(np.abs(A[rank:]).max(axis=1, keepdims=True), np.finfo(float).tiny)
    )[1]
    if not sizes.size or sizes.min() <= _SINGULAR * max(sizes.max(), 1.0):
        raise SolverError(
            f"E is singular (rank {rank} of {n}), and the {n - rank} equations without a derivative do not "
            "determine as many unknowns: the model has an index above 1 or a singular pencil; "
            "expected index 1. "
            "Differentiate the constraints, or eliminate them"
        )
    gain = -np.linalg.solve(A22, np.hstack([A[rank:, :rank], B[rank:]]))
    on_x, on_u = gain[:, :rank], gain[:, rank:]
    scale = s[:rank, None]
    return Explicit(
        (A[:rank, :rank] + A[:rank, rank:] @ on_x) / scale,
        (B[:rank] + A[:rank, rank:] @ on_u) / scale,
        C_v[:, :rank] + C_v[:, rank:] @ on_x,
        D + C_v[:, rank:] @ on_u,
        V[:, :rank] + V[:, rank:] @ on_x,
        V[:, :rank].T,
    )


def _by_cholesky(A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, L: FloatArray) -> Explicit:
    left = solve_triangular(L, np.hstack([A, B]), lower=True)
    n = len(L)
    A_new = solve_triangular(L, left[:, :n].T, lower=True).T
    if np.array_equal(A, A.T):
        A_new = 0.5 * (A_new + A_new.T)
    T = solve_triangular(L, np.eye(n), lower=True).T
    return Explicit(
        A_new, left[:, n:], solve_triangular(L, C.T, lower=True).T, D, T, np.ascontiguousarray(L.T)
    )


def zeros_and_poles(
    zeros: Any, poles: Any, gain: Any
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """`gain prod(s - z) / prod(s - p)` as a chain of sections of first and second order.

    The poles stand in the matrix as they are; no polynomial is formed.

    Raises
    ------
    OptionError
        More zeros than poles, or complex ones without their conjugates.
    """
    z, p = (np.atleast_1d(np.asarray(v, dtype=complex)).ravel() for v in (zeros, poles))
    k = float(as_vector(gain, "gain", 1)[0]) if np.ndim(gain) else float(gain)
    if len(z) > len(p):
        raise OptionError(f"there are {len(z)} zeros and {len(p)} poles; expected no more zeros than poles")
    tops = [_quadratic(group) for group in _real_groups(z, "zeros")]
    # sections are filled from both ends: quadratics first, each pole section takes what fits
    sections = sorted((_quadratic(group) for group in _real_groups(p, "poles")), key=len, reverse=True)
    tops.sort(key=len, reverse=True)
    A, B, C, D = np.zeros((0, 0)), np.zeros((0, 1)), np.zeros((1, 0)), np.array([[k]])
    for section, top in _matched(sections, tops):
        A, B, C, D = _series(A, B, C, D, *_section(section, top))
    return A, B, C, D


def _matched(sections: list[FloatArray], tops: list[FloatArray]) -> list[tuple[FloatArray, FloatArray]]:
    """A denominator and a numerator of at most its degree for every section."""
    pairs, left = [], list(tops)
    for i, section in enumerate(sections):
        room = len(section) - 1
        later = sum(len(s) - 1 for s in sections[i + 1 :])
        top = np.ones(1)
        while left:
            fits = [t for t in left if len(t) - 1 <= room - (len(top) - 1)]
            if not fits:
                break
            top = np.polymul(top, fits[0])
            left.pop(next(j for j, t in enumerate(left) if t is fits[0]))
        pairs.append((section, top))
        if sum(len(t) - 1 for t in left) > later:
            # a pair of zeros over first-order poles: these two poles become one section
            return _matched(_joined(sections), tops)
    return pairs


def _joined(sections: list[FloatArray]) -> list[FloatArray]:
    single = [s for s in sections if len(s) == 2]
    rest = [s for s in sections if len(s) != 2]
    return sorted([*rest, np.polymul(single[0], single[1]), *single[2:]], key=len, reverse=True)


def _real_groups(values: np.ndarray, name: str) -> list[np.ndarray]:
    """Real numbers alone, complex ones with their conjugates."""
    real = values[np.abs(values.imag) <= 1e-14 * np.abs(values)]
    upper, lower = values[values.imag > 1e-14 * np.abs(values)], values[values.imag < -1e-14 * np.abs(values)]
    groups = [np.array([v.real]) for v in real]
    lower = list(lower)
    for v in upper:
        if not lower:
            raise OptionError(f"{name} has {v:.6g} without its conjugate; expected conjugate pairs")
        j = int(np.argmin([abs(v.conjugate() - w) for w in lower]))
        if abs(v.conjugate() - lower[j]) > 1e-9 * abs(v):
            raise OptionError(f"{name} has {v:.6g} without its conjugate; expected conjugate pairs")
        lower.pop(j)
        groups.append(np.array([v, v.conjugate()]))
    if lower:
        raise OptionError(f"{name} has {lower[0]:.6g} without its conjugate; expected conjugate pairs")
    return groups


def _quadratic(group: np.ndarray) -> FloatArray:
    if len(group) == 1:
        return np.array([1.0, -group[0].real])
    return np.array([1.0, -2.0 * group[0].real, abs(group[0]) ** 2])


def _section(bottom: FloatArray, top: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """`top / bottom` of degree one or two."""
    full = np.concatenate([np.zeros(len(bottom) - len(top)), top])
    rest = full[1:] - full[0] * bottom[1:]
    if len(bottom) == 2:
        return np.array([[-bottom[1]]]), np.ones((1, 1)), rest[None], full[:1, None]
    # scaled so that an oscillator's two states weigh alike
    w = np.sqrt(abs(bottom[2])) or 1.0
    A = np.array([[-bottom[1], -bottom[2] / w], [w, 0.0]])
    return A, np.array([[1.0], [0.0]]), np.array([[rest[0], rest[1] / w]]), full[:1, None]


def _series(
    A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, A2: FloatArray, B2: FloatArray, C2:
    FloatArray,
    D2: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:  # fmt: skip
    """The second model fed by the first; its states come first, so that `A` stays upper triangular."""
    upper = np.block([[A2, B2 @ C], [np.zeros((len(A), len(A2))), A]])
    return upper, np.vstack([B2 @ D, B]), np.hstack([C2, D2 @ C]), D2 @ D


def polynomials(num: Any, den: Any) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Transfer functions given by coefficients, `num[i][j] / den[i][j]` or one pair, as companion matrices.

    Raises
    ------
    OptionError
        A numerator of higher degree than its denominator.
    """
    if np.isscalar(num[0]):
        num, den = [[num]], [[den]]
    n_y, n_u = len(num), len(num[0])
    parts, inputs, outputs, D = [], [], [], np.zeros((n_y, n_u))
    for i in range(n_y):
        for j in range(n_u):
            top, bottom = (_coefficients(v) for v in (num[i][j], den[i][j]))
            if len(top) > len(bottom) or not len(bottom):
                raise OptionError(
                    f"the transfer function from input {j} to output {i} has a numerator of "
                    f"degree {len(top) - 1} "
                    f"over {len(bottom) - 1}; expected a proper one"
                )
            top, n = np.concatenate([np.zeros(len(bottom) - len(top)), top]) / bottom[0], len(bottom) - 1
            bottom = bottom / bottom[0]
            D[i, j] = top[0]
            parts.append(np.vstack([-bottom[1:], np.eye(n)[:-1]]) if n else np.zeros((0, 0)))
            b, c = np.zeros((n, n_u)), np.zeros((n_y, n))
            if n:
                b[0, j], c[i] = 1.0, top[1:] - top[0] * bottom[1:]
            inputs.append(b)
            outputs.append(c)
    return np.asarray(block_diag(*parts)), np.vstack(inputs), np.hstack(outputs), D


def _coefficients(values: Any) -> FloatArray:
    return np.trim_zeros(np.atleast_1d(np.asarray(values, dtype=float)), "f")
