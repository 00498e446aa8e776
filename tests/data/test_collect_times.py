"""Recording from envs: whose sample time counts, and what gymnasium's wrappers leave of a record."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from lag_env import LIFTED, Lag

import koopctrl_envs  # noqa: F401
from koopctrl import LQR, LiftedModel, collect, run_closed_loop
from koopctrl.data.gym_interface import plant_dt
from koopctrl.errors import TimeBaseError


class Repeat(gymnasium.Wrapper):
    """Repeats every action."""

    def __init__(self, env, n, dt=None):
        super().__init__(env)
        self.skip = n
        if dt is not None:
            self.dt = dt

    def step(self, action):
        for _ in range(self.skip):
            answer = self.env.step(action)
        return answer


class Slow(gymnasium.Wrapper):
    """Says that a step takes four times as long."""

    dt = 0.4


SAMPLED = {
    "bare": (lambda: Lag(), 0.1),
    "a wrapper without dt": (lambda: gymnasium.wrappers.TimeLimit(Lag(), 50), 0.1),
    "a wrapper with dt": (lambda: Repeat(Lag(), 4, dt=0.4), 0.4),
    "that, wrapped": (lambda: gymnasium.wrappers.TimeLimit(Repeat(Lag(), 4, dt=0.4), 50), 0.4),
    "a repeating wrapper without dt": (lambda: Repeat(Lag(), 4), 0.4),
    "repeats of repeats": (lambda: Repeat(Repeat(Lag(), 2), 3), 0.6),
    "repeats of a wrapper with dt": (lambda: Repeat(Repeat(Lag(), 4, dt=0.4), 2), 0.8),
    "MaxAndSkip": (lambda: gymnasium.wrappers.MaxAndSkipObservation(Lag(), skip=4), 0.4),
    "a plant of the package": (lambda: gymnasium.make("koopctrl/VanDerPol-v0", dt=0.02), 0.02),
    "a plant, repeated": (lambda: Repeat(gymnasium.make("koopctrl/VanDerPol-v0", dt=0.02), 5), 0.1),
    "a vector env": (lambda: SyncVectorEnv([lambda: Lag()] * 2), 0.1),
    "a vector env of wrappers": (lambda: SyncVectorEnv([lambda: Repeat(Lag(), 4, dt=0.4)] * 2), 0.4),
    "a vector env of repeats": (lambda: SyncVectorEnv([lambda: Repeat(Lag(), 4)] * 2), 0.4),
    "a batched plant": (lambda: gymnasium.make_vec("koopctrl/VanDerPol-v0", 2, dt=0.02), 0.02),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_the_outermost_sample_time_counts(name):
    make, dt = SAMPLED[name]
    env = make()
    assert plant_dt(env) == pytest.approx(dt, rel=1e-12)
    assert collect(env, seed=0, max_steps=3).dt == pytest.approx(dt, rel=1e-12)
    assert collect(env, seed=0, max_steps=3, dt=7.0).dt == 7.0


@pytest.mark.parametrize(
    ("make", "dt"),
    [
        (Lag, 0.1),
        (lambda: Slow(Lag()), 0.4),
        (lambda: Lag(dt=None), None),
        (lambda: Repeat(Lag(), 4), "skip=4"),
    ],
)
def test_asynchronous_vector_envs_tell_theirs_and_live_on(make, dt):
    env = AsyncVectorEnv([make] * 2)
    try:
        if isinstance(dt, float):
            assert collect(env, seed=0, max_steps=3).dt == pytest.approx(dt)
        else:
            with pytest.raises(TimeBaseError, match=dt or "no dt"):
                collect(env, seed=0, max_steps=3)
        data = collect(env, n_episodes=3, seed=0, max_steps=3, dt=0.3)
        assert [len(e) for e in data] == [4] * 3
    finally:
        env.close()


WRAPPERS = {
    "RecordEpisodeStatistics": (gymnasium.wrappers.RecordEpisodeStatistics, 2),
    "TimeAwareObservation": (gymnasium.wrappers.TimeAwareObservation, 3),
    "FrameStackObservation": (lambda e: gymnasium.wrappers.FrameStackObservation(e, 3), 6),
    "RescaleAction": (lambda e: gymnasium.wrappers.RescaleAction(e, -1.0, 1.0), 2),
    "ClipAction": (gymnasium.wrappers.ClipAction, 2),
    "NormalizeObservation": (gymnasium.wrappers.NormalizeObservation, 2),
    "MaxAndSkipObservation": (lambda e: gymnasium.wrappers.MaxAndSkipObservation(e, skip=2), 2),
}


@pytest.mark.parametrize("vector", [None, SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("name", WRAPPERS)
def test_gymnasium_s_wrappers_around_a_plant_are_recorded(name, vector):
    wrap, n_y = WRAPPERS[name]

    def make():
        return wrap(gymnasium.make("koopctrl_envs:koopctrl/VanDerPol-v0"))

    env = make() if vector is None else vector([make] * 2)
    skips = name.startswith("MaxAndSkip")
    try:
        # From outside of worker processes it cannot be seen whose sample time an env's dt is.
        options = {"dt": 0.2} if skips and vector is AsyncVectorEnv else {}
        data = collect(env, n_episodes=3, seed=0, max_steps=8, **options)
    finally:
        env.close()
    assert (len(data), data.n_y, data.n_u) == (3, n_y, 1)
    assert data.dt == pytest.approx(0.2 if skips else 0.1)
    assert data.output_names == (("x1", "x2") if n_y == 2 else tuple(f"x{i}" for i in range(n_y)))
    assert data.input_names == ("u",)
    # Inputs in the plant's own units, whatever those of the actions.
    assert 1.0 < max(np.abs(e.inputs).max() for e in data) <= 3.0


def test_a_controller_of_the_wrapper_s_sample_time_runs():
    slow = LiftedModel.from_matrices([[0.5**4]], [[1 - 0.5**4]], dt=0.4)
    for env in (Repeat(Lag(), 4, dt=0.4), Repeat(Lag(), 4)):
        assert run_closed_loop(env, LQR(slow, 1.0, 1.0), 5).dt == pytest.approx(0.4)
        with pytest.raises(TimeBaseError, match="the plant and the controller"):
            run_closed_loop(env, LQR(LIFTED, 1.0, 1.0), 5)
    assert run_closed_loop(Lag(), LQR(slow, 1.0, 1.0), 5, dt=0.4).dt == 0.4
    assert run_closed_loop(Lag(dt=None), LQR(LIFTED, 1.0, 1.0), 5).dt == pytest.approx(0.1)
    with pytest.raises(TimeBaseError):
        collect(Lag(dt=None), max_steps=3)
    with pytest.raises(TimeBaseError, match="vector env"):
        collect(SyncVectorEnv([lambda: Lag(dt=0.1), lambda: Lag(dt=0.2)]), max_steps=3)
