r"""Energies of `x = [q, p]`: one sampled function of both, or kinetic and potential energy.

All have values `(n,)`, gradients `(n, 2d)` and Hessians `(n, 2d, 2d)` at points `(n, 2d)`; those that are
linear in their coefficients also the derivatives of every column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.sampled.hamiltonian.basis import Basis


class Energy(Protocol):
    """A function of the state."""

    offset: float

    @property
    def n_dof(self) -> int:
        """Degrees of freedom `d`."""
        ...

    def value(self, x: FloatArray) -> FloatArray:
        """Energies."""
        ...

    def gradient(self, x: FloatArray) -> FloatArray:
        """Gradients."""
        ...

    def hessian(self, x: FloatArray) -> FloatArray:
        """Hessians."""
        ...


@dataclass(frozen=True, eq=False)
class SampledEnergy:
    """`H(q, p) = phi(q, p) coef - offset`, one basis on the whole state.

    Parameters
    ----------
    basis : Basis
        On `2 d` coordinates.
    coef : (n_functions,) array
    offset : float
        The gauge.
    """

    basis: Basis
    coef: FloatArray
    offset: float = 0.0

    @property
    def n_dof(self) -> int:
        """Degrees of freedom."""
        return len(self.basis.encoding.mean) // 2

    @property
    def n_columns(self) -> int:
        """Number of coefficients."""
        return self.basis.n_functions

    def with_coef(self, coef: FloatArray) -> SampledEnergy:
        """The same functions with other coefficients."""
        return replace(self, coef=coef)

    def columns(self, x: FloatArray) -> FloatArray:
        """Gradient of every column, `(n, 2d, n_columns)`."""
        return self.basis.gradients(x)

    def value(self, x: FloatArray) -> FloatArray:
        """Energies `(n,)`."""
        return self.basis.combine(x, self.coef[:, None])[:, 0] - self.offset

    def gradient(self, x: FloatArray) -> FloatArray:
        """Gradients `(n, 2d)`."""
        return self.basis.combine_slopes(x, self.coef[:, None])[..., 0]

    def hessian(self, x: FloatArray) -> FloatArray:
        """Hessians `(n, 2d, 2d)`."""
        return self.basis.combine_curvatures(x, self.coef[:, None])[..., 0]


@dataclass(frozen=True, eq=False)
class MechanicalEnergy:
    r"""`H = 1/2 p' N(q) p + V(q) - offset`, both sampled functions of `q`.

    Parameters
    ----------
    mobility : Basis
        Functions of `q` that the entries of `N`, the inverse mass matrix, are made of.
    potential : Basis
        Functions of `q` that `V` is made of.
    p_scale : (d,) array
        Units of the momenta.
    coef : (n_columns,) array
        Coefficients: `V`, then the upper triangle of `N` row by row, function after function.
    offset : float
    """

    mobility: Basis
    potential: Basis
    p_scale: FloatArray
    coef: FloatArray
    offset: float = 0.0

    @property
    def n_dof(self) -> int:
        """Degrees of freedom."""
        return len(self.p_scale)

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        return np.triu_indices(self.n_dof)

    @property
    def n_columns(self) -> int:
        """Number of coefficients."""
        return self.potential.n_functions + len(self._pairs[0]) * self.mobility.n_functions

    def with_coef(self, coef: FloatArray) -> MechanicalEnergy:
        """The same functions with other coefficients."""
        return replace(self, coef=coef)

    @cached_property
    def parts(self) -> tuple[FloatArray, FloatArray]:
        """Coefficients of `V`, `(k, 1)`, and of the entries of `N`, `(n_functions, n_pairs)`."""
        k = self.potential.n_functions
        return self.coef[:k, None], self.coef[k:].reshape(len(self._pairs[0]), -1).T

    def _monomials(self, p: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`p_i p_j` (halved on the diagonal) in scaled units, slopes and curvatures by `p`."""
        d, s = self.n_dof, p / self.p_scale
        i, j = self._pairs
        half = np.where(i == j, 0.5, 1.0)
        first = np.zeros((len(p), d, len(i)))
        second = np.zeros((d, d, len(i)))
        for m, (a, b) in enumerate(zip(i, j, strict=True)):
            first[:, a, m] += half[m] * s[:, b] / self.p_scale[a]
            first[:, b, m] += half[m] * s[:, a] / self.p_scale[b]
            for row, col in ((a, b), (b, a)):
                second[row, col, m] += half[m] / self.p_scale[a] / self.p_scale[b]
        return half * s[:, i] * s[:, j], first, second

    def columns(self, x: FloatArray) -> FloatArray:
        """Gradient of every column, `(n, 2d, n_columns)`."""
        d = self.n_dof
        q, p = x[:, :d], x[:, d:]
        mono, mono_p, _ = self._monomials(p)
        k, b = self.potential.n_functions, self.mobility.n_functions
        out = np.zeros((len(x), 2 * d, self.n_columns))
        out[:, :d, :k] = self.potential.gradients(q)
        values, slopes = self.mobility.values(q), self.mobility.gradients(q)
        for m in range(mono.shape[1]):
            part = slice(k + m * b, k + (m + 1) * b)
            out[:, :d, part] = mono[:, m, None, None] * slopes
            out[:, d:, part] = mono_p[:, :, m, None] * values[:, None, :]
        return out

    def value(self, x: FloatArray) -> FloatArray:
        """Energies `(n,)`."""
        d = self.n_dof
        v, n = self.parts
        mono = self._monomials(x[:, d:])[0]
        kinetic = np.sum(mono * self.mobility.combine(x[:, :d], n), axis=1)
        return self.potential.combine(x[:, :d], v)[:, 0] + kinetic - self.offset

    def gradient(self, x: FloatArray) -> FloatArray:
        """Gradients `(n, 2d)`."""
        d = self.n_dof
        q = x[:, :d]
        v, n = self.parts
        mono, mono_p, _ = self._monomials(x[:, d:])
        by_q = self.potential.combine_slopes(q, v)[..., 0]
        by_q = by_q + np.einsum("nm,ncm->nc", mono, self.mobility.combine_slopes(q, n))
        by_p = np.einsum("ncm,nm->nc", mono_p, self.mobility.combine(q, n))
        return np.concatenate([by_q, by_p], axis=1)

    def hessian(self, x: FloatArray) -> FloatArray:
        """Hessians `(n, 2d, 2d)`."""
        d = self.n_dof
        q = x[:, :d]
        v, n = self.parts
        mono, mono_p, mono_pp = self._monomials(x[:, d:])
        out = np.empty((len(x), 2 * d, 2 * d))
        out[:, :d, :d] = self.potential.combine_curvatures(q, v)[..., 0]
        out[:, :d, :d] += np.einsum("nm,ncdm->ncd", mono, self.mobility.combine_curvatures(q, n))
        mixed = np.einsum("ncm,ndm->ncd", self.mobility.combine_slopes(q, n), mono_p)
        out[:, :d, d:], out[:, d:, :d] = mixed, mixed.transpose(0, 2, 1)
        out[:, d:, d:] = np.einsum("cdm,nm->ncd", mono_pp, self.mobility.combine(q, n))
        return out


