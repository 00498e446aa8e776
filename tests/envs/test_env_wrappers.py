"""Wrappers: each does what it says, tells what it did, and leaves the record true."""

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from wrapped_envs import ALONE, Constant, actions, each_wrapper, everything, plain, replayed, run, same

from koopctrl import collect, run_closed_loop
from koopctrl_envs import Duffing, VanDerPol
from koopctrl_envs.wrappers import (
    DeadZone,
    LoadDisturbance,
    MeasurementNoise,
    ParameterDrift,
    ParameterRandomisation,
    PartialObservation,
    RateLimit,
)


@each_wrapper
def test_what_is_reported_is_what_acted(name):
    assert replayed(run(ALONE[name](plain()))) == 0.0


def test_what_is_reported_is_what_acted_through_all_of_them_together():
    answers = run(everything())
    assert replayed(answers) == 0.0
    keys = {
        "noise", "observation_rounding", "action_rounding", "hidden", "saturated", "rate_limited", "dead",
        "pending", "u_accepted", "load", "parameters", "u", "x", "t", "clipped", "failure",
    }  # fmt: skip
    assert all(set(info) == keys for *_, info in answers)


@pytest.mark.parametrize("name", [*ALONE, "everything"])
def test_gymnasiums_checker_has_nothing_to_say(name):
    bare = plain(normalized_action=True).unwrapped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        check_env(everything(bare) if name == "everything" else ALONE[name](bare), skip_render_check=True)


