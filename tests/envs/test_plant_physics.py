"""What the literature and exact solutions say of the plants."""

import control
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from koopctrl_envs import (
    CSTR,
    Burgers,
    BurgersEnv,
    CartPole,
    DCMotor,
    PHNeutralization,
    Quadrotor,
    QuadrupleTank,
    TwoTanks,
)
from koopctrl_envs.outflow import level_of_root, root


@pytest.mark.parametrize(
    ("plant", "x", "u", "slope"),
    [
        (TwoTanks(), [4.0, 1.0], [0.2, 0.5], [0.2 - 0.5, 0.5 - 0.3]),
        (TwoTanks(A1=2.0, A2=0.5), [1.0, 4.0], [0.5, 1.0], [0.0, (0.5 - 0.6) / 0.5]),
        (Quadrotor(), [0.0, 0.0, np.pi / 2, 1.0, 2.0, 3.0], [2.0, 1.0],
         [1.0, 2.0, 3.0, -3.0 / 0.486, -9.81, 0.25 / 0.00383]),
        # At the horizontal pole gravity turns it alone and the cart feels the force alone.
        (CartPole(b=0.0, c=0.0), [0.0, 1.0, np.pi / 2, 0.0], [2.2], [1.0, 2.0, 0.0, 9.8 / (0.5 * 4.0 / 3.0)]),
    ],
)  # fmt: skip
def test_the_formulas_are_those_worked_out_by_hand(plant, x, u, slope):
    np.testing.assert_allclose(plant.rhs(x, u), slope, rtol=1e-6, atol=1e-6)


def test_the_outflow_is_torricellis_above_laminar_levels_and_straight_at_zero():
    level = np.array([0.1, 1.0, 4.0])
    np.testing.assert_allclose(root(level, 1e-3, np), np.sqrt(level), rtol=3e-5)
    np.testing.assert_allclose(
        root(np.array([-1e-6, 1e-6]), 1e-3, np), np.array([-1e-6, 1e-6]) / 1e-3**0.5, rtol=1e-5
    )
    for value in (0.01, 0.3, 2.0):
        assert root(level_of_root(value, 1e-2), 1e-2, np) == pytest.approx(value, rel=1e-12)


def test_a_tank_runs_empty_and_stays_so():
    plant = TwoTanks()
    x = np.array([0.5, 0.2])
    for _ in range(400):
        before, x = x, plant.step(x, [0.0, 1.0])
        assert x[0] <= before[0]
        assert (x >= 0.0).all()
    assert (x < 1e-6).all()


@pytest.mark.parametrize(
    ("plant", "levels", "zeros"),
    [
        (QuadrupleTank(), [12.4, 12.7, 1.8, 1.4], [-0.060, -0.018]),
        (QuadrupleTank.nonminimum_phase(), [12.6, 13.0, 4.8, 4.9], [-0.057, 0.013]),
    ],
)
def test_the_quadruple_tank_has_the_levels_and_zeros_of_its_paper(plant, levels, zeros):
    x, u = plant.equilibria[0], plant.equilibrium_inputs[0]
    # The paper's levels are measured ones.
    np.testing.assert_allclose(x, levels, atol=0.25)
    A, B = plant.jacobians(x, u)
    found = control.StateSpace(A, B, np.eye(4)[:2], np.zeros((2, 2))).zeros()
    np.testing.assert_allclose(np.sort(found.real), zeros, atol=2e-3)


def test_the_reactor_has_the_operating_point_of_its_book_and_three_steady_states():
    plant = CSTR()
    np.testing.assert_allclose(plant.equilibria[0], [0.5, 350.0], atol=1e-3)
    np.testing.assert_allclose(plant.equilibrium_inputs[0], [300.0], atol=0.01)

    def imbalance(T: float) -> float:
        return plant.rhs([1.0 / (1.0 + 7.2e10 * np.exp(-8750.0 / T)), T], [300.0])[1]

    T = np.linspace(300.0, 420.0, 400)
    signs = np.sign([imbalance(t) for t in T])
    assert np.count_nonzero(signs[1:] != signs[:-1]) == 3
    assert np.linalg.eigvals(plant.jacobians(plant.equilibria[0], [300.0])[0]).real.max() > 0.0


def test_cold_it_dies_out_and_warm_it_ignites():
    plant = CSTR()
    peak = 0.0
    for coolant, hot in ((290.0, False), (310.0, True)):
        x = np.array([0.9, 320.0])
        for _ in range(400):
            x = plant.step(x, [coolant])
            peak = max(peak, x[1])
        assert bool(x[1] > 370.0) is hot
    assert 450.0 < peak < plant.x_max[1]


def test_the_ph_is_that_of_the_mixing_equations_and_the_charge_balance():
    plant = PHNeutralization()
    x0 = np.array([14.0, 5e-4, 5.0])

    def balance(pH: float, Wa: float, Wb: float) -> float:
        n = (1 + 2 * 10 ** (pH - 10.25)) / (1 + 10 ** (6.35 - pH) + 10 ** (pH - 10.25))
        return Wa + 10 ** (pH - 14) - 10**-pH + Wb * n

    def mixing(_t: float, s: np.ndarray, q3: float) -> list[float]:
        h, Wa, Wb = s
        flows = np.array([16.6, 0.55, q3])
        return [
            (flows.sum() - 8.75 * np.sqrt(h)) / 207.0,
            flows @ (np.array([3e-3, -3e-2, -3.05e-3]) - Wa) / (207.0 * h),
            flows @ (np.array([0.0, 3e-2, 5e-5]) - Wb) / (207.0 * h),
        ]

    Wa0 = brentq(lambda Wa: balance(5.0, Wa, 5e-4), -1.0, 1.0, xtol=1e-16)
    assert plant.charge(5e-4, 5.0) == pytest.approx(Wa0, rel=1e-9)
    invariants, x = np.array([14.0, Wa0, 5e-4]), x0
    for q3 in (20.0, 5.0, 16.0, 25.0, 0.0, 12.0):
        for _ in range(5):
            invariants = solve_ivp(mixing, (0.0, plant.dt), invariants, args=(q3,), rtol=1e-10, atol=1e-15).y[
                :, -1
            ]
            x = plant.step(x, [q3])
        pH = brentq(balance, 0.0, 14.0, args=tuple(invariants[1:]), xtol=1e-12)
        np.testing.assert_allclose(x[[0, 1]], invariants[[0, 2]], rtol=1e-5)
        assert x[2] == pytest.approx(pH, abs=2e-4)


