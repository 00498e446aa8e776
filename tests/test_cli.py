"""The command line, as a user types it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import koopctrl
from koopctrl import datasets

RECORD = Path(koopctrl.__file__).parent / "data" / "datasets" / "hairdryer.csv"


def test_it_is_a_program_of_its_own(tmp_path):
    command = [sys.executable, "-m", "koopctrl.cli", "report", "missing.npz", "--data", "x.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "missing.npz" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    done = run(
        folder, "fit", RECORD, "--outputs", "y", "--inputs", "u", "--dt", 0.08, "--test-fraction", 0.5,
        "--output-lags", 4, "--input-lags", 4, "--save", "model.npz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_fit_reports_on_the_part_held_out_and_saves_a_fit_to_all_rows(fitted):
    folder, printed = fitted
    records = datasets.hair_dryer()
    train, test = records.split(0.5, by="time")
    judged = koopctrl.KoopmanRNN(output_lags=4, input_lags=4, random_state=0).fit(train)
    assert f"free-run R2 (nonlinear face): {judged.score(test):.6f}" in printed
    assert judged.score(test) > 0.95
    arx = koopctrl.KoopmanRNN(0, input_coupling="linear", output_lags=4, input_lags=4, ridge=0.0).fit(train)
    assert "ARX, same lags" in printed
    assert f"{arx.score(test):.4g}" in printed
    assert "free run is poor" not in printed
    saved = koopctrl.load(folder / "model.npz")
    whole = koopctrl.KoopmanRNN(output_lags=4, input_lags=4, random_state=0).fit(records)
    np.testing.assert_array_equal(saved.network_.coef, whole.network_.coef)
    assert "fitted once more, to all 999 steps" in " ".join(printed.split())


def test_report_on_a_saved_model_draws_a_figure(fitted):
    folder, _ = fitted
    done = run(folder, "report", "model.npz", "--data", RECORD, "--plot", "out.png", "--n-init", 20)
    assert done.returncode == 0, done.stderr
    assert "spectral radius" in done.stdout
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_poor_fit_without_lags_points_at_the_lags(tmp_path):
    done = run(tmp_path, "fit", RECORD, "--outputs", "y", "--inputs", "u", "--dt", 0.08)
    assert done.returncode == 0
    assert "try more --output-lags" in done.stdout


def test_a_poor_fit_with_lags_is_told_what_else_to_try(tmp_path):
    done = run(
        tmp_path, "fit", RECORD, "--outputs", "y", "--inputs", "u", "--dt", 0.08, "--output-lags", 2
    )  # fmt: skip
    assert done.returncode == 0
    assert "The free run is poor: one step ahead is good" in done.stdout
    assert "2 output and 1 input lags" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "missing.csv", "--outputs", "y", "--dt", "1"), "missing.csv"),
        (("fit", RECORD, "--outputs", "volts", "--dt", "1"), "no column 'volts'"),
        (("fit", RECORD, "--outputs", "y"), "Pass --dt SECONDS or --time COLUMN"),
        (("report", RECORD, "--data", RECORD), "not a koopctrl model"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_traceback(tmp_path, arguments, message):
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit", "d.csv", "--outputs", "y", "--dt", 1, "--save", "nowhere/m.npz"), "--save"),
        (("report", "m.npz", "--data", "d.csv", "--plot", "nowhere/a.png"), "--plot"),
        (("report", "m.npz", "--data", "d.csv", "--plot", "a.foo"), ".svg"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path, arguments, said):
    done = run(tmp_path, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_the_packages(tmp_path):
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"koopctrl {koopctrl.__version__}")


def test_reports_begin_after_n_init_samples(fitted):
    folder, _ = fitted
    model, records = koopctrl.load(folder / "model.npz"), datasets.hair_dryer()
    found = {}
    for n in (None, 50, 300):
        more = () if n is None else ("--n-init", n)
        done = run(folder, "report", "model.npz", "--data", RECORD, "--json", *more)
        assert done.returncode == 0, done.stderr
        found[n] = json.loads(done.stdout)
        assert found[n]["report"]["score"] == pytest.approx(model.score(records, n_init=n), rel=1e-9)
        assert found[n]["n_init"] == (n or 4)
    assert found[50]["report"]["horizons"][0]["n_starts"] != found[300]["report"]["horizons"][0]["n_starts"]
    for n in (0, -2, 1000, 1_000_000):
        done = run(folder, "report", "model.npz", "--data", RECORD, "--n-init", n)
        assert done.returncode == 2
        assert "1 to 999" in done.stderr


def plain(text):
    """Text of a framed message."""
    return " ".join(text.replace("\u2502", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--output-lags", 400),
            "the longest record of the part held out has 300. Take fewer lags or a larger",
        ),
        (
            ("--input-lags", 900),
            "the longest record of the training part has 700. Take fewer lags or a smaller",
        ),
        (("--test-fraction", 1.5), "--test-fraction is 1.5; expected more than 0 and less than 1"),
        (("--test-fraction", 0), "--test-fraction is 0; expected more than 0 and less than 1"),
        (("--features", -3), "--features is -3"),
        (("--features", 3, "--output-lags", 0), "--output-lags is 0"),
        (("--coupling", "cubic"), "--coupling is 'cubic'"),
        (("--feature-scale", -1), "--feature-scale is -1"),
        (("--ridge", "much"), "--ridge is 'much'"),
        (("--sampler", "grid"), "--sampler is 'grid'"),
        (("--gaps", "fill"), "gaps is 'fill'"),
        (("--resample",), "--time is not given"),
        (("--states", 0), "--states is 0"),
        (("--delimiter", ";"), "no column 'y'"),
    ],
)
def test_advice_is_in_the_commands_own_words(tmp_path, options, message):
    done = run(tmp_path, "fit", RECORD, "--outputs", "y", "--inputs", "u", "--dt", 0.08, *options)
    assert done.returncode in (1, 2)
    assert message in plain(done.stderr)
    for word in (
        "output_lags",
        "input_lags",
        "test_fraction",
        "n_features",
        "input_coupling",
        "=True",
        "by=",
    ):
        assert word not in done.stderr


def table(folder, lines, name="data.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows(n=80):
    rng = np.random.default_rng(0)
    y, u = np.zeros(n), rng.uniform(-1, 1, n)
    for k in range(n - 1):
        y[k + 1] = 0.8 * y[k] + 0.5 * u[k]
    return y, u


def test_missing_numbers_are_named_and_can_be_cut_out(tmp_path):
    y, u = rows()
    lines = ["y,u", *(f"{a},{b}" for a, b in zip(y, u, strict=True))]
    lines[20] = f"nan,{u[19]}"
    path = table(tmp_path, lines)
    done = run(tmp_path, "fit", path, "--outputs", "y", "--inputs", "u", "--dt", 1)
    assert done.returncode == 1
    assert "column 'y' has NaN" in done.stderr
    assert "--gaps split" in done.stderr
    done = run(tmp_path, "fit", path, "--outputs", "y", "--inputs", "u", "--dt", 1, "--gaps", "split",
               "--features", 0, "--test-fraction", 0.5)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 episodes" in done.stdout


def test_columns_named_one_after_another_are_all_taken(tmp_path):
    y, u = rows()
    lines = [
        ",".join(("level [cm]", "flow", "u [V]", "v")),
        *(f"{a},{2 * a},{b},{-b}" for a, b in zip(y, u, strict=True)),
    ]
    path = table(tmp_path, lines)
    named = ("--outputs", "level [cm]", "--outputs", "flow", "--inputs", "u [V],v")
    done = run(tmp_path, "fit", path, *named, "--dt", 1, "--features", 0, "--save", "two.npz")
    assert done.returncode == 0, done.stderr
    model = koopctrl.load(tmp_path / "two.npz")
    assert model.output_names_ == ("level [cm]", "flow")
    assert model.input_names_ == ("u [V]", "v")


def test_tables_of_other_lands_and_uneven_stamps(tmp_path):
    y, u = rows()
    t = np.arange(80.0) + 0.3 * np.sin(np.arange(80))
    cells = [(f"{a:.9f}".replace(".", ",") for a in row) for row in zip(t, y, u, strict=True)]
    path = table(tmp_path, ["# a logger", "t;y;u", *(";".join(row) for row in cells)])
    base = ("fit", path, "--outputs", "y", "--inputs", "u", "--time", "t", "--features", 0, "--json")
    refused = run(tmp_path, *base)
    assert refused.returncode == 1
    assert "--resample" in refused.stderr
    done = run(tmp_path, *base, "--resample", "--delimiter", ";", "--decimal", ",")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["sizes"]["n_y"] == 1


NAMES = [
    "Level [cm]",
    "y[/m]",
    "[red]y",
    "a, b",
    "[bold]x[/bold]",
    "tank1.level",
    "\\[b]",
    "q[m3/h]",
    "ü",
    "100%",
]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A file with all names as outputs, lags of their own behind the input, and what two commands print."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    u, y = rng.normal(size=200), rng.normal(size=(200, len(NAMES)))
    poles = np.linspace(0.3, 0.8, len(NAMES))
    for k in range(199):
        y[k + 1] = poles * y[k] + u[k] + 1e-3 * rng.normal(size=len(NAMES))
    header = ",".join([*(f'"{name}"' for name in NAMES), "u"])
    np.savetxt(
        folder / "data.csv",
        np.column_stack([y, u]),
        delimiter=",",
        header=header,
        comments="",
        encoding="utf-8",
    )
    asked = ",".join(f'"{name}"' for name in NAMES)
    fit = run(
        folder, "fit", "data.csv", "--outputs", asked, "--inputs", "u", "--dt", 1, "--features", 0,
        "--coupling", "linear", "--save", "m.npz",
    )  # fmt: skip
    assert fit.returncode == 0, fit.stderr
    control = run(folder, "control", "m.npz", "--steps", 10, "--kind", "linear")
    assert control.returncode == 0, control.stderr
    return folder, fit, control


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(named, name):
    folder, fit, control = named
    assert repr(name) in fit.stdout
    assert name in control.stdout
    done = run(folder, "fit", "data.csv", "--outputs", "missing" + name.replace(",", ""), "--dt", 1)
    assert done.returncode == 1
    assert repr(name) in done.stderr
    assert repr("missing" + name.replace(",", "")) in done.stderr


def test_control_designs_runs_draws_and_writes(fitted):
    folder, _ = fitted
    done = run(
        folder, "control", "model.npz", "--reference", "5.2/4.6", "--steps", 120, "--json",
        "--plot", "loop.png", "--save", "mpc.npz", "--c", "code",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (output,) = found["outputs"]
    assert output["set-point"] == 4.6
    assert abs(output["error"]) < 1e-3
    assert found["fallbacks"] == 0
    data = datasets.hair_dryer()[0].inputs
    low, high = found["inputs"]["u"]
    assert data.min() - 1e-9 <= low < high <= data.max() + 1e-9
    assert (folder / "loop.png").read_bytes().startswith(b"\x89PNG")
    mpc = koopctrl.load(folder / "mpc.npz")
    assert np.isfinite(mpc.control([5.0], [5.2])).all()
    assert (folder / "code" / "koopctrl_mpc.c").exists()


def test_control_takes_bounds_weights_and_the_nonlinear_kind(fitted):
    folder, _ = fitted
    done = run(
        folder, "control", "model.npz", "--reference", "5.2", "--u-min", "4.9", "--u-max", "5.1", "--q", "2",
        "--r", "0.5", "--kind", "nonlinear", "--horizon", 5, "--steps", 30, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["controller"] == "RNNMPC"
    low, high = found["inputs"]["u"]
    assert low >= 4.9 - 1e-9
    assert high <= 5.1 + 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reference", "1,2"), "--reference has 2 numbers; expected 1"),
        (("--reference", "high"), "--reference is 'high'"),
        (("--reference", "-"), "expected one number at least"),
        (("--q", "1,2,3"), "--q has 3 numbers; expected 1"),
        (("--u-min", "x"), "--u-min is 'x'"),
        (("--steps", 0), "--steps is 0"),
        (("--horizon", -1), "--horizon is -1"),
        (("--kind", "best"), "--kind is 'best'"),
        (("--u-min", "6", "--u-max", "5"), "--u-m"),
        (("--plot", "a.foo"), ".svg"),
        (("--save", "nowhere/m.npz"), "--save"),
    ],
)
def test_control_names_what_it_cannot_use(fitted, options, message):
    folder, _ = fitted
    done = run(folder, "control", "model.npz", *options)
    assert done.returncode in (1, 2)
    assert message in plain(done.stderr)
    assert "Traceback" not in done.stderr


def test_json_is_all_that_is_on_stdout_and_warnings_are_on_stderr(tmp_path):
    y, u = rows()
    path = table(tmp_path, ["y;u", *(f"{a};{b}" for a, b in zip(y, u, strict=True))])
    done = run(tmp_path, "fit", path, "--outputs", "y", "--inputs", "u", "--dt", 1, "--json")
    found = json.loads(done.stdout)
    assert {"report", "baseline", "settings", "train_steps", "test_steps"} <= set(found)
    assert "warning: " in done.stderr
    assert "--delimiter ';'" in done.stderr


def test_a_hidden_state_is_fitted_reported_and_controlled(tmp_path):
    done = run(
        tmp_path, "fit", RECORD, "--outputs", "y", "--inputs", "u", "--dt", 0.08, "--states", 3,
        "--features", 0, "--save", "m.npz", "--plot", "fit.svg",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fit.svg").read_text().startswith("<?xml")
    done = run(tmp_path, "control", "m.npz", "--steps", 40)
    assert done.returncode == 0, done.stderr


def test_bars_show_after_two_seconds_on_terminals_alone(monkeypatch):
    from koopctrl.cli import output

    started = []
    monkeypatch.setattr(output, "_PATIENCE", 0.05)
    monkeypatch.setattr(output.Progress, "start", lambda self: started.append(self))
    for terminal in (False, True):
        monkeypatch.setattr(output.Console, "is_terminal", property(lambda self, t=terminal: t))
        said = output.Output()
        with said.busy("at once"):
            pass
        assert not started
        with said.busy("work") as update:
            for _ in range(200):
                update(1.0, "more [work]")
                time.sleep(0.01)
                if started:
                    break
        assert bool(started) is terminal


def test_help_shows_brackets(tmp_path):
    assert "u[k] acts on y[k]" in run(tmp_path, "fit", "--help").stdout
