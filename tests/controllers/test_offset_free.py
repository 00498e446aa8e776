"""Offset-free tracking: constant loads and wrong models leave no steady-state error."""

import gymnasium
import numpy as np
import pytest

import koopctrl_envs  # noqa: F401
from koopctrl import LQR, KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories, run_closed_loop
from koopctrl.errors import OptionError, SolverError
from koopctrl_envs import Duffing
from koopctrl_envs.duffing import DuffingEnv


@pytest.fixture(scope="module")
def two_by_two():
    """Stable, two inputs, two outputs of three states."""
    a = np.array([[0.8, 0.1, 0.0], [0.0, 0.7, 0.2], [0.1, 0.0, 0.9]])
    b = np.array([[0.5, 0.0], [0.0, 0.4], [0.1, 0.1]])
    return a, b, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])


@pytest.mark.parametrize("kind", ["output", "input"])
@pytest.mark.parametrize("controller", [LQR, LinearMPC])
def test_an_observer_with_disturbances_removes_load_and_mismatch(linear_plant, two_by_two, kind, controller):
    a, b, c = two_by_two
    model = LiftedModel.from_matrices(a, b, c, dt=0.1)
    plant = linear_plant(0.95 * a, 1.2 * b, c, load=np.array([0.3, -0.2]))
    final = {}
    for disturbance in ("none", kind):
        kf = KalmanFilter(model, 1e-2, 1e-2, disturbance=disturbance, Qd=1e-2)
        size = {} if controller is LQR else {"horizon": 10}
        loop = controller(model, Q=1.0, R=0.1, u_min=-5, u_max=5, observer=kf, **size)
        final[disturbance] = run_closed_loop(plant, loop, 900, [0.5, -0.3], x0=np.zeros(3)).outputs[-1]
    assert np.abs(final["none"] - [0.5, -0.3]).max() > 1e-2
    np.testing.assert_allclose(final[kind], [0.5, -0.3], atol=1e-7)


@pytest.mark.parametrize("controller", [LQR, LinearMPC])
@pytest.mark.parametrize("gain", [True, 0.3])
def test_without_an_observer_the_unexplained_step_is_the_disturbance(network, controller, gain):
    env = gymnasium.make("koopctrl/VanDerPol-v0", mu=1.2, disturbance=0.4, max_episode_steps=400)
    lifted = network.lift_at(x_op=0, u_op=0)
    size = {} if controller is LQR else {"horizon": 20}
    errors = {}
    for offset_free in (False, gain):
        loop = controller(lifted, Q=[1.0, 0.0], R=0.1, u_min=-3, u_max=3, offset_free=offset_free, **size)
        result = run_closed_loop(env, loop, 300, [0.3, 0.0], x0=[0.0, 0.0])
        errors[offset_free] = abs(result.outputs[-1, 0] - 0.3)
    assert errors[False] > 1e-2
    assert errors[gain] < 1e-6 * 0.3


def test_lag_models_are_offset_free_too(lag_model):
    model, plant = lag_model
    plant.load = 0.2
    mpc = LinearMPC(model.lift_at(x_op=0, u_op=0), 15, 1.0, 0.01, u_min=-1, u_max=1, offset_free=True)
    result = run_closed_loop(plant, mpc, 150, reference=[0.4], x0=[0.0, 0.0])
    plant.load = 0.0
    assert abs(result.outputs[-1, 0] - 0.4) < 1e-6


@pytest.fixture(scope="module")
def duffing():
    """Two wells, and a network of it whose linear face is made at the left one."""
    plant, rng = Duffing(u_min=(-0.6,), u_max=(0.6,)), np.random.default_rng(1000)
    x, u = np.empty((40, 121, 2)), rng.uniform(-0.6, 0.6, (40, 120, 1))
    x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (40, 2))
    for k in range(120):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    data = Trajectories.from_arrays(x, u, dt=plant.dt)
    model = KoopmanRNN(200, input_coupling="quadratic", random_state=0).fit(data)
    return plant, model.lift_at(x_op=[-1.0, 0.0], u_op=0.0)


