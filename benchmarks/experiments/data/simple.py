"""Van der Pol's oscillator: autonomous, forced, and seen through its position alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.experiments.problem import Array, Experiment, Predictions, Problem, nrmse, robust_nrmse
from koopctrl import Trajectories

DT, MU, SUBSTEPS = 0.05, 1.0, 10


def simulate(x0: Array, u: Array) -> Array:
    """States `(n, n_steps + 1, 2)` of `x1' = x2, x2' = mu (1 - x1^2) x2 - x1 + u`, RK4 with ten sub-steps."""

    def rhs(x: Array, u: Array) -> Array:
        return np.stack([x[:, 1], MU * (1.0 - x[:, 0] ** 2) * x[:, 1] - x[:, 0] + u], axis=1)

    x = np.empty((len(x0), u.shape[1] + 1, 2))
    x[:, 0], h = x0, DT / SUBSTEPS
    for k in range(u.shape[1]):
        s = x[:, k]
        for _ in range(SUBSTEPS):
            k1 = rhs(s, u[:, k])
            k2 = rhs(s + 0.5 * h * k1, u[:, k])
            k3 = rhs(s + 0.5 * h * k2, u[:, k])
            k4 = rhs(s + h * k3, u[:, k])
            s = s + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
        x[:, k + 1] = s
    return x


def make(seed: int, smoke: bool, folder: Any, name: str, forced: bool, partly: bool) -> Problem:
    """50 episodes of 200 steps for training, 20 of 400 for the test."""
    rng = np.random.default_rng(seed)
    n_init = 10
    sizes = ((8, 60), (3, 60)) if smoke else ((50, 200), (20, 400))
    parts = []
    for n, steps in sizes:
        x0 = rng.uniform(-2.5, 2.5, (n, 2))
        levels = np.repeat(rng.uniform(-1.5, 1.5, (n, steps // 5 + 1)), 5, axis=1)[:, :steps]
        u = levels if forced else np.zeros((n, steps))
        x = simulate(x0, u)[:, :, :1] if partly else simulate(x0, u)
        inputs = u[:, :, None] if forced else None
        parts.append(Trajectories.from_arrays(x, inputs, dt=DT))
    train, test = parts
    scale = np.concatenate([e.outputs for e in train]).std(axis=0)
    truth = [e.outputs for e in test]

    def score(predicted: Predictions) -> dict[str, float]:
        return {
            "nrmse": nrmse(truth, predicted, n_init, scale),
            "median_episode": float(
                np.median([nrmse([t], [p], n_init, scale) for t, p in zip(truth, predicted, strict=True)])
            ),
        }

    return Problem(
        name, train, test, n_init, 50 if smoke else 150,
        "window" if partly else "forced" if forced else "state", score,
        lambda t, p: robust_nrmse(t, p, n_init, scale),
    )  # fmt: skip


EXPERIMENTS = tuple(
    Experiment(name, "simple", partial(make, name=name, forced=forced, partly=partly))
    for name, forced, partly in (
        ("van_der_pol", False, False),
        ("van_der_pol_forced", True, False),
        ("van_der_pol_x1", True, True),
    )
)
