"""CSV files and DataFrames: values, episodes, time stamps, and what is wrong with a table."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl import Trajectories, Trajectory
from koopctrl.errors import DataError, KoopctrlError, OptionError, TimeBaseError

TABLE = "t,y,u,run\n0.0,1,10,a\n0.5,2,20,a\n1.0,3,30,a\n0.0,7,70,b\n0.5,8,80,b\n"


@pytest.fixture
def csv(tmp_path):
    def write(text, encoding="utf-8", newline="\n"):
        path = tmp_path / "data.csv"
        path.write_bytes(text.replace("\n", newline).encode(encoding))
        return path

    return write


def same(a: Trajectories, b: Trajectories) -> None:
    assert len(a) == len(b)
    assert (a.output_names, a.input_names) == (b.output_names, b.input_names)
    assert a.dt == pytest.approx(b.dt)
    for e, f in zip(a, b, strict=True):
        np.testing.assert_array_equal(e.outputs, f.outputs)
        np.testing.assert_array_equal(e.inputs, f.inputs)


EXPECTED = [([[1.0], [2.0], [3.0]], [[10.0], [20.0], [30.0]]), ([[7.0], [8.0]], [[70.0], [80.0]])]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_by_hand(csv, encoding, newline):
    path = csv(TABLE, encoding, newline)
    for data in (
        Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=0.5, episode="run"),
        Trajectories.from_csv(str(path), outputs="y", inputs="u", time="t", episode="run"),
        Trajectories.from_dataframe(pd.read_csv(path), outputs=["y"], inputs=["u"], time="t", episode="run"),
    ):
        assert data.dt == 0.5
        assert [e.label for e in data] == ["a", "b"]
        assert (data.output_names, data.input_names) == (("y",), ("u",))
        for e, (y, u) in zip(data, EXPECTED, strict=True):
            np.testing.assert_array_equal(e.outputs, y)
            np.testing.assert_array_equal(e.inputs, u)


def test_other_delimiters_blank_lines_and_spaces(csv):
    path = csv(" y ; u\n1;10\n\n 2 ;20\n")
    data = Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0, delimiter=";")
    np.testing.assert_array_equal(data[0].outputs, [[1.0], [2.0]])


def test_without_an_episode_column_all_rows_are_one_record(csv):
    data = Trajectories.from_csv(csv(TABLE), outputs=["y", "u"], dt=0.5)
    assert len(data) == 1
    assert data[0].outputs.shape == (5, 2)
    assert data.n_u == 0


def test_interleaved_episodes_are_told_apart_and_keep_their_order():
    df = pd.DataFrame({"y": [1.0, 10.0, 2.0, 20.0, 3.0], "run": [5, 3, 5, 3, 5]})
    data = Trajectories.from_dataframe(df, outputs=["y"], dt=1.0, episode="run")
    assert [e.label for e in data] == ["5", "3"]
    np.testing.assert_array_equal(data[0].outputs[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(data[1].outputs[:, 0], [10, 20])


def test_an_unused_column_may_hold_anything(csv):
    data = Trajectories.from_csv(csv("y,note\n1,ok\n2,\n"), outputs=["y"], dt=1.0)
    np.testing.assert_array_equal(data[0].outputs, [[1.0], [2.0]])


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", DataError, "is empty"),
        ("y,u\n", DataError, "no rows"),
        ("y,y\n1,2\n", DataError, "repeats a column name"),
        ("y,u\n1,2\n1\n", DataError, "line 3 has 1 cells; expected 2"),
        ("y,u\n1,2,3\n", DataError, "line 2 has 3 cells; expected 2"),
        ("y,u\n1,2\nbad,3\n2,1\n", DataError, "column 'y' holds text"),
        ("y,u\n1,2\n,3\n2,1\n", DataError, "NaN"),
        ("y,u\n1,2\ninf,3\n2,1\n", DataError, "infinite"),
        ("y,u\n1,2\n2,\n3,4\n", DataError, "NaN"),
        ("a,u\n1,2\n", OptionError, "no column 'y'"),
    ],
)
def test_damaged_csv_files_say_where(csv, text, kind, words):
    with pytest.raises(kind, match=words):
        Trajectories.from_csv(csv(text), outputs=["y"], inputs=["u"], dt=1.0)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe\x00", b"y,u\n1,\xff\n"])
def test_a_file_that_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0)


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Trajectories.from_csv(tmp_path / "none.csv", outputs=["y"], dt=1.0)


def test_column_options(csv):
    path = csv(TABLE)
    with pytest.raises(OptionError, match="outputs is empty"):
        Trajectories.from_csv(path, outputs=[], dt=1.0)
    with pytest.raises(TimeBaseError, match="dt is None"):
        Trajectories.from_csv(path, outputs=["y"])
    for name in ("time", "episode"):
        with pytest.raises(OptionError, match="no column 'zz'"):
            Trajectories.from_csv(path, outputs=["y"], dt=1.0, **{name: "zz"})


# --- time stamps --------------------


def from_times(t, dt=None, episode=None):
    df = pd.DataFrame({"t": t, "y": np.arange(len(t), dtype=float), "run": episode or [0] * len(t)})
    return Trajectories.from_dataframe(df, outputs=["y"], time="t", dt=dt, episode="run")


@given(st.floats(1e-6, 1e6), st.integers(2, 50), st.floats(-1e3, 1e3))
def test_the_sample_time_is_read_off_the_stamps(dt, n, start):
    assert from_times((start + np.arange(n)) * dt).dt == pytest.approx(dt, rel=1e-9)


def test_stamps_rounded_to_a_few_digits_are_accepted():
    t = np.round(np.arange(200) * 0.0333333, 4)
    assert from_times(t, dt=1 / 30).dt == 1 / 30
    assert from_times(t).dt == pytest.approx(0.0333333, rel=1e-4)


@pytest.mark.parametrize(
    ("t", "dt"),
    [
        ([0.0, 0.1, 0.3], None),
        ([0.0, 0.1, 0.1], None),
        ([0.0, 0.2, 0.1], None),
        ([0.2, 0.1, 0.0], None),
        ([0.0, 0.1, np.nan], None),
        ([0.0, 0.1, np.inf], None),
        ([0.0, 0.1, 0.2], 0.2),
        ([0.0], None),
    ],
)
def test_gaps_and_unsorted_or_wrong_times_are_refused(t, dt):
    with pytest.raises(TimeBaseError):
        from_times(t, dt)


def test_episodes_with_different_sample_times_are_refused():
    with pytest.raises(TimeBaseError):
        from_times([0.0, 0.1, 0.2, 0.0, 0.2, 0.4], episode=[0, 0, 0, 1, 1, 1])
    assert from_times([0.0, 0.1, 0.2, 5.0, 5.1, 5.2], episode=[0, 0, 0, 1, 1, 1]).dt == pytest.approx(0.1)


def test_a_row_without_an_episode_is_refused():
    df = pd.DataFrame({"y": [1.0, 2.0, 3.0], "run": [1.0, np.nan, 1.0]})
    with pytest.raises(DataError, match="run"):
        Trajectories.from_dataframe(df, outputs=["y"], dt=1.0, episode="run")


# --- there and back --------------------


@st.composite
def episodes(draw):
    n_y, n_u = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    number = st.floats(allow_nan=False, allow_infinity=False, width=64)
    result = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 5))
        rows = n - draw(st.integers(0, 1))
        y = draw(st.lists(number, min_size=n * n_y, max_size=n * n_y))
        u = draw(st.lists(number, min_size=rows * n_u, max_size=rows * n_u))
        result.append(Trajectory(np.reshape(y, (n, n_y)), np.reshape(u, (rows, n_u)) if n_u else None, 0.25))
    return Trajectories(result)


@given(episodes())
def test_a_dataframe_gives_the_same_episodes_back(data):
    df = data.to_dataframe()
    assert list(df.columns) == ["episode", "time", *data.output_names, *data.input_names]
    assert len(df) == sum(len(e) for e in data)
    back = Trajectories.from_dataframe(
        df, outputs=data.output_names, inputs=data.input_names, dt=0.25, time="time", episode="episode"
    )
    same(data, back)


def test_a_csv_file_gives_the_same_episodes_back(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 7, 2))
    data = Trajectories.from_arrays(x, x[:, :-1, :1], dt=0.1)
    path = tmp_path / "data.csv"
    data.to_dataframe().to_csv(path, index=False)
    back = Trajectories.from_csv(
        path, outputs=data.output_names, inputs=data.input_names, dt=0.1, episode="episode"
    )
    same(data, back)


def test_a_missing_last_input_is_nan_in_the_table():
    df = Trajectories.from_arrays([1.0, 2.0, 3.0], [10.0, 20.0], dt=1.0).to_dataframe()
    np.testing.assert_array_equal(df["u0"], [10.0, 20.0, np.nan])
    np.testing.assert_array_equal(df["time"], [0.0, 1.0, 2.0])


def test_episodes_with_equal_labels_stay_apart():
    part = Trajectories.from_arrays([1.0, 2.0], dt=1.0)
    both = part + Trajectories.from_arrays([5.0, 6.0, 7.0], dt=1.0)
    back = Trajectories.from_dataframe(both.to_dataframe(), outputs=["x0"], dt=1.0, episode="episode")
    same(both, back)


@pytest.mark.parametrize("name", ["time", "episode"])
def test_a_signal_named_as_another_column_is_refused(name):
    data = Trajectories.from_arrays([1.0, 2.0], [1.0], dt=1.0, state_names=[name])
    with pytest.raises(KoopctrlError, match=name):
        data.to_dataframe()


def test_the_caller_s_table_is_not_written_to_and_not_shared():
    df = pd.DataFrame({"y": [1.0, 2.0, 3.0], "u": [1.0, 2.0, 3.0]})
    before = df.copy()
    data = Trajectories.from_dataframe(df, outputs=["y"], inputs=["u"], dt=1.0)
    pd.testing.assert_frame_equal(df, before)
    df["y"] = 9.0
    np.testing.assert_array_equal(data[0].outputs, [[1.0], [2.0], [3.0]])


def test_columns_and_delimiters_of_another_kind_are_refused(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text("y,u\n1,2\n2,3\n")
    for wrong, said in (
        ({"outputs": None}, "outputs is None"),
        ({"outputs": "y", "inputs": 3}, "inputs is 3"),
    ):
        with pytest.raises(OptionError, match=said):
            Trajectories.from_csv(file, dt=1.0, **wrong)
    with pytest.raises(OptionError, match="delimiter is ''"):
        Trajectories.from_csv(file, outputs="y", dt=1.0, delimiter="")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["y", "u"])
@pytest.mark.parametrize("stamped", [False, True])
def test_records_are_cut_where_cells_are_missing(bad, column, stamped):
    n = 30
    rng = np.random.default_rng(0)
    whole = pd.DataFrame({"t": 0.5 * np.arange(n), "y": rng.normal(size=n), "u": rng.normal(size=n)})
    table = whole.copy()
    table.loc[[7, 8, 20], column] = bad
    base = {"time": "t"} if stamped else {"dt": 0.5}
    with pytest.raises(DataError, match=rf"column '{column}' has NaN.*in row 7, as 2 further rows.*gaps="):
        Trajectories.from_dataframe(table, outputs=["y"], inputs=["u"], **base)
    data = Trajectories.from_dataframe(table, outputs=["y"], inputs=["u"], gaps="split", **base)
    for episode, (start, stop) in zip(data, [(0, 7), (9, 20), (21, 30)], strict=True):
        np.testing.assert_array_equal(episode.outputs[:, 0], whole["y"][start:stop])
        np.testing.assert_array_equal(episode.inputs[:, 0], whole["u"][start:stop])
    assert [e.label for e in data] == ["0/0", "0/1", "0/2"]
    table[column] = bad
    with pytest.raises(DataError, match="no row has a number"):
        Trajectories.from_dataframe(table, outputs=["y"], inputs=["u"], gaps="split", **base)


@pytest.mark.parametrize("way", ["dataframe", "csv"])
def test_empty_outputs_are_kept_as_missing_and_come_back(way, tmp_path):
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(40, 2)), rng.normal(size=(39, 1))
    y[::3, 1] = np.nan
    y[5] = np.nan
    kept = Trajectories.from_arrays(
        [y, y + 1.0], [u, u], dt=0.5, output_names=["a", "b"], input_names=["u"], missing=True
    )
    columns = {"outputs": ["a", "b"], "inputs": ["u"], "time": "time", "episode": "episode", "gaps": "keep"}
    if way == "csv":
        kept.to_dataframe().to_csv(tmp_path / "r.csv", index=False)
        back = Trajectories.from_csv(tmp_path / "r.csv", **columns)
    else:
        back = Trajectories.from_dataframe(kept.to_dataframe(), **columns)
    assert back.missing
    assert len(back) == 2
    for one, other in zip(back, kept, strict=True):
        np.testing.assert_allclose(one.outputs, other.outputs)
        np.testing.assert_allclose(one.inputs, other.inputs)


def test_what_cannot_be_missing_is_refused_where_outputs_are_kept():
    table = pd.DataFrame({"t": np.arange(10.0), "y": np.arange(10.0), "u": np.ones(10)})
    base = {"outputs": ["y"], "inputs": ["u"], "time": "t", "gaps": "keep"}
    for column, value in (("u", np.nan), ("y", np.inf)):
        bad = table.copy()
        bad.loc[4, column] = value
        with pytest.raises(DataError, match=rf"column '{column}'.*in row 4") as refused:
            Trajectories.from_dataframe(bad, **base)
        assert "keep" not in str(refused.value)
    with pytest.raises(TimeBaseError, match="gap"):
        Trajectories.from_dataframe(table.drop(index=[4, 5]), **base)
    with pytest.raises(OptionError, match="resample"):
        Trajectories.from_dataframe(table, **base, resample=True)
    lost = table.assign(y=np.nan)
    with pytest.raises(DataError, match="no sample in columns"):
        Trajectories.from_dataframe(lost, **base)
