r"""One Gauss-Newton step of a network's moving-horizon estimate, condensed.

Along a trajectory :math:`\hat s_j`, the newest one known, the network is :math:`s_{j+1} = f(\hat s_j, u_j) +
F_j (s_j - \hat s_j) + w_j`. With :math:`s_0 = \bar s + \bar L \xi` and :math:`w_j = G \omega_j`, where
:math:`\bar P = \bar L \bar L'` and :math:`Q = G G'`, all costs of the prior are squares of
:math:`\nu = [\xi; \omega_0; \dots]`, and

.. math::
    \min_\nu \tfrac12 |\nu|^2 + \tfrac12 \sum_j |y_j - H (c_j + \Gamma_j \nu)|^2_{R^{-1}}
    \quad\text{s.t.}\quad l \le E (c_j + \Gamma_j \nu) \le h .

Its Hessian is not below the identity whatever the units and however singular the covariances are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented_network import DisturbedRollout
from koopctrl.controllers.estimation.bounded import Bounded
from koopctrl.controllers.qp.soft import StepSolver
from koopctrl.controllers.units import weight_factor

# Standard deviation of a bounded quantity, relative to its unit, below which it is known.
_KNOWN = 1e-9


@dataclass(frozen=True)
class Window:
    """What was measured over the last samples, oldest first.

    Attributes
    ----------
    mean, covariance : (n,) and (n, n) arrays
        Of the oldest state, from all that was measured before it: the arrival cost.
    y, seen : (M + 1, n_measured) arrays
        Measurements, and whether they count: zero and false where missing or refused.
    u : (M, n_u) array
        Inputs that acted after each sample.
    s : (M + 1, n) array
        Newest estimates of the states.
    count : int
        Samples in the window, its first rows; the others are zero.
    """

    mean: FloatArray
    covariance: FloatArray
    y: FloatArray
    seen: np.ndarray
    u: FloatArray
    s: FloatArray
    count: int


class WindowProblem:
    """Poses and solves the steps; a workspace that decides nothing.

    Parameters
    ----------
    roll : DisturbedRollout
    H, Rn, noise : arrays
        What is measured of `s`, and the covariances of measurement and process noise.
    bounded : Bounded
    horizon : int
        `M`.
    solver : str
        Name of a CasADi conic plugin.
    """

    def __init__(
        self,
        roll: DisturbedRollout,
        H: FloatArray,
        Rn: FloatArray,
        noise: FloatArray,
        bounded: Bounded,
        horizon: int,
        solver: str,
    ) -> None:
        self.roll, self.H, self.Rn, self.bounded, self.horizon = roll, H, Rn, bounded, horizon
        self.G = weight_factor(noise).T
        n, self.n_v = roll.n, roll.n + horizon * self.G.shape[1]
        n_samples = horizon + 1
        low, high = (np.tile(side, n_samples) for side in (bounded.low, bounded.high))
        self._free = np.full(self.n_v, np.inf)
        self._unit = np.abs(bounded.E) @ roll.size
        self._whiten = linalg.solve_triangular(np.linalg.cholesky(Rn), np.eye(len(Rn)), lower=True)
        self._gamma = np.zeros((n_samples, n, self.n_v))
        self._solver = StepSolver(
            self.n_v, len(low), 0, solver, None, math.inf, np.isfinite(low), np.isfinite(high)
        )

    def solve(self, window: Window) -> tuple[FloatArray | None, float, bool]:
        """New states `(count, n)`, bound on the QP's error, and whether any bound acts.

        The states are None without a certified answer.
        """
        m, n_b, bounded = window.count, self.bounded.n_b, self.bounded
        gamma, c = self._condense(window)
        Z, e = self._measured(window, gamma, c)
        hessian = np.eye(self.n_v) + Z.T @ Z
        gradient = -(Z.T @ e)
        if not (np.isfinite(hessian).all() and np.isfinite(gradient).all()):
            return None, math.inf, False
        try:
            factor = np.linalg.cholesky(hessian)
        except np.linalg.LinAlgError:
            return None, math.inf, False
        free = -linalg.cho_solve((factor, True), gradient)
        nu, residual, acts = free, 0.0, False
        if n_b:
            rows = (bounded.E @ gamma[:m]).reshape(m * n_b, -1)
            level = (c @ bounded.E.T).ravel()
            low, high = np.tile(bounded.low, m) - level, np.tile(bounded.high, m) - level
            at = rows @ free
            acts = bool(((at < low) | (at > high)).any())
        if acts:
            deviation = np.linalg.norm(linalg.solve_triangular(factor, rows.T, lower=True), axis=0)
            deviation = np.maximum(deviation, _KNOWN * np.tile(self._unit, m))
            found = self._constrained(
                hessian, gradient, rows / deviation[:, None], low / deviation, high / deviation
            )
            if found is None:
                return None, math.inf, True
            nu, residual = found
        return c + gamma[:m] @ nu, residual, acts

    def _condense(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """`Gamma` `(M + 1, n, n_v)` and `c` `(count, n)`."""
        m, n, r = window.count, self.roll.n, self.G.shape[1]
        gamma, c = self._gamma, np.empty((m, n))
        gamma[:] = 0.0
        root = weight_factor(window.covariance).T
        gamma[0, :, : root.shape[1]] = root
        c[0] = window.mean
        if m > 1:
            f, F = self.roll.advance_all(window.s[: m - 1], window.u[: m - 1])
            for j in range(m - 1):
                known = n + j * r
                gamma[j + 1, :, :known] = F[j] @ gamma[j, :, :known]
                gamma[j + 1, :, known : known + r] = self.G
                c[j + 1] = f[j] + F[j] @ (c[j] - window.s[j])
        return gamma, c

    def _measured(self, window: Window, gamma: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Whitened rows of the measurements that count, and what they are away from `c`."""
        rows, errors = [], []
        for j in range(window.count):
            here = window.seen[j]
            if not here.any():
                continue
            whole = bool(here.all())
            H = self.H if whole else self.H[here]
            error = window.y[j][here] - H @ c[j]
            if whole:
                whiten = self._whiten
            else:
                root = np.linalg.cholesky(self.Rn[here][:, here])
                whiten = linalg.solve_triangular(root, np.eye(len(root)), lower=True)
            rows.append(whiten @ (H @ gamma[j]))
            errors.append(whiten @ error)
        if not rows:
            return np.empty((0, self.n_v)), np.empty(0)
        return np.vstack(rows), np.concatenate(errors)

    def _constrained(
        self, hessian: FloatArray, gradient: FloatArray, rows: FloatArray, low: FloatArray, high: FloatArray
    ) -> tuple[FloatArray, float] | None:
        """The QP's certified answer, of a window that may not be full yet."""
        n_all, m = (self.horizon + 1) * self.bounded.n_b, len(rows)
        padded = np.zeros((n_all, self.n_v))
        padded[:m] = rows
        lower, upper = np.full(n_all, -np.inf), np.full(n_all, np.inf)
        lower[:m], upper[:m] = low, high
        self._solver.load(hessian, padded, np.ones(n_all), np.empty((2, 0)))
        found = self._solver.solve(
            gradient, np.concatenate([-self._free, lower]), np.concatenate([self._free, upper])
        )
        return None if found.x is None else (found.x, found.kkt_residual)
