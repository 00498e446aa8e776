"""Trajectory and Trajectories: shapes, names, time bases, splits; nothing is shared or written to."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl import Trajectories, Trajectory
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError


@st.composite
def ragged(draw, max_episodes=5):
    """`(xs, us)`: arrays with distinct entries, inputs of n or n - 1 rows, some episodes of one sample."""
    n_y, n_u = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    xs, us = [], []
    for i in range(draw(st.integers(1, max_episodes))):
        n = draw(st.integers(1, 8))
        rows = n - draw(st.integers(0, 1))
        xs.append(1000.0 * i + np.arange(n * n_y, dtype=float).reshape(n, n_y))
        us.append(-1000.0 * i - np.arange(rows * n_u, dtype=float).reshape(rows, n_u))
    return xs, us if n_u else None


# --- building --------------------


@given(ragged())
def test_a_list_of_arrays_is_kept_as_it_is(arrays):
    xs, us = arrays
    data = Trajectories.from_arrays(xs, us, dt=0.5)
    assert len(data) == len(xs)
    assert data.n_steps == sum(len(x) - 1 for x in xs)
    assert (data.n_y, data.n_u) == (xs[0].shape[1], us[0].shape[1] if us else 0)
    for i, (e, x) in enumerate(zip(data, xs, strict=True)):
        np.testing.assert_array_equal(e.outputs, x)
        np.testing.assert_array_equal(e.states, x)
        np.testing.assert_array_equal(e.inputs, us[i] if us else np.empty((len(x), 0)))
        np.testing.assert_allclose(e.time, 0.5 * np.arange(len(x)))
        assert (len(e), e.n_steps) == (len(x), len(x) - 1)


def test_three_dimensional_arrays_and_nested_lists_are_episodes():
    x, u = np.arange(24.0).reshape(2, 4, 3), np.arange(6.0).reshape(2, 3, 1)
    for data in (
        Trajectories.from_arrays(x, u, dt=1.0),
        Trajectories.from_arrays(list(x), list(u), dt=1.0),
        Trajectories.from_arrays(x.tolist(), u.tolist(), dt=1.0),
    ):
        assert len(data) == 2
        np.testing.assert_array_equal(np.stack([e.outputs for e in data]), x)
        np.testing.assert_array_equal(np.stack([e.inputs for e in data]), u)


def test_one_record_as_array_nested_list_or_vector():
    for x in (np.arange(3.0), np.arange(3.0)[:, None], [[0], [1], [2]], [0, 1, 2], (0.0, 1.0, 2.0)):
        data = Trajectories.from_arrays(x, [5, 6], dt=1.0)
        assert len(data) == 1
        np.testing.assert_array_equal(data[0].outputs, [[0.0], [1.0], [2.0]])
        np.testing.assert_array_equal(data[0].inputs, [[5.0], [6.0]])


def test_names_travel_and_have_defaults():
    x, u = np.zeros((4, 2)), np.zeros((3, 1))
    default = Trajectories.from_arrays(x, u, dt=1.0)
    assert (default.output_names, default.input_names) == (("x0", "x1"), ("u0",))
    named = Trajectories.from_arrays(x, u, dt=1.0, state_names=["pos", "vel"], input_names=["force"])
    assert (named.output_names, named.input_names) == (("pos", "vel"), ("force",))
    assert named[:].output_names == named[0].slice(1, 3).output_names == ("pos", "vel")
    assert named[0].slice(1, 3).input_names == ("force",)
    single = Trajectories.from_arrays(x[:, :1], u, dt=1.0, state_names="abc", input_names="torque")
    assert (single.output_names, single.input_names) == (("abc",), ("torque",))


def test_a_string_is_one_name_even_if_its_letters_would_fit():
    with pytest.raises(ShapeError, match="names"):
        Trajectories.from_arrays(np.zeros((4, 3)), dt=1.0, state_names="xyz")


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c"]])
def test_a_wrong_number_of_names_is_refused(names):
    with pytest.raises(ShapeError, match="names"):
        Trajectories.from_arrays(np.zeros((4, 2)), dt=1.0, state_names=names)


@given(st.integers(1, 6), st.integers(0, 9))
def test_inputs_have_as_many_rows_as_outputs_or_one_fewer(n, rows):
    u = np.zeros((rows, 2))
    if rows in (n - 1, n):
        assert len(Trajectory(np.zeros((n, 1)), u, 1.0).inputs) == rows
    else:
        with pytest.raises(ShapeError, match=f"inputs has {rows} rows; expected {n - 1} or {n} to match"):
            Trajectory(np.zeros((n, 1)), u, 1.0)


def test_the_message_of_the_design():
    with pytest.raises(ShapeError, match="inputs has 3 rows; expected 4 or 5 to match states with 5 rows"):
        Trajectories.from_arrays(np.zeros((5, 2)), np.zeros((3, 1)), dt=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["states", "inputs"])
def test_nan_and_inf_are_refused_by_name(bad, where):
    x, u = np.ones((5, 2)), np.ones((4, 1))
    (x if where == "states" else u)[2, 0] = bad
    with pytest.raises(DataError, match=rf"{where} has 1 NaN.*\(2, 0\)"):
        Trajectories.from_arrays(x, u, dt=0.1)


@pytest.mark.parametrize(
    ("x", "u", "kind"),
    [
        ([], None, DataError),
        (np.empty((0, 2)), None, DataError),
        (np.empty((3, 0)), None, DataError),
        (np.empty((0, 4, 2)), None, DataError),
        (np.zeros((2, 2, 2, 2)), None, ShapeError),
        (3.0, None, ShapeError),
        ([[1.0], [2.0, 3.0]], None, ShapeError),
        ([[1.0, 2.0], 3.0], None, ShapeError),
        (["a", "b"], None, DataError),
        (None, None, DataError),
        ([np.zeros((3, 1)), np.zeros((3, 2))], None, OptionError),
        ([np.zeros((3, 1)), np.zeros((3, 1))], [np.zeros((2, 1))], ShapeError),
        ([np.zeros((3, 1)), np.zeros((3, 1))], np.zeros((5, 1)), ShapeError),
        ([np.zeros((3, 1)), np.zeros((3, 1))], 5.0, ShapeError),
        ([np.zeros((3, 1)), np.zeros((3, 1))], [np.zeros((2, 1)), None], OptionError),
        (np.zeros((3, 1)), [np.zeros((2, 1))], ShapeError),
        (np.zeros((3, 1)), np.zeros((2, 2, 2)), ShapeError),
        (np.zeros((3, 1)) * 1j, None, DataError),
    ],
)
def test_mixed_sizes_and_wrong_kinds_are_refused(x, u, kind):
    with pytest.raises(kind):
        Trajectories.from_arrays(x, u, dt=1.0)


@pytest.mark.parametrize("bad", [None, 0.0, -0.1, np.nan, np.inf, "a"])
def test_dt_must_be_given_and_positive(bad):
    with pytest.raises(TimeBaseError, match="dt is"):
        Trajectories.from_arrays(np.zeros((3, 1)), dt=bad)
    with pytest.raises(TimeBaseError, match="dt is"):
        Trajectory(np.zeros((3, 1)), dt=bad)


def test_episodes_must_agree():
    def make(dt=0.1, y=("a",), u=("b",)):
        return Trajectory(np.zeros((3, 1)), np.zeros((2, 1)), dt, y, u)

    Trajectories([make(), make()])
    with pytest.raises(TimeBaseError, match=r"episodes .* and .* have sample times 0.1 s and 0.2 s"):
        Trajectories([make(), make(dt=0.2)])
    with pytest.raises(OptionError, match="output_names"):
        Trajectories([make(), make(y=("c",))])
    with pytest.raises(OptionError, match="input_names"):
        Trajectories([make(), make(u=("c",))])
    with pytest.raises(TimeBaseError):
        Trajectories([make()]) + Trajectories([make(dt=0.2)])
    with pytest.raises(DataError, match="empty"):
        Trajectories([])
    with pytest.raises(DataError, match="ndarray"):
        Trajectories([np.zeros((3, 1))])


# --- nothing is shared or written to --------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_later_writes_by_the_caller_do_not_reach_the_data(order):
    x, u = np.ones((4, 2), order=order), np.ones((3, 1), order=order)
    view = x[:, :]
    view.flags.writeable = False
    for given_x in (x, view, x[::1]):
        data = Trajectories.from_arrays(given_x, u, dt=1.0)
        one = Trajectory(given_x, u, 1.0)
        x[:] = 7.0
        u[:] = 7.0
        assert (data[0].outputs == 1).all()
        assert (one.outputs == 1).all()
        assert (one.inputs == 1).all()
        x[:] = u[:] = 1.0
    assert x.flags.writeable
    assert u.flags.writeable


def test_the_data_cannot_be_written_to():
    e = Trajectory(np.ones((4, 2)), np.ones((3, 1)), 1.0)
    for array in (e.outputs, e.inputs, e.slice(0, 2).outputs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    with pytest.raises(AttributeError):
        e.dt = 3.0  # type: ignore[misc]


def test_copies_and_pickles_hold_the_same_data():
    data = Trajectories.from_arrays(np.arange(6.0).reshape(3, 2), np.ones((2, 1)), dt=0.1)
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert twin.dt == data.dt
        assert twin.output_names == data.output_names
        np.testing.assert_array_equal(twin[0].outputs, data[0].outputs)


# --- the sequence --------------------


@given(ragged(), st.data())
def test_indexing_as_a_list_does(arrays, data):
    episodes = Trajectories.from_arrays(*arrays, dt=1.0)
    n = len(episodes)
    listed = list(episodes)
    i = data.draw(st.integers(-n, n - 1))
    assert episodes[i] is listed[i]
    assert episodes[np.int64(i)] is listed[i]
    chosen = data.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))
    assert list(episodes[np.array(chosen)]) == [listed[j] for j in chosen]
    assert list(episodes[chosen]) == [listed[j] for j in chosen]
    mask = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any))
    assert list(episodes[np.array(mask)]) == [e for e, m in zip(listed, mask, strict=True) if m]
    assert list(episodes[1:]) == listed[1:] if n > 1 else True
    assert list(episodes + episodes[:1]) == [*listed, listed[0]]
    for bad in (n, -n - 1):
        with pytest.raises(IndexError):
            episodes[bad]


def test_an_empty_choice_is_refused():
    data = Trajectories.from_arrays(np.zeros((3, 1)), dt=1.0)
    for nothing in (slice(5, 9), np.array([], dtype=int), np.array([False])):
        with pytest.raises(DataError, match="empty"):
            data[nothing]


@given(ragged(), st.data())
def test_a_slice_of_a_record_keeps_the_inputs_of_its_samples(arrays, data):
    e = Trajectories.from_arrays(*arrays, dt=1.0)[0]
    start = data.draw(st.integers(0, len(e) - 1))
    stop = data.draw(st.integers(start + 1, len(e)))
    part = e.slice(start, stop)
    np.testing.assert_array_equal(part.outputs, e.outputs[start:stop])
    assert len(part.inputs) >= part.n_steps
    np.testing.assert_array_equal(part.inputs, e.inputs[start:stop])


def test_reprs_say_what_is_inside():
    data = Trajectories.from_arrays(np.zeros((2, 5, 2)), np.zeros((2, 4, 1)), dt=0.25, input_names=["force"])
    for word in ("2 episodes", "8 steps", "0.25", "force", "x1"):
        assert word in repr(data)
    for word in ("5 samples", "0.25", "n_y=2", "n_u=1"):
        assert word in repr(data[0])


def test_coerce():
    data = Trajectories.from_arrays(np.zeros((2, 5, 2)), dt=0.25)
    assert Trajectories.coerce(data) is data
    assert list(Trajectories.coerce(data[0])) == [data[0]]
    assert list(Trajectories.coerce(iter(data))) == list(data)
    for bad in (np.zeros((3, 1)), 3, None):
        with pytest.raises(DataError, match=r"X is a .*from_arrays"):
            Trajectories.coerce(bad)


# --- splitting --------------------


@given(st.integers(2, 12), st.floats(0.01, 0.99), st.integers(0, 5))
def test_split_by_episode_is_a_partition(n, fraction, seed):
    data = Trajectories.from_arrays(np.arange(3.0 * n).reshape(n, 3, 1), dt=1.0)
    if not 0 < round(n * fraction) < n:
        with pytest.raises(DataError, match="test_fraction"):
            data.split(fraction, random_state=seed)
        return
    train, test = data.split(fraction, random_state=seed)
    assert len(test) == round(n * fraction)
    assert set(train) | set(test) == set(data)
    assert not set(train) & set(test)
    again = data.split(fraction, random_state=seed)
    assert list(again[0]) == list(train)
    assert list(again[1]) == list(test)


def test_split_by_episode_depends_on_the_seed():
    data = Trajectories.from_arrays(np.arange(60.0).reshape(20, 3, 1), dt=1.0)
    draws = {tuple(map(id, data.split(0.5, random_state=s)[1])) for s in range(8)}
    assert len(draws) > 4


@given(ragged(), st.floats(0.05, 0.95))
def test_split_by_time_cuts_every_episode_and_loses_nothing(arrays, fraction):
    data = Trajectories.from_arrays(*arrays, dt=1.0)
    if any(not 0 < round(len(e) * (1 - fraction)) < len(e) for e in data):
        with pytest.raises(DataError, match="test_fraction"):
            data.split(fraction, by="time")
        return
    train, test = data.split(fraction, by="time")
    for e, a, b in zip(data, train, test, strict=True):
        np.testing.assert_array_equal(np.concatenate([a.outputs, b.outputs]), e.outputs)
        np.testing.assert_array_equal(np.concatenate([a.inputs, b.inputs]), e.inputs)


def test_bad_split_options():
    data = Trajectories.from_arrays(np.zeros((4, 3, 1)), dt=1.0)
    for bad in (0.0, -0.1, 1.5, np.nan, "half"):
        with pytest.raises(OptionError, match="test_fraction"):
            data.split(bad)
    with pytest.raises(OptionError, match="by is"):
        data.split(by="row")
    with pytest.raises(DataError, match="by="):
        data[:2].split(0.1)


# --- snapshots --------------------


@pytest.mark.filterwarnings("ignore:skipped episode")
@given(ragged())
def test_snapshots_of_states_are_consecutive_samples_of_one_episode(arrays):
    data = Trajectories.from_arrays(*arrays, dt=1.0)
    x, u, y_next = data.snapshots()
    assert len(x) == len(u) == len(y_next) == data.n_steps
    np.testing.assert_array_equal(x, np.concatenate([e.outputs[:-1] for e in data]))
    np.testing.assert_array_equal(u, np.concatenate([e.inputs[: e.n_steps] for e in data]))
    np.testing.assert_array_equal(y_next, np.concatenate([e.outputs[1:] for e in data]))


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None])
def test_snapshots_refuse_lags_that_are_no_counts(bad):
    data = Trajectories.from_arrays(np.zeros((4, 1)), np.zeros((3, 1)), dt=1.0)
    with pytest.raises(OptionError, match="output_lags"):
        data.snapshots(output_lags=bad)
    with pytest.raises(OptionError, match="input_lags"):
        data.snapshots(input_lags=bad)


def test_snapshots_do_not_write_and_can_be_written_to_without_harm():
    data = Trajectories.from_arrays(np.arange(8.0).reshape(4, 2), np.ones((3, 1)), dt=1.0)
    for array in data.snapshots():
        array[:] = 9.0
    np.testing.assert_array_equal(data[0].outputs, np.arange(8.0).reshape(4, 2))
    np.testing.assert_array_equal(data[0].inputs, np.ones((3, 1)))


def test_samples_appended_in_a_loop_are_not_read_as_episodes():
    samples = [np.array([k, -k], dtype=float) for k in range(6)]
    with pytest.raises(ShapeError, match=r"list of 6 vectors of length 2.*np\.array\(x\)"):
        Trajectories.from_arrays(samples, dt=0.1)
    assert len(Trajectories.from_arrays(np.array(samples), dt=0.1)) == 1
    records = [np.arange(9.0), np.arange(7.0)]  # episodes of one signal
    assert [len(e) for e in Trajectories.from_arrays(records, dt=0.1)] == [9, 7]


@pytest.mark.parametrize("random_state", ["a", -1])
def test_seeds_of_a_split_that_are_none_are_refused(random_state):
    records = Trajectories.from_arrays([np.ones((3, 1))] * 4, dt=0.1)
    with pytest.raises(OptionError, match="random_state is"):
        records.split(0.5, random_state=random_state)


def test_a_signal_cannot_be_output_and_input():
    with pytest.raises(OptionError, match="'a' is both output and input"):
        Trajectory(np.zeros(3), np.zeros(3), 0.1, ["a"], ["a"])


@pytest.mark.parametrize("index", ["a", [0.5], None])
def test_indices_of_another_kind_are_refused(index):
    data = Trajectories.from_arrays(np.arange(12.0).reshape(2, 3, 2), dt=0.1)
    with pytest.raises(OptionError, match="index is"):
        data[index]
    with pytest.raises(DataError, match="episodes is empty"):
        data[[]]
    with pytest.raises(OptionError, match="feedthrough is 'yes'"):
        data.snapshots(1, 1, "yes")