@pytest.mark.parametrize("name", [*ALONE, "everything"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_made_on_the_way_go_on_alike_and_apart(name, copied):
    env = everything() if name == "everything" else ALONE[name](plain())
    env.reset(seed=1)
    for a in actions(7):
        env.step(a)
    other = copied(env)
    assert other.unwrapped is not env.unwrapped
    rest = actions(12)
    same(
        [(lambda s: (s[0], s[1], s[4]))(env.step(a)) for a in rest],
        [(lambda s: (s[0], s[1], s[4]))(other.step(a)) for a in rest],
    )


@pytest.mark.parametrize("name", [*ALONE, "everything"])
def test_the_same_seed_gives_the_same_bits_and_nothing_is_left_of_an_episode(name):
    make = everything if name == "everything" else lambda: ALONE[name](plain())
    env = make()
    first = run(env, seed=3)
    run(env, seed=4)
    same(first, run(env, seed=3))
    same(first, run(make(), seed=3))


def test_streams_are_the_wrappers_own():
    noise = [info["noise"] for *_, info in run(MeasurementNoise(plain(), 0.1))]
    around = MeasurementNoise(ParameterRandomisation(RateLimit(plain(), 5.0), {"mu": (0.5, 2.0)}), 0.1)
    np.testing.assert_array_equal(noise, [info["noise"] for *_, info in run(around)])
    twice = MeasurementNoise(MeasurementNoise(plain(), 0.1), 0.1)
    y, info = twice.reset(seed=0)
    np.testing.assert_allclose(y - info["x"], 2 * noise[0] + (y - info["x"] - 2 * noise[0]))
    assert not np.allclose(y - info["x"], 2 * info["noise"])
    raw = np.random.default_rng(0).standard_normal((3, 2))
    assert not np.isclose(np.array(noise[:3])[:, :, None] / 0.1, raw.ravel()).any()
    # Without a seed a stream goes on.
    env = MeasurementNoise(plain(), 0.1)
    env.reset(seed=0)
    assert not np.array_equal(env.reset()[1]["noise"], noise[0])


def test_noise_has_its_spread_and_its_box():
    env = MeasurementNoise(plain(), [0.1, 0.2])
    added = np.array([info["noise"] for *_, info in run(env, 2000)])
    np.testing.assert_allclose(added.std(axis=0), [0.1, 0.2], rtol=0.06)
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.06
    for y, _, info in run(env, 30):
        np.testing.assert_allclose(y, info["x"] + info["noise"], rtol=1e-15)
        assert env.observation_space.contains(y)
    np.testing.assert_allclose(
        env.observation_space.high - plain().observation_space.high, [0.5, 1.0], rtol=1e-12
    )


def test_quantisation_rounds_both_sides():
    answers = run(ALONE["Quantisation"](plain()))
    for (y, _, info), a in zip(answers[1:], actions(20), strict=True):
        assert y[0] / 0.5 == np.round(y[0] / 0.5)
        assert abs(y[0] - info["x"][0]) <= 0.25
        assert y[1] == info["x"][1]
        assert info["u"] / 0.25 == np.round(info["u"] / 0.25)
        np.testing.assert_allclose(info["u"] - a, info["action_rounding"], atol=1e-15)
        assert np.abs(info["action_rounding"]).max() <= 0.125


def test_partial_observation_keeps_names_and_order():
    env = PartialObservation(plain(), ["x2"])
    for y, _, info in run(env):
        assert y == info["x"][1]
        assert info["hidden"] == info["x"][0]
    assert collect(env, n_episodes=1, seed=0, max_steps=5).output_names == ("x2",)
    turned = PartialObservation(plain(), [1, 0])
    assert turned.output_names == ("x2", "x1")
    assert PartialObservation(turned, ["x1"]).reset(seed=0)[0] == plain().reset(seed=0)[0][0]
    result = run_closed_loop(env, Constant(), 5)
    assert result.output_names == ("x2",)


def test_saturation_clips_where_the_action_space_says_nothing():
    env = ALONE["ActuatorSaturation"](plain())
    assert env.action_space == plain().action_space
    for (_, _, info), a in zip(run(env)[1:], actions(20), strict=True):
        assert info["u"] == np.clip(a, -1.0, 0.5)
        assert info["saturated"] == (a < -1.0 or a > 0.5)


def test_rate_limits_hold_from_the_resting_input_on():
    answers = run(ALONE["RateLimit"](plain()))
    u = np.array([0.0, *(info["u"][0] for *_, info in answers[1:])])
    moves = np.diff(u)
    assert np.abs(moves).max() <= 0.4 + 1e-12
    free = ~np.array([info["rate_limited"][0] for *_, info in answers[1:]])
    np.testing.assert_array_equal(u[1:][free], actions(20)[free, 0])
    np.testing.assert_allclose(np.abs(moves[~free]), 0.4)
    tanks = gymnasium.make("koopctrl/TwoTanks-v0", normalized_action=True)
    env = RateLimit(tanks, 1e-9)
    env.reset(seed=0)
    np.testing.assert_allclose(env.step(np.ones(2))[4]["u"], tanks.unwrapped.input_reference, atol=1e-8)


def test_dead_zones_swallow_small_actions():
    env = DeadZone(plain(), 0.5, centre=1.0)
    env.reset(seed=0)
    for a, u in ((1.0, 1.0), (1.4, 1.0), (0.5, 1.0), (2.0, 1.5), (-1.0, -0.5)):
        info = env.step(np.array([a]))[4]
        assert info["u"] == u
        assert info["dead"] == (abs(a - 1.0) <= 0.5)


def test_delays_shift_actions():
    answers = run(ALONE["InputDelay"](plain()))
    u = np.array([info["u"] for *_, info in answers[1:]])
    np.testing.assert_array_equal(u, np.concatenate([np.zeros((3, 1)), actions(20)[:17]]))
    np.testing.assert_array_equal(answers[-1][2]["pending"], actions(20)[17:])
    np.testing.assert_array_equal(answers[-1][2]["u_accepted"], actions(20)[-1])


def test_loads_follow_their_schedule_and_add_up():
    loads = [float(info["load"][0]) for *_, info in run(ALONE["LoadDisturbance"](plain()), 10)]
    assert loads == [0.0] * 5 + [1.0] * 4 + [-0.5] * 2
    env = LoadDisturbance(LoadDisturbance(plain(disturbance=0.2), np.sin), np.array([[1.0], [2.0]]))
    answers = run(env, 4)
    for k, (_, _, info) in enumerate(answers[1:]):
        assert info["load"][0] == pytest.approx(np.sin(0.1 * k) + min(k + 1.0, 2.0))
        x = VanDerPol().step(answers[k][2]["x"], info["u"] + info["load"] + 0.2)
        np.testing.assert_allclose(info["x"], x, rtol=1e-13)
    assert env.unwrapped.disturbance == 0.2


def test_parameters_are_drawn_over_their_range_and_known():
    env = ParameterRandomisation(gymnasium.make("koopctrl/Duffing-v0"), {"delta": (0.5, 1.5)}, relative=True)
    drawn = np.array([env.reset(seed=i)[1]["parameters"]["delta"] for i in range(200)])
    nominal = Duffing().delta
    assert (np.abs(drawn / nominal - 1.0) <= 0.5).all()
    np.testing.assert_allclose(drawn.mean() / nominal, 1.0, atol=0.08)
    np.testing.assert_allclose(drawn.std() / nominal, 1.0 / np.sqrt(12.0), rtol=0.1)
    assert env.unwrapped.plant.delta == drawn[-1]


def test_parameters_drift_and_come_back():
    env = ParameterDrift(plain(mu=2.0), {"mu": lambda t: 1.0 + t})
    values = [info["parameters"]["mu"] for *_, info in run(env, 5)]
    np.testing.assert_allclose(values, [1.0, 1.0, 1.1, 1.2, 1.3, 1.4])
    assert env.unwrapped.plant.mu == 2.0
    env = ParameterDrift(
        ParameterRandomisation(plain(), {"mu": (0.5, 2.0)}), {"mu": [(0.2, 0.5)]}, relative=True
    )
    values = [info["parameters"]["mu"] for *_, info in run(env, 4)]
    assert values[3] == values[4] == pytest.approx(0.5 * values[0])
