"""The benchmark tasks on plants that nothing was tuned on: records, holding inputs, and what NMPC is told."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from _unseen import make_unseen_tasks

TASKS = make_unseen_tasks()
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@each_task
@pytest.mark.parametrize("condition", ["plain", "load", "mismatch", "load+mismatch"])
def test_input_references_hold_set_points_on_the_true_plant(task, condition):
    plant, width = task.true_plant(condition), np.subtract(task.plant.x0_high, task.plant.x0_low)
    reference, previewed, _ = task.scenario("")
    if previewed and len(np.unique(reference, axis=0)) > 1:
        reference = reference[:1] * 0.0  # A path: what is held is hovering.
    env = task.env(condition)
    inputs = np.broadcast_to(task.input_reference("", condition), (len(task.references[""]), task.n_u))
    for y in np.unique(reference, axis=0):
        u = inputs[np.flatnonzero((reference == y).all(axis=1))[0]]
        assert (u >= task.u_min).all()
        assert (u <= task.u_max).all()
        x, _ = plant.steady_state(y)
        env.reset(options={"x0": x})
        _, _, terminated, _, info = env.step(u)
        assert not terminated
        np.testing.assert_allclose((info["x"] - x) / width, 0.0, atol=1e-6)
        np.testing.assert_allclose(plant.output(info["x"]), y, rtol=1e-5, atol=1e-6)


@each_task
def test_what_nmpc_is_told_is_the_true_plant(task):
    rng = np.random.default_rng(0)
    for condition in ("plain", "load", "load+mismatch"):
        env, step = task.env(condition), task.told(condition)
        x = task.plant.draw_start(rng)
        u = rng.uniform(task.u_min, task.u_max)
        env.reset(options={"x0": x})
        told = np.array(step(x.tolist(), u.tolist(), xp=np))
        np.testing.assert_allclose(env.step(u)[4]["x"], told, rtol=1e-9, atol=1e-9)


@each_task
def test_records_are_those_of_the_plant_and_cover_the_set_points(task):
    data = task.sample(np.random.default_rng(0))
    again = task.sample(np.random.default_rng(0))
    y = np.concatenate([episode.outputs for episode in data])
    u = np.concatenate([episode.inputs for episode in data])
    np.testing.assert_array_equal(y, np.concatenate([episode.outputs for episode in again]))
    assert data.dt == task.dt
    assert (u >= task.u_min).all()
    assert (u <= task.u_max).all()
    reference = np.asarray(task.references[""])
    assert (reference.min(axis=0) >= y.min(axis=0) - 1e-3).all()
    assert (reference.max(axis=0) <= y.max(axis=0) + 1e-3).all()
    assert 1500 <= len(u) <= 5000
    # Noise is a hundredth of a range that the records fill to a good part.
    assert (np.ptp(y, axis=0) > 0.5 * 100.0 * np.asarray(task.noise)).all()


def test_conditions_are_named():
    with pytest.raises(KeyError):
        TASKS["ph"].env("storm")
