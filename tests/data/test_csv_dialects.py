"""CSV files as loggers and spreadsheets write them, tables with odd columns: recognised, or named."""

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest

from koopctrl import Trajectories
from koopctrl.errors import DataError, KoopctrlError, KoopctrlWarning, OptionError, TimeBaseError

Y, U = [[1.5], [-2.25], [3e-3]], [[10.0], [0.5], [7.0]]
PLAIN = "y,u\n1.5,10\n-2.25,.5\n3e-3,7\n"
# name: (text, what the warning says, options that say it in advance)
DIALECTS = {
    "semicolons": (PLAIN.replace(",", ";"), "semicolons", {"delimiter": ";"}),
    "tabs": (PLAIN.replace(",", "\t"), "tabs", {"delimiter": "\t"}),
    "bars": (PLAIN.replace(",", "|"), r"'\|' between cells", {"delimiter": "|"}),
    "blanks": ("  y    u\n 1.5   10\n-2.25  .5\n 3e-3   7\n", "blanks", {"delimiter": " "}),
    "decimal commas": (
        PLAIN.replace(",", ";").replace(".", ","),
        "semicolons between cells, decimal commas",
        {"delimiter": ";", "decimal": ","},
    ),
    "decimal commas and tabs": (
        PLAIN.replace(",", "\t").replace(".", ","),
        "tabs between cells, decimal commas",
        {"delimiter": "\t", "decimal": ","},
    ),
    "comment lines": ("# rig 4\n# 2026\n" + PLAIN, "2 comment lines", {"comment": "#"}),
    "comments of MATLAB": ("% rig 4\n" + PLAIN, "1 comment lines.*comment='%'", {"comment": "%"}),
    "a comment between rows": ("y,u\n1.5,10\n# pump on\n-2.25,.5\n3e-3,7\n", "1 comment", {"comment": "#"}),
    "numpy.savetxt": (
        "# y u\n1.5 10\n-2.25 .5\n3e-3 7\n",
        "blanks between cells, 1 comment lines",
        {"delimiter": " ", "comment": "#"},
    ),
    "quoted cells": ('"y";"u"\n"1,5";"10"\n"-2,25";"0,5"\n"3e-3";"7"\n', "decimal commas",
                     {"delimiter": ";", "decimal": ","}),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", DIALECTS)
def test_dialects_are_recognised_and_said(tmp_path, name, encoding, newline):
    text, words, options = DIALECTS[name]
    path = tmp_path / "data.csv"
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    with pytest.warns(KoopctrlWarning, match=words) as caught:
        data = Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for option, value in options.items():
        assert f"{option}={value!r}" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0, **options)
    for d in (data, told):
        np.testing.assert_array_equal(d[0].outputs, Y)
        np.testing.assert_array_equal(d[0].inputs, U)


def test_a_plain_file_is_read_without_a_word(tmp_path):
    path = tmp_path / "data.csv"
    for text in (PLAIN, "\ufeff" + PLAIN, "y,u,note\n1.5,10,a;b\n-2.25,.5,\n3e-3,7,# no comment\n"):
        path.write_text(text)
        data = Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0)
        np.testing.assert_array_equal(data[0].outputs, Y)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y,u\n1,5,2\n2,5,3\n", "line 2 has 3 cells"),
        ("y,u\n1,5,2,5\n", "export with semicolons"),
        ("y;u\n1,5;2.5\n", "decimal commas and decimal points, e.g. '1,5' and '2.5'"),
        ("1,2\n3,4\n", "no header line"),
        ("# a rig\n1,2,3\n3,4,5\n", "no header line"),
        ("y;u\n1.234,5;2\n", "column 'y' holds text"),
        ("# only\n# comments\n", "is empty"),
        ("y,u\n1,2\ncm,V\n", "column 'y' holds text, .*'cm'.* in row 1"),
        ("y,u\ncm,V\n", "column 'y' holds text"),
        ("y,u\n1,2\0\n", "null bytes"),
    ],
)
@pytest.mark.filterwarnings("ignore::koopctrl.errors.KoopctrlWarning")
def test_what_cannot_be_told_apart_is_refused_by_name(tmp_path, text, words):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"header_line": 0}, {"header_line": "1"}, {"data_line": -1}, {"data_line": 1.5}, {"data_line": True},
     {"delimiter": ";;"}, {"delimiter": 3}, {"delimiter": "\n"}, {"delimiter": '"'}, {"decimal": ";"},
     {"decimal": ["."]}, {"comment": ""}, {"comment": 3}, {"gaps": "fill"}, {"resample": "yes"},
     {"resample": True}],
)  # fmt: skip
def test_options_are_refused_by_name(tmp_path, wrong):
    path = tmp_path / "data.csv"
    path.write_text(PLAIN)
    words = f"{next(iter(wrong))} is"
    if wrong == {"resample": True}:
        words = "time is None"
    with pytest.raises(OptionError, match=words):
        Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0, **wrong)
    with pytest.raises(OptionError, match="both ','"):
        Trajectories.from_csv(path, outputs=["y"], dt=1.0, delimiter=",", decimal=",")


