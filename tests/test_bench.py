"""`koopctrl.bench` and `koopctrl bench`: any controller on the tasks, ranked."""

import json
import sys

import numpy as np
import pytest
from command_line import run

from koopctrl import LinearMPC, bench
from koopctrl.benchmark.case import Case, Knowledge
from koopctrl.benchmark.result import BenchResult, Run
from koopctrl.errors import OptionError
from koopctrl_envs.tasks import make_tasks, reference_score
from koopctrl_envs.wrappers import MeasurementNoise

MODULE = """
import numpy as np

class Hold:
    def __init__(self, u):
        self.u = u
    def reset(self):
        pass
    def control(self, measurement, reference=None):
        return self.u

def make(case):
    return Hold(case.u_rest)

hold_nothing = Hold(np.zeros(1))
"""


class Hold:
    """The resting input, whatever happens."""

    def __init__(self, u):
        self.u = np.asarray(u, dtype=float)

    def reset(self):
        pass

    def control(self, measurement, reference=None):
        return self.u


def hold(case):
    return Hold(case.u_rest)


def test_costs_are_those_of_the_true_plant_over_the_stored_yardstick():
    task = make_tasks("VanDerPol")["regulation"]
    (held,) = bench({"hold": hold}, "VanDerPol", "regulation").runs
    for x0, cost in zip(task.starts, held.costs, strict=True):
        x, total = x0, 0.0
        for k in range(task.n_steps):
            x = task.plant.step(x, [0.0])
            error = x - task.references[k + 1]
            total += error @ task.Q @ error
        assert cost == pytest.approx(total, rel=1e-12)
    assert held.reference == reference_score(task).cost
    assert held.ratio == held.cost / held.reference > 1.0
    assert len(held.results) == 2


@pytest.mark.slow
def test_built_in_controllers_learn_a_plant_and_come_near_the_yardstick():
    result = bench(["lqr", "linear_mpc", "rnn_mpc", "dmdc", "nmpc"], ["VanDerPol"], ["setpoints"])
    ratios = {r.controller: r.ratio for r in result.runs}
    assert ratios["nmpc"] == pytest.approx(1.0, rel=1e-5)
    assert 0.98 < ratios["rnn_mpc"] < 1.1
    assert all(np.isfinite(v) and v < 5.0 for v in ratios.values())
    assert result.messages() == []
    table = str(result)
    assert [line.split()[2] for line in table.splitlines()[1:]] == list(ratios)
    figure = result.plot()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["VanDerPol/setpoints"]
    ranked = [row["over_nmpc"] for row in result.ranking()]
    assert ranked == sorted(ranked)


def test_what_makers_are_given():
    seen = []

    def maker(case):
        assert isinstance(case, Case)
        seen.append((case.seed, case.dt, case.horizon, case.offset_free, case.x_rest.shape))
        assert case.records is case.knowledge.records
        return Hold(case.u_rest)

    bench({"mine": maker}, "TwoTanks", ["setpoints", "disturbed"], seeds=[0, 3], n_steps=2)
    assert seen == [(seed, 1.0, 30, load, (2,)) for load in (False, True) for seed in (0, 3)]
    task = make_tasks("QuadrupleTank")["setpoints"]
    knowledge = Knowledge(task, 0)
    assert knowledge.lags == 4  # four states, two outputs
    assert Case(task, task.make(), knowledge).x_rest.shape == (4 * 2 + 3 * 2,)
    assert Knowledge(make_tasks("Pendulum")["setpoints"], 0).lags == 1  # cosine and sine tell the angle


def test_objects_run_as_they_are_and_are_not_touched():
    mine = Hold([0.0])
    result = bench({"mine": mine}, "VanDerPol", "disturbed", n_steps=3)
    assert vars(mine).keys() == {"u"}
    assert result.runs[0].reference is None
    assert np.isnan(result.runs[0].ratio)
    assert "-" in str(result)
    assert result.plot().axes[0].get_xlabel() == "cost over the best controller's"


def test_wrappers_act_in_loops_and_records():
    noisy = bench(
        {"hold": hold}, "VanDerPol", "regulation", wrappers=[lambda e: MeasurementNoise(e, 0.3)], n_steps=5
    )
    plain = bench({"hold": hold}, "VanDerPol", "regulation", n_steps=5)
    assert noisy.runs[0].costs == plain.runs[0].costs
    seen = noisy.runs[0].results[0]
    assert np.abs(seen.outputs - seen.states).max() > 0.1
    task = make_tasks("VanDerPol")["regulation"]
    records = Knowledge(task, 0, (lambda e: MeasurementNoise(e, 0.3),)).records
    clean = Knowledge(task, 0).records
    assert np.abs(records[0].outputs - clean[0].outputs).std() == pytest.approx(0.3, rel=0.4)


def test_failures_of_plants_and_makers_are_told_and_cost_infinity():
    full = Hold([10.0])

    def broken(case):
        raise OptionError("no model of this plant")

    result = bench({"full": full, "broken": broken}, "CartPole", "setpoints")
    by_name = {r.controller: r for r in result.runs}
    assert by_name["full"].cost == by_name["broken"].cost == np.inf
    assert by_name["full"].message.startswith("the plant failed after")
    assert "no model of this plant" in by_name["broken"].message
    assert len(result.messages()) == 2
    assert [row["failed"] for row in result.rows()] == ["1/1", "1/1"]
    assert result.to_dict()["rows"][0]["cost"] is None
    result.plot()


