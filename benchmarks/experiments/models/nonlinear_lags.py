"""Gaussian process on lag windows (scikit-learn)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from benchmarks.experiments.models.contender import (
    Contender,
    Info,
    Standard,
    lag_runs,
    pairs,
    window_of,
)
from benchmarks.experiments.problem import Array, Predict
from koopctrl import Trajectories

# Of a length scale each only where there are few inputs: the optimiser's cost grows with both.
_MAX_ARD = 8


def gp_narx(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Mean of a Gaussian process of the increment on a random subset of the pairs; one kernel for all
    outputs.
    """
    window = window_of(train, settings["lags"], settings["lags"], info.kind == "record")
    x, u, y = pairs(train, window)
    points = settings["points"]
    chosen = np.random.default_rng(seed).permutation(len(x))[:points]
    rows = np.concatenate([x, u], axis=1)
    of_x, target = Standard.of(rows), y - x[:, : train.n_y]
    of_y = Standard.of(target)
    n = rows.shape[1]
    lengths = np.full(n, 2.0 * np.sqrt(n)) if n <= _MAX_ARD else 2.0 * np.sqrt(n)
    kernel = ConstantKernel(1.0, (1e-3, 1e6)) * RBF(lengths, (1e-2, 1e4)) + WhiteKernel(1e-4, (1e-12, 1.0))
    gp = GaussianProcessRegressor(kernel, alpha=1e-12, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds of the kernel that are met
        gp.fit(of_x.to(rows[chosen]), of_y.to(target[chosen]))

    def step(x: Array, u: Array) -> Array:
        mean = gp.predict(of_x.to(np.concatenate([x, u], axis=1)))
        return x[:, : train.n_y] + of_y.back(mean.reshape(len(x), -1))

    return lambda data, n_init: lag_runs(step, window, data, n_init)


def _space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"lags": 2, "points": 60}]
    lags = {"state": (1, 2), "forced": (1, 2), "window": (2, 20), "record": (2, 4, 8), "weather": (1, 2)}[
        kind
    ]
    return [{"lags": n, "points": p} for p in (300, 600) for n in lags]


CONTENDERS = (Contender("GP-NARX", gp_narx, _space),)
