"""Linear models by least squares, written out with numpy: ARX (VAR with several outputs) and DMDc."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def arx(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """`y_{k+1}` of the last `p` outputs and `q` inputs and a constant."""
    window = window_of(train, settings["p"], settings["q"], settings["direct"])
    x, u, y = pairs(train, window)
    rows = np.column_stack([x, u, np.ones(len(x))])
    weights = np.linalg.lstsq(rows, y, rcond=None)[0]

    def step(x: Array, u: Array) -> Array:
        return np.column_stack([x, u, np.ones(len(x))]) @ weights

    return lambda data, n_init: lag_runs(step, window, data, n_init)


def dmdc(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """DMD with control on delayed outputs, its regressors cut to the leading singular values (Proctor,
    Brunton & Kutz, *Dynamic mode decomposition with control*, 2016).
    """
    window = window_of(train, settings["delays"], settings["delays"])
    x, u, y = pairs(train, window)
    scaling = Standard.of(np.concatenate([x, u], axis=1))
    rows = scaling.to(np.concatenate([x, u], axis=1))
    middle = y.mean(axis=0)
    left, s, right = np.linalg.svd(rows, full_matrices=False)
    kept = s > settings["cut"] * s[0]
    weights = right[kept].T @ ((left[:, kept].T @ (y - middle)) / s[kept][:, None])

    def step(x: Array, u: Array) -> Array:
        return scaling.to(np.concatenate([x, u], axis=1)) @ weights + middle

    return lambda data, n_init: lag_runs(step, window, data, n_init)


def _arx_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    direct = kind in ("record", "weather")
    return [
        {"p": p, "q": q, "direct": direct} for p, q in ((2, 2), (4, 4), (8, 8), (20, 20), (12, 12), (1, 1))
    ]


def _dmdc_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    return [{"delays": d, "cut": c} for c in (1e-10, 1e-3) for d in (1, 5, 20)]


CONTENDERS = (
    Contender("ARX", arx, _arx_space, seeded=False),
    Contender("DMDc", dmdc, _dmdc_space, seeded=False),
)
