"""One law for all places of a ring: what is told beside the data is that places are alike and feel their
neighbours alone.

A model of one place, `y_i(k+1) = f(y_i(k), y_{i-r}(k) .. y_{i+r}(k))`, is fitted to the records of several
places and run at all of them at once (Pathak, Hunt, Girvan, Lu & Ott, *Model-free prediction of large
spatiotemporally chaotic systems from data*, 2018, do so with reservoirs). For a polynomial as for a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import Contender, Info
from benchmarks.experiments.models.koopman import AS_MEASURED
from benchmarks.experiments.models.reservoir import nvar_step
from benchmarks.experiments.problem import Array, Predict, Problem
from koopctrl import KoopmanRNN, Trajectories
from koopctrl.network.lag_window import LagWindow

PLACES = 4  # whose records are fitted to; there are ten thousand samples of each
Step = Callable[[Array, Array], Array]


def neighbours(y: Array, reach: int) -> Array:
    """Of `(..., n)` values on a ring the `2 reach` beside each, `(..., n, 2 reach)`."""
    shifts = [s for s in range(-reach, reach + 1) if s]
    return np.stack([np.roll(y, -s, axis=-1) for s in shifts], axis=-1)


def records(train: Trajectories, reach: int) -> Trajectories:
    """Records of a few places, evenly spread, with their neighbours as inputs."""
    chosen = np.unique(np.linspace(0, train.n_y, PLACES, endpoint=False).astype(int))
    outputs, inputs = [], []
    for e in train:
        beside = neighbours(e.outputs, reach)
        outputs += [e.outputs[:, i : i + 1] for i in chosen]
        inputs += [beside[:, i] for i in chosen]
    return Trajectories.from_arrays(outputs, inputs, dt=train.dt)


def ring_runs(step: Step, window: LagWindow, reach: int, train: Trajectories, margin: float) -> Predict:
    """Free runs of all places at once, held within the training range widened by `margin` of it."""
    low = min(float(e.outputs.min()) for e in train)
    high = max(float(e.outputs.max()) for e in train)
    low, high = low - margin * (high - low), high + margin * (high - low)

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        longest, n = max(len(e) for e in data), data.n_y
        y = np.zeros((len(data), longest, n))
        for i, e in enumerate(data):
            y[i, :n_init] = e.outputs[:n_init]
        first = n_init - window.n_samples
        beside = neighbours(y[:, first:n_init], reach)
        x = np.concatenate(
            [
                window.initial(y[i, first:n_init, j : j + 1], beside[i, :, j], window.n_samples)[None]
                for i in range(len(data))
                for j in range(n)
            ]
        )
        for k in range(n_init, longest):
            u = neighbours(y[:, k - 1], reach).reshape(-1, 2 * reach)
            found = np.nan_to_num(step(x, u), nan=high)
            y[:, k] = np.clip(found.reshape(len(data), n), low, high)
            x = window.advance(x, u, y[:, k].reshape(-1, 1))
        return [y[i, : len(e)] for i, e in enumerate(data)]

    return predict


def koopman_ring(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """`KoopmanRNN` of one place."""
    settings = AS_MEASURED | settings
    reach = settings.pop("reach")
    model = KoopmanRNN(**settings, input_coupling="network", random_state=seed).fit(records(train, reach))
    return ring_runs(model._network.next_output, model._network.window, reach, train, 0.5)


def nvar_ring(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Polynomial of one place."""
    settings = dict(settings)
    reach = settings.pop("reach")
    step, window = nvar_step(records(train, reach), settings, False)
    return ring_runs(step, window, reach, train, 0.5)


def _koopman_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    lagged = {"output_lags": 3, "input_lags": 3}
    return [
        {"reach": 4, "n_features": 1500},
        {"reach": 8, "n_features": 600, "sampler": "elm", "feature_scale": 0.3},
        {"reach": 4, "n_features": 600, **lagged},
        {"reach": 6, "n_features": 600},
    ]


def _nvar_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    rows = ((4, 1, 3, 1e-10), (4, 1, 4, 1e-10), (8, 1, 2, 1e-10), (3, 3, 2, 1e-6))
    return [dict(zip(("reach", "delays", "order", "ridge"), row, strict=True)) for row in rows]


def _no_ring(problem: Problem) -> str:
    return "" if problem.notes.get("ring") else "its places are no ring"


CONTENDERS = (
    Contender(
        "KoopmanRNN, one law for all places", koopman_ring, _koopman_space, refuses=_no_ring, ours=True
    ),
    Contender("NVAR, one law for all places", nvar_ring, _nvar_space, refuses=_no_ring, seeded=False),
)
