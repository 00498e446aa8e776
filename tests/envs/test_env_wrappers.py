"""Wrappers: each does what it says, tells what it did, and leaves the record true."""

import copy
import itertools
import pickle
import warnings

import control
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation, RescaleAction, TimeLimit

from koopctrl import KoopmanRNN, LinearMPC, LTINetwork, collect, run_closed_loop
from koopctrl_envs import Duffing, LTINetworkEnv, VanDerPol, wrappers
from koopctrl_envs.wrappers import (
    ActuatorSaturation,
    DeadZone,
    InputDelay,
    LoadDisturbance,
    MeasurementNoise,
    ParameterDrift,
    ParameterRandomisation,
    PartialObservation,
    Quantisation,
    RateLimit,
)

ID = "koopctrl_envs:koopctrl/VanDerPol-v0"


def plain(**options):
    return gymnasium.make(ID, **options)


ALONE = {
    "MeasurementNoise": lambda env: MeasurementNoise(env, [0.1, 0.2]),
    "Quantisation": lambda env: Quantisation(env, observation=[0.5, 0.0], action=0.25),
    "PartialObservation": lambda env: PartialObservation(env, ["x1"]),
    "ActuatorSaturation": lambda env: ActuatorSaturation(env, -1.0, 0.5),
    "RateLimit": lambda env: RateLimit(env, 4.0),
    "DeadZone": lambda env: DeadZone(env, 0.3),
    "InputDelay": lambda env: InputDelay(env, 3),
    "LoadDisturbance": lambda env: LoadDisturbance(env, [(0.4, 1.0), (0.8, -0.5)]),
    "ParameterRandomisation": lambda env: ParameterRandomisation(env, {"mu": (0.5, 2.0)}),
    "ParameterDrift": lambda env: ParameterDrift(env, {"mu": [(0.5, 0.5)]}, relative=True),
}
each_wrapper = pytest.mark.parametrize("name", ALONE)


def everything(env=None):
    """All of them, in an order that a plant would have them."""
    env = plain() if env is None else env
    for name in (
        "ParameterRandomisation", "ParameterDrift", "LoadDisturbance", "ActuatorSaturation", "RateLimit",
        "DeadZone", "Quantisation", "InputDelay", "MeasurementNoise", "PartialObservation",
    ):  # fmt: skip
        env = ALONE[name](env)
    return env


def actions(n, size=1):
    return np.random.default_rng(5).uniform(-3.0, 3.0, (n, size))


def run(env, n=20, seed=0):
    """Observations and infos of an episode under fixed actions."""
    y, info = env.reset(seed=seed)
    answers = [(y, 0.0, info)]
    for a in actions(n):
        y, reward, _, _, info = env.step(a)
        answers.append((y, reward, info))
    return answers


def replayed(answers):
    """Largest difference between reported states and the plant's under reported inputs and loads."""
    infos = [info for *_, info in answers]
    largest = 0.0
    for before, after in itertools.pairwise(infos):
        plant = VanDerPol(mu=after.get("parameters", {}).get("mu", 1.0))
        x = plant.step(before["x"], after["u"] + after.get("load", 0.0))
        largest = max(largest, float(np.abs(x - after["x"]).max()))
    return largest


