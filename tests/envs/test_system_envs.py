"""Envs of linear systems and of fitted models: against python-control and the models' own roll-outs."""

import copy
import pickle
import warnings

import control
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import TimeLimit

from koopctrl import LQR, RNNMPC, KoopmanRNN, collect, run_closed_loop
from koopctrl_envs import LTIEnv, ModelEnv, Pendulum

CONTINUOUS = control.ss(
    [[0.0, 1.0], [-2.0, -0.3]], [[0.0, 0.2], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
    [[0.0, 0.0], [0.0, 0.0], [0.5, 0.0]],
    inputs=["force", "wind"], outputs=["p", "v", "sum"], states=["a", "b"],
)  # fmt: skip
DISCRETE = control.sample_system(CONTINUOUS, 0.25)


@pytest.fixture(scope="module")
def records():
    env = gymnasium.make("koopctrl/TwoTanks-v0", max_episode_steps=60)
    return collect(env, n_episodes=15, seed=0)


@pytest.fixture(scope="module")
def model(records):
    return KoopmanRNN(60, random_state=0).fit(records)


def surrogate(model, **options) -> ModelEnv:
    return ModelEnv(model, [0.0, 0.0], [0.5, 1.0], **options)


@pytest.mark.parametrize("system", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
def test_a_linear_env_answers_as_python_controls_simulation(system):
    env = LTIEnv(system, 0.25, x0_low=-1.0, x0_high=1.0)
    rng = np.random.default_rng(0)
    u = rng.uniform(-1.0, 1.0, (2, 41))
    y, info = env.reset(seed=3)
    assert (np.abs(info["x"]) <= 1.0).all()
    # In continuous time the held input is a staircase, of which a simulation sees the steps alone.
    response = control.forced_response(DISCRETE, 0.25 * np.arange(41), u, info["x"], squeeze=False)
    np.testing.assert_allclose(y, info["x"] @ np.array(CONTINUOUS.C).T, atol=1e-12)
    for k in range(40):
        y, reward, terminated, truncated, info = env.step(u[:, k])
        np.testing.assert_allclose(info["x"], response.states[:, k + 1], atol=1e-10)
        # Of the feedthrough the last input is seen, not the one to come.
        expected = np.array(CONTINUOUS.C) @ response.states[:, k + 1] + np.array(CONTINUOUS.D) @ u[:, k]
        np.testing.assert_allclose(y, expected, atol=1e-10)
        assert reward == pytest.approx(-(y @ y) - 0.1 * u[:, k] @ u[:, k])
        assert info["t"] == pytest.approx(0.25 * (k + 1))
        assert not terminated
        assert not truncated
    assert env.plant.output_names == ("p", "v", "sum")


def test_records_of_a_linear_env_bear_its_names_and_a_controller_holds_it():
    env = TimeLimit(LTIEnv(CONTINUOUS, 0.25, y_min=-20.0, y_max=20.0), 30)
    data = collect(env, n_episodes=3, seed=0)
    assert data.dt == 0.25
    assert data[0].output_names == ("p", "v", "sum")
    assert data[0].input_names == ("force", "wind")
    full = control.ss(DISCRETE.A, DISCRETE.B, np.eye(2), np.zeros((2, 2)), 0.25)
    env = LTIEnv(full)
    K, _, _ = control.dlqr(full.A, full.B, np.eye(2), 0.1 * np.eye(2))

    class Law:
        dt = 0.25

        def reset(self):
            """Nothing is kept."""

        def control(self, measurement, reference=None):
            del reference
            return -K @ measurement

    result = run_closed_loop(env, Law(), 60, x0=[1.0, 0.0], seed=0)
    np.testing.assert_allclose(result.outputs[-1], 0.0, atol=1e-6)


def test_a_surrogate_runs_as_its_model_predicts(model, records):
    env = surrogate(model, starts=records[0].states)
    assert env.dt == records.dt
    y, _ = env.reset(seed=0)
    assert (np.abs(records[0].states - y).max(axis=1) == 0.0).any()
    y, info = env.reset(options={"x0": records[0].states[0]})
    u = records[0].inputs[:30]
    run = model.simulate(info["x"], u)
    for k in range(30):
        y, *_ = env.step(u[k])
        np.testing.assert_allclose(y, run[k + 1], rtol=1e-9, atol=1e-12)


def test_a_controller_does_on_the_plant_as_on_its_surrogate(model):
    mpc = RNNMPC(model, 15, 1.0, 0.1, u_min=[0.0, 0.0], u_max=[0.5, 1.0])
    envs = surrogate(model), gymnasium.make("koopctrl/TwoTanks-v0")
    runs = [
        run_closed_loop(e, mpc, 40, [1.0, 1.0], input_reference=[0.3, 0.6], options={"x0": [0.5, 1.5]})
        for e in envs
    ]
    np.testing.assert_allclose(runs[0].outputs, runs[1].outputs, atol=0.06)
    assert np.abs(runs[0].outputs[-1] - 1.0).max() < 0.02


@pytest.mark.parametrize(
    "options", [{}, {"output_lags": 3, "input_lags": 2}, {"n_states": 2, "n_features": 10}],
    ids=["state", "lags", "hidden"],
)  # fmt: skip
def test_every_kind_of_model_starts_within_its_data_and_runs(records, options):
    fitted = KoopmanRNN(**{"n_features": 40, **options}, random_state=0).fit(records)
    env = surrogate(fitted, input_reference=[0.3, 0.6])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    assert all("recommend using a symmetric and normalized" in str(w.message) for w in caught)
    low, high = fitted.y_range_
    starts = np.array([env.reset(seed=i)[0] for i in range(20)])
    if "n_states" not in options:
        assert (starts >= low).all()
        assert (starts <= high).all()
        assert (starts.std(axis=0) > 0.05 * (high - low)).all()
    steps = 0
    env.reset(seed=0)
    for _ in range(60):
        steps += 1
        if env.step([0.3, 0.6])[2]:
            break
    assert steps > 10


def test_systems_and_plants_serve_as_models():
    plant = Pendulum()
    env = ModelEnv(plant.to_nlsys(plant.dt), -5.0, 5.0)
    env.reset(options={"x0": [1.0, 0.5]})
    _, _, _, _, info = env.step([2.0])
    np.testing.assert_allclose(info["x"], plant.step([1.0, 0.5], [2.0]), rtol=1e-12)


def test_the_same_seed_gives_the_same_bits_after_copies_and_pickles(model):
    def run(env) -> np.ndarray:
        rows = [env.reset(seed=4)[0]]
        rows += [env.step([0.2, 0.4])[0] for _ in range(10)]
        return np.array(rows)

    env = LTIEnv(CONTINUOUS, 0.25, x0_low=-1.0, x0_high=1.0, measurement_noise=0.1)
    first = run(env)
    for twin in (env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        np.testing.assert_array_equal(run(twin), first)
    noisy = surrogate(model, measurement_noise=0.01)
    first = run(noisy)
    for twin in (copy.deepcopy(noisy), pickle.loads(pickle.dumps(noisy))):
        np.testing.assert_array_equal(run(twin), first)
    assert first.std() > 0.0


def test_leaving_the_limits_ends_an_episode_and_says_why(model):
    env = LTIEnv(control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], outputs=["level"]), 1.0, y_max=1.0)
    env.reset(seed=0)
    _, _, terminated, _, info = env.step([1.0])
    assert terminated
    assert info["failure"] == "level = 1.297 is outside [-inf, 1]"
    low, high = model.y_range_
    np.testing.assert_allclose(surrogate(model)._y_max, high + 0.5 * (high - low))


def test_pictures_show_the_states(model):
    for env in (surrogate(model, render_mode="rgb_array"), LTIEnv(DISCRETE, render_mode="rgb_array")):
        env.reset(seed=0)
        first = env.render()
        assert first.shape == (360, 640, 3)
        env.step(env.action_space.high)
        assert (env.render() != first).sum() > 100
        env.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: LTIEnv(control.tf([1.0], [1.0, 1.0])), r"TransferFunction; expected control\.StateSpace"),
        (lambda m: LTIEnv(CONTINUOUS), "dt is None, and system is continuous"),
        (lambda m: LTIEnv(CONTINUOUS, 0.0), "dt is 0"),
        (lambda m: LTIEnv(CONTINUOUS, np.nan), "dt is nan"),
        (lambda m: LTIEnv(DISCRETE, 0.1), "sampled at 0.25 s"),
        (lambda m: LTIEnv(control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], True)), "names no sample time"),
        (lambda m: LTIEnv(DISCRETE, u_min=1.0, u_max=-1.0), "lower limit"),
        (lambda m: LTIEnv(DISCRETE, y_max=[1.0, 2.0]), r"y_max has shape \(2,\)"),
        (lambda m: LTIEnv(DISCRETE, y_max=np.nan), "y_max is .*NaN"),
        (lambda m: LTIEnv(DISCRETE, x0_low=1.0), "above x0_high"),
        (lambda m: LTIEnv(DISCRETE, Q=-1.0), "Q has"),
        (lambda m: LTIEnv(DISCRETE, measurement_noise=-1.0), "measurement_noise"),
        (lambda m: LTIEnv(DISCRETE, render_mode="ansi"), "render_mode is 'ansi'"),
        (lambda m: ModelEnv(KoopmanRNN, 0.0, 1.0), "class KoopmanRNN"),
        (lambda m: ModelEnv(object(), 0.0, 1.0), "object; expected a fitted model"),
        (lambda m: ModelEnv(Pendulum(), -1.0, 1.0), "no sample time"),
        (lambda m: surrogate(m, starts=[[1.0]]), r"starts has shape \(1, 1\)"),
        (lambda m: surrogate(m, starts=[[1.0, np.nan]]), "finite states"),
        (lambda m: surrogate(m).step([0.0, 0.0]), "call reset"),
        (lambda m: surrogate(m).reset(options={"start": 1}), "expected x0"),
        (lambda m: (e := surrogate(m), e.reset(), e.step([np.nan, 0.0])), "action is .*NaN"),
        (lambda m: (e := surrogate(m), e.reset(), e.step([0.0])), r"action has shape \(1,\)"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_clearly(make, message, model):
    with pytest.raises((ValueError, gymnasium.error.ResetNeeded), match=message):
        make(model)


def test_feedback_on_a_surrogate_needs_nothing_of_the_plant(model):
    law = LQR(model.lift_at([1.0, 1.0], [0.3, 0.6]), 1.0, 0.1)
    result = run_closed_loop(surrogate(model), law, 60, options={"x0": [0.9, 1.1]})
    np.testing.assert_allclose(result.outputs[-1], 1.0, atol=0.02)
