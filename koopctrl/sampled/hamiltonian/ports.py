"""What a Hamiltonian model exchanges with the world: damping and inputs, functions of the position."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.sampled.hamiltonian.basis import Basis, Encoding

# Width of a bump over the median distance of its centre to the nearest other one.
_OVERLAP = 1.5


@dataclass(frozen=True, eq=False)
class Damping:
    r"""Diagonal damping `D_i(q) = sum_a psi_a(q) coef[a, i]`, non-negative everywhere.

    The functions are a constant and Gaussian bumps `exp(-|zeta(q) - c_a|^2 / 2 w^2)`, none of them ever
    negative, and so are the coefficients.

    Parameters
    ----------
    encoding : Encoding
        Of the positions.
    centres : (n_bumps, n_code) array
    width : float
    coef : (1 + n_bumps, d) array
    """

    encoding: Encoding
    centres: FloatArray
    width: float
    coef: FloatArray

    @classmethod
    def start(cls, encoding: Encoding, q: FloatArray, n_bumps: int, rng: np.random.Generator) -> Damping:
        """Functions without coefficients, bumps at some of the positions."""
        codes = encoding(q)
        centres = np.unique(codes[rng.permutation(len(codes))[:n_bumps]], axis=0) if n_bumps else codes[:0]
        width = 1.0
        if len(centres) > 1:
            apart = np.linalg.norm(centres[:, None] - centres, axis=2)
            np.fill_diagonal(apart, np.inf)
            width = _OVERLAP * float(np.median(apart.min(axis=1)))
        return cls(encoding, centres, width, np.zeros((1 + len(centres), q.shape[1])))

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return 1 + len(self.centres)

    def with_coef(self, coef: FloatArray) -> Damping:
        """The same functions with other coefficients, `(n_functions * d,)`, function by function."""
        return replace(self, coef=coef.reshape(self.coef.shape))

    def functions(self, q: FloatArray) -> FloatArray:
        """All functions at positions, `(n, n_functions)`."""
        apart = self.encoding(q)[:, None, :] - self.centres
        bumps = np.exp(-0.5 * np.sum(apart**2, axis=2) / self.width**2)
        return np.concatenate([np.ones((len(q), 1)), bumps], axis=1)

    def diagonal(self, q: FloatArray) -> FloatArray:
        """Damping `(n, d)`."""
        return self.functions(q) @ self.coef

    def slopes(self, q: FloatArray) -> FloatArray:
        """Derivative of the diagonal by the position, `(n, d, d)`, the position's index last."""
        zeta, first, _ = self.encoding.derivatives(q)
        apart = zeta[:, None, :] - self.centres
        bumps = self.functions(q)[:, 1:]
        by_code = -(bumps[..., None] * apart) / self.width**2
        return np.einsum("nae,ai,ne,ec->nic", by_code, self.coef[1:], first, self.encoding.gather)


@dataclass(frozen=True, eq=False)
class InputGain:
    """Gain `G(q)`, `(d, n_u)`, every entry a combination of the same functions of the position.

    Parameters
    ----------
    basis : Basis
    coef : (n_functions, d, n_u) array
    """

    basis: Basis
    coef: FloatArray

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.coef.shape[2]

    def with_coef(self, coef: FloatArray) -> InputGain:
        """The same functions with other coefficients, `(n_functions * d * n_u,)`."""
        return replace(self, coef=coef.reshape(self.coef.shape))

    def matrix(self, q: FloatArray) -> FloatArray:
        """Gains `(n, d, n_u)`."""
        flat = self.coef.reshape(len(self.coef), -1)
        return self.basis.combine(q, flat).reshape(len(q), *self.coef.shape[1:])

    def slopes(self, q: FloatArray) -> FloatArray:
        """Derivatives by the position, `(n, d, d, n_u)`, the position's index first."""
        flat = self.coef.reshape(len(self.coef), -1)
        n, d = q.shape
        return self.basis.combine_slopes(q, flat).reshape(n, d, *self.coef.shape[1:])
