"""The experiments' harness in its small mode, and its parts against oracles."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from koopctrl import Trajectories

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the package
from benchmarks.experiments import cell, tuning  # noqa: E402
from benchmarks.experiments.data import all_experiments, chaotic, flows, simple  # noqa: E402
from benchmarks.experiments.data.lyapunov import largest_exponent  # noqa: E402
from benchmarks.experiments.models import all_contenders, contender, linear, reservoir, ring  # noqa: E402
from benchmarks.experiments.problem import CannotRun, Experiment, interval_score, robust_nrmse  # noqa: E402


def run(out: Path, *arguments: str) -> str:
    """The command, as a user types it."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])}
    command = [sys.executable, "-m", "benchmarks.experiments", "--smoke", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "experiments"
    run(out)
    return out


@pytest.mark.slow
def test_every_cell_of_the_small_mode_is_filled_or_says_why(cells):
    from benchmarks.experiments.__main__ import SMOKE_EXPERIMENTS

    contenders = all_contenders()
    for name in SMOKE_EXPERIMENTS:
        for model, c in contenders.items():
            found = cell.load(cell.path_of(cells, name, model, 0))
            if "error" in found:
                assert np.isfinite(float(found["error"]))
                assert found["fit_s"] >= 0.0
                assert found["settings"] in c.space(_kind(name), True)
                assert set(found["versions"]) >= {"numpy", "scipy"}
            else:
                assert len(found["cannot_run"]) > 5, found
                assert "Error" not in found["cannot_run"], found["cannot_run"]


def _kind(name):
    return all_experiments()[name].make(0, True, None).kind


@pytest.mark.slow
def test_small_mode_ranks_as_it_must(cells):
    def error(model, name="van_der_pol_forced"):
        return cell.load(cell.path_of(cells, name, model, 0))["error"]

    assert error("KoopmanRNN one step") < 0.1 * error("ARX") < error("persistence")
    # On Lorenz-63 more is better.
    assert error("KoopmanRNN one step", "lorenz63_noisy") > error("persistence", "lorenz63_noisy")


@pytest.mark.slow
def test_cells_that_are_there_are_not_run_again(cells):
    path = cell.path_of(cells, "hair_dryer", "ARX", 0)
    marked = cell.load(path) | {"error": 123.0}
    cell.write(path, marked)
    assert run(cells, "--only", "hair_dryer", "--models", "ARX", "persistence") == ""
    assert cell.load(path)["error"] == 123.0
    printed = run(cells, "--only", "hair_dryer", "--models", "ARX", "--redo")
    assert printed.count("\n") == 1
    assert cell.load(path)["error"] < 1.0


@pytest.mark.slow
def test_tables_and_figures_are_made_of_the_cells(cells, tmp_path):
    page = runpy.run_path(str(ROOT / "docs" / "experiments.py"))
    table = page["TABLES"]["experiment_hair_dryer"](cells.parent)
    assert "**KoopmanRNN one step**" in table
    assert "Cannot run:" in table
    assert "Hair dryer" in page["TABLES"]["experiments_summary"](cells.parent)
    page["draw"](cells.parent, tmp_path)
    assert (tmp_path / "experiment-hair_dryer.png").stat().st_size > 10_000


def test_a_cell_that_cannot_run_says_why(tmp_path):
    def make(seed, smoke, folder):
        raise CannotRun("no data")

    found = cell.run(
        Experiment("none", "simple", make), all_contenders()["ARX"], 0, n_trials=1, smoke=True, folder=None,
        limit=10.0,
    )  # fmt: skip
    assert found["cannot_run"] == "no data"
    assert not cell.done(found)


def test_a_cell_has_so_much_processor_time_and_no_more():
    def forever(train, settings, seed, info):
        while True:
            pass

    endless = contender.Contender("endless", forever, contender.only())
    experiment = all_experiments()["hair_dryer"]
    found = cell.run(experiment, endless, 0, n_trials=1, smoke=True, folder=None, limit=1.0)
    assert found["cannot_run"].startswith("not finished within 1 s of processor time (fit to ")
    assert found["limit_s"] == 1


def test_trials_end_with_half_of_the_time_and_the_best_so_far_goes_on():
    def fit(train, settings, seed, info):
        while settings["n"] == 1:
            pass
        return lambda data, n_init: [e.outputs + settings["n"] for e in data]

    slow = contender.Contender("slow", fit, lambda kind, smoke: [{"n": n} for n in (2, 1, 0)])
    experiment = all_experiments()["hair_dryer"]
    found = cell.run(experiment, slow, 0, n_trials=3, smoke=True, folder=None, limit=2.0)
    assert found["settings"] == {"n": 2}
    assert [t["settings"]["n"] for t in found["trials"]] == [2, 1]
    assert found["trials"][1]["message"] == "not finished within the 1 s of all trials"
    assert 0.9 < found["search_s"] < 2.0
    never = contender.Contender("never", fit, lambda kind, smoke: [{"n": 1}, {"n": 1}])
    found = cell.run(experiment, never, 0, n_trials=2, smoke=True, folder=None, limit=2.0)
    assert found["cannot_run"].startswith("not finished within 2 s of processor time (no trial on ")


def test_trials_never_see_the_test_part():
    problem = all_experiments()["hair_dryer"].make(0, True, None)
    fitted, judged = tuning.parts(problem)
    whole = problem.train[0].outputs
    assert len(fitted[0]) == 400
    np.testing.assert_array_equal(fitted[0].outputs, whole[:400])
    for segment in judged:
        n = len(segment)
        starts = [
            k for k in range(400, len(whole) - n + 1) if np.array_equal(whole[k : k + n], segment.outputs)
        ]
        assert starts


def test_lag_runs_are_those_of_a_linear_recursion():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(3, 40, 1))
    y = np.zeros((3, 41, 1))
    y[:, :2] = rng.normal(size=(3, 2, 1))
    for k in range(1, 40):
        y[:, k + 1] = 1.2 * y[:, k] - 0.5 * y[:, k - 1] + u[:, k] + 0.3 * u[:, k - 1] + 0.1
    data = Trajectories.from_arrays(y, u, dt=1.0)
    predict = linear.arx(data, {"p": 2, "q": 2, "direct": False}, 0, contender.Info(2, 10, "record", False))
    for p, e in zip(predict(data, 2), data, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-10)


