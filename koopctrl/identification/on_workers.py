r"""Triangular factors on the workers of a Dask cluster, reduced in a tree.

Of row blocks `Phi_i`, each lifted and factored on a worker,

.. math:: \begin{bmatrix} \Phi_1 \\ \Phi_2 \end{bmatrix}' \begin{bmatrix} \Phi_1 \\ \Phi_2 \end{bmatrix}
    = R_1' R_1 + R_2' R_2 = R' R, \qquad R = \mathrm{qr}\begin{bmatrix} R_1 \\ R_2 \end{bmatrix},

so that factors, and not data, travel back, and their order changes the result by rounding alone (Demmel,
Grigori, Hoemmen & Langou, *Communication-optimal parallel and sequential QR and LU factorizations*, SIAM
J. Sci. Comput. 34, 2012). Scaling, hidden layer and held-out pairs are made where the data are, and are
the same as without workers.

Blocks go out in waves, two at a time; a wave's factor comes back before the next one but one is sent. So
memory is bounded whatever the number of pairs, and what a lost worker costs is that its blocks of one
wave are made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray
from koopctrl._workers import TASK_BYTES, lost_errors, n_slots
from koopctrl.errors import SolverError
from koopctrl.identification.least_squares import Accumulator, block_rows, make_accumulator

Lift = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
# Blocks of a wave for each task that the cluster runs at a time, and times a lost wave is sent again.
_PER_SLOT, _TRIES = 4, 3


class WorkerAccumulator:
    """Least-squares problem whose rows are made and factored on workers.

    Parameters
    ----------
    client : dask.distributed.Client
    lift : callable
        `lift(x, u, y_next)`: regressors and targets of pairs.
    solver : {"svd", "gram"}
    n_features, n_targets : int
    """

    def __init__(self, client: Any, lift: Lift, solver: str, n_features: int, n_targets: int) -> None:
        self._client, self._lift, self._kind = client, lift, (solver, n_features, n_targets)
        self._sum = make_accumulator(*self._kind)
        self._least = 2 * n_features + 1
        self._waiting: list[tuple[FloatArray, ...]] = []
        self._n_waiting = 0
        self._wave: list[tuple[FloatArray, ...]] = []
        self._sent: list[tuple[list[tuple[FloatArray, ...]], Any]] = []
        self.n_rows = 0

    def send(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> None:
        """Add pairs; they are copied."""
        if not len(x):
            return
        self._waiting.append((x.copy(), u.copy(), y_next.copy()))
        self.n_rows += len(x)
        self._n_waiting += len(x)
        width = 8 * (x.shape[1] + u.shape[1] + y_next.shape[1])
        block = max(min(block_rows(self._kind[1]), TASK_BYTES // width), self._least)
        if self._n_waiting >= block * n_slots(self._client):
            self._cut(block)

    def collect(self) -> Accumulator:
        """All rows that were sent, in one accumulator of this process."""
        # What is left is shared evenly, but no block has fewer rows than its factor is worth.
        self._cut(max(-(-self._n_waiting // n_slots(self._client)), self._least))
        self._flush()
        while self._sent:
            self._fetch()
        return self._sum

    def _cut(self, block: int) -> None:
        """What waits, as blocks of a wave."""
        if not self._waiting:
            return
        pairs = [np.concatenate(parts) for parts in zip(*self._waiting, strict=True)]
        self._waiting, self._n_waiting = [], 0
        for start in range(0, len(pairs[0]), block):
            self._wave.append(tuple(a[start : start + block] for a in pairs))
            if len(self._wave) >= _PER_SLOT * n_slots(self._client):
                self._flush()

    def _flush(self) -> None:
        if self._wave:
            self._sent.append((self._wave, self._submit(self._wave)))
            self._wave = []
        if len(self._sent) > 2:
            self._fetch()

    def _submit(self, wave: list[tuple[FloatArray, ...]]) -> Any:
        """Future of a wave's accumulator."""
        level = [self._client.submit(_factor, self._lift, self._kind, *block, pure=False) for block in wave]
        while len(level) > 1:
            pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
            level = [self._client.submit(_merge, *p, pure=False) if len(p) == 2 else p[0] for p in pairs]
        return level[0]

    def _fetch(self) -> None:
        """Add the oldest wave; one that is lost with all its tries is sent again."""
        lost, (wave, future) = lost_errors(), self._sent.pop(0)
        for _ in range(_TRIES):
            try:
                self._sum = self._sum.merge(future.result())
                return
            except lost:
                future = self._submit(wave)
        raise SolverError(
            f"workers were lost again and again with blocks of {len(wave[0][0])} rows and {self._kind[1]} "
            "regressors; give them more memory, or leave client out to fit in this process"
        )


def _factor(lift: Lift, kind: tuple[str, int, int], *pairs: FloatArray) -> Accumulator:
    """On a worker: the accumulator of one block."""
    part = make_accumulator(*kind)
    step = block_rows(kind[1])
    with one_blas_thread():
        for start in range(0, len(pairs[0]), step):
            part.update(*lift(*(a[start : start + step] for a in pairs)))
    return part


def _merge(a: Accumulator, b: Accumulator) -> Accumulator:
    """On a worker: both in one."""
    with one_blas_thread():
        return a.merge(b)


class Lifted:
    """Regressors and targets of a network without outer weights: what travels to the workers."""

    def __init__(self, blank: Any) -> None:
        self.blank = blank

    def __call__(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of measured pairs."""
        net = self.blank
        xs, us = net.standardise(x, u)
        increment = (y_next - net.base(x, u)) / net.scaling.y_scale
        return np.asarray(net.coupling.regressors(net.dictionary(xs, us), us)), increment
