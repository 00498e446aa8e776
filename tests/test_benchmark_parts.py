"""Parts of the benchmark: figures of runs, what makers see, the built-in controllers, the yardstick."""

import json

import numpy as np
import pytest

from koopctrl.benchmark.builtin import BUILTIN
from koopctrl.benchmark.case import Case, Knowledge
from koopctrl.benchmark.result import BenchResult, Run
from koopctrl.benchmark.run import find_makers
from koopctrl.errors import OptionError
from koopctrl_envs.tasks import make_tasks

INF, NAN = float("inf"), float("nan")


def run(controller="a", costs=(1.0, 3.0), reference=2.0, seed=0, message=""):
    return Run("P", "t", controller, seed, costs, reference, 1, 0.002, message)


def test_a_run_adds_up_its_starts_and_divides_by_the_yardstick():
    assert (run().cost, run().ratio, run().n_failed) == (4.0, 2.0, 0)
    assert np.isnan(run(reference=None).ratio)
    failed = run(costs=(1.0, INF, NAN))
    assert failed.n_failed == 2


def test_tables_rank_by_failures_then_by_ratio_and_json_has_no_infinity(tmp_path):
    runs = (
        run("good", seed=0), run("good", (2.0, 2.2), seed=1), run("lost", (0.1, INF), message="it fell"),
        run("worse", (4.0, 4.0)), run("blind", reference=None),
    )  # fmt: skip
    result = BenchResult(runs, (0, 1))
    first = result.rows()[0]
    assert (first["over_nmpc"], first["worst"], first["violations"]) == (pytest.approx(2.05), 2.1, 2)
    assert (first["failed"], first["step_ms"]) == ("0/4", 2.0)
    assert [r["controller"] for r in result.ranking()] == ["good", "worse", "blind", "lost"]
    assert result.messages() == ["P/t, lost: it fell"]
    result.save(tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())
    assert read["runs"][2]["costs"] == [0.1, None]
    assert read["seeds"] == [0, 1]
    lines = str(result).splitlines()
    assert len(lines) == 5
    assert len({line.index("P") for line in lines[1:]}) == 1
    assert repr(result) == "BenchResult(1 plants, 1 tasks, 4 controllers, 2 seeds)"


@pytest.fixture(scope="module")
def case():
    task = make_tasks("VanDerPol")["regulation"]
    return Case(task, task.make(), Knowledge(task, 0))


def test_records_stay_within_the_bounds_half_of_them_near_rest(case):
    inputs = [e.inputs for e in case.records]
    assert len(inputs) == 40
    assert all((u >= case.u_min).all() and (u <= case.u_max).all() for u in inputs)
    width = case.u_max - case.u_min
    wide, near = (max(np.abs(u - case.u_rest).max() for u in part) for part in (inputs[:20], inputs[20:]))
    assert near <= 0.2 * width + 1e-12
    assert wide > 0.4 * width
    starts = {tuple(e.outputs[0]) for e in case.records}
    assert len(starts) == 40


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_controllers_hold_the_plant_at_rest(case, name):
    controller = BUILTIN[name](case)
    controller.reset()
    case.env.reset(options={"x0": case.y_rest})
    u = controller.control(case.y_rest, case.y_rest)
    # Records of the whole oscillator, put together linearly, are not at rest to the last digit.
    near = 0.05 if name == "deepc" else 0.02
    assert np.abs(u - case.u_rest).max() < near * (case.u_max - case.u_min).max()


def test_the_yardstick_sees_the_state_and_loads_that_come():
    task = make_tasks("VanDerPol")["disturbed"]
    case = Case(task, task.make(), Knowledge(task, 0))
    yardstick = BUILTIN["nmpc"](case)
    case.env.reset(options={"x0": task.starts[0]})
    wrong = case.y_rest + 7.0  # the measurement is not looked at
    k = int(np.argmax(task.loads[:, 0] > 0.0))
    answers = {}
    for start in (0, k):
        yardstick.reset()
        yardstick._k = start
        answers[start] = yardstick.control(wrong, task.references[start])[0]
        assert yardstick.info.status == "optimal"
    # A load that is there is worked against; one that comes within the horizon is prepared for.
    assert answers[k] < -0.2 * task.loads[k, 0]
    assert 1e-3 < abs(answers[0]) < abs(answers[k])


def test_makers_are_found_by_name_call_or_object_and_named_apart():
    def mine(case):
        return None

    found = find_makers(["lqr", mine])
    assert list(found) == ["lqr", "mine"]
    assert found["lqr"] is BUILTIN["lqr"]
    assert found["mine"] is mine
    assert find_makers({"b": "koopctrl.benchmark.builtin:dmdc"})["b"] is BUILTIN["dmdc"]
    for bad, message in (
        ([], "controllers is empty"),
        ("nonsense", "has 'nonsense'; expected one of lqr"),
        ("no_such_module:make", "no_such_module could not be imported"),
        ("koopctrl:no_maker", "koopctrl has no no_maker"),
        ([3], "has a int"),
    ):
        with pytest.raises(OptionError, match=message):
            find_makers(bad)
