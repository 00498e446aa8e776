r"""Steady targets of many set-points at once: Newton steps on all rows of a preview together.

Each row solves `min |y - r|_Q^2 + eps |u - u_0|_R^2` under `x = f(x, u) + d` and the bounds on `u`, see
`koopctrl.controllers.steady_state.newton`; here from starts that are nearly right already, those of the
last sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.rollout import SteadyView
from koopctrl.controllers.steady_state.newton import Scales

# Rows of a moving reference are passed through, not held: their steady inputs need not be exact.
_STEPS, _STEADY, _SETTLED, _EXACT = 4, 1e-4, 1e-2, 1e-8


@dataclass(frozen=True)
class RowTargets:
    """Steady states `(M, n_x)`, inputs `(M, n_u)`, and which of the rows have come to rest."""

    x: FloatArray
    u: FloatArray
    settled: np.ndarray


def follow_rows(
    view: SteadyView,
    weight: FloatArray,
    aim: FloatArray,
    start: tuple[FloatArray, FloatArray],
    d: FloatArray,
    scales: Scales,
    bounds: tuple[FloatArray, FloatArray],
) -> RowTargets:
    """Take Newton steps from `start`; what becomes of one row does not depend on the others.

    Parameters
    ----------
    view : SteadyView
    weight : (M, n, n) array
        On `[x; u]` in standardised coordinates, `n = n_x + n_u`.
    aim : (M, n) array
    start : (M, n_x) and (M, n_u) arrays
    d : (n_y,) array
    scales : Scales
    bounds : (n_u,) arrays
        In standardised coordinates.
    """
    sx, su, n_x, n = scales.x, scales.u, view.n_x, aim.shape[1]
    low, high = bounds
    w = np.hstack([start[0] / sx, np.clip(start[1] / su, low, high)])
    M, size = len(w), np.full(len(w), np.inf)
    kkt, rhs = np.zeros((M, n + n_x, n + n_x)), np.zeros((M, n + n_x))
    for _ in range(_STEPS):
        x, u = w[:, :n_x] * sx, w[:, n_x:] * su
        a, b = view.jacobians(x, u)
        rows = np.concatenate([a * sx / sx[:, None] - np.eye(n_x), b * su / sx[:, None]], axis=2)
        kkt[:, :n, :n], kkt[:, n:, :n], kkt[:, :n, n:] = weight, rows, rows.transpose(0, 2, 1)
        rhs[:, :n] = np.matmul(weight, (aim - w)[:, :, None])[:, :, 0]
        rhs[:, n:] = -_gap(view, w, d, sx, su)
        step = _solve(kkt, rhs)[:, :n]
        # An input that would leave its bounds is led to the bound instead, and the rest solved again.
        target = w[:, n_x:] + step[:, n_x:]
        outside = (target < low) | (target > high)
        if outside.any():
            row, column = np.nonzero(outside)
            kkt[row, n_x + column] = 0.0
            kkt[row, n_x + column, n_x + column] = 1.0
            rhs[row, n_x + column] = (np.clip(target, low, high) - w[:, n_x:])[outside]
            step = _solve(kkt, rhs)[:, :n]
        step[size <= _EXACT] = 0.0
        size = np.minimum(size, np.abs(step).max(axis=1))
        w = w + step
        w[:, n_x:] = np.clip(w[:, n_x:], low, high)
        if not (size > _EXACT).any():
            break
    misfit = np.abs(_gap(view, w, d, sx, su)).max(axis=1)
    return RowTargets(w[:, :n_x] * sx, w[:, n_x:] * su, (misfit < _STEADY) & (size < _SETTLED))


def _gap(view: SteadyView, w: FloatArray, d: FloatArray, sx: FloatArray, su: FloatArray) -> FloatArray:
    x = w[:, : view.n_x] * sx
    return (view.run(x, (w[:, view.n_x :] * su)[:, None], d)[:, 1] - x) / sx


def _solve(kkt: FloatArray, rhs: FloatArray) -> FloatArray:
    """All systems; NaN, which is never settled, where one is singular."""
    try:
        return np.linalg.solve(kkt, rhs[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        if len(kkt) == 1:
            return np.full_like(rhs, np.nan)
        return np.concatenate([_solve(kkt[i : i + 1], rhs[i : i + 1]) for i in range(len(kkt))])
