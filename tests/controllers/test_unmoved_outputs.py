"""Bounded outputs that inputs do not move in a step, but for rounding: positions seen a step after a force.

The oracle is the same plant with the entry of B that is rounding set to zero: what an input within its range
can do through that entry is rounding too, so plans must be equal.
"""

import numpy as np
import pytest

from koopctrl import RNNMPC, KoopmanRNN, LiftedModel, LinearMPC, Trajectories

STARTS = ([0.1, 0.1], [0.3, -0.1], [0.2, 0.05])
A = np.array([[0.9, 0.2], [0.0, 0.8]])
Y_MAX, WISH, Q = np.array([0.05, 0.02]), np.array([0.3, 0.15]), np.diag([1.0, 0.1])


def _plans(controller, y=1.0, u=1.0) -> np.ndarray:
    """Plans from some starts, in units of `u`; `y` are those of outputs and states."""
    found = []
    for x in STARTS:
        controller.reset()
        controller.control(np.array(x) * y, reference=WISH * y)
        assert controller.info.status == "softened"
        found.append(controller.info.inputs.ravel() / u)
    return np.array(found)


def _linear(entry: float, bounds: dict[str, float], y=1.0, u=1.0) -> LinearMPC:
    y = y * np.ones(2)
    B = np.array([[entry * y[0]], [0.3 * y[1]]]) / u
    model = LiftedModel.from_matrices(A * y[:, None] / y, B, dt=1.0)
    limits = {name: value * u for name, value in bounds.items()}
    return LinearMPC(model, 8, Q / y**2, 0.05 / u**2, y_max=Y_MAX * y, **limits)


@pytest.mark.parametrize("bounds", [{"u_min": -0.5, "u_max": 0.5}, {}], ids=["bounded", "free"])
def test_what_rounding_says_that_an_input_does_is_not_used(bounds):
    expected = _plans(_linear(0.0, bounds))
    for entry in (1e-16, -1e-15, 1e-13, -1e-11, 1e-10):
        np.testing.assert_allclose(_plans(_linear(entry, bounds)), expected, atol=1e-7)
    np.testing.assert_allclose(_plans(_linear(-1e-14, bounds).compile()), expected, atol=1e-7)


def test_the_same_in_any_units():
    y, u = np.array([1e9, 1e-6]), 1e-9
    bounds = {"u_min": -0.5, "u_max": 0.5}
    scaled = _linear(1e-13, bounds, y, u)
    np.testing.assert_allclose(_plans(scaled, y, u), _plans(_linear(0.0, bounds)), atol=1e-7)


def _records() -> Trajectories:
    rng = np.random.default_rng(0)
    states, inputs = [], []
    for _ in range(6):
        u = np.repeat(rng.uniform(-1.0, 1.0, 40), 3)
        x = [rng.uniform(-0.3, 0.3, 2)]
        for v in u:
            x.append(A @ x[-1] + [0.0, 0.3 * v - 0.1 * np.tanh(x[-1][0])])
        states.append(np.array(x))
        inputs.append(u[:, None])
    return Trajectories.from_arrays(states, inputs, dt=0.1)


@pytest.mark.parametrize("bounds", [{"u_min": -0.5, "u_max": 0.5}, {}], ids=["bounded", "free"])
def test_of_a_network_that_was_fitted(bounds):
    """Its derivative has the entry of rounding; the oracle is a linear plan on the plant's derivatives."""
    model = KoopmanRNN(40, random_state=0).fit(_records())
    mpc = RNNMPC(model, 8, Q, 0.05, y_max=Y_MAX, terminal="none", **bounds)
    plans = _plans(mpc)
    np.testing.assert_allclose(_plans(mpc.compile()), plans, atol=1e-6)
    a = A - np.array([[0.0, 0.0], [0.1, 0.0]])
    plant = LiftedModel.from_matrices(a, np.array([[0.0], [0.3]]), dt=0.1)
    linear = _plans(LinearMPC(plant, 8, Q, 0.05, y_max=Y_MAX, terminal="none", **bounds))
    np.testing.assert_allclose(plans, linear, atol=0.05)  # tanh beside its derivative
