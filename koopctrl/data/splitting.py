"""Parts of records for training and testing: whole episodes, ends, blocks in time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from koopctrl._validation import check_choice, check_integer, check_number
from koopctrl._warnings import warn
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError

_NAMED = 5  # episodes that a message names


def split_episodes(
    episodes: Sequence[Trajectory], test_fraction: float, by: str | None, random_state: Any
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Train and test; `by` is "episode", "time", or None for what the number of episodes allows."""
    fraction = check_number(test_fraction, "test_fraction", low=0.0, high=1.0, strict=True)
    if fraction == 1.0:
        raise DataError("test_fraction is 1, which leaves train empty; expected less than 1")
    if by is not None:
        check_choice(by, "by", ("episode", "time"))
    if by is None and len(episodes) == 1:
        warn(
            f"there is one record: its last {100 * fraction:.3g} % in time are the test part. Pass "
            'by="time" to say so in advance'
        )
        by = "time"
    if by == "time":
        return _cut_ends(episodes, fraction)
    n_test = round(len(episodes) * fraction)
    if not 0 < n_test < len(episodes):
        raise DataError(
            f"test_fraction={fraction:g} of {len(episodes)} episodes leaves train or test empty; "
            'expected both to have an episode. Use by="time" to cut within episodes'
        )
    try:
        order = np.random.default_rng(random_state).permutation(len(episodes))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"random_state is {random_state!r}; expected a non-negative integer or None"
        ) from error
    return [episodes[i] for i in np.sort(order[n_test:])], [episodes[i] for i in np.sort(order[:n_test])]


def _cut_ends(episodes: Sequence[Trajectory], fraction: float) -> tuple[list[Trajectory], list[Trajectory]]:
    cuts = [round(len(e) * (1.0 - fraction)) for e in episodes]
    for cut, e in zip(cuts, episodes, strict=True):
        if not 0 < cut < len(e):
            raise DataError(
                f"test_fraction={fraction:g} leaves an episode without train or test samples: episode "
                f"{e.label!r} has {len(e)}. Drop it, or choose another fraction"
            )
    pairs = list(zip(cuts, episodes, strict=True))
    return [e.slice(0, cut) for cut, e in pairs], [e.slice(cut, len(e)) for cut, e in pairs]


def cut_blocks(episodes: Sequence[Trajectory], n: Any) -> list[Trajectory]:
    """Every record as `n` consecutive blocks, equally long up to one sample, none shared."""
    n = check_integer(n, "n", low=1)
    blocks = []
    for e in episodes:
        if len(e) < 2 * n:
            raise DataError(
                f"episode {e.label!r} has {len(e)} samples; expected at least {2 * n} for n={n} blocks of "
                "two. Ask for fewer blocks"
            )
        edges = np.linspace(0, len(e), n + 1).round().astype(int)
        for i, (start, stop) in enumerate(itertools.pairwise(edges)):
            blocks.append(e.slice(int(start), int(stop), f"{e.label}/{i}"))
    return blocks


def long_enough(episodes: Sequence[Trajectory], n_samples: Any, reason: str) -> list[Trajectory]:
    """Episodes of at least `n_samples` samples; the others are named in one warning.

    Raises
    ------
    DataError
        If no episode is long enough.
    """
    n_samples = check_integer(n_samples, "n_samples", low=1)
    short = [e for e in episodes if len(e) < n_samples]
    if not short:
        return list(episodes)
    names = ", ".join(f"{e.label!r} ({len(e)} samples)" for e in short[:_NAMED])
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    if len(short) == len(episodes):
        raise DataError(
            f"no episode has the {n_samples} samples that {reason}: {names}{more}; expected a longer one"
        )
    warn(f"skipped episode {names}{more}: shorter than the {n_samples} samples that {reason}")
    return [e for e in episodes if len(e) >= n_samples]
