"""Plants with a measured parameter, and their records, for tests."""

import numpy as np

from koopctrl import Trajectories

A = (np.array([[0.9, 0.1], [-0.2, 0.8]]), np.array([[0.05, -0.1], [0.1, 0.02]]))
B = (np.array([[0.1], [0.5]]), np.array([[0.2], [-0.1]]))


def affine_step(x, u, p):
    """x+ = (A0 + p A1) x + (B0 + p B1) u."""
    return (A[0] + p * A[1]) @ x + (B[0] + p * B[1]) @ u


def pendulum_step(x, u, p):
    """A damped pendulum whose stiffness is the parameter, one Euler step."""
    return np.array([x[0] + 0.1 * x[1], x[1] - 0.1 * p * np.sin(x[0]) - 0.02 * x[1] + 0.1 * u[0]])


def moving_parameter(rng, n, low=-1.0, high=1.0):
    """A parameter that wanders through its range."""
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    return middle + half * np.clip(np.cumsum(rng.normal(size=n)) * 0.15, -1.0, 1.0)


def records(step, *, n_episodes=6, n_steps=150, low=-1.0, high=1.0, seed=0, noise=0.0, u_size=1.0):
    """Records with inputs `u` and `p`."""
    rng = np.random.default_rng(seed)
    xs, us = [], []
    for _ in range(n_episodes):
        p = moving_parameter(rng, n_steps, low, high)
        u, x = u_size * rng.normal(size=(n_steps, 1)), [rng.normal(size=2)]
        for k in range(n_steps):
            x.append(step(x[-1], u[k], p[k]))
        xs.append(np.array(x) + noise * rng.normal(size=(n_steps + 1, 2)))
        us.append(np.column_stack([u, p]))
    return Trajectories.from_arrays(xs, us, dt=0.1, input_names=["u", "p"])
