"""Every plugin: bounds held that can be held, a second opinion where the first is inexact, no noise."""

import warnings

import numpy as np
import pytest

from koopctrl import LiftedModel, LinearMPC
from koopctrl.controllers.qp.active_set import solve_by_active_set
from koopctrl.controllers.qp.dense import DenseQP
from koopctrl.controllers.qp.soft import StepSolver
from koopctrl.controllers.qp.solver import QPSolver

PLUGINS = ("daqp", "osqp", "qpoases", "proxqp", "piqp", "highs", "qrqp")


def mpcs(plugin, **options):
    """A tight problem whose output bounds can be held, but only just."""
    plant = LiftedModel.from_matrices([[1.05, 0.2], [0.0, 0.9]], [[0.1], [1.0]], np.eye(2), dt=0.1)
    return plant, LinearMPC(
        plant, 15, [1.0, 0.1], 0.01, u_min=-1.0, u_max=1.0, du_min=-0.5, du_max=0.5, y_max=[0.8, 1.2],
        solver=plugin, **options,
    )  # fmt: skip


@pytest.mark.parametrize("plugin", PLUGINS)
def test_bounds_that_can_be_held_are_not_relaxed_and_nothing_is_printed(plugin, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plant, mpc = mpcs(plugin)
        _, other = mpcs("daqp")
        x = np.array([0.5, 0.3])
        statuses = set()
        for k in range(30):
            r = [0.79, 0.0] if k % 10 < 7 else [-0.5, 0.0]
            if k:
                other.applied(u)  # noqa: F821
            u = mpc.control(x, r)
            expected = other.control(x, r)
            assert mpc.info.status == other.info.status
            statuses.add(mpc.info.status)
            np.testing.assert_allclose(u, expected, atol=1e-6)
            x = plant.A @ x + plant.B @ u
        mpc.control([5.0, 5.0])
        assert mpc.info.status == "softened"
    assert statuses == {"optimal"}
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


@pytest.mark.parametrize("plugin", ["daqp", "osqp"])
def test_a_plugin_that_lies_is_not_believed(plugin, monkeypatch):
    """An answer that is off, from the first solver alone: the input is still the optimum."""
    _, mpc = mpcs(plugin)
    _, honest = mpcs(plugin)
    x, r = np.array([0.5, 0.3]), [0.79, 0.0]
    expected = honest.control(x, r)
    first = mpc.law.solver._hard._first
    call = first._evaluate

    def lie():
        call()
        first._out["x"][:] += 0.1
        first._out["lam_x"][:] = 0.0
        first._out["lam_a"][:] = 0.0

    monkeypatch.setattr(first, "_evaluate", lie)
    np.testing.assert_allclose(mpc.control(x, r), expected, atol=1e-7)
    assert mpc.info.status == "optimal"


@pytest.mark.parametrize("seed", range(6))
def test_the_active_set_method_agrees_with_a_plugin_or_both_find_nothing(seed):
    rng, solved = np.random.default_rng(seed), 0
    for _ in range(25):
        n, m = int(rng.integers(1, 15)), int(rng.integers(0, 25))
        root, A = rng.normal(size=(n, n + 2)), rng.normal(size=(m, n))
        if m > 3:
            A[1] = A[0]  # repeated rows
        H = root @ root.T
        lower, upper = -rng.uniform(0, 1, n + m), rng.uniform(0, 1, n + m)
        if m > 5:
            lower[n + 4] = upper[n + 4] = rng.normal()
        lower[rng.random(n + m) < 0.3] = -np.inf
        g = 10.0 ** rng.uniform(-12, 12) * rng.normal(size=n)
        size = np.abs(g).max() * 0.1
        lower, upper = size * lower, size * upper
        problem = DenseQP.of(H, A)
        plugin = QPSolver(n, m)
        plugin.load(H, A, problem)
        peer, found = plugin.solve(g, lower, upper), solve_by_active_set(problem, g, lower, upper)
        assert (found is not None) == peer.success
        if found is not None:
            assert found[2] <= 1e-9
            np.testing.assert_allclose(found[0], peer.x, atol=1e-7 * np.abs(peer.x).max(initial=1e-300))
            solved += 1
    assert solved >= 8


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_the_certificate_bounds_the_error_and_knows_no_unit(factor):
    """Answers moved off the optimum by a known amount: the bound is never below it."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        n = int(rng.integers(2, 10))
        basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
        H = basis @ np.diag(np.logspace(0, -5, n)) @ basis.T
        problem = DenseQP.of(0.5 * (H + H.T), rng.normal(size=(3, n)))
        g = factor * rng.normal(size=n)
        width = factor * rng.uniform(0.1, 1.0, n + 3)
        found = solve_by_active_set(problem, g, -width, width)
        assert found is not None
        x, lam, _ = found
        wrong = x + factor * 10.0 ** rng.uniform(-8, 0) * rng.normal(size=n)
        bound = problem.residual(g, -width, width, wrong, lam[:n], lam[n:])
        size = problem.size(x, problem.values(wrong), -width, width, problem.free_optimum(g))
        assert bound * size >= 0.999 * np.abs(wrong - x).max() or bound > 1.0


def test_an_answer_at_a_bound_that_is_zero_but_for_rounding():
    """A plan at its bound: its change has rounding on one side, and half a range on the other."""
    solver = StepSolver(2, 0, 0, "daqp")
    solver.load(np.array([[1.0, 0.5], [0.5, 1.0]]), np.empty((0, 2)), np.empty(0), np.empty((2, 0)))
    for rounding in (0.0, 3.7e-17):
        answer = solver.solve(np.array([0.2, 0.1]), np.array([-rounding, 0.0]), np.array([0.5, 0.6]))
        assert answer.status == "optimal"
        np.testing.assert_allclose(answer.x, 0.0, atol=1e-16)
    far = solver.solve(np.array([1e20, 1e20]), np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    assert far.x is None
