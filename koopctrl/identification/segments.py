"""Records cut into segments of one length and stacked, so that all roll out as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from koopctrl._validation import FloatArray


@dataclass(frozen=True, eq=False)
class Segments:
    """A batch of segments in standardised units, time first.

    Attributes
    ----------
    v : (n_time, batch, n_u) array
        Inputs, the last one held where it is missing.
    w : (n_time, batch, n_y) array
        Outputs, 0 where there is none.
    mask : (n_time, batch, n_y) array
        1 where an output counts, 0 where it is missing or past a segment's end.
    where : tuple of (record, start, stop)
        What each segment is of the records it was cut from.
    """

    v: FloatArray
    w: FloatArray
    mask: FloatArray
    where: tuple[tuple[int, int, int], ...] = ()

    @property
    def n_time(self) -> int:
        """Samples in the longest segment."""
        return self.w.shape[0]

    @property
    def batch(self) -> int:
        """Number of segments."""
        return self.w.shape[1]

    @property
    def count(self) -> float:
        """Output samples that count."""
        return float(self.mask.sum())

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Samples of the segments themselves, `(n_time, batch)`: not the filling up to a common length."""
        length = np.array([b - a for _, a, b in self.where])
        return np.arange(self.n_time)[:, None] < length

    def group(self, part: slice) -> Segments:
        """Some of the segments."""
        return Segments(self.v[:, part], self.w[:, part], self.mask[:, part])

    def head(self, n: int) -> Segments:
        """First `n` samples of every segment."""
        return Segments(self.v[:n], self.w[:n], self.mask[:n])


def cut(
    records: Sequence[tuple[FloatArray, FloatArray]], length: int, feedthrough: bool, n_min: int = 2
) -> Segments:
    """Cut standardised `(outputs, inputs)` records into nearly equal segments of at most `length` samples.

    Segments of fewer than `n_min` samples are dropped unless nothing else is left. NaN outputs do not count;
    with feedthrough neither does an output whose input is missing. No segment starts in a stretch without
    outputs: its initial state would not show.
    """
    parts: list[tuple[FloatArray, FloatArray]] = []
    where: list[tuple[int, int, int]] = []
    for i, (y, u) in enumerate(records):
        n_parts = max(1, -(-len(y) // length))
        edges = _seen_edges(np.linspace(0, len(y), n_parts + 1).round().astype(int), y)
        parts += [(y[a:b], u[a:b]) for a, b in pairwise(edges)]
        where += [(i, int(a), int(b)) for a, b in pairwise(edges)]
    long = [i for i, p in enumerate(parts) if len(p[0]) >= n_min] or list(range(len(parts)))
    kept, where = [parts[i] for i in long], [where[i] for i in long]
    n_time = max(len(y) for y, _ in kept)
    n_y, n_u = kept[0][0].shape[1], kept[0][1].shape[1]
    v, w = np.zeros((n_time, len(kept), n_u)), np.zeros((n_time, len(kept), n_y))
    mask = np.zeros_like(w)
    for i, (y, u) in enumerate(kept):
        v[: len(u), i] = u
        if len(u) and len(u) < n_time:
            v[len(u) :, i] = u[-1]
        seen = np.isfinite(y)
        if feedthrough:
            seen = seen & (np.arange(len(y)) < len(u))[:, None]
        w[: len(y), i] = np.where(seen, y, 0.0)
        mask[: len(y), i] = seen
    return Segments(v, w, mask, tuple(where))


def _seen_edges(edges: NDArray[np.int_], y: FloatArray) -> NDArray[np.int_]:
    """Edges, the inner ones moved on to the next sample that has an output."""
    seen = np.flatnonzero(np.isfinite(y).any(axis=1))
    inner = np.append(seen, len(y))[np.searchsorted(seen, edges[1:-1])]
    return np.unique(np.concatenate([edges[:1], inner, edges[-1:]]))
