"""The interface of a contender."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.experiments.problem import Array, Predict, Problem
from koopctrl import Trajectories
from koopctrl.network.lag_window import LagWindow

Space = Callable[[str, bool], list[dict[str, Any]]]
FloatArray = np.ndarray


@dataclass
class Info:
    """What a fit may know beside its data, and what it leaves beside its prediction."""

    n_init: int
    horizon: int
    kind: str
    smoke: bool
    trial: bool = False
    left: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A fit and the settings it may try.

    Attributes
    ----------
    fit : callable
        `fit(train, settings, seed, info)` hands back `predict(episodes, n_init)`, whose arrays have the
        episodes' lengths; of each the first `n_init` samples and all inputs are known.
    space : callable
        `space(kind, smoke)`: settings in the order in which they are tried.
    needs : tuple of str
        Modules that must be there.
    refuses : callable
        `refuses(problem)`: why it has no answer to a problem, or an empty text.
    seeded : bool
        Whether the seed changes anything beside the data.
    """

    name: str
    fit: Callable[[Trajectories, dict[str, Any], int, Info], Predict]
    space: Space
    needs: tuple[str, ...] = ()
    refuses: Callable[[Problem], str] = lambda problem: ""
    seeded: bool = True
    ours: bool = False

    def missing(self) -> list[str]:
        """Modules that are not installed."""
        return [m for m in self.needs if importlib.util.find_spec(m) is None]


def only(**settings: Any) -> Space:
    """A space of one."""
    return lambda kind, smoke: [settings]


def window_of(data: Trajectories, p: int, q: int = 1, direct: bool = False) -> LagWindow:
    """Lag window of `p` outputs and `q` inputs; `direct` where the newest input acts on the newest output."""
    direct = direct and data.n_u > 0 and all(len(e.inputs) == len(e.outputs) for e in data)
    return LagWindow(p, q if data.n_u else 1, direct, data.n_y, data.n_u)


def pairs(data: Trajectories, window: LagWindow) -> tuple[Array, Array, Array]:
    """All `(x_k, u_k, y_{k+1})` of all episodes."""
    found = [window.pairs(e.outputs, e.inputs) for e in data]
    x, u, y = (np.concatenate(part) for part in zip(*found, strict=True))
    return x, u, y


def lag_runs(
    step: Callable[[Array, Array], Array], window: LagWindow, data: Trajectories, n_init: int
) -> list[Array]:
    """Free runs of `y_{k+1} = step(x_k, u_k)`, all episodes side by side."""
    x = np.stack([window.initial_padded(e.outputs, e.inputs, n_init) for e in data])
    inputs = [window.acting_inputs(e.outputs, e.inputs, n_init) for e in data]
    longest = max(len(u) for u in inputs)
    padded = np.zeros((len(data), longest, data.n_u))
    for i, u in enumerate(inputs):
        padded[i, : len(u)] = u
    y = np.empty((len(data), longest, data.n_y))
    with np.errstate(all="ignore"):
        for k in range(longest):
            # A run that left for good stays where it is, so that it harms no other one in the batch.
            y[:, k] = np.clip(np.nan_to_num(step(x, padded[:, k]), nan=1e6), -1e6, 1e6)
            x = window.advance(x, padded[:, k], y[:, k])
    return [np.concatenate([e.outputs[:n_init], y[i, : len(e) - n_init]]) for i, e in enumerate(data)]


@dataclass(frozen=True)
class Standard:
    """Mean and spread of every column."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, rows: Array) -> Standard:
        """Of the training rows; a constant column keeps its size."""
        spread = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def to(self, rows: Array) -> Array:
        """Standardised."""
        return (rows - self.mean) / self.scale

    def back(self, rows: Array) -> Array:
        """In the signals' own units."""
        return rows * self.scale + self.mean


def outputs_of(data: Trajectories) -> Array:
    """All samples of all episodes."""
    return np.concatenate([e.outputs for e in data])


def inputs_of(data: Trajectories) -> Array:
    """All inputs of all episodes."""
    return np.concatenate([e.inputs for e in data])
