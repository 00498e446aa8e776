r"""Outer weights that follow a changing plant: recursive least squares with forgetting, in square-root form.

With regressors `phi_k` and targets `t_k` of every new pair,

.. math:: \min_V \sum_k \lambda^{K-k} \|t_k - \phi_k V\|^2 + \ldots

is kept as one triangle `[R, Z]`, `R V = Z`. A pair is one row below `sqrt(lambda) [R, Z]`, turned into the
triangle by Householder reflections (LAPACK `tpqrt`): `R'R` is never formed, so that no update can make it
indefinite, and rounding does not grow with their number.

Forgetting alone loses what recent data do not show, and then amplifies noise (wind-up). Beside every pair
goes one row that ties one weight, each in turn, to its present value with a small weight: what is not excited
stays as it is.

Sources: Golub & Van Loan, *Matrix Computations*, 4th ed., section 6.5.3 (updating a QR factorisation);
Gunnarsson, *Combining tracking and regularization in recursive least squares identification*, CDC 1996.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import lapack

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.least_squares import LeastSquares, block_rows, triangle
from koopctrl.identification.one_step import MAX_SNAPSHOTS
from koopctrl.network.recurrent import RecurrentNetwork

_TIE = 1e-6  # least weight of a tie, relative to the energy of its regressor in the data remembered
_MEMORIES = 3.0  # of the effective memory: pairs that are kept for the linear face
_BLOCK = 16  # columns that LAPACK reflects together
_RESCALE = 10.0  # logarithm of the weight of new rows at which the triangle is scaled back


class RecursiveWeights:
    """Outer weights of a network, updated pair by pair.

    Parameters
    ----------
    network : RecurrentNetwork
        Its weights are where it starts.
    snapshots : Snapshots
        Pairs it was fitted to: how well each combination of weights is known. They count as at most
        `1 / (1 - forgetting)` pairs.
    solution : LeastSquares
        Of that fit; its penalty goes on.
    forgetting : float
        Weight `lambda` of a pair relative to the next one, in (0, 1].
    """

    def __init__(
        self, network: RecurrentNetwork, snapshots: Snapshots, solution: LeastSquares, forgetting: float
    ) -> None:
        self.network, self.forgetting = network, forgetting
        coef = network.coupling.contract(network.coef, network.n_dictionary)
        n, n_y = coef.shape
        self._n = n
        r = np.empty((0, n))
        step = block_rows(n)
        for start in range(0, len(snapshots.x), step):
            part = slice(start, start + step)
            phi, _ = self._rows(snapshots.x[part], snapshots.u[part], snapshots.y_next[part])
            r = triangle(np.concatenate([r, phi]))
        count = len(snapshots.x)
        memory = np.inf if forgetting == 1.0 else 1.0 / (1.0 - forgetting)
        r = r * np.sqrt(min(1.0, memory / max(count, 1)))
        energy = np.sum(r**2, axis=0)
        energy = np.where(energy > 0, energy, energy.mean() if energy.any() else 1.0)
        tie = max(float(np.max(solution.ridge, initial=0.0)), _TIE) * energy
        r = triangle(np.concatenate([r, np.diag(np.sqrt(tie))]))
        # What was known is an estimate and how sure it is, no matter which targets it came from.
        self._table = np.zeros((n + n_y, n + n_y), order="F")
        self._table[:n, :n] = r
        self._table[:n, n:] = r @ coef
        self._coef = coef
        self._tie = np.sqrt(tie * (1.0 - forgetting) * n)
        self._next, self._log_weight = 0, 0.0
        self._recent = Recent(snapshots, int(min(_MEMORIES * memory, 1e9)))

    def _rows(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Regressors and targets of pairs."""
        net = self.network
        xs, us = net.standardise(x, u)
        phi = net.coupling.regressors(net.dictionary(xs, us), us)
        return phi, (y_next - net.base(x, u)) / net.scaling.y_scale

    def update(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> RecurrentNetwork:
        """Take pairs in order of time; the network with the new weights."""
        n = self._n
        for start in range(0, len(x), n):  # ties of one block start from one set of weights
            part = slice(start, start + n)
            phi, target = self._rows(x[part], u[part], y_next[part])
            count = len(phi)
            rows = np.zeros((2 * count, n + target.shape[1]), order="F")
            rows[:count, :n], rows[:count, n:] = phi, target
            if self.forgetting < 1.0:
                which = (self._next + np.arange(count)) % n
                rows[count + np.arange(count), which] = self._tie[which]
                rows[count:, n:] = self._tie[which, None] * self._coef[which]
                self._next = (self._next + count) % n
                # Instead of the whole table fading, new rows weigh more, and all is scaled back in time.
                self._log_weight -= 0.5 * np.log(self.forgetting) * count
                weight = np.exp(self._log_weight) * np.sqrt(self.forgetting) ** np.arange(count - 1, -1, -1)
                rows[:count] *= weight[:, None]
                rows[count:] *= weight[:, None]
            block = min(_BLOCK, self._table.shape[0])
            table, _, _, info = lapack.dtpqrt(0, block, self._table, rows, overwrite_a=1, overwrite_b=1)
            assert info == 0  # an argument would be wrong
            self._table = table
            if self._log_weight > _RESCALE:
                self._table *= np.exp(-self._log_weight)
                self._log_weight = 0.0
            coef, _ = lapack.dtrtrs(table[:n, :n], table[:n, n:])
            self._coef = np.ascontiguousarray(coef)
            net = self.network
            self.network = replace(net, coef=net.coupling.expand(self._coef, net.n_dictionary))
        self._recent.add(x, u, y_next)
        return self.network

    @property
    def snapshots(self) -> Snapshots:
        """The pairs the linear face is made from: the newest ones."""
        return self._recent.snapshots


class Recent:
    """The newest pairs in order of time. Buffers have room for as many again, so that a pair costs little,
    and are only ever written behind what was handed out.
    """

    def __init__(self, first: Snapshots, least: int) -> None:
        self._n = max(len(first.x), min(least, MAX_SNAPSHOTS), 1)
        self._kept = first
        self._renew()

    def _renew(self) -> None:
        """New buffers with the kept pairs at their beginning."""
        kept = (self._kept.x, self._kept.u, self._kept.y_next)
        self._buffers = [np.empty((2 * self._n, a.shape[1])) for a in kept]
        self._stop = len(kept[0])
        for buffer, old in zip(self._buffers, kept, strict=True):
            buffer[: self._stop] = old

    def add(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> None:
        """Append pairs; the oldest leave."""
        count = min(len(x), self._n)
        if self._stop + count > 2 * self._n:
            self._renew()
        if self._stop + count > 2 * self._n:  # as many new ones as are kept: none of the old ones stays
            self._kept = Snapshots(x[:0], u[:0], y_next[:0])
            self._renew()
        for buffer, new in zip(self._buffers, (x, u, y_next), strict=True):
            buffer[self._stop : self._stop + count] = new[len(new) - count :]
        self._stop += count
        part = slice(max(0, self._stop - self._n), self._stop)
        self._kept = Snapshots(*(buffer[part] for buffer in self._buffers))

    @property
    def snapshots(self) -> Snapshots:
        """The pairs."""
        return self._kept
