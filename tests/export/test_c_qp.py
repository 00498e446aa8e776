"""The C QP solver: random MPC problems beside CasADi's daqp, certificates, degenerate and hopeless cases."""

import numpy as np
import pytest
from c_tools import CompiledQP, build_qp_library, random_mpc
from effort import many
from scipy.optimize import linprog

from koopctrl.controllers.qp.dense import kkt_residual
from koopctrl.controllers.qp.solver import KKT_TOL, QPSolver


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_qp_library(tmp_path_factory.mktemp("qp"))


def check_steps(library, seed, n_problems):
    """Solve warm-started sequences; every status must be right, every answer certified by the package."""
    rng, statuses, certificates = np.random.default_rng(seed), [], []
    for _ in range(n_problems):
        problem = random_mpc(rng)
        n = len(problem.H)
        ours, theirs = CompiledQP(library, problem.H, problem.A), QPSolver(n, len(problem.A), "daqp")
        theirs.load(problem.H, problem.A)
        for k, (g, lo, hi) in enumerate(problem.steps):
            status, x, multipliers, kkt, _ = ours.solve(g, lo, hi, warm=k > 0)
            peer = theirs.solve(g, lo, hi)
            assert status in ("solved", "infeasible")
            assert (status == "solved") == peer.success
            statuses.append(status)
            if status == "solved":
                certificate = kkt_residual(
                    problem.H, g, problem.A, lo, hi, x, multipliers[:n], multipliers[n:]
                )
                # Beside an extended-precision solve these answers are off by 4e-10 at most; the bound says up
                # to a hundred times as much where the Hessian is ill conditioned, which few of these are.
                assert certificate <= KKT_TOL
                certificates.append(certificate)
                assert kkt == pytest.approx(certificate, rel=0.5, abs=1e-9)
                np.testing.assert_allclose(x, peer.x, atol=1e-5 * (1 + np.abs(x).max()))
    assert np.mean(np.array(certificates) <= 1e-9) >= 0.99
    return statuses


def test_random_mpc_problems(library):
    statuses = check_steps(library, 0, 60)
    assert statuses.count("solved") > 200
    assert statuses.count("infeasible") > 10


@pytest.mark.slow
def test_many_random_mpc_problems(library):
    check_steps(library, 1, many(1000))


def test_infeasible_means_that_no_point_exists(library):
    rng, seen = np.random.default_rng(2), set()
    for _ in range(30):
        problem = random_mpc(rng, 2)
        solver = CompiledQP(library, problem.H, problem.A)
        for g, lo, hi in problem.steps:
            status = solver.solve(g, lo, hi)[0]
            n, A = len(g), problem.A
            sides = {"A_ub": np.vstack([A, -A]), "b_ub": np.concatenate([hi[n:], -lo[n:]])} if len(A) else {}
            feasible = linprog(np.zeros(n), bounds=np.column_stack([lo[:n], hi[:n]]), **sides).status == 0
            assert feasible == (status == "solved")
            seen.add(status)
    assert seen == {"solved", "infeasible"}


def test_warm_start_changes_nothing_and_saves_iterations(library):
    rng, warm_total, cold_total = np.random.default_rng(3), 0, 0
    for _ in range(40):
        problem = random_mpc(rng, 8)
        warm, cold = (CompiledQP(library, problem.H, problem.A) for _ in range(2))
        for g, lo, hi in problem.steps:
            a, b = warm.solve(g, lo, hi, warm=True), cold.solve(g, lo, hi)
            assert a[0] == b[0]
            if a[0] == "solved":
                np.testing.assert_allclose(a[1], b[1], atol=1e-8 * (1 + np.abs(b[1]).max()))
                warm_total += a[4]
                cold_total += b[4]
    assert warm_total < cold_total


def test_a_factor_kept_for_thousands_of_samples_stays_exact(library):
    rng = np.random.default_rng(4)
    problem = random_mpc(rng, 1)
    while len(problem.A) < 20:
        problem = random_mpc(rng, 1)
    g, lo, hi = problem.steps[0]
    solver = CompiledQP(library, problem.H, problem.A)
    worst = 0.0
    for _ in range(5000):
        status, *_, kkt, _ = solver.solve(g * rng.normal() + rng.normal(size=len(g)), lo, hi, warm=True)
        if status == "solved":
            worst = max(worst, kkt)
    assert worst <= 1e-9


