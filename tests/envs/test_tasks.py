"""Tasks: made from every plant alike, true to their words, and with reference scores that reproduce."""

import copy
import itertools
import json
import pickle
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

from koopctrl import bench
from koopctrl_envs import Plant
from koopctrl_envs.tasks import Task, TaskEnv, find_id, make_tasks, plant_ids, plant_name, reference_score
from koopctrl_envs.tasks.rest_points import RestManifold, speeds_of
from koopctrl_envs.tasks.scores import FILE
from koopctrl_envs.wrappers import MeasurementNoise, PartialObservation

TASKS = make_tasks()
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
each_plant = pytest.mark.parametrize("env_id", plant_ids())
NAMES = ["regulation", "setpoints", "tracking", "disturbed"]


def width(plant: Plant) -> np.ndarray:
    return np.subtract(plant.x0_high, plant.x0_low)


@each_task
def test_zeros_of_rest_points_are_zeros_on_every_machine(task):
    """Rounding of a computed zero is the machine's, and a fingerprint counts digits."""
    span = np.subtract(task.plant.u_max, task.plant.u_min)
    share = np.abs(task.input_references) / span
    assert ((share == 0.0) | (share > 1e-13)).all()


@each_plant
def test_every_plant_has_the_four_tasks(env_id):
    assert list(make_tasks(env_id)) == NAMES
    for name, task in make_tasks(plant_name(env_id)).items():
        assert (task.name, task.env_id, task.label) == (name, env_id, f"{plant_name(env_id)}/{name}")
        assert len(task.description) > 20


def test_every_registered_plant_that_names_an_equilibrium_is_among_them():
    with_rest = set()
    for name in gymnasium.registry:
        if name.startswith("koopctrl/"):
            plant = getattr(gymnasium.make(name).unwrapped, "plant", None)
            # One that takes its disturbances as inputs could be told to have none.
            if plant is not None and len(plant.equilibria) and not plant.disturbance_names:
                with_rest.add(name)
    assert set(plant_ids()) == with_rest


@each_task
def test_references_are_within_reach(task):
    plant = task.plant
    assert (task.input_references >= plant.u_min).all()
    assert (task.input_references <= plant.u_max).all()
    low, high = plant.output_bounds()
    assert (task.references >= low).all()
    assert (task.references <= high).all()
    for x in task.starts:
        assert plant.failure(x) == ""
    if task.loads is not None:
        # The load can be taken back.
        back = task.input_references - task.loads
        assert (back >= plant.u_min).all()
        assert (back <= plant.u_max).all()
        assert np.abs(task.loads).max(axis=0).min() > 0.0


@each_plant
def test_set_points_are_rest_points_apart_from_each_other(env_id):
    task = make_tasks(env_id)["setpoints"]
    plant = task.plant
    rows, first = np.unique(task.references, axis=0, return_index=True)
    assert len(rows) >= 2
    for k in first:
        k = min(k, task.n_steps - 1)
        y, u = task.references[k], task.input_references[k]
        manifold = RestManifold(plant)
        x, _ = plant.steady_state(y, _rest_state(manifold, y), u)
        np.testing.assert_allclose(plant.output(x), y, atol=1e-6 * np.abs(rows).max())
        moved = np.abs(plant.rhs(x, u) * plant.dt / width(plant)).max()
        assert moved < 1e-6
    # Constraints leave room around the set-points, and only on outputs that move.
    assert (task.violations(task.references) == 0.0).all()
    bound = np.isfinite(task.y_max)
    assert bound.any()
    assert (task.y_max[bound] > task.references.max(axis=0)[bound]).all()


def _rest_state(manifold, y):
    """State of the rest point whose outputs are nearest to `y`, found by a coarse search along the ways."""
    candidates = [manifold.origin]
    for way, sign in itertools.product(range(len(manifold.ways)), (1.0, -1.0)):
        amounts = np.zeros(len(manifold.ways))
        amounts[way] = manifold.farthest(way, sign, 0.25)
        point = manifold.at(amounts)
        if point is not None:
            candidates.append(point)
    away = [np.abs((manifold.plant.output(p.x) - y) / manifold.y_scale).max() for p in candidates]
    return candidates[int(np.argmin(away))].x


@each_plant
def test_paths_are_smooth_closed_and_have_their_speeds(env_id):
    task = make_tasks(env_id)["tracking"]
    plant = task.plant
    span = np.ptp(task.references, axis=0)
    moved = span > 1e-9 * np.abs(task.references).max()
    assert moved.any()
    steps = np.abs(np.diff(task.references, axis=0)).max(axis=0)
    assert (steps[moved] < 0.25 * span[moved]).all()
    assert task.preview == task.horizon
    names = plant.output_names
    for i, j in speeds_of(plant, RestManifold(plant).origin):
        a, b = plant.state_names[i], plant.state_names[j]
        if a in names and b in names:
            position, speed = task.references[:, names.index(a)], task.references[:, names.index(b)]
            np.testing.assert_allclose(np.diff(position) / plant.dt, 0.5 * (speed[1:] + speed[:-1]),
                                       atol=0.05 * np.abs(speed).max() + 1e-12)  # fmt: skip


