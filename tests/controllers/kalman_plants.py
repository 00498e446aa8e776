"""Systems the Kalman filters are tried on."""

import numpy as np

from koopctrl import KoopmanRNN, Trajectories

# Two inputs; stable, all modes seen in the first output.
A = np.array([[0.9, 0.2, 0.0], [-0.2, 0.8, 0.3], [0.1, 0.0, 0.7]])
B = np.array([[0.0, 0.5], [1.0, 0.0], [0.2, 0.3]])
NAMES = ["p", "v", "a"]


def fit_linear(a, b, names=None, **options):
    """A network that is the linear plant to rounding."""
    rng = np.random.default_rng(1)
    n, m = b.shape
    x, u = np.empty((20, 41, n)), rng.uniform(-1, 1, (20, 40, m))
    x[:, 0] = rng.uniform(-1, 1, (20, n))
    for k in range(40):
        x[:, k + 1] = x[:, k] @ a.T + u[:, k] @ b.T
    data = Trajectories.from_arrays(x, u, dt=0.1, state_names=names)
    return KoopmanRNN(0, input_coupling="linear", ridge=0.0, random_state=0, **options).fit(data)


def observe_all(ekf, y, u):
    """Estimates along a record."""
    return np.array([ekf.observe(y[k], u[k - 1] if k else None) for k in range(len(y))])
