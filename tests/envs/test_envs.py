"""The gymnasium side: the standard checker, spaces that hold, starts, inputs, noise and reward."""

import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import koopctrl_envs
from koopctrl_envs import Duffing, Pendulum, Plant, PlantEnv, VanDerPol

IDS = sorted(name for name in gymnasium.registry if name.startswith("koopctrl/"))
each_env = pytest.mark.parametrize("name", IDS)


def make(name: str, **kwargs) -> PlantEnv:
    env = gymnasium.make(name, **kwargs).unwrapped
    assert isinstance(env, PlantEnv)
    return env


def test_the_plants_of_the_package_are_registered():
    assert {"koopctrl/Duffing-v0", "koopctrl/Pendulum-v0", "koopctrl/VanDerPol-v0"} <= set(IDS)
    assert all(hasattr(koopctrl_envs, name) for name in koopctrl_envs.__all__)


@each_env
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_check_env_has_nothing_to_say(name, noise):
    check_env(make(name, normalized_action=True, process_noise=noise, measurement_noise=noise))


@each_env
def test_check_env_in_physical_units_only_recommends_another_scale(name):
    # Actions are inputs in their own units, on which feedback laws and models rely. Gymnasium recommends
    # [-1, 1] for every Box (its own Pendulum-v1 differs too); `normalized_action=True` is for that.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(make(name))
    assert [
        str(w.message) for w in caught if "recommend using a symmetric and normalized" not in str(w.message)
    ] == []
    assert len(caught) <= 1