def test_nvar_finds_a_quadratic_map():
    x = np.empty((1, 400, 2))
    x[0, 0] = 0.1, 0.1
    for k in range(399):  # Henon's map
        x[0, k + 1] = 1.0 - 1.4 * x[0, k, 0] ** 2 + x[0, k, 1], 0.3 * x[0, k, 0]
    data = Trajectories.from_arrays(x, dt=1.0)
    settings = {"delays": 1, "order": 2, "ridge": 0.0}
    predict = reservoir.nvar(data, settings, 0, contender.Info(5, 10, "state", False))
    np.testing.assert_allclose(predict(data, 5)[0][:20], x[0, :20], atol=1e-8)


@pytest.mark.parametrize("n_u", [0, 1])
def test_polynomials_of_pysindy_are_its_predictions(n_u):
    pysindy = pytest.importorskip("pysindy")
    from benchmarks.experiments.models import peers

    rng = np.random.default_rng(0)
    x, u, y = rng.normal(size=(200, 2)), rng.normal(size=(200, n_u)), rng.normal(size=(200, 2))
    model = pysindy.DiscreteSINDy(
        optimizer=pysindy.STLSQ(threshold=0.05), feature_library=pysindy.PolynomialLibrary(degree=3)
    )
    model.fit([x], t=1.0, x_next=[y], **({"u": [u]} if n_u else {}))
    expected = model.predict(x, u=u) if n_u else model.predict(x)
    found = peers.polynomial(model)(np.concatenate([x, u], axis=1))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("n_u", [0, 1, 2])
