"""Independent streams of random numbers from one seed, one for every use.

A gymnasium env seeded with an integer draws the very numbers that `numpy.random.default_rng` of that integer
does. So no integer that a caller passes in is ever handed on: each use gets one of its own, spawned from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl._validation import check_integer

_USES = ("starts", "actions", "policies", "closed_loop")


class Streams:
    """Seeds for the uses of one call; all None where the caller gave none.

    Parameters
    ----------
    seed : int or None
    """

    def __init__(self, seed: Any) -> None:
        self.seed = None if seed is None else check_integer(seed, "seed")

    def of(self, use: str, index: int = 0) -> int | None:
        """Seed of one of `starts`, `actions`, `policies`, `closed_loop` in episode `index`.

        Starts count up from the first, as a vector env seeds its sub-envs.
        """
        if self.seed is None:
            return None
        number = _USES.index(use)
        key = (number,) if use == "starts" else (number, index)
        state = np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0]
        return int(state >> 1) + (index if use == "starts" else 0)
