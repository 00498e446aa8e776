"""Folds of records: whole episodes, or blocks of time where there are few."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError

N_INIT = 50  # samples of a held-out block that initialise, at most a third of it
_BLOCK = 150  # samples of a held-out block, where the record is long enough
_TURNS = 5  # most blocks a record and fold
_SHORTEST = 8  # a block of fewer samples says nothing


@dataclass(frozen=True, eq=False)
class Fold:
    """Training part, held-out part, and how many samples of each held-out record initialise.

    Where the parts are blocks of time, `data` are the whole records and `blocks` says which `(record, start,
    stop)` each held-out one is; else they are None and empty.
    """

    train: Trajectories
    test: Trajectories
    n_init: int
    data: Trajectories | None = None
    blocks: tuple[tuple[int, int, int], ...] = ()

    @property
    def hidden_rows(self) -> list[NDArray[np.bool_]]:
        """Which samples of `data` are held out: all of a block but those that initialise."""
        assert self.data is not None
        rows = [np.zeros(len(e), dtype=bool) for e in self.data]
        for i, a, b in self.blocks:
            rows[i][a + self.n_init : b] = True
        return rows


def make_folds(data: Trajectories, n_folds: int) -> list[Fold]:
    """Split records into `n_folds` folds.

    With at least `n_folds` episodes whole episodes are held out; else every record is cut into blocks of
    time, of which every `n_folds`-th is.

    Raises
    ------
    DataError
        If no part would be long enough.
    """
    n_folds = max(2, n_folds)
    if len(data) >= n_folds:
        order = np.arange(len(data)) % n_folds
        parts = [(data[order != i], data[order == i]) for i in range(n_folds)]
    else:
        found = [f for f in (_interleaved(data, n_folds, i) for i in range(n_folds)) if f is not None]
        if found:
            return found
        parts = []
    if not parts:
        raise DataError(
            f"the records have {data.n_steps} steps in {len(data)} episodes, too few to hold out a part; "
            f"expected at least {n_folds * _SHORTEST} samples"
        )
    return [Fold(train, test, _n_init(test)) for train, test in parts]


def _interleaved(data: Trajectories, n_folds: int, which: int) -> Fold | None:
    """Every `n_folds`-th block of time is held out: each part sees all of the record's range."""
    train, test, blocks = [], [], []
    for i, e in enumerate(data):
        turns = int(np.clip(len(e) // (n_folds * _BLOCK), 1, _TURNS))
        edges = np.linspace(0, len(e), n_folds * turns + 1).round().astype(int)
        held = [(a, b) for k, (a, b) in enumerate(pairwise(edges)) if k % n_folds == which]
        last = 0
        for a, b in [*held, (len(e), len(e))]:
            if a - last >= _SHORTEST:
                train.append(e.slice(last, a))
            if b - a >= _SHORTEST:
                test.append(e.slice(a, b))
                blocks.append((i, int(a), int(b)))
            last = b
    if not (train and test):
        return None
    held_out = Trajectories(test)
    return Fold(Trajectories(train), held_out, _n_init(held_out), data, tuple(blocks))


def _n_init(test: Trajectories) -> int:
    return max(1, min(N_INIT, min(len(e) for e in test) // 3))