def test_results_are_saved_as_plain_json(tmp_path):
    result = bench({"hold": hold}, ["VanDerPol", "Pendulum"], ["setpoints"], seeds=(0, 1))
    result.save(tmp_path / "b.json")
    read = json.loads((tmp_path / "b.json").read_text())
    assert [r["controller"] for r in read["runs"]] == ["hold"] * 4
    assert read["runs"][0]["costs"] == list(result.runs[0].costs)
    assert read["seeds"] == [0, 1]
    assert repr(result) == "BenchResult(2 plants, 1 tasks, 1 controllers, 2 seeds)"


def test_medians_worst_and_ranking():
    def row(controller, seed, cost):
        return Run("P", "t", controller, seed, (cost,), 2.0, 0, 1e-3)

    result = BenchResult((row("a", 0, 2.0), row("a", 1, 6.0), row("a", 2, 4.0), row("b", 0, 3.0)), (0, 1, 2))
    first = result.rows()[0]
    assert (first["cost"], first["over_nmpc"], first["worst"], first["step_ms"]) == (4.0, 2.0, 3.0, 1.0)
    assert [r["controller"] for r in result.ranking()] == ["b", "a"]
    assert [r["within_5_percent"] for r in result.ranking()] == ["0/1", "1/3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["lqg"], "VanDerPol"), "controllers has 'lqg'; expected one of lqr"),
        ((["nowhere_at_all:make"], "VanDerPol"), "nowhere_at_all could not be imported"),
        ((["math:make"], "VanDerPol"), "math has no make"),
        ((["math:pi"], "VanDerPol"), "controllers has a float"),
        (({}, "VanDerPol"), "controllers is empty"),
        (({"a": hold}, "Pendulums"), "plants has 'Pendulums'; expected one of"),
        (({"a": hold}, "VanDerPol", "swing"), "tasks has 'swing'; expected tasks of VanDerPol: regulation"),
    ],
)
def test_names_that_are_none_are_refused_clearly(arguments, message):
    with pytest.raises(OptionError, match=message):
        bench(*arguments)


def test_tasks_of_ones_own():
    task = make_tasks("VanDerPol")["regulation"]
    (one,) = bench({"hold": hold}, tasks=[task], n_steps=4).runs
    assert (one.plant, one.task) == ("VanDerPol", "regulation")
    with pytest.raises(OptionError, match="expected them alone"):
        bench({"hold": hold}, "VanDerPol", [task])


def test_the_command_ranks_a_controller_of_ones_own(tmp_path):
    (tmp_path / "own_law_for_bench.py").write_text(MODULE)
    both = "own_law_for_bench:make,own_law_for_bench:hold_nothing"
    done = run(
        tmp_path, "bench", "--plants", "VanDerPol", "--controllers", both, "--tasks", "setpoints",
        "--save", "b.json", "--plot", "b.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "VanDerPol, the true plant" in done.stdout
    assert "setpoints" in done.stdout
    assert "hold_nothing" in done.stdout
    assert "controllers, the best first" in done.stdout
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert [row["controller"] for row in rows] == ["make", "hold_nothing"]
    assert rows[0]["cost"] == rows[1]["cost"] > 0.0
    assert rows[0]["over_nmpc"] > 1.0
    assert str(tmp_path) not in sys.path


def test_the_command_prints_json(tmp_path):
    (tmp_path / "own_law_for_json.py").write_text(MODULE)
    done = run(
        tmp_path, "bench", "--plants", "Duffing", "--controllers", "own_law_for_json:make", "--steps", 3,
        "--json", "--tasks", "regulation",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_steps"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--controllers", "lqg"), "--controllers has 'lqg'; expected one of lqr"),
        (("--plants", "Pendulums"), "--plants has 'Pendulums'; expected one of"),
        (("--plants", "VanDerPol", "--tasks", "swing"), "--tasks has 'swing'"),
        (("--plants", ","), "--plants is empty"),
        (("--seeds", "0"), "--seeds is 0; expected at least 1"),
        (("--steps", "0"), "--steps is 0; expected at least 1"),
        (("--save", "no/b.json"), "--save is 'no/b.json', whose folder does not exist"),
        (("--plot", "b.bmp"), "--plot is 'b.bmp'"),
    ],
)
def test_errors_of_the_command_are_in_its_own_words(tmp_path, arguments, message):
    done = run(tmp_path, "bench", *arguments)
    assert done.returncode != 0
    said = " ".join(done.stderr.replace("│", " ").split())
    assert message in said
    assert "Traceback" not in done.stderr


def test_linear_mpc_of_ones_own_settings():
    """The page's example: a maker with a shorter horizon."""

    def short(case):
        lifted = case.model.lift_at(case.x_rest, case.u_rest, method="linear")
        return LinearMPC(lifted, 5, case.Q, case.R, u_min=case.u_min, u_max=case.u_max)

    (one,) = bench({"short": short}, "DCMotor", "tracking").runs
    assert np.isfinite(one.cost)