def test_columns_of_units_and_signs_keep_their_names(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("Level [cm],y[/m],u %\n1,2,3\n2,3,4\n")
    data = Trajectories.from_csv(path, outputs=["Level [cm]", "y[/m]"], inputs=["u %"], dt=1.0)
    assert (data.output_names, data.input_names) == (("Level [cm]", "y[/m]"), ("u %",))


# --- dates and other stamps --------------------

START = datetime.datetime(2026, 3, 1, 12)
DATES = [START + datetime.timedelta(milliseconds=round(1000 * k / 30)) for k in range(200)]
STAMPS = {
    "datetime64": pd.to_datetime(DATES),
    "with a time zone": pd.to_datetime(DATES).tz_localize("Europe/Berlin"),
    "datetime64[us]": np.array(DATES, dtype="datetime64[us]"),
    "timedelta64": pd.to_timedelta([d - START for d in DATES]),
    "datetime objects": pd.Series(DATES, dtype=object),
    "timedelta objects": pd.Series([d - START for d in DATES], dtype=object),
    "text": [d.isoformat() for d in DATES],
    "text with blanks": [str(d) for d in DATES],
    "dates with dots": [d.strftime("%d.%m.%Y %H:%M:%S,%f") for d in DATES],
    "float32 seconds": np.array([(d - START).total_seconds() for d in DATES], dtype=np.float32),
    "integer nanoseconds": pd.to_datetime(DATES).astype("datetime64[ns]").astype("int64").to_numpy() // 1,
    "numbers as text": [str(k / 30) for k in range(200)],
}


@pytest.mark.parametrize("name", STAMPS)
def test_stamps_of_any_kind_give_seconds(name, tmp_path):
    table = pd.DataFrame({"t": STAMPS[name], "y": np.arange(200.0)})
    scale = 1e9 if "nanoseconds" in name else 1.0
    data = Trajectories.from_dataframe(table, outputs=["y"], time="t")
    assert data.dt == pytest.approx(scale / 30, rel=1e-12)
    indexed = Trajectories.from_dataframe(table.set_index("t"), outputs=["y"], time="t")
    assert indexed.dt == data.dt
    if not name.startswith("timedelta"):
        path = tmp_path / "data.csv"
        table.to_csv(path, index=False)
        assert Trajectories.from_csv(path, outputs=["y"], time="t").dt == pytest.approx(data.dt, rel=1e-12)


@pytest.mark.parametrize(
    ("stamps", "words"),
    [
        (["01/31/2026 12:00", "01/31/2026 12:01"], "holds '01/31/2026 12:00' in row 0"),
        (["31.13.2026 12:00", "31.13.2026 12:01"], "holds '31.13.2026 12:00' in row 0"),
        (["2026-01-01", "soon"], "'soon' in row 1"),
        ([START, pd.NaT], "empty or infinite at row 1"),
        ([START, None], "empty or infinite at row 1"),
        ([START, START.replace(tzinfo=datetime.UTC)], "mixes kinds"),
        ([START, START], "repeats its stamp"),
        ([np.nan, 1.0], "empty or infinite at row 0"),
    ],
)
def test_stamps_that_are_none_are_named(stamps, words):
    table = {"t": np.array(stamps, dtype=object), "y": [1.0, 2.0]}
    with pytest.raises(TimeBaseError, match=words):
        Trajectories.from_dataframe(table, outputs=["y"], time="t")


def test_two_files_of_one_logger_are_one_record_set(tmp_path):
    parts = []
    for n in (500, 300):
        path = tmp_path / f"{n}.csv"
        t = [f"{k / 30:.4f}" for k in range(n)]
        path.write_text("t,y\n" + "\n".join(f"{a},{k}" for k, a in enumerate(t)))
        parts.append(Trajectories.from_csv(path, outputs=["y"], time="t"))
    data = parts[0] + parts[1]
    assert data.dt == {e.dt for e in data}.pop() == 1 / 30


def test_a_gap_is_named_and_can_be_cut_at(tmp_path):
    table = pd.DataFrame({"t": 4.0 * np.arange(100) + 200.0 * (np.arange(100) > 59), "y": np.arange(100.0)})
    with pytest.raises(TimeBaseError, match=r'gap of 204 s after row 59; sample time 4 s. Pass gaps="split"'):
        Trajectories.from_dataframe(table, outputs=["y"], time="t")
    data = Trajectories.from_dataframe(table, outputs=["y"], time="t", gaps="split")
    assert [e.label for e in data] == ["0.0", "0.1"]
    np.testing.assert_array_equal(np.concatenate([e.outputs for e in data])[:, 0], table["y"])
    assert len(data[0]) == 60


# --- None alone means that a column is absent --------------------


def test_columns_labelled_zero_are_used():
    table = pd.DataFrame({0: [0, 0, 1, 1], "": [0.0, 0.5, 0.0, 0.5], 2: [1.0, 2.0, 5.0, 6.0]})
    data = Trajectories.from_dataframe(table, outputs=[2], dt=0.5, episode=0)
    assert [e.label for e in data] == ["0", "1"]
    assert Trajectories.from_dataframe(table, outputs=[2], time="", episode=0).dt == 0.5
    numbered = pd.DataFrame(np.column_stack([[0.0, 0.5, 1.0], [1.0, 2.0, 3.0]]))
    assert Trajectories.from_dataframe(numbered, outputs=[1], time=0).dt == 0.5
    with pytest.raises(OptionError, match="no column 0"):
        Trajectories.from_dataframe(pd.DataFrame({"y": [1.0, 2.0]}), outputs=["y"], dt=1.0, episode=0)


@pytest.mark.parametrize("kind", ["frame", "mapping", "file"])
@pytest.mark.parametrize(
    "wrong",
    [{"time": np.arange(3.0)}, {"time": pd.Series([0.0, 1.0, 2.0])}, {"episode": ["e"]}, {"outputs": [["y"]]},
     {"inputs": [np.zeros(3)]}, {"outputs": [{}]}, {"time": False}, {"episode": True}, {"outputs": [True]},
     {"outputs": [0]}, {"time": 0.5}, {"inputs": [None]}],
    ids=str,
)  # fmt: skip
def test_what_names_no_column_is_refused_by_its_argument(tmp_path, kind, wrong):
    """Columns in place of names, and True and False, which are 1 and 0 to Python."""
    numbers = {1: [0.0, 1.0, 2.0], "y": [1.0, 2.0, 3.0], "e": [0.0, 0.0, 0.0]}
    options = {"outputs": ["y"], "dt": 1.0, **wrong}
    frame, file = pd.DataFrame(numbers), tmp_path / "a.csv"
    frame.to_csv(file, index=False)
    table = {"frame": frame, "mapping": numbers, "file": file}[kind]
    read = Trajectories.from_csv if kind == "file" else Trajectories.from_dataframe
    with pytest.raises(OptionError, match=rf"{next(iter(wrong))} has a|no column"):
        read(table, **options)


def test_columns_labelled_true_are_found():
    table = pd.DataFrame({True: [1.0, 2.0, 3.0], False: [0.0, 0.5, 1.0]})
    data = Trajectories.from_dataframe(table, outputs=[True], time=False)
    assert (data.dt, data[0].outputs[2, 0]) == (0.5, 3.0)


@pytest.mark.parametrize("table", [np.zeros((5, 2)), None, [1, 2], 3, "data.csv", pd.Series([1.0, 2.0])])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(OptionError, match="df is a"):
        Trajectories.from_dataframe(table, outputs=["y"], dt=1.0)


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ({"y": ["a", "b"]}, {}),
        ({"y": [1.0, None]}, {}),
        ({"y": [1.0, 2.0]}, {"dt": None}),
        ({"y": [1.0, 2.0]}, {"dt": 10**400}),
        ({"y": [1.0, 2.0]}, {"dt": "fast"}),
        ({"y": [1.0, 2.0]}, {"outputs": [["y"]]}),
        ({"y": [1.0, 2.0]}, {"inputs": None}),
        ({"y": [1j, 2.0]}, {}),
        ({"y": [[1.0, 2.0], [1.0, 2.0]]}, {}),
        ({"y": pd.array([1, pd.NA], dtype="Int64")}, {}),
        ({"y": [1.0, 2.0], "e": ["a", None]}, {"episode": "e"}),
        ({"y": [1.0, 2.0], "t": [0.0, "x"]}, {"time": "t"}),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_our_own_words(table, options):
    with pytest.raises(KoopctrlError):
        Trajectories.from_dataframe(table, **{"outputs": ["y"], "dt": 1.0, **options})


def test_a_name_that_stands_twice_is_refused_and_nullable_numbers_are_read():
    twice = pd.DataFrame([[1.0, 2.0], [2.0, 3.0]], columns=["y", "y"])
    with pytest.raises(DataError, match="stands twice"):
        Trajectories.from_dataframe(twice, outputs=["y"], dt=1.0)
    nullable = pd.DataFrame({"y": pd.array([1, 2, 3], dtype="Int64")})
    np.testing.assert_array_equal(
        Trajectories.from_dataframe(nullable, outputs=["y"], dt=1.0)[0].outputs[:, 0], [1, 2, 3]
    )


@pytest.mark.parametrize("path", [None, 3.5, b"a.csv", "a\0.csv", [], [3], ["a.csv", None], {"a": "a.csv"}])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(KoopctrlError, match="path is"):
        Trajectories.from_csv(path, outputs=["y"], dt=1.0)
