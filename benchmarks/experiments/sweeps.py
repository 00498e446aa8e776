"""How the error and the fit's time move with width, data, noise, sampler, coupling, activation, lags and
order.

On the forced Van der Pol oscillator (lags: seen through its position alone; order: on the cascaded tanks
where the data folder is given, else on the hair dryer), one thing changed at a time; medians of seeds,
and slopes of logarithms by least squares over all points.

    python -m benchmarks.experiments.sweeps --seeds 5
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

from benchmarks.experiments.cell import timed
from benchmarks.experiments.data import measured, simple
from benchmarks.experiments.problem import Problem
from koopctrl import KoopmanRNN, Trajectories

BASE: dict[str, Any] = {
    "n_features": 100,
    "input_coupling": "network",
    "rollout_margin": 0.5,
    "smooth": False,
}
POWERS = ("width", "pairs", "noise")  # what the error may be a power of


@lru_cache(maxsize=16)
def oscillator(seed: int, partly: bool) -> Problem:
    """Experiment with its data."""
    return simple.make(seed, False, None, "sweep", forced=True, partly=partly)


def shortened(train: Trajectories, n_pairs: int) -> Trajectories:
    """The first episodes, the last one cut; more than there are by simulation."""
    found, left = [], n_pairs
    for e in train:
        if left < 20:
            break
        found.append(e.slice(0, min(len(e), left + 1)))
        left -= found[-1].n_steps
    return Trajectories(found)


@lru_cache(maxsize=4)
def many(n_pairs: int, seed: int) -> Trajectories:
    """Episodes of 200 steps as in the experiment."""
    rng = np.random.default_rng(1000 + seed)
    n = -(-n_pairs // 200)
    u = np.repeat(rng.uniform(-1.5, 1.5, (n, 40)), 5, axis=1)
    return Trajectories.from_arrays(
        simple.simulate(rng.uniform(-2.5, 2.5, (n, 2)), u), u[:, :, None], dt=simple.DT
    )


def noisy(data: Trajectories, level: float, seed: int) -> Trajectories:
    """With noise of so much of each output's spread."""
    rng = np.random.default_rng(seed)
    scale = level * np.concatenate([e.outputs for e in data]).std(axis=0)
    outputs = [e.outputs + scale * rng.normal(size=e.outputs.shape) for e in data]
    return Trajectories.from_arrays(outputs, [e.inputs for e in data], dt=data.dt)


def one(train: Trajectories, problem: Problem, seed: int, **settings: Any) -> tuple[float, float]:
    """Error of the free run, and processor seconds of the fit."""
    model = KoopmanRNN(**{**BASE, **settings}, random_state=seed)
    _, seconds = timed(lambda: model.fit(train))
    figures = problem.score(model.predict(problem.test, n_init=problem.n_init))
    return figures.get("median_episode", figures.get("rmse", np.nan)), seconds


def plain(seed: int, **settings: Any) -> tuple[float, float]:
    """On the experiment's own data."""
    problem = oscillator(seed, False)
    return one(problem.train, problem, seed, **settings)


def sweeps(folder: Path | None) -> dict[str, tuple[Sequence[Any], Callable[[Any, int], tuple[float, float]]]]:
    """Values, and what is done with one of them and a seed."""
    record = "hair_dryer" if folder is None else "cascaded_tanks"

    def data(n: int, seed: int) -> tuple[float, float]:
        return one(many(n, seed), oscillator(seed, False), seed)

    def noise(level: float, seed: int) -> tuple[float, float]:
        problem = oscillator(seed, False)
        return one(noisy(problem.train, level, seed), problem, seed)

    def lags(n: int, seed: int) -> tuple[float, float]:
        problem = oscillator(seed, True)
        return one(problem.train, problem, seed, output_lags=n, input_lags=n)

    def order(n: int, seed: int) -> tuple[float, float]:
        problem = measured.make(0, False, folder, record)
        return one(problem.train, problem, seed, n_states=n, n_features=10, feedthrough=True)

    return {
        "width": ((10, 20, 40, 80, 160, 320, 640), lambda n, s: plain(s, n_features=n)),
        "pairs": ((400, 1000, 2000, 4000, 10_000, 20_000), data),
        "noise": ((1e-5, 1e-4, 1e-3, 1e-2, 1e-1), noise),
        "sampler": (("swim", "uniform", "elm"), lambda n, s: plain(s, sampler=n)),
        "coupling": (
            ("linear", "bilinear", "quadratic", "network"), lambda n, s: plain(s, input_coupling=n)
        ),
        "activation": (("tanh", "relu"), lambda n, s: plain(s, activation=n)),
        "feature scale": ((0.03, 0.1, 0.3, 1.0, 3.0), lambda v, s: plain(s, feature_scale=v)),
        "lags, x1 alone": ((1, 2, 3, 4, 6, 8, 12), lags),
        f"order, {record.replace('_', ' ')}": ((1, 2, 3, 4, 6), order),
    }  # fmt: skip


def slope(values: Sequence[Any], figures: Sequence[float], last: int = 0) -> float | None:
    """Of the logarithms, over the `last` values (0 for all); None where the values are names."""
    if not all(isinstance(v, int | float) for v in values):
        return None
    x, y = np.log(np.array(values[-last:], dtype=float)), np.log(np.array(figures[-last:]))
    good = np.isfinite(y)
    return float(np.polyfit(x[good], y[good], 1)[0]) if good.sum() > 1 else None


def main() -> None:
    """All sweeps."""
    p = argparse.ArgumentParser(description="Sweeps of the experiments.")
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--only", nargs="+", help="sweeps to run; the others keep their figures")
    p.add_argument("--data", type=Path, help="folder with cascaded_tanks")
    p.add_argument("--out", type=Path, default=common.RESULTS)
    args = p.parse_args()
    args.threads = 1
    warnings.simplefilter("ignore")
    figures = common.earlier(args, "experiment_sweeps") if args.only else {}
    with common.threads(1):
        for name, (values, run) in sweeps(args.data).items():
            if args.only and name not in args.only:
                continue
            found = np.array([[run(v, s) for s in range(args.seeds)] for v in values])
            error, fit_s = np.median(found[:, :, 0], axis=1), np.median(found[:, :, 1], axis=1)
            figures[name] = {
                "values": list(values), "error": error, "low": found[:, :, 0].min(axis=1),
                "high": found[:, :, 0].max(axis=1), "fit_s": fit_s,
                "slope": slope(values, error) if name in POWERS else None,
                # Small fits cost what a call costs: the exponent is that of the last four.
                "fit_slope": slope(values, fit_s, 4) if name in ("width", "pairs") else None,
            }  # fmt: skip
            print(name, dict(zip(values, error.round(8).tolist(), strict=True)), flush=True)
    common.write(args, "experiment_sweeps", figures)


if __name__ == "__main__":
    main()