def test_rest_points_of_plants_known_by_heart():
    oscillator = make_tasks("VanDerPol")["setpoints"]
    np.testing.assert_allclose(oscillator.references[:-1, 0], oscillator.input_references[:, 0], atol=1e-9)
    pendulum = make_tasks("Pendulum")["setpoints"]
    np.testing.assert_allclose(
        9.81 * pendulum.references[:-1, 1], -pendulum.input_references[:, 0], atol=1e-9
    )
    quadrotor = make_tasks("Quadrotor")["setpoints"]
    hover = np.tile(quadrotor.plant.equilibrium_inputs[0], (quadrotor.n_steps, 1))
    np.testing.assert_allclose(quadrotor.input_references, hover)
    assert np.count_nonzero(np.ptp(quadrotor.references, axis=0) > 0.1) == 2
    assert speeds_of(quadrotor.plant, RestManifold(quadrotor.plant).origin) == [(0, 3), (1, 4), (2, 5)]


@each_task
def test_the_env_of_a_task_pays_what_its_formula_says(task):
    env = task.make(start=0)
    y, info = env.reset(seed=0)
    np.testing.assert_array_equal(info["x"], task.starts[0])
    np.testing.assert_array_equal(info["reference"], task.references[0])
    plant, rng = task.plant, np.random.default_rng(0)
    for k in range(5):
        u = task.input_references[k] + 0.02 * rng.uniform(-1, 1, plant.n_u) * np.subtract(
            plant.u_max, plant.u_min
        )
        y, reward, terminated, _, info = env.step(u)
        error, effort = y - task.references[k + 1], info["u"] - task.input_references[k]
        assert reward == pytest.approx(
            -(error @ task.Q @ error + effort @ task.R @ effort), rel=1e-9, abs=1e-15
        )
        assert info["cost"] == -reward
        np.testing.assert_array_equal(info["reference"], task.references[k + 1])
        assert info["preview"].shape == (task.preview + 1, plant.n_y)
        np.testing.assert_array_equal(info["preview"][0], task.references[k + 1])
        assert terminated == (info["failure"] != "")
        if terminated:
            break


def test_loads_and_drifts_of_a_task_act_and_are_told():
    task = make_tasks("Pendulum")["disturbed"]
    env = task.make(start=0)
    _, info = env.reset(seed=0)
    for k in range(task.n_steps):
        x = info["x"]
        _, _, terminated, truncated, info = env.step(-task.loads[k])
        plant = replace(task.plant, m=task.drifts["m"][k])
        np.testing.assert_allclose(
            info["x"], plant.step(x, info["u"] + task.loads[k]), rtol=1e-13, atol=1e-14
        )
        assert info["parameters"] == {"m": task.drifts["m"][k]}
        assert info["load"] == task.loads[k]
        assert not terminated
        assert truncated == (k == task.n_steps - 1)
    with pytest.raises(gymnasium.error.ResetNeeded, match="is over"):
        env.step([0.0])


def test_only_failures_terminate_and_violations_are_told():
    task = make_tasks("CartPole")["setpoints"]
    env = task.make(start=0)
    env.reset(seed=0)
    beyond, terminated, truncated, info = 0.0, False, False, {}
    while not (terminated or truncated):
        y, _, terminated, truncated, info = env.step(task.plant.u_max)
        expected = np.maximum(y - task.y_max, 0.0) + np.maximum(task.y_min - y, 0.0)
        np.testing.assert_allclose(info["violations"], expected)
        beyond = max(beyond, info["violations"][0])
    assert terminated
    assert not truncated
    assert info["failure"].startswith("p is 2.")
    assert beyond == pytest.approx(y[0] - task.y_max[0])


def test_starts_are_drawn_or_chosen():
    task = make_tasks("VanDerPol")["regulation"]
    env = task.make()
    drawn = [env.reset(seed=i)[1]["start"] for i in range(20)]
    assert set(drawn) == {0, 1}
    assert drawn == [env.reset(seed=i)[1]["start"] for i in range(20)]
    for i in (0, 1):
        _, info = env.reset(seed=0, options={"start": i})
        np.testing.assert_array_equal(info["x"], task.starts[i])
    _, info = env.reset(options={"x0": [0.1, 0.2]})
    assert info["start"] == -1
    np.testing.assert_array_equal(info["x"], [0.1, 0.2])


