"""Text above the header, units below it: recognised and said; the options of the warning say the same."""

import random
import re
import warnings

import numpy as np
import pytest

from koopctrl import Trajectories
from koopctrl.errors import DataError, KoopctrlWarning, OptionError

ROWS = "0,1,5\n1,2,6\n2,3,7\n"
# name: (text, what the warning says, options that say the same)
LAYOUTS = {
    "a line of text": (
        "Rig 4 of 2026\nt,y,u\n" + ROWS, "its header in line 2", {"header_line": 2},
    ),
    "text with the mark between cells": (
        "Rig 4, tank 3\nOperator, N. N.\nt,y,u\n" + ROWS, "line 3", {"header_line": 3},
    ),
    "text that names a column": ("y and u of rig 4\nt,y,u\n" + ROWS, "line 2", {"header_line": 2}),
    "numbers above the header": ("2026\n3\nt,y,u\n" + ROWS, "line 3", {"header_line": 3}),
    "settings above the header": (
        "[channels]\nname=y\nrange=5\n\n[data]\nt;y;u\n0;1;5\n1;2;6\n2;3;7\n",
        "line 6, semicolons between cells", {"header_line": 6, "delimiter": ";"},
    ),
    "comments above text": ("# a\nRig\nt,y,u\n" + ROWS, "line 3", {"header_line": 3, "comment": "#"}),
    "units": (
        "t,y,u\ns,cm,V\n" + ROWS, r"no samples in line 2 \(s, cm, V\) below it", {"data_line": 3},
    ),
    "units in brackets": ("t,y,u\n[s],[cm],[1/s]\n" + ROWS, r"line 2 \(\[s\]", {"data_line": 3}),
    "units of some": ("t,y,u\n,cm,\n" + ROWS, r"line 2 \(cm\)", {"data_line": 3}),
    "units and descriptions": (
        "t,y,u\ns,cm,V\ntime,level,pump\n" + ROWS, r"lines 2 to 3", {"data_line": 4},
    ),
    "units and decimal commas": (
        "t\ty\tu\ns\tcm\tV\n0,0\t1,0\t5\n1,0\t2,0\t6\n2,0\t3,0\t7\n", "decimal commas",
        {"data_line": 3, "delimiter": "\t", "decimal": ","},
    ),
    "both": (
        "Rig 4\nt,y,u\ns,cm,V\n" + ROWS, r"header in line 2, no samples in line 3",
        {"header_line": 2, "data_line": 4},
    ),
    "both, and blanks": (
        "Rig 4\n\n t   y   u\n s   cm  V\n 0   1   5\n 1   2   6\n 2   3   7\n", "line 3.*line 4.*blanks",
        {"header_line": 3, "data_line": 5, "delimiter": " "},
    ),
    "a mark at the end of lines": ("Rig\nt,y,u\n0,1,5,\n1,2,6,\n2,3,7,\n", "line 2", {"header_line": 2}),
    "a name over 2 lines": ('Rig\nt,y,u,"w\n[m]"\n0,1,5,9\n1,2,6,9\n2,3,7,9\n', "line 2", {"header_line": 2}),
}  # fmt: skip


def read(path, **options):
    return Trajectories.from_csv(path, outputs=["y"], inputs=["u"], time="t", **options)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_recognised_and_said(tmp_path, name, newline):
    text, words, options = LAYOUTS[name]
    path = tmp_path / "data.csv"
    path.write_text(text, newline=newline)
    with pytest.warns(KoopctrlWarning, match=words) as caught:
        data = read(path)
    assert len(caught) == 1
    for option, value in options.items():
        assert f"{option}={value!r}" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = read(path, **options)
    for d in (data, told):
        np.testing.assert_array_equal(d[0].outputs[:, 0], [1, 2, 3])
        np.testing.assert_array_equal(d[0].inputs[:, 0], [5, 6, 7])
        assert d.dt == 1.0


