"""Leverage in the records: the regression's own, in any units, and loud where a combination is new."""

import numpy as np
import pytest

from koopctrl.identification.record_leverage import RecordLeverage


def records(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x[:, 1] = 0.9 * x[:, 0] + 0.1 * x[:, 1]
    return x, rng.uniform(-1.0, 1.0, (n, 2))


def test_it_is_the_diagonal_of_the_hat_matrix_over_its_largest():
    x, u = records()
    z = np.hstack([np.ones((len(x), 1)), x, u])
    hat = np.diag(z @ np.linalg.solve(z.T @ z, z.T))
    np.testing.assert_allclose(RecordLeverage(x, u)(x, u), hat / hat.max(), rtol=1e-9)
    far = np.array([[3.0, -3.0, 0.0]])
    new = np.concatenate([[1.0], far[0], u[0]])
    expected = new @ np.linalg.solve(z.T @ z, new) / hat.max()
    assert RecordLeverage(x, u)(far, u[:1])[0] == pytest.approx(expected)


def test_a_new_combination_of_signals_in_range_is_far_out():
    x, u = records()
    found = RecordLeverage(x, u)(np.array([[1.0, 0.9, 0.0], [1.0, -0.9, 0.0]]), np.zeros((2, 2)))
    assert found[0] < 1.0
    assert found[1] > 10.0


def test_units_do_not_matter():
    x, u = records()
    at = (x[:20] + 0.3, u[:20])
    expected = RecordLeverage(x, u)(*at)
    a, b = np.array([1e9, 1e-9, 1.0]), np.array([1e-9, 1e9])
    shift = np.array([5.0, -7.0, 2.0])
    found = RecordLeverage((x + shift) * a, u * b)((at[0] + shift) * a, at[1] * b)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_signals_that_stand_still_and_copies_say_nothing():
    x, u = records()
    found = RecordLeverage(np.hstack([x, x, np.full((len(x), 1), 0.1)]), u)
    at = np.array([[0.5, 0.4, 0.1]])
    np.testing.assert_allclose(
        found(np.hstack([at, at, [[0.1]]]), u[:1]), RecordLeverage(x, u)(at, u[:1]), rtol=1e-9
    )


def test_a_single_record_and_nothing_finite():
    one = RecordLeverage(np.ones((1, 2)), np.ones((1, 1)))
    assert one(np.zeros((1, 2)), np.zeros((1, 1)))[0] == pytest.approx(1.0)
    x, u = records()
    assert not np.isfinite(RecordLeverage(x, u)(np.full((1, 3), np.inf), u[:1]))[0]