def test_frols_finds_a_bilinear_recursion(n_u):
    pytest.importorskip("sysidentpy")
    from benchmarks.experiments.models import peers

    rng = np.random.default_rng(0)
    u = rng.uniform(-1.0, 1.0, (1, 600, n_u))
    y = rng.uniform(-0.5, 0.5, (1, 600, 1))
    for k in range(1, 599):
        y[0, k + 1] = 0.5 * y[0, k] - 0.3 * y[0, k - 1] + 0.2 - 0.4 * y[0, k] * y[0, k - 1]
        y[0, k + 1] += (u[0, k] * np.arange(1, n_u + 1)).sum() * 0.3
    data = Trajectories.from_arrays(y, u if n_u else None, dt=1.0)
    info = contender.Info(5, 10, "record", False)
    run = peers.frols(data, {"degree": 2, "lags": 2, "terms": 10}, 0, info)(data, 5)[0]
    np.testing.assert_allclose(run, y[0], atol=1e-6)


def test_one_law_for_all_places_finds_a_ring_of_logistic_maps():
    y = np.empty((1, 600, 12))
    y[0, 0] = np.random.default_rng(0).uniform(-0.5, 0.5, 12)
    for k in range(599):
        v = y[0, k]
        y[0, k + 1] = 1.0 - 1.7 * (0.8 * v + 0.1 * (np.roll(v, 1) + np.roll(v, -1))) ** 2
    data = Trajectories.from_arrays(y, dt=1.0)
    info = contender.Info(5, 10, "state", False)
    settings = {"reach": 2, "delays": 1, "order": 2, "ridge": 0.0}
    exact = ring.nvar_ring(data, settings, 0, info)(data, 5)[0]
    np.testing.assert_allclose(exact[:15], y[0, :15], atol=1e-10)
    found = ring.koopman_ring(data, {"reach": 1, "n_features": 200}, 0, info)(data, 5)[0]
    np.testing.assert_allclose(found[:10], y[0, :10], atol=0.02)


def test_a_setting_that_cannot_be_fitted_uses_up_no_trial():
    def fit(train, settings, seed, info):
        if settings["n"] < 2:
            raise ValueError("too wide")
        return lambda data, n_init: [e.outputs for e in data]

    several = contender.Contender("several", fit, lambda kind, smoke: [{"n": n} for n in range(5)])
    problem = all_experiments()["hair_dryer"].make(0, True, None)
    settings, tried = tuning.choose(several, problem, 0, 2, True)
    assert settings == {"n": 2}
    assert [t["settings"]["n"] for t in tried] == [0, 1, 2, 3]


def test_valid_time_and_density_distance_by_hand():
    truth = np.zeros((2, 50, 1))
    wrong = truth.copy()
    wrong[0, 30:] = 1.0
    wrong[1, 45] = np.nan
    np.testing.assert_array_equal(chaotic.valid_steps(truth, wrong, 10, 1.0), [20, 35])
    a = np.random.default_rng(0).normal(size=(4, 2000, 3))
    assert chaotic.density_distance(a, a) == 0.0
    assert chaotic.density_distance(a, np.full_like(a, np.inf)) == 1.0
    assert 0.4 < chaotic.density_distance(a, a + 1.0) < 1.0


def test_van_der_pol_agrees_with_scipy():
    from scipy.integrate import solve_ivp

    x = simple.simulate(np.array([[1.0, -0.5]]), np.full((1, 40), 0.3))[0]

    def rhs(t, s):
        return [s[1], (1.0 - s[0] ** 2) * s[1] - s[0] + 0.3]

    exact = solve_ivp(rhs, (0.0, 2.0), x[0], rtol=1e-11, atol=1e-12, t_eval=np.arange(41) * simple.DT)
    np.testing.assert_allclose(x, exact.y.T, atol=1e-8)


