"""Several CSV files at once: one episode a file, or more where a column or gaps say so."""

from pathlib import Path

import numpy as np
import pytest

from koopctrl import Trajectories
from koopctrl.errors import DataError, KoopctrlError, KoopctrlWarning, OptionError, TimeBaseError

COLUMNS = {"outputs": ["y"], "inputs": ["u"]}


def write(path, y, mark=",", header=("y", "u")):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([mark.join(header), *(f"{v}{mark}{10 * v}" for v in y)]))
    return path


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"run{i}.csv", np.arange(3.0 + i)) for i in range(4)]


@pytest.mark.parametrize(
    "kind", [list, tuple, iter, lambda paths: map(str, paths), lambda paths: np.array(paths, str)]
)
def test_files_are_episodes_with_the_files_names(files, kind):
    data = Trajectories.from_csv(kind(files), dt=0.5, **COLUMNS)
    assert [e.label for e in data] == ["run0", "run1", "run2", "run3"]
    for e, path in zip(data, files, strict=True):
        alone = Trajectories.from_csv(path, dt=0.5, **COLUMNS)[0]
        np.testing.assert_array_equal(e.outputs, alone.outputs)
        np.testing.assert_array_equal(e.inputs, alone.inputs)
    assert [e.label for e in Trajectories.from_csv(files[:1], dt=0.5, **COLUMNS)] == ["run0"]
    assert [e.label for e in Trajectories.from_csv(files[0], dt=0.5, **COLUMNS)] == ["0"]


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    paths = [write(tmp_path / day / "log.csv", [1, 2, 3]) for day in ("monday", "tuesday")]
    data = Trajectories.from_csv(paths, dt=1.0, **COLUMNS)
    assert [e.label for e in data] == ["monday/log", "tuesday/log"]
    endings = [write(tmp_path / f"log.{end}", [1, 2, 3]) for end in ("csv", "txt")]
    labels = [e.label for e in Trajectories.from_csv(endings, dt=1.0, **COLUMNS)]
    assert labels == [str(p) for p in endings]


def test_episodes_and_gaps_within_files_keep_the_files_names(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("t,run,y\n0,p,1\n1,p,2\n0,q,3\n1,q,4\n")
    b.write_text("t,run,y\n0,p,5\n1,p,6\n2,p,7\n")
    data = Trajectories.from_csv([a, b], outputs=["y"], time="t", episode="run")
    assert [e.label for e in data] == ["a/p", "a/q", "b/p"]
    a.write_text("t,y\n0,1\n1,2\n9,3\n10,4\n")
    b.write_text("t,y\n0,5\n1,\n2,7\n3,8\n")
    data = Trajectories.from_csv([a, b], outputs=["y"], time="t", gaps="split")
    assert [e.label for e in data] == ["a.0", "a.1", "b/0", "b/1"]


def test_one_logger_with_rounded_stamps_has_one_sample_time(tmp_path):
    paths = []
    for n in (500, 300):
        paths.append(tmp_path / f"{n}.csv")
        rows = [f"{k / 30:.4f},{k},{k}" for k in range(n)]
        paths[-1].write_text("\n".join(["t,y,u", *rows]))
    assert Trajectories.from_csv(paths, time="t", **COLUMNS).dt == 1 / 30


def test_what_was_recognised_is_said_once_for_files_that_are_alike(tmp_path):
    alike = [write(tmp_path / f"s{i}.csv", [1, 2, 3], ";") for i in range(5)]
    other = write(tmp_path / "tabs.csv", [1, 2, 3], "\t")
    plain = write(tmp_path / "plain.csv", [1, 2, 3])
    with pytest.warns(KoopctrlWarning) as caught:
        data = Trajectories.from_csv([*alike, other, plain], dt=1.0, **COLUMNS)
    assert len(data) == 7
    first, second = (str(w.message) for w in caught)
    assert all(word in first for word in ("s0.csv", "s2.csv and 2 more were read with semicolons"))
    assert "s3.csv" not in first
    assert "tabs.csv was read with tabs" in second
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("y,u\n1,2\nx,2\n", DataError, "holds text"),
        ("y,u\n1,2\n,2\n3,4\n", DataError, "in row 1"),
        ("y,v\n1,2\n3,4\n", OptionError, "no column 'u'"),
        ("", DataError, "is empty"),
        ("y,u\n1\n", DataError, "line 2 has 1 cells"),
    ],
)
def test_of_several_files_the_wrong_one_is_named(files, text, error, words):
    files[2].write_text(text)
    with pytest.raises(error, match=rf"run2\.csv.*{words}"):
        Trajectories.from_csv(files, dt=1.0, **COLUMNS)


def test_files_that_do_not_belong_together_are_named(tmp_path):
    paths = [tmp_path / "slow.csv", tmp_path / "fast.csv"]
    for path, step in zip(paths, (1.0, 0.25), strict=True):
        path.write_text("\n".join(["t,y,u", *(f"{step * k},{k},{k}" for k in range(20))]))
    with pytest.raises(TimeBaseError, match=r"episodes 'slow' and 'fast' have sample times 1 s and 0.25 s"):
        Trajectories.from_csv(paths, time="t", **COLUMNS)


def test_lists_of_other_things_are_refused(files, tmp_path):
    with pytest.raises(OptionError, match=r"path names .*run1.csv twice"):
        Trajectories.from_csv([*files, files[1]], dt=1.0, **COLUMNS)
    with pytest.raises(OptionError, match="path is an empty list"):
        Trajectories.from_csv(Path(tmp_path / "none").glob("*.csv"), dt=1.0, **COLUMNS)
    with pytest.raises(OptionError, match="a folder; expected the path of a CSV file, or a list"):
        Trajectories.from_csv(tmp_path, dt=1.0, **COLUMNS)
    for wrong in ([None], [files], [3], {"a": files[0]}, b"a.csv", {files[0]: 1}):
        with pytest.raises(KoopctrlError, match="path is"):
            Trajectories.from_csv(wrong, dt=1.0, **COLUMNS)
    with pytest.raises(FileNotFoundError, match="missing"):
        Trajectories.from_csv([*files, tmp_path / "missing.csv"], dt=1.0, **COLUMNS)
