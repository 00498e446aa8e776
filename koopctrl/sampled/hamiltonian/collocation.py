r"""From trajectories to equations: Gauss collocation, and the mixed point of symplectic Euler.

**Gauss.** Over one step, `(x1 - x0) / h` is the mean of the right-hand side over the stages of a Gauss
method. Stages start on the chord and are moved onto the model's own trajectory between two fits, what is left
at the end of the step being spread over it: at the fixed point they are the collocation's stages, and the
model is exact to its order `2 s` (Hairer, Lubich, Wanner, *Geometric Numerical Integration*, 2006, section
II.1).

**Mixed point.** A flow has a generating function, `q1 = q0 + h F_p(q0, p1)`, `p0 = p1 + h F_q(q0, p1)`, which
is exactly what symplectic Euler with the energy `F` does; and `F = H + (h / 2) H_q H_p + O(h^2)` by the
Hamilton-Jacobi equation, so `H` is found by fitting to what this correction leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

from koopctrl._validation import FloatArray
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning
from koopctrl.identification.least_squares import LeastSquares, Ridge
from koopctrl.sampled.hamiltonian.equations import Parts, fit_parts

_SWEEPS = 3
# Changes of the derivatives from fit to fit, over their spread: none, and too many to trust the model.
_SETTLED, _UNSETTLED = 1e-14, 0.02


@dataclass(frozen=True)
class Steps:
    """Neighbouring samples, `x0` and `x1` `(n, 2d)`, the input `u` held between them, and the time `h`."""

    x0: FloatArray
    x1: FloatArray
    u: FloatArray
    h: float

    @property
    def slope(self) -> FloatArray:
        """Difference quotients."""
        return (self.x1 - self.x0) / self.h


def gauss(n_stages: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Nodes `c`, weights `b` and matrix `A` of the Gauss method with so many stages."""
    nodes, weights = legendre.leggauss(n_stages)
    c, b = (nodes + 1.0) / 2.0, weights / 2.0
    powers = np.arange(1, n_stages + 1)
    vandermonde = c[:, None] ** (powers - 1)
    integrals = c[:, None] ** powers / powers
    return c, b, np.linalg.solve(vandermonde.T, integrals.T).T


def stages_on_model(
    rhs: Callable[[FloatArray, FloatArray], FloatArray], steps: Steps, stages: FloatArray, n_sweeps: int
) -> FloatArray:
    """Stages `(n, s, 2d)` moved towards the model's trajectory through both ends of each step."""
    n, s, width = stages.shape
    c, b, a = gauss(s)
    u = np.repeat(steps.u, s, axis=0)
    for _ in range(n_sweeps):
        f = rhs(stages.reshape(-1, width), u).reshape(n, s, width)
        left = steps.x1 - steps.x0 - steps.h * np.einsum("i,nik->nk", b, f)
        stages = steps.x0[:, None] + steps.h * np.einsum("ij,njk->nik", a, f) + c[:, None] * left[:, None]
    return stages


def fit_gauss(
    parts: Parts,
    steps: Steps,
    units: FloatArray,
    rcond: float,
    ridge: Ridge,
    n_stages: int,
    max_iter: int,
    limits: tuple[FloatArray, FloatArray],
) -> tuple[Parts, LeastSquares, list[float]]:
    """Model by collocation, and how much its derivatives changed from fit to fit, relative to `units`.

    `limits` are the box that stages are held in, so that the model is never asked far from its data.
    """
    c, b, _ = gauss(n_stages)
    d = steps.x0.shape[1] // 2
    stages = steps.x0[:, None] + c[:, None] * (steps.x1 - steps.x0)[:, None]
    velocity = np.broadcast_to(steps.slope[:, None, :d], (*stages.shape[:2], d))

    def fit() -> tuple[Parts, LeastSquares]:
        return fit_parts(
            parts, stages, steps.slope, steps.u, units, rcond, ridge, quadrature=b, velocity=velocity
        )

    fitted, solution = fit()
    changes: list[float] = []
    for _ in range(max_iter - 1):
        stages = np.clip(stages_on_model(fitted.rhs, steps, stages, _SWEEPS), *limits)
        if parts.damping is not None:
            flat = stages.reshape(-1, 2 * d)
            velocity = fitted.energy.gradient(flat)[:, d:].reshape(*stages.shape[:2], d)
        tried, found = fit()
        difference = tried.rhs(steps.x0, steps.u) - fitted.rhs(steps.x0, steps.u)
        change = float(np.sqrt(np.mean((difference / units) ** 2)))
        if changes and change > changes[-1]:
            break  # rounding or noise: the last fit was as good
        changes.append(change)
        fitted, solution = tried, found
        if change < _SETTLED:
            break
    if changes and changes[-1] > _UNSETTLED:
        warn(
            f"fits along the model's own trajectories do not settle: the last one changed its derivatives by "
            f"{changes[-1]:.1%}. Take more samples, fewer neurons or a shorter sample time",
            NumericalWarning,
        )
    return fitted, solution, changes


def fit_mixed(
    parts: Parts, steps: Steps, units: FloatArray, rcond: float, ridge: Ridge, n_corrections: int
) -> tuple[Parts, LeastSquares, list[float]]:
    """Model by symplectic Euler's mixed point, its energy corrected to first order in the sample time."""
    d = steps.x0.shape[1] // 2
    point = np.concatenate([steps.x0[:, :d], steps.x1[:, d:]], axis=1)
    fitted, solution = fit_parts(parts, point, steps.slope, steps.u, units, rcond, ridge)
    changes: list[float] = []
    for _ in range(n_corrections):
        # The gradient of (h / 2) H_q H_p, by the product rule.
        gradient, hessian = fitted.energy.gradient(point), fitted.energy.hessian(point)
        bent = np.einsum("ni,nic->nc", gradient[:, d:], hessian[:, :d])
        bent = 0.5 * steps.h * (bent + np.einsum("ni,nic->nc", gradient[:, :d], hessian[:, d:]))
        left = steps.slope - np.concatenate([bent[:, d:], -bent[:, :d]], axis=1)
        tried, found = fit_parts(parts, point, left, steps.u, units, rcond, ridge)
        difference = tried.rhs(point, steps.u) - fitted.rhs(point, steps.u)
        change = float(np.sqrt(np.mean((difference / units) ** 2)))
        if changes and change > 0.5 * changes[-1]:
            break  # for this sample time the correction is no small one: the series does not converge
        changes.append(change)
        fitted, solution = tried, found
    return fitted, solution, changes
