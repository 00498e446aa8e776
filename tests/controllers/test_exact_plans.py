"""Plans against the optimum in extended precision: equal to 1e-7 of the inputs' range, or an honest no."""

from collections import Counter

import numpy as np
import pytest
from effort import many
from exact_plans import Exact, random_problem
from random_problems import Judge, Problem

from koopctrl import LiftedModel, LinearMPC
from koopctrl.errors import SolverError


def in_units_of_one(posed):
    """For the linear programme, whose tolerances are absolute; and the inputs' units."""
    o, options = posed.options, {}
    unit = 0.5 * (o["u_max"] - o["u_min"])
    far = np.maximum(np.abs(o["y_max"]), np.abs(o["y_min"])) if "y_max" in o else np.ones(len(posed.C))
    for name, value in o.items():
        if name.startswith(("u_", "du_")):
            options[name] = value / unit
        elif name.startswith("y_"):
            options[name] = value / far
    plant = posed.A, posed.B * unit, posed.C / far[:, None]
    return Judge(Problem(*plant, posed.horizon, options, posed.u_last, [], []), None), unit


def check(seed, seen):
    posed = random_problem(np.random.default_rng(seed))
    options, N = dict(posed.options), posed.horizon
    lifted = LiftedModel.from_matrices(posed.A, posed.B, posed.C, dt=0.1)
    try:
        mpc = LinearMPC(lifted, N, **options)
    except SolverError:
        options["terminal"] = "none"
        mpc = LinearMPC(lifted, N, **options)
    judge, unit = in_units_of_one(posed)
    last = judge.effective_last(posed.u_last / unit) * unit
    mpc.applied(posed.u_last)
    mpc.control(posed.x0)
    status, inputs = mpc.info.status, mpc.info.inputs
    seen[status] += 1
    room = judge.room(posed.x0, last / unit) if status != "optimal" and "y_max" in options else None
    if status.startswith("fallback"):
        assert mpc.info.reason
        # Honest, but a bound that can be held by a margin may not be called one that cannot.
        seen["feasible, unsolved"] += room is None or bool(room > 1e-6)
        return
    if status == "softened":
        seen["relaxed, feasible"] += bool(room > 1e-6)
    exact = Exact(posed, mpc.P if options["terminal"] == "riccati" else None, last, status == "softened")
    best = exact.solve(exact.start(posed, inputs))
    if best is None:
        seen["undecided"] += 1
        return
    wide = options["u_max"] - options["u_min"]
    error = float((np.abs(inputs - best) / wide).max())
    seen["compared"] += 1
    assert error <= 1e-7, f"seed {seed}: {status}, off by {error:.1e} of the range"


def run(seeds):
    seen = Counter()
    for seed in seeds:
        check(seed, seen)
    n = len(seeds)
    assert seen["compared"] >= 0.8 * n, seen
    assert seen["softened"] >= 0.05 * n, seen
    assert seen["undecided"] <= 0.02 * n, seen
    assert seen["feasible, unsolved"] <= 0.002 * n, seen
    assert seen["relaxed, feasible"] == 0, seen
    return seen


def test_a_hundred_random_problems_against_extended_precision():
    run(range(100))


@pytest.mark.slow
def test_many_random_problems_against_extended_precision():
    run(range(100, 100 + many(2000)))
