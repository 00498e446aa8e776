"""Prediction bands and bounds drawn in by them, beside known noise and the QP's own rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from koopctrl import RNNMPC, KoopmanRNN, LiftedModel, LinearMPC, Trajectories, load, prediction_bands
from koopctrl.errors import DataError, KoopctrlError, OptionError, ShapeError

A = np.array([[0.9, 0.1], [0.0, 0.8]])
B = np.array([[0.05], [0.2]])
SIZE = np.array([0.02, 0.01])


def records(n_records: int, n_steps: int, seed: int, unit: float = 1.0) -> Trajectories:
    rng = np.random.default_rng(seed)
    outputs, inputs = [], []
    for _ in range(n_records):
        x, u = [rng.standard_normal(2)], rng.standard_normal((n_steps, 1))
        for v in u:
            x.append(A @ x[-1] + B @ v + SIZE * rng.uniform(-1.0, 1.0, 2))
        outputs.append(np.array(x) * unit)
        inputs.append(u)
    return Trajectories.from_arrays(outputs, inputs, dt=0.1)


@pytest.fixture(scope="module")
def model() -> LiftedModel:
    return LiftedModel.from_matrices(A, B, dt=0.1)


def test_bands_are_the_quantiles_of_the_errors(model: LiftedModel) -> None:
    bands = prediction_bands(model, records(10, 200, 0), 5, coverage=0.9)
    assert bands.half_widths[0] == pytest.approx(0.9 * SIZE, rel=0.05)  # of a uniform error
    fresh = records(10, 200, 1)
    inside = []
    for e in fresh:
        for k in range(len(e) - 5):
            x = e.outputs[k]
            for u in e.inputs[k : k + 5]:
                x = A @ x + B @ u
            inside.append(np.abs(e.outputs[k + 5] - x) <= bands.half_widths[4])
    assert np.mean(inside, axis=0) == pytest.approx([0.9, 0.9], abs=0.03)


def test_bands_of_networks_and_their_controllers(tmp_path: Path) -> None:
    network = KoopmanRNN(n_features=20, random_state=0).fit(records(5, 100, 2))
    bands = prediction_bands(network, records(5, 100, 3), 4, coverage=0.9)
    assert bands.half_widths[0] == pytest.approx(0.9 * SIZE, rel=0.3)
    mpc = RNNMPC(network, 4, 1.0, 0.01, y_max=[0.5, 1.0], tightening=bands)
    mpc.control([0.4, 0.0], reference=[1.0, 1.0])
    assert mpc.info is not None
    assert (mpc.info.outputs[1:] <= [0.5, 1.0] - bands.half_widths + 1e-6).all()
    mpc.save(tmp_path / "mpc.npz")
    assert load(tmp_path / "mpc.npz").control([0.4, 0.1]) == pytest.approx(mpc.control([0.4, 0.1]), abs=1e-7)


def test_predictions_keep_what_is_left(model: LiftedModel, tmp_path: Path) -> None:
    taken = np.linspace(0.05, 0.2, 6)[:, None] * [1.0, 0.5]
    mpc = LinearMPC(model, 6, 1.0, 1e-3, y_max=[0.5, 2.0], tightening=taken)
    mpc.control([0.3, 0.0], reference=[1.0, 1.0])
    assert mpc.info is not None
    assert mpc.info.status == "optimal"
    y = mpc.info.outputs[1:, 0]
    assert (y <= 0.5 - taken[:, 0] + 1e-7).all()
    assert (np.abs(y - 0.5 + taken[:, 0]) < 1e-6).any()  # and lie on it
    mpc.save(tmp_path / "mpc.npz")
    assert np.array_equal(load(tmp_path / "mpc.npz").problem.margin, mpc.problem.margin)


def test_generated_c_takes_the_same_decisions(model: LiftedModel) -> None:
    mpc = LinearMPC(model, 6, 1.0, 1e-3, u_min=-5, u_max=5, y_max=[0.5, 2.0], tightening=[0.1, 0.0])
    compiled = mpc.compile()
    x = np.array([0.3, 0.0])
    for _ in range(10):
        u = mpc.control(x, [1.0, 1.0])
        assert compiled.control(x, [1.0, 1.0]) == pytest.approx(u, abs=1e-7)
        x = A @ x + B @ u


@pytest.mark.slow
def test_one_step_violations_are_as_few_as_promised(model: LiftedModel) -> None:
    # At a bound on which the plan always lies, each next output breaks it with probability
    # (1 - coverage) / 2: errors are two-sided. The promise is the double of that.
    bands = prediction_bands(model, records(10, 200, 4), 8, coverage=0.8)
    counts = {}
    for name, tightening in (("plain", None), ("bands", bands)):
        mpc = LinearMPC(model, 8, [1.0, 0.0], 1e-4, y_max=[0.5, np.inf], tightening=tightening)
        rng, x, broken = np.random.default_rng(5), np.zeros(2), 0
        for _ in range(2000):
            x = A @ x + B @ mpc.control(x, [2.0, 0.0]) + SIZE * rng.uniform(-1.0, 1.0, 2)
            broken += x[0] > 0.5
        counts[name] = broken / 2000
    assert counts["bands"] <= 0.2
    assert counts["bands"] == pytest.approx(0.1, abs=0.04)
    assert counts["plain"] > 0.4


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_other_units(unit: float) -> None:
    plain, other = (
        prediction_bands(LiftedModel.from_matrices(A, B * s, dt=0.1), records(4, 60, 6, s), 3, coverage=0.8)
        for s in (1.0, unit)
    )
    assert other.half_widths / unit == pytest.approx(plain.half_widths)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"tightening": [0.1, 0.1, 0.1]}, KoopctrlError, "tightening"),
        ({"tightening": np.ones((3, 2))}, ShapeError, "row for each step"),
        ({"tightening": [-0.1, 0.1]}, OptionError, "none below 0"),
        ({"tightening": [0.6, 0.1]}, OptionError, "output 0 at step 1"),
        ({"tightening": [np.nan, 0.1]}, DataError, "tightening"),
        ({"tightening": 0.1, "y_min": None, "y_max": None}, OptionError, "y_min and y_max"),
    ],
)
def test_bad_tightening_by_name(
    model: LiftedModel, options: dict[str, Any], error: type[KoopctrlError], words: str
) -> None:
    with pytest.raises(error, match=words):
        LinearMPC(model, 6, 1.0, 1.0, **({"y_min": -0.5, "y_max": 0.5} | options))


def test_bad_records_by_name(model: LiftedModel) -> None:
    with pytest.raises(DataError, match="starts for"):
        prediction_bands(model, records(1, 12, 0), 5, coverage=0.95)
    with pytest.raises(DataError, match="steps ahead"):
        prediction_bands(model, records(1, 3, 0), 5)
    with pytest.raises(OptionError, match="coverage"):
        prediction_bands(model, records(1, 30, 0), 5, coverage=1.0)
    with pytest.raises(OptionError, match="model"):
        prediction_bands("model", records(1, 30, 0), 5)  # pyright: ignore[reportArgumentType]
