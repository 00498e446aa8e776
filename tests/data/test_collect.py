"""Recording from envs: every recorded transition happened, none crosses a reset, whatever ends an episode."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from koopctrl import collect
from koopctrl.errors import DataError, OptionError, TimeBaseError

LIMIT = 1.5


class Adder(gymnasium.Env):
    """`x+ = x + u` with the input clipped to 1; observed as `10 x`; over where `|x| > 1.5`.

    `in_place` returns the same observation array at every step: who records it must copy it.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    dt = 0.25

    def __init__(self, report=True, limit=LIMIT, in_place=False):
        self.observation_space = spaces.Box(-1e6, 1e6, (1,))
        self.action_space = spaces.Box(-2.0, 2.0, (1,))
        self.report, self.limit, self.in_place = report, limit, in_place
        self.seen = np.zeros(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = float(self.np_random.uniform(-1, 1))
        return self._observe(None)

    def step(self, action):
        u = float(np.clip(action[0], -1.0, 1.0))
        self.x += u
        observation, info = self._observe(u)
        return observation, 0.0, abs(self.x) > self.limit, False, info

    def _observe(self, u):
        self.seen[0] = 10 * self.x
        info = {"x": np.array([self.x])} if self.report else {}
        if self.report and u is not None:
            info["u"] = np.array([u])
        return self.seen if self.in_place else self.seen.copy(), info


def limited(steps=7, **options):
    return gymnasium.wrappers.TimeLimit(Adder(**options), steps)


def vector(n=3, mode=AutoresetMode.NEXT_STEP, steps=7, **options):
    return SyncVectorEnv([lambda: limited(steps, **options)] * n, autoreset_mode=mode)


def check_transitions(data, factor=10.0, limit=LIMIT, steps=7):
    """Each episode starts at a reset, follows the equation, and ends where the env says."""
    for e in data:
        x, u = e.outputs[:, 0] / factor, e.inputs[:, 0]
        assert np.abs(x[0]) <= 1
        assert len(u) == len(x) - 1
        np.testing.assert_allclose(np.diff(x), u, atol=1e-5)
        assert (np.abs(x[:-1]) <= limit).all()
        assert len(u) == steps or np.abs(x[-1]) > limit
        assert np.abs(u).max() <= 1


@pytest.mark.parametrize("in_place", [False, True])
def test_single_episodes(in_place):
    data = collect(limited(in_place=in_place), n_episodes=8, seed=0)
    assert len(data) == 8
    assert data.dt == 0.25
    assert (data.output_names, data.input_names) == (("x0",), ("u0",))
    check_transitions(data)
    assert {e.n_steps == 7 for e in data} == {True, False}  # some truncated, some terminated


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("signals", ["observation", "state"])
@pytest.mark.parametrize("n", [1, 3])
def test_vector_envs_make_no_false_transition(mode, signals, n):
    data = collect(vector(n, mode), n_episodes=10, seed=0, signals=signals)
    assert len(data) == 10
    check_transitions(data, 10.0 if signals == "observation" else 1.0)
    assert len({e.outputs[0, 0] for e in data}) == 10


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_envs_that_report_nothing(mode):
    data = collect(vector(2, mode, report=False), lambda obs: np.full((2, 1), 0.25), n_episodes=6, seed=0)
    check_transitions(data)
    assert all((e.inputs == 0.25).all() for e in data)


def test_a_vector_env_without_autoreset_is_refused():
    with pytest.raises(OptionError, match="autoreset"):
        collect(vector(mode=AutoresetMode.DISABLED), n_episodes=2)


def test_the_applied_input_is_recorded_not_the_asked_one():
    data = collect(limited(), lambda obs: np.array([2.0]), n_episodes=2, seed=0)
    np.testing.assert_array_equal(data[0].inputs, np.ones((data[0].n_steps, 1)))
    unreported = collect(limited(report=False), lambda obs: np.array([2.0]), n_episodes=1, seed=0)
    assert (unreported[0].inputs == 2.0).all()


def test_the_policy_sees_the_observation():
    data = collect(limited(), lambda obs: -0.05 * obs, n_episodes=3, seed=1)
    for e in data:
        np.testing.assert_allclose(e.inputs[:, 0], -0.05 * e.outputs[:-1, 0], atol=1e-6)


def test_the_state_is_recorded_where_asked():
    observed, states = (collect(limited(), n_episodes=3, seed=0, signals=s) for s in ("observation", "state"))
    for a, b in zip(observed, states, strict=True):
        np.testing.assert_allclose(a.outputs, 10 * b.outputs, atol=1e-5)
    for env in (limited(report=False), vector(2, report=False)):
        with pytest.raises(DataError, match=r'info\["x"\]'):
            collect(env, n_episodes=1, signals="state")


@pytest.mark.parametrize("make", [limited, vector])
def test_the_same_seed_gives_the_same_record_and_another_does_not(make):
    a, b, c = (collect(make(), n_episodes=4, seed=s) for s in (3, 3, 4))
    for e, f in zip(a, b, strict=True):
        np.testing.assert_array_equal(e.outputs, f.outputs)
        np.testing.assert_array_equal(e.inputs, f.inputs)
    assert a[0].outputs[0, 0] != c[0].outputs[0, 0]


def test_episodes_of_one_seed_differ():
    data = collect(limited(), n_episodes=5, seed=0)
    assert len({e.outputs[0, 0] for e in data}) == 5


@pytest.mark.parametrize("make", [limited, vector])
def test_max_steps_ends_an_episode(make):
    data = collect(
        make(1000, limit=1e9) if make is limited else make(3, steps=1000, limit=1e9),
        n_episodes=4,
        seed=0,
        max_steps=5,
    )
    assert [e.n_steps for e in data] == [5] * 4
    for e in data:
        np.testing.assert_allclose(np.diff(e.outputs[:, 0]) / 10, e.inputs[:, 0], atol=1e-5)


def test_names_and_dt_can_be_given():
    data = collect(limited(), n_episodes=1, seed=0, dt=0.5, state_names=["level"], input_names=["flow"])
    assert (data.dt, data.output_names, data.input_names) == (0.5, ("level",), ("flow",))
    bare = gymnasium.wrappers.TimeLimit(Adder(), 3)
    bare.unwrapped.dt = None
    with pytest.raises(TimeBaseError, match="dt"):
        collect(bare, n_episodes=1)


@pytest.mark.parametrize(
    "wrong",
    [{"n_episodes": 0}, {"n_episodes": 1.5}, {"max_steps": 0}, {"signals": "reward"}, {"max_steps": True}],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        collect(limited(), **wrong)


def test_names_of_the_plants_of_the_package_travel():
    data = collect(gymnasium.make("koopctrl_envs:koopctrl/VanDerPol-v0"), n_episodes=1, seed=0, max_steps=5)
    plant = gymnasium.make("koopctrl/VanDerPol-v0").unwrapped.plant
    assert data.output_names == tuple(plant.output_names)
    assert data.input_names == tuple(plant.input_names)


@pytest.mark.parametrize("kwargs", [{"seed": "a"}, {"seed": -5}, {"policy": 3}])
def test_seeds_and_policies_of_another_kind_are_refused_by_name(kwargs):
    with pytest.raises(OptionError, match=f"{next(iter(kwargs))} is"):
        collect(Adder(), max_steps=2, **kwargs)


def test_an_env_without_action_space_needs_a_policy():
    env = Adder()
    del env.action_space
    with pytest.raises(OptionError, match="policy is None"):
        collect(env, max_steps=2)
    assert len(collect(env, lambda _: np.zeros(1), max_steps=2)[0]) == 3
