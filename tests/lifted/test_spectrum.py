"""Spectra of lifted models: known eigenvalues, and residuals that tell true modes from made-up ones."""

import dataclasses

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, LiftedModel
from koopctrl.lifted.spectrum import compute_spectrum

L, M = 0.9, 0.5
# On the dictionary [x1, x2, x1^2] the Koopman operator of plants.koopman_polynomial is this matrix.
KOOPMAN = np.array([[L, 0, 0], [0, M, L**2 - M], [0, 0, L**2]])


def polynomial_model(observables, matrix, u=None, b=None) -> LiftedModel:
    """A model on given observables of the polynomial system, with its snapshots."""
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    step = plants.koopman_polynomial(L, M)
    z, z_next = observables(x), observables(np.array([step(row, None) for row in x]))
    n_u = 0 if b is None else b.shape[1]
    u = np.random.default_rng(1).normal(size=(200, n_u))
    if b is not None:
        z_next = z_next + u @ b.T
    model = LiftedModel.from_matrices(matrix, np.zeros((len(matrix), 0)) if b is None else b, dt=0.1)
    return dataclasses.replace(model, training=(z, u, z_next))


def full(x):
    return np.column_stack([x, x[:, 0] ** 2])


def test_the_polynomial_system_has_its_eigenvalues_eigenfunctions_and_no_residual():
    spectrum = polynomial_model(full, KOOPMAN).spectrum()
    np.testing.assert_allclose(spectrum.eigenvalues, [L, L**2, M], atol=1e-12)
    np.testing.assert_allclose(spectrum.continuous, np.log([L, L**2, M]) / 0.1, atol=1e-10)
    np.testing.assert_allclose(spectrum.residuals, 0.0, atol=1e-12)
    assert spectrum.radius == pytest.approx(L)
    # Eigenfunctions w'z: x1, x1^2, and x2 - x1^2, each up to a factor.
    for row, expected in zip(spectrum.left, ([1, 0, 0], [0, 0, 1], [0, 1, -1]), strict=True):
        assert np.abs(np.vdot(row, expected)) == pytest.approx(np.linalg.norm(row) * np.linalg.norm(expected))


def test_modes_sum_up_to_the_output():
    model = polynomial_model(full, KOOPMAN)
    spectrum = model.spectrum()
    z = np.array([0.3, -0.4, 0.09])
    for k in (0, 1, 5):
        total = spectrum.modes @ (spectrum.eigenvalues**k * (spectrum.left @ z))
        np.testing.assert_allclose(total.real, model.C @ np.linalg.matrix_power(KOOPMAN, k) @ z, atol=1e-12)
        np.testing.assert_allclose(total.imag, 0.0, atol=1e-12)
    np.testing.assert_allclose(
        spectrum.left @ KOOPMAN, spectrum.eigenvalues[:, None] * spectrum.left, atol=1e-12
    )


def test_a_mode_that_the_dictionary_made_up_has_a_large_residual():
    # Least squares on [x1, x2] alone: x1 is an eigenfunction, x2 is not.
    def short(x):
        return x

    z, _, z_next = polynomial_model(short, np.eye(2)).training
    fitted = np.linalg.lstsq(z, z_next)[0].T
    spectrum = polynomial_model(short, fitted).spectrum()
    true_mode = np.argmin(np.abs(spectrum.eigenvalues - L))
    assert spectrum.residuals[true_mode] < 1e-10
    assert spectrum.residuals[1 - true_mode] > 0.1


def test_inputs_and_drift_are_no_part_of_the_residual():
    b = np.array([[1.0], [0.5], [-2.0]])
    model = polynomial_model(full, KOOPMAN, b=b)
    np.testing.assert_allclose(model.spectrum().residuals, 0.0, atol=1e-12)
    z, u, z_next = model.training
    drift = np.array([0.1, 0.2, 0.3])
    moved = dataclasses.replace(model, c=drift, u_op=np.array([7.0]), training=(z, u, z_next + drift))
    np.testing.assert_allclose(moved.spectrum().residuals, 0.0, atol=1e-12)


