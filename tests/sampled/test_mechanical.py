"""Mechanical networks: masses, potentials and friction of plants, from positions, velocities, forces."""

import numpy as np
import pytest

from koopctrl import Trajectories
from koopctrl.errors import DataError, NotFittedError, OptionError, ShapeError
from koopctrl.sampled import MechanicalNetwork
from koopctrl_envs.cart_pole import CartPole
from koopctrl_envs.pendulum import Pendulum

ORDER = [0, 2, 1, 3]  # positions of the cart-pole first


def record(plant, n_episodes=10, n_steps=20, seed=0, order=None):
    rng = np.random.default_rng(seed)
    x = np.empty((n_episodes, n_steps + 1, plant.n_x))
    x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (n_episodes, plant.n_x))
    u = rng.uniform(plant.u_min, plant.u_max, (n_episodes, n_steps, plant.n_u))
    for k in range(n_steps):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return x if order is None else x[..., order], u


@pytest.fixture(scope="module")
def cart_pole():
    x, u = record(CartPole(), order=ORDER)
    return MechanicalNetwork(angles=[1], damping="constant").fit(
        Trajectories.from_arrays(x, u, dt=0.05), gauge=([0.0, 0.0], 0.0)
    )


def test_the_cart_pole_is_found_from_two_hundred_samples(cart_pole):
    plant = CartPole()
    theta = np.linspace(-3, 3, 7)
    q = np.stack([np.zeros(7), theta], axis=1)
    m = cart_pole.mass_matrix(q)
    np.testing.assert_allclose(m[:, 0, 0], plant.M + plant.m, rtol=1e-4)
    np.testing.assert_allclose(m[:, 0, 1], plant.m * plant.l * np.cos(theta), atol=1e-5)
    np.testing.assert_allclose(m[:, 1, 1], 4 / 3 * plant.m * plant.l**2, rtol=1e-4)
    rest = np.concatenate([q, np.zeros((7, 2))], axis=1)
    exact = plant.m * plant.g * plant.l * (np.cos(theta) - 1.0)
    np.testing.assert_allclose(cart_pole.energy(rest), exact, atol=1e-4)
    np.testing.assert_allclose(cart_pole.damping_at(q), np.tile([plant.b, plant.c], (7, 1)), rtol=2e-2)


