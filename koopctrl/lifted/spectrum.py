r"""Eigenvalues and modes of a lifted model, with residuals on data.

With left eigenvectors `w_i^H A = lambda_i w_i^H`, `phi_i(x) = w_i^H lift(x)` approximates a Koopman
eigenfunction. Its residual on the training snapshots, inputs and drift accounted for,

.. math::
    r_i^2 = \frac{\sum_k |w_i^H (z_{k+1} - B u_k - c) - \lambda_i w_i^H z_k|^2}{\sum_k |w_i^H z_k|^2}

tells modes that the dynamics have from modes that the dictionary made up; in the spirit of residual dynamic
mode decomposition (Colbrook & Townsend, CPAM 2024, arXiv 2111.14889).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from koopctrl._validation import FloatArray

if TYPE_CHECKING:
    from koopctrl.lifted.model import LiftedModel


@dataclass(frozen=True)
class Spectrum:
    """Spectrum of a lifted model, slowest modes (largest modulus) first.

    Attributes
    ----------
    eigenvalues : (n_z,) complex array
        Per sample.
    continuous : (n_z,) complex array
        `log(eigenvalue) / dt` in rad/s; imaginary parts alias beyond `pi / dt`; `-inf` for eigenvalue 0.
    modes : (n_y, n_z) complex array
        `C v_i`: what each mode adds to the outputs.
    left : (n_z, n_z) complex array
        Rows `w_i^H`, scaled so that `w_i^H v_i = 1`.
    residuals : (n_z,) array
        On the training data; NaN where the model carries none, or the mode never moves on them.
    """

    eigenvalues: NDArray[np.complex128]
    continuous: NDArray[np.complex128]
    modes: NDArray[np.complex128]
    left: NDArray[np.complex128]
    residuals: FloatArray

    @property
    def radius(self) -> float:
        """Spectral radius."""
        return float(np.abs(self.eigenvalues).max(initial=0.0))

    @property
    def frequencies(self) -> FloatArray:
        """Natural frequencies `|s|` in rad/s."""
        return np.abs(self.continuous)

    @property
    def damping(self) -> FloatArray:
        """Damping ratios `-Re s / |s|`; 1 where `s = 0`."""
        size = np.abs(self.continuous)
        finite = np.isfinite(size) & (size > 0)
        return np.where(finite, -self.continuous.real / np.where(finite, size, 1.0), 1.0)


def compute_spectrum(lifted: LiftedModel) -> Spectrum:
    """Eigendecomposition of `lifted.A` with residuals on its training snapshots."""
    eigenvalues, left, right = (np.asarray(m) for m in linalg.eig(lifted.A, left=True, right=True))
    order = np.lexsort((-eigenvalues.imag, -np.abs(eigenvalues).round(12)))
    eigenvalues, left, right = eigenvalues[order], left[:, order].conj().T, right[:, order]
    products = np.einsum("ij,ji->i", left, right)
    # w^H v vanishes for a defective eigenvalue; its left vector keeps unit length then.
    left = left / np.where(np.abs(products) > np.finfo(float).eps, products, 1.0)[:, None]
    residuals = np.full(len(eigenvalues), np.nan)
    if lifted.training is not None:
        z, du, z_next = lifted.training
        now = z @ left.T
        by_input = lifted.step(z, du + lifted.u_op) - z @ lifted.A.T  # B u + c, and bilinear terms if any
        then = (z_next - by_input) @ left.T
        size = np.sum(np.abs(now) ** 2, axis=0)
        defect = np.sum(np.abs(then - now * eigenvalues) ** 2, axis=0)
        residuals = np.sqrt(defect / np.where(size > 0, size, np.nan))
    zero = eigenvalues == 0
    continuous = np.log(np.where(zero, 1.0, eigenvalues)) / lifted.dt
    continuous = np.where(zero, -np.inf, continuous)
    return Spectrum(
        eigenvalues, continuous, (lifted.C @ right).astype(complex), left.astype(complex), residuals
    )
