"""Part of the training data held out, and stretches of it several steps long: what free runs are judged on.

A model keeps one-step pairs in order of time. Where one pair's end is the next one's beginning they belong to
the same episode, so episodes can be told apart without being kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.lag_window import LagWindow

_LONG = 100


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Training pairs `(x_k, u_k, y_{k+1})`: all of them in order of time, or a uniform sample in runs."""

    x: FloatArray
    u: FloatArray
    y_next: FloatArray


@dataclass(frozen=True, eq=False)
class Segments:
    """Free runs that the data know the answer to.

    Attributes
    ----------
    x0 : (n, n_x) array
        States (lag windows) at the start.
    u : (n, horizon, n_u) array
        Inputs that act from there on.
    y : (n, horizon, n_y) array
        Outputs measured after each of them.
    """

    x0: FloatArray
    u: FloatArray
    y: FloatArray

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.x0)

    @property
    def horizon(self) -> int:
        """Steps of each."""
        return self.u.shape[1]


def episodes(window: LagWindow, snapshots: Snapshots) -> list[slice]:
    """Runs of consecutive pairs: the next state of each is the state of the one after it."""
    x_next = window.advance(snapshots.x, snapshots.u, snapshots.y_next)
    if not len(x_next):
        return []
    breaks = np.flatnonzero((x_next[:-1] != snapshots.x[1:]).any(axis=1)) + 1
    edges = [0, *breaks.tolist(), len(x_next)]
    return [slice(a, b) for a, b in pairwise(edges)]


def is_held_out(index: int) -> bool:
    """Whether an episode is held out as a whole: every fifth one."""
    return index % 5 == 2


def held_tail(index: int, n_pairs: int) -> int:
    """Pairs at the end of an episode that are held out: a fifth of the first two, if they are long.

    With one or two records these are all there is; with more, whole episodes show starts too.
    """
    return n_pairs // 5 if index < 2 and n_pairs >= _LONG else 0


def split(runs: list[slice]) -> tuple[list[slice], list[slice]]:
    """Runs for fitting, and those held out, by the rules above; nothing is held out of a few short ones."""
    fit, judge = [], []
    for i, r in enumerate(runs):
        if is_held_out(i):
            judge.append(r)
            continue
        tail = held_tail(i, r.stop - r.start)
        fit.append(slice(r.start, r.stop - tail))
        if tail:
            judge.append(slice(r.stop - tail, r.stop))
    return fit, judge


def rows(runs: list[slice]) -> np.ndarray:
    """Indices of all pairs in some runs."""
    return np.concatenate([np.arange(r.start, r.stop) for r in runs]) if runs else np.empty(0, dtype=int)


def cut(snapshots: Snapshots, runs: Sequence[slice], horizon: int, n_max: int) -> Segments:
    """At most `n_max` segments of `horizon` steps, spread evenly over the runs; they may overlap."""
    starts = np.concatenate(
        [np.empty(0, dtype=int), *(np.arange(r.start, r.stop - horizon + 1) for r in runs)]
    )
    if len(starts) > n_max:
        starts = starts[np.linspace(0, len(starts) - 1, n_max).round().astype(int)]
    index = starts[:, None] + np.arange(horizon)
    return Segments(snapshots.x[starts], snapshots.u[index], snapshots.y_next[index])


def join(parts: Sequence[Snapshots]) -> tuple[Snapshots, list[slice]]:
    """Several runs one after the other, and where each of them is."""
    edges = np.cumsum([0, *(len(p.x) for p in parts)]).tolist()
    rows = (np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "u", "y_next"))
    return Snapshots(*rows), [slice(a, b) for a, b in pairwise(edges)]
