"""Chaotic flows: how long a prediction is valid, in Lyapunov times, and whether its long run looks right.

10,000 samples train, clean or with 1 % noise; from 20 other starts, of which 100 samples are given (with
the same noise), the model runs on for 5,000. A prediction is valid until its error exceeds 0.4 of the
attractor's spread (root of the summed variances). The 100,000 points of all runs are the long run: its
density distance is half the L1 distance between histograms of neighbouring outputs (of an output and
itself twelve samples ago, where there is one alone), 0 for equal ones, 1 for disjoint ones; the floor is
that of two true long runs.

float64 rounding, 1e-16, grows to order one within about 36 Lyapunov times: no model gets farther on
Lorenz-63.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks.experiments.data.flows import FLOWS, Flow
from benchmarks.experiments.problem import Array, Experiment, Predictions, Problem, finite
from koopctrl import Trajectories

N_TRAIN, N_STARTS, N_RUN, N_INIT = 10_000, 20, 5_000, 100
THRESHOLD, NOISE, BINS, PAIRS, APART = 0.4, 0.01, 40, 5, 12


def valid_steps(truth: Array, predicted: Array, n_init: int, spread: float) -> Array:
    """Samples until each run `(n, n_samples, n_y)` is wrong."""
    wrong = np.linalg.norm(finite(predicted) - truth, axis=2)[:, n_init:] > THRESHOLD * spread
    return np.where(wrong.any(axis=1), wrong.argmax(axis=1), wrong.shape[1])


def density_distance(a: Array, b: Array) -> float:
    """Of two sets of runs `(n, n_samples, n_y)`, on bins over the range of `a`."""
    low, high = a.min(axis=(0, 1)), a.max(axis=(0, 1))
    n_y = a.shape[2]
    found = []
    for i in range(min(n_y, PAIRS)):
        i = i * max(1, n_y // PAIRS)
        j = (i + 1) % n_y

        def histogram(runs: Array, i: int = i, j: int = j) -> Array:
            first, second = runs[:, APART:, i], runs[:, :-APART, i] if n_y == 1 else runs[:, APART:, j]
            edges = [np.linspace(low[k], high[k], BINS + 1) for k in (i, j)]
            # What lies outside counts in a rim of its own.
            edges = [np.concatenate([[-np.inf], e, [np.inf]]) for e in edges]
            counts = np.histogram2d(first.ravel(), second.ravel(), bins=edges)[0]  # pyright: ignore
            return counts / counts.sum()

        found.append(0.5 * np.abs(histogram(a) - histogram(finite(b))).sum())
    return float(np.mean(found))


@lru_cache(maxsize=2)
def _runs(flow: Flow, seed: int, smoke: bool) -> tuple[Array, Array, float]:
    """Training record, true runs, and the floor of the density distance."""
    rng = np.random.default_rng(seed)
    n_train, n_starts, n_run = (1000, 3, 300) if smoke else (N_TRAIN, N_STARTS, N_RUN)
    x0 = flow.on_attractor(rng, 1 + 2 * n_starts)
    train = flow.simulate(x0[:1], n_train - 1)[0]
    both = flow.simulate(x0[1:], N_INIT + n_run - 1)
    truth, other = both[:n_starts], both[n_starts:]
    return train, truth, density_distance(truth[:, N_INIT:], other[:, N_INIT:])


def make(seed: int, smoke: bool, folder: Any, flow: Flow, noise: float) -> Problem:
    """Records of one seed."""
    train, truth, floor = _runs(flow, seed, smoke)
    spread = float(np.sqrt(train.var(axis=0).sum()))
    rng = np.random.default_rng(10_000 + seed)
    sigma = noise * train.std(axis=0)
    seen_train = train + sigma * rng.normal(size=train.shape)
    seen = truth + sigma * rng.normal(size=truth.shape)
    unit = flow.dt * flow.lyapunov

    def score(predicted: Predictions) -> dict[str, float]:
        runs = np.stack(list(predicted))
        times = valid_steps(truth, runs, N_INIT, spread) * unit
        return {
            "valid_time": float(np.median(times)),
            "valid_time_10": float(np.quantile(times, 0.1)),
            "density_distance": density_distance(truth[:, N_INIT:], runs[:, N_INIT:]),
        }

    def trial_score(true: Predictions, predicted: Predictions) -> float:
        n = min(len(t) for t in true)
        found = valid_steps(
            np.stack([t[:n] for t in true]), np.stack([p[:n] for p in predicted]), N_INIT, spread
        )
        return -float(np.mean(found * unit))

    return Problem(
        flow.name + ("_noisy" if noise else ""),
        Trajectories.from_arrays(seen_train[None], dt=flow.dt),
        Trajectories.from_arrays(seen, dt=flow.dt),
        N_INIT, min(1500, round(40.0 / unit)) if not smoke else 80, flow.kind, score, trial_score, True,
        "Lyapunov times",
        {"density_floor": floor, "lyapunov": flow.lyapunov, "dt": flow.dt, "ring": flow.ring},
    )  # fmt: skip


EXPERIMENTS = tuple(
    Experiment(flow.name + ("_noisy" if noise else ""), "chaotic", partial(make, flow=flow, noise=noise))
    for flow in FLOWS
    for noise in (0.0, NOISE)
)
