"""Other people's tools on the plants: gymnasium's wrappers, policies as stable-baselines3 calls them."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import (
    FrameStackObservation,
    NormalizeObservation,
    PassiveEnvChecker,
    RecordEpisodeStatistics,
    RescaleAction,
    TimeLimit,
)

from koopctrl import LQR, LiftedModel
from koopctrl.controllers import ControllerPolicy
from koopctrl_envs.tasks import make_tasks, plant_ids

IDS = plant_ids()


@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_wrappers_go_around_every_plant(name):
    env = PassiveEnvChecker(gymnasium.make(name, disable_env_checker=True).unwrapped)
    rest = env.unwrapped.input_reference
    scaled = RescaleAction(env, -1.0, 1.0)
    stack = NormalizeObservation(FrameStackObservation(RecordEpisodeStatistics(TimeLimit(scaled, 4)), 3))
    space = env.action_space
    action = (2.0 * (rest - space.low) / (space.high - space.low) - 1.0).astype(np.float64)
    observation, _ = stack.reset(seed=0)
    total, truncated, info = 0.0, False, {}
    while not truncated:
        observation, reward, terminated, truncated, info = stack.step(action)
        total += reward
        np.testing.assert_allclose(info["u"], rest, rtol=1e-6, atol=1e-9)
        assert observation.shape == (3, *env.observation_space.shape)
        if terminated:
            break
    assert info["episode"]["l"] <= 4
    assert info["episode"]["r"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_vector_envs_of_tasks_pay_what_single_ones_do(kind):
    task = make_tasks("Duffing")["disturbed"]
    envs, alone = kind([task.make] * 2), task.make()
    try:
        envs.reset(seed=[3, 4])
        alone.reset(seed=4)
        for k in range(20):
            u = np.full((2, 1), 0.1 * k)
            _, rewards, *_ = envs.step(u)
            assert rewards[1] == alone.step(u[1])[1]
    finally:
        envs.close()


def law(plant, Q=1.0, R=0.1):
    """LQR on the plant's own linearisation."""
    linear = plant.linearize(plant.equilibria[0], plant.equilibrium_inputs[0], dt=plant.dt)
    return LQR(
        LiftedModel.from_matrices(linear.A, linear.B, dt=plant.dt), Q, R, u_min=plant.u_min, u_max=plant.u_max
    )


def evaluate(policy, env, n_episodes):
    """Mean return, with the calls that stable-baselines3's `evaluate_policy` makes on a batch of one env."""
    observation = env.reset(seed=0)[0][None]
    state, start, returns, total = None, np.ones(1, dtype=bool), [], 0.0
    while len(returns) < n_episodes:
        action, state = policy.predict(observation, state=state, episode_start=start, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(np.clip(action, -1.0, 1.0)[0])
        observation, total = observation[None], total + reward
        start = np.array([terminated or truncated])
        if start[0]:
            returns.append(total)
            observation, total = env.reset()[0][None], 0.0
    return float(np.mean(returns))


def test_a_controller_is_evaluated_as_a_policy():
    task = make_tasks("VanDerPol")["regulation"]
    plant = task.plant
    policy = ControllerPolicy(law(plant), action_low=plant.u_min, action_high=plant.u_max)
    found = evaluate(policy, task.make(start=0, normalized_action=True), 2)
    x, controller, cost = task.starts[0], law(plant), 0.0
    for k in range(task.n_steps):
        u = controller.control(x)
        x = plant.step(x, u)
        cost += task.stage_cost(k, x, u)
    assert found == pytest.approx(-cost, rel=1e-9)


def test_stable_baselines_evaluates_controllers_and_learns():
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.env_checker import check_env
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    task = make_tasks("VanDerPol")["regulation"]
    plant = task.plant
    policy = ControllerPolicy(law(plant), action_low=plant.u_min, action_high=plant.u_max)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = make_vec_env(lambda: task.make(start=0, normalized_action=True), n_envs=1)
        mean, _ = evaluate_policy(policy, env, n_eval_episodes=2)
        own = evaluate(policy, task.make(start=0, normalized_action=True), 2)
        assert mean == pytest.approx(own, rel=1e-4)
        for name in ("VanDerPol", "Pendulum", "TwoTanks"):
            learner = make_vec_env(
                lambda n=name: make_tasks(n)["regulation"].make(normalized_action=True), n_envs=2
            )
            PPO("MlpPolicy", learner, n_steps=64, batch_size=32).learn(256)
            check_env(make_tasks(name)["tracking"].make(normalized_action=True, observe="preview"))
            SAC("MlpPolicy", learner, learning_starts=32, train_freq=16).learn(96)
