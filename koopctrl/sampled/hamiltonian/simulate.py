r"""Simulation that keeps the energy's books.

**Discrete gradient** (Gonzalez, *Time integration and discrete Hamiltonian systems*, J. Nonlinear Science 6, 1996):
with the midpoint `m` and :math:`\Delta = x_1 - x_0`,

.. math:: \bar\nabla H = \nabla H(m) + \frac{H(x_1) - H(x_0) - \nabla H(m)'\Delta}{\Delta' S^{-2} \Delta}
          S^{-2} \Delta, \qquad \Delta = h\,[(J - R(m))\,\bar\nabla H + G(m)\,u]

so that :math:`H(x_1) - H(x_0) = h\,(\bar H_p' G u - \bar H_p' D \bar H_p)`: kept to rounding without ports, never
risen without inputs. `S` are the units of the states. **Gauss** collocation is symplectic, of order `2 s`.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.sampled.hamiltonian.collocation import gauss
from koopctrl.sampled.hamiltonian.equations import Parts

_MAX_NEWTON = 30
_ROUNDING = 20.0 * np.finfo(float).eps


def discrete_gradient_step(
    parts: Parts, x0: FloatArray, u: FloatArray, h: float, scale: FloatArray, guess: FloatArray
) -> FloatArray:
    """Next states `(n, 2d)`, by Newton's method with the midpoint rule's derivative."""
    d = parts.energy.n_dof
    start = parts.energy.value(x0)
    damped = np.zeros((len(x0), d)) if parts.damping is None else None
    x1 = guess
    last = np.inf
    for k in range(_MAX_NEWTON):
        middle, delta = 0.5 * (x0 + x1), x1 - x0
        gradient = parts.energy.gradient(middle)
        scaled = delta / scale**2
        length = np.sum(delta * scaled, axis=1)
        defect = parts.energy.value(x1) - start - np.sum(gradient * delta, axis=1)
        # Where the step is rounding the gradient needs no correction.
        share = np.divide(defect, length, out=np.zeros_like(length), where=length > _ROUNDING**2)
        gradient = gradient + share[:, None] * scaled
        force = -gradient[:, :d]
        q = middle[:, :d]
        if damped is None:
            force = force - parts.damping.diagonal(q) * gradient[:, d:]  # pyright: ignore[reportOptionalMemberAccess]
        if parts.gain is not None:
            force = force + np.einsum("nij,nj->ni", parts.gain.matrix(q), u)
        rate = np.concatenate([gradient[:, d:], force], axis=1)
        residual = (x0 + h * rate - x1) / scale
        error = float(np.abs(residual).max())
        if k % 4 == 0:
            slope, _ = parts.jacobian(middle, u)
            inverse = np.linalg.inv(np.eye(2 * d) - 0.5 * h * slope * scale / scale[:, None])
        x1 = x1 + np.einsum("nij,nj->ni", inverse, residual) * scale
        if error <= _ROUNDING * float(np.abs(x0 / scale).max(initial=1.0)) or (error < 1e-11 and error >= last):
            return x1
        last = error
    if last < 1e-9:
        return x1
    raise SolverError(
        f"a step of {h:g} s does not converge (residual {last:.2g} of the states' units); expected a shorter "
        "one. Pass substeps"
    )


def gauss_step(
    parts: Parts, x0: FloatArray, u: FloatArray, h: float, scale: FloatArray, n_stages: int
) -> FloatArray:
    """Next states `(n, 2d)`, by simplified Newton's method on the stages' slopes."""
    _, b, a = gauss(n_stages)
    n, width = x0.shape
    jacobian, _ = parts.jacobian(x0, u)
    jacobian = jacobian * scale / scale[:, None]
    system = np.eye(n_stages * width) - h * np.einsum("ij,nkl->nikjl", a, jacobian).reshape(
        n, n_stages * width, n_stages * width
    )
    inverse = np.linalg.inv(system)
    slopes = np.repeat((parts.rhs(x0, u) / scale)[:, None], n_stages, axis=1)
    held = np.repeat(u, n_stages, axis=0)
    last = np.inf
    for _ in range(3 * _MAX_NEWTON):
        points = x0[:, None] + h * np.einsum("ij,njk->nik", a, slopes) * scale
        f = parts.rhs(points.reshape(-1, width), held).reshape(n, n_stages, width) / scale
        residual = f - slopes
        change = np.einsum("nij,nj->ni", inverse, residual.reshape(n, -1)).reshape(slopes.shape)
        slopes = slopes + change
        error = h * float(np.abs(change).max())
        if error <= _ROUNDING * float(np.abs(x0 / scale).max(initial=1.0)) or (error < 1e-11 and error >= last):
            return x0 + h * np.einsum("i,nik->nk", b, slopes) * scale
        last = error
    raise SolverError(
        f"a step of {h:g} s does not converge (change {last:.2g} of the states' units); expected a shorter one. "
        "Pass substeps"
    )
