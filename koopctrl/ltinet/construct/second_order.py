"""Mechanical models `M q'' + P q' + K q = B u` through their modes, where the damping allows it.

With `K Phi = M Phi Omega^2`, `Phi' M Phi = I` (a symmetric problem of half the size), `Phi' P Phi` diagonal
(Rayleigh damping and all that commutes), every mode is a second-order neuron, or two of first order where it
is
overdamped. Its states are `sqrt(Omega^2) q_i` and `q_i'`, which weigh alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, eigh

from koopctrl._validation import FloatArray, as_matrix
from koopctrl.errors import OptionError, ShapeError
from koopctrl.ltinet.construct.assembly import EPS
from koopctrl.ltinet.construct.block_form import block_form
from koopctrl.ltinet.structure import Defects, LocalDefects

_OSCILLATES = 3.9  # d^2 / w^2 up to which a mode is kept as one oscillator; 4 is critical damping
_DIAGONAL = 1e-11  # of the largest modal damping: smaller couplings are rounding


def read_second_order(
    M: Any, P: Any, K: Any, B: Any, C_position: Any, C_velocity: Any, D: Any
) -> tuple[FloatArray, ...]:
    """Check and densify; an output matrix that is None is zero.

    Raises
    ------
    ShapeError, OptionError
        Matrices that do not fit together, or no outputs.
    """
    M, P, K, B = (_dense(value, name) for value, name in ((M, "M"), (P, "P"), (K, "K"), (B, "B")))
    n = len(M)
    for name, value in (("M", M), ("P", P), ("K", K)):
        if value.shape != (n, n):
            raise ShapeError(f"{name} has shape {value.shape}; expected {(n, n)} to match M")
    if len(B) != n:
        raise ShapeError(f"B has {len(B)} rows; expected {n} to match M")
    if C_position is None and C_velocity is None:
        raise OptionError("C_position and C_velocity are both None; expected at least one of them")
    C_q = None if C_position is None else _dense(C_position, "C_position")
    C_v = None if C_velocity is None else _dense(C_velocity, "C_velocity")
    n_y = len(C_q if C_q is not None else C_v if C_v is not None else M)
    C_q, C_v = (np.zeros((n_y, n)) if C is None else C for C in (C_q, C_v))
    for name, value in (("C_position", C_q), ("C_velocity", C_v)):
        if value.shape != (n_y, n):
            raise ShapeError(f"{name} has shape {value.shape}; expected {(n_y, n)}")
    D = np.zeros((n_y, B.shape[1])) if D is None else as_matrix(D, "D", (n_y, B.shape[1]))
    return M, P, K, B, C_q, C_v, D


def _dense(value: Any, name: str) -> FloatArray:
    return as_matrix(value.toarray() if sparse.issparse(value) else value, name)


def first_order(
    M: FloatArray, P: FloatArray, K: FloatArray, B: FloatArray, C_q: FloatArray, C_v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`(A, B, C)` for the state `(q, q')`."""
    n = len(M)
    solved = np.linalg.solve(M, np.hstack([-K, -P, B]))
    A = np.block([[np.zeros((n, n)), np.eye(n)], [solved[:, :n], solved[:, n : 2 * n]]])
    return A, np.vstack([np.zeros((n, B.shape[1])), solved[:, 2 * n :]]), np.hstack([C_q, C_v])


def modal_fields(
    M: FloatArray, P: FloatArray, K: FloatArray, B: FloatArray, C_q: FloatArray, C_v: FloatArray
) -> dict[str, Any] | None:
    """Fields of the network of a symmetric model whose damping its modes diagonalise; None
    where it is not one.
    """
    if not all(np.array_equal(X, X.T) for X in (M, P, K)):
        return None
    try:
        found: Any = eigh(K, M)
    except LinAlgError:
        return None  # M is not positive definite
    squares, Phi = found
    n = len(M)
    damping = Phi.T @ P @ Phi
    d = np.diagonal(damping).copy()
    scale = float(np.abs(damping).max(initial=0.0))
    scale = max(scale, EPS * float(np.sqrt(np.abs(squares).max(initial=0.0))))
    if np.abs(damping - np.diag(d)).max(initial=0.0) > _DIAGONAL * scale:
        return None
    # rigid-body modes come out of eigh as rounding of either sign
    squares = np.where(np.abs(squares) <= 8 * n * EPS * np.abs(squares).max(), 0.0, squares)
    if (squares < 0.0).any():
        return None
    # states (s q, q'); a rigid mode keeps q itself
    s = np.where(squares > 0.0, np.sqrt(squares), 1.0)
    blocks, own, own_inv = [], np.tile(np.eye(2), (n, 1, 1)), np.tile(np.eye(2), (n, 1, 1))
    for i in range(n):
        block = np.array([[0.0, s[i]], [-squares[i] / s[i], -d[i]]])
        if d[i] ** 2 < _OSCILLATES * squares[i]:
            blocks.append(block)
            continue
        form = block_form(block)
        own[i], own_inv[i] = form.T, form.T_inv
        blocks += list(form.blocks)
    back = Phi.T @ M
    T, T_inv = np.empty((2 * n, n, 2)), np.empty((n, 2, 2 * n))
    T[:n], T[n:] = (Phi / s)[:, :, None] * own[:, 0], Phi[:, :, None] * own[:, 1]
    T_inv[:, :, :n], T_inv[:, :, n:] = (
        own_inv[:, :, :1] * (s[:, None] * back)[:, None],
        own_inv[:, :, 1:] * back[:, None],
    )
    T, T_inv = T.reshape(2 * n, 2 * n), T_inv.reshape(2 * n, 2 * n)
    weights = (own_inv[:, :, 1:] * (Phi.T @ B)[:, None]).reshape(2 * n, -1)
    C = np.hstack([C_q, C_v]) @ T
    # what eigh leaves of the three diagonal matrices, and the rounding with which that is known
    known = np.sqrt(n) * EPS
    E_K = np.abs(Phi.T @ K @ Phi - np.diag(squares)) + known * np.sqrt(np.outer(squares, squares))
    E_M = np.abs(back @ Phi - np.eye(n)) + known * np.eye(n)
    E_P = np.abs(damping - np.diag(d))
    F = np.zeros((n, 2, n, 2))
    F[:, 1, :, 0], F[:, 1, :, 1] = (E_K + E_M * squares) / s, E_P + E_M * np.abs(d)
    F = np.einsum("iab,ibjc,jcd->iajd", np.abs(own_inv), F, np.abs(own)).reshape(2 * n, 2 * n)
    local = LocalDefects(F, known * np.abs(weights), known * np.abs(C), signed=False)
    cond = float(np.linalg.norm(own, 2, axis=(1, 2)).max() * np.linalg.norm(own_inv, 2, axis=(1, 2)).max())
    zero = np.zeros(len(C))
    return {
        "blocks": tuple(blocks), "T": T, "T_inv": T_inv, "B": weights, "C": C, "cond": cond,
        "residual": float(np.abs(E_M).max()), "method": "modal", "merges": (), "scales": np.ones(2 * n),
        "defects": Defects(float(np.linalg.norm(F)), 0.0, zero, zero.copy(), local),
    }  # fmt: skip
