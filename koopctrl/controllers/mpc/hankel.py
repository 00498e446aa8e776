r"""What records say of the next samples without a model: block Hankel matrices, compressed.

By Willems' lemma every trajectory of a linear plant is a combination of recorded ones,

.. math:: [1;\ u_{ini};\ u;\ y_{ini};\ y] = H g, \qquad \mathbf 1'g = 1

once their inputs excite it. Of `H` only `H = L Q'` counts, with `L` lower triangular: coordinates `a` of what
is chosen (the one, past and future inputs), then `b`, first what past outputs add to them, last what future
outputs have done beside. Both are turned to principal directions, the former by their past alone: what past
outputs do not show is one of the latter. `|g|` is `|[a; b]|`, and the last ones are its part that no known
signal explains. Signals are in units of their spread in the records, columns over the root of their number.

Coulson, Lygeros & Dorfler, *Data-enabled predictive control: in the shallows of the DeePC*, European Control
Conference 2019; Dorfler, Coulson & Markovsky, *Bridging direct and indirect data-driven control formulations
via regularizations and relaxations*, IEEE Transactions on Automatic Control 68, 2023; Willems, Rapisarda,
Markovsky & De Moor, *A note on persistency of excitation*, Systems & Control Letters 54, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError

# Part of the largest below which a pivot of the inputs, or a direction of the outputs, is rounding.
_EXCITED, _SHOWN = 1e-8, 1e-9


@dataclass(frozen=True)
class Behaviour:
    """Recorded behaviour over `n_past` and `horizon` samples.

    Attributes
    ----------
    n_past, horizon : int
    y_mean, y_scale, u_mean, u_scale : arrays
    inverse : (n_a, n_a) array
        `a = inverse [1; u_ini; u]`.
    from_a, from_b : (n_rows, n_a) and (n_rows, n_b) arrays
        Outputs, `n_past + 1` past ones and `horizon` to come, scaled.
    n_first : int
        Entries of `b` that past outputs show.
    n_columns : int
    """

    n_past: int
    horizon: int
    y_mean: FloatArray
    y_scale: FloatArray
    u_mean: FloatArray
    u_scale: FloatArray
    inverse: FloatArray
    from_a: FloatArray
    from_b: FloatArray
    n_first: int
    n_columns: int

    @property
    def n_known(self) -> int:
        """Rows of past outputs."""
        return (self.n_past + 1) * len(self.y_mean)

    def coordinates(self, u_past: FloatArray, u: FloatArray) -> FloatArray:
        """`a` of scaled past inputs `(n_past, n_u)` and inputs `(horizon, n_u)`."""
        return self.inverse @ np.concatenate([[1.0], u_past.ravel(), u.ravel()])

    @cached_property
    def _back(self) -> FloatArray:
        return np.linalg.pinv(self.from_b[: self.n_known, : self.n_first], rcond=1e-8)

    def predict(self, u_past: FloatArray, y_past: FloatArray, u: FloatArray) -> FloatArray:
        """Outputs `(horizon, n_y)` of scaled windows and inputs, by least squares over all windows."""
        a = self.coordinates(u_past, u)
        b = self._back @ (y_past.ravel() - self.from_a[: self.n_known] @ a)
        ahead = self.from_a @ a + self.from_b[:, : self.n_first] @ b
        return ahead[self.n_known :].reshape(self.horizon, -1)


def windows(data: Trajectories, n_past: int, horizon: int) -> tuple[FloatArray, FloatArray]:
    """Inputs `(n, n_past + horizon, n_u)` and outputs `(n, n_past + 1 + horizon, n_y)` of all windows."""
    u, y = [], []
    length = n_past + horizon
    for e in data:
        for k in range(len(e.outputs) - length):
            u.append(e.inputs[k : k + length])
            y.append(e.outputs[k : k + length + 1])
    if not u:
        return np.empty((0, length, data.n_u)), np.empty((0, length + 1, data.n_y))
    return np.array(u), np.array(y)


def behaviour(data: Trajectories, n_past: int, horizon: int) -> Behaviour:
    """Compress the windows of records.

    Raises
    ------
    DataError
        If they are too short, or their inputs do not excite the plant enough.
    """
    u, y = windows(data, n_past, horizon)
    n = len(u)
    n_a, n_known = 1 + (n_past + horizon) * data.n_u, (n_past + 1) * data.n_y
    if n <= n_a:
        raise DataError(
            f"data has {n} windows of {n_past + horizon + 1} samples; expected more than {n_a}, the inputs "
            "in one of them. Record longer, or take a smaller horizon or n_past"
        )
    outputs, inputs = np.concatenate([e.outputs for e in data]), np.concatenate([e.inputs for e in data])
    y_mean, u_mean = outputs.mean(axis=0), inputs.mean(axis=0)
    y_scale, u_scale = _spread(outputs, y_mean), _spread(inputs, u_mean)
    if (u_scale == 0.0).any():
        raise DataError("data has an input that is constant; expected inputs that all move")
    y_scale = np.where(y_scale > 0.0, y_scale, 1.0)
    known = np.column_stack([np.ones(n), ((u - u_mean) / u_scale).reshape(n, -1)])
    seen = ((y - y_mean) / y_scale).reshape(n, -1)
    L = np.linalg.qr(np.hstack([known, seen]) / np.sqrt(n), mode="r").T
    top = L[:n_a, :n_a]
    pivots = np.abs(np.diag(top))
    if pivots.min() <= _EXCITED * pivots.max():
        raise DataError(
            f"the inputs of data do not excite {n_past + horizon} samples: some inputs of a window follow "
            "from the others; expected inputs that move independently, as noise or steps of random lengths"
        )
    shown, beside = L[n_a:, n_a : n_a + n_known], L[n_a:, n_a + n_known :]
    level = _SHOWN * float(np.linalg.norm(L[n_a:], 2))
    # A direction of `b` is seen where its past is more than rounding. One that is not belongs to what nothing
    # known explains, whatever future the factorisation gave it: taken as seen it would be free of charge.
    past, turns = np.linalg.svd(shown[:n_known])[1:]
    shown, seen_past = shown @ turns.T, past > level
    first, hidden = shown[:, seen_past], shown[:, ~seen_past]
    hidden[:n_known] = 0.0
    last = np.hstack([hidden, beside])
    ahead, turns = np.linalg.svd(last[n_known:])[1:]
    last = (last @ turns.T)[:, : np.count_nonzero(ahead > level)]
    return Behaviour(
        n_past, horizon, y_mean, y_scale, u_mean, u_scale,
        linalg.solve_triangular(top, np.eye(n_a), lower=True), L[n_a:, :n_a], np.hstack([first, last]),
        first.shape[1], n,
    )  # fmt: skip


def _spread(signals: FloatArray, mean: FloatArray) -> FloatArray:
    """Standard deviations; 0 where only rounding moves."""
    spread = signals.std(axis=0)
    return np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)