def test_nothing_depends_on_cyclic_positions():
    x, u = record(CartPole(), order=ORDER)
    noisy = x + 0.01 * x.std(axis=(0, 1)) * np.random.default_rng(0).normal(size=x.shape)
    data = Trajectories.from_arrays(noisy, u, dt=0.05)
    net = MechanicalNetwork(angles=[1], cyclic=[0], damping="constant").fit(data)
    state = net.momentum(x[0])
    moved = state + np.array([0.7, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(net.rhs(moved, [1.0]), net.rhs(state, [1.0]))
    np.testing.assert_allclose(net.mass_matrix([0.0, 0.0]), [[1.1, 0.05], [0.05, 1 / 30]], rtol=0.2)


def test_states_and_velocities_are_two_sides_of_one(cart_pole):
    x, _ = record(CartPole(), seed=3, order=ORDER)
    state = cart_pole.momentum(x)
    np.testing.assert_allclose(cart_pole.velocity(state), x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cart_pole.rhs(state)[..., :2], x[..., 2:], rtol=1e-9, atol=1e-12)


def test_derivatives_agree_with_finite_differences(cart_pole):
    rng, h = np.random.default_rng(1), 1e-5
    x = cart_pole.momentum(rng.uniform(-1, 1, (4, 4)))
    gradient = np.stack(
        [(cart_pole.energy(x + h * e) - cart_pole.energy(x - h * e)) / (2 * h) for e in np.eye(4)], -1
    )
    np.testing.assert_allclose(cart_pole.energy_gradient(x), gradient, atol=1e-6)
    a, b = cart_pole.linearize(x[0], [2.0])
    slope = [
        (cart_pole.rhs(x[0] + h * e, [2.0]) - cart_pole.rhs(x[0] - h * e, [2.0])) / (2 * h) for e in np.eye(4)
    ]
    np.testing.assert_allclose(a, np.stack(slope, -1), atol=1e-6)
    np.testing.assert_allclose(b[:, 0], [0, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(
        np.array(cart_pole.to_casadi()(x[0], [2.0])).ravel(), cart_pole.rhs(x[0], [2.0])
    )


def test_free_runs_follow_the_plant(cart_pole):
    x, u = record(CartPole(), 2, 40, seed=8, order=ORDER)
    for i in range(2):
        run = cart_pole.simulate(cart_pole.momentum(x[i, 0]), u[i], 0.05, method="gauss", n_stages=3)
        np.testing.assert_allclose(cart_pole.velocity(run), x[i], atol=1e-3 * np.abs(x).max())


def test_a_potential_of_neurons_and_the_order_of_the_fit():
    def plant(x, u):  # a hard spring: no sine or cosine
        return np.stack([x[:, 1], (u[:, 0] - x[:, 0] - 0.5 * x[:, 0] ** 3 - 0.2 * x[:, 1]) / 2.0], axis=1)

    errors, steps = [], (0.1, 0.2)
    for h in steps:
        rng = np.random.default_rng(0)
        x, u = rng.uniform(-1.5, 1.5, (500, 2)), rng.uniform(-2, 2, (500, 1))
        y = x
        for _ in range(40):
            g = h / 40
            a = plant(y, u)
            b = plant(y + g / 2 * a, u)
            c = plant(y + g / 2 * b, u)
            y = y + g / 6 * (a + 2 * b + 2 * c + plant(y + g * c, u))
        data = Trajectories.from_arrays(np.stack([x, y], axis=1), u[:, None], dt=h)
        net = MechanicalNetwork(60, mass="constant", damping="constant", n_refits=0, random_state=0)
        net.fit(data, gauge=([0.0], 0.0))
        q = np.linspace(-1.3, 1.3, 9)[:, None]
        rest = np.concatenate([q, 0 * q], axis=1)
        errors.append(np.abs(net.energy(rest) - (q**2 / 2 + q**4 / 8)[:, 0]).max())
        np.testing.assert_allclose(net.mass_matrix(q), 2.0, rtol=2e-2 * h**2)
    assert np.log2(errors[1] / errors[0]) > 2.5


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_change_rounding_alone(scale):
    x, u = record(CartPole(), order=ORDER)
    c = np.array([scale, 1.0, scale, 1.0])  # metres in other units, and energies with them
    force = 1e3
    one = MechanicalNetwork(angles=[1], damping="constant").fit(Trajectories.from_arrays(x, u, dt=0.05))
    other = MechanicalNetwork(angles=[1], damping="constant").fit(
        Trajectories.from_arrays(c * x, force * u, dt=0.05)
    )
    work = force * scale
    rest = np.concatenate([x[:, 0, :2], np.zeros((10, 2))], axis=1)
    np.testing.assert_allclose(other.energy(c * rest) / work, one.energy(rest), atol=1e-6)
    v = one.velocity(one.simulate(one.momentum(x[0, 0]), u[0], 0.05))
    w = other.velocity(other.simulate(other.momentum(c * x[0, 0]), force * u[0], 0.05)) / c
    np.testing.assert_allclose(w, v, atol=1e-6)


def test_bad_input_is_named():
    x, u = record(Pendulum())
    data = Trajectories.from_arrays(x, u, dt=0.05)
    with pytest.raises(NotFittedError):
        MechanicalNetwork().momentum(x)
    with pytest.raises(DataError, match="never act"):
        MechanicalNetwork().fit(Trajectories.from_arrays(x, 0 * u, dt=0.05))
    with pytest.raises(ShapeError, match="input_matrix"):
        MechanicalNetwork(input_matrix=np.ones((2, 1))).fit(data)
    with pytest.raises(OptionError, match="input_matrix"):
        MechanicalNetwork().fit(Trajectories.from_arrays(x, np.repeat(u, 2, axis=2), dt=0.05))
    with pytest.raises(ShapeError, match="gauge"):
        MechanicalNetwork().fit(data, gauge=([0.0, 0.0], 0.0))
    for bad in (
        {"mass": "x"},
        {"n_features": -1},
        {"damping": "x"},
        {"n_refits": -1},
        {"angles": [4]},
        {"cyclic": [3]},
    ):
        with pytest.raises(OptionError, match=next(iter(bad))):
            MechanicalNetwork(**bad).fit(data)