def test_slacks_are_exact_where_the_problem_is_feasible_and_shared_by_both_sides(library):
    rng, softened = np.random.default_rng(5), 0
    for _ in range(60):
        problem = random_mpc(rng, 2)
        H, A = problem.H, problem.A
        n, m = len(H), len(A)
        if not m:
            continue
        unit = np.full(m, 0.1)
        gradient = np.full(m, 1e6)
        hard, soft = CompiledQP(library, H, A), CompiledQP(library, H, A, unit)
        for g, lo, hi in problem.steps:
            free = np.full(m, np.inf)
            low = np.concatenate([lo[:n], np.zeros(m), lo[n:], -free])
            high = np.concatenate([hi[:n], free, free, hi[n:]])
            status, x, *_, kkt, _ = soft.solve(np.concatenate([g, gradient]), low, high, warm=True)
            assert status == "solved"
            assert kkt <= 1e-6
            first = hard.solve(g, lo, hi)
            if first[0] == "solved":
                # The penalty is exact only above the largest multiplier.
                if np.abs(first[2][n:]).max() < gradient[0] / unit[0]:
                    assert np.abs(x[n:] * unit).max() < 1e-7
                    np.testing.assert_allclose(x[:n], first[1], atol=1e-6 * (1 + np.abs(x).max()))
            else:
                softened += 1
                excess = np.maximum(lo[n:] - A @ x[:n], A @ x[:n] - hi[n:])
                assert (excess <= unit * x[n:] + 1e-6 * (1 + np.abs(x).max())).all()
                assert (x[n:] * unit).max() > 0
    assert softened > 5


def test_fixed_variables_repeated_rows_and_a_vertex_with_too_many_constraints(library):
    # The optimum of the box sits where four rows and two bounds meet.
    H = np.eye(2)
    A = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [2.0, 2.0]]) / np.sqrt([[2.0], [2.0], [2.0], [8.0]])
    solver = CompiledQP(library, H, A)
    hi = np.concatenate([[1.0, 1.0], np.array([2.0, 2.0, 0.0, 4.0]) / np.sqrt([2.0, 2.0, 2.0, 8.0])])
    lo = np.full(6, -np.inf)
    status, x, *_, kkt, _ = solver.solve([-5.0, -3.0], lo, hi)
    assert (status, kkt <= 1e-10) == ("solved", True)
    np.testing.assert_allclose(x, [1.0, 1.0], atol=1e-12)
    lo[:2] = hi[:2] = [-0.25, 0.5]
    for g in ([-5.0, -3.0], [5.0, 3.0], [0.0, 0.0]):
        status, x, *_ = solver.solve(g, lo, hi, warm=True)
        assert status == "solved"
        np.testing.assert_allclose(x, [-0.25, 0.5], atol=1e-12)


def test_honest_about_limits_and_nan(library):
    problem = random_mpc(np.random.default_rng(6), 1)
    solver = CompiledQP(library, problem.H, problem.A)
    g, lo, hi = problem.steps[0]
    n = len(g)
    tight = np.concatenate([np.full(n, -1e-3), lo[n:]]), np.concatenate([np.full(n, 1e-3), hi[n:]])
    assert solver.solve(100 * g + 1.0, *tight, limit=1)[0] == "iteration_limit"
    assert solver.solve(np.full(n, np.nan), lo, hi)[0] == "inaccurate"
    assert solver.solve(np.full(n, np.inf), lo, hi)[0] == "inaccurate"
    # Afterwards it works as before.
    fresh = CompiledQP(library, problem.H, problem.A).solve(g, lo, hi)
    np.testing.assert_array_equal(solver.solve(g, lo, hi, warm=True)[1], fresh[1])


@pytest.mark.parametrize("power", [2, 6, 9])
def test_ill_conditioned_hessians(library, power):
    rng = np.random.default_rng(7)
    for _ in range(20):
        q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
        H = q @ np.diag(np.logspace(0, -power, 12)) @ q.T
        scale = 1 / np.sqrt(np.diag(H))
        H = 0.5 * (H + H.T) * scale * scale[:, None]
        A = rng.normal(size=(30, 12))
        A /= np.linalg.norm(A, axis=1, keepdims=True)
        solver = CompiledQP(library, H, A)
        for k in range(5):
            g = rng.normal(size=12)
            lo, hi = -rng.uniform(0, 1, 42), rng.uniform(0, 1, 42)
            status, x, multipliers, *_ = solver.solve(g, lo, hi, warm=k > 0)
            assert status == "solved"
            assert kkt_residual(H, g, A, lo, hi, x, multipliers[:12], multipliers[12:]) <= 1e-8
