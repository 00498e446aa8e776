"""ExplicitMPC is the online controller, everywhere and in C; its regions are disjoint, each row is needed."""

from __future__ import annotations

import copy
import ctypes
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from koopctrl import KalmanFilter, LiftedModel, LinearMPC, load
from koopctrl.controllers import ExplicitMPC, check_controller
from koopctrl.errors import KoopctrlError, OptionError

A = np.array([[1.0, 0.1], [0.0, 1.0]])
B = np.array([[0.005], [0.1]])
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "inputs": ({}, None),
    "outputs": ({"y_min": [-1.0, -1.0], "y_max": [1.0, 1.0]}, None),
    "moves": ({"R_rate": 0.1, "du_min": -1.0, "du_max": 1.0}, np.array([0.3, 0.0])),
    "set-points": ({"y_max": [1.2, 0.5]}, (np.array([-0.9, -1e-3]), np.array([0.9, 1e-3]))),
    "blocks": ({"horizon": 20, "blocks": [1, 2, 4, 13], "terminal": "none"}, None),
}


PLAIN: Any = (np.ones(2), 1.0)


def make(scale: Any = PLAIN, **options: Any) -> LinearMPC:
    x, u = scale
    model = LiftedModel.from_matrices(A * x[:, None] / x, B * x[:, None] / u, dt=0.1)
    given: dict[str, Any] = {
        "horizon": 6, "Q": np.array([1.0, 0.1]) / x**2, "R": 0.1 / u**2, "u_min": -2.0 * u, "u_max": 2.0 * u
    }  # fmt: skip
    return LinearMPC(model, **(given | options))


@pytest.fixture(scope="module", params=CASES, ids=list(CASES))
def pair(request: pytest.FixtureRequest) -> tuple[LinearMPC, ExplicitMPC]:
    options, references = CASES[request.param]
    mpc = make(**options)
    return mpc, mpc.to_explicit(-1.5, 1.5, references=references)


def compare(mpc: LinearMPC, explicit: ExplicitMPC, n: int) -> None:
    """Plans at random states, set-points and last inputs; where the one has a solution, so has the other."""
    rng = np.random.default_rng(0)
    table, fixed = explicit.table, explicit.law.fixed
    low, high = table.middle - table.half, table.middle + table.half
    for _ in range(n):
        theta = rng.uniform(low, high)
        r = theta[2:4] if fixed is None else fixed
        for controller in (mpc, explicit):
            controller.reset()
            if len(theta) == 3:
                controller.applied(theta[-1:])
            controller.control(theta[:2], r)
        assert mpc.info is not None
        assert explicit.info is not None
        if mpc.info.status == "optimal":
            assert explicit.info.status == "optimal"
            assert np.abs(explicit.info.inputs - mpc.info.inputs).max() <= 1e-8
        else:
            assert explicit.info.status.startswith("fallback")


def test_it_is_the_online_controller(pair: tuple[LinearMPC, ExplicitMPC]) -> None:
    compare(*pair, 300)


@pytest.mark.slow
def test_it_is_the_online_controller_at_1e5_points() -> None:
    for options, references in (CASES["inputs"], CASES["moves"]):
        mpc = make(**options)
        compare(mpc, mpc.to_explicit(-1.5, 1.5, references=references), 50_000)


def test_regions_do_not_overlap_and_every_row_is_needed(pair: tuple[LinearMPC, ExplicitMPC]) -> None:
    table = pair[1].table
    points = np.random.default_rng(1).uniform(-1.0, 1.0, (2000, len(table.middle)))
    excess = points @ table.rows.T - table.heights
    inside = np.maximum.reduceat(excess, table.starts[:-1], axis=1) < -1e-6
    assert inside.sum(axis=1).max() == 1
    for i in range(min(10, table.n_regions)):
        rows, heights = (part[table.starts[i] : table.starts[i + 1]] for part in (table.rows, table.heights))
        for j in range(len(rows)):
            found = optimize.linprog(
                -rows[j], A_ub=np.delete(rows, j, axis=0), b_ub=np.delete(heights, j), bounds=(-10, 10)
            )
            assert -found.fun > heights[j]


