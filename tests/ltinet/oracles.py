"""Independent answers in extended precision (64-bit mantissa), by elimination and Taylor series.

Nothing here shares code with the package: no Schur form, no LAPACK, no `expm`.
"""

from __future__ import annotations

import numpy as np

from tests.plants_lti import Matrices

EPS = float(np.finfo(float).eps)


def random_points(A: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Complex points right of the spectrum, from its smallest to beyond its largest modulus."""
    rng = np.random.default_rng(seed)
    values = np.linalg.eigvals(A)
    size = max(np.abs(values).max(initial=0.0), 1e-3)
    smallest = max(np.abs(values).min(initial=size), 1e-3 * size)
    radius = smallest * (1.5 * size / smallest) ** rng.uniform(0, 1, count)
    shift = max(0.0, float(values.real.max(initial=0.0)))
    return shift + radius * np.exp(1j * rng.uniform(-1.5, 1.5, count))


def solve_long(M: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Gauss with partial pivoting in extended precision."""
    n = len(M)
    M = np.concatenate([M, X], axis=1)
    for k in range(n):
        p = k + int(np.argmax(np.abs(M[k:, k])))
        M[[k, p]] = M[[p, k]]
        M[k + 1 :, k:] -= (M[k + 1 :, k] / M[k, k])[:, None] * M[k, k:]
    out = M[:, n:]
    for k in range(n - 1, -1, -1):
        out[k] = (out[k] - M[k, k + 1 : n] @ out[k + 1 :]) / M[k, k]
    return out


def resolvent_input(model: Matrices, s: complex) -> np.ndarray:
    """`(s I - A)^-1 B` in extended precision."""
    A, B, _, _ = model
    M = -A.astype(np.clongdouble)
    M[np.diag_indices(len(A))] += np.clongdouble(s)
    return solve_long(M, B.astype(np.clongdouble))


def transfer(model: Matrices, s: complex) -> np.ndarray:
    """`C (s I - A)^-1 B + D`, computed in extended precision and rounded once."""
    _, _, C, D = model
    G = C.astype(np.clongdouble) @ resolvent_input(model, s) + D
    return G.astype(complex)


def transfer_scale(model: Matrices, s: complex) -> float:
    """`|C| |(sI - A)^-1| |B| + |D|`: what rounding of the model's own entries is measured against."""
    A, B, C, D = model
    R = np.linalg.norm(np.linalg.inv(s * np.eye(len(A)) - A), 2)
    return float(np.linalg.norm(C, 2) * R * np.linalg.norm(B, 2) + np.linalg.norm(D, 2))


def markov_difference(model: Matrices, other: Matrices, count: int) -> float:
    """Largest difference of `D, CB, CAB, ...`, relative to `|C| |A|^k |B|`, in extended precision."""
    size = max(float(np.linalg.norm(model[0], 2)), 1e-300)
    scale = float(np.linalg.norm(model[1], 2) * np.linalg.norm(model[2], 2)) or 1.0
    sequences = []
    for A, B, C, _ in (model, other):
        A, X = A.astype(np.longdouble) / size, B.astype(np.longdouble)
        sequence = []
        for _ in range(count):
            sequence.append(C.astype(np.longdouble) @ X)
            X = A @ X
        sequences.append(np.array(sequence))
    difference = float(np.abs(sequences[0] - sequences[1]).max() / scale)
    return max(difference, float(np.abs(model[3] - other[3]).max(initial=0.0)))


def expm_long(M: np.ndarray) -> np.ndarray:
    """Exponential by scaling, a Taylor series and squaring, in extended precision."""
    M = M.astype(np.longdouble)
    squarings = max(0, int(np.ceil(np.log2(max(float(np.abs(M).sum(axis=1).max(initial=0.0)), 1e-300)))) + 2)
    M = M / np.longdouble(2.0) ** squarings
    term = np.eye(len(M), dtype=np.longdouble)
    total = term.copy()
    for k in range(1, 20):
        term = term @ M / k
        total += term
    for _ in range(squarings):
        total = total @ total
    return total


def step_exactly(model: Matrices, t: np.ndarray, u: np.ndarray, x0: np.ndarray, hold: str) -> np.ndarray:
    """Outputs (N + 1, n_y) by dense stepping with one exponential, in extended precision."""
    A, B, C, D = model
    n, m = B.shape
    h = t[1] - t[0]
    # inputs are scaled to the size of A, or their size would cost needless squarings
    size = np.longdouble(
        max(np.abs(B * h).max(initial=0.0), 1e-300) / max(np.abs(A * h).max(initial=0.0), 1e-3)
    )
    M = np.zeros((n + 2 * m, n + 2 * m), dtype=np.longdouble)
    M[:n, :n], M[:n, n : n + m], M[n : n + m, n + m :] = A * np.longdouble(h), B * (h / size), np.eye(m)
    E = expm_long(M)
    Phi, held, ramp = E[:n, :n], size * E[:n, n : n + m], size * E[:n, n + m :]
    x, out = x0.astype(np.longdouble), []
    for k in range(len(t)):
        out.append(C @ x + D @ u[k])
        if k + 1 < len(t):
            x = Phi @ x + held @ u[k] + (ramp @ (u[k + 1] - u[k]) if hold == "foh" else 0.0)
    return np.array(out, dtype=float)


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the reference's largest entry."""
    return float(np.abs(value - reference).max() / max(np.abs(reference).max(), 1e-300))
