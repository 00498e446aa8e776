"""NMPC that knows the plant and sees its outputs alone: what telling the state is worth.

An extended Kalman filter on the plant's own equations, started at the mean and covariance of the plant's
starts, stands in for the state that the yardstick is told. No controller that has to learn the state from
the outputs can be expected to do much better than this one, whose model is exact.
"""

from __future__ import annotations

from typing import Any

import casadi
import numpy as np

from koopctrl.benchmark.case import Case
from koopctrl.benchmark.true_model import TrueModelNMPC

_N_STARTS = 2000
# Variances over those of the starts: outputs are measured without noise, and the model is the plant.
_MEASURED, _DRIVEN = 1e-10, 1e-10


class OutputNMPC(TrueModelNMPC):
    """NMPC on a task with all that can be known of it, except the state, which a filter estimates.

    Loads and drifts are not for it: the filter runs on the plant's nominal equations.
    """

    def __init__(self, case: Case) -> None:
        plant = case.task.plant
        rng = np.random.default_rng(0)
        starts = np.array([plant.draw_start(rng) for _ in range(_N_STARTS)])
        self._mean = starts.mean(axis=0)
        self._spread = np.where(
            starts.std(axis=0) > 0.0, starts.std(axis=0), 1e-3 * np.abs(self._mean) + 1e-9
        )
        self._prior = np.cov((starts / self._spread).T).reshape(plant.n_x, plant.n_x)
        x, u = casadi.MX.sym("x", plant.n_x), casadi.MX.sym("u", plant.n_u)
        ahead, _ = plant.to_casadi()(x, u)
        self._step = casadi.Function("step", [x, u], [ahead, casadi.jacobian(ahead, x)])
        self._plant = plant
        super().__init__(case)

    @property
    def state(self) -> np.ndarray:
        """The estimate, `(n_x,)`."""
        return self._x

    def reset(self) -> None:
        """Forget plan and state."""
        super().reset()
        self._x, self._P = self._mean.copy(), self._prior.copy()

    def control(self, measurement: Any, reference: Any = None) -> np.ndarray:
        """Input at this sample."""
        self._update(np.asarray(measurement, dtype=float).ravel())
        u = super().control(measurement, reference)
        ahead, slope = (np.array(part) for part in self._step(self._x, u))
        F = slope * self._spread / self._spread[:, None]
        self._x = ahead.ravel()
        self._P = F @ self._P @ F.T + _DRIVEN * np.eye(len(F))
        return u

    def _update(self, y: np.ndarray) -> None:
        """Gauss-Newton steps of the update, since starts may be far from the mean; covariances in spreads."""
        plant, start = self._plant, self._x
        for _ in range(3):
            H = plant.output_jacobian(self._x) * self._spread
            size = np.maximum(np.abs(H).max(axis=1), 1e-12)
            H = H / size[:, None]
            S = H @ self._P @ H.T + _MEASURED * np.eye(len(H))
            K = np.linalg.solve(S, H @ self._P).T
            missed = (y - plant.output(self._x)) / size + H @ ((self._x - start) / self._spread)
            self._x = np.clip(start + self._spread * (K @ missed), plant.x_min, plant.x_max)
        P = (np.eye(len(self._P)) - K @ H) @ self._P
        self._P = 0.5 * (P + P.T)
