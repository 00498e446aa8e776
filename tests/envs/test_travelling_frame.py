"""Burgers' equation on fine grids: steps in a frame that travels with the mean speed."""

import numpy as np
import pytest

from koopctrl_envs import Burgers
from koopctrl_envs.travelling_frame import advance, n_steps_of


def fronts(plant: Burgers) -> np.ndarray:
    """Starts as steep as they get, and smooth ones."""
    rng = np.random.default_rng(0)
    return np.array([plant.profile(1.0, 0.0, 1.2), plant.profile(0.0, 0.0, 1.2), plant.draw_start(rng)])


@pytest.mark.parametrize("n", [64, 101, 128])
def test_a_sample_is_as_exact_as_the_plant_says(n):
    plant = Burgers(n_points=n)
    assert plant.travels
    for x, u in zip(fronts(plant), ([0.1, -0.1], [0.1, 0.1], [-0.1, 0.0]), strict=True):
        error = plant.step(x, u) - plant.exact_step(x, u)
        assert np.abs(error).max() < Burgers.step_error * 1.2


def test_errors_fall_with_the_fourth_power_of_the_step():
    plant, u = Burgers(n_points=64), np.array([0.1, -0.05])
    x = plant.profile(0.5, 0.2, 0.8)
    push, exact = u @ plant._shapes(), plant.exact_step(x, u)
    errors = [np.abs(advance(x, push, plant.nu, 0.5, n) - exact).max() for n in (20, 40)]
    assert errors[0] / errors[1] == pytest.approx(16.0, rel=0.2)


def test_the_mean_speed_costs_nothing():
    # Galilei: a profile on a faster stream arrives shifted; on the grid, at a whole number of points.
    plant = Burgers(n_points=128)
    x, shift = plant.profile(0.7, 0.0, 0.6), 16
    faster = x + shift / 128 / 0.5
    slow, fast = (advance(v, np.zeros(128), 0.01, 0.5, 40) for v in (x, faster))
    # The difference quotient carries waves a little late, the longer ones by (2 pi k / n)^2 / 6 of their way.
    np.testing.assert_allclose(fast - shift / 64, np.roll(slow, shift), atol=0.02)
    assert np.abs(slow - np.roll(slow, shift)).max() > 0.2


def test_alone_and_batched_have_the_same_bits_and_mean_and_rest_are_kept():
    plant = Burgers(n_points=128)
    x = fronts(plant)
    u = np.array([[0.1, -0.1], [0.0, 0.0], [0.05, 0.1]])
    push = u @ plant._shapes()
    together = advance(x, push, plant.nu, 0.5, 9)
    for row, start, held in zip(together, x, push, strict=True):
        np.testing.assert_array_equal(advance(start, held, plant.nu, 0.5, 9), row)
    np.testing.assert_array_equal(plant.step(x, u), together)
    mean = x.mean(axis=1) + 0.5 * (u @ plant._shapes()).mean(axis=1)
    np.testing.assert_allclose(together.mean(axis=1), mean, rtol=1e-13)
    rest = plant.equilibria[0]
    state = rest
    for _ in range(1000):
        state = plant.step(state, [0.0, 0.0])
    np.testing.assert_array_equal(state, rest)


def test_all_faces_take_the_same_steps():
    plant = Burgers(n_points=48)
    assert plant.travels
    x, u = plant.profile(0.3, 0.1, 1.1), np.array([0.1, -0.03])
    for dt in (None, 0.05):
        stepped = plant.step(x, u, dt)
        components = plant.step_components(x.tolist(), u.tolist(), np, dt)
        np.testing.assert_allclose(components, stepped, atol=1e-13)
        np.testing.assert_allclose(np.array(plant.to_casadi(dt)(x, u)[0])[:, 0], stepped, atol=1e-12)
    block = plant.to_nlsys(0.5)
    np.testing.assert_allclose(block.dynamics(0.0, x, u), plant.step(x, u), atol=1e-12)
    A, B = plant.jacobians(x, u, dt=0.5)
    way, held, eps = np.cos(2 * np.pi * plant.grid), np.array([0.3, -1.0]), 1e-5
    central = (plant.step(x + eps * way, u + eps * held) - plant.step(x - eps * way, u - eps * held)) / (
        2 * eps
    )
    np.testing.assert_allclose(A @ way + B @ held, central, atol=1e-7)


def test_sub_steps_are_a_chain_and_grow_with_what_is_asked():
    plant = Burgers(n_points=128)
    n = plant.n_substeps_of(0.5)
    assert plant.n_substeps_of(0.5 / n) == 1
    assert Burgers(n_points=128, n_substeps=60).n_substeps_of(0.5) == 30
    x, u = plant.profile(0.2, 0.0, 1.2), np.array([0.1, 0.1])
    chained = x
    for _ in range(n):
        chained = plant.step(chained, u, 0.5 / n)
    np.testing.assert_allclose(chained, plant.step(x, u), atol=1e-13)
    # Waves on a profile farther off its mean need more of them; many steps of Runge-Kutta are taken as such.
    assert n_steps_of(128, 0.01, 0.6, 0.5) < n_steps_of(128, 0.01, 2.0, 0.5)
    assert not Burgers(n_points=128, n_substeps=200).travels
