"""What only arm, acrobot, ball and beam, fermenter, Lorenz, plate and zone obey."""

import control
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.acrobot import AcrobotEnv as GymnasiumsAcrobot

from koopctrl import RNNMPC, KoopmanRNN, collect, run_closed_loop
from koopctrl_envs import (
    Acrobot,
    Arm,
    BallAndBeam,
    Fermenter,
    HeatedPlate,
    Lorenz,
    ThermalZone,
    ZoneUnderWeather,
)


@pytest.mark.parametrize(
    ("plant", "x", "u", "slope"),
    [
        (Lorenz(), [1.0, 2.0, 3.0], [5.0], [15.0, 28.0 - 3.0 - 2.0, 2.0 - 8.0]),
        # The coefficient of the paper: B = 0.7143.
        (BallAndBeam(), [0.2, 0.5, 0.0, 2.0], [0.1],
         [0.5, 0.7142857 * 0.8, 2.0, (0.1 - 0.1 * 0.2 * 0.5 * 2.0 - 0.05 * 9.81 * 0.2) / 0.022002]),
        # Stretched out at rest: the pushes of both motors on a rod.
        (Arm(b=0.0, c=0.0), [0.0, 0.0, 0.0, 0.0], [0.5, 0.2],
         [0.0, 0.0, *np.linalg.solve([[0.16 + 0.096, 0.045 + 0.048], [0.045 + 0.048, 0.045]], [0.5, 0.2])]),
    ],
    ids=["Lorenz", "ball and beam", "arm"],
)  # fmt: skip
def test_the_formulas_are_those_worked_out_by_hand(plant, x, u, slope):
    np.testing.assert_allclose(plant.rhs(x, u), slope, rtol=1e-6)


def test_the_acrobot_moves_as_gymnasiums():
    theirs = GymnasiumsAcrobot()
    plant = Acrobot(l2=1.0, s1=0.5, s2=0.5, I1=1.0, I2=1.0, b=0.0, g=9.8)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.uniform([-3.0, -3.0, -4.0, -9.0], [3.0, 3.0, 4.0, 9.0])
        torque = rng.uniform(-2.0, 2.0)
        # Their first angle is zero when hanging.
        expected = theirs._dsdt([x[0] - np.pi, *x[1:], torque])[:4]
        np.testing.assert_allclose(plant.rhs(x, [torque]), expected, rtol=1e-10)


def test_the_arm_obeys_lagrange():
    """Kinetic energy from the speeds of the masses, not by the plant's own formula."""
    plant = Arm(g=9.81)
    rng = np.random.default_rng(1)
    inertia1, inertia2 = plant.I1 - plant.m1 * plant.s1**2, plant.I2 - plant.m2 * plant.s2**2

    def lagrangian(q: np.ndarray, w: np.ndarray) -> float:
        e1, e2 = (np.array([np.cos(a), np.sin(a)]) for a in (q[0], q[0] + q[1]))
        n1, n2 = (np.array([-e[1], e[0]]) for e in (e1, e2))
        v1, v2 = plant.s1 * w[0] * n1, plant.l1 * w[0] * n1 + plant.s2 * (w[0] + w[1]) * n2
        height = plant.m1 * plant.s1 * e1[1] + plant.m2 * (plant.l1 * e1[1] + plant.s2 * e2[1])
        turning = inertia1 * w[0] ** 2 + inertia2 * (w[0] + w[1]) ** 2
        return 0.5 * (plant.m1 * v1 @ v1 + plant.m2 * v2 @ v2 + turning) - plant.g * height

    def gradient(f, at: np.ndarray, e: float = 1e-5) -> np.ndarray:
        return np.array([(f(at + d) - f(at - d)) / (2 * e) for d in e * np.eye(2)])

    for _ in range(5):
        q, w, u = rng.uniform(-2, 2, 2), rng.uniform(-3, 3, 2), rng.uniform(-1, 1, 2)
        acceleration = plant.rhs([*q, *w], u)[2:]
        h = 1e-5
        after, before = (
            gradient(lambda v, p=q + step * w: lagrangian(p, v), w + step * acceleration) for step in (h, -h)
        )
        friction = np.array([[plant.b, plant.c], [plant.c, plant.b]]) @ w
        momentum_rate = (after - before) / (2 * h)
        force = gradient(lambda p, w=w: lagrangian(p, w), q) + u - friction
        np.testing.assert_allclose(momentum_rate, force, atol=1e-4)


def test_lorenz_holds_its_wings_and_neighbours_part_as_known():
    plant = Lorenz()
    np.testing.assert_allclose(plant.equilibria[1], [np.sqrt(72.0), np.sqrt(72.0), 27.0])
    # The wings lose stability at rho = sigma (sigma + beta + 3)/(sigma - beta - 1).
    critical = 10.0 * (10.0 + 8 / 3 + 3.0) / (10.0 - 8 / 3 - 1.0)
    for rho, stable in ((0.999 * critical, True), (1.001 * critical, False)):
        A, _ = jacobians(Lorenz(rho=rho), Lorenz(rho=rho).equilibria[0], [0.0])
        assert bool(np.linalg.eigvals(A).real.max() < 0.0) is stable
    x, growth, n = np.array([1.0, 1.0, 20.0]), 0.0, 3000
    d = np.array([1.0, 0.0, 0.0])
    for _ in range(n):
        x = plant.step(x, [0.0])
        A, _ = jacobians(plant, x, [0.0], plant.dt)
        d = A @ d
        growth += np.log(np.linalg.norm(d))
        d /= np.linalg.norm(d)
    # The largest Lyapunov exponent is 0.906.
    assert growth / (n * plant.dt) == pytest.approx(0.906, abs=0.08)