@dataclass(frozen=True, eq=False)
class LagrangianEnergy:
    r"""`H = 1/2 p' M(q)^-1 p + V(q) - offset` with the mass matrix itself a sampled function of `q`.

    Parameters
    ----------
    mass : Basis
    potential : Basis
    v_scale : (d,) array
        Units of the velocities.
    coef : (n_columns,) array
        Coefficients: `V`, then the upper triangle of `M` row by row, function after function.
    offset : float
    """

    mass: Basis
    potential: Basis
    v_scale: FloatArray
    coef: FloatArray
    offset: float = 0.0

    @property
    def n_dof(self) -> int:
        """Degrees of freedom."""
        return len(self.v_scale)

    @property
    def n_columns(self) -> int:
        """Number of coefficients."""
        d = self.n_dof
        return self.potential.n_functions + d * (d + 1) // 2 * self.mass.n_functions

    @cached_property
    def parts(self) -> tuple[FloatArray, FloatArray]:
        """Coefficients of `V`, `(k, 1)`, and of all entries of `M` in raw units, `(n_functions, d d)`."""
        k, d = self.potential.n_functions, self.n_dof
        upper = self.coef[k:].reshape(d * (d + 1) // 2, -1).T
        i, j = np.triu_indices(d)
        full = np.zeros((len(upper), d, d))
        full[:, i, j] = upper / (self.v_scale[i] * self.v_scale[j])
        full[:, j, i] = full[:, i, j]
        return self.coef[:k, None], full.reshape(len(upper), d * d)

    def with_coef(self, coef: FloatArray) -> LagrangianEnergy:
        """The same functions with other coefficients."""
        return replace(self, coef=coef)

    def _products(self, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`v' M v / 2` and `M v` by the entries of the upper triangle: `(n, n_pairs)`, `(n, d, n_pairs)`."""
        i, j = np.triu_indices(self.n_dof)
        s, half = v / self.v_scale, np.where(i == j, 0.5, 1.0)
        linear = np.zeros((len(v), self.n_dof, len(i)))
        for m, (a, b) in enumerate(zip(i, j, strict=True)):
            linear[:, a, m] += half[m] * s[:, b] / self.v_scale[a]
            linear[:, b, m] += half[m] * s[:, a] / self.v_scale[b]
        return half * s[:, i] * s[:, j], linear

    def momentum_columns(self, x: FloatArray) -> FloatArray:
        """`M(q) v` by every coefficient, `(n, d, n_columns)`, at positions and velocities `x = [q, v]`."""
        d, k = self.n_dof, self.potential.n_functions
        _, linear = self._products(x[:, d:])
        by_mass = np.einsum("ndm,na->ndma", linear, self.mass.values(x[:, :d])).reshape(len(x), d, -1)
        return np.concatenate([np.zeros((len(x), d, k)), by_mass], axis=2)

    def force_columns(self, x: FloatArray) -> FloatArray:
        """`d(v' M v)/dq / 2 - dV/dq` by every coefficient, `(n, d, n_columns)`, at `x = [q, v]`."""
        d = self.n_dof
        square, _ = self._products(x[:, d:])
        by_mass = np.einsum("nm,ncf->ncmf", square, self.mass.gradients(x[:, :d])).reshape(len(x), d, -1)
        return np.concatenate([-self.potential.gradients(x[:, :d]), by_mass], axis=2)

    def mass_matrix(self, q: FloatArray) -> FloatArray:
        """Mass matrices `(n, d, d)`."""
        d = self.n_dof
        return self.mass.combine(q, self.parts[1]).reshape(-1, d, d)

    def velocity(self, x: FloatArray) -> FloatArray:
        """Velocities `(n, d)` of states `[q, p]`."""
        d = self.n_dof
        return np.linalg.solve(self.mass_matrix(x[:, :d]), x[:, d:, None])[..., 0]

    def momentum(self, q: FloatArray, v: FloatArray) -> FloatArray:
        """Momenta `(n, d)` of positions and velocities."""
        return np.einsum("nij,nj->ni", self.mass_matrix(q), v)

    def value(self, x: FloatArray) -> FloatArray:
        """Energies `(n,)`."""
        d = self.n_dof
        kinetic = 0.5 * np.sum(x[:, d:] * self.velocity(x), axis=1)
        return kinetic + self.potential.combine(x[:, :d], self.parts[0])[:, 0] - self.offset

    def gradient(self, x: FloatArray) -> FloatArray:
        """Gradients `(n, 2d)`."""
        d = self.n_dof
        q, v = x[:, :d], self.velocity(x)
        coef_v, coef_m = self.parts
        slopes = self.mass.combine_slopes(q, coef_m).reshape(len(x), d, d, d)
        by_q = self.potential.combine_slopes(q, coef_v)[..., 0]
        by_q = by_q - 0.5 * np.einsum("ni,ncij,nj->nc", v, slopes, v)
        return np.concatenate([by_q, v], axis=1)

    def hessian(self, x: FloatArray) -> FloatArray:
        """Hessians `(n, 2d, 2d)`."""
        d = self.n_dof
        q, v = x[:, :d], self.velocity(x)
        coef_v, coef_m = self.parts
        inverse = np.linalg.inv(self.mass_matrix(q))
        slopes = self.mass.combine_slopes(q, coef_m).reshape(len(x), d, d, d)
        bends = self.mass.combine_curvatures(q, coef_m).reshape(len(x), d, d, d, d)
        turned = np.einsum("ncij,nj->nci", slopes, v)
        out = np.empty((len(x), 2 * d, 2 * d))
        out[:, :d, :d] = self.potential.combine_curvatures(q, coef_v)[..., 0]
        out[:, :d, :d] += np.einsum("nci,nij,ndj->ncd", turned, inverse, turned)
        out[:, :d, :d] -= 0.5 * np.einsum("ni,ncdij,nj->ncd", v, bends, v)
        mixed = -np.einsum("nci,nij->ncj", turned, inverse)
        out[:, :d, d:], out[:, d:, :d] = mixed, mixed.transpose(0, 2, 1)
        out[:, d:, d:] = inverse
        return out