def test_files_at_random_are_read_as_they_were_written_and_as_the_warning_says(tmp_path):
    """What a file says in advance, eval'd from the warning, reads the same numbers without a word."""
    rng, path = random.Random(0), tmp_path / "data.csv"
    words = ["rig", "tank 3", "y", "level", "of 2026", "u", "12", "pump", "t", "ok."]
    for _ in range(150):
        mark = rng.choice([",", ";", "\t", "|"])
        n, names = rng.randint(3, 9), ["t", "y", "u", "note"]
        rng.shuffle(names)
        columns = {"t": np.arange(n) * 0.5, "y": np.array([rng.gauss(0, 9) for _ in range(n)]),
                   "u": np.array([float(rng.randint(-3, 3)) for _ in range(n)])}  # fmt: skip
        above = [" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(rng.randint(0, 4))]
        comma = mark != "," and rng.random() < 0.5
        units = [mark.join({"t": "s", "y": "cm", "u": "V", "note": ""}[c] for c in names)] * rng.randint(0, 2)
        cell = {c: [repr(float(v)) for v in values] for c, values in columns.items()} | {"note": ["a b"] * n}
        lines = [mark.join(cell[c][i] for c in names) for i in range(n)]
        lines = [line.replace(".", ",") for line in lines] if comma else lines
        path.write_text("\n".join([*above, mark.join(names), *units, *lines]))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = read(path)
        plain = not above and not units and mark == "," and not comma
        assert len(caught) == (not plain)
        options = eval(f"dict({re.search('pass (.*) to say', str(caught[0].message))[1]})") if caught else {}
        assert options.get("header_line", 1) == len(above) + 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            told = read(path, **options)
        for d in (data, told):
            np.testing.assert_array_equal(d[0].outputs[:, 0], columns["y"])
            np.testing.assert_array_equal(d[0].inputs[:, 0], columns["u"])


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("Rig 4\nt,Y,u\n0,1,5\n1,2,6\n", {}, r"no column 'y'; expected one of \['t', 'Y', 'u'\], as line 2"),
        ("t [s],y [cm],u\n0,1,5\n1,2,6\n", {}, r"no column 'y'; expected one of \['t \[s\]', 'y \[cm\]'"),
        ("t,y,u\n0,1,5\n", {"header_line": 2}, "no header line .line 2 holds numbers only"),
        ("t,y,u\n0,1,5\n", {"header_line": 9}, "nothing in line 9, of 2"),
        ("t,y,u\n0,1,5\n", {"data_line": 9}, "no rows"),
        ("t,y,u\n0,1,5\nsum,1,5,6\n", {}, "line 3 has 4 cells; expected 3 as in the header, line 1"),
        ("t,y,u\nlog of rig\n" + ROWS, {}, "line 2 has 1 cells.*Pass header_line and data_line"),
        ("t,y,y\n0,1,5\n", {}, "repeats a column name in line 1"),
    ],
)  # fmt: skip
def test_what_is_elsewhere_is_refused_with_the_options_named(tmp_path, text, options, words):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises((DataError, OptionError), match=words):
        read(path, **options)


def test_lines_between_header_and_numbers_are_left_out_where_that_is_said(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("t,y,u\nlog of rig\n--,--,--,--\n" + ROWS)
    np.testing.assert_array_equal(read(path, data_line=4)[0].outputs[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(read(path, data_line=5)[0].outputs[:, 0], [2, 3])
    path.write_text("# t,y,u\n# s,cm,V\n0,1,5\n1,2,6\n")
    np.testing.assert_array_equal(read(path, header_line=1, comment="#")[0].outputs[:, 0], [1, 2])
    with pytest.raises(OptionError, match="data_line is 2 and header_line 2"):
        read(path, header_line=2, data_line=2)


@pytest.mark.parametrize("first", ["", "nan", "inf"])
def test_a_first_sample_that_is_missing_is_no_row_of_units(tmp_path, first):
    path = tmp_path / "data.csv"
    path.write_text(f"t,y,u\n0,{first},5\n1,2,6\n2,3,7\n")
    with pytest.raises(DataError, match="row 0"):
        read(path)
    path.write_text(f"y,u\n{first},{first}\n2,6\n3,7\n")
    with pytest.raises(DataError, match="row 0"):
        Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=1.0)
