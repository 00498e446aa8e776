"""Conservative systems of the Hamiltonian benchmark: energy, its gradient, and where points are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

G = 9.81


@dataclass(frozen=True)
class System:
    """Energy `(n,)` and gradient `(n, 2d)` at states `(n, 2d)`, and a sampler of states."""

    name: str
    energy: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """States uniform in the box; of two bodies with a distance in [0.5, 1.5]."""
        x = rng.uniform(self.low, self.high, (n, len(self.low)))
        if self.name == "two bodies":
            r, angle = np.sqrt(rng.uniform(0.25, 2.25, n)), rng.uniform(-np.pi, np.pi, n)
            x[:, 0], x[:, 1] = r * np.cos(angle), r * np.sin(angle)
        return x

    def rhs(self, x: np.ndarray) -> np.ndarray:
        """Hamilton's equations."""
        d = x.shape[1] // 2
        g = self.gradient(x)
        return np.concatenate([g[:, d:], -g[:, :d]], axis=1)

    def flow(self, x: np.ndarray, h: float, n: int = 100) -> np.ndarray:
        """States after `h`, by Runge-Kutta steps far below the errors that are judged."""
        g = h / n
        for _ in range(n):
            a = self.rhs(x)
            b = self.rhs(x + g / 2 * a)
            c = self.rhs(x + g / 2 * b)
            x = x + g / 6 * (a + 2 * b + 2 * c + self.rhs(x + g * c))
        return x


def _henon(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.sum(x**2, axis=1) + x[:, 0] ** 2 * x[:, 1] - x[:, 1] ** 3 / 3.0


def _henon_gradient(x: np.ndarray) -> np.ndarray:
    g = x.copy()
    g[:, 0] += 2.0 * x[:, 0] * x[:, 1]
    g[:, 1] += x[:, 0] ** 2 - x[:, 1] ** 2
    return g


def _double(x: np.ndarray) -> np.ndarray:
    q1, q2, p1, p2 = x.T
    c, s = np.cos(q1 - q2), np.sin(q1 - q2)
    kinetic = (p1**2 + 2.0 * p2**2 - 2.0 * p1 * p2 * c) / (2.0 * (1.0 + s**2))
    return kinetic + G * (3.0 - 2.0 * np.cos(q1) - np.cos(q2))


def _double_gradient(x: np.ndarray) -> np.ndarray:
    q1, q2, p1, p2 = x.T
    c, s = np.cos(q1 - q2), np.sin(q1 - q2)
    top, under = p1**2 + 2.0 * p2**2 - 2.0 * p1 * p2 * c, 1.0 + s**2
    turn = p1 * p2 * s / under - top * s * c / under**2
    return np.stack(
        [turn + 2.0 * G * np.sin(q1), -turn + G * np.sin(q2), (p1 - p2 * c) / under, (2.0 * p2 - p1 * c) /
        under], axis=1,
    )  # fmt: skip


def _kepler(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.sum(x[:, 2:] ** 2, axis=1) - 1.0 / np.linalg.norm(x[:, :2], axis=1)


def _kepler_gradient(x: np.ndarray) -> np.ndarray:
    cube = np.sum(x[:, :2] ** 2, axis=1, keepdims=True) ** 1.5
    return np.concatenate([x[:, :2] / cube, x[:, 2:]], axis=1)


SYSTEMS = {
    s.name: s
    for s in (
        System(
            "pendulum", lambda x: 0.5 * x[:, 1] ** 2 + 1.0 - np.cos(x[:, 0]),
            lambda x: np.stack([np.sin(x[:, 0]), x[:, 1]], axis=1), (-2 * np.pi, -1.0), (2 * np.pi, 1.0),
        ),
        System("Henon-Heiles", _henon, _henon_gradient, (-5.0,) * 4, (5.0,) * 4),
        System(
            "Lotka-Volterra", lambda x: np.sum(np.exp(x) - x, axis=1), lambda x: np.exp(x) - 1.0,
            (-2.0, -2.0), (2.0, 2.0),
        ),
        System("double pendulum", _double, _double_gradient, (-np.pi, -np.pi, -1.0, -1.0), (np.pi, np.pi, 1.0,
        1.0)), System(
            "two bodies", _kepler,
            _kepler_gradient, (-1.5, -1.5, -1.0, -1.0), (1.5, 1.5, 1.0, 1.0),
        ),
    )
}  # fmt: skip
