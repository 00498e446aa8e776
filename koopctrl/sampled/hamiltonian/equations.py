r"""Rows of the least-squares problem: Hamilton's equations at given points.

.. math:: \dot q = H_p, \qquad \dot p = -H_q - D(q)\,\dot q + G(q)\,u

are linear in the coefficients of `H`, `D` and `G`, since :math:`\dot q` is measured. Every row is divided by
the spread of its own derivative, so units have no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.least_squares import LeastSquares, QRAccumulator, Ridge
from koopctrl.sampled.hamiltonian.energy import LagrangianEnergy
from koopctrl.sampled.hamiltonian.ports import Damping, InputGain
from koopctrl.sampled.hamiltonian.solve import solve_signed

_BLOCK_ELEMENTS = 16_000_000


@dataclass(frozen=True, eq=False)
class Parts:
    """Energy, damping and gain of a model, with or without coefficients.

    Parameters
    ----------
    energy : SampledEnergy, MechanicalEnergy or LagrangianEnergy
    damping : Damping or None
    gain : InputGain or None
    """

    energy: Any
    damping: Damping | None
    gain: InputGain | None

    @property
    def has_mass(self) -> bool:
        """Whether the energy is made of a mass matrix."""
        return isinstance(self.energy, LagrangianEnergy)

    @property
    def n_gain(self) -> int:
        """Coefficients of the gain."""
        return 0 if self.gain is None else self.gain.coef.size

    @property
    def n_damping(self) -> int:
        """Coefficients of the damping."""
        return 0 if self.damping is None else self.damping.coef.size

    @property
    def n_columns(self) -> int:
        """All coefficients: energy, gain, damping."""
        return self.energy.n_columns + self.n_gain + self.n_damping

    def with_coef(self, coef: FloatArray) -> Parts:
        """The same parts with coefficients."""
        a = self.energy.n_columns
        b = a + self.n_gain
        return Parts(
            self.energy.with_coef(coef[:a]),
            None if self.damping is None else self.damping.with_coef(coef[b:]),
            None if self.gain is None else self.gain.with_coef(coef[a:b]),
        )

    def columns(self, x: FloatArray, velocity: FloatArray, u: FloatArray) -> FloatArray:
        """Derivative of `[q, p]` by every coefficient, `(n, 2d, n_columns)`; `velocity` is `qdot`.

        With a mass matrix the first rows are `M(q) qdot`, which is `p`: it is linear where `M^-1 p` is not.
        """
        d = self.energy.n_dof
        q = x[:, :d]
        if self.has_mass:
            moving = np.concatenate([q, velocity], axis=1)
            rows = [self.energy.momentum_columns(moving), self.energy.force_columns(moving)]
        else:
            gradient = self.energy.columns(x)
            rows = [gradient[:, d:], -gradient[:, :d]]
        parts = [np.concatenate(rows, axis=1)]
        if self.gain is not None:
            values = self.gain.basis.values(q)
            by_gain = np.einsum("na,nj,ik->nkaij", values, u, np.eye(d)).reshape(len(x), d, -1)
            parts.append(np.concatenate([np.zeros_like(by_gain), by_gain], axis=1))
        if self.damping is not None:
            values = self.damping.functions(q)
            by_damping = -np.einsum("na,ni,ik->nkai", values, velocity, np.eye(d)).reshape(len(x), d, -1)
            parts.append(np.concatenate([np.zeros_like(by_damping), by_damping], axis=1))
        return np.concatenate(parts, axis=2)

    def rhs(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Derivatives `(n, 2d)` at states `(n, 2d)` and inputs `(n, n_u)`."""
        d = self.energy.n_dof
        gradient = self.energy.gradient(x)
        q, velocity = x[:, :d], gradient[:, d:]
        force = -gradient[:, :d]
        if self.damping is not None:
            force = force - self.damping.diagonal(q) * velocity
        if self.gain is not None:
            force = force + np.einsum("nij,nj->ni", self.gain.matrix(q), u)
        return np.concatenate([velocity, force], axis=1)

    def jacobian(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of `rhs` by state, `(n, 2d, 2d)`, and by input, `(n, 2d, n_u)`."""
        d = self.energy.n_dof
        hessian = self.energy.hessian(x)
        a = np.concatenate([hessian[:, d:], -hessian[:, :d]], axis=1)
        q = x[:, :d]
        b = np.zeros((len(x), 2 * d, u.shape[1]))
        if self.damping is not None:
            velocity = self.energy.gradient(x)[:, d:]
            a[:, d:] -= self.damping.diagonal(q)[..., None] * hessian[:, d:]
            a[:, d:, :d] -= self.damping.slopes(q) * velocity[..., None]
        if self.gain is not None:
            b[:, d:] = self.gain.matrix(q)
            a[:, d:, :d] += np.einsum("ncij,nj->nic", self.gain.slopes(q), u)
        return a, b

    def with_gauge(self, x: FloatArray, value: float) -> Parts:
        """The same with the energy of state `x`, `(2d,)`, at `value`."""
        energy = replace(self.energy, offset=0.0)
        return replace(self, energy=replace(energy, offset=float(energy.value(x[None])[0]) - value))


def row_units(xdot: FloatArray, scale: FloatArray) -> FloatArray:
    """Size of each derivative `(2d,)`; of one that is zero throughout, as its conjugate's rate says."""
    d = len(scale) // 2
    size = np.abs(xdot).max(axis=0)
    unit = np.where(size > 0.0, size, 1.0)
    rms = np.where(size > 0.0, unit * np.sqrt(np.mean((xdot / unit) ** 2, axis=0)), 0.0)
    rate = rms / scale
    for i in range(2 * d):
        if rms[i] == 0.0:
            conjugate = rate[(i + d) % (2 * d)]
            rms[i] = scale[i] * (conjugate if conjugate > 0.0 else rate.max(initial=0.0) or 1.0)
    return rms


def fit_parts(
    parts: Parts,
    x: FloatArray,
    xdot: FloatArray,
    u: FloatArray,
    units: FloatArray,
    rcond: float,
    ridge: Ridge,
    quadrature: FloatArray | None = None,
    velocity: FloatArray | None = None,
) -> tuple[Parts, LeastSquares]:
    """Coefficients from derivatives.

    Parameters
    ----------
    parts : Parts
    x : (n, 2d) or (n, s, 2d) array
        Points; or stages, over which each row is the mean with weights `quadrature` (s,).
    xdot : (n, 2d) array
    u : (n, n_u) array
    units : (2d,) array
        What each row is divided by.
    velocity : (n, d) or (n, s, d) array, optional
        Of the damping's columns; by default `xdot`'s.
    """
    d = parts.energy.n_dof
    targets = xdot
    if parts.has_mass:
        targets = np.concatenate([x[:, d:], xdot[:, d:]], axis=1)
        units = np.concatenate([np.std(x[:, d:], axis=0), units[d:]])
    stages = x[:, None] if x.ndim == 2 else x
    weights = np.ones(1) if quadrature is None else quadrature
    speed = xdot[:, :d] if velocity is None else velocity
    speed = np.broadcast_to(speed[:, None], (*stages.shape[:2], d)) if speed.ndim == 2 else speed
    n_columns = parts.n_columns
    rows = QRAccumulator(n_columns, 1)
    step = max(n_columns // d + 1, _BLOCK_ELEMENTS // (2 * d * n_columns))
    for start in range(0, len(x), step):
        block = slice(start, start + step)
        phi = sum(
            w * parts.columns(stages[block, i], speed[block, i], u[block]) for i, w in enumerate(weights)
        )
        phi = np.asarray(phi) / units[:, None]
        rows.update(phi.reshape(-1, n_columns), (targets[block] / units).reshape(-1, 1))
    solution = solve_signed(rows, parts.n_damping, rcond, ridge)
    return parts.with_coef(solution.coef[:, 0]), solution
