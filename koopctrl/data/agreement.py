"""Episodes that belong together, and choosing some of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from koopctrl._time import check_same_dt
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError


class EpisodeIndexError(OptionError, IndexError):
    """There is no such episode."""


def agreeing(episodes: Any) -> tuple[Trajectory, ...]:
    """Episodes with the same signals, all with the sample time of the longest, which is known best.

    Raises
    ------
    DataError
        If there are none, or other things than episodes.
    OptionError
        If signals differ.
    TimeBaseError
        If sample times differ by more than a hundredth of a period over the longest episode.
    """
    if not isinstance(episodes, Iterable) or (isinstance(episodes, np.ndarray) and not episodes.ndim):
        raise DataError(
            f"episodes is a {type(episodes).__name__}; expected a sequence of Trajectory objects. "
            "Build them with Trajectories.from_arrays(x, u, dt=...)"
        )
    items = tuple(episodes)
    if not items:
        raise DataError("episodes is empty; expected at least one Trajectory")
    for item in items:
        if not isinstance(item, Trajectory):
            raise DataError(
                f"episodes holds a {type(item).__name__}; expected Trajectory objects. "
                "Build them with Trajectories.from_arrays(x, u, dt=...)"
            )
        _check_same_signals(items[0], item)
    longest = max(items, key=len)
    for item in items:
        check_same_dt(longest.dt, item.dt, f"episodes {longest.label!r} and {item.label!r}", longest.n_steps)
    return tuple(_with_dt(item, longest.dt) for item in items)


def chosen_episodes(index: Any, n: int) -> int | list[int]:
    """Number of one episode by an integer, numbers of several by an index array or a mask."""
    try:
        wanted = np.asarray(index)
    except ValueError:
        wanted = np.empty((), dtype=object)
    if not wanted.size and wanted.ndim:
        wanted = wanted.astype(int)
    single = wanted.ndim == 0 and wanted.dtype.kind in "iu"
    if not single and not (wanted.ndim == 1 and wanted.dtype.kind in "iub"):
        raise EpisodeIndexError(f"index is {index!r}; expected integers, a slice or a mask of episodes")
    try:
        numbers = np.arange(n)[wanted]
    except IndexError as error:
        raise EpisodeIndexError(
            f"index is {index!r}; expected episodes 0 to {n - 1}, or a mask of {n}"
        ) from error
    return int(numbers) if single else numbers.tolist()


def _with_dt(e: Trajectory, dt: float) -> Trajectory:
    if e.dt == dt:
        return e
    return e.with_signals(e.outputs, e.inputs, dt)


def _check_same_signals(first: Trajectory, other: Trajectory) -> None:
    for name in ("output_names", "input_names"):
        if getattr(first, name) != getattr(other, name):
            raise OptionError(
                f"episodes have different {name}: {list(getattr(first, name))} and "
                f"{list(getattr(other, name))}; "
                "expected the same signals in the same order"
            )
