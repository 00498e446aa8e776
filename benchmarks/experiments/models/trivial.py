"""What every model must beat: nothing changes, and what the season says."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import Contender, Info, inputs_of, only, outputs_of
from benchmarks.experiments.problem import Array, Predict, Problem, WithBands
from koopctrl import Trajectories


def persistence(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """The last measured sample goes on."""

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        return [
            np.concatenate(
                [e.outputs[:n_init], np.repeat(e.outputs[n_init - 1 : n_init], len(e) - n_init, 0)]
            )
            for e in data
        ]

    return predict


def climatology(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Least squares on the cycles of year and day and their products: what the date alone says."""
    outputs = outputs_of(train)
    weights = np.linalg.lstsq(cycles(inputs_of(train)[: len(outputs)]), outputs, rcond=None)[0]

    residual = np.abs(outputs - cycles(inputs_of(train)[: len(outputs)]) @ weights)
    half = np.quantile(residual, 0.9, axis=0)

    def bands(data: Trajectories, n_init: int) -> list[tuple[Array, Array]]:
        return [(p - half, p + half) for p in predict(data, n_init)]

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        return [
            np.concatenate([e.outputs[:n_init], (cycles(e.inputs) @ weights)[n_init : len(e)]]) for e in data
        ]

    return WithBands(predict, bands)


def cycles(u: Array) -> Array:
    """Constant, cycles, and products of annual and daily ones."""
    products = np.stack([u[:, i] * u[:, j] for i in (0, 1) for j in (2, 3)], axis=1)
    return np.concatenate([np.ones((len(u), 1)), u, products], axis=1)


def _no_season(problem: Problem) -> str:
    return "" if problem.kind == "weather" else "there is no season in these data"


CONTENDERS = (
    Contender("persistence", persistence, only(), seeded=False),
    Contender("climatology", climatology, only(), refuses=_no_season, seeded=False),
)
