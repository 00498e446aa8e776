"""Recurrences over blocks of time against the plain ones, written out here."""

import numpy as np
import pytest

from koopctrl.identification.free_run_fit import _observability
from koopctrl.identification.recurrences import linear_states, matrix_powers
from koopctrl.identification.sensitivities import _in_blocks, _run


def plain(a, driven, x0):
    x = [x0]
    for d in driven:
        x.append(x[-1] @ a + d)
    return np.array(x)


def matrix(n, radius, seed):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a * radius / np.abs(np.linalg.eigvals(a)).max()


@pytest.mark.parametrize("steps", [0, 1, 63, 64, 65, 80, 81, 1000])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 4)])
def test_linear_states_are_those_of_the_recurrence(steps, m, n):
    rng = np.random.default_rng(steps)
    a, driven, x0 = matrix(n, 0.98, n), rng.normal(size=(steps, m, n)), rng.normal(size=(m, n))
    before = a.copy(), driven.copy(), x0.copy()
    found, expected = linear_states(a, driven, x0), plain(a, driven, x0)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * max(1.0, np.abs(expected).max()))
    for now, then in zip((a, driven, x0), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_an_unstable_state_that_is_held_keeps_its_digits():
    """The inputs that hold it cancel what would grow: by 2e4 over the run, by 1.6 within a block."""
    rng = np.random.default_rng(0)
    x, driven, held = 1.0, np.empty((500, 1, 1)), [1.0]
    for k in range(500):
        driven[k] = -0.5 * x + 0.1 * rng.normal()  # whoever drives it knows it
        x = 1.02 * x + driven[k, 0, 0]
        held.append(x)
    found = linear_states(np.array([[1.02]]), driven, np.ones((1, 1)))[:, 0, 0]
    np.testing.assert_allclose(found, held, rtol=0, atol=1e-10)


def test_what_explodes_is_infinite_in_the_end_and_finite_before():
    far = linear_states(np.array([[3.0]]), np.ones((2000, 1, 1)), np.ones((1, 1)))
    assert np.isinf(far[-1]).all()
    np.testing.assert_allclose(far[:100, 0, 0], (3.0 ** np.arange(101)[:-1] * 3.0 - 1.0) / 2.0)


def test_units_of_states_do_not_matter():
    rng = np.random.default_rng(1)
    a, driven, x0 = matrix(3, 0.95, 3), rng.normal(size=(500, 2, 3)), rng.normal(size=(2, 3))
    t = np.array([1e-6, 1.0, 1e6])
    scaled = linear_states(a / t[:, None] * t, driven * t, x0 * t) / t
    expected = plain(a, driven, x0)
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("most", [0, 1, 2, 7, 8, 33])
def test_powers(most):
    a = matrix(4, 1.0, 5)
    found = matrix_powers(a, most)
    assert len(found) == most + 1
    for k, power in enumerate(found):
        np.testing.assert_allclose(power, np.linalg.matrix_power(a, k), atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 37, 64])
def test_observability(steps):
    f, c = matrix(3, 0.99, 2), np.random.default_rng(0).normal(size=(2, 3))
    expected = np.concatenate([c @ np.linalg.matrix_power(f, k) for k in range(steps)])
    np.testing.assert_allclose(_observability(f, c, steps), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n_time", "batch", "n_x", "r", "n_y"), [(64, 1, 1, 3, 1), (149, 2, 3, 5, 2), (400, 3, 2, 9, 1)]
)
@pytest.mark.parametrize("with_weights", [True, False])
def test_sensitivities_in_blocks_are_those_along_the_run(n_time, batch, n_x, r, n_y, with_weights):
    rng = np.random.default_rng(n_time)
    m = 0.9 * np.eye(n_x) + 0.05 * rng.normal(size=(n_time, batch, n_x, n_x))
    c, g = rng.normal(size=(n_time, batch, n_x, n_y)), rng.normal(size=(n_time, batch, r))
    n_w = n_x * r if with_weights else 0
    expected = np.empty((n_time, batch, n_w + n_x, n_y))
    _run(m, c, g, n_w, expected)
    found = _in_blocks(m, c, g, n_w)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    growing = _in_blocks(m + 2.0 * np.eye(n_x), c, g, n_w)
    assert growing is None  # left to the plain run
