"""The gymnasium side: the standard checker, spaces that hold, starts, inputs, noise and reward."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
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
for other in ("koopctrl.koopman_rnn", "casadi", "control", "matplotlib", "scipy", "sklearn"):
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
    np.testing.assert_array_equal(info["u"], env.input_reference)
    np.testing.assert_array_equal(y, plant.output(x))
    rng = np.random.default_rng(0)
    for k in range(50):
        u = rng.uniform(plant.u_min, plant.u_max)
        if plant.failure(plant.step(x, u)):
            break
        y, reward, terminated, truncated, info = env.step(u)
        x = plant.step(x, u)
        np.testing.assert_array_equal(info["x"], x)
        np.testing.assert_array_equal(y, plant.output(x))
        np.testing.assert_array_equal(info["u"], u)
        assert info["t"] == (k + 1) * plant.dt
        assert isinstance(reward, float)
        assert terminated is truncated is False
        assert info["failure"] == ""


@each_env
def test_the_same_seed_gives_the_same_bits(name):
    def run(seed: int) -> list[np.ndarray]:
        env = make(name, process_noise=0.1, measurement_noise=0.2, x_min=-np.inf, x_max=np.inf)
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
def test_time_truncates(name):
    env = gymnasium.make(name, max_episode_steps=3)
    env.reset(seed=0)
    hold = env.unwrapped.input_reference
    ends = [env.step(hold)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert gymnasium.spec(name).max_episode_steps == 200


def outermost(plant: Plant, rng: np.random.Generator, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """States before and after steps under the worst inputs, until each of `n` trajectories has failed.

    Bang-bang in step with the motion (full power into an oscillator), bang-bang at random, held at random,
    and anything in between.
    """
    x = np.array([plant.draw_start(rng) for _ in range(n)])
    law = np.arange(n)[:, None] // 2 % 4
    low, high = np.array(plant.u_min), np.array(plant.u_max)
    held = rng.uniform(low, high, (n, plant.n_u))
    for _ in range(30 if plant.n_x > 10 else 150):
        coin = rng.random((2, len(x), plant.n_u))
        held = np.where(coin[0] < 0.05, low + coin[1] * (high - low), held)
        power, chance = np.where(x[:, -1:] > 0.0, high, low), np.where(coin[1] < 0.5, low, high)
        u = np.choose(law, [power, chance, held, rng.uniform(low, high, held.shape)])
        after = plant.step(x, u)
        yield x, after
        inside = ((after >= plant.x_min) & (after <= plant.x_max)).all(axis=1)
        if not inside.any():
            return
        x, law, held = after[inside], law[inside], held[inside]


@each_env
def test_the_observation_box_holds_every_sample_to_the_end_of_an_episode(name):
    env = make(name)
    plant, space = env.plant, env.observation_space
    assert np.isfinite([space.low, space.high]).all()
    assert space.dtype == np.float64
    for _, after in outermost(plant, np.random.default_rng(0), 60):
        y = plant.output(after)
        assert (y >= space.low).all()
        assert (y <= space.high).all()


@pytest.mark.parametrize("name", ["koopctrl/VanDerPol-v0", "koopctrl/Duffing-v0"])
def test_oscillators_are_never_driven_out_of_their_boxes(name):
    plant = make(name).plant
    for _, after in outermost(plant, np.random.default_rng(1), 60):
        assert all(plant.failure(row) == "" for row in after)


def test_leaving_the_box_ends_an_episode_and_says_why():
    env = make("koopctrl/TwoTanks-v0")
    env.reset(options={"x0": [5.9, 1.0]})
    y, _, terminated, truncated, info = env.step([0.5, 0.0])
    assert terminated
    assert not truncated
    assert info["failure"] == "h1 is 6.4, above 6 m"
    np.testing.assert_array_equal(y, info["x"])
    y, *_ = env.step([0.5, 0.0])
    for _ in range(10):
        y, *_ = env.step([0.5, 0.0])
    assert env.observation_space.contains(y)
    env = make("koopctrl/CartPole-v0")
    env.reset(options={"x0": [-2.39, -2.0, 0.0, 0.0]})
    assert env.step([0.0])[4]["failure"].startswith("p is -2.4")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("VanDerPol", {"mu": 1000.0, "n_substeps": 1}), ("PHNeutralization", {"n_substeps": 1, "dt": 1e4})],
)
def test_an_integration_that_breaks_down_is_refused(name, parameters):
    env = make(f"koopctrl/{name}-v0", **parameters)
    env.reset(seed=0)

    def run() -> None:
        for _ in range(10):
            env.step(env.plant.u_max)

    with np.errstate(all="ignore"), pytest.raises(ValueError, match="raise n_substeps"):
        run()


@each_env
def test_starts_are_drawn_from_the_box_or_given(name):
    env = make(name)
    plant = env.plant
    starts = np.array([env.reset(seed=i)[1]["x"] for i in range(50)])
    assert (starts >= plant.x0_low).all()
    assert (starts <= plant.x0_high).all()
    assert (starts.std(axis=0) > 0.1 * np.subtract(plant.x0_high, plant.x0_low)).all()
    given = np.array(plant.x0_high)
    _, info = env.reset(options={"x0": given})
    np.testing.assert_array_equal(info["x"], given)
    info["x"][:] = 0.0
    np.testing.assert_array_equal(given, plant.x0_high)
    middle = 0.5 * np.add(plant.x0_low, plant.x0_high)
    _, info = env.reset(seed=0, options={"x0_low": middle, "x0_high": middle})
    np.testing.assert_allclose(info["x"], middle)
    x = env.reset(seed=0, options={"x0_high": middle})[1]["x"]
    assert ((x >= plant.x0_low) & (x <= middle)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x0": [1.0]}, r"x0 has shape \(1,\); expected \(2,\)"),
        ({"x0": [[1.0, 2.0]]}, r"x0 has shape \(1, 2\)"),
        ({"x0": [np.nan, 0.0]}, "x0 is .*NaN"),
        ({"x0": [np.inf, 0.0]}, "x0 is .*infinity"),
        ({"x0": ["a", "b"]}, "x0 has dtype"),
        ({"x0": [7.0, 0.0]}, r"x0 is \[7.0, 0.0\]; expected a start between \[-6.0, -9.0\]"),
        ({"x0_low": 1.0, "x0_high": -1.0}, "x0_low"),
        ({"x0_low": -10.0}, "the box is"),
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
    env = make("koopctrl/Quadrotor-v0", R=2.0)
    env.reset(options={"x0": [0.0] * 6})
    assert env.step(env.input_reference)[1] == pytest.approx(0.0, abs=1e-20)
    assert make("koopctrl/Quadrotor-v0", input_reference=[1.0, 1.0]).input_reference.tolist() == [1.0, 1.0]
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


def test_another_integrator_can_be_chosen():
    env, usual = make("koopctrl/CSTR-v0", integrator="solve_ivp"), make("koopctrl/CSTR-v0")
    for e in (env, usual):
        e.reset(options={"x0": [0.7, 360.0]})
    x, other = env.step([310.0])[4]["x"], usual.step([310.0])[4]["x"]
    np.testing.assert_array_equal(x, env.plant.exact_step([0.7, 360.0], [310.0]))
    np.testing.assert_allclose(x, other, rtol=1e-6)
    stiff = make("koopctrl/VanDerPol-v0", mu=1000.0, n_substeps=1, integrator="solve_ivp")
    stiff.reset(options={"x0": [2.0, 0.0]})
    # On the slow branch of the relaxation oscillation x2 is x1/(mu (1 - x1^2)).
    x1, x2 = stiff.step([0.0])[4]["x"]
    assert x2 == pytest.approx(x1 / (1000.0 * (1.0 - x1 * x1)), rel=1e-4)


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
        ({"Q": -1.0}, "Q has smallest eigenvalue -1; expected a positive semidefinite"),
        ({"Q": [[1.0, 2.0], [0.0, 1.0]]}, "Q is not symmetric"),
        ({"Q": np.ones((3, 3))}, r"Q has shape \(3, 3\)"),
        ({"R": [[np.nan]]}, "R has 1 NaN"),
        ({"reference": [1.0]}, r"reference has shape \(1,\)"),
        ({"process_noise": -0.1}, "process_noise"),
        ({"measurement_noise": [0.1, 0.1, 0.1]}, "measurement_noise has shape"),
        ({"disturbance": np.nan}, "disturbance"),
        ({"render_mode": "ansi"}, "render_mode is 'ansi'; expected 'rgb_array', 'human' or None"),
        ({"out_of_bounds": "wrap"}, "out_of_bounds is 'wrap'; expected one of 'clip', 'refuse'"),
        ({"integrator": "euler"}, "integrator is 'euler'; expected 'rk4', 'solve_ivp' or 'cvodes'"),
        ({"input_reference": [0.0, 0.0]}, r"input_reference has shape \(2,\)"),
        ({"x_max": [np.nan, 1.0]}, "x_max is .*NaN"),
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
    x_min: tuple[float, ...] = (-1.0,)
    x_max: tuple[float, ...] = (4.0,)

    def rhs_components(self, x, u, xp=np):
        return (-self.rate * x[0] + u[0] - u[1],)


def test_a_new_plant_is_a_dataclass_and_two_lines_of_env():
    class TankEnv(PlantEnv):
        plant_class = Tank

    env = TankEnv(reference=1.0, rate=0.25)
    y, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.observation_space.high, [4.0 + 0.25 * 5.0])
    y_next, reward, _, _, _ = env.step([0.5, 0.25])
    decay = np.exp(-0.025)
    np.testing.assert_allclose(y_next, decay * y + (1 - decay), rtol=1e-9)
    assert reward == pytest.approx(-((y_next[0] - 1.0) ** 2) - 0.1 * (0.5**2 + 0.25**2))
    np.testing.assert_array_equal(TankEnv().reference, [0.0])
