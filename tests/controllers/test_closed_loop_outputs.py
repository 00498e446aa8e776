"""References, cost and metrics of a loop are of the controller's outputs, whatever of them is measured."""

import gymnasium
import numpy as np
import pytest

from koopctrl import (
    LQR,
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    LiftedModel,
    LinearMPC,
    MovingHorizonEstimator,
    run_closed_loop,
)
from koopctrl_envs.wrappers import PartialObservation

A, B = np.array([[1.0, 0.1], [0.0, 0.9]]), np.array([[0.005], [0.1]])
OUTPUTS = {
    "one of two": [[1.0, 0.0]],
    "mixed": [[1.0, 1.0], [0.0, 2.0]],
    "turned": [[0.0, 1.0], [1.0, 0.0]],
    "more": [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]],
}


def controllers(model):
    n_y = model.n_y
    yield LQR(model, np.eye(n_y), 0.01, u_min=-2, u_max=2)
    yield LinearMPC(model, 15, np.eye(n_y), 0.01, u_min=-2, u_max=2)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_a_measured_state_are_what_references_are_for(kind, linear_plant):
    C = np.array(OUTPUTS[kind])
    model = LiftedModel.from_matrices(A, B, C=C, dt=0.1)
    goal = C @ [0.5, 0.0]  # held without an input
    for controller in controllers(model):
        result = run_closed_loop(linear_plant(A, B), controller, 200, goal, x0=[0.0, 0.0])
        np.testing.assert_allclose(result.outputs, result.states @ C.T, rtol=0, atol=1e-15)
        np.testing.assert_array_equal(result.references, np.tile(goal, (201, 1)))
        np.testing.assert_allclose(result.outputs[-1], goal, atol=1e-3)
        error = (result.states[1:] @ C.T - goal).ravel()
        by_hand = np.sum(error**2) + 0.01 * np.sum(result.inputs**2)
        np.testing.assert_allclose(result.cost, by_hand, rtol=1e-12)
        assert len(result.output_names) == len(C)


@pytest.mark.parametrize("kind", [KalmanFilter, MovingHorizonEstimator])
@pytest.mark.parametrize("seen", [[0], [1, 0]])
def test_measured_outputs_stand_at_their_own_places(seen, kind, linear_plant):
    model = LiftedModel.from_matrices(A, B, dt=0.1, output_names=["place", "speed"])
    names = [model.output_names[i] for i in seen]
    observer = kind(model, Qn=1e-4, Rn=1e-4, measured=names)
    mpc = LinearMPC(model, 15, 1.0, 0.01, u_min=-2, u_max=2, estimator=observer)
    plant = linear_plant(A, B, np.eye(2)[seen])
    result = run_closed_loop(plant, mpc, 80, [0.5, 0.0], x0=[0.0, 0.0])
    assert result.output_names == ("place", "speed")
    np.testing.assert_array_equal(result.outputs[:, seen], result.states[:, seen])
    assert np.isnan(np.delete(result.outputs, seen, axis=1)).all()
    np.testing.assert_allclose(result.states[-1], [0.5, 0.0], atol=2e-3)
    error = result.states[1:, seen] - np.array([0.5, 0.0])[seen]
    np.testing.assert_allclose(result.cost, np.sum(error**2) + 0.01 * np.sum(result.inputs**2), rtol=1e-12)
    assert np.isfinite(result.metrics()["iae"]).all()
    assert result.plot() is not None


@pytest.mark.parametrize("kind", [ExtendedKalmanFilter, MovingHorizonEstimator])
def test_measured_outputs_of_a_network_stand_at_their_own_places(kind, network):
    env = PartialObservation(gymnasium.make("koopctrl/VanDerPol-v0"), [1])
    observer = kind(network, Qn=1e-4, Rn=1e-6, measured=[1])
    mpc = RNNMPC(network, 8, 1.0, 0.1, u_min=-3, u_max=3, estimator=observer)
    result = run_closed_loop(env, mpc, 5, [0.0, 0.0], x0=[0.5, 0.0])
    assert np.isnan(result.outputs[:, 0]).all()
    np.testing.assert_array_equal(result.outputs[:, 1], result.states[:, 1])


def test_a_lost_sample_costs_nothing(linear_plant):
    class Lossy(linear_plant):
        def step(self, u):
            y, *rest = super().step(u)
            self.k = getattr(self, "k", 0) + 1
            return (np.full_like(y, np.nan) if self.k == 3 else y), *rest

    model = LiftedModel.from_matrices(A, B, dt=0.1)
    result = run_closed_loop(Lossy(A, B), LQR(model, 1.0, 0.01), 10, [0.5, 0.0], x0=[0.0, 0.0])
    error = np.delete(result.outputs - [0.5, 0.0], [0, 3], axis=0)
    np.testing.assert_allclose(result.cost, np.sum(error**2) + 0.01 * np.sum(result.inputs**2), rtol=1e-12)
