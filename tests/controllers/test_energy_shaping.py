"""EnergyShaping: swing-up of plants from 200 samples, Lyapunov function, region, units, bad input."""

import copy

import gymnasium
import numpy as np
import pytest

from koopctrl import Trajectories, run_closed_loop
from koopctrl.controllers import EnergyShaping, check_controller
from koopctrl.controllers.energy_catch import runge_kutta
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled import HamiltonianNetwork, MechanicalNetwork
from koopctrl_envs.cart_pole import CartPole
from koopctrl_envs.pendulum import Pendulum

ORDER = [0, 2, 1, 3]


def record(plant, order, seed=0):
    rng = np.random.default_rng(seed)
    x = np.empty((10, 21, plant.n_x))
    x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (10, plant.n_x))
    u = rng.uniform(plant.u_min, plant.u_max, (10, 20, 1))
    for k in range(20):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return x[..., order], u


def pendulum_state(y):
    return [np.arctan2(y[1], y[0]), y[2]]


def cart_pole_state(y):
    return [y[0], np.arctan2(y[3], y[2]), y[1], y[4]]


PENDULUM = {"dt": 0.05, "u_min": -5.0, "u_max": 5.0, "to_state": pendulum_state, "n_measured": 3}
CART_POLE = {
    "dt": 0.05, "u_min": -10.0, "u_max": 10.0, "to_state": cart_pole_state, "n_measured": 5, "travel": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def pendulum():
    x, u = record(Pendulum(), [0, 1])
    model = MechanicalNetwork(angles=[0], damping="constant").fit(Trajectories.from_arrays(x, u, dt=0.05))
    return EnergyShaping(model, [0.0, 0.0], **PENDULUM)


@pytest.fixture(scope="module")
def cart_pole():
    x, u = record(CartPole(), ORDER)
    model = MechanicalNetwork(angles=[1], damping="constant").fit(Trajectories.from_arrays(x, u, dt=0.05))
    return EnergyShaping(model, [0.0, 0.0, 0.0, 0.0], **CART_POLE)


def test_they_keep_the_contract(pendulum, cart_pole):
    check_controller(pendulum)
    check_controller(cart_pole)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_pendulum_swings_up_under_its_torque_limit(pendulum, seed):
    env = gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0")
    start = [[np.pi, 0.0], [2.5, -1.0]][seed]
    result = run_closed_loop(env, pendulum, n_steps=180, seed=seed, options={"x0": start})
    assert np.abs(result.inputs).max() <= 5.0
    np.testing.assert_allclose(result.outputs[-1], [1.0, 0.0, 0.0], atol=1e-3)
    assert result.statuses[0] == "swing"
    assert result.statuses[-1] == "balance"


@pytest.mark.parametrize("start", [[0.0, 0.0, np.pi, 0.0], [0.5, 0.0, 2.0, -1.0], [-0.5, 0.3, -2.5, 0.5]])
def test_the_cart_pole_swings_up_on_its_track(cart_pole, start):
    env = gymnasium.make("koopctrl_envs:koopctrl/CartPole-v0")
    result = run_closed_loop(env, cart_pole, n_steps=200, seed=0, options={"x0": start})
    assert len(result.inputs) == 200  # it never left the track
    np.testing.assert_allclose(result.outputs[-1], [0, 0, 1, 0, 0], atol=5e-3)


def test_the_lyapunov_function_falls_while_it_swings_without_friction():
    rng = np.random.default_rng(0)
    x, u = rng.uniform([-3, -6], [3, 6], (400, 2)), rng.uniform(-5, 5, (400, 1))
    xdot = np.stack([x[:, 1], 9.81 * np.sin(x[:, 0]) + u[:, 0]], axis=1)
    model = HamiltonianNetwork(0, structure="quadratic", angles=[0]).fit_derivatives(x, xdot, u)
    controller = EnergyShaping(model, [0.0, 0.0], dt=0.01, u_min=-5, u_max=5)
    state, found = np.array([3.0, 0.5]), []
    while True:
        action = controller.control(state)
        if controller.info.status != "swing":
            break
        assert controller.info.lyapunov_rate <= 1e-9
        found.append(controller.info.lyapunov)
        state = runge_kutta(model.parts_, state[None], action[None], 0.01)[0]
    assert len(found) > 50
    assert (np.diff(found) <= 1e-4).all()  # but for the input's being held over a sample


@pytest.mark.parametrize("kind", ["pendulum", "cart_pole"])
def test_the_rate_is_that_of_the_function(kind, pendulum):
    if kind == "pendulum":
        controller = pendulum
    else:  # friction of the hinge has no part in the rate of the energy of what swings
        x, u = record(CartPole(b=0.0, c=0.0), ORDER)
        model = MechanicalNetwork(angles=[1]).fit(Trajectories.from_arrays(x, u, dt=0.05))
        controller = EnergyShaping(model, np.zeros(4), **CART_POLE)
    law, model, h = controller.law, controller.model, 1e-5
    parts, d = model.parts_, model.n_dof

    def value(z):
        energy = float(parts.energy.value(np.stack([z, law.x_target])) @ [1.0, -1.0])
        return law._swing(z, law.error(z.copy()), energy)

    for seed in range(5):
        x = np.random.default_rng(seed).uniform(-1, 1, 2 * d)
        x[d - 1] = 2.5
        x = model.momentum(x)
        u, _, rate = value(x)
        moved = [value(x + s * h * parts.rhs(x[None], u[None])[0])[1] for s in (1.0, -1.0)]
        assert rate == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-4, abs=1e-6)