def test_the_optimality_conditions_hold_at_corners_between_regions() -> None:
    # The law is continuous: regions that share a facet give one input on it.
    explicit = make(y_min=[-1.0, -1.0], y_max=[1.0, 1.0]).to_explicit(-1.5, 1.5)
    table = explicit.table
    points = np.random.default_rng(2).uniform(-1.0, 1.0, (20_000, 2))
    excess = np.maximum.reduceat(points @ table.rows.T - table.heights, table.starts[:-1], axis=1)
    near = np.argwhere((np.abs(excess) < 1e-3).sum(axis=1) > 1).ravel()
    assert len(near) > 20
    for k in near[:200]:
        which = np.flatnonzero(np.abs(excess[k]) < 1e-3)
        plans = table.gains[which] @ points[k] + table.offsets[which]
        assert np.abs(plans - plans[0]).max() < 0.5


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_generated_c_takes_the_same_decisions(pair: tuple[LinearMPC, ExplicitMPC], tmp_path: Path) -> None:
    explicit = pair[1]
    code = explicit.to_c(tmp_path, "table")
    assert code.data_bytes > 8 * explicit.table.rows.size
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", tmp_path / "t.so", tmp_path / "table.c", "-lm"], check=True)
    lookup = ctypes.CDLL(str(tmp_path / "t.so")).table_lookup
    lookup.argtypes, lookup.restype = [ctypes.c_void_p] * 4, ctypes.c_int
    rng, table = np.random.default_rng(3), explicit.table
    for _ in range(300):
        theta = table.middle + table.half * rng.uniform(-1.1, 1.1, len(table.middle))
        x, r, last, u = theta[:2].copy(), theta[2:4].copy(), theta[-1:].copy(), np.array([np.nan])
        region = lookup(x.ctypes.data, r.ctypes.data, last.ctypes.data, u.ctypes.data)
        expected = table.find(theta)
        assert (region < 0) == (expected < 0)
        if region >= 0:
            assert u == pytest.approx(np.clip(table.plan(expected, theta)[:1], -2.0, 2.0), abs=1e-9)
    x = np.array([np.nan, 0.0])
    assert lookup(x.ctypes.data, x.ctypes.data, x.ctypes.data, u.ctypes.data) == -1


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_other_units(unit: float) -> None:
    y_max = np.array([1.2, 0.5])
    plain = make(y_max=y_max).to_explicit(-1.5, 1.5)
    x_unit, u_unit = np.array([unit, 1.0 / unit]), unit**0.5
    other = make((x_unit, u_unit), y_max=y_max * x_unit).to_explicit(-1.5 * x_unit, 1.5 * x_unit)
    assert other.n_regions == plain.n_regions
    for x in np.random.default_rng(4).uniform(-0.6, 0.6, (50, 2)):
        assert other.control(x * x_unit) / u_unit == pytest.approx(plain.control(x), abs=1e-7)


def test_closed_loops_copies_and_files(pair: tuple[LinearMPC, ExplicitMPC], tmp_path: Path) -> None:
    mpc, explicit = pair
    check_controller(explicit)
    explicit.save(tmp_path / "table.npz")
    others = [
        copy.deepcopy(explicit),
        pickle.loads(pickle.dumps(explicit)),
        load(tmp_path / "table.npz"),
        mpc,
    ]
    for controller in (explicit, *others):
        controller.reset()
    x, r = np.array([0.5, 0.1]), explicit.law.fixed
    for k in range(20):
        y = np.full(2, np.nan) if k == 7 else x
        u = explicit.control(y, r)
        assert explicit.info is not None
        for other in others:
            assert other.control(y, r) == pytest.approx(u, abs=1e-7)
            assert other.info.status == explicit.info.status
        x = A @ x + B @ u
    assert f"regions: {explicit.n_regions}" in repr(explicit)


def test_retuned() -> None:
    explicit = make().to_explicit(-1.0, 1.0)
    other = explicit.with_(R=1.0)
    online = make(R=1.0)
    assert other.control([0.3, 0.1]) == pytest.approx(online.control([0.3, 0.1]), abs=1e-9)
    assert isinstance(other, ExplicitMPC)


