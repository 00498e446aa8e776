"""Responses of affine models while their parameter moves.

With the parameter held over a step the step is exact. While it moves, a step is the product of two
exponentials at
Gauss points (the commutator-free Magnus integrator of fourth order; Blanes and Moan, *Fourth- and sixth-order
commutator-free Magnus integrators for linear and non-linear dynamical systems*, Appl. Numer. Math. 56, 2006),
of the
matrix that carries the held input along, `[A(p), B(p) u; 0, 0]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import expm

from koopctrl._validation import FloatArray
from koopctrl.ltinet.varying.affine import AffineModel, combine

_AT_ONCE = 2_000_000
_GAUSS = np.sqrt(3.0) / 6.0


def moving_response(
    model: AffineModel,
    p: FloatArray,
    u: FloatArray,
    w: FloatArray,
    h: float,
    hold: str,
    substeps: int = 4,
) -> FloatArray:
    """Outputs (N + 1, n_y) for `p` (N + 1, n_p) and held inputs `u` (N + 1, n_u) from state `w`."""
    if hold == "linear" and substeps > 1 and np.any(np.diff(p, axis=0)):
        parts = np.arange((len(p) - 1) * substeps + 1) / substeps
        fine = np.column_stack([np.interp(parts, np.arange(len(p)), column) for column in p.T])
        held = np.append(np.repeat(np.arange(len(p) - 1), substeps), len(p) - 1)
        return moving_response(model, fine, u[held], w, h / substeps, hold, 1)[::substeps]
    steps, m, n_u = len(p) - 1, len(w), u.shape[1]
    states = np.empty((steps + 1, m))
    states[0] = w
    size = m + n_u
    chunk = max(1, _AT_ONCE // (size * size))
    for at in range(0, steps, chunk):
        maps = step_maps_of(model, p[at : at + chunk + 1], h, hold)
        for k, E in enumerate(maps, start=at):
            states[k + 1] = E[:m, :m] @ states[k] + E[:m, m:] @ u[k]
    out = np.empty((steps + 1, len(model.C[0])))
    for k in range(steps + 1):
        out[k] = combine(model.C, p[k]) @ states[k] + combine(model.D, p[k]) @ u[k]
    return out


def step_maps_of(model: AffineModel, p: FloatArray, h: float, hold: str) -> FloatArray:
    """Step maps `[Phi, Gamma; 0, I]` between neighbouring rows of `p`."""
    if hold == "zoh" or not np.any(np.diff(p, axis=0)):
        result: Any = expm(h * _augmented(model, p[:-1]))
        return result
    start, change = p[:-1], np.diff(p, axis=0)
    one = _augmented(model, start + (0.5 - _GAUSS) * change)
    two = _augmented(model, start + (0.5 + _GAUSS) * change)
    a, b = 0.25 + _GAUSS, 0.25 - _GAUSS
    first: Any = expm(h * (a * one + b * two))
    second: Any = expm(h * (b * one + a * two))
    return second @ first


def _augmented(model: AffineModel, p: FloatArray) -> FloatArray:
    A = np.stack([np.asarray(combine(model.A, row)) for row in p])
    B = np.stack([np.asarray(combine(model.B, row)) for row in p])
    m, n_u = A.shape[1], B.shape[2]
    out = np.zeros((len(p), m + n_u, m + n_u))
    out[:, :m, :m], out[:, :m, m:] = A, B
    return out