def test_bilinear_terms_are_no_part_of_the_residual():
    model = polynomial_model(full, KOOPMAN, b=np.ones((3, 1)))
    n = np.random.default_rng(5).normal(size=(1, 3, 3))
    z, u, z_next = model.training
    bilinear = dataclasses.replace(model, N=n, training=(z, u, z_next + u * (z @ n[0].T)))
    np.testing.assert_allclose(bilinear.spectrum().residuals, 0.0, atol=1e-12)


def test_the_residual_is_the_formula():
    model = polynomial_model(full, KOOPMAN + 0.01 * np.random.default_rng(0).normal(size=(3, 3)))
    spectrum = model.spectrum()
    z, _, z_next = model.training
    for w, value, residual in zip(spectrum.left, spectrum.eigenvalues, spectrum.residuals, strict=True):
        phi, phi_next = z @ w, z_next @ w
        expected = np.linalg.norm(phi_next - value * phi) / np.linalg.norm(phi)
        assert residual == pytest.approx(expected, rel=1e-9)
        assert residual > 1e-4


def test_an_oscillator_has_its_frequency_and_damping():
    a, b, dt = plants.oscillator()
    spectrum = LiftedModel.from_matrices(a, b, dt=dt).spectrum()
    np.testing.assert_allclose(
        np.sort_complex(spectrum.continuous),
        np.sort_complex(np.linalg.eigvals(plants.OSCILLATOR_A)),
        atol=1e-10,
    )
    np.testing.assert_allclose(spectrum.frequencies, np.sqrt(2.0), atol=1e-10)
    np.testing.assert_allclose(spectrum.damping, 0.3 / (2 * np.sqrt(2.0)), atol=1e-10)
    assert np.isnan(spectrum.residuals).all()
    assert spectrum.eigenvalues[0] == spectrum.eigenvalues[1].conj()


def test_zero_repeated_unstable_and_defective_eigenvalues_stay_without_warnings():
    for a in (
        np.zeros((2, 2)),
        np.eye(2),
        np.array([[2.0, 1.0], [0.0, 2.0]]),
        np.diag([-1.5, 0.0]),
        np.eye(1),
    ):
        spectrum = LiftedModel.from_matrices(a, np.zeros((len(a), 1)), dt=0.5).spectrum()
        np.testing.assert_allclose(
            np.sort(np.abs(spectrum.eigenvalues)), np.sort(np.abs(np.diag(a))), atol=1e-7
        )
        assert not np.isnan(spectrum.continuous.real).any()
        assert np.isfinite(spectrum.left).all()
        assert np.isfinite(spectrum.modes).all()
        assert not np.isnan(spectrum.damping).any()


def test_a_mode_that_never_moves_has_no_residual():
    model = LiftedModel.from_matrices(np.diag([0.5, 0.2]), np.zeros((2, 0)), dt=1.0)
    z = np.array([[1.0, 0.0], [0.5, 0.0]])
    spectrum = dataclasses.replace(model, training=(z, np.empty((2, 0)), 0.5 * z)).spectrum()
    assert spectrum.residuals[0] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(spectrum.residuals[1])


def test_the_slowest_modes_come_first():
    a = np.random.default_rng(0).normal(size=(8, 8))
    size = np.abs(compute_spectrum(LiftedModel.from_matrices(a, np.zeros((8, 1)), dt=1.0)).eigenvalues)
    assert (np.diff(size) < 1e-9).all()


def test_a_fitted_linear_plant_has_its_eigenvalues_without_residual():
    a, b, dt = plants.oscillator()
    data = plants.record(plants.linear_step(a, b), 2, 1, dt, n_episodes=10, n_steps=60)
    spectrum = KoopmanRNN(30, random_state=0).fit(data).lift_at(x_op=0, u_op=0).spectrum()
    for value in np.linalg.eigvals(a):
        nearest = np.argmin(np.abs(spectrum.eigenvalues - value))
        assert abs(spectrum.eigenvalues[nearest] - value) < 1e-8
        assert spectrum.residuals[nearest] < 1e-6
