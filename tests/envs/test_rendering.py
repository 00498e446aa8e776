"""Pictures: of every plant, in every mode, showing what the plant does and changing nothing of it."""

import copy
import pickle
import subprocess
import sys

import gymnasium
import matplotlib.colors
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import koopctrl_envs  # noqa: F401
from koopctrl_envs import PlantEnv
from koopctrl_envs.rendering.style import BODY, REFERENCE, SIGNALS, WATER

IDS = sorted(name for name in gymnasium.registry if name.startswith("koopctrl/"))
each_env = pytest.mark.parametrize("name", IDS)


def make(name: str, render_mode: str | None = "rgb_array", **kwargs) -> PlantEnv:
    env = gymnasium.make(
        name if "/" in name else f"koopctrl/{name}-v0", render_mode=render_mode, **kwargs
    ).unwrapped
    assert isinstance(env, PlantEnv)
    return env


def run(env: PlantEnv, n: int) -> np.ndarray:
    """Final state after `n` steps under inputs that are the same for every env."""
    env.reset(seed=5)
    rng = np.random.default_rng(0)
    low, high = np.array(env.plant.u_min), np.array(env.plant.u_max)
    info = {}
    for _ in range(n):
        u = env.input_reference + 0.1 * rng.uniform(-1, 1, env.plant.n_u) * (high - low)
        info = env.step(u)[4]
    return info["x"]


def pixels(picture: np.ndarray, colour: str) -> np.ndarray:
    """Rows and columns, `(n, 2)`, of the left half that have a colour."""
    rgb = np.round(255 * np.array(matplotlib.colors.to_rgb(colour))).astype(int)
    return np.argwhere((np.abs(picture[:, :310].astype(int) - rgb) <= 3).all(axis=2))


@each_env
def test_a_picture_is_drawn_changes_with_the_state_and_is_the_same_again(name):
    env = make(name)
    run(env, 3)
    first, again = env.render(), env.render()
    assert first.shape == (360, 640, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 20
    env.step(env.plant.u_max)
    assert (env.render() != first).sum() > 100
    other = make(name)
    run(other, 3)
    np.testing.assert_array_equal(other.render(), first)
    env.close()


@pytest.mark.parametrize("name", ["Pendulum", "PHNeutralization"])
def test_pictures_change_nothing(name):
    plain, drawn = make(name, None), make(name)
    drawn.reset()
    drawn.render()
    np.testing.assert_array_equal(run(plain, 5), run(drawn, 5))


@pytest.mark.parametrize("name", ["CartPole", "Duffing"])
def test_check_env_has_nothing_to_say_of_envs_that_draw(name):
    check_env(make(name, normalized_action=True))


@pytest.mark.parametrize("name", ["Burgers", "CartPole", "TwoTanks"])
def test_the_window_follows_by_itself(name):
    env = make(name, "human")
    env.reset(seed=0)
    env.step(env.input_reference)
    shown = env._frame.array()
    env.step(env.plant.u_max)
    assert (env._frame.array() != shown).any()
    assert env.render() is None
    env.close()
    assert env._frame is None


def test_pictures_pile_up_in_a_list():
    env = gymnasium.make("koopctrl/Pendulum-v0", render_mode="rgb_array_list")
    env.reset(seed=0)
    for _ in range(3):
        env.step([1.0])
    frames = env.render()
    assert np.shape(frames) == (4, 360, 640, 3)
    assert any((a != b).any() for a, b in zip(frames[1:], frames[:-1], strict=True))


def test_envs_that_draw_can_be_copied_and_pickled():
    env = make("CartPole")
    run(env, 3)
    first = env.render()
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        np.testing.assert_array_equal(twin.render(), first)
        twin.step([5.0])
        assert (twin.render() != first).any()
    np.testing.assert_array_equal(env.render(), first)


def test_what_render_cannot_do_is_said():
    env = make("Pendulum", None)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        make("Pendulum").render()


def test_no_picture_no_matplotlib():
    code = """
import sys, gymnasium
env = gymnasium.make("koopctrl_envs:koopctrl/TwoTanks-v0")
env.reset(seed=0)
env.step(env.action_space.sample())
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_film_runs_in_real_time_where_it_can():
    assert make("Quadrotor").metadata["render_fps"] == 50
    assert make("Pendulum").metadata["render_fps"] == 20
    assert make("PHNeutralization").metadata["render_fps"] == 20
    assert gymnasium.make("koopctrl/Quadrotor-v0").metadata["render_fps"] == 50


def test_levels_are_drawn_to_scale():
    env = make("TwoTanks")
    env.reset(options={"x0": [1.0, 2.0]})
    low = len(pixels(env.render(), WATER))
    env.reset(options={"x0": [2.0, 4.0]})
    assert len(pixels(env.render(), WATER)) == pytest.approx(2 * low, rel=0.1)


def test_the_pendulum_hangs_where_its_angle_says():
    env = make("Pendulum")
    centres = []
    for theta in (0.0, np.pi / 2, np.pi, -np.pi / 2):
        env.reset(options={"x0": [theta, 0.0]})
        centres.append(pixels(env.render(), SIGNALS[0]).mean(axis=0))
    up, left, down, right = np.array(centres)
    # Rows grow downward; positive angles are counter-clockwise from upright.
    assert up[0] < left[0] == pytest.approx(right[0], abs=2.0)
    assert right[0] < down[0]
    assert left[1] < up[1] == pytest.approx(down[1], abs=2.0)
    assert up[1] < right[1]
    np.testing.assert_allclose(down[0] - up[0], right[1] - left[1], atol=3.0)


def test_the_cart_and_the_quadrotor_are_where_their_states_say():
    env = make("CartPole")
    columns = []
    for p in (-2.0, 0.0, 2.0):
        env.reset(options={"x0": [p, 0.0, 0.0, 0.0]})
        columns.append(pixels(env.render(), BODY).mean(axis=0)[1])
    assert np.diff(columns) == pytest.approx([columns[1] - columns[0]] * 2, abs=2.0)
    assert columns[1] - columns[0] > 40
    env = make("Quadrotor")
    tilts = []
    for theta in (-0.5, 0.5):
        env.reset(options={"x0": [0.0, 0.0, theta, 0.0, 0.0, 0.0]})
        body = pixels(env.render(), BODY)
        tilts.append(np.polyfit(body[:, 1], -body[:, 0], 1)[0])
    assert tilts == pytest.approx([-np.tan(0.5), np.tan(0.5)], rel=0.15)


def test_set_points_that_change_between_steps_are_drawn():
    env = make("TwoTanks")
    env.reset(options={"x0": [1.0, 1.0]})
    before = pixels(env.render(), REFERENCE).mean(axis=0)[0]
    env.reference = np.array([4.0, 4.0])
    env.step(env.input_reference)
    assert pixels(env.render(), REFERENCE).mean(axis=0)[0] < before - 20


def test_the_end_of_an_episode_is_named():
    env = make("TwoTanks")
    env.reset(options={"x0": [5.9, 1.0]})
    header = env.render()[:25]
    env.step([0.5, 0.0])
    rgb = np.round(255 * np.array(matplotlib.colors.to_rgb(REFERENCE)))
    red = (np.abs(env.render()[:25].astype(int) - rgb) < 60).all(axis=2).sum()
    assert red > 20
    assert (np.abs(header.astype(int) - rgb) < 60).all(axis=2).sum() == 0