def jacobians(plant, x, u, dt=0.0):
    return plant.jacobians(x, u, dt)


def test_the_fermenter_has_the_operating_point_of_its_paper_and_washes_out():
    plant = Fermenter()
    np.testing.assert_allclose(plant.equilibria[0], [6.0, 5.0, 19.14], rtol=1e-3)
    np.testing.assert_allclose(plant.equilibrium_inputs[0], [0.202, 20.0], rtol=1e-3)
    x = plant.equilibria[0]
    for _ in range(400):
        x = plant.step(x, [0.5, 20.0])
    np.testing.assert_allclose(x, [0.0, 20.0, 0.0], atol=1e-6)
    # Cells and the substrate that they are made of are diluted together.
    x = plant.draw_start(np.random.default_rng(0))
    slope = plant.rhs(x, [0.2, 25.0]) * 3600.0
    assert slope[1] + slope[0] / plant.Y == pytest.approx(0.2 * (25.0 - x[1] - x[0] / plant.Y))


def test_the_plates_heat_is_what_heaters_give_and_the_air_takes():
    plant = HeatedPlate()
    x, u = plant.draw_start(np.random.default_rng(2)), np.array([120.0, 40.0, 75.0])
    capacity = plant.rho * plant.cp * plant.depth * plant.side**2
    loss = 2.0 * plant.h * plant.side**2
    # The mean temperature obeys one equation of first order, whatever the profile.
    rest = plant.T_air + u.sum() / loss
    fade = np.exp(-loss / capacity * plant.dt)
    assert plant.step(x, u).mean() == pytest.approx(rest + fade * (x.mean() - rest), rel=1e-12)
    half = plant.step(plant.step(x, u, 0.5 * plant.dt), u, 0.5 * plant.dt)
    np.testing.assert_allclose(half, plant.step(x, u), rtol=1e-12)


def test_the_plate_cools_as_fouriers_modes_do():
    errors = []
    for n in (8, 16):
        plant = HeatedPlate(n_side=n)
        along = (np.arange(n) + 0.5) / n
        mode = np.outer(np.cos(2 * np.pi * along), np.cos(np.pi * along)).ravel()
        after = plant.step(plant.T_air + 10.0 * mode, [0.0, 0.0, 0.0], 30.0) - plant.T_air
        spread = plant.k / (plant.rho * plant.cp) * 5.0 * (np.pi / plant.side) ** 2
        loss = 2.0 * plant.h / (plant.rho * plant.cp * plant.depth)
        np.testing.assert_allclose(after / mode, after[0] / mode[0], rtol=1e-9)
        errors.append(abs(after[0] / (10.0 * mode[0]) - np.exp(-(spread + loss) * 30.0)))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_the_zone_loses_what_its_walls_and_its_air_let_out():
    plant = ThermalZone(sun=1e-9)
    x, (heat, vent) = plant.equilibria[0], plant.equilibrium_inputs[0]
    assert heat == pytest.approx((21.0 - 6.0) * (1.0 / (0.9 + 4.4) + vent), rel=1e-6)
    # A day later the sun stands where it stood, and a front has passed by a factor of e.
    ahead = np.array([*x[:2], 0.3, -0.6, 5.0])
    for _ in range(96):
        ahead = plant.step(ahead, [heat, vent])
    np.testing.assert_allclose(ahead[2:], [0.3, -0.6, 5.0 / np.e], rtol=1e-6)


def test_weather_is_seeded_and_drives_both_zones_alike():
    whole, part = ThermalZone(), ZoneUnderWeather()
    weather = part.weather(96, seed=5)
    np.testing.assert_array_equal(weather, part.weather(96, seed=5))
    assert np.abs(weather - part.weather(96, seed=6)).max() > 1.0
    assert (weather[:, 1] >= 0.0).all()
    assert np.ptp(weather[:, 1]) > 0.05
    x = whole.draw_start(np.random.default_rng(5))
    inner = x[:2]
    for k in range(96):
        np.testing.assert_allclose(whole.output(x)[1:], weather[k], rtol=1e-9)
        x, inner = whole.step(x, [3.0, 0.06]), part.step(inner, [3.0, 0.06, *weather[k]])
    # Weather that is held for a quarter of an hour is late by half of that.
    np.testing.assert_allclose(inner, x[:2], atol=0.15)


def test_a_controller_that_is_shown_the_weather_keeps_the_zone_comfortable():
    env = gymnasium.make("koopctrl/ThermalZoneUnderWeather-v0")
    plant, u_r = env.unwrapped.plant, env.unwrapped.input_reference
    data = collect(env, n_episodes=20, seed=0)
    model = KoopmanRNN(60, output_lags=3, input_lags=3, random_state=0).fit(data)
    mpc = RNNMPC(
        model, 12, 1.0, [0.02, 1.0], u_min=plant.u_min[:2], u_max=plant.u_max[:2],
        measured_disturbances=["To", "Is"],
    )  # fmt: skip
    result = run_closed_loop(
        env, mpc, 96, [21.0], disturbance=plant.weather(97, seed=3), input_reference=u_r[:2],
        options={"x0": [18.0, 15.0]},
    )  # fmt: skip
    assert np.abs(result.outputs[20:, 0] - 21.0).max() < 0.3


def test_ball_and_beam_falls_over_at_the_rate_of_its_linearisation():
    plant = BallAndBeam()
    A, B = jacobians(plant, np.zeros(4), [0.0])
    rolling = 0.05 / 0.07
    assert np.linalg.eigvals(A).real.max() == pytest.approx(
        (rolling * 9.81 * 0.05 * 9.81 / 0.020002) ** 0.25, rel=1e-6
    )
    assert np.linalg.matrix_rank(control.ctrb(A, B)) == 4
