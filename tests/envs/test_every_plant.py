"""What every registered plant has to stand: copies, ten thousand steps at rest or in motion, bad input."""

import copy
import dataclasses
import math
import pickle

import gymnasium
import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

import koopctrl_envs
from koopctrl.errors import KoopctrlError
from koopctrl_envs import Acrobot, Arm, CartPole, Pendulum, Plant, PlantEnv, PlantVectorEnv

IDS = sorted(name for name in gymnasium.registry if name.startswith("koopctrl/"))
each_env = pytest.mark.parametrize("name", IDS)


def make(name: str, **options) -> PlantEnv:
    env = gymnasium.make(name, **options).unwrapped
    assert isinstance(env, PlantEnv)
    return env


def width(plant: Plant) -> np.ndarray:
    return np.subtract(plant.x0_high, plant.x0_low)


NOISY = {"process_noise": 0.01, "measurement_noise": 0.02}


@each_env
def test_copies_and_pickles_go_on_with_the_same_bits(name):
    env = make(name, **NOISY)
    env.reset(seed=11)
    rng = np.random.default_rng(0)
    u = env.input_reference + 0.05 * rng.uniform(-1, 1, (6, env.plant.n_u)) * np.subtract(
        env.plant.u_max, env.plant.u_min
    )
    for k in range(3):
        env.step(u[k])
    rows = []
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env)), env):
        rows.append([twin.step(u[k])[0] for k in range(3, 6)])
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[1], rows[2])


@each_env
def test_batches_with_the_same_seed_have_the_same_bits_whatever_their_size(name):
    env = make(name)
    rng = np.random.default_rng(1)
    low, high = np.array(env.plant.u_min), np.array(env.plant.u_max)
    u = env.input_reference + 0.05 * rng.uniform(-1, 1, (4, 5, env.plant.n_u)) * (high - low)

    def run(n: int) -> list[np.ndarray]:
        envs = PlantVectorEnv(n, type(env), **NOISY)
        rows = [envs.reset(seed=3)[0][:2]]
        for row in u:
            rows.append(envs.step(row[:n])[0][:2])
        return rows

    first = run(5)
    np.testing.assert_array_equal(first, run(5))
    # Of fewer copies numpy may take a loop of another width: the last digit alone.
    np.testing.assert_allclose(first, run(2), rtol=1e-9, atol=1e-10)


@each_env
def test_equilibria_stay_put_for_ten_thousand_steps(name):
    plant = make(name).plant
    for x, u in zip(plant.equilibria, plant.equilibrium_inputs, strict=True):
        K = holding_gain(plant, x, u)
        state, seen = x, set()
        for _ in range(10_000):
            state = plant.step(state, u - K @ (state - x))
            np.testing.assert_allclose((state - x) / width(plant), 0.0, atol=1e-11)
            # The same bits again: from here on it goes round for ever.
            if (bits := state.tobytes()) in seen:
                break
            seen.add(bits)


