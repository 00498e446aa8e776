"""The gymnasium side: the standard checker, episodes, spaces that hold, starts."""

import subprocess
import sys
import warnings
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import koopctrl_envs
from koopctrl_envs import Plant, PlantEnv

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
def test_check_env_has_nothing_to_say(name):
    # Without noise it is checked below.
    check_env(make(name, normalized_action=True, process_noise=0.1, measurement_noise=0.1))


@each_env
def test_check_env_in_physical_units_only_recommends_another_scale(name):
    # Actions are inputs in their own units, on which feedback laws and models rely. Gymnasium recommends
    # [-1, 1] for every Box (its own Pendulum-v1 differs too); `normalized_action=True` is for that.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(make(name), skip_render_check=True)  # done above
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
