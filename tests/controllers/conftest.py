"""Systems the controllers are tried on."""

import numpy as np
import pytest

from koopctrl import KoopmanRNN, LiftedModel, Trajectories
from koopctrl_envs import VanDerPol

# A two-input plant with an unstable mode, an integrator and a stable one.
A = np.array([[1.1, 0.2, 0.0], [0.0, 1.0, 0.3], [0.1, 0.0, 0.7]])
B = np.array([[0.0, 0.5], [1.0, 0.0], [0.2, 0.3]])


class LinearPlant:
    """`x+ = A x + B (u + load)` with gymnasium's `reset` and `step`; measures `C x`."""

    def __init__(self, a, b, c=None, dt=0.1, load=0.0, u_limit=np.inf):
        self.a, self.b, self.c = np.asarray(a), np.asarray(b), np.eye(len(a)) if c is None else np.asarray(c)
        self.dt, self.load, self.u_limit = dt, load, u_limit

    def reset(self, *, seed=None, options=None):
        self.x = np.array((options or {}).get("x0", np.ones(len(self.a))), dtype=float)
        return self.c @ self.x, {"x": self.x.copy()}

    def step(self, u):
        u = np.clip(u, -self.u_limit, self.u_limit)
        self.x = self.a @ self.x + self.b @ (u + self.load)
        return self.c @ self.x, 0.0, False, False, {"x": self.x.copy(), "u": u}


@pytest.fixture
def linear_plant():
    return LinearPlant


@pytest.fixture(scope="session")
def lifted():
    """The two-input plant with its state measured."""
    return LiftedModel.from_matrices(A, B, dt=0.1)


@pytest.fixture(scope="session")
def van_der_pol_data():
    plant, rng = VanDerPol(), np.random.default_rng(0)
    x = np.empty((25, 81, 2))
    u = rng.uniform(-3, 3, (25, 80, 1))
    x[:, 0] = rng.uniform(-3, 3, (25, 2))
    for k in range(80):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return Trajectories.from_arrays(x, u, dt=plant.dt)


@pytest.fixture(scope="session")
def network(van_der_pol_data):
    return KoopmanRNN(60, input_coupling="quadratic", random_state=0).fit(van_der_pol_data)


@pytest.fixture(scope="session")
def van_der_pol(network):
    """The linear face of a network fitted to the forced Van der Pol oscillator."""
    return network.lift_at(x_op=0, u_op=0)


@pytest.fixture(scope="session")
def lag_model():
    """A network that sees one output of a second-order linear plant through three lags."""
    a, b = np.array([[0.9, 0.2], [-0.2, 0.8]]), np.array([[0.0], [0.5]])
    rng = np.random.default_rng(1)
    x, u = np.zeros((20, 61, 2)), rng.uniform(-1, 1, (20, 60, 1))
    x[:, 0] = rng.uniform(-1, 1, (20, 2))
    for k in range(60):
        x[:, k + 1] = x[:, k] @ a.T + u[:, k] @ b.T
    data = Trajectories.from_arrays(x[:, :, :1], u, dt=0.1)
    model = KoopmanRNN(0, input_coupling="linear", output_lags=3, input_lags=3, random_state=0).fit(data)
    return model, LinearPlant(a, b, [[1.0, 0.0]])