def test_the_region_of_the_regulator_holds_on_the_plant(pendulum):
    plant, catch = Pendulum(), pendulum.catch
    angles = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring *= 0.99 * np.sqrt(catch.level / catch.cost(ring))[:, None]
    for x in ring:
        state = x  # the mass matrix is one: momenta are velocities
        for _ in range(100):
            state = plant.step(state, np.clip(-catch.K @ state, -5, 5))
        assert np.abs(state).max() < 1e-2


def test_missing_measurements_hold_and_copies_go_on(pendulum):
    pendulum.reset()
    y = Pendulum().output(np.array([2.0, 1.0]))
    u = pendulum.control(y)
    np.testing.assert_array_equal(pendulum.control([np.nan, 0.0, 0.0]), u)
    assert pendulum.info.status == "fallback_hold"
    other = copy.deepcopy(pendulum)
    np.testing.assert_array_equal(other.control(y), pendulum.control(y))
    one, two = pendulum.law.step(pendulum.state, y), pendulum.law.step(pendulum.state, y)
    np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_change_rounding_alone(scale):
    x, u = record(CartPole(), ORDER)
    c, force = np.array([scale, 1.0, scale, 1.0]), 1e3

    def inputs(factor, work, y):
        data = Trajectories.from_arrays(factor * x, work * u, dt=0.05)
        model = MechanicalNetwork(angles=[1], damping="constant").fit(data)
        controller = EnergyShaping(
            model, np.zeros(4), dt=0.05, u_min=-10 * work, u_max=10 * work, travel=factor[0]
        )
        return np.array([controller.control(factor * row) for row in y]) / work

    rows = np.concatenate([x[0], 0.05 * x[1]])
    np.testing.assert_allclose(inputs(c, force, rows), inputs(np.ones(4), 1.0, rows), atol=1e-4)


def test_bad_input_is_named(pendulum, cart_pole):
    model = pendulum.model
    with pytest.raises(OptionError, match="expected an equilibrium"):
        EnergyShaping(model, [1.0, 0.0], **PENDULUM)
    with pytest.raises(OptionError, match="u_min"):
        EnergyShaping(model, [0.0, 0.0], **{**PENDULUM, "u_max": np.inf})
    with pytest.raises(OptionError, match="travel"):
        EnergyShaping(model, [0.0, 0.0], **PENDULUM, travel=1.0)
    with pytest.raises(OptionError, match="travel"):
        EnergyShaping(cart_pole.model, np.zeros(4), **{**CART_POLE, "travel": -1.0})
    with pytest.raises(OptionError, match="gain"):
        EnergyShaping(model, [0.0, 0.0], **PENDULUM, gain=0.0)
    with pytest.raises(OptionError, match="to_state"):
        EnergyShaping(model, [0.0, 0.0], **{**PENDULUM, "to_state": 3})
    with pytest.raises(OptionError, match="model"):
        EnergyShaping("model", [0.0, 0.0], **PENDULUM)
    with pytest.raises(ShapeError, match="x_target"):
        EnergyShaping(model, [0.0, 0.0, 0.0], **PENDULUM)
    free = HamiltonianNetwork(5, random_state=0)
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    free.fit_derivatives(x, np.stack([x[:, 1], -x[:, 0]], axis=1))
    with pytest.raises(OptionError, match="no inputs"):
        EnergyShaping(free, [0.0, 0.0], **PENDULUM)
