"""Unreachable set-points of a linear network: the nearest steady output, by an independent solver."""

import numpy as np
import pytest
from scipy import optimize

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.controllers import RNNMPC

A = np.array([[0.8, 0.1, 0.0], [0.0, 0.7, 0.2], [0.1, 0.0, 0.6]])
B = np.array([[0.5, 0.1, -0.3], [0.2, -0.4, 0.1], [0.1, 0.3, 0.4]])


def plant_data(b, scale):
    rng = np.random.default_rng(0)
    x, u = np.zeros((10, 61, 3)), rng.uniform(-1, 1, (10, 60, b.shape[1]))
    x[:, 0] = rng.uniform(-1, 1, (10, 3))
    for k in range(60):
        x[:, k + 1] = x[:, k] @ A.T + u[:, k] @ b.T
    return Trajectories.from_arrays(x * scale, u, dt=0.1)


@pytest.mark.parametrize("scale", [np.ones(3), np.array([1e-3, 1.0, 1e4])])
@pytest.mark.parametrize("n_u", [2, 3])
def test_inputs_at_a_bound_are_let_go_again(n_u, scale):
    """A search that never releases an input once it is at its bound misses some of these."""
    b, rng = B[:, :n_u], np.random.default_rng(1)
    model = KoopmanRNN(0, input_coupling="linear", ridge=0.0, random_state=0).fit(plant_data(b, scale))
    gain = np.linalg.solve(np.eye(3) - A, b)
    missed = 0
    for _ in range(12):
        low, high = -rng.uniform(0.1, 1.0, n_u), rng.uniform(0.1, 1.0, n_u)
        q = 10.0 ** rng.uniform(-1, 1, 3)
        mpc = RNNMPC(model, 3, q / scale**2, 0.1, u_min=low, u_max=high, terminal="none")
        for _ in range(3):
            r = 3.0 * rng.normal(size=3)
            law = mpc.law.targets
            found, _ = law.find(law.initial(), law.question(r * scale, np.zeros(3)))
            best = optimize.lsq_linear(np.sqrt(q)[:, None] * gain, np.sqrt(q) * r, (low, high), tol=1e-14)
            cost = np.sum(q * (found.y / scale - r) ** 2)
            missed += not cost <= 2.0 * best.cost * (1.0 + 1e-6) + 1e-9
    assert missed == 0
