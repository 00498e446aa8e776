"""How inputs enter the regression: monomials of `u` that multiply parts of the dictionary.

Every coupling is one function `q(u) = [1, u_i .., u_i u_j ..]` and a rule which dictionary columns each
monomial multiplies: all `m` of `phi = [1, x, psi]`, or the constant alone. A step is then

    y = sum_l q_l(u) (phi V_l)

one product `phi [V_0 .. V_L]` for the whole batch, so the Kronecker products are never formed in a roll-out.

Inputs that are measured parameters `p` (scheduling signals, which nobody moves) make the model vary. With the
`affine` parameter coupling every outer weight is affine in `p`: each monomial is there once more times each
`p_j`. With `layer` the neurons are functions of `(x, p)`, and `p` itself stands beside the dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from koopctrl._validation import FloatArray

COUPLINGS = ("linear", "bilinear", "quadratic", "network")
PARAMETER_COUPLINGS = ("affine", "layer")


@dataclass(frozen=True)
class Coupling:
    """Input terms of one model.

    Parameters
    ----------
    kind : {"linear", "bilinear", "quadratic", "network"}
    n_u : int
        Number of inputs; with none, every kind is the dictionary alone.
    parameters : tuple of int
        Positions of the inputs that are measured parameters; `kind` is about the others.
    parameter_coupling : {"affine", "layer"}
    """

    kind: str
    n_u: int
    parameters: tuple[int, ...] = ()
    parameter_coupling: str = "affine"

    @property
    def moved(self) -> list[int]:
        """Positions of the inputs that are no parameters."""
        return [i for i in range(self.n_u) if i not in self.parameters]

    @property
    def affine(self) -> bool:
        """Whether outer weights are affine in parameters."""
        return bool(self.parameters) and self.parameter_coupling == "affine"

    @property
    def layer_inputs(self) -> list[int]:
        """Positions of the inputs that neurons are functions of; their weights on the others are zero."""
        seen = list(self.moved) if self.kind == "network" else []
        return sorted(seen + (list(self.parameters) if self.parameter_coupling == "layer" else []))

    @property
    def layer_sees_input(self) -> bool:
        """Whether the hidden layer is a function of `(x, u)`."""
        return bool(self.layer_inputs)

    @property
    def frozen_products(self) -> list[tuple[int, ...]]:
        """Monomials of the moved inputs that multiply the whole dictionary."""
        products: list[tuple[int, ...]] = [()]
        if self.kind in ("bilinear", "quadratic"):
            products += [(i,) for i in self.moved]
        if self.kind == "quadratic":
            products += list(combinations_with_replacement(self.moved, 2))
        return products

    @property
    def products(self) -> list[tuple[int, ...]]:
        """Input indices of each monomial that multiplies the whole dictionary.

        The last of an affine model whose inputs stand beside the dictionary, `u_i p_j`, multiply its constant
        alone: their other weights are zero (`kept`).
        """
        products = self.frozen_products
        if self.affine:
            products = products + [(*base, j) for j in self.parameters for base in products]
            products += [(i, j) for j in self.parameters for i in self._beside]
        return products

    @property
    def n_products(self) -> int:
        """Number of monomials that multiply the whole dictionary."""
        return len(self.products)

    @property
    def _beside(self) -> list[int]:
        """Moved inputs that stand beside the dictionary."""
        return self.moved if self.kind in ("linear", "network") else []

    @property
    def _direct(self) -> list[int]:
        """All inputs that do; affine parameters are in the products."""
        return sorted(self._beside + ([] if self.affine else list(self.parameters)))

    @property
    def adds_input(self) -> bool:
        """Whether `u` stands beside the dictionary (in the products it is part of `u_i [1, ..]`)."""
        return bool(self._direct)

    def n_columns(self, m: int) -> int:
        """Outer weights of one output for a dictionary of `m` columns, those that are zero included."""
        return self.n_products * m + (self.n_u if self.adds_input else 0)

    def kept(self, m: int) -> np.ndarray | None:
        """Positions of the weights that are fitted; None for all."""
        if not self.parameters:
            return None
        n_whole = self.n_products - (len(self.parameters) * len(self._beside) if self.affine else 0)
        constants = np.arange(n_whole, self.n_products) * m
        direct = self.n_products * m + np.array(self._direct, dtype=int)
        return np.concatenate([np.arange(n_whole * m), constants, direct])

    def nonlinear(self, m: int, n_x: int) -> np.ndarray | None:
        """Which of the fitted regressors a linear model of `n_x` states lacks; None with parameters."""
        if self.parameters:
            return None
        beyond = np.ones(self.n_columns(m), dtype=bool)
        beyond[: 1 + n_x] = False
        for j, product in enumerate(self.products):
            if len(product) == 1:
                beyond[j * m] = False
        beyond[self.n_products * m :] = False
        return beyond

    def n_fitted(self, m: int) -> int:
        """Regressors for a dictionary of `m` columns."""
        kept = self.kept(m)
        return self.n_columns(m) if kept is None else len(kept)

    def expand(self, fitted: FloatArray, m: int) -> FloatArray:
        """All outer weights from the fitted ones."""
        kept = self.kept(m)
        if kept is None:
            return fitted
        coef = np.zeros((self.n_columns(m), fitted.shape[1]))
        coef[kept] = fitted
        return coef

    def contract(self, coef: FloatArray, m: int) -> FloatArray:
        """Inverse of `expand`."""
        kept = self.kept(m)
        return coef if kept is None else coef[kept]

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
        """Rows `[q_0 phi, q_1 phi, .., u]`, those that are fitted, shape `(n_rows, n_fitted)`."""
        n, m = phi.shape
        out = np.empty((n, self.n_columns(m)))
        q = self.monomials(u)
        for j in range(self.n_products):
            np.multiply(phi, q[:, j : j + 1], out=out[:, j * m : (j + 1) * m])
        if self.adds_input:
            out[:, self.n_products * m :] = u
        return self.contract(out.T, m).T

    def apply(self, phi: FloatArray, u: FloatArray, coef: FloatArray) -> FloatArray:
        """Step of all outer weights, without forming the regressors; batches over leading axes."""
        m = phi.shape[-1]
        y = phi @ coef[:m]
        if self.n_products > 1:
            q = self.monomials(u)
            for j in range(1, self.n_products):
                y += q[..., j : j + 1] * (phi @ coef[j * m : (j + 1) * m])
        if self.adds_input:
            y += u @ coef[self.n_products * m :]
        return y

    def freeze(self, coef: FloatArray, m: int, p: FloatArray) -> tuple[Coupling, FloatArray]:
        """Coupling of the moved inputs alone and its outer weights, with (standardised) parameters `p`.

        The layer has to be frozen beside it.
        """
        fixed = Coupling(self.kind, len(self.moved))
        value = dict(zip(self.parameters, p, strict=True))
        blocks = {product: np.zeros((m, coef.shape[1])) for product in self.frozen_products}
        direct = np.zeros((self.n_u, coef.shape[1]))
        if self.adds_input:
            direct += coef[self.n_products * m :]
        for k, product in enumerate(self.products):
            base = tuple(i for i in product if i not in value)
            factor = np.prod([value[i] for i in product if i in value])
            if base in blocks:
                blocks[base] += factor * coef[k * m : (k + 1) * m]
            else:
                direct[base[0]] += factor * coef[k * m]
        blocks[()][0] += p @ direct[list(self.parameters)]
        parts = list(blocks.values()) + ([direct[self.moved]] if fixed.adds_input else [])
        return fixed, np.concatenate(parts)