def test_flows_agree_with_finer_steps():
    rng = np.random.default_rng(0)
    for flow, finer, tolerance in (
        (flows.FLOWS[3], flows.kuramoto_sivashinsky(22.0, 64, 0.25 / 8), 1e-4),
        (flows.FLOWS[1], flows.runge_kutta(flows._roessler, 0.1, 80), 1e-6),
    ):
        x = y = flow.on_attractor(rng, 2)
        for _ in range(8):
            x = flow.step(x)
            for _ in range(8 if flow.name.startswith("kura") else 1):
                y = finer(y)
        np.testing.assert_allclose(x, y, atol=tolerance * np.abs(y).max())


def test_mackey_glass_solves_its_equation():
    # Of the first 17 units of time the history is known: an ordinary equation with an exact answer.
    x0, n = 0.8, flows._TAU * flows._MG_STEPS + 1
    history = np.full((1, n), x0)
    step = flows.mackey_glass(flows._TAU * flows._MG_STEPS, flows._MG_STEPS)
    gain = 0.2 * x0 / (1.0 + x0**10)
    for t in range(1, 18):
        history = step(history)
        assert history[0, 0] == pytest.approx(10.0 * gain + (x0 - 10.0 * gain) * np.exp(-0.1 * t), abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "n_steps", "tolerance"),
    [(0, 6000, 0.02), (1, 15_000, 0.005), (2, 4000, 0.06), (3, 12_000, 0.003)],
)
def test_lyapunov_exponents_are_those_stated(index, n_steps, tolerance):
    flow = flows.FLOWS[index]
    found, _ = largest_exponent(flow, n_steps)
    assert found == pytest.approx(flow.lyapunov, abs=tolerance)


def test_robust_errors_bear_a_run_that_diverges():
    truth = [np.zeros((10, 1)), np.zeros((10, 1))]
    predicted = [np.ones((10, 1)), np.full((10, 1), np.inf)]
    assert robust_nrmse(truth, predicted, 2, np.ones(1)) == pytest.approx(1.5)


def test_paths_of_cells_are_told_apart():
    paths = {
        cell.path_of(Path("x"), e, m, s) for e in all_experiments() for m in all_contenders() for s in (0, 1)
    }
    assert len(paths) == 2 * len(all_experiments()) * len(all_contenders())


@pytest.mark.slow
def test_records_of_cells_are_plain_json(cells):
    for path in cells.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)


def test_interval_score_by_hand():
    truth = [np.array([[9.0], [0.0], [3.0]])]
    bands = [(np.array([[0.0], [-1.0], [0.0]]), np.array([[0.0], [1.0], [2.0]]))]
    found = interval_score(truth, bands, 1, np.array([2.0]), coverage=0.5)
    assert found == {"band_coverage": 0.5, "band_width": 1.0, "interval_score": 1.0 + 0.5 * 4.0 * 0.5}


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_cells_in_casadi_are_those_of_torch(name):
    pytest.importorskip("torch")
    from benchmarks.experiments.control import cell_step
    from benchmarks.experiments.models.gradient import recurrent

    rng = np.random.default_rng(0)
    u = rng.uniform(-1.0, 1.0, (6, 40))
    x = simple.simulate(rng.uniform(-2.0, 2.0, (6, 2)), u)
    data = Trajectories.from_arrays(x, u[:, :, None], dt=simple.DT)
    info = contender.Info(10, 20, "forced", smoke=True)
    settings = {"hidden": 5, "layers": 1, "rate": 5e-3, "form": "fed", "kept": True}
    run = recurrent(data, settings, 0, info, name)(data, 10)[0]
    net, state, e = info.left["network"], np.zeros(10 if name == "LSTM" else 5), data[0]
    # torch's first row holds the first sample twice.
    y, state = cell_step(net, e.outputs[0], e.inputs[0], state)
    for k in range(1, 20):
        y, state = cell_step(net, e.outputs[k - 1] if k <= 10 else y, e.inputs[k - 1], state)
        if k >= 10:
            np.testing.assert_allclose(np.asarray(y).ravel(), run[k], atol=1e-5)
