"""Least squares against the optimality conditions and numpy's own solvers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl.errors import DataError, OptionError
from koopctrl.identification.least_squares import (
    SOLVERS,
    GramAccumulator,
    QRAccumulator,
    block_rows,
    make_accumulator,
)

each_solver = pytest.mark.parametrize("solver", SOLVERS)


def problem(n=200, m=12, targets=3, condition=10.0, seed=0):
    """Regressors with given condition number, and targets that they do not explain in full."""
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.normal(size=(n, m)))
    v, _ = np.linalg.qr(rng.normal(size=(m, m)))
    phi = u @ np.diag(np.geomspace(1, 1 / condition, m)) @ v.T
    return phi, phi @ rng.normal(size=(m, targets)) + 0.01 * rng.normal(size=(n, targets))


def solve(solver, phi, y, rcond=1e-12, ridge=0.0, cuts=()):
    accumulator = make_accumulator(solver, phi.shape[1], y.shape[1])
    for rows_phi, rows_y in zip(np.split(phi, cuts), np.split(y, cuts), strict=True):
        accumulator.update(rows_phi, rows_y)
    return accumulator.solve(rcond, ridge)


@each_solver
def test_the_residual_is_orthogonal_to_the_regressors(solver):
    phi, y = problem()
    solution = solve(solver, phi, y)
    residual = phi @ solution.coef - y
    assert np.abs(phi.T @ residual).max() < 1e-12
    np.testing.assert_allclose(solution.residual_rms, np.sqrt(np.mean(residual**2, axis=0)), rtol=1e-8)
    np.testing.assert_allclose(solution.coef, np.linalg.lstsq(phi, y)[0], rtol=1e-9, atol=1e-11)
    assert (solution.rank, solution.n_rows) == (12, 200)


@each_solver
def test_singular_values_are_those_of_the_column_scaled_regressors(solver):
    phi, y = problem()
    expected = np.linalg.svd(phi / np.linalg.norm(phi, axis=0), compute_uv=False)
    solution = solve(solver, phi, y)
    np.testing.assert_allclose(solution.singular_values, expected, rtol=1e-9)
    assert solution.condition == pytest.approx(expected[0] / expected[-1])


@each_solver
@given(st.lists(st.integers(0, 60), max_size=5), st.integers(0, 5))
def test_blocks_of_any_size_give_the_same_solution(solver, cuts, seed):
    phi, y = problem(60, 8, 2, seed=seed)
    whole, parts = solve(solver, phi, y), solve(solver, phi, y, cuts=sorted(cuts))
    np.testing.assert_allclose(parts.coef, whole.coef, atol=1e-9)
    np.testing.assert_allclose(parts.singular_values, whole.singular_values, atol=1e-11)
    np.testing.assert_allclose(parts.residual_rms, whole.residual_rms, rtol=1e-7)
    assert parts.n_rows == whole.n_rows == 60


def test_svd_and_gram_agree_on_well_conditioned_data_and_svd_wins_on_ill_conditioned():
    for condition, agree in ((1e2, True), (1e9, False)):
        phi, _ = problem(condition=condition)
        truth = np.ones((12, 1))
        error = {s: np.abs(solve(s, phi, phi @ truth).coef - truth).max() for s in SOLVERS}
        assert error["svd"] < 1e-5
        assert (error["gram"] < 1e-9) == agree


@each_solver
@given(st.integers(-140, 140), st.integers(-140, 140))
def test_scaling_a_column_or_the_targets_scales_the_solution(solver, column_power, target_power):
    phi, y = problem(50, 4, 1)
    base = solve(solver, phi, y, ridge=0.01)
    a, b = 10.0**column_power, 10.0**target_power
    scaled = solve(solver, phi * np.array([1.0, a, 1.0, 1.0]), y * b, ridge=0.01)
    np.testing.assert_allclose(
        scaled.coef[:, 0] * np.array([1.0, a, 1.0, 1.0]) / b, base.coef[:, 0], rtol=1e-7
    )
    assert scaled.rank == base.rank
    np.testing.assert_allclose(scaled.residual_rms / b, base.residual_rms, rtol=1e-6)


@each_solver
def test_automatic_ridge_has_the_largest_evidence(solver):
    phi, y = problem(n=60, m=8, condition=1e3)
    phi /= np.linalg.norm(phi, axis=0)
    solution = solve(solver, phi, y, ridge="auto")

    def log_evidence(ridge, target):  # of y ~ N(0, q (I + phi phi' / ridge)), at the best q
        cov = np.eye(60) + phi @ phi.T / ridge
        q = target @ np.linalg.solve(cov, target) / 60
        return -0.5 * (60 * np.log(q) + np.linalg.slogdet(cov)[1])

    grid = np.geomspace(1e-10, 1e2, 400)
    for ridge, target in zip(solution.ridge, y.T, strict=True):
        assert log_evidence(ridge, target) >= max(log_evidence(g, target) for g in grid) - 1e-6


@each_solver
def test_automatic_ridge_vanishes_without_noise_and_stops_overfit_with_it(solver):
    rng = np.random.default_rng(0)
    phi, test = rng.normal(size=(2, 120, 100))
    coef = rng.normal(size=(100, 1))
    exact = solve(solver, phi, phi @ coef, ridge="auto")
    np.testing.assert_allclose(exact.coef, coef, atol=1e-6)
    noisy = phi @ coef + 10.0 * rng.normal(size=(120, 1))
    error = {
        r: np.linalg.norm(test @ (solve(solver, phi, noisy, ridge=r).coef - coef)) for r in (0.0, "auto")
    }
    assert error["auto"] < 0.6 * error[0.0]


@each_solver
def test_automatic_ridge_of_targets_that_are_zero_or_more_columns_than_rows(solver):
    rng = np.random.default_rng(0)
    phi, y = rng.normal(size=(10, 20)), rng.normal(size=(10, 3))
    y[:, 0] = 0.0
    solution = solve(solver, phi, y, rcond=1e-6, ridge="auto")
    assert np.isfinite(solution.coef).all()
    assert not solution.coef[:, 0].any()


@each_solver
def test_ridge_is_the_minimiser_of_its_cost(solver):
    phi, y = problem(condition=1e3)
    ridge, energy = 1e-3, np.sum(phi**2, axis=0)
    expected = np.linalg.solve(phi.T @ phi + ridge * np.diag(energy), phi.T @ y)
    np.testing.assert_allclose(solve(solver, phi, y, ridge=ridge).coef, expected, rtol=1e-7, atol=1e-9)


@each_solver
def test_weights_multiply_the_penalty_of_each_column(solver):
    phi, y = problem(condition=1e3)
    ridge, energy = 1e-3, np.sum(phi**2, axis=0)
    weights = 10.0 ** np.linspace(-2, 4, phi.shape[1])
    accumulator = make_accumulator(solver, phi.shape[1], y.shape[1])
    accumulator.update(phi, y)
    for w in (
        weights,
        weights[::-1].copy(),
        None,
    ):  # one after the other: what is kept is of the last weights
        penalty = ridge * np.diag(energy * (1.0 if w is None else w))
        expected = np.linalg.solve(phi.T @ phi + penalty, phi.T @ y)
        np.testing.assert_allclose(accumulator.solve(1e-15, ridge, w).coef, expected, rtol=1e-6, atol=1e-9)


@each_solver
def test_rcond_cuts_the_singular_values_below_it(solver):
    phi, y = problem(condition=1e5)
    s = solve(solver, phi, y).singular_values
    for kept in (1, 5, 11):
        rcond = np.sqrt(s[kept - 1] * s[kept]) / s[0]
        solution = solve(solver, phi, y, rcond=rcond)
        assert solution.rank == kept
        norms = np.linalg.norm(phi, axis=0)
        expected = np.linalg.pinv(phi / norms, rcond=rcond) @ y / norms[:, None]
        np.testing.assert_allclose(solution.coef, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@each_solver
def test_duplicated_columns_share_the_weight(solver):
    phi, y = problem(50, 4, 2)
    solution = solve(solver, np.hstack([phi, phi]), y)
    assert solution.rank == 4
    np.testing.assert_allclose(solution.coef[:4], solution.coef[4:], atol=1e-9)
    np.testing.assert_allclose(2 * solution.coef[:4], solve(solver, phi, y).coef, atol=1e-8)


@each_solver
def test_duplicated_rows_change_nothing(solver):
    phi, y = problem(50, 4, 2)
    once, twice = solve(solver, phi, y), solve(solver, np.vstack([phi, phi]), np.vstack([y, y]))
    np.testing.assert_allclose(twice.coef, once.coef, atol=1e-10)
    np.testing.assert_allclose(twice.residual_rms, once.residual_rms, rtol=1e-8)


@each_solver
@pytest.mark.parametrize("n", [1, 3, 7, 8])
def test_more_features_than_rows_gives_the_scaled_minimum_norm_fit(solver, n):
    phi, y = problem(8, 8, 2, condition=3.0)
    phi, y = phi[:n], y[:n]
    solution = solve(solver, phi, y)
    norms = np.linalg.norm(phi, axis=0)
    np.testing.assert_allclose(phi @ solution.coef, y, atol=1e-8)
    expected = np.linalg.pinv(phi / norms) @ y / norms[:, None]
    np.testing.assert_allclose(solution.coef, expected, atol=1e-6 * np.abs(expected).max())
    assert solution.rank == n
    assert solution.coef.shape == (8, 2)


@each_solver
def test_a_column_of_zeros_gets_no_weight(solver):
    phi, y = problem(50, 4, 2)
    phi[:, 2] = 0.0
    solution = solve(solver, phi, y)
    assert not solution.coef[2].any()
    assert solution.rank == 3
    nothing = solve(solver, np.zeros((5, 4)), y[:5])
    assert not nothing.coef.any()
    assert nothing.rank == 0
    np.testing.assert_allclose(nothing.residual_rms, np.sqrt(np.mean(y[:5] ** 2, axis=0)))


@each_solver
def test_no_features_or_no_rows(solver):
    y = np.arange(4.0)[:, None]
    solution = solve(solver, np.empty((4, 0)), y)
    assert solution.coef.shape == (0, 1)
    np.testing.assert_allclose(solution.residual_rms, np.sqrt(np.mean(y**2)))
    with pytest.raises(DataError, match="no rows"):
        make_accumulator(solver, 3, 1).solve(1e-12)


@each_solver
def test_arguments_are_not_written_to_and_solving_twice_is_the_same(solver):
    phi, y = problem(50, 4, 2)
    phi.flags.writeable = y.flags.writeable = False
    accumulator = make_accumulator(solver, 4, 2)
    accumulator.update(phi, y)
    first = accumulator.solve(1e-12)
    np.testing.assert_array_equal(accumulator.solve(1e-12).coef, first.coef)
    accumulator.update(phi, -y)
    assert np.abs(accumulator.solve(1e-12).coef).max() < 1e-8


@pytest.mark.parametrize("make", [QRAccumulator, GramAccumulator])
def test_memory_does_not_grow_with_the_rows(make):
    accumulator = make(5, 2)
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(50):
        accumulator.update(rng.normal(size=(20, 5)), rng.normal(size=(20, 2)))
        sizes.add(sum(v.size for v in vars(accumulator).values() if isinstance(v, np.ndarray)))
    assert max(sizes) <= 7 * 7
    assert accumulator.n_rows == 1000


def test_blocks_are_bounded():
    assert block_rows(0) > 0
    for m in (1, 100, 1000, 10_000):
        assert block_rows(m) >= 4 * m
        assert block_rows(m) * m <= max(4 * m**2, 16_000_000)


def test_solvers_have_names():
    with pytest.raises(OptionError, match="solver is 'lasso'; expected one of 'svd', 'gram'"):
        make_accumulator("lasso", 3, 1)
