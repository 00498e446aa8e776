"""Which arrays are episodes: one record, a list of records, or a 3-D array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from koopctrl.errors import ShapeError


def episode_pairs(x: Any, u: Any) -> list[tuple[Any, Any]]:
    """Arrays `(x, u)` of each episode; `u` is None where there are no inputs."""
    episodes = _episode_list(x, "x")
    if episodes is None:
        return [(x, u)]
    if u is None:
        return [(e, None) for e in episodes]
    if not isinstance(u, Iterable) or (hasattr(u, "__array__") and not np.ndim(np.asarray(u))):
        raise ShapeError(f"u is {u!r}; expected the inputs of {len(episodes)} episodes, as x")
    inputs = list(u)
    if len(inputs) != len(episodes):
        raise ShapeError(f"u has {len(inputs)} episodes; expected {len(episodes)} to match x")
    return list(zip(episodes, inputs, strict=True))


def _episode_list(x: Any, name: str) -> list[Any] | None:
    """Split a 3-D array or a list of array-likes into episodes; None for a single record.

    A list of arrays of any kind (NumPy, pandas, anything with `__array__`) with at least one axis is a list
    of episodes; a list of plain lists of numbers is one record.
    """
    if isinstance(x, Iterator):
        x = list(x)
    if isinstance(x, (list, tuple)):
        if not x or not _is_episode(x[0]):
            return None
        episodes = list(x)
        _refuse_list_of_samples(episodes, name)
        return episodes
    return list(x) if np.ndim(x) == 3 else None


def _is_episode(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return _depth(item) >= 2
    return (hasattr(item, "__array__") or hasattr(item, "ndim")) and np.ndim(item) >= 1


def _refuse_list_of_samples(episodes: list[Any], name: str) -> None:
    """Refuse samples appended in a loop, which would be read as many short episodes of one signal."""
    if any(np.ndim(e) != 1 for e in episodes if hasattr(e, "__array__") or hasattr(e, "ndim")):
        return
    if not all(hasattr(e, "__len__") and _depth(e) == 1 for e in episodes):
        return
    length = len(episodes[0])
    if len(episodes) > length > 1 and all(len(e) == length for e in episodes):
        raise ShapeError(
            f"{name} is a list of {len(episodes)} vectors of length {length}; expected one (time, n) array "
            f"an episode. For one record of samples pass np.array({name}); for short episodes of one signal, "
            "(time, 1) arrays"
        )


def _depth(x: Any) -> int:
    """Dimensions of an array or of nested lists, which may be ragged."""
    if isinstance(x, (list, tuple)):
        return 1 + (_depth(x[0]) if len(x) else 0)
    return np.ndim(x)