def test_the_neutral_point_is_that_of_the_paper():
    plant = PHNeutralization()
    h, Wb, pH = plant.equilibria[0]
    assert [h, Wb, pH] == pytest.approx([14.0, 5.28e-4, 7.0], rel=5e-3)
    assert plant.equilibrium_inputs[0] == pytest.approx([15.6], rel=5e-3)
    assert plant.charge(Wb, pH) == pytest.approx(-4.32e-4, rel=5e-3)


def test_the_motor_has_the_scaled_coefficients_of_korda_and_mezic():
    x1, x2, u = 0.3, -0.7, 0.4
    np.testing.assert_allclose(
        DCMotor().rhs([x1, x2], [u]),
        [19.10828025 - 39.3153 * x1 - 32.2293 * x2 * u, -3.333333333 - 1.6599 * x2 + 22.9478 * x1 * u],
        rtol=1e-4,
    )


def test_without_friction_the_cart_pole_keeps_energy_and_momentum():
    plant = CartPole(b=0.0, c=0.0)
    x = np.array([0.0, 0.3, 2.0, 1.0])
    start = plant.energy(x)
    momentum = (plant.M + plant.m) * x[1] + plant.m * plant.l * x[3] * np.cos(x[2])
    for _ in range(2000):
        x = plant.step(x, [0.0])
    assert plant.energy(x) == pytest.approx(start, rel=1e-6)
    assert (plant.M + plant.m) * x[1] + plant.m * plant.l * x[3] * np.cos(x[2]) == pytest.approx(
        momentum, rel=1e-6
    )


def test_friction_takes_energy_out_of_the_cart_pole():
    plant = CartPole()
    x = np.array([0.0, 0.3, 2.0, 1.0])
    for _ in range(200):
        before, x = x, plant.step(x, [0.0])
        assert plant.energy(x) < plant.energy(before)


def test_burgers_keeps_its_mean_and_loses_energy_to_viscosity_alone():
    plant = Burgers()
    v = plant.draw_start(np.random.default_rng(0))
    slope = plant.rhs(v, [0.0, 0.0])
    assert slope.mean() == pytest.approx(0.0, abs=1e-14)
    dissipation = plant.nu * plant.n_points**2 * np.sum((np.roll(v, -1) - v) ** 2)
    assert v @ slope == pytest.approx(-dissipation, rel=1e-12)
    # The actuators' integrals, sqrt(pi)/15 each.
    assert plant.rhs(v, [0.1, -0.02]).mean() == pytest.approx(0.08 * np.sqrt(np.pi) / 15.0, rel=1e-6)


def test_burgers_converges_to_cole_and_hopfs_solution_with_the_square_of_the_grid():
    def exact(x: np.ndarray, t: float) -> np.ndarray:
        wave = np.exp(-4.0 * np.pi**2 * 0.05 * t)
        return 4.0 * np.pi * 0.05 * wave * np.sin(2 * np.pi * x) / (1.2 + wave * np.cos(2 * np.pi * x))

    errors = []
    for n in (40, 80):
        plant = Burgers(nu=0.05, n_points=n, n_substeps=400)
        error = plant.step(exact(plant.grid, 0.0), [0.0, 0.0]) - exact(plant.grid, 0.5)
        errors.append(np.abs(error).max())
    assert errors[0] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_burgers_sensors_are_ten_places_on_any_grid():
    plant = Burgers(n_points=120)
    v = np.sin(2 * np.pi * plant.grid)
    np.testing.assert_allclose(plant.output(v), np.sin(2 * np.pi * np.arange(10) / 10), atol=1e-14)
    between = Burgers(n_points=128)
    v = np.sin(2 * np.pi * between.grid)
    # What a straight line misses of a sine between two points: an eighth of its curvature at most.
    error = between.output(v) - np.sin(2 * np.pi * np.arange(10) / 10)
    assert 0.0 < np.abs(error).max() < (2 * np.pi / 128) ** 2 / 8
    with pytest.raises(ValueError, match="n_points is 9; expected at least 10"):
        Burgers(n_points=9)
    with pytest.raises(ValueError, match=r"n_points is 40\.5; expected a positive integer"):
        Burgers(n_points=40.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("n", [16, 64, 128])
def test_burgers_takes_the_sub_steps_that_its_grid_needs(n):
    # A grid in gymnasium.make; its boxes come along.
    env = BurgersEnv(n_points=n)
    env.reset(seed=0)
    x = env.plant.draw_start(np.random.default_rng(1))
    finer = Burgers(n_points=n, n_substeps=4 * env.plant.n_substeps_of(0.5))
    reached = finer.step(x, [0.1, -0.1])
    np.testing.assert_allclose(env.plant.step(x, [0.1, -0.1]), reached, atol=1e-3 * 1.2)
    assert env.observation_space.shape == (10,)
