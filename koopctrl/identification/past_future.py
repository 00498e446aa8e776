"""Past and future of records: the data matrices of subspace identification, and what of the past is state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError
from koopctrl.identification.least_squares import QRAccumulator, triangle
from koopctrl.network.recurrent import Scaling

# Singular values of the past below this fraction of the largest are rounding: noise-free records.
_RANK_TOL = 1e-10
_BLOCK_ROWS = 20_000


class Standardised:
    """Records in standardised units, inputs as long as outputs or one row less."""

    def __init__(self, data: Trajectories, feedthrough: bool) -> None:
        outputs = np.concatenate([e.outputs for e in data])
        inputs = np.concatenate([e.inputs for e in data])
        if not np.ptp(outputs, axis=0).any():
            raise DataError(
                f"all outputs {list(data.output_names)} are constant; expected records in which "
                "something changes"
            )
        self.data, self.feedthrough = data, bool(feedthrough and data.n_u > 0)
        self.scaling = Scaling.from_data(outputs, inputs)
        s = self.scaling
        self.records = [((e.outputs - s.y_mean) / s.y_scale, (e.inputs - s.u_mean) / s.u_scale) for e in data]

    def rows(self, h: int) -> int:
        """Rows of the data matrix of horizon `h`."""
        return sum(max(0, min(len(u), len(y) if self.feedthrough else len(y) - 1) - 2 * h + 1)
                   if u.shape[1] else max(0, len(y) - 2 * h + 1) for y, u in self.records)  # fmt: skip

    def factor(self, h: int) -> FloatArray:
        """`R` of `[1, U_f, Z, Y_f]`: the constant takes the operating point out, exactly."""
        r: FloatArray | None = None
        for y, u in self.records:
            last = min(len(u), len(y)) if u.shape[1] else len(y)
            for start in range(h, last - h + 1, _BLOCK_ROWS):
                block = _hankel(y, u, h, start, min(start + _BLOCK_ROWS, last - h + 1))
                r = triangle(block if r is None else np.concatenate([r, block]))
        return np.empty((0, 1 + 2 * h * (self.data.n_u + self.data.n_y))) if r is None else r

    def pasts(self, h: int) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """`(Z, u, y)` of each record for all samples that have `h` before them."""
        found = []
        for y, u in self.records:
            last = len(y) if not u.shape[1] else min(len(u), len(y))
            if last > h:
                # Without inputs their array may be shorter than the outputs'.
                inputs = u[h:last] if u.shape[1] else np.empty((last - h, 0))
                found.append((_past(y, u, h, h, last), inputs, y[h:last]))
        return found


def _past(y: FloatArray, u: FloatArray, h: int, first: int, last: int) -> FloatArray:
    parts = [y[first - i : last - i] for i in range(1, h + 1)]
    if u.shape[1]:
        parts += [u[first - i : last - i] for i in range(1, h + 1)]
    return np.concatenate(parts, axis=1)


def _hankel(y: FloatArray, u: FloatArray, h: int, first: int, last: int) -> FloatArray:
    """Rows `[1, U_f, Z, Y_f]` of samples `first <= k < last`."""
    future_u = [u[first + i : last + i] for i in range(h)] if u.shape[1] else []
    future_y = [y[first + i : last + i] for i in range(h)]
    return np.concatenate(
        [np.ones((last - first, 1)), *future_u, _past(y, u, h, first, last), *future_y], axis=1
    )


@dataclass(frozen=True, eq=False)
class Projection:
    """`M` with `x_k = z_k M`, the extended observability matrix (None: not needed), and the singular
    values.
    """

    state: FloatArray
    observability: FloatArray | None
    singular_values: FloatArray


def project(r: FloatArray, n_future_u: int, n_past: int, method: str) -> Projection:
    """All orders at once: columns of `state` and `observability` in descending order of singular values."""
    z = slice(n_future_u, n_future_u + n_past)
    y = slice(n_future_u + n_past, None)
    r22, r23, r33 = r[z, z], r[z, y], r[z.stop :, y]
    u2, s2, v2 = np.linalg.svd(r22, full_matrices=False)
    keep = s2 > _RANK_TOL * s2.max(initial=0.0)
    weights = v2[keep].T @ ((u2[:, keep].T @ r23) / s2[keep, None])
    if method == "n4sid":
        _, s, vt = np.linalg.svd(r[1 : z.stop, z] @ weights, full_matrices=False)
        right = vt.T
        gamma, back = right * np.sqrt(s), right
    elif method == "moesp":
        _, s, vt = np.linalg.svd(r23, full_matrices=False)
        right = vt.T
        gamma, back = right * np.sqrt(s), right
    else:
        stacked = np.concatenate([r23, r33])
        u, t, wt = np.linalg.svd(stacked, full_matrices=False)
        keep = t > _RANK_TOL * t.max(initial=0.0)
        u, t, wt = u[: len(r23), keep], t[keep], wt[keep]
        _, s, vt = np.linalg.svd(u, full_matrices=False)
        gamma = (wt.T * t) @ (vt.T * np.sqrt(s))
        back = (wt.T / t) @ vt.T
    with np.errstate(divide="ignore"):
        state = weights @ (back / np.sqrt(np.where(s > 0, s, np.inf)))
    return Projection(state, gamma, s)


def predictor_projection(past: Standardised, h: int, f: int) -> Projection:
    """States from a long predictor `y_k = z_k L + D u_k + const`, with no future inputs at all.

    Block `i` of `G` is `L` shifted by `i` samples: what the past says of `y_{k+i}` through the predictor,
    whose memory ends after `h` samples. The SVD of `Z G` orders its directions (predictor-based subspace
    identification; Chiuso, *The role of vector autoregressive modeling in predictor-based subspace
    identification*, Automatica 2007).
    """
    n_y, n_u = past.data.n_y, past.data.n_u
    n_past = h * (n_y + n_u)
    n_direct = 1 + (n_u if past.feedthrough else 0)
    solver = QRAccumulator(n_past + n_direct, n_y)
    centred = np.zeros((0, 1 + n_past))
    for z, u, y in past.pasts(h):
        ones = np.ones((len(z), 1))
        solver.update(np.concatenate([z, ones, u] if past.feedthrough else [z, ones], axis=1), y)
        centred = triangle(np.concatenate([centred, np.concatenate([ones, z], axis=1)]))
    weights = solver.solve(_RANK_TOL).coef[:n_past]
    g = np.zeros((n_past, f * n_y))
    split = h * n_y
    for i in range(f):
        columns = slice(i * n_y, (i + 1) * n_y)
        g[: split - i * n_y, columns] = weights[i * n_y : split]
        if n_u:
            g[split : n_past - i * n_u, columns] = weights[split + i * n_u :]
    _, s, vt = np.linalg.svd(centred[1:, 1:] @ g, full_matrices=False)
    state = g @ (vt.T / np.sqrt(np.where(s > 0, s, np.inf)))
    return Projection(state, None, s)
