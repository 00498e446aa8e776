"""Systems with exact answers. Nothing here imports koopctrl's numerics: these are the oracles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import expm

from koopctrl import Trajectories

Array = np.ndarray


# --- linear --------------------


def discretise(a: Array, b: Array, dt: float) -> tuple[Array, Array]:
    """`(Ad, Bd)` under zero-order hold: the top rows of `expm([[A, B], [0, 0]] dt)`."""
    n, m = b.shape
    block = np.zeros((n + m, n + m))
    block[:n, :n], block[:n, n:] = a, b
    top = expm(block * dt)[:n]
    return top[:, :n], top[:, n:]


OSCILLATOR_A = np.array([[0.0, 1.0], [-2.0, -0.3]])
OSCILLATOR_B = np.array([[0.0], [1.5]])
OSCILLATOR_DT = 0.1

THREE_STATES_A = np.array([[-0.5, 1.0, 0.0], [-1.0, -0.5, 0.3], [0.0, 0.2, -1.0]])
THREE_STATES_B = np.array([[1.0, 0.0], [0.0, 0.5], [0.3, -1.0]])


def oscillator() -> tuple[Array, Array, float]:
    """Damped oscillator, exactly discretised: `(Ad, Bd, dt)`."""
    return *discretise(OSCILLATOR_A, OSCILLATOR_B, OSCILLATOR_DT), OSCILLATOR_DT


def three_states() -> tuple[Array, Array, float]:
    """Three states and two inputs, exactly discretised: `(Ad, Bd, dt)`."""
    return *discretise(THREE_STATES_A, THREE_STATES_B, 0.2), 0.2


def roll(step: Callable[[Array, Array], Array], x0: Array, u: Array) -> Array:
    """States `(n_steps + 1, n_x)` of `x+ = step(x, u)`."""
    x = [np.asarray(x0, dtype=float)]
    for row in u:
        x.append(step(x[-1], row))
    return np.array(x)


def record(
    step: Callable[[Array, Array], Array],
    n_x: int,
    n_u: int,
    dt: float,
    *,
    n_episodes: int = 6,
    n_steps: int = 40,
    seed: int = 0,
    x_max: float = 1.0,
    u_max: float = 1.0,
    last_input: bool = False,
) -> Trajectories:
    """Episodes from uniform starts under uniform random inputs."""
    rng = np.random.default_rng(seed)
    xs, us = [], []
    for _ in range(n_episodes):
        u = rng.uniform(-u_max, u_max, (n_steps + 1, n_u))
        xs.append(roll(step, rng.uniform(-x_max, x_max, n_x), u[:-1]))
        us.append(u if last_input else u[:-1])
    return Trajectories.from_arrays(xs, us if n_u else None, dt=dt)


def linear_step(a: Array, b: Array) -> Callable[[Array, Array], Array]:
    return lambda x, u: a @ x + b @ u


def markov_parameters(a: Array, b: Array, c: Array, d: Array, n: int) -> Array:
    """`[D, CB, CAB, ..]`, shape `(n, n_y, n_u)`."""
    blocks, power = [d], b
    for _ in range(n - 1):
        blocks.append(c @ power)
        power = a @ power
    return np.array(blocks)


# --- discrete systems that a dictionary holds exactly --------------------


def koopman_polynomial(l: float = 0.9, m: float = 0.5) -> Callable[[Array, Array], Array]:
    """`x1+ = l x1, x2+ = m x2 + (l^2 - m) x1^2`.

    Its Koopman operator has the eigenfunctions x1, x2 - x1^2 and x1^2 with eigenvalues l, m and l^2, so that
    on span{x1, x2, x1^2} it is a matrix, known exactly.
    """
    return lambda x, u: np.array([l * x[0], m * x[1] + (l**2 - m) * x[0] ** 2])


BILINEAR_A = np.array([[0.9, 0.1], [-0.2, 0.8]])
BILINEAR_B = np.array([[0.0], [0.5]])
BILINEAR_N = np.array([[0.0, 0.1], [0.15, 0.0]])


def bilinear_step(x: Array, u: Array) -> Array:
    """`x+ = A x + B u + u N x`, with an exact model under the bilinear coupling and no feature at all."""
    return BILINEAR_A @ x + BILINEAR_B @ u + u[0] * (BILINEAR_N @ x)


def quadratic_step(x: Array, u: Array) -> Array:
    """`x+ = bilinear + u^2 (N x + b)`, with an exact model under the quadratic coupling and no feature."""
    return bilinear_step(x, u) + u[0] ** 2 * (0.1 * BILINEAR_N @ x + np.array([0.02, -0.03]))


# --- continuous and nonlinear --------------------


def van_der_pol(x: Array, u: Array, mu: float = 1.0) -> Array:
    return np.array([x[1], mu * (1 - x[0] ** 2) * x[1] - x[0] + u[0]])


def duffing(x: Array, u: Array) -> Array:
    """Double well with an unstable origin."""
    return np.array([x[1], x[0] - x[0] ** 3 - 0.3 * x[1] + u[0]])


def lorenz(x: Array, u: Array) -> Array:
    return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])


def sampled(
    rhs: Callable[[Array, Array], Array], dt: float, n_substeps: int = 10
) -> Callable[[Array, Array], Array]:
    """One sample of `x' = rhs(x, u)` with held input, by classical Runge-Kutta."""
    h = dt / n_substeps

    def step(x: Array, u: Array) -> Array:
        for _ in range(n_substeps):
            k1 = rhs(x, u)
            k2 = rhs(x + h / 2 * k1, u)
            k3 = rhs(x + h / 2 * k2, u)
            k4 = rhs(x + h * k3, u)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return x

    return step