def test_outside_it_follows_the_lqr() -> None:
    explicit = make().to_explicit(-1.0, 1.0)
    u = explicit.control([3.0, 0.0])
    assert explicit.info is not None
    assert explicit.info.status == "fallback_lqr"
    assert "outside" in explicit.info.reason
    assert explicit.K is not None
    assert u == pytest.approx(np.clip(-explicit.K @ [3.0, 0.0], -2.0, 2.0))


def test_another_set_point_than_the_tables_is_said() -> None:
    explicit = make().to_explicit(-1.0, 1.0)
    explicit.control([0.3, 0.0], [0.2, 0.0])
    assert explicit.info is not None
    assert explicit.info.status == "fallback_lqr"
    assert "another set-point" in explicit.info.reason
    assert "references=(low, high)" in explicit.info.reason


def big(n: int) -> LiftedModel:
    return LiftedModel.from_matrices(0.9 * np.eye(n), np.ones((n, 1)), dt=1.0)


@pytest.mark.parametrize(
    ("make_one", "words"),
    [
        (lambda: LinearMPC(big(5), 5, 1.0, 1.0).to_explicit(-1, 1), "5 states and 5 steps"),
        (lambda: make(horizon=11).to_explicit(-1, 1), "2 states and 11 steps"),
        (lambda: make(input_delay=1).to_explicit(-1, 1), "input_delay"),
        (lambda: make(offset_free=0.5).to_explicit(-1, 1), "offset_free"),
        (lambda: make().to_explicit(1, -1), "x_min"),
        (lambda: make().to_explicit(-1, 1, references=(0.0,)), "references has 1 parts"),
        (lambda: make(R_rate=1.0, u_min=None).to_explicit(-1, 1), "u_min"),
        (lambda: make(y_max=1.0).to_explicit(-1, 1, max_regions=3), "more than max_regions = 3 regions"),
        (lambda: ExplicitMPC(make().to_explicit(-1, 1), -1, 1), "expected a LinearMPC"),  # pyright: ignore
        (lambda: make().to_explicit(-1, 1).control([0.0, 0.0], [np.nan, 0.0]), "reference has NaN"),
        (lambda: make().to_explicit(-1, 1).control([0.0, 0.0], [[0.0, 0.0], [1.0, 0.0]]), "preview"),
        (lambda: make().to_explicit(-1, 1).compile(), "lookup in C"),
    ],
)  # fmt: skip
def test_bad_inputs_by_name(make_one: Any, words: str) -> None:
    with pytest.raises(KoopctrlError, match=words):
        make_one()


def test_set_points_out_of_reach_are_refused() -> None:
    model = LiftedModel.from_matrices([[0.5]], [[1.0]], dt=1.0)
    mpc = LinearMPC(model, 4, 1.0, 1.0, u_min=-1.0, u_max=1.0)
    with pytest.raises(OptionError, match="no input within its bounds can hold"):
        mpc.to_explicit(-5.0, 5.0, references=(np.array([-3.0]), np.array([3.0])))
    explicit = mpc.to_explicit(-5.0, 5.0, references=np.array([3.0]))  # one alone is moved, as online
    for x in (-4.0, 0.0, 1.5):
        assert explicit.control([x], [3.0]) == pytest.approx(mpc.control([x], [3.0]), abs=1e-9)
    assert explicit.n_regions > 1


def test_with_a_filter() -> None:
    model = LiftedModel.from_matrices(A, B, [[1.0, 0.0]], dt=0.1)
    mpcs = []
    for _ in range(2):
        estimator = KalmanFilter(model, 1e-3 * np.eye(2), 1e-3 * np.eye(1))
        mpcs.append(LinearMPC(model, 5, 1.0, 0.1, u_min=-1.0, u_max=1.0, estimator=estimator))
    online, explicit = mpcs[0], mpcs[1].to_explicit(-3.0, 3.0)
    x = np.array([1.0, 0.0])
    for _ in range(20):
        u = online.control(x[:1])
        assert explicit.control(x[:1]) == pytest.approx(u, abs=1e-8)
        x = A @ x + B @ u
