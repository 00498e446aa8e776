"""How inputs enter the regression: monomials of `u` that multiply parts of the dictionary.

Every coupling is one function `q(u) = [1, u_i .., u_i u_j ..]` and a rule which dictionary columns each
monomial multiplies: all `m` of `phi = [1, x, psi]`, or the constant alone. A step is then

    y = sum_l q_l(u) (phi V_l)

one product `phi [V_0 .. V_L]` for the whole batch, so the Kronecker products are never formed in a roll-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from koopctrl._validation import FloatArray

COUPLINGS = ("linear", "bilinear", "quadratic", "network")


@dataclass(frozen=True)
class Coupling:
    """Input terms of one model.

    Parameters
    ----------
    kind : {"linear", "bilinear", "quadratic", "network"}
    n_u : int
        Number of inputs; with none, every kind is the dictionary alone.
    """

    kind: str
    n_u: int

    @property
    def layer_sees_input(self) -> bool:
        """Whether the hidden layer is a function of `(x, u)`."""
        return self.kind == "network" and self.n_u > 0

    @property
    def products(self) -> list[tuple[int, ...]]:
        """Input indices of each monomial that multiplies the whole dictionary."""
        products: list[tuple[int, ...]] = [()]
        if self.kind in ("bilinear", "quadratic"):
            products += [(i,) for i in range(self.n_u)]
        if self.kind == "quadratic":
            products += list(combinations_with_replacement(range(self.n_u), 2))
        return products

    @property
    def n_products(self) -> int:
        """Number of monomials that multiply the whole dictionary."""
        return len(self.products)

    @property
    def adds_input(self) -> bool:
        """Whether `u` stands beside the dictionary (in the products it is part of `u_i [1, ..]`)."""
        return self.kind in ("linear", "network") and self.n_u > 0

    def n_columns(self, m: int) -> int:
        """Regressors for a dictionary of `m` columns."""
        return self.n_products * m + (self.n_u if self.adds_input else 0)

    def monomials(self, u: FloatArray) -> FloatArray:
        """`q(u)` of `(..., n_u)` inputs, shape `(..., n_products)`."""
        q = np.ones((*u.shape[:-1], self.n_products))
        for j, indices in enumerate(self.products):
            for i in indices:
                q[..., j] *= u[..., i]
        return q

    def monomial_gradients(self, u: FloatArray) -> FloatArray:
        """Derivatives `dq_j / du_i` at one input, shape `(n_products, n_u)`."""
        gradient = np.zeros((self.n_products, self.n_u))
        for j, indices in enumerate(self.products):
            for position, i in enumerate(indices):
                others = indices[:position] + indices[position + 1 :]
                gradient[j, i] += np.prod(u[list(others)])
        return gradient

    def regressors(self, phi: FloatArray, u: FloatArray) -> FloatArray:
        """Rows `[q_0 phi, q_1 phi, .., u]`, shape `(n_rows, n_columns)`."""
        n, m = phi.shape
        out = np.empty((n, self.n_columns(m)))
        q = self.monomials(u)
        for j in range(self.n_products):
            np.multiply(phi, q[:, j : j + 1], out=out[:, j * m : (j + 1) * m])
        if self.adds_input:
            out[:, self.n_products * m :] = u
        return out

    def apply(self, phi: FloatArray, u: FloatArray, coef: FloatArray) -> FloatArray:
        """`regressors(phi, u) @ coef` without forming the regressors; batches over leading axes."""
        m = phi.shape[-1]
        y = phi @ coef[:m]
        if self.n_products > 1:
            q = self.monomials(u)
            for j in range(1, self.n_products):
                y += q[..., j : j + 1] * (phi @ coef[j * m : (j + 1) * m])
        if self.adds_input:
            y += u @ coef[self.n_products * m :]
        return y