def same(first, second):
    for (y, r, info), (y2, r2, info2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(y, y2)
        assert r == r2
        assert set(info) == set(info2)
        for key in info:
            np.testing.assert_equal(info[key], info2[key], err_msg=key)


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


class Constant:
    """Half power, always."""

    dt = 0.1

    def reset(self):
        self.told = []

    def control(self, measurement, reference=None):
        return np.array([1.5])

    def applied(self, u):
        self.told.append(float(u[0]))


@each_wrapper
def test_records_and_loops_hold_what_was_applied(name):
    env = ALONE[name](plain())
    data = collect(env, n_episodes=2, seed=0, max_steps=20, signals="state")
    result = run_closed_loop(ALONE[name](plain()), Constant(), 20, seed=0)
    if name in ("LoadDisturbance", "ParameterRandomisation", "ParameterDrift"):
        return  # what else acted is not an input; the replay above has it
    plant = VanDerPol()
    for x, u in [(e.outputs, e.inputs) for e in data] + [(result.states, result.inputs)]:
        ahead = [plant.step(a, b) for a, b in zip(x[:-1], u, strict=True)]
        np.testing.assert_allclose(x[1:], ahead, rtol=1e-14)


def test_controllers_are_told_what_set_out_where_inputs_arrive_late():
    late = Constant()
    run_closed_loop(ALONE["InputDelay"](plain()), late, 10)
    assert late.told == []
    clipped = Constant()
    run_closed_loop(InputDelay(plain(u_max=1.0, u_min=-1.0), 2), clipped, 10)
    assert set(clipped.told) == {1.0}


def test_a_controller_that_knows_the_delay_does_better():
    data = collect(plain(), n_episodes=20, seed=0, max_steps=60)
    model = KoopmanRNN(40, random_state=0).fit(data).lift_at(0.0, 0.0, method="edmd")
    costs = {}
    for d in (0, 4):
        mpc = LinearMPC(model, 15, 1.0, 0.1, u_min=-3.0, u_max=3.0, input_delay=d)
        result = run_closed_loop(InputDelay(plain(), 4), mpc, 80, x0=[0.5, 0.5])
        costs[d] = result.cost
    assert costs[4] < 0.5 * costs[0]


def test_inputs_behind_rescaled_actions_are_in_the_plants_units():
    env = InputDelay(RescaleAction(plain(), -1.0, 1.0), 1)
    env.reset(seed=0)
    info = env.step(np.array([0.5]))[4]
    np.testing.assert_allclose(info["u_accepted"], [1.5], rtol=1e-6)
    np.testing.assert_allclose(env.step(np.array([0.0]))[4]["u"], [1.5], rtol=1e-6)


def test_what_set_out_is_what_arrives_later():
    """Through converters, limits and dead zones on the far side of the delay."""
    far = DeadZone(ActuatorSaturation(Quantisation(plain(), action=0.25), -1.0, 0.5), 0.3)
    answers = run(InputDelay(RescaleAction(far, -6.0, 6.0), 3))
    arrived = np.array([info["u"] for *_, info in answers[1:]])
    set_out = np.array([info["u_accepted"] for *_, info in answers[1:]])
    np.testing.assert_allclose(arrived[3:], set_out[:-3], atol=1e-12)
    assert len(np.unique(set_out)) > 3


def test_envs_that_are_no_plant_take_what_needs_none():
    net = LTINetwork.from_statespace(control.ss([[0.0, 1.0], [-1.0, -0.4]], [[0.0], [1.0]], [[1.0, 0.0]], 0))
    env = MeasurementNoise(InputDelay(RateLimit(LTINetworkEnv(net, 0.1), 2.0), 2), 0.01)
    _, info = env.reset(seed=0)
    inputs = [env.step([1.0])[4]["u"][0] for _ in range(8)]
    np.testing.assert_allclose(inputs, [0.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert set(info) >= {"noise", "pending", "u_accepted", "rate_limited"}
    with pytest.raises(ValueError, match="LoadDisturbance needs an env with disturbance"):
        LoadDisturbance(env, 1.0)


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_vector_envs_of_wrapped_envs(kind):
    envs = kind([everything] * 2)
    try:
        y, info = envs.reset(seed=0)
        assert y.shape == (2, 1)
        for a in actions(5):
            y, _, _, _, info = envs.step(np.tile(a, (2, 1)))
        assert info["u"].shape == (2, 1)
        alone = run(everything(), 5, seed=1)
        np.testing.assert_array_equal(y[1], alone[-1][0])
        np.testing.assert_array_equal(info["u"][1], alone[-1][2]["u"])
    finally:
        envs.close()


def test_gymnasiums_wrappers_go_around_ours_and_specs_tell_of_both():
    env = NormalizeObservation(FrameStackObservation(TimeLimit(everything(), 7), 2))
    env.reset(seed=0)
    steps = [env.step(a) for a in actions(7)]
    assert [s[3] for s in steps] == [False] * 6 + [True]
    assert steps[-1][4]["noise"].shape == (2,)
    made = gymnasium.make(RateLimit(plain(), 4.0).spec)
    same(run(made), run(RateLimit(plain(), 4.0)))


def test_every_wrapper_is_public_and_has_its_row():
    assert set(wrappers.__all__) == set(ALONE)
    assert all(f"`{name}`" in wrappers.__doc__ for name in ALONE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: MeasurementNoise(e, -0.1), r"std is \[-0.1, -0.1\]; expected numbers from zero"),
        (lambda e: MeasurementNoise(e, [0.1] * 3), r"std has shape \(3,\)"),
        (lambda e: Quantisation(e), "observation and action are zero"),
        (lambda e: PartialObservation(e, ["x3"]), "keep has 'x3'; the observation has x1, x2"),
        (lambda e: PartialObservation(e, [0, 0]), "each of them once"),
        (lambda e: PartialObservation(e, [2]), "numbers from 0 to 1"),
        (lambda e: ActuatorSaturation(e, 1.0, -1.0), "low is"),
        (lambda e: RateLimit(e, 0.0), "rate is .*above zero"),
        (lambda e: DeadZone(e, np.nan), "width is"),
        (lambda e: InputDelay(e, 0), "n_steps is 0; expected a positive integer"),
        (lambda e: LoadDisturbance(e, [(1.0, 0.0), (0.5, 1.0)]), "expected them to rise"),
        (lambda e: LoadDisturbance(e, np.zeros((5, 2))), r"load has shape \(5, 2\)"),
        (lambda e: ParameterRandomisation(e, {"dt": (0.1, 0.2)}), "dt is no parameter that may change"),
        (lambda e: ParameterRandomisation(e, {"mass": (0.1, 0.2)}), "VanDerPol has mu"),
        (lambda e: ParameterRandomisation(e, {"mu": (-1.0, 0.2)}), "mu is -1.0; expected a positive"),
        (lambda e: ParameterRandomisation(e, {"mu": (2.0, 1.0)}), "lower end first"),
        (lambda e: ParameterDrift(e, {}), "parameters is empty"),
        (lambda e: ParameterDrift(e, {"u_max": 1.0}), "u_max is no parameter that may change"),
        (lambda e: RateLimit(gymnasium.make("CartPole-v1"), 1.0), "vectors of real numbers as actions"),
        (lambda e: LoadDisturbance(gymnasium.make("Pendulum-v1"), 1.0), "needs an env with disturbance"),
    ],
)
def test_bad_settings_are_refused_clearly(make, message):
    with pytest.raises(ValueError, match=message):
        make(plain())


def test_a_schedule_that_goes_wrong_is_named_and_leaves_no_load_behind():
    env = LoadDisturbance(plain(), lambda t: np.nan if t > 0.15 else 1.0)
    env.reset(seed=0)
    env.step(np.zeros(1))
    env.step(np.zeros(1))
    with pytest.raises(ValueError, match=r"load\(0.2 s\) is \[nan\]"):
        env.step(np.zeros(1))
    with pytest.raises(ValueError, match="action"):
        LoadDisturbance(env.env, 1.0).step([np.nan])
    assert env.unwrapped.disturbance == 0.0
