"""The rule of time: sample times by drift over the record, stamps by displacement, gaps named as gaps."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl._time import check_dt, check_same_dt, fit_stamps, nominal_step, same_dt
from koopctrl.errors import TimeBaseError


@given(st.floats(1e-6, 1e6), st.integers(1, 10**6), st.floats(0.0, 3.0))
def test_sample_times_are_the_same_while_no_sample_moves_by_a_hundredth(dt, n_steps, part):
    other = dt * (1.0 + part * 0.01 / n_steps)
    moved = n_steps * abs(other - dt) / min(dt, other)
    if abs(moved - 0.01) > 1e-6:
        assert same_dt(dt, other, n_steps) == same_dt(other, dt, n_steps) == (moved < 0.01)


def test_continuous_time_is_the_same_as_itself_alone():
    assert same_dt(0.0, 0.0)
    assert not same_dt(0.0, 1e-300)
    with pytest.raises(TimeBaseError, match="a and b have sample times 0 s and 1 s"):
        check_same_dt(0.0, 1.0, "a and b")
    with pytest.raises(TimeBaseError, match=r"over 500 steps they move a sample by 0\.5 periods"):
        check_same_dt(1.0, 1.001, "a and b", 500)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        True,
        np.True_,
        0,
        -1.0,
        np.nan,
        np.inf,
        "0.1",
        b"1",
        [0.1],
        np.ones(2),
        10**400,
        1j,
        {},
        object(),
    ],
)
def test_what_is_no_sample_time_is_refused_by_name(bad):
    with pytest.raises(TimeBaseError, match="period is"):
        check_dt(bad, "period")


@pytest.mark.parametrize(
    "good",
    [0.5, np.float32(0.5), np.array(0.5), datetime.timedelta(milliseconds=500), np.timedelta64(500, "ms")],
)
def test_what_is_one_becomes_a_float(good):
    assert check_dt(good) == 0.5
    assert type(check_dt(good)) is float


# (stamps of each episode, sample time): as loggers write them
K = np.arange(500)
RNG = np.random.default_rng(0)
GOOD = {
    "30 Hz to 0.1 ms": ([np.round(K / 30, 4)], 1 / 30),
    "30 Hz to 0.1 ms, fewer rows": ([np.round(K[:300] / 30, 4)], 1 / 30),
    "60 Hz to a millisecond": ([np.round(K / 60, 3)], 1 / 60),
    "60 Hz to a millisecond, ten rows": ([np.round(K[:10] / 60, 3)], 1 / 60),
    "60 Hz to a millisecond, cut off": ([np.floor(K / 60 * 1000) / 1000], 1 / 60),
    "300 Hz to a millisecond": ([np.round(K / 300, 3)], 1 / 300),
    "float32": ([(K * 0.1).astype(np.float32).astype(float)], 0.1),
    "float32 from 1000 s on": ([(1000 + K * 0.01).astype(np.float32).astype(float)], 0.01),
    "seconds since 1970": ([1.7e9 + K * 0.04], 0.04),
    "jitter of 1 %": ([K * 0.1 + RNG.normal(0, 1e-3, 500)], 0.1),
    "uniform jitter of 8 %": ([K * 0.1 + RNG.uniform(-8e-3, 8e-3, 500)], 0.1),
    "one stamp 9 % off": ([K * 2.0 + 0.18 * (K == 250)], 2.0),
    "two episodes with rounding of their own": ([np.round(K / 30, 4), np.round((7 + K[:4]) / 30, 3)], 1 / 30),
    "microseconds": ([K * 1e-6], 1e-6),
    "days": ([K * 86400.0], 86400.0),
    "falling start": ([K * 0.25 - 1e5], 0.25),
}


@pytest.mark.parametrize("name", GOOD)
def test_stamps_on_a_grid_up_to_rounding_and_jitter_are_accepted(name):
    stamps, dt = GOOD[name]
    step, cuts = fit_stamps(stamps)
    assert step == pytest.approx(dt, rel=1e-12 if "jitter" not in name else 1e-3)
    assert cuts == [(0,)] * len(stamps)
    assert fit_stamps(stamps, dt=dt)[0] == dt


@given(st.integers(3, 400), st.floats(1e-5, 1e5), st.floats(-1e4, 1e4), st.integers(0, 2**32 - 1))
def test_displacements_below_a_tenth_of_a_period_are_accepted_and_larger_ones_not(n, dt, start, seed):
    off = np.random.default_rng(seed).uniform(-0.045, 0.045, n)
    t = dt * (start + np.arange(n) + off)
    step, cuts = fit_stamps([t])
    assert (n - 1) * abs(step - dt) <= 0.19 * dt
    assert cuts == [(0,)]
    wrong = t.copy()
    wrong[n // 2] += 0.4 * dt
    if n > 4:
        with pytest.raises(TimeBaseError, match=rf"row {n // 2} lies .* resample"):
            fit_stamps([wrong])


BAD = {
    "a gap": (
        [4.0 * K + 200.0 * (K > 59)],
        r"gap of 204 s after row 59; sample time 4 s\. Pass gaps=\"split\"",
    ),
    "a missing sample": ([np.delete(K * 0.1, 7)], "gap of 0.2 s after row 6; sample time 0.1 s"),
    "two gaps": ([np.delete(K * 0.1, [7, 70])], r"after row 6 \(1 more follow\)"),
    "a gap under rounding": ([np.delete(np.round(K / 60, 3), 9)], r"gap of 0\.03\d* s after row 8"),
    "30 % jitter": ([K * 0.1 + RNG.uniform(-0.03, 0.03, 500)], "resample"),
    "Poisson": ([np.cumsum(RNG.exponential(1.0, 500))], r"not evenly sampled.*resample"),
    "a clock that drifts": ([K * 0.1 + 2e-5 * K**2], "resample"),
    "half a period late from the middle on": ([K + 0.5 * (K > 250)], "resample"),
    "a repeated stamp": ([[0.0, 1.0, 1.0, 2.0]], "repeats its stamp at row 2"),
    "a falling stamp": ([[0.0, 1.0, 0.5]], "goes back at row 2"),
    "a missing stamp": ([[0.0, np.nan, 2.0]], "empty or infinite at row 1"),
    "episodes of different sample times": ([K * 0.1, K * 0.2], "of episode 'b'"),
    "one row": ([[1.0]], "dt is None"),
}


@pytest.mark.parametrize("name", BAD)
def test_stamps_off_a_grid_are_refused_with_the_row_and_the_remedy(name):
    stamps, words = BAD[name]
    with pytest.raises(TimeBaseError, match=words):
        fit_stamps([np.asarray(t, dtype=float) for t in stamps], labels=["a", "b"][: len(stamps)])


@pytest.mark.parametrize(
    ("wrong", "n"), [(0.2, 3), (0.1001, 2000), (0.10002, 500), (0.05, 10), (0.1 / 3, 10)]
)
def test_a_sample_time_that_stamps_contradict_is_refused(wrong, n):
    with pytest.raises(TimeBaseError, match=r"dt is .* steps by 0\.1 s"):
        fit_stamps([np.arange(n) * 0.1], dt=wrong)


def test_gaps_can_be_cut_at():
    t = 4.0 * K + 200.0 * (K > 59) + 8.0 * (K > 99)
    assert fit_stamps([t], split=True) == (4.0, [(0, 60, 100)])
    # The pieces lie on grids of their own: a gap need not be a number of periods.
    assert fit_stamps([t + 1.3 * (K > 59)], split=True) == (4.0, [(0, 60, 100)])


def test_the_nominal_step_needs_no_grid():
    t = np.cumsum(RNG.uniform(0.05, 0.15, 500))
    step, cuts = nominal_step([t])
    assert step == pytest.approx(0.1, rel=0.05)
    assert cuts == [(0,)]
    with pytest.raises(TimeBaseError, match="gap of 3 s after row 4"):
        nominal_step([np.array([0, 1, 2, 3, 4, 7, 8, 9, 10, 11.0])])
