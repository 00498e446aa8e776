"""`koopctrl fit --budget` and `koopctrl compare`."""

import json

import numpy as np
import pytest
from command_line import run
from test_cli import RECORD

import koopctrl
from koopctrl import compare, datasets

SIGNALS = ("--outputs", "y", "--inputs", "u", "--dt", 0.08, "--test-fraction", 0.5)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choose")
    done = run(folder, "fit", RECORD, *SIGNALS, "--budget", 2, "--save", "chosen.npz", "--plot", "run.png")
    assert done.returncode == 0, done.stderr
    plain = run(folder, "fit", RECORD, *SIGNALS, "--output-lags", 4, "--input-lags", 4, "--save", "plain.npz")
    assert plain.returncode == 0, plain.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_a_budget_chooses_shows_candidates_and_saves_a_fit_to_all_rows(chosen):
    folder, printed = chosen
    for text in ("candidates", "chosen: ", "best linear", "residuals of", "fitted to all 999 steps"):
        assert text in printed
    assert (folder / "run.png").stat().st_size > 1000
    model = koopctrl.load(folder / "chosen.npz")
    assert model.rollout_margin is not None
    assert model.score(datasets.hair_dryer(), n_init=20) > 0.9


def test_json_has_the_candidates_and_the_comparison(tmp_path):
    done = run(tmp_path, "fit", RECORD, *SIGNALS, "--budget", 1, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["candidates"][0]["error"] > 0
    assert {row["model"].split(":")[0] for row in found["compared"]} == {"chosen", "best linear"}


def test_saved_models_are_compared_on_the_same_samples(chosen):
    folder, _ = chosen
    done = run(
        folder,
        "compare",
        "chosen.npz",
        "plain.npz",
        "--data",
        RECORD,
        "--n-init",
        30,
        "--plot",
        "c.png",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    models = {name: koopctrl.load(folder / name) for name in ("chosen.npz", "plain.npz")}
    truth = compare(models, datasets.hair_dryer(), n_init=30).rows
    for row, expected in zip(found["compared"], truth, strict=True):
        assert row["model"] == expected["model"]
        np.testing.assert_allclose(row["RMSE of y"], expected["RMSE of y"], rtol=1e-9)
    assert (folder / "c.png").stat().st_size > 1000
    twice = run(folder, "compare", "plain.npz", "plain.npz", "--data", RECORD)
    assert twice.returncode != 0
    assert "twice" in twice.stderr
    bad = run(folder, "fit", RECORD, *SIGNALS, "--budget", -1)
    assert bad.returncode != 0
    assert "budget" in bad.stderr
