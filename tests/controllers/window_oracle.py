"""Moving-horizon problems solved in the open: bounded least squares in all states of the window."""

import numpy as np
from scipy import linalg
from scipy.optimize import lsq_linear


def root_of(covariance):
    """Upper triangular `W` with `W' W` the inverse of a covariance."""
    return np.linalg.inv(np.linalg.cholesky(covariance))


def likeliest(mean, P, steps, Q, readings, low, high):
    """States `(N + 1, n)` that minimise the window's cost within `low <= s <= high`.

    `steps` has `(F, f)` with `s+ = F s + f + w`; `readings` has `(H, y, R)` of each sample, or None.
    """
    n, N = len(mean), len(steps)
    rows, right = [], []

    def put(blocks, value, weight):
        row = np.zeros((len(value), n * (N + 1)))
        for j, block in blocks:
            row[:, n * j : n * (j + 1)] = block
        rows.append(weight @ row)
        right.append(weight @ value)

    put([(0, np.eye(n))], mean, root_of(P))
    for j, (F, f) in enumerate(steps):
        put([(j + 1, np.eye(n)), (j, -F)], f, root_of(Q))
    for j, reading in enumerate(readings):
        if reading is not None:
            H, y, R = reading
            put([(j, H)], y, root_of(R))
    J, b = np.vstack(rows), np.concatenate(right)
    # BVLS starts from a factor: columns in units of their own.
    unit = 1.0 / np.linalg.norm(J, axis=0)
    found = lsq_linear(
        J * unit, b, (np.tile(low, N + 1) / unit, np.tile(high, N + 1) / unit), method="bvls", tol=1e-15,
        lsmr_tol="auto",
    )  # fmt: skip
    return (found.x * unit).reshape(N + 1, n)


def predicted(mean, P, F, f, Q, reading):
    """One step of the textbook filter: correct, then predict."""
    if reading is not None:
        H, y, R = reading
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        mean, P = mean + K @ (y - H @ mean), P - K @ H @ P
    return F @ mean + f, F @ P @ F.T + Q


def steady(A, C, Q, R):
    """Covariance of the steady one-step prediction."""
    return linalg.solve_discrete_are(A.T, C.T, Q, R)
