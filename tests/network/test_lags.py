"""Lag windows against a table written by hand and against indices taken one by one."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl import Trajectories
from koopctrl.errors import DataError, KoopctrlWarning, ShapeError
from koopctrl.network.lag_window import LagWindow

# One output and one input; y[k] = k, u[k] = 100 + k.
Y = np.arange(6.0)[:, None]
U = 100.0 + np.arange(6.0)[:, None]


def test_the_table_without_feedthrough():
    x, u, y_next = LagWindow(2, 3, False, 1, 1).pairs(Y, U)
    np.testing.assert_array_equal(
        np.hstack([x, u, y_next]),
        # y[k], y[k-1], u[k-1], u[k-2] | u[k] | y[k+1]
        [[2, 1, 101, 100, 102, 3], [3, 2, 102, 101, 103, 4], [4, 3, 103, 102, 104, 5]],
    )


def test_the_table_with_feedthrough():
    x, u, y_next = LagWindow(2, 3, True, 1, 1).pairs(Y, U)
    np.testing.assert_array_equal(
        np.hstack([x, u, y_next]),
        # y[k], y[k-1], u[k], u[k-1] | u[k+1] | y[k+1]
        [
            [1, 0, 101, 100, 102, 2],
            [2, 1, 102, 101, 103, 3],
            [3, 2, 103, 102, 104, 4],
            [4, 3, 104, 103, 105, 5],
        ],
    )


def test_the_table_of_two_outputs_and_two_inputs():
    y, u = np.arange(8.0).reshape(4, 2), 100 + np.arange(6.0).reshape(3, 2)
    x, acting, y_next = LagWindow(2, 2, False, 2, 2).pairs(y, u)
    np.testing.assert_array_equal(x, [[2, 3, 0, 1, 100, 101], [4, 5, 2, 3, 102, 103]])
    np.testing.assert_array_equal(acting, [[102, 103], [104, 105]])
    np.testing.assert_array_equal(y_next, [[4, 5], [6, 7]])


def test_names_follow_the_table():
    names = LagWindow(2, 3, False, 1, 2).names(("y",), ("a", "b"))
    assert names == ("y", "y[k-1]", "a[k-1]", "b[k-1]", "a[k-2]", "b[k-2]")
    names = LagWindow(2, 3, True, 1, 2).names(("y",), ("a", "b"))
    assert names == ("y", "y[k-1]", "a", "b", "a[k-1]", "b[k-1]")


lags = st.tuples(st.integers(1, 4), st.integers(1, 4), st.booleans(), st.integers(1, 3), st.integers(0, 2))


@given(lags, st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
def test_every_entry_is_where_its_index_says_and_no_pair_crosses_an_edge(sizes, lengths, extra_input):
    p, q, feedthrough, n_y, n_u = sizes
    window = LagWindow(p, q, feedthrough, n_y, n_u)
    extra = extra_input or feedthrough
    # Every number tells its episode, time, kind and channel.
    outputs = [[[1e6 * e + 10 * k + j for j in range(n_y)] for k in range(n)] for e, n in enumerate(lengths)]
    inputs = [
        [[-1e6 * e - 10 * k - j - 0.5 for j in range(n_u)] for k in range(n - (not extra))]
        for e, n in enumerate(lengths)
    ]
    s = int(feedthrough and n_u > 0)
    rows = []
    for y, u, n in zip(outputs, inputs, lengths, strict=True):
        for k in range(n - 1):
            wanted = [(y, k - i) for i in range(p)]
            wanted += [(u, k - i + s) for i in range(1, q)] if n_u else []
            wanted += [(u, k + s)] if n_u else []
            wanted += [(y, k + 1)]
            if all(index >= 0 for _, index in wanted):
                rows.append([value for source, index in wanted for value in source[index]])
    data = Trajectories.from_arrays(
        [np.reshape(y, (-1, n_y)) for y in outputs],
        [np.reshape(u, (len(u), n_u)) for u in inputs] if n_u else None,
        dt=1.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KoopctrlWarning)  # short episodes are named and skipped
        x, u, y_next = data.snapshots(p, q, feedthrough)
    assert x.shape == (len(rows), window.n_x)
    assert u.shape == (len(rows), n_u)
    assert y_next.shape == (len(rows), n_y)
    width = window.n_x + n_u + n_y
    np.testing.assert_array_equal(np.hstack([x, u, y_next]), np.reshape(rows, (len(rows), width)))
    assert len(rows) == sum(max(0, n - window.n_samples) for n in lengths)


@given(lags)
def test_advance_is_the_shift_of_the_record(sizes):
    p, q, feedthrough, n_y, n_u = sizes
    window = LagWindow(p, q, feedthrough, n_y, n_u)
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(12, n_y)), rng.normal(size=(12, n_u))
    x, acting, y_next = window.pairs(y, u)
    np.testing.assert_array_equal(window.advance(x, acting, y_next)[:-1], x[1:])
    np.testing.assert_array_equal(window.advance(x[0], acting[0], y_next[0]), x[1])


@given(lags, st.integers(0, 3))
def test_a_roll_out_starts_with_the_record_s_window_and_inputs(sizes, more):
    p, q, feedthrough, n_y, n_u = sizes
    window = LagWindow(p, q, feedthrough, n_y, n_u)
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(12, n_y)), rng.normal(size=(12, n_u))
    x, acting, y_next = window.pairs(y, u)
    n_init = window.n_samples + more
    np.testing.assert_array_equal(window.initial(y, u, n_init), x[more])
    np.testing.assert_array_equal(window.acting_inputs(y, u, n_init), acting[more:])
    assert len(y_next[more:]) == len(y) - n_init


def test_too_short_a_start_is_refused():
    window = LagWindow(3, 1, False, 1, 1)
    with pytest.raises(DataError, match="n_init is 2; expected at least 3"):
        window.initial(Y, U, 2)
    with pytest.raises(DataError, match="6 samples; expected at least 7"):
        window.initial(Y, U, 7)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_feedthrough_needs_the_last_input(q):
    window = LagWindow(1, q, True, 1, 1)
    for call in (lambda: window.pairs(Y, U[:-1]), lambda: window.acting_inputs(Y, U[:-1], 3)):
        with pytest.raises(ShapeError, match=r"inputs has 5 rows; expected 6.*feedthrough"):
            call()


def test_a_window_with_input_lags_at_the_very_end_needs_the_last_input_too():
    window = LagWindow(1, 2, True, 1, 1)
    np.testing.assert_array_equal(window.initial(Y, U, 6), [5.0, 105.0])
    with pytest.raises(ShapeError, match=r"inputs has 5 rows; expected 6.*feedthrough"):
        window.initial(Y, U[:-1], 6)
    np.testing.assert_array_equal(window.initial(Y, U[:-1], 5), [4.0, 104.0])


def test_channels_are_repeated_as_the_window_is_laid_out():
    window = LagWindow(2, 3, False, 2, 1)
    np.testing.assert_array_equal(
        window.repeat_channels(np.array([1.0, 2.0]), np.array([7.0])), [1, 2, 1, 2, 7, 7]
    )
    assert window.n_x == 6


@pytest.mark.parametrize("shift", [False, True])
def test_a_window_that_is_not_full_repeats_the_first_sample(shift):
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    window = LagWindow(5, 4, shift, 2, 1)
    for n_init in range(1, 8):
        missing = max(0, window.n_samples - n_init)
        longer_y, longer_u = np.vstack([y[:1]] * missing + [y]), np.vstack([u[:1]] * missing + [u])
        want = window.initial(longer_y, longer_u, n_init + missing)
        np.testing.assert_array_equal(window.initial_padded(y, u, n_init), want)
