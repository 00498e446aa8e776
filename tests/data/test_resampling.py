"""Resampling: against quadrature of the same interpolant, closed forms, and the plant behind a record."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl import Trajectories
from koopctrl.data.resampling import resample
from koopctrl.errors import DataError, ShapeError, TimeBaseError


def stamps(n, seed, jitter=0.3):
    rng = np.random.default_rng(seed)
    return np.arange(n) + rng.uniform(-jitter, jitter, n)


@given(st.integers(2, 40), st.integers(0, 1000), st.floats(0.3, 7.0))
def test_a_straight_line_stays_one(n, seed, dt):
    t = stamps(n, seed)
    new = resample(t, 3.0 - 2.0 * t, dt, max_gap=10.0)
    grid = t[0] + dt * np.arange(len(new))
    np.testing.assert_allclose(new, 3.0 - 2.0 * grid, atol=1e-9)
    assert grid[-1] <= t[-1] + 1e-9 < grid[-1] + dt + 2e-9


@given(st.integers(3, 30), st.integers(0, 1000), st.floats(0.3, 6.0))
def test_held_inputs_keep_what_has_flowed_in(n, seed, dt):
    t = stamps(n, seed)
    u = np.random.default_rng(seed).normal(size=n)
    new = resample(t, u, dt, held=True, max_gap=10.0)
    fine = np.linspace(0.0, dt, 20001)[:-1] + 0.5 * dt / 20000
    for k, mean in enumerate(new):
        at = t[0] + k * dt + fine
        held = u[np.clip(np.searchsorted(t, at, side="right") - 1, 0, n - 1)]
        assert mean == pytest.approx(held.mean(), abs=2e-3 * np.abs(u).max())


def test_coarser_grids_average_what_they_could_not_show():
    t = np.arange(0.0, 1000.0)
    fast = np.cos(np.pi * t)  # at half the sampling frequency: an alias of 0 on every other sample
    assert np.abs(resample(t, fast, 10.0)[1:-1]).max() < 1e-12
    slow = np.sin(2 * np.pi * t / 400)
    np.testing.assert_allclose(resample(t, slow, 10.0)[1:-1], slow[10:-10:10], atol=2e-3)


def test_even_stamps_are_left_as_they_are():
    t, y = np.arange(50) * 0.1, np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(resample(t, y, 0.1), y, atol=1e-10)
    np.testing.assert_allclose(resample(t, y, 0.1, held=True), y, atol=1e-10)
    assert resample([3.0], [1.0], 0.1).tolist() == [1.0]


@pytest.mark.parametrize(
    ("t", "values", "kind", "words"),
    [
        ([0.0, 1.0, 1.0], [1, 2, 3], TimeBaseError, "row 2"),
        ([0.0, 1.0, 5.0, 6.0], [1, 2, 3, 4], TimeBaseError, "gap of 4 s after row 1"),
        ([0.0, 1.0], [1, 2, 3], ShapeError, r"t has shape \(2,\)"),
        ([[0.0, 1.0]], [1, 2], ShapeError, "t has shape"),
        ([0.0, np.nan], [1, 2], DataError, "t has 1 NaN"),
        ([0.0, 1.0], [1, np.inf], DataError, "values has 1 NaN or infinite"),
        ([], [], ShapeError, "t has shape"),
    ],
)
def test_what_cannot_be_resampled_is_refused(t, values, kind, words):
    with pytest.raises(kind, match=words):
        resample(t, values, 1.0)


def test_a_jittery_table_is_resampled_on_request_and_gives_the_plant():
    # x' = -x + u, u held between stamps, sampled at uneven times: the resampled record has the plant's pole.
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.uniform(0.06, 0.14, 3000))
    u = np.repeat(rng.uniform(-1, 1, 100), 30)
    x = np.zeros(3000)
    for k, h in enumerate(np.diff(t)):
        x[k + 1] = np.exp(-h) * x[k] + (1 - np.exp(-h)) * u[k]
    table = pd.DataFrame({"t": t, "x": x, "u": u})
    names = {"outputs": ["x"], "inputs": ["u"], "time": "t"}
    with pytest.raises(TimeBaseError, match="resample=True"):
        Trajectories.from_dataframe(table, **names)
    data = Trajectories.from_dataframe(table, **names, resample=True, dt=0.1)
    y, v = data[0].outputs[:, 0], data[0].inputs[:, 0]
    pole, gain = np.linalg.lstsq(np.column_stack([y[:-1], v[: len(y) - 1]]), y[1:], rcond=None)[0]
    assert data.dt == 0.1
    assert pole == pytest.approx(np.exp(-0.1), rel=5e-3)
    assert gain / (1 - pole) == pytest.approx(1.0, rel=5e-3)


def test_resampled_episodes_keep_gaps_and_missing_last_inputs():
    t = np.concatenate([stamps(20, 0), 100.0 + stamps(10, 1)])
    u = np.append(np.ones(29), np.nan)
    table = {"t": t, "y": t, "u": u}
    with pytest.raises(TimeBaseError, match="gap of"):
        Trajectories.from_dataframe(table, outputs=["y"], inputs=["u"], time="t", resample=True)
    data = Trajectories.from_dataframe(
        table, outputs=["y"], inputs=["u"], time="t", resample=True, gaps="split", dt=1.0
    )
    assert [e.label for e in data] == ["0.0", "0.1"]
    assert [len(e.outputs) - len(e.inputs) for e in data] == [0, 1]
    for e in data:
        np.testing.assert_allclose(np.diff(e.outputs[:, 0]), 1.0, atol=1e-9)
        np.testing.assert_allclose(e.inputs, 1.0)
