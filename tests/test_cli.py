"""The command line, as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import koopctrl
from koopctrl import datasets

RECORD = Path(koopctrl.__file__).parent / "data" / "datasets" / "hairdryer.csv"


def run(folder, *arguments):
    command = [sys.executable, "-c", "from koopctrl.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    done = run(
        folder, "fit", RECORD, "--outputs", "y", "--inputs", "u", "--dt", 0.08, "--test-fraction", 0.5,
        "--output-lags", 4, "--input-lags", 4, "--save", "model.npz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_fit_reports_on_the_part_held_out_and_saves_what_it_reported(fitted):
    folder, printed = fitted
    _, test = datasets.hair_dryer().split(0.5, by="time")
    model = koopctrl.load(folder / "model.npz")
    assert f"free-run R2 (nonlinear face): {model.score(test):.6f}" in printed
    assert model.score(test) > 0.95
    train, _ = datasets.hair_dryer().split(0.5, by="time")
    arx = koopctrl.KoopmanRNN(0, input_coupling="linear", output_lags=4, input_lags=4, ridge=0.0).fit(train)
    assert "ARX, same lags" in printed
    assert f"{arx.score(test):.4g}" in printed
    assert "free run is poor" not in printed


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
        (("fit", RECORD, "--outputs", "y"), "Pass dt"),
        (("report", RECORD, "--data", RECORD), "not a koopctrl model"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_traceback(tmp_path, arguments, message):
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_demo_prints_what_it_writes_and_its_controllers_come_close_to_the_true_model(tmp_path):
    done = run(tmp_path, "demo", "--out", "figures")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "figures" / "figures.json").read_text())
    dryer, arx = written["hair_dryer"]["free_run"]
    assert dryer["rmse"] <= 0.122
    assert f"{dryer['rmse']:.4g}" in done.stdout
    assert dryer["rmse"] < 1.05 * arx["rmse"]
    rows = {row["controller"]: row for row in written["van_der_pol"]["closed_loop"]}
    assert rows["NMPC, true model"]["cost_/_NMPC"] == 1.0
    for name in ("LinearMPC", "LQR"):
        assert rows[name]["cost_/_NMPC"] < 1.1
        assert rows[name]["largest_|u|"] <= 3.0 + 1e-9
        assert rows[name]["fallbacks"] == 0
    horizons = written["van_der_pol"]["horizons"]
    assert all(np.isfinite([h["nonlinear_face"], h["lifted_face"]]).all() for h in horizons)
    assert len(list((tmp_path / "figures").glob("*.png"))) == 5


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
