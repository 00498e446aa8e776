"""The command line on files as they are: several, text around the header, models and data by place."""

import json

import numpy as np
import pytest
from command_line import run

from koopctrl import KoopmanRNN, Trajectories, load

COLUMNS = {"outputs": ["y"], "inputs": ["u"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three records of a first-order lag, and a model of them."""
    at = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for i in range(3):
        u, y = rng.normal(size=60), np.zeros(60)
        for k in range(59):
            y[k + 1] = 0.8 * y[k] + 0.5 * u[k]
        rows = [f"{float(a)!r},{float(b)!r}" for a, b in zip(y, u, strict=True)]
        (at / f"run{i}.csv").write_text("\n".join(["y,u", *rows]))
        (at / f"odd{i}.csv").write_text("\n".join(["Rig 4", "y,u", "cm,V", *rows]))
    files = ["run0.csv", "run1.csv", "run2.csv"]
    done = run(
        at, "fit", *files, "--outputs", "y", "--inputs", "u", "--dt", 0.5, "--features", 3, "--save", "m.npz"
    )
    assert done.returncode == 0, done.stderr
    assert "3 episodes" in done.stdout
    assert "train: 118 steps, test: 59 steps" in done.stdout  # one file of three is held out
    return at


def test_fit_takes_an_episode_from_each_file(folder):
    data = Trajectories.from_csv([folder / f"run{i}.csv" for i in range(3)], dt=0.5, **COLUMNS)
    whole = KoopmanRNN(3, random_state=0).fit(data)
    np.testing.assert_array_equal(load(folder / "m.npz").network_.coef, whole.network_.coef)


@pytest.mark.parametrize(
    "named",
    [("run0.csv",), ("--data", "run0.csv"), ("run0.csv", "run1.csv"), ("run0.csv", "--data", "run1.csv")],
)
def test_report_takes_data_by_place_or_by_name(folder, named):
    done = run(folder, "report", "m.npz", *named, "--json")
    assert done.returncode == 0, done.stderr
    files = [folder / name for name in named if name.endswith(".csv")]
    data = Trajectories.from_csv(files, dt=0.5, **COLUMNS)
    model = load(folder / "m.npz")
    assert json.loads(done.stdout)["report"]["score"] == pytest.approx(model.score(data), rel=1e-9)


def test_compare_tells_models_from_data(folder):
    (folder / "other.npz").write_bytes((folder / "m.npz").read_bytes())
    place = run(folder, "compare", "m.npz", "other.npz", "run0.csv", "run1.csv", "--json")
    named = run(folder, "compare", "m.npz", "other.npz", "--data", "run0.csv", "--data", "run1.csv", "--json")
    assert place.returncode == named.returncode == 0, place.stderr
    assert place.stdout == named.stdout
    assert [row["model"] for row in json.loads(place.stdout)["compared"]][:2] == ["m.npz", "other.npz"]


@pytest.mark.parametrize("command", ["report", "compare"])
def test_data_that_are_missing_are_named(folder, command):
    done = run(folder, command, "m.npz")
    assert done.returncode
    assert "there is no data file" in " ".join(done.stderr.split())
    done = run(folder, command, "m.npz", "none.csv")
    assert done.returncode
    assert "none.csv" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_compare_without_a_model_says_so(folder):
    done = run(folder, "compare", "run0.csv", "run1.csv")
    assert done.returncode
    assert "is a model" in " ".join(done.stderr.split())


def test_layouts_are_said_in_the_commands_own_words(folder):
    files, options = ["odd0.csv", "odd1.csv"], ("--header-line", 2, "--data-line", 4)
    done = run(folder, "report", "m.npz", *files)
    assert done.returncode == 0
    assert "odd0.csv, odd1.csv were read with its header in line 2" in done.stderr
    assert "pass --header-line 2, --data-line 4 to say so in advance" in done.stderr
    plain = run(folder, "report", "m.npz", "run0.csv", "run1.csv")
    told = run(folder, "report", "m.npz", *files, *options)
    assert told.stderr == ""
    assert told.stdout == done.stdout == plain.stdout
    wrong = run(folder, "report", "m.npz", files[0], "--header-line", 3, "--data-line", 3)
    assert "--data-line is 3 and --header-line 3" in wrong.stderr
    assert wrong.returncode
