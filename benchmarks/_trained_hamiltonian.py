"""A Hamiltonian network with one hidden layer of tanh, trained by L-BFGS on all its weights, in NumPy.

The loss of Greydanus, Dzamba, Yosinski, *Hamiltonian neural networks*, NeurIPS 2019: mean squares of
Hamilton's equations. Its gradient is written out; `check` compares it with finite differences.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize


class TrainedHamiltonian:
    """`H = theta tanh(W z + b)` on standardised states, all of `theta, W, b` trained."""

    def __init__(self, n_features: int, max_iter: int, random_state: int) -> None:
        self.n_features, self.max_iter, self.seed = n_features, max_iter, random_state

    def fit_derivatives(self, x: np.ndarray, xdot: np.ndarray) -> TrainedHamiltonian:
        """Train from Gaussian weights until L-BFGS finds no better or the iterations are used."""
        n, width = x.shape
        d, m = width // 2, self.n_features
        self.mean, self.scale = x.mean(axis=0), x.std(axis=0)
        z = (x - self.mean) / self.scale
        # The gradient that Hamilton's equations ask for, by standardised states, rows of unit size.
        wanted = np.concatenate([-xdot[:, d:], xdot[:, :d]], axis=1) * self.scale
        unit = np.sqrt(np.mean(wanted**2, axis=0))
        rng = np.random.default_rng(self.seed)
        start = np.concatenate(
            [rng.normal(size=m) / m, rng.normal(size=m * width) / np.sqrt(width), rng.normal(size=m)]
        )

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            theta, w, b = weights[:m], weights[m : m + m * width].reshape(m, width), weights[m + m * width :]
            t = np.tanh(z @ w.T + b)
            slope = 1.0 - t**2
            bend = -2.0 * t * slope
            error = ((slope * theta) @ w - wanted) / unit
            pull = error / unit / n
            along = pull @ w.T
            by_theta = np.sum(slope * along, axis=0)
            by_b = np.sum(bend * theta * along, axis=0)
            by_w = (slope * theta).T @ pull + (bend * theta * along).T @ z
            return 0.5 * float(np.sum(error**2)) / n, np.concatenate([by_theta, by_w.ravel(), by_b])

        self.loss, self.start = loss, start
        found = optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B",
            options={"maxiter": self.max_iter, "maxfun": 2 * self.max_iter, "ftol": 0.0, "gtol": 1e-12},
        )  # fmt: skip
        self.weights, self.iterations = found.x, int(found.nit)
        return self

    def energy(self, x: np.ndarray) -> np.ndarray:
        """Energies up to a constant."""
        m, width = self.n_features, x.shape[1]
        theta, w = self.weights[:m], self.weights[m : m + m * width].reshape(m, width)
        z = (x - self.mean) / self.scale
        return np.tanh(z @ w.T + self.weights[m + m * width :]) @ theta

    def check(self) -> float:
        """Largest difference of the gradient from finite differences at the start, relative."""
        rng, h = np.random.default_rng(0), 1e-6
        direction = rng.normal(size=len(self.start))
        slope = float(self.loss(self.start)[1] @ direction)
        moved = [self.loss(self.start + s * h * direction)[0] for s in (1.0, -1.0)]
        return abs((moved[0] - moved[1]) / (2.0 * h) - slope) / abs(slope)
