"""From records to a controller in one call."""

import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectories, design_mpc, load, run_closed_loop
from koopctrl.controllers import RNNMPC, LinearMPC
from koopctrl.errors import DataError, KoopctrlError, OptionError
from koopctrl.selection.lags import LAGS, choose_lags
from koopctrl_envs import Pendulum
from koopctrl_envs.pendulum import PendulumEnv


def held(rng, n_episodes, n_steps, size):
    levels = rng.uniform(-size, size, (n_episodes, n_steps // 5 + 1, 1))
    return np.repeat(levels, 5, axis=1)[:, :n_steps]


@pytest.fixture(scope="module")
def linear_records():
    """A lightly damped mass of which the position alone is seen: two lags, exactly."""
    a, b = np.array([[1.0, 0.1], [-0.1, 0.95]]), np.array([[0.0], [0.1]])
    rng = np.random.default_rng(0)
    u = held(rng, 12, 80, 1.0)
    x = np.zeros((12, 81, 2))
    for k in range(80):
        x[:, k + 1] = x[:, k] @ a.T + u[:, k] @ b.T
    return Trajectories.from_arrays(x[:, :, :1], u, dt=0.1)


@pytest.fixture(scope="module")
def pendulum():
    plant, rng = Pendulum(), np.random.default_rng(0)
    u = held(rng, 60, 50, 5.0)
    x = np.empty((60, 51, 2))
    x[:, 0] = rng.uniform(-1, 1, (60, 2)) * [np.pi, 4.0]
    for k in range(50):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)


def test_lags_are_as_many_as_the_plant_has_states_behind_its_output(linear_records):
    model, choice = choose_lags(linear_records, 20, n_features=0)
    assert choice.lags == 2
    assert model.output_lags == model.input_lags == 2
    assert set(choice.errors) <= set(LAGS)
    assert choice.errors[1] > 10.0 * choice.errors[2]


def test_a_measured_state_needs_no_lags(pendulum):
    assert choose_lags(pendulum, 20, random_state=0)[1].lags == 1


def test_linear_is_enough_for_a_linear_plant(linear_records):
    design = design_mpc(linear_records, 20, Q=1.0, R=0.01, u_min=-1.0, u_max=1.0, n_starts=4)
    assert design.kind == "linear"
    assert isinstance(design.controller, LinearMPC)
    assert design.report.ok
    assert "LinearMPC costs" in str(design)
    assert design.controller.lifted is design.lifted


@pytest.mark.slow
def test_a_plant_that_no_linear_model_shows_gets_rnnmpc(pendulum, tmp_path):
    env = PendulumEnv()
    up = env.plant.output(np.zeros(2))
    options = {"Q": [10.0, 10.0, 0.1], "R": 0.01, "u_min": -5.0, "u_max": 5.0}
    design = design_mpc(pendulum, 30, reference=up, n_starts=4, **options)
    assert design.kind == "rnn"
    assert isinstance(design.controller, RNNMPC)
    assert design.report.rows[0].name == "this design"
    result = run_closed_loop(env, design.controller, 120, up, x0=[np.pi, 0.0])
    assert np.abs(result.outputs[-1] - up).max() < 0.1
    design.save(tmp_path / "mpc.npz")
    again = load(tmp_path / "mpc.npz")
    y = env.plant.output(np.array([1.0, 0.5]))
    design.controller.reset()
    again.reset()
    np.testing.assert_array_equal(again.control(y, up), design.controller.control(y, up))


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_a_kind_that_is_asked_for_is_taken(network, kind):
    design = design_mpc(network, 10, Q=1.0, R=0.1, controller=kind, u_min=-3, u_max=3, n_starts=2)
    assert design.kind == kind
    assert design.model is network
    assert design.lags is None
    assert design.reason.startswith("asked for")


def test_set_points_decide_where_the_network_is_lifted(network):
    goals = [[0.5, 0.0], [-0.5, 0.0]]
    design = design_mpc(network, 10, 1.0, 0.1, reference=goals, u_min=-3, u_max=3, n_starts=2)
    np.testing.assert_allclose(design.lifted.x_op[:2], goals[0], atol=0.05)
    asked = {tuple(np.round(e.r, 6)) for e in design.report.episodes}
    assert asked <= {tuple(g) for g in goals}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"controller": "pid"}, OptionError, "controller is 'pid'"),
        ({"reference": [1.0, 2.0, 3.0]}, OptionError, "reference has shape"),
        ({"horizon": 0}, OptionError, "horizon"),
        ({"data": Trajectories.from_arrays(np.zeros((1, 9, 1)), dt=1.0)}, OptionError, "no inputs"),
        ({"data": KoopmanRNN()}, KoopctrlError, "fit"),
        ({"data": 3}, KoopctrlError, "data"),
        (
            {"data": Trajectories.from_arrays(np.zeros((1, 2, 1)), np.zeros((1, 1, 1)), dt=1.0)},
            DataError,
            "no network",
        ),
        ({"u_minimum": 0.0}, TypeError, "u_minimum"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(network, change, error, match):
    given = {"data": network, "horizon": 5, "Q": 1.0, "R": 1.0} | change
    with pytest.raises(error, match=match):
        design_mpc(**given)
