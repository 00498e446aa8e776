"""Networks of the slowest modes of a large symmetric system, without a dense n x n array."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigsh, splu

from koopctrl._validation import FloatArray, check_integer
from koopctrl.errors import OptionError, ShapeError, SolverError
from koopctrl.ltinet.construct.assembly import EPS
from koopctrl.ltinet.construct.convert import StateSpaceData
from koopctrl.ltinet.structure import Defects


def slow_modes(data: StateSpaceData, n_modes: int, match_dc: bool = True) -> dict[str, Any]:
    """Fields of a network of the `n_modes` rightmost modes.

    Sparse matrices go through `eigsh` with a shift just right of the spectrum (one sparse factorisation;
    memory `n n_modes` beside it). What is left out has the peak gain `sum |c_i| |b_i| / |lambda_i|`, bounded
    by `sqrt(c_rest (-A)^-1 c_rest') sqrt(trace b_rest' (-A)^-1 b_rest)`.

    With `match_dc` the direct link makes up for the static gain of what is left out (a stable model), which
    at
    most doubles that peak gain.

    Raises
    ------
    OptionError
        A model with E, a discrete model, or fewer states than modes.
    ShapeError
        `A` is not symmetric.
    SolverError
        `eigsh` did not converge.
    """
    A, n = data.A, data.A.shape[0]
    n_modes = check_integer(n_modes, "n_modes", low=1)
    if data.dt:
        raise OptionError("n_modes was given for a discrete model; expected a continuous one. Omit n_modes")
    if data.E is not None:
        raise OptionError(
            "n_modes was given for a model with E; expected one without. Use "
            "LTINetwork.from_reduced, or solve for "
            "E first"
        )
    if n_modes > n:
        raise OptionError(f"n_modes is {n_modes}; expected at most the number of states, {n}")
    size = float(abs(A).max())
    asymmetry = float(abs(A - A.T).max())
    if asymmetry > 100 * EPS * size:
        raise ShapeError(
            f"A differs from its transpose by {asymmetry / size:.2g} of its largest entry; expected a "
            "symmetric matrix with n_modes. Use LTINetwork.from_reduced(sys, order), which takes any stable A"
        )
    values, T = _rightmost(A, n_modes)
    order = np.argsort(-values, kind="stable")
    values, T = values[order], np.ascontiguousarray(T[:, order])
    B, C = T.T @ data.B, data.C @ T
    left_out = (
        _left_out(A, data.B - T @ B, data.C - C @ T.T, float(values[-1])) if n_modes < n else np.zeros(len(C))
    )
    D = data.D.copy()
    if match_dc and n_modes < n and values[0] < 0.0:
        missing = _static(A, data.B - T @ B, data.C)
        D, left_out = D + missing, left_out + np.linalg.norm(missing, axis=1)
    defect = float(np.linalg.norm(T.T @ T - np.eye(n_modes)))
    residual = float(np.linalg.norm(A @ T - T * values))
    defects = Defects(
        residual, EPS * float(np.linalg.norm(B)), EPS * np.sqrt(n) * np.linalg.norm(C, axis=1), left_out
    )
    return {
        "blocks": tuple(values.reshape(-1, 1, 1)), "T": T, "T_inv": np.ascontiguousarray(T.T), "B": B, "C": C,
        "D": D,
        "cond": (1 + defect) / (1 - defect), "residual": residual / max(size * np.sqrt(n_modes), 1e-300),
        "method": "slow modes", "merges": (), "defects": defects,
    }  # fmt: skip


def _static(A: Any, B: FloatArray, C: FloatArray) -> FloatArray:
    """`-C A^-1 B`."""
    if not sparse.issparse(A):
        return -C @ np.linalg.solve(A, B)
    lu = splu(sparse.csc_array(A), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return -C @ lu.solve(B)


def _left_out(A: Any, B: FloatArray, C: FloatArray, last: float) -> FloatArray:
    """Peak gains, for inputs of 2-norm one, of what `B` and `C` have left beside the kept modes."""
    if last >= 0.0:
        return np.where(np.abs(C).max(axis=1) * np.abs(B).max(initial=0.0) > 0.0, np.inf, 0.0)
    # shifted by the last eigenvalue kept, -A is positive definite on all of the space, and the sums over the
    # modes left out grow by at most a factor of two
    shifted = -A - last * (sparse.eye_array(A.shape[0]) if sparse.issparse(A) else np.eye(A.shape[0]))
    both = np.hstack([B, C.T])
    solved = (
        splu(sparse.csc_array(shifted)).solve(both) if sparse.issparse(A) else np.linalg.solve(shifted, both)
    )
    energies = 2.0 * np.maximum((both * solved).sum(axis=0), 0.0)
    n_u = B.shape[1]
    return np.sqrt(energies[n_u:]) * np.sqrt(energies[:n_u].sum())


def _rightmost(A: Any, count: int) -> tuple[FloatArray, FloatArray]:
    n = A.shape[0]
    if not sparse.issparse(A) or count > n // 2:
        dense = A.toarray() if sparse.issparse(A) else A
        found: Any = eigh(0.5 * (dense + dense.T), subset_by_index=(n - count, n - 1))
        return found
    diagonal = A.diagonal()
    radius = np.asarray(abs(A).sum(axis=1)).ravel() - np.abs(diagonal)
    # right of every Gershgorin disc, so that the eigenvalues nearest to the shift are the rightmost ones
    shift = float((diagonal + radius).max()) + 1e-6 * float((np.abs(diagonal) + radius).max())
    start = np.random.default_rng(0).standard_normal(n)
    try:
        found = eigsh(sparse.csc_array(A), k=count, sigma=shift, which="LM", v0=start)
    except (ArpackNoConvergence, ArpackError, RuntimeError) as error:
        raise SolverError(
            f"eigsh did not find {count} modes of {n} states ({error}); ask for more or fewer modes"
        ) from error
    return found
