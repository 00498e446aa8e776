r"""Simulation that keeps the energy's books.

**Discrete gradient** (Gonzalez, *Time integration and discrete Hamiltonian systems*, J. Nonlinear Science 6,
1996): with the midpoint `m` and :math:`\Delta = x_1 - x_0`,

.. math:: \bar\nabla H = \nabla H(m) + \frac{H(x_1) - H(x_0) - \nabla H(m)'\Delta}{\Delta' S^{-2} \Delta}
          S^{-2} \Delta, \qquad \Delta = h\,[(J - R(m))\,\bar\nabla H + G(m)\,u]

so that :math:`H(x_1) - H(x_0) = h\,(\bar H_p' G u - \bar H_p' D \bar H_p)`: kept to rounding without ports,
never risen without inputs. `S` are the units of the states. **Gauss** collocation is symplectic, of order `2
s`.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.sampled.hamiltonian.collocation import gauss
from koopctrl.sampled.hamiltonian.equations import Parts

_MAX_NEWTON = 30
_ROUNDING = 20.0 * np.finfo(float).eps
# Residuals below that no longer fall are the rounding of the energy itself, whose terms may be large.
_STALLED = 1e-7
# Squared length of a step, in the states' units, that is no step.
_NO_STEP = 1e-24


def discrete_gradient_step(
    parts: Parts,
    x0: FloatArray,
    booked: FloatArray,
    u: FloatArray,
    h: float,
    scale: FloatArray,
    guess: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Next states `(n, 2d)` and the energy booked for them, by Newton's method.

    `booked` is the energy that the books have for `x0`: what was there at first, and what ports brought and
    took since. Taking it in place of `H(x0)` keeps rounding from adding up.
    """
    d = parts.energy.n_dof
    x1, last, inverse = guess, np.inf, np.empty(0)
    size = float(np.abs(x0 / scale).max(initial=1.0))
    for k in range(_MAX_NEWTON):
        middle, delta = 0.5 * (x0 + x1), x1 - x0
        gradient = parts.energy.gradient(middle)
        scaled = delta / scale**2
        length = np.sum(delta * scaled, axis=1)
        defect = parts.energy.value(x1) - booked - np.sum(gradient * delta, axis=1)
        # Where the step is rounding the gradient needs no correction.
        share = np.divide(defect, length, out=np.zeros_like(length), where=length > _NO_STEP)
        gradient = gradient + share[:, None] * scaled
        velocity, q = gradient[:, d:], middle[:, :d]
        lost = parts.damping.diagonal(q) * velocity if parts.damping is not None else np.zeros_like(velocity)
        given = np.zeros_like(velocity)
        if parts.gain is not None:
            given = np.einsum("nij,nj->ni", parts.gain.matrix(q), u)
        rate = np.concatenate([velocity, given - lost - gradient[:, :d]], axis=1)
        residual = (x0 + h * rate - x1) / scale
        error = float(np.abs(residual).max())
        if k % 4 == 0:
            slope, _ = parts.jacobian(middle, u)
            inverse = np.linalg.inv(np.eye(2 * d) - 0.5 * h * slope * scale / scale[:, None])
        x1 = x1 + np.einsum("nij,nj->ni", inverse, residual) * scale
        if error <= _ROUNDING * size or (error < _STALLED and error >= 0.5 * last):
            return x1, booked + h * np.sum((given - lost) * velocity, axis=1)
        last = error
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
        if error <= _ROUNDING * float(np.abs(x0 / scale).max(initial=1.0)) or (
            error < 1e-11 and error >= last
        ):
            last = 0.0
            break
        last = error
    if last < _STALLED:
        return x0 + h * np.einsum("i,nik->nk", b, slopes) * scale
    raise SolverError(
        f"a step of {h:g} s does not converge (change {last:.2g} of the states' units); expected a shorter "
        "one. Pass substeps"
    )