@pytest.mark.parametrize("controller", [LQR, LinearMPC])
@pytest.mark.parametrize("load", [0.1, -0.1])
def test_input_disturbances_do_not_mistake_the_way_for_a_load(duffing, controller, load):
    """From the other well, where the features' one-step error is a hundred times the load's effect."""
    plant, lifted = duffing
    size = {} if controller is LQR else {"horizon": 30}
    loop = controller(lifted, Q=1.0, R=0.1, u_min=-0.6, u_max=0.6, offset_free="input", **size)
    result = run_closed_loop(DuffingEnv(plant, disturbance=load), loop, 200, [-1.0, 0.0], x0=[1.0, 0.0])
    assert abs(result.outputs[-1, 0] + 1.0) < 1e-6
    assert abs(result.inputs[-1, 0] + load) < 1e-6


def test_input_disturbances_are_refused_where_they_do_not_show(lag_model):
    late = lag_model[0].lift_at(x_op=0, u_op=0)  # the input acts on the output after two samples
    alike = LiftedModel.from_matrices([[0.9]], [[1.0, 1.0]], dt=0.1)
    for model in (late, alike):
        with pytest.raises(OptionError, match=r"not every input shows|input lags"):
            LQR(model, 1.0, 1.0, offset_free="input")
    with pytest.raises(OptionError, match="offset_free"):
        LQR(alike, 1.0, 1.0, offset_free="output")


def test_unreachable_set_points_give_the_nearest_without_wind_up(linear_plant, two_by_two):
    a, b, _ = two_by_two
    c = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    model = LiftedModel.from_matrices(a, b, c, dt=0.1)
    kf = KalmanFilter(model, 1e-2, 1e-3, disturbance="output", Qd=1e-2)
    mpc = LinearMPC(model, 15, 1.0, 0.01, u_min=-0.2, u_max=0.2, observer=kf)
    rows = np.zeros((600, 2))
    rows[:300] = [5.0, 0.1]
    rows[300:] = [0.1, 0.1]
    result = run_closed_loop(linear_plant(a, b, c, load=0.05), mpc, 600, rows, x0=np.zeros(3))
    # Nearest steady output over the box of inputs, by brute force.
    gain = c @ np.linalg.solve(np.eye(3) - a, b)
    grid = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, 401), np.linspace(-0.2, 0.2, 401)), -1).reshape(-1, 2)
    steady = (grid + 0.05) @ gain.T
    best = steady[np.argmin(np.sum((steady - [5.0, 0.1]) ** 2, axis=1))]
    np.testing.assert_allclose(result.outputs[299], best, atol=5e-3)
    np.testing.assert_allclose(result.outputs[-1], [0.1, 0.1], atol=1e-6)
    assert result.inputs[305, 0] < 0.2


def test_predicted_outputs_hold_the_disturbance(linear_plant, two_by_two):
    a, b, c = two_by_two
    model = LiftedModel.from_matrices(a, b, c, dt=0.1)
    kf = KalmanFilter(model, 1e-2, 1e-2, disturbance="output", Qd=1e-2)
    mpc = LinearMPC(model, 10, 1.0, 0.1, observer=kf)
    run_closed_loop(linear_plant(a, b, c, load=0.3), mpc, 900, [0.5, -0.3], x0=np.zeros(3))
    np.testing.assert_allclose(mpc.info.outputs, np.tile([0.5, -0.3], (11, 1)), atol=1e-6)


def test_what_cannot_be_estimated_is_refused(lifted, two_by_two):
    with pytest.raises(OptionError, match="disturbance is 'load'"):
        KalmanFilter(lifted, 1.0, 1.0, disturbance="load")
    integrator = LiftedModel.from_matrices([[1.0]], [[1.0]], dt=0.1)
    with pytest.raises(SolverError, match="output disturbances"):
        KalmanFilter(integrator, 1.0, 1.0, disturbance="output")
    KalmanFilter(integrator, 1.0, 1.0, disturbance="input")
    model = LiftedModel.from_matrices(*two_by_two, dt=0.1)
    with pytest.raises(OptionError, match="expected one of them"):
        LQR(model, 1.0, 1.0, observer=KalmanFilter(model, 1.0, 1.0), offset_free=True)
    with pytest.raises(OptionError, match="offset_free"):
        LQR(lifted, 1.0, 1.0, offset_free=1.5)
