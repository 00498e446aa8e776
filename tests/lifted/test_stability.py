"""Moving eigenvalues onto a circle: those inside stay, invariant subspaces stay, units do not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctrl.lifted.stability import pull_inside, spectral_radius


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(0, 10_000), st.floats(0.5, 3.0))
def test_no_eigenvalue_is_left_outside_and_those_inside_stay(n, seed, size):
    rng = np.random.default_rng(seed)
    A = size * rng.standard_normal((n, n)) / np.sqrt(n)
    moved = np.linalg.eigvals(pull_inside(A, 1.0))
    before = np.linalg.eigvals(A)
    expected = np.where(np.abs(before) > 1.0, before / np.abs(before), before)
    # Each expected eigenvalue is there; a nearly defective pair may be off by the root of rounding.
    for value in expected:
        assert np.abs(moved - value).min() < 1e-5
    assert spectral_radius(pull_inside(A, 1.0)) < 1.0 + 1e-6


def test_a_stable_matrix_is_left_as_it_is():
    A = np.array([[0.9, 5.0, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.2]])
    np.testing.assert_allclose(pull_inside(A, 1.0), A, atol=1e-14)


def test_each_eigenvalue_moves_along_its_ray():
    vectors = np.random.default_rng(0).standard_normal((4, 4))
    A = vectors @ np.diag([1.5, -1.2, 0.5, 0.1]) @ np.linalg.inv(vectors)
    moved = np.sort(np.linalg.eigvals(pull_inside(A, 1.1)).real)
    np.testing.assert_allclose(moved, [-1.1, 0.1, 0.5, 1.1], atol=1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_the_coordinates_do_not_matter(scale):
    A = np.array([[1.2, 0.4], [-0.3, 0.8]])
    unit = np.array([1.0, scale])
    other = A * unit[:, None] / unit
    np.testing.assert_allclose(pull_inside(other, 1.0) / unit[:, None] * unit, pull_inside(A, 1.0), atol=1e-6)
