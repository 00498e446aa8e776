r"""What records say of the next samples without a model: block Hankel matrices, compressed.

By Willems' lemma every trajectory of a linear plant is a combination of recorded ones,

.. math:: [1;\ u_{ini};\ u;\ y_{ini};\ y] = H g, \qquad \mathbf 1'g = 1

once their inputs excite it. Of `H` only `H = L Q'` counts, with `L` lower triangular: coordinates `a` of what is
known and chosen (the one, past and future inputs) and `b` of what else the records have done; `|g|` is
`|[a; b]|`. Signals are in units of their spread in the records, columns over the root of their number.

Coulson, Lygeros & Dorfler, *Data-enabled predictive control: in the shallows of the DeePC*, European Control
Conference 2019; Willems, Rapisarda, Markovsky & De Moor, *A note on persistency of excitation*, Systems &
Control Letters 54, 2005.
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
# Penalties tried, in penalties on the distance from the past, and blocks of time they are judged on.
_TRIED, _BLOCKS = 10.0 ** np.arange(-10, 3), 4


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
    n_columns: int

    @property
    def n_known(self) -> int:
        """Rows of past outputs."""
        return (self.n_past + 1) * len(self.y_mean)

    def coordinates(self, u_past: FloatArray, u: FloatArray) -> FloatArray:
        """`a` of scaled past inputs `(n_past, n_u)` and inputs `(horizon, n_u)`."""
        return self.inverse @ np.concatenate([[1.0], u_past.ravel(), u.ravel()])

    @cached_property
    def _past(self) -> tuple[FloatArray, FloatArray]:
        return self.from_a[: self.n_known], self.from_b[: self.n_known]

    def rest(self, gap: FloatArray, penalty: float) -> FloatArray:
        """`b` of least `|past - b|^2 + penalty |b|^2` for past outputs that `a` leaves over, `(n_known, ..)`."""
        past = self._past[1]
        n_b = past.shape[1]
        rows = np.vstack([past, np.sqrt(penalty) * np.eye(n_b)])
        right = np.concatenate([gap, np.zeros((n_b, *gap.shape[1:]))])
        return np.linalg.lstsq(rows, right, rcond=1e-14)[0]

    def predict(self, u_past: FloatArray, y_past: FloatArray, u: FloatArray, penalty: float) -> FloatArray:
        """Outputs `(horizon, n_y)` of scaled windows and inputs."""
        a = self.coordinates(u_past, u)
        b = self.rest(y_past.ravel() - self._past[0] @ a, penalty)
        return (self.from_a @ a + self.from_b @ b)[self.n_known :].reshape(self.horizon, -1)


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


def behaviour(data: Trajectories, n_past: int, horizon: int, like: Behaviour | None = None) -> Behaviour:
    """Compress the windows of records; in the units of another one, if given.

    Raises
    ------
    DataError
        If they are too short, or their inputs do not excite the plant enough.
    """
    u, y = windows(data, n_past, horizon)
    n = len(u)
    n_a = 1 + (n_past + horizon) * data.n_u
    if n <= n_a:
        raise DataError(
            f"data has {n} windows of {n_past + horizon + 1} samples; expected more than {n_a}, the inputs in "
            "one of them. Record longer, or take a smaller horizon or n_past"
        )
    if like is None:
        outputs, inputs = np.concatenate([e.outputs for e in data]), np.concatenate([e.inputs for e in data])
        y_mean, u_mean = outputs.mean(axis=0), inputs.mean(axis=0)
        y_std, u_std = outputs.std(axis=0), inputs.std(axis=0)
        y_scale, u_scale = (
            np.where(s > 1e-12 * np.abs(m), s, 0.0) for s, m in ((y_std, y_mean), (u_std, u_mean))
        )
        if (u_scale == 0.0).any():
            raise DataError("data has an input that is constant; expected inputs that all move")
        y_scale = np.where(y_scale > 0.0, y_scale, 1.0)
    else:
        y_mean, y_scale, u_mean, u_scale = like.y_mean, like.y_scale, like.u_mean, like.u_scale
    known = np.column_stack([np.ones(n), ((u - u_mean) / u_scale).reshape(n, -1)])
    seen = ((y - y_mean) / y_scale).reshape(n, -1)
    L = np.linalg.qr(np.hstack([known, seen]) / np.sqrt(n), mode="r").T
    top = L[:n_a, :n_a]
    pivots = np.abs(np.diag(top))
    if pivots.min() <= _EXCITED * pivots.max():
        raise DataError(
            f"the inputs of data do not excite {n_past + horizon} samples: some inputs of a window follow from the "
            "others; expected inputs that move independently, such as noise or steps of random lengths"
        )
    left, sizes, _ = np.linalg.svd(L[n_a:, n_a:], full_matrices=False)
    largest = max(float(sizes.max(initial=0.0)), float(np.linalg.norm(L[n_a:, :n_a], 2)))
    shown = sizes > _SHOWN * largest
    return Behaviour(
        n_past, horizon, y_mean, y_scale, u_mean, u_scale,
        linalg.solve_triangular(top, np.eye(n_a), lower=True), L[n_a:, :n_a], left[:, shown] * sizes[shown], n,
    )  # fmt: skip


def best_penalty(data: Trajectories, whole: Behaviour) -> float:
    """The penalty on `|b|^2` that predicts held-out blocks of the records best.

    Of those that are as good to a hundredth the largest: it keeps plans nearest to the records.
    """
    parts = [p for e in data for p in Trajectories([e]).blocks(_BLOCKS)]
    n_past, horizon = whole.n_past, whole.horizon
    errors = np.zeros(len(_TRIED))
    judged = False
    for f in range(_BLOCKS):
        train = [p for i, p in enumerate(parts) if i % _BLOCKS != f]
        test = [p for i, p in enumerate(parts) if i % _BLOCKS == f]
        u, y = windows(Trajectories(test), n_past, horizon)
        try:
            model = behaviour(Trajectories(train), n_past, horizon, whole)
        except DataError:
            continue
        chosen = slice(None, None, max(1, len(u) // 200))
        u, y = (u[chosen] - whole.u_mean) / whole.u_scale, (y[chosen] - whole.y_mean) / whole.y_scale
        if not len(u):
            continue
        judged = True
        a = model.inverse @ np.vstack([np.ones(len(u)), u.reshape(len(u), -1).T])
        seen, n_known = y.reshape(len(y), -1).T, model.n_known
        for j, penalty in enumerate(_TRIED):
            b = model.rest(seen[:n_known] - model.from_a[:n_known] @ a, penalty)
            ahead = model.from_a[n_known:] @ a + model.from_b[n_known:] @ b
            errors[j] += float(np.sum((ahead - seen[n_known:]) ** 2))
    if not judged:
        raise DataError(
            f"data is too short to choose lambda_g: no quarter of its records has {n_past + horizon + 1} samples; "
            "expected longer records, or lambda_g=..."
        )
    good = np.flatnonzero(errors <= 1.01 * errors.min() + 1e-20 * max(1.0, errors.max()))
    return float(_TRIED[good[-1]])