def holding_gain(plant: Plant, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Feedback against rounding, which an unstable equilibrium would blow up; none where there is no need."""
    A, B = jacobians(plant, x, u)
    if np.abs(np.linalg.eigvals(A)).max() < 1.0 + 1e-6:
        return np.zeros((plant.n_u, plant.n_x))
    size, reach = width(plant), np.subtract(plant.u_max, plant.u_min)
    A, B = A / size[:, None] * size, B / size[:, None] * reach
    P = solve_discrete_are(A, B, np.eye(plant.n_x), np.eye(plant.n_u))
    return np.linalg.solve(B.T @ P @ B + np.eye(plant.n_u), B.T @ P @ A) * reach[:, None] / size


def jacobians(plant: Plant, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return plant.jacobians(x, u, plant.dt)


@pytest.mark.parametrize(
    ("plant", "x0", "lift"),
    [
        (Pendulum(b=0.0), [2.5, 1.0], 2.0 * 9.81),
        (CartPole(b=0.0, c=0.0), [0.0, 0.0, 2.0, 1.0], 2.0 * 0.1 * 9.8 * 0.5),
        (Arm(b=0.0, c=0.0, g=9.81), [0.5, 1.0, 1.0, -1.0], 2.0 * 9.81 * (1.4 * 0.11 + 0.30 + 0.16)),
        # In a horizontal plane, over the same energy.
        (Arm(b=0.0, c=0.0), [0.5, 1.0, 2.0, -1.0], 2.0 * 9.81 * (1.4 * 0.11 + 0.30 + 0.16)),
        (Acrobot(b=0.0), [2.0, 0.5, 0.0, 0.0], 2.0 * 9.81 * (0.5 + 1.0 + 1.0)),
    ],
    ids=["pendulum", "cart-pole", "arm", "arm, level", "acrobot"],
)
def test_without_friction_energy_drifts_no_further_than_stated(plant, x0, lift):
    x, energies = np.array(x0), [plant.energy(x0, math)]
    at_rest = np.zeros(plant.n_u)
    for _ in range(10_000):
        x = plant.step(x, at_rest)
        energies.append(plant.energy(x.tolist(), math))
    assert np.ptp(energies) <= plant.energy_drift * lift
    # It does move: the test is none of a plant at rest.
    assert np.abs(x - x0).max() > 0.1


@each_env
def test_energy_is_lost_to_friction_alone_and_drift_is_stated_where_there_is_an_energy(name):
    plant = make(name).plant
    assert hasattr(plant, "energy") == (plant.energy_drift is not None)
    if plant.energy_drift is None:
        return
    # The derivative of the energy along the motion, by finite differences, is the power of friction.
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = plant.draw_start(rng) + rng.uniform(-1, 1, plant.n_x)
        slope, e = plant.rhs(x, np.zeros(plant.n_u)), 1e-6
        power = (plant.energy(x + e * slope) - plant.energy(x - e * slope)) / (2.0 * e)
        assert power <= 1e-7 * (1.0 + abs(plant.energy(x)))


@each_env
def test_observation_boxes_are_of_the_size_of_what_is_observed(name):
    env = make(name)
    plant = env.plant
    rng = np.random.default_rng(2)
    x = np.array([plant.draw_start(rng) for _ in range(60)])
    u, reached = rng.uniform(plant.u_min, plant.u_max, (60, plant.n_u)), [plant.output(x)]
    for _ in range(30 if plant.n_x > 10 else 100):
        ends = np.where(rng.random(u.shape) < 0.5, plant.u_min, plant.u_max)
        u = np.where(rng.random(u.shape) < 0.1, ends, u)
        x = plant.step(x, u)
        reached.append(plant.output(x))
        x[((x < plant.x_min) | (x > plant.x_max)).any(axis=1)] = plant.draw_start(rng)
    box = env.observation_space.high - env.observation_space.low
    assert (box <= 8.0 * np.ptp(np.concatenate(reached), axis=0)).all()


@each_env
def test_parameters_out_of_range_are_refused_by_name(name):
    plant = make(name).plant
    for field in dataclasses.fields(plant):
        with pytest.raises(KoopctrlError, match=field.name):
            dataclasses.replace(plant, **{field.name: float("nan")})
    for parameter in ("dt", *plant.positive):
        for value in (0.0, -1.0):
            with pytest.raises(KoopctrlError, match=f"{parameter} is {value}; expected a positive number"):
                dataclasses.replace(plant, **{parameter: value})
    for parameter in plant.nonnegative:
        assert getattr(dataclasses.replace(plant, **{parameter: 0.0}), parameter) == 0.0
        with pytest.raises(KoopctrlError, match=f"{parameter} is -1.0; expected zero or a positive number"):
            dataclasses.replace(plant, **{parameter: -1.0})
    for parameter in ("n_substeps", *plant.integers):
        for value in (0, -1, 2.5):
            with pytest.raises(KoopctrlError, match=f"{parameter} is {value}"):
                dataclasses.replace(plant, **{parameter: value})


@each_env
def test_bad_actions_and_modes_are_refused_and_change_nothing(name):
    env = make(name)
    n_u = env.plant.n_u
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(np.zeros(n_u))
    _, before = env.reset(seed=0)
    for action, message in (
        (np.zeros(n_u + 1), r"action has shape .* expected"),
        (np.zeros((1, n_u)), r"action has shape .* expected"),
        (np.full(n_u, np.nan), "action is .*NaN"),
        (np.full(n_u, -np.inf), "action is .*infinity"),
        (["full"] * n_u, "action has dtype"),
    ):
        with pytest.raises(KoopctrlError, match=message):
            env.step(action)
    beyond = 2.0 * np.array(env.plant.u_max) + 1.0
    _, _, _, _, info = env.step(beyond)
    assert info["clipped"] is True
    assert env.step(env.input_reference)[4]["clipped"] is False
    strict = make(name, out_of_bounds="refuse")
    strict.reset(seed=0)
    with pytest.raises(KoopctrlError, match=r"action is .* expected entries from .* Clip it"):
        strict.step(beyond)
    np.testing.assert_array_equal(strict.step(env.plant.u_max)[4]["x"], info["x"])
    np.testing.assert_array_equal(info["u"], env.plant.u_max)
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], env.plant.u_max))
    with pytest.raises(ValueError, match="render_mode is 'ascii'; expected 'rgb_array', 'human' or None"):
        type(env)(render_mode="ascii")
    with pytest.raises(ValueError, match="x0 has shape"):
        env.reset(options={"x0": np.zeros(env.plant.n_x + 1)})


def test_there_are_eighteen_plants_and_all_are_exported():
    envs = {type(make(name)) for name in IDS}
    # Variants are plants with other outputs or valves: they do not count twice.
    families = {next(c for c in env.plant_class.__mro__ if Plant in c.__bases__) for env in envs}
    assert len(families) >= 18
    assert {env.__name__ for env in envs} <= set(koopctrl_envs.__all__)
