"""Input couplings against the sums written out."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl.network.coupling import COUPLINGS, Coupling

kinds = st.sampled_from(COUPLINGS)


def written_out(kind: str, phi: np.ndarray, u: np.ndarray) -> np.ndarray:
    """One row of regressors, by the equations of DESIGN section 3."""
    n_u = len(u)
    parts = [phi]
    if kind in ("linear", "network"):
        parts.append(u)
    else:
        parts += [u[i] * phi for i in range(n_u)]
    if kind == "quadratic":
        parts += [u[i] * u[j] * phi for i, j in combinations_with_replacement(range(n_u), 2)]
    return np.concatenate(parts)


@given(kinds, st.integers(1, 5), st.integers(0, 3), st.integers(1, 6), st.integers(0, 9))
def test_regressors_are_the_products_written_out(kind, m, n_u, n, seed):
    rng = np.random.default_rng(seed)
    phi, u = rng.normal(size=(n, m)), rng.normal(size=(n, n_u))
    coupling = Coupling(kind, n_u)
    rows = coupling.regressors(phi, u)
    np.testing.assert_allclose(
        rows, [written_out(kind, p, v) for p, v in zip(phi, u, strict=True)], atol=1e-14
    )
    assert rows.shape == (n, coupling.n_columns(m))


@given(kinds, st.integers(1, 5), st.integers(0, 3), st.integers(0, 9))
def test_apply_is_the_regressors_times_the_weights_for_any_batch(kind, m, n_u, seed):
    rng = np.random.default_rng(seed)
    coupling = Coupling(kind, n_u)
    coef = rng.normal(size=(coupling.n_columns(m), 2))
    phi, u = rng.normal(size=(3, 4, m)), rng.normal(size=(3, 4, n_u))
    y = coupling.apply(phi, u, coef)
    for i in range(3):
        np.testing.assert_allclose(y[i], coupling.regressors(phi[i], u[i]) @ coef, atol=1e-12)
    np.testing.assert_allclose(coupling.apply(phi[1, 2], u[1, 2], coef), y[1, 2], atol=1e-12)


@given(kinds, st.integers(0, 3), st.integers(0, 9))
def test_gradients_of_the_monomials_are_difference_quotients(kind, n_u, seed):
    coupling = Coupling(kind, n_u)
    u = np.random.default_rng(seed).normal(size=n_u)
    gradient = coupling.monomial_gradients(u)
    assert gradient.shape == (coupling.n_products, n_u)
    h = 1e-5
    for i in range(n_u):
        step = h * np.eye(n_u)[i]
        quotient = (coupling.monomials(u + step) - coupling.monomials(u - step)) / (2 * h)
        np.testing.assert_allclose(gradient[:, i], quotient, atol=1e-9)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_without_inputs_every_coupling_is_the_dictionary_alone(kind):
    coupling = Coupling(kind, 0)
    phi = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(coupling.regressors(phi, np.empty((4, 0))), phi)
    assert not coupling.layer_sees_input
    assert not coupling.adds_input


def test_only_the_network_coupling_shows_the_layer_the_input():
    assert [kind for kind in COUPLINGS if Coupling(kind, 1).layer_sees_input] == ["network"]
