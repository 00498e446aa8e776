"""gymnasium's wrappers and vector envs around the plants, with `collect` and `run_closed_loop`."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import (
    ClipAction,
    FrameStackObservation,
    MaxAndSkipObservation,
    RecordEpisodeStatistics,
    RescaleAction,
    TimeAwareObservation,
)

from koopctrl import LQR, KoopmanRNN, collect, run_closed_loop
from koopctrl.errors import OptionError, TimeBaseError

PLANT = "koopctrl_envs:koopctrl/VanDerPol-v0"
N = 25


def plain():
    return gymnasium.make(PLANT)


def rescaled():
    return RescaleAction(plain(), -1.0, 1.0)


WRAPPED = {
    "RecordEpisodeStatistics": lambda: RecordEpisodeStatistics(plain()),
    "TimeAwareObservation": lambda: TimeAwareObservation(plain()),
    "FrameStackObservation": lambda: FrameStackObservation(plain(), 3),
    "RescaleAction": rescaled,
    "ClipAction": lambda: ClipAction(plain()),
    "MaxAndSkipObservation": lambda: MaxAndSkipObservation(plain(), 3),
}
# Which entries of a wrapped observation are the plant's own.
OWN = {"FrameStackObservation": slice(4, 6)}


class Newest:
    """A controller that reads the plant's own entries, and is sent through in between."""

    def __init__(self, name):
        self.own, self.inner = OWN.get(name, slice(0, 2)), LAW
        self.dt = 0.3 if name == "MaxAndSkipObservation" else 0.1

    def reset(self):
        self.inner.reset()

    def control(self, measurement, reference=None):
        return self.inner.control(measurement[self.own])


@pytest.fixture(scope="module", autouse=True)
def law():
    global LAW
    data = collect(plain(), n_episodes=20, seed=0, max_steps=60)
    LAW = LQR(KoopmanRNN(40, random_state=0).fit(data).lift_at(0.0, 0.0, method="edmd"), 1.0, 0.1)


def replayed(inputs, x0, repeats=1):
    """The plant's states under these inputs: what must have been recorded."""
    plant = plain().unwrapped.plant
    states = [np.array(x0)]
    for u in inputs:
        x = states[-1]
        for _ in range(repeats):
            x = plant.step(x, u)
        states.append(x)
    return np.array(states)


@pytest.mark.parametrize("name", WRAPPED)
def test_collected_records_are_the_plants(name):
    env = WRAPPED[name]()
    data = collect(env, n_episodes=3, seed=0, max_steps=N)
    repeats = 3 if name == "MaxAndSkipObservation" else 1
    assert data.dt == pytest.approx(0.1 * repeats)
    assert (len(data), data.n_steps) == (3, 3 * N)
    for episode in data:
        own = episode.outputs[:, OWN.get(name, slice(0, 2))]
        if name == "MaxAndSkipObservation":  # shows the larger of the last two samples
            truth = replayed(episode.inputs, own[0], repeats)
            assert np.abs(own - truth).max() < 1.0
        else:
            np.testing.assert_allclose(own, replayed(episode.inputs, own[0]), atol=1e-6)
    assert (
        1.0 < np.abs(data[0].inputs).max() <= 3.0 or np.abs(data[1].inputs).max() > 1.0
    )  # in physical units
    again = collect(WRAPPED[name](), n_episodes=3, seed=0, max_steps=N)
    np.testing.assert_array_equal(data[2].outputs, again[2].outputs)


@pytest.mark.parametrize("name", WRAPPED)
def test_closed_loops_run_through_wrappers(name):
    env, controller = WRAPPED[name](), Newest(name)
    result = run_closed_loop(env, controller, N, seed=0, x0=[0.5, 0.0])
    repeats = 3 if name == "MaxAndSkipObservation" else 1
    assert result.dt == pytest.approx(0.1 * repeats)
    assert result.n_steps == N
    np.testing.assert_allclose(result.states, replayed(result.inputs, [0.5, 0.0], repeats), atol=1e-6)


def test_a_controller_of_another_sample_time_is_refused_where_actions_are_repeated():
    with pytest.raises(TimeBaseError, match=r"0\.3 s and 0\.1 s"):
        run_closed_loop(WRAPPED["MaxAndSkipObservation"](), LAW, N)


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_vector_envs_are_collected_from_and_refused_by_loops(kind):
    envs = kind([plain] * 3)
    try:
        data = collect(envs, n_episodes=5, seed=0, max_steps=N)
        assert [len(e) for e in data] == [N + 1] * 5
        for e in data:
            np.testing.assert_allclose(e.outputs, replayed(e.inputs, e.outputs[0]), atol=1e-9)
        starts = np.array([e.outputs[0] for e in data])
        assert len(np.unique(starts, axis=0)) == 5
        with pytest.raises(OptionError, match="vector env"):
            run_closed_loop(envs, LAW, N)
    finally:
        envs.close()


def test_rescaled_actions_are_recorded_in_the_plants_units():
    env = rescaled()
    data = collect(env, lambda y: np.array([0.5], dtype=np.float32), n_episodes=1, seed=0, max_steps=5)
    np.testing.assert_allclose(data[0].inputs, 1.5, rtol=1e-6)  # half of 3


@pytest.mark.parametrize("name", ["RecordEpisodeStatistics", "ClipAction"])
def test_gymnasium_finds_nothing_wrong(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(WRAPPED[name]().unwrapped, skip_render_check=True)


@pytest.mark.parametrize("mode", [None, "rgb_array"])
def test_envs_are_made_as_learning_libraries_make_them(mode):
    """`make_vec_env` of stable-baselines3 asks for pictures, whether they are used or not."""
    env = gymnasium.make(PLANT, render_mode="rgb_array" if mode is None else mode)
    env = RecordEpisodeStatistics(env)
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.render().shape == (360, 640, 3)
    env.close()
