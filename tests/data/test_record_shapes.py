"""Turned arrays, lists of episodes, indices, splits by time, blocks, short episodes, sample times."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from koopctrl import KoopmanRNN, Trajectories, Trajectory, datasets
from koopctrl.errors import DataError, KoopctrlError, KoopctrlWarning, OptionError, ShapeError, TimeBaseError

RNG = np.random.default_rng(0)

# (states, inputs) with time along the columns, in whole or in part
TURNED = [
    ((2, 200), (1, 200)),
    ((2, 200), (1, 199)),
    ((1, 200), (1, 200)),
    ((2, 200), (200,)),
    ((2, 200), (200, 1)),
    ((2, 200), (199, 1)),
    ((200, 2), (1, 200)),
    ((200, 2), (2, 199)),
    ((3, 50), (2, 50)),
    ((12, 60), (4, 59)),
    ((1, 10), (1, 9)),
    ((6, 7), (5, 6)),
]


@pytest.mark.parametrize(("x", "u"), TURNED)
def test_turned_arrays_are_refused_and_turned_back_they_fit(x, u):
    x, u = RNG.normal(size=x), RNG.normal(size=u)
    for build in (lambda: Trajectories.from_arrays(x, u, dt=1.0), lambda: Trajectory(x, u, 1.0)):
        with pytest.raises(ShapeError, match="Turned"):
            build()
    right = [a if a.ndim == 1 or a.shape[0] > a.shape[1] else a.T for a in (x, u)]
    assert len(Trajectories.from_arrays(*right, dt=1.0)[0]) == max(x.shape)


@pytest.mark.parametrize(
    ("x", "u"),
    [
        ((2, 3), (1, 2)),
        ((3, 40), (2, 1)),
        ((3, 40), (3, 2)),
        ((2, 64), (1, 1)),
        ((1, 4), (1, 4)),
        ((4, 4), (4, 4)),
    ],
)
def test_short_records_of_many_signals_are_taken(x, u):
    assert len(Trajectory(np.zeros(x), np.zeros(u), 1.0)) == x[0]


def test_names_say_which_way_round_is_meant():
    x, u = np.zeros((3, 20)), np.zeros((2, 19))
    with pytest.raises(ShapeError, match="names"):
        Trajectory(x, u, 1.0)
    assert len(Trajectory(x, u, 1.0, output_names=[f"T{i}" for i in range(20)])) == 3
    with pytest.warns(KoopctrlWarning, match="2 samples of 200 signals"):
        Trajectories.from_arrays(np.zeros((2, 200)), dt=1.0)
    Trajectories.from_arrays(np.zeros((30, 200)), dt=1.0)


class Array:
    """Something with `__array__` alone, as tensors of other libraries."""

    def __init__(self, values):
        self.values, self.ndim = np.asarray(values), np.ndim(values)

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


A, B = np.arange(15.0), np.arange(15.0) + 100
LISTS = {
    "series": [pd.Series(A), pd.Series(B)],
    "series with an index": [pd.Series(A, index=A + 5), pd.Series(B, index=B[::-1])],
    "frames": [pd.DataFrame({"y": A}), pd.DataFrame({"y": B})],
    "vectors": [A, B],
    "columns": [A[:, None], B[:, None]],
    "a tuple": (A, B),
    "a generator": (v for v in (A, B)),
    "other arrays": [Array(A), Array(B)],
    "nested lists": [A[:, None].tolist(), B[:, None].tolist()],
    "a 3-D array": np.stack([A, B])[:, :, None],
    "float32": [A.astype(np.float32), B.astype(np.float32)],
}


@pytest.mark.parametrize("name", LISTS)
def test_two_episodes_of_any_kind_are_two_episodes(name):
    data = Trajectories.from_arrays(LISTS[name], dt=1.0)
    assert (len(data), data.n_y, [len(e) for e in data]) == (2, 1, [15, 15])
    np.testing.assert_array_equal(data[1].outputs[:, 0], B)


def test_inputs_may_be_series_too():
    data = Trajectories.from_arrays([pd.Series(A), pd.Series(B)], [pd.Series(B), pd.Series(A)], dt=1.0)
    np.testing.assert_array_equal(data[0].inputs[:, 0], B)
    assert len(Trajectories.from_arrays(pd.Series(A), pd.Series(B), dt=1.0)) == 1


# --- errors of the package's own --------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda d: Trajectories(None),
        lambda d: Trajectories(3),
        lambda d: Trajectories("abc"),
        lambda d: Trajectories([None]),
        lambda d: d[[5]],
        lambda d: d[5],
        lambda d: d[-4],
        lambda d: d["a"],
        lambda d: d[1.5],
        lambda d: d[None],
        lambda d: d[True],
        lambda d: d[[True, False]],
        lambda d: d[[[0, 1]]],
        lambda d: d[[0, [1]]],
        lambda d: d[[]],
        lambda d: d + None,
        lambda d: d.blocks(0),
        lambda d: d.blocks(1.5),
        lambda d: d.blocks(100),
        lambda d: d.long_enough(0),
        lambda d: d.long_enough(1000),
        lambda d: d.split("a"),
        lambda d: d.split(0.3, by=3),
        lambda d: d.split(0.3, by="episode", random_state="a"),
        lambda d: Trajectories.from_arrays(None, dt=1.0),
        lambda d: Trajectories.from_arrays({"a": [1]}, dt=1.0),
        lambda d: Trajectories.from_arrays([], dt=1.0),
        lambda d: Trajectories.from_arrays([[1.0], [1.0, 2.0]], dt=1.0),
        lambda d: Trajectories.from_arrays([A, B], 3, dt=1.0),
        lambda d: Trajectories.from_arrays([A, B], [A], dt=1.0),
        lambda d: Trajectories.from_arrays(A, dt=10**400),
        lambda d: Trajectories.from_arrays(A, dt=[0.1]),
        lambda d: Trajectories.coerce(None),
    ],
)
def test_raw_errors_do_not_pass(call):
    data = Trajectories.from_arrays(np.zeros((3, 20, 1)), np.zeros((3, 19, 1)), dt=1.0)
    with pytest.raises(KoopctrlError, match=r"expected|has a|no episode"):
        call(data)


def test_an_index_out_of_range_is_an_index_error_too():
    data = Trajectories.from_arrays(np.zeros((3, 20, 1)), dt=1.0)
    with pytest.raises(IndexError, match="expected episodes 0 to 2"):
        data[3]
    assert len(data[np.int64(1)]) == 20
    assert len(data[np.array([True, False, True])]) == 2


# --- sample times --------------------


def test_episodes_get_the_sample_time_of_the_longest_within_the_rule():
    def record(n, dt):
        return Trajectory(np.zeros((n, 1)), None, dt)

    data = Trajectories([record(30, 0.100001), record(501, 0.1)])
    assert {e.dt for e in data} == {data.dt} == {0.1}
    with pytest.raises(TimeBaseError, match=r"over 5000 steps they move a sample by 0\.05 periods"):
        Trajectories([record(30, 0.100001), record(5001, 0.1)])


# --- splits --------------------


def test_one_record_splits_by_time_and_says_so():
    data = datasets.hair_dryer()
    with pytest.warns(KoopctrlWarning, match='last 30 % in time.*by="time"') as caught:
        train, test = data.split(0.3)
    assert caught[0].filename == __file__
    assert (len(train[0]), len(test[0])) == (700, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = data.split(0.3, by="time")
        Trajectories.from_arrays(np.zeros((4, 9, 1)), dt=1.0).split(0.5)
    np.testing.assert_array_equal(again[1][0].outputs, test[0].outputs)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_blocks_are_the_record_in_pieces(n):
    data = datasets.hair_dryer()
    blocks = data.blocks(np.int64(n))
    assert len(blocks) == n
    sizes = [len(e) for e in blocks]
    assert max(sizes) - min(sizes) <= 1
    np.testing.assert_array_equal(np.concatenate([e.outputs for e in blocks]), data[0].outputs)
    np.testing.assert_array_equal(np.concatenate([e.inputs for e in blocks]), data[0].inputs)
    assert len({e.label for e in blocks}) == n


def test_blocks_of_one_record_serve_scikit_learn():
    blocks = datasets.hair_dryer().blocks(4)
    model = KoopmanRNN(0, output_lags=2, input_lags=2, input_coupling="linear")
    scores = cross_val_score(model, blocks, cv=KFold(4))
    assert scores.shape == (4,)
    assert scores.min() > 0.7
    search = GridSearchCV(model, {"output_lags": [1, 2]}, cv=2).fit(blocks)
    assert search.best_params_["output_lags"] == 2


# --- short episodes --------------------


def test_episodes_shorter_than_the_window_are_named_and_skipped():
    long, short = np.arange(20.0)[:, None], np.arange(3.0)[:, None]
    data = Trajectories(
        Trajectory(y, y, 1.0, label=name) for y, name in ((long, "a"), (short, "b7"), (long, "c"))
    )
    with pytest.warns(KoopctrlWarning, match=r"skipped episode 'b7' \(3 samples\).*6 samples") as caught:
        x, _, y_next = data.snapshots(output_lags=5)
    assert caught[0].filename == __file__
    assert len(x) == len(y_next) == 30
    with pytest.warns(KoopctrlWarning, match="b7"):
        assert [e.label for e in data.long_enough(6)] == ["a", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.snapshots(output_lags=2)
        assert len(data.long_enough(3)) == 3
    with pytest.raises(DataError, match=r"no episode has the 30 samples"):
        data.long_enough(30)


# --- whole numbers of NumPy's --------------------


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, int])
def test_counts_and_seeds_of_any_integer_type(kind):
    data = Trajectories.from_arrays(RNG.normal(size=(6, 9, 1)), dt=1.0)
    a, b = (d.split(0.5, random_state=s)[0] for d, s in ((data, kind(3)), (data, 3)))
    assert [e.label for e in a] == [e.label for e in b]
    assert data.snapshots(kind(2))[0].shape == data.snapshots(2)[0].shape
    with pytest.raises(OptionError):
        data.snapshots(float(2))
