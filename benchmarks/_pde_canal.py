"""Control of Korteweg and de Vries on a canal, three actuators, the whole field measured (`pde.py`)."""

from __future__ import annotations

import time
from typing import Any

import _common as c
import _pde_references as ref
import numpy as np

from koopctrl import LiftedModel, LinearMPC
from koopctrl.controllers import FieldMPC
from koopctrl.sampled.pde import (
    PDE,
    Derivative,
    Interval,
    Product,
)

Array = np.ndarray
KDV_DT, KDV_STEPS, KDV_POINTS = 0.05, 300, 128
KDV_SHAPES = [lambda x, c=c: np.exp(-((5 * (x[:, 0] - c)) ** 2)) for c in (-np.pi / 2, 0.0, np.pi / 2)]


class Canal:
    """Pseudospectral plant, 256 modes and 100 steps a sample, measured on every second point."""

    def __init__(self) -> None:
        self.solver = ref.Pseudospectral(2 * np.pi, 256, lambda k: 1j * k**3, KDV_DT / 100)
        self.x = self.solver.x - np.pi
        self.shapes = np.array([s(self.x[:, None]) for s in KDV_SHAPES])

    def step(self, u: Array, v: Array) -> Array:
        """Field after a sample."""
        return self.solver.run(u, 100, v @ self.shapes)

    def start(self, rng: np.random.Generator) -> Array:
        """A mean and two waves."""
        a, b, c_ = rng.uniform(-0.5, 0.5, 3)
        return 0.5 * c_ + a * np.cos(self.x + 2 * b) + b * np.sin(2 * self.x)


def squares(u: Array) -> Array:
    """385 observables `[u; 1; u_i u_{i+1}; u_i^2]`."""
    one = np.ones((*u.shape[:-1], 1))
    return np.concatenate([u, one, u * np.roll(u, -1, axis=-1), u**2], axis=-1)


class Projection:
    """State of a model from the whole field, by least squares."""

    def __init__(self, model: Any) -> None:
        self._inverse = np.linalg.pinv(model.sensors)

    def reset(self) -> None:
        """Nothing is remembered."""

    def step(self, y: Array, v: Array) -> Array:
        """Coordinates."""
        return self._inverse @ y


def canal(n_seeds: int) -> dict[str, Any]:
    """Mean over samples of `mean of (u - r)^2 + 1e-3 |v|^2`, following 0.5, 0 and 0.75, |v| <= 1, horizon
    10.
    """
    plant = Canal()
    r = np.repeat([0.5, 0.0, 0.75], KDV_STEPS // 3)[:, None] * np.ones(KDV_POINTS)
    settings = {"u_min": -1.0, "u_max": 1.0}
    weight, small = 1.0 / KDV_POINTS, 1e-3
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(n_seeds):
        start = plant.start(np.random.default_rng(seed))
        pde = PDE(
            Interval(-np.pi, np.pi, periodic=True), [Derivative("u_xxx", -1.0), Product(-1.0, "u", "u_x")],
            actuators=KDV_SHAPES, sensors=plant.x[::2],
        )  # fmt: skip
        began = time.perf_counter()
        model = pde.discretise(300, n_points=200, pair_distance=0.05, max_states=40, random_state=seed)
        ours = FieldMPC(model, 10, weight, small, dt=KDV_DT, estimator=Projection(model), **settings)  # pyright: ignore
        made = {"equation": time.perf_counter() - began}
        began = time.perf_counter()
        A, B = _fit_squares(plant, seed)
        lifted = LiftedModel.from_matrices(A, B, np.eye(KDV_POINTS, 385), dt=KDV_DT)
        theirs = LinearMPC(lifted, 10, Q=weight, R=small, terminal="none", **settings)
        made["385 observables"] = time.perf_counter() - began
        laws = {
            "equation": (lambda y, k, law=ours: law.control(y, reference=r[k]), model.n_states),
            "385 observables": (lambda y, k, law=theirs: law.control(squares(y), reference=r[k]), 385),
            "no control": (lambda y, k: np.zeros(3), 0),
        }
        for name, (law, size) in laws.items():
            u, cost, spent = start.copy(), 0.0, []
            for k in range(KDV_STEPS):
                began = time.perf_counter()
                v = law(u[::2].copy(), k)
                spent.append(time.perf_counter() - began)
                u = plant.step(u, v)
                cost += float(np.mean((u[::2] - r[k]) ** 2) + small * v @ v)
            row = {
                "cost": cost / KDV_STEPS,
                "step": float(np.median(spent)),
                "states": size,
                "design": made.get(name, 0.0),
            }
            rows.setdefault(name, []).append(row)
    return {n: {k: c.spread([row[k] for row in found]) for k in found[0]} for n, found in rows.items()}


def _fit_squares(plant: Canal, seed: int) -> tuple[Array, Array]:
    """EDMD on 200 runs of 20 samples under random inputs."""
    rng = np.random.default_rng(2000 + seed)
    before, after, acting = [], [], []
    for _ in range(200):
        u = plant.start(rng)
        for _ in range(20):
            v = rng.uniform(-1, 1, 3)
            later = plant.step(u, v)
            before.append(u[::2])
            after.append(later[::2])
            acting.append(v)
            u = later
    solved = np.linalg.lstsq(
        np.hstack([squares(np.array(before)), np.array(acting)]), squares(np.array(after))
    )[0].T
    return solved[:, :385], solved[:, 385:]
