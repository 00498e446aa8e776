"""Recording from envs: independent random numbers, nothing read back, what was applied."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from lag_env import LIFTED, Lag

import koopctrl_envs  # noqa: F401
from koopctrl import LQR, KoopmanRNN, collect, excitation, run_closed_loop
from koopctrl.data.streams import Streams
from koopctrl.errors import KoopctrlWarning, OptionError


def gain_of(data):
    """`(a, b)` of `x+ = a x + b u` by least squares."""
    x, u, y = data.snapshots()
    return np.linalg.lstsq(np.hstack([x, u]), y, rcond=None)[0].ravel()


# --- independent streams --------------------


@pytest.mark.parametrize("seed", [0, 1, 2, 12345])
@pytest.mark.parametrize("make", [Lag, lambda: gymnasium.make("koopctrl/VanDerPol-v0")])
def test_starts_and_first_actions_are_independent(make, seed):
    data = collect(make(), n_episodes=300, seed=seed, max_steps=1)
    starts = np.array([e.outputs[0] for e in data])
    first = np.array([e.inputs[0, 0] for e in data])
    for column in starts.T:
        assert abs(np.corrcoef(column, first)[0, 1]) < 4 / np.sqrt(300)


def test_starts_actions_and_noise_are_independent_in_vector_envs_too():
    env = SyncVectorEnv([lambda: Lag(noise=1.0)] * 300)
    data = collect(env, n_episodes=300, seed=0, max_steps=1)
    start, u, y = (np.array([e.outputs[0, 0] for e in data]), np.array([e.inputs[0, 0] for e in data]),
                   np.array([e.outputs[1, 0] for e in data]))  # fmt: skip
    noise = y - 0.5 * start - 0.5 * u
    for a, b in ((start, u), (start, noise), (u, noise)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(300)
    assert len(set(start)) == len(set(u)) == 300


def test_one_step_episodes_identify_the_plant():
    model = KoopmanRNN(0, input_coupling="linear").fit(collect(Lag(), n_episodes=50, seed=0, max_steps=1))
    np.testing.assert_allclose(model.predict(collect(Lag(), seed=1, max_steps=9))[0].shape, (10, 1))
    np.testing.assert_allclose(gain_of(collect(Lag(), n_episodes=50, seed=0, max_steps=1)), 0.5, atol=1e-9)


def test_a_generator_of_the_same_seed_knows_nothing_of_the_starts():
    for seed in range(10):
        numbers = np.random.default_rng(seed).uniform(-1.0, 1.0, 50)
        start = collect(Lag(), n_episodes=1, seed=seed, max_steps=1)[0].outputs[0, 0]
        loop = run_closed_loop(Lag(), LQR(LIFTED, 1.0, 1.0), 2, seed=seed).outputs[0, 0]
        assert not np.isclose(numbers, start).any()
        assert not np.isclose(numbers, loop).any()
        assert loop != start


def test_seeds_next_to_each_other_share_no_episode():
    starts = [e.outputs[0, 0] for s in range(20) for e in collect(Lag(), n_episodes=20, seed=s, max_steps=1)]
    assert len(set(starts)) == 400


def test_every_use_has_a_stream_of_its_own():
    streams = Streams(np.int64(7))
    seeds = [
        streams.of(use, i) for use in ("starts", "actions", "policies", "closed_loop") for i in range(50)
    ]
    assert len(set(seeds)) == 200
    assert all(type(s) is int and s >= 0 for s in seeds)
    assert [Streams(None).of(use) for use in ("starts", "actions")] == [None, None]


def test_more_episodes_begin_with_the_same_ones():
    few, many = (collect(Lag(), n_episodes=n, seed=3, max_steps=9) for n in (2, 5))
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.inputs, b.inputs)
        np.testing.assert_array_equal(a.outputs, b.outputs)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16])
def test_seeds_of_numpy_s_integers_are_seeds(kind):
    for run in (
        lambda s: collect(Lag(), seed=s, n_episodes=kind(2), max_steps=kind(4))[1],
        lambda s: run_closed_loop(Lag(), LQR(LIFTED, 1.0, 1.0), kind(3), seed=s),
    ):
        np.testing.assert_array_equal(run(kind(3)).outputs, run(3).outputs)
    for bad in (-1, 1.0, "a", True, [3]):
        with pytest.raises(OptionError, match="seed is"):
            collect(Lag(), seed=bad, max_steps=2)


def test_the_env_s_own_action_space_is_left_alone():
    env, twin = Lag(), Lag()
    env.action_space.seed(5)
    twin.action_space.seed(5)
    collect(env, seed=0, max_steps=10)
    assert env.action_space.sample() == twin.action_space.sample()


def test_policies_that_can_be_seeded_are():
    class Noise:
        seeds = []  # noqa: RUF012

        def reset(self, seed=None):
            self.seeds.append(seed)

        def __call__(self, observation):
            return np.zeros(1)

    collect(Lag(), Noise(), n_episodes=3, seed=0, max_steps=2)
    assert len(set(Noise.seeds)) == 3
    assert not set(Noise.seeds) & {0, 1, 2}
    policy = excitation.ExcitationPolicy(excitation.filtered_noise, -1, 1)
    a, b = (collect(Lag(), policy, n_episodes=2, seed=4, max_steps=20) for _ in range(2))
    np.testing.assert_array_equal(a[1].inputs, b[1].inputs)
    assert not np.array_equal(a[0].inputs, a[1].inputs)


# --- nothing handed out is read back --------------------


@pytest.mark.parametrize("report", [False, True])
def test_an_env_that_writes_to_its_action_changes_no_record(report):
    for env in (Lag(spoil=True, report=report), SyncVectorEnv([lambda: Lag(spoil=True, report=report)])):
        data = collect(env, n_episodes=3, seed=0, max_steps=30)
        np.testing.assert_allclose(gain_of(data), 0.5, atol=1e-9)
        assert max(np.abs(e.inputs).max() for e in data) <= 1.0
    kept = np.array([0.25])
    data = collect(Lag(spoil=True), lambda y: kept, max_steps=5)
    assert kept == 0.25
    assert (data[0].inputs == 0.25).all()


def test_a_policy_or_controller_that_writes_to_what_it_sees_changes_no_record():
    def vandal(y, reference=None):
        y[:] = 77.0
        if reference is not None:
            reference[:] = 77.0
        return np.full(1, 0.5)

    data = collect(Lag(), vandal, seed=0, max_steps=20)
    np.testing.assert_allclose(data[0].outputs[1:], 0.5 * data[0].outputs[:-1] + 0.25)
    controller = type(
        "C", (), {"reset": lambda s: None, "control": lambda s, y, reference=None: vandal(y, reference)}
    )()
    result = run_closed_loop(Lag(spoil=True), controller, 10, [0.3], options={"a": 1})
    np.testing.assert_allclose(result.outputs[1:], 0.5 * result.outputs[:-1] + 0.25)
    assert (result.references == 0.3).all()
    assert (result.inputs == 0.5).all()


def test_options_are_not_the_env_s_to_write_to():
    options = {"a": [1]}
    run_closed_loop(Lag(spoil=True), LQR(LIFTED, 1.0, 1.0), 2, options=options)
    assert options == {"a": [1]}


# --- what was applied --------------------


def loud(y):
    return np.atleast_1d(19.0 * np.sign(np.sin(37.0 * y.ravel()[:1])))


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: SyncVectorEnv([lambda: e])])
def test_actions_outside_the_box_are_clipped_and_said(wrap):
    policy = loud if wrap(Lag()) is None else (lambda y: loud(y).reshape(y.shape))
    with pytest.warns(KoopctrlWarning, match=r"100 % of the policy's actions") as caught:
        data = collect(wrap(Lag()), policy, n_episodes=2, seed=0, max_steps=40)
    assert len(caught) == 1
    assert {abs(u) for e in data for u in e.inputs.ravel()} == {1.0}
    with warnings.catch_warnings():  # an env that says what it applied is taken at its word
        warnings.simplefilter("error")
        said = collect(wrap(Lag(report=True)), policy, n_episodes=2, seed=0, max_steps=40)
    np.testing.assert_array_equal(said[0].inputs, data[0].inputs)


def test_the_share_outside_is_named_and_the_edge_is_inside():
    sizes = iter([0.5, 1.0, -1.0, 1.5] * 10)
    with pytest.warns(KoopctrlWarning, match="25 % of the policy's actions"):
        data = collect(Lag(), lambda y: np.array([next(sizes)]), max_steps=40)
    assert data[0].inputs[:4, 0].tolist() == [0.5, 1.0, -1.0, 1.0]
    env = Lag()
    env.action_space = spaces.Box(-0.7, 0.7, (1,), dtype=np.float32)  # 0.7 is outside of its own float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (collect(env, lambda y: np.array([0.7]), max_steps=3)[0].inputs == 0.7).all()
        unbounded = Lag(box=np.inf)
        assert (collect(unbounded, lambda y: np.array([1e9]), max_steps=3)[0].inputs == 1e9).all()


def test_the_closed_loop_records_and_tells_what_was_sent():
    class Proportional:
        told = []  # noqa: RUF012

        def reset(self):
            pass

        def control(self, y, reference=None):
            return -40.0 * y

        def applied(self, u):
            self.told.append(u.copy())
            u[:] = 99.0

    with pytest.warns(KoopctrlWarning, match="of the controller's inputs lay outside"):
        result = run_closed_loop(Lag(spoil=True), Proportional(), 6, seed=1)
    assert np.abs(result.inputs).max() == 1.0
    np.testing.assert_allclose(result.outputs[1:], 0.5 * result.outputs[:-1] + 0.5 * result.inputs)
    assert np.abs(Proportional.told).max() == 1.0


# --- the default excitation --------------------


def test_default_actions_are_held_levels_between_the_bounds():
    data = collect(Lag(), n_episodes=20, seed=0, max_steps=400)
    u = np.concatenate([e.inputs[:, 0] for e in data])
    changes = np.flatnonzero(np.diff(u)) + 1
    holds = np.diff(changes)
    assert holds.min() == 1
    assert 40 <= holds.max() <= 50
    levels = u[changes]
    assert np.abs(levels.mean()) < 0.1
    assert np.abs(np.histogram(levels, 4, (-1, 1))[0] / len(levels) - 0.25).max() < 0.05
    # Held long enough to show the gain at rest, and short enough to show what is fast.
    assert (holds >= 20).mean() > 0.15
    assert (holds <= 2).mean() > 0.15


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2,), dtype=np.float32),
        spaces.Box(np.array([0.0, -np.inf]), np.array([np.inf, 0.0]), dtype=np.float64),
        spaces.Box(-1, 1, (2, 2), dtype=np.float64),
        spaces.Box(0, 9, (3,), dtype=np.int64),
        spaces.Discrete(4),
        spaces.MultiDiscrete([3, 5]),
        spaces.MultiBinary(3),
    ],
)
def test_default_actions_lie_in_any_space_and_differ_between_entries(space):
    class Any(Lag):
        def step(self, action):
            assert space.contains(action), action
            return self.x.copy(), 0.0, False, False, {}

    env = Any()
    env.action_space = space
    u = collect(env, seed=0, max_steps=300)[0].inputs
    assert u.shape == (300, int(np.prod(space.shape)))
    assert all(len(set(column)) > 1 for column in u.T)
    if u.shape[1] > 1:
        when = [set(np.flatnonzero(np.diff(column))) for column in u.T]
        assert when[0] != when[1]