def test_the_module_prefix_registers_on_its_own():
    code = """
import sys, gymnasium
env = gymnasium.make("koopctrl_envs:koopctrl/VanDerPol-v0")
env.reset(seed=0)
env.step(env.action_space.sample())
for other in ("koopctrl", "casadi", "control"):
    assert other not in sys.modules, other
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@each_env
def test_vectorised_envs_work(name):
    envs = gymnasium.make_vec(name, num_envs=3)
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (3, *make(name).observation_space.shape)
    observations, rewards, *_ = envs.step(envs.action_space.sample())
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()
    envs.close()


@each_env
def test_an_episode_is_the_plant_stepped(name):
    env = make(name)
    plant = env.plant
    assert env.dt == plant.dt
    y, info = env.reset(seed=1)
    x = info["x"]
    assert info["t"] == 0.0
    np.testing.assert_array_equal(info["u"], np.zeros(plant.n_u))
    np.testing.assert_array_equal(y, plant.output(x))
    rng = np.random.default_rng(0)
    for k in range(50):
        u = rng.uniform(plant.u_min, plant.u_max)
        y, reward, terminated, truncated, info = env.step(u)
        x = plant.step(x, u)
        np.testing.assert_array_equal(info["x"], x)
        np.testing.assert_array_equal(y, plant.output(x))
        np.testing.assert_array_equal(info["u"], u)
        assert info["t"] == (k + 1) * plant.dt
        assert isinstance(reward, float)
        assert terminated is truncated is False


@each_env
def test_the_same_seed_gives_the_same_bits(name):
    def run(seed: int) -> list[np.ndarray]:
        env = make(name, process_noise=0.1, measurement_noise=0.2)
        rows = [env.reset(seed=seed)[0]]
        env.action_space.seed(0)
        for _ in range(30):
            y, reward, _, _, info = env.step(env.action_space.sample())
            rows += [y, np.array(reward), info["x"]]
        return [*rows, env.reset()[0]]

    first, again, other = run(7), run(7), run(8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@each_env
def test_time_truncates_and_nothing_terminates(name):
    env = gymnasium.make(name)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]
    env = gymnasium.make(name, max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(3)] == [False, False, True]


PARAMETERS = {
    "VanDerPol": [{}, {"mu": 3.0}, {"u_min": 0.0, "u_max": 2.0}, {"u_min": -10.0, "u_max": 10.0}],
    "Duffing": [{}, {"delta": 5.0}, {"alpha": 1.0, "u_min": -2.0, "u_max": 2.0}],
    "Pendulum": [{}, {"b": 0.5, "l": 0.5}],
}


@each_env
def test_observations_stay_in_the_box_under_the_worst_inputs(name):
    for parameters in PARAMETERS.get(name.split("/")[1].removesuffix("-v0"), [{}]):
        env = make(name, disturbance=0.5, process_noise=0.2, **parameters)
        plant, space = env.plant, env.observation_space
        assert np.isfinite([space.low, space.high]).all()
        assert space.dtype == np.float64
        low = np.array(plant.u_min) + 0.5 - 5 * 0.2
        high = np.array(plant.u_max) + 0.5 + 5 * 0.2
        rng = np.random.default_rng(0)
        # Three hundred trajectories side by side: bang-bang in step with the motion (full power into an
        # oscillator), bang-bang at random, held at random, and anything in between.
        x = rng.uniform(plant.start_low, plant.start_high, (300, plant.n_x))
        corners = np.where(rng.random(x.shape) < 0.5, plant.start_low, plant.start_high)
        x = np.where(np.arange(300)[:, None] % 2, x, corners)
        law = np.arange(300)[:, None] // 2 % 4
        held = rng.uniform(low, high, (300, plant.n_u))
        for _ in range(250):
            coin = rng.random((2, 300, plant.n_u))
            held = np.where(coin[0] < 0.05, low + coin[1] * (high - low), held)
            power, chance = np.where(x[:, -1:] > 0.0, high, low), np.where(coin[1] < 0.5, low, high)
            u = np.choose(law, [power, chance, held, rng.uniform(low, high, held.shape)])
            x = plant.step(x, u)
            y = plant.output(x)
            assert (y >= space.low).all()
            assert (y <= space.high).all()


def test_the_box_is_not_much_wider_than_what_is_reached():
    env = make("koopctrl/Duffing-v0")
    x, _ = env.reset(options={"x0": [5.0, 5.0]})
    reached = np.abs(x)
    for _ in range(300):
        x = env.step(env.plant.u_max if x[1] > 0 else env.plant.u_min)[0]
        reached = np.maximum(reached, np.abs(x))
    assert (env.observation_space.high < 1.3 * reached).all()


def test_the_box_holds_rest_points_that_are_only_crept_up_to():
    env = make("koopctrl/VanDerPol-v0", u_min=-10.0, u_max=10.0)
    rest = np.array([10.0, 0.0])
    np.testing.assert_allclose(env.plant.rhs(rest, [10.0]), 0.0, atol=1e-12)
    assert env.observation_space.contains(rest)
    swing = rest
    for _ in range(30):
        swing = env.plant.step(swing, [-10.0])
        assert env.observation_space.contains(swing)


def test_a_plant_without_bounds_is_refused():
    with pytest.raises(ValueError, match="raise n_substeps"):
        make("koopctrl/VanDerPol-v0", mu=100.0, n_substeps=1)


@each_env
def test_starts_are_drawn_from_the_box_or_given(name):
    env = make(name)
    plant = env.plant
    starts = np.array([env.reset(seed=i)[1]["x"] for i in range(50)])
    assert (starts >= plant.x0_low).all()
    assert (starts <= plant.x0_high).all()
    assert starts.std(axis=0).min() > 0.1
    given = np.array(plant.start_high)
    _, info = env.reset(options={"x0": given})
    np.testing.assert_array_equal(info["x"], given)
    info["x"][:] = 0.0
    np.testing.assert_array_equal(given, plant.start_high)
    _, info = env.reset(seed=0, options={"x0_low": [0.1, 0.2], "x0_high": [0.1, 0.2]})
    np.testing.assert_allclose(info["x"], [0.1, 0.2])
    assert np.abs(env.reset(seed=0, options={"x0_low": -0.1, "x0_high": 0.1})[1]["x"]).max() <= 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x0": [1.0]}, r"x0 has shape \(1,\); expected \(2,\)"),
        ({"x0": [[1.0, 2.0]]}, r"x0 has shape \(1, 2\)"),
        ({"x0": [np.nan, 0.0]}, "x0 is .*NaN"),
        ({"x0": [np.inf, 0.0]}, "x0 is .*infinity"),
        ({"x0": ["a", "b"]}, "x0 has dtype"),
        ({"x0": [6.0, 0.0]}, r"x0 is \[6.0, 0.0\]; expected a start between \[-5.0, -5.0\]"),
        ({"x0_low": 1.0, "x0_high": -1.0}, "x0_low"),
        ({"x0_low": -9.0}, "the box is"),
        ({"x0": [0.0, 0.0], "x0_low": 0.0}, "both"),
        ({"start": [0.0, 0.0]}, r"options has \['start'\]; expected x0"),
    ],
)
def test_bad_starts_are_refused_clearly(options, message):
    with pytest.raises(ValueError, match=message):
        make("koopctrl/VanDerPol-v0").reset(options=options)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([np.nan], "action is .*NaN"),
        ([np.inf], "action is .*infinity"),
        ([1.0, 2.0], r"action has shape \(2,\); expected \(1,\)"),
        ([[1.0]], r"action has shape \(1, 1\)"),
        (None, "action has dtype"),
        ([1j], "action has dtype complex128"),
    ],
)
def test_bad_actions_are_refused_and_leave_the_state_alone(action, message):
    env = make("koopctrl/VanDerPol-v0")
    _, before = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    _, _, _, _, info = env.step([0.0])
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], [0.0]))
    assert info["t"] == env.dt


def test_actions_are_clipped_and_a_scalar_will_do():
    env = make("koopctrl/VanDerPol-v0")
    _, before = env.reset(seed=0)
    action = np.array([100.0])
    _, _, _, _, info = env.step(action)
    assert action[0] == 100.0
    np.testing.assert_array_equal(info["u"], [3.0])
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], [3.0]))
    np.testing.assert_array_equal(env.step(-1.5)[4]["u"], [-1.5])


def test_normalized_actions_span_the_limits():
    env = make("koopctrl/VanDerPol-v0", normalized_action=True, u_min=-1.0, u_max=3.0)
    env.reset(seed=0)
    assert [env.step([a])[4]["u"][0] for a in (-1.0, 0.0, 1.0, 2.0)] == [-1.0, 1.0, 3.0, 3.0]


def test_a_step_before_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        make("koopctrl/VanDerPol-v0").step([0.0])


def test_the_reward_is_the_quadratic_one():
    Q, R, r = np.array([[2.0, 0.5], [0.5, 1.0]]), 0.3, np.array([1.0, -1.0])
    env = make("koopctrl/VanDerPol-v0", Q=Q, R=R, reference=r, measurement_noise=0.5)
    env.reset(seed=0)
    _, reward, _, _, info = env.step([2.0])
    error = info["x"] - r
    assert reward == pytest.approx(-(error @ Q @ error + 0.3 * 4.0), rel=1e-14)
    env = make("koopctrl/Pendulum-v0")
    env.reset(options={"x0": [0.0, 0.0]})
    assert env.step([0.0])[1] == 0.0
    np.testing.assert_array_equal(env.reference, [1.0, 0.0, 0.0])


def test_the_disturbance_acts_on_the_input_unseen():
    env = make("koopctrl/Duffing-v0", disturbance=2.0)
    _, before = env.reset(seed=0)
    _, _, _, _, info = env.step([10.0])
    np.testing.assert_array_equal(info["u"], [10.0])
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], [12.0]))


def test_noise_has_its_spread_and_stays_in_the_box():
    env = make("koopctrl/Duffing-v0", measurement_noise=[0.1, 0.2])
    quiet = make("koopctrl/Duffing-v0")
    np.testing.assert_allclose(env.observation_space.high - quiet.observation_space.high, [0.5, 1.0])
    errors = []
    y, info = env.reset(seed=0, options={"x0": [0.0, 0.0]})
    for _ in range(2000):
        errors.append(y - info["x"])
        y, _, _, _, info = env.step([0.0])
    np.testing.assert_allclose(np.std(errors, axis=0), [0.1, 0.2], rtol=0.1)
    np.testing.assert_array_equal(info["x"], [0.0, 0.0])


def test_process_noise_moves_the_state_through_the_input():
    env = make("koopctrl/Duffing-v0", process_noise=0.5)
    env.reset(seed=0, options={"x0": [0.0, 0.0]})
    _, _, _, _, info = env.step([0.0])
    assert np.abs(info["x"]).max() > 0.0
    np.testing.assert_array_equal(info["u"], [0.0])
    assert (env.observation_space.high > make("koopctrl/Duffing-v0").observation_space.high).all()


def test_parameters_reach_the_plant():
    env = make("koopctrl/VanDerPol-v0", mu=2.0, dt=0.05, u_max=1.0, u_min=-1.0)
    assert env.plant == VanDerPol(mu=2.0, dt=0.05, u_max=1.0, u_min=-1.0)  # pyright: ignore
    assert env.dt == 0.05
    np.testing.assert_array_equal(env.action_space.high, [1.0])
    assert make("koopctrl/Pendulum-v0", plant=Pendulum(m=2.0), l=0.5).plant == Pendulum(m=2.0, l=0.5)
    assert make("koopctrl/Duffing-v0").plant == Duffing()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mass": 2.0}, "mass is no parameter of VanDerPol; it has dt"),
        ({"Q": -1.0}, "Q has a negative eigenvalue"),
        ({"Q": [[1.0, 2.0], [0.0, 1.0]]}, "Q is not symmetric"),
        ({"Q": np.ones((3, 3))}, r"Q has shape \(3, 3\)"),
        ({"R": [[np.nan]]}, "R has NaN"),
        ({"reference": [1.0]}, r"reference has shape \(1,\)"),
        ({"process_noise": -0.1}, "process_noise"),
        ({"measurement_noise": [0.1, 0.1, 0.1]}, "measurement_noise has shape"),
        ({"disturbance": np.nan}, "disturbance"),
        ({"render_mode": "human"}, "render_mode"),
    ],
)
def test_bad_settings_are_refused_clearly(kwargs, message):
    with pytest.raises(ValueError, match=message):
        koopctrl_envs.VanDerPolEnv(**kwargs)


@dataclass(frozen=True, kw_only=True)
class Tank(Plant):
    state_names: ClassVar = ("level",)
    state_units: ClassVar = ("m",)
    input_names: ClassVar = ("inflow", "leak")
    input_units: ClassVar = ("m/s", "m/s")
    output_names: ClassVar = ("level",)
    output_units: ClassVar = ("m",)

    rate: float = 0.5
    dt: float = 0.1
    n_substeps: int = 1
    u_min: tuple[float, ...] = (0.0, 0.0)
    u_max: tuple[float, ...] = (1.0, 0.5)
    x0_low: tuple[float, ...] = (0.0,)
    x0_high: tuple[float, ...] = (1.0,)
    start_low: tuple[float, ...] = (0.0,)
    start_high: tuple[float, ...] = (2.0,)

    def rhs_components(self, x, u, xp=np):
        return (-self.rate * x[0] + u[0] - u[1],)

    def output_bounds(self, u_low, u_high):
        rest = np.array([u_low[0] - u_high[1], u_high[0] - u_low[1]]) / self.rate
        return np.minimum(self.start_low, rest[:1]), np.maximum(self.start_high, rest[1:])


def test_a_new_plant_is_a_dataclass_and_two_lines_of_env():
    class TankEnv(PlantEnv):
        plant_class = Tank

    env = TankEnv(reference=1.0, rate=0.25)
    y, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.observation_space.high, [4.0])
    y_next, reward, _, _, _ = env.step([0.5, 0.25])
    decay = np.exp(-0.025)
    np.testing.assert_allclose(y_next, decay * y + (1 - decay), rtol=1e-9)
    assert reward == pytest.approx(-((y_next[0] - 1.0) ** 2) - 0.1 * (0.5**2 + 0.25**2))
    np.testing.assert_array_equal(TankEnv().reference, [0.0])
