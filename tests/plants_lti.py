"""Linear plants for the tests and benchmarks of `koopctrl.ltinet`: `(A, B, C, D)` with known structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

Matrices = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def laplacian_2d(N: int) -> sparse.csr_array:
    """Five-point Laplacian on the unit square, N x N inner points, zero on the boundary."""
    L = (
        sparse.diags_array([np.ones(N - 1), -2.0 * np.ones(N), np.ones(N - 1)], offsets=[-1, 0, 1])
        * (N + 1) ** 2
    )
    return sparse.csr_array(sparse.kron(L, sparse.eye_array(N)) + sparse.kron(sparse.eye_array(N), L))


def boundary_inputs_2d(N: int) -> tuple[np.ndarray, np.ndarray]:
    """Heating along three of the edges, and sensors: the middle, a corner and the average."""
    edge = np.zeros((N, N, 3))
    edge[0, :, 0] = edge[:, -1, 1] = edge[-1, :, 2] = (N + 1) ** 2
    sensors = np.zeros((3, N, N))
    sensors[0, N // 2, N // 3] = sensors[1, 0, 0] = 1.0
    sensors[2] = 1.0 / N**2
    return edge.reshape(N * N, 3), sensors.reshape(3, N * N)


def diffusion_2d(N: int) -> Matrices:
    """Heat equation on an N x N grid with three boundary sources and three sensors; A is symmetric."""
    B, C = boundary_inputs_2d(N)
    return laplacian_2d(N).toarray(), B, C, np.zeros((3, 3))


def _transport_1d(n: int, peclet: float) -> np.ndarray:
    """Diffusion and convection by central differences; `peclet` is v h / (2 D), the cell Peclet number."""
    below, above = (1.0 + peclet) * np.ones(n - 1), (1.0 - peclet) * np.ones(n - 1)
    return (np.diag(below, -1) - 2.0 * np.eye(n) + np.diag(above, 1)) * (n + 1) ** 2


def convection_diffusion_1d(n: int, peclet: float) -> Matrices:
    """Heated at the left end, measured in the middle and near the right end."""
    B, C = np.zeros((n, 1)), np.zeros((2, n))
    B[0, 0] = (1.0 + peclet) * (n + 1) ** 2
    C[0, n // 2] = C[1, n - 2] = 1.0
    return _transport_1d(n, peclet), B, C, np.zeros((2, 1))


def convection_diffusion_2d(N: int, peclet: float) -> Matrices:
    """As `diffusion_2d`, with a flow along the first axis."""
    A = np.kron(_transport_1d(N, peclet), np.eye(N)) + np.kron(np.eye(N), _transport_1d(N, 0.0))
    B, C = boundary_inputs_2d(N)
    return A, B, C, np.zeros((3, 3))


def chain(m: int, alpha: float = 0.02, beta: float = 0.01) -> Matrices:
    """Unit masses between two walls, damping `alpha M + beta K`; force on the first, position of the last."""
    K = 2.0 * np.eye(m) - np.diag(np.ones(m - 1), 1) - np.diag(np.ones(m - 1), -1)
    A = np.block([[np.zeros((m, m)), np.eye(m)], [-K, -alpha * np.eye(m) - beta * K]])
    B, C = np.zeros((2 * m, 1)), np.zeros((2, 2 * m))
    B[m, 0] = C[0, m - 1] = C[1, m] = 1.0
    return A, B, C, np.zeros((2, 1))


def jordan(n: int, eigenvalue: float = -1.0) -> Matrices:
    """One Jordan block, driven at its end."""
    A = eigenvalue * np.eye(n) + np.diag(np.ones(n - 1), 1)
    return A, np.eye(n)[:, -1:], np.eye(n)[:1], np.zeros((1, 1))


def companion(roots: np.ndarray) -> Matrices:
    """Controller canonical form of `1 / prod(s - root)`."""
    n = len(roots)
    A = np.vstack([-np.real(np.poly(roots))[1:], np.eye(n)[:-1]])
    return A, np.eye(n)[:, :1], np.eye(n)[-1:], np.zeros((1, 1))


def random_mimo(n: int, n_u: int, n_y: int, seed: int, stable: bool = True) -> Matrices:
    """Circular-law spectrum of radius 1 around -1.2 (stable) or -0.5 (a part of it unstable), with D != 0."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) / np.sqrt(n) - (1.2 if stable else 0.5) * np.eye(n)
    return A, rng.standard_normal((n, n_u)), rng.standard_normal((n_y, n)), rng.standard_normal((n_y, n_u))


def duffing_step(x: np.ndarray, u: np.ndarray, dt: float) -> np.ndarray:
    """One held-input step of `x'' = -0.4 x' - x - 0.3 x^3 + u`; x is (2, runs)."""

    def rate(x: np.ndarray) -> np.ndarray:
        return np.array([x[1], -0.4 * x[1] - x[0] - 0.3 * x[0] ** 3 + u])

    h = dt / 10
    for _ in range(10):
        k1 = rate(x)
        k2 = rate(x + 0.5 * h * k1)
        k3 = rate(x + 0.5 * h * k2)
        k4 = rate(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def lifted_duffing(
    dt: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Discrete model identified from the Duffing plant, lifted by monomials up to degree three (EDMD).

    4,000 steps from random states; the constant is left out, so that the lifted origin is the equilibrium.
    """
    rng = np.random.default_rng(seed)
    x, u = rng.uniform(-1.2, 1.2, (2, 4000)), rng.uniform(-1.0, 1.0, 4000)
    after = duffing_step(x, u, dt)

    def lift(x: np.ndarray) -> np.ndarray:
        q, p = x
        return np.array([q, p, q**3, q * q * p, q * p * p, p**3])

    AB = np.linalg.lstsq(np.vstack([lift(x), u]).T, lift(after).T, rcond=None)[0].T
    return AB[:, :-1], AB[:, -1:], np.eye(6)[:2], np.zeros((2, 1)), dt


SUITE: dict[str, Callable[[], Matrices]] = {
    "diffusion 8x8": lambda: diffusion_2d(8),
    "convection-diffusion 1d, Pe 0.05": lambda: convection_diffusion_1d(40, 0.05),
    "convection-diffusion 1d, Pe 0.5": lambda: convection_diffusion_1d(60, 0.5),
    "convection-diffusion 1d, Pe 0.95": lambda: convection_diffusion_1d(40, 0.95),
    "convection-diffusion 2d, Pe 0.2": lambda: convection_diffusion_2d(7, 0.2),
    "chain of 10 masses": lambda: chain(10),
    "chain of 10 masses, partly overdamped": lambda: chain(10, 0.1, 1.2),
    "Jordan block": lambda: jordan(6),
    "companion, clustered": lambda: companion(np.array([-1, -1.001, -1.002, -5, -2 + 3j, -2 - 3j])),
    "companion, integers": lambda: companion(-np.arange(1.0, 9.0)),
    "random stable": lambda: random_mimo(30, 3, 2, seed=1),
    "random unstable": lambda: random_mimo(20, 2, 3, seed=2, stable=False),
}
