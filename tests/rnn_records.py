"""Records that several tests of `KoopmanRNN` fit, and a quick model of them."""

import numpy as np
import plants

from koopctrl import KoopmanRNN, Trajectories

A, B, DT = plants.oscillator()
LINEAR = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=8, n_steps=60)
DUFFING = plants.record(plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=12, n_steps=40, x_max=1.5)


def quick(**kwargs) -> KoopmanRNN:
    """Small model with a seed."""
    return KoopmanRNN(**{"n_features": 20, "random_state": 0, **kwargs})


def all_bits(model: KoopmanRNN) -> list[np.ndarray]:
    """All numbers of a fitted network."""
    net = model.network_
    return [net.layer.weights, net.layer.biases, net.coef, net.x_mean, net.x_scale]


def siso_records(feedthrough: bool, n_episodes=8, n=50, seed=0):
    """`y_k = 1.5 y_{k-1} - 0.7 y_{k-2} + b0 u_k + 0.5 u_{k-1} + 0.2 u_{k-2}`, computed by its recursion."""
    rng = np.random.default_rng(seed)
    b0 = 0.8 if feedthrough else 0.0
    ys, us = [], []
    for _ in range(n_episodes):
        u, y = rng.uniform(-1, 1, n), list(rng.uniform(-1, 1, 2))
        for k in range(2, n):
            y.append(1.5 * y[-1] - 0.7 * y[-2] + b0 * u[k] + 0.5 * u[k - 1] + 0.2 * u[k - 2])
        ys.append(np.array(y)[:, None])
        us.append(u[:, None])
    return Trajectories.from_arrays(ys, us, dt=0.5)