@pytest.mark.parametrize(("observe", "rows"), [("outputs", 0), ("reference", 1), ("preview", 31)])
def test_references_can_be_observed(observe, rows):
    task = make_tasks("Quadrotor")["tracking"]
    env = task.make(start=0, observe=observe, normalized_action=True)
    y, info = env.reset(seed=0)
    assert y.shape == (6 + 6 * rows,)
    assert env.observation_space.contains(y)
    np.testing.assert_array_equal(y[6:], info["preview"][:rows].ravel())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        check_env(env, skip_render_check=True)


def test_wrappers_go_inside_a_task_and_leave_the_cost_to_the_truth():
    task = make_tasks("VanDerPol")["setpoints"]
    inside = [lambda e: MeasurementNoise(e, 0.5), lambda e: PartialObservation(e, ["x1"])]
    noisy, plain = task.make(start=0, wrappers=inside), task.make(start=0)
    assert noisy.reset(seed=0)[0].shape == (1,)
    plain.reset(seed=0)
    for _ in range(5):
        y, reward, _, _, info = noisy.step([1.0])
        assert reward == plain.step([1.0])[1]
        np.testing.assert_allclose(y, info["x"][:1] + info["noise"][:1])


def test_tasks_envs_are_copied_pickled_batched_and_drawn():
    task = make_tasks("CartPole")["disturbed"]
    env = task.make(start=0, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(15):
        env.step([0.5])
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        again = copy.deepcopy(env)
        for _ in range(5):
            first, second = again.step([0.5]), other.step([0.5])
            np.testing.assert_array_equal(first[0], second[0])
            assert first[1] == second[1]
    assert env.render().shape == (360, 640, 3)
    envs = SyncVectorEnv([task.make] * 2)
    envs.reset(seed=0)
    _, rewards, *_, info = envs.step(np.zeros((2, 1)))
    np.testing.assert_allclose(rewards, -info["cost"])


def test_names_that_are_none_are_refused_clearly():
    assert find_id("koopctrl_envs:koopctrl/VanDerPol-v0") == find_id("VanDerPol") == "koopctrl/VanDerPol-v0"
    with pytest.raises(ValueError, match=r"plant is 'Lorenz84'; expected one of .*VanDerPol"):
        make_tasks("Lorenz84")
    task = make_tasks("VanDerPol")["regulation"]
    with pytest.raises(ValueError, match="start is 2; expected a number from 0 to 1"):
        task.make(start=2)
    with pytest.raises(ValueError, match="observe is 'all'"):
        TaskEnv(task.plant_env(), task, observe="all")
    with pytest.raises(ValueError, match=r"references has shape \(3, 2\); expected \(81, 2\)"):
        replace(task, references=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="drifts"):
        replace(task, drifts={"mu": np.ones(3)})


@each_task
def test_every_task_has_a_reference_score_of_its_present_version(task):
    score = reference_score(task)
    assert score is not None, f"{task.label} has no current score; run python benchmarks/task_scores.py"
    assert score.cost > 0.0
    assert {"controller", "solver", "told", "constraints", "cost", "horizon"} <= set(score.settings)
    assert score.settings["horizon"] == task.horizon


def test_the_file_of_scores_holds_nothing_else():
    stored = json.loads(FILE.read_text())
    assert set(stored["scores"]) == set(TASKS)
    entries = stored["scores"].values()
    unsolved = sum(entry["unsolved"] for entry in entries)
    assert unsolved <= 0.01 * sum(task.n_steps * len(task.starts) for task in TASKS.values())


@each_task
def test_the_yardstick_is_better_than_inputs_that_are_held(task):
    cost = 0.0
    for start in range(len(task.starts)):
        env = task.make(start=start)
        env.reset(seed=0)
        for u in task.input_references:
            _, reward, terminated, _, _ = env.step(u)
            cost += np.inf if terminated else -reward
            if terminated:
                break
    score = reference_score(task)
    assert score is not None
    assert score.cost < cost, "set-points that change too soon, or too short a horizon"


@pytest.mark.parametrize("label", ["VanDerPol/setpoints", "Pendulum/disturbed"])
def test_reference_scores_reproduce(label):
    (run,) = bench(["nmpc"], tasks=[TASKS[label]]).runs
    score = reference_score(TASKS[label])
    assert score is not None
    assert run.cost == pytest.approx(score.cost, rel=1e-5)
    assert run.violations == score.violations


def test_fingerprints_change_with_what_changes_costs():
    task = make_tasks("VanDerPol")["disturbed"]
    changed = [
        replace(task, Q=1.01 * task.Q),
        replace(task, starts=task.starts + 0.01),
        replace(task, loads=1.01 * task.loads),
        replace(task, drifts={}),
        replace(task, horizon=29),
        replace(task, plant=replace(task.plant, mu=1.001)),
    ]
    prints = [t.fingerprint() for t in [task, *changed]]
    assert len(set(prints)) == len(prints)
    assert replace(task, Q=task.Q * (1.0 + 1e-12)).fingerprint() == prints[0]
    assert isinstance(task, Task)
    assert reference_score(changed[0]) is None
