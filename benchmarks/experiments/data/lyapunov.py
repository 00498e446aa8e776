"""Largest Lyapunov exponent of a flow by following two neighbours (Benettin's method)."""

from __future__ import annotations

import numpy as np

from benchmarks.experiments.data.flows import Flow

NEAR = 1e-7


def largest_exponent(flow: Flow, n_steps: int, n_runs: int = 8, seed: int = 0) -> tuple[float, float]:
    """Mean and standard error over runs, per unit of time."""
    rng = np.random.default_rng(seed)
    x = flow.on_attractor(rng, n_runs)
    size = np.linalg.norm(x.std(axis=0))
    d = rng.normal(size=x.shape)
    d *= NEAR * size / np.linalg.norm(d, axis=1, keepdims=True)
    growth = np.zeros(n_runs)
    settle = n_steps // 10
    for k in range(n_steps + settle):
        both = flow.step(np.concatenate([x, x + d]))
        x, moved = both[:n_runs], both[n_runs:]
        d = moved - x
        norm = np.linalg.norm(d, axis=1)
        if k >= settle:
            growth += np.log(norm / (NEAR * size))
        d *= (NEAR * size / norm)[:, None]
    each = growth / (n_steps * flow.dt)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(n_runs))
