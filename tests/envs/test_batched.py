"""Batches of plants: the answers of gymnasium's own SyncVectorEnv around single envs."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import koopctrl_envs  # noqa: F401
from koopctrl import collect
from koopctrl_envs import PlantVectorEnv, VanDerPolEnv

IDS = sorted(name for name in gymnasium.registry if name.startswith("koopctrl/"))
MODES = list(AutoresetMode)


def twins(name: str, mode: AutoresetMode, n: int = 5, steps: int = 12, **options):
    batched = gymnasium.make_vec(
        name,
        n,
        vectorization_mode="vector_entry_point",
        autoreset_mode=mode,
        max_episode_steps=steps,
        **options,
    )
    sync = gymnasium.make_vec(
        name,
        n,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_episode_steps=steps,
        **options,
    )
    return batched, sync


def assert_same(ours, theirs) -> None:
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        if isinstance(value, dict):
            assert_same(ours[key], value)
        elif key.startswith("_"):
            np.testing.assert_array_equal(ours[key], value)
        else:
            mask = theirs.get("_" + key, np.ones(len(value), dtype=bool))
            for mine, other in zip(ours[key][mask], value[mask], strict=True):
                if key == "failure":
                    assert mine == other
                else:
                    np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_batch_answers_as_single_envs_do(name, mode):
    noise = {"measurement_noise": 0.01, "process_noise": 0.02, "disturbance": 0.01}
    batched, sync = twins(name, mode, **noise)
    assert batched.metadata["autoreset_mode"] is mode
    assert batched.observation_space == sync.observation_space
    assert batched.action_space == sync.action_space
    (y, info), (y_s, info_s) = batched.reset(seed=3), sync.reset(seed=3)
    np.testing.assert_allclose(y, y_s, rtol=1e-12)
    assert_same(info, info_s)
    rng = np.random.default_rng(0)
    space = sync.single_action_space
    held = rng.uniform(space.low, space.high, sync.action_space.shape)
    for k in range(30):
        if k % 10 == 0:
            # Now and then beyond the space: clipped, and told.
            held = 1.1 * rng.uniform(space.low, space.high, sync.action_space.shape)
        ours, theirs = batched.step(held), sync.step(held)
        for mine, other in zip(ours[:2], theirs[:2], strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-10)
        np.testing.assert_array_equal(ours[2], theirs[2])
        np.testing.assert_array_equal(ours[3], theirs[3])
        assert_same(ours[4], theirs[4])
        ended = ours[2] | ours[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            (y, _), (y_s, _) = (e.reset(options={"reset_mask": ended}) for e in (batched, sync))
            np.testing.assert_allclose(y[ended], y_s[ended], rtol=1e-12)


def test_episodes_that_fail_are_named_and_begun_anew():
    batched, sync = twins("koopctrl/TwoTanks-v0", AutoresetMode.SAME_STEP, n=2, steps=100)
    for envs in (batched, sync):
        envs.reset(seed=0, options={"x0": [5.9, 1.0]})
    for envs in (batched, sync):
        _, _, terminated, truncated, info = envs.step([[0.5, 0.0], [0.0, 1.0]])
        assert terminated.tolist() == [True, False]
        assert not truncated.any()
        assert info["final_info"]["failure"][0] == "h1 is 6.4, above 6 m"
        np.testing.assert_allclose(info["final_obs"][0], [6.4, 1.0 - 0.3], atol=0.05)
        assert info["failure"].tolist() == ["", ""]
        assert info["t"].tolist() == [0.0, 1.0]


def test_batches_are_recorded_like_single_envs():
    envs = gymnasium.make_vec("koopctrl/VanDerPol-v0", 4, max_episode_steps=20)
    assert isinstance(envs.unwrapped, PlantVectorEnv)
    data = collect(envs, n_episodes=6, seed=0)
    single = collect(gymnasium.make("koopctrl/VanDerPol-v0", max_episode_steps=20), n_episodes=1, seed=0)
    assert [len(e.inputs) for e in data] == [20] * 6
    np.testing.assert_allclose(data[0].states[0], single[0].states[0], rtol=1e-12)
    for episode in data:
        for k in range(20):
            step = envs.unwrapped.plant.step(episode.states[k], episode.inputs[k])
            np.testing.assert_allclose(episode.states[k + 1], step, rtol=1e-9, atol=1e-12)


def test_copies_and_pickles_go_on_alike():
    envs = gymnasium.make_vec("koopctrl/CartPole-v0", 3, measurement_noise=0.1)
    envs.reset(seed=0)
    envs.step(np.ones((3, 1)))
    answers = [
        e.step(np.zeros((3, 1)))[0] for e in (copy.deepcopy(envs), pickle.loads(pickle.dumps(envs)), envs)
    ]
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_array_equal(answers[1], answers[2])


def test_nothing_handed_out_is_read_back_and_nothing_passed_in_is_written_to():
    envs, other = (gymnasium.make_vec("koopctrl/Pendulum-v0", 2) for _ in range(2))
    (y, info), _ = envs.reset(seed=1), other.reset(seed=1)
    for value in (y, info["x"], info["u"], info["t"]):
        value[:] = 99.0
    actions = np.full((2, 1), 100.0)
    ours, theirs = envs.step(actions), other.step(actions)
    assert (actions == 100.0).all()
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[4]["u"], np.full((2, 1), 5.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.step(np.zeros((2, 1))), gymnasium.error.ResetNeeded, "call reset"),
        (
            lambda e: e.reset(seed=[1]),
            ValueError,
            "seed has 1 entries; expected an integer, or one",
        ),
        (lambda e: e.reset(options={"x0": [1.0]}), ValueError, "x0 has shape"),
        (lambda e: e.reset(options={"reset_mask": np.zeros(2, bool)}), ValueError, "reset_mask is"),
        (
            lambda e: (e.reset(), e.step([[0.0]])),
            ValueError,
            r"actions have shape \(1, 1\)",
        ),
        (lambda e: (e.reset(), e.step([[0.0], [np.nan]])), ValueError, "finite numbers"),
        (
            lambda e: (
                e := PlantVectorEnv(2, VanDerPolEnv, out_of_bounds="refuse"),
                e.reset(),
                e.step([[0.0], [4.0]]),
            ),
            ValueError,
            r"action is \[4.0\]; expected entries",
        ),
        (lambda e: PlantVectorEnv(0, VanDerPolEnv), ValueError, "num_envs is 0"),
        (lambda e: PlantVectorEnv(2, VanDerPolEnv, mass=1.0), ValueError, "mass is no parameter"),
        (lambda e: PlantVectorEnv(2, VanDerPolEnv, render_mode="human"), ValueError, "sync"),
        (lambda e: PlantVectorEnv(2, VanDerPolEnv, integrator="solve_ivp"), ValueError, "sync"),
    ],
)
def test_bad_arguments_are_refused_clearly(call, error, message):
    with pytest.raises(error, match=message):
        call(PlantVectorEnv(2, VanDerPolEnv))
