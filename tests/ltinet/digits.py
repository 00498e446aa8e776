"""Answers to 60 digits, by mpmath: nothing here shares code with the package."""

from __future__ import annotations

import mpmath
import numpy as np

from tests.plants_lti import Matrices

DIGITS = 60


def exact_matrix(M: np.ndarray) -> mpmath.matrix:
    """float64 entries as they are."""
    return (
        mpmath.matrix([[mpmath.mpf(float(x)) for x in row] for row in M]) if M.size else mpmath.matrix(0, 0)
    )


def transfer(model: Matrices, points: np.ndarray) -> np.ndarray:
    """`C (s I - A)^-1 B + D` at complex points, (len(points), n_y, n_u), rounded once."""
    A, B, C, D = (np.asarray(M, dtype=float) for M in model)
    out = np.empty((len(points), len(C), B.shape[1]), dtype=complex)
    with mpmath.workdps(DIGITS):
        a, b, c = exact_matrix(A), exact_matrix(B), exact_matrix(C)
        for k, s in enumerate(points):
            M = mpmath.mpc(complex(s)) * mpmath.eye(len(A)) - a
            X = mpmath.lu_solve(M, b) if B.shape[1] == 1 else _solve(M, b)
            G = c * X
            out[k] = [[complex(G[i, j]) for j in range(B.shape[1])] for i in range(len(C))] + D
    return out


def transfer_difference(model: Matrices, other: Matrices, points: np.ndarray) -> np.ndarray:
    """`G(s) - G_other(s)`, (len(points), n_y, n_u): subtracted at 60 digits, then rounded."""
    out = np.empty((len(points), len(model[2]), np.shape(model[1])[1]), dtype=complex)
    with mpmath.workdps(DIGITS):
        for k, s in enumerate(points):
            values = []
            for A, B, C, D in (model, other):
                M = mpmath.mpc(complex(s)) * mpmath.eye(len(A)) - exact_matrix(np.asarray(A, dtype=float))
                X = _solve(M, exact_matrix(np.asarray(B, dtype=float)))
                values.append(
                    exact_matrix(np.asarray(C, dtype=float)) * X + exact_matrix(np.asarray(D, dtype=float))
                )
            gap = values[0] - values[1]
            out[k] = [[complex(gap[i, j]) for j in range(out.shape[2])] for i in range(out.shape[1])]
    return out


def _solve(M: mpmath.matrix, b: mpmath.matrix) -> mpmath.matrix:
    columns = [mpmath.lu_solve(M, b[:, j]) for j in range(b.cols)]
    X = mpmath.matrix(b.rows, b.cols)
    for j, column in enumerate(columns):
        for i in range(b.rows):
            X[i, j] = column[i]
    return X


def held_response(model: Matrices, h: float, u: np.ndarray) -> np.ndarray:
    """Outputs (N, n_y) from rest for inputs `u` (N, n_u) held over steps of `h` seconds."""
    A, B, C, D = (np.asarray(M, dtype=float) for M in model)
    n, m = B.shape
    with mpmath.workdps(DIGITS):
        M = mpmath.zeros(n + m)
        for i in range(n):
            for j in range(n):
                M[i, j] = mpmath.mpf(float(A[i, j])) * mpmath.mpf(float(h))
            for j in range(m):
                M[i, n + j] = mpmath.mpf(float(B[i, j])) * mpmath.mpf(float(h))
        E = mpmath.expm(M, method="taylor")
        c, d = exact_matrix(C), exact_matrix(D)
        x, out = mpmath.zeros(n, 1), []
        for row in u:
            v = mpmath.matrix([mpmath.mpf(float(value)) for value in row])
            y = c * x + d * v
            out.append([float(y[i]) for i in range(len(C))])
            x = E[:n, :n] * x + E[:n, n:] * v
    return np.array(out)


def recurrence(model: Matrices, u: np.ndarray) -> np.ndarray:
    """Outputs of `x+ = A x + B u, y = C x + D u` from rest."""
    A, B, C, D = (np.asarray(M, dtype=float) for M in model)
    with mpmath.workdps(DIGITS):
        a, b, c, d = (exact_matrix(M) for M in (A, B, C, D))
        x, out = mpmath.zeros(len(A), 1), []
        for row in u:
            v = mpmath.matrix([mpmath.mpf(float(value)) for value in row])
            y = c * x + d * v
            out.append([float(y[i]) for i in range(len(C))])
            x = a * x + b * v
    return np.array(out)
