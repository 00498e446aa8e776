"""Wrappers in records and closed loops, around and beneath other envs; settings that are refused."""

import control
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation, RescaleAction, TimeLimit
from wrapped_envs import ALONE, Constant, actions, each_wrapper, everything, plain, run, same

from koopctrl import KoopmanRNN, LinearMPC, LTINetwork, collect, run_closed_loop
from koopctrl_envs import LTINetworkEnv, VanDerPol, wrappers
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
