r"""Linear models around one operating point that compete for being the lifted face.

- `linear`: the state alone, least squares with a constant (DMD with control);
- `Jacobian`: the state alone, the network's own derivatives at the operating point;
- `EDMD`: the state and the reduced features, at several cuts, with and without a ridge penalty;
- `anchored`: the same, but what the state does to first order at the operating point is the network's own,
  and the features, which are of second order there, add the rest; they move by themselves (`free`) or are
  driven by state and input (`driven`);
- `linear` and the smallest `EDMD` fitted on the free run over the horizon (`koopctrl.lifted.multi_step`).

Each is made from the part of the data that is not held out; `remake` repeats the recipe on all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Segments, Snapshots, cut, rows
from koopctrl.lifted.dictionary import ReducedDictionary, raw_layer, reduce_dictionary
from koopctrl.lifted.edmd import drift
from koopctrl.lifted.multi_step import fit_free_run
from koopctrl.lifted.observables import Observables
from koopctrl.lifted.regression import NestedRegression
from koopctrl.lifted.stability import pull_inside, spectral_radius
from koopctrl.network.recurrent import RecurrentNetwork

CUTS = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4, 1e-6)
RIDGES = (0.0, 1e-2)
# More coordinates than these beside the state gain nothing that a regulator could use.
_MAX_FEATURES = 150
_MAX_SEGMENTS = 200
# Parameters that a fit on the free run may have, and errors it is made on: both cost time.
_MAX_FREE, _MAX_ROWS = 150, 10_000


@dataclass(frozen=True)
class Recipe:
    """How a candidate is made.

    Attributes
    ----------
    kind : {"linear", "Jacobian", "EDMD", "anchored free", "anchored driven"}
    n_z : int
        Coordinates kept.
    ridge : float
        Penalty, relative to each regressor's energy.
    free_run : bool
        Whether it is then fitted on the free run.
    """

    kind: str
    n_z: int
    ridge: float = 0.0
    free_run: bool = False

    def __str__(self) -> str:
        """As it is shown to users."""
        parts = [self.kind]
        parts += [f"ridge {self.ridge:g}"] if self.ridge else []
        parts += ["fitted on the free run"] if self.free_run else []
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A linear model `z+ = A z + B du + c` of lifted coordinates."""

    recipe: Recipe
    observables: Observables
    A: FloatArray
    B: FloatArray
    c: FloatArray


class Workshop:
    """Makes candidates from the training pairs of one network.

    Parameters
    ----------
    network : RecurrentNetwork
    snapshots : Snapshots
    x_op, u_op : arrays
        Operating point.
    fit, judge : lists of slice
        Episodes to fit to, and those held out.
    horizon : int
        Samples of a free run.
    """

    def __init__(
        self,
        network: RecurrentNetwork,
        snapshots: Snapshots,
        x_op: FloatArray,
        u_op: FloatArray,
        fit: list[slice],
        judge: list[slice],
        horizon: int,
    ) -> None:
        self._network, self._u_op = network, u_op
        self._n_x, self._n_y = network.window.n_x, network.window.n_y
        layer = raw_layer(network, u_op)
        plain = reduce_dictionary(layer, snapshots.x, x_op, network.x_scale)
        anchored = reduce_dictionary(layer, snapshots.x, x_op, network.x_scale, tangent=True)
        self._scale = network.x_scale
        self._benches = {
            name: _Bench(d, network, snapshots, u_op, fit, judge)
            for name, d in (("plain", plain), ("anchored", anchored))
        }
        a, b = network.jacobian(x_op, u_op)
        scale = self._scale
        self._A_op, self._B_op = a * scale / scale[:, None], b / scale[:, None]
        n_fit = min(_MAX_SEGMENTS, max(1, _MAX_ROWS // (horizon * self._n_y)))
        self._fit, self._judge = (
            cut(snapshots, fit, horizon, n_fit),
            cut(snapshots, judge, horizon, _MAX_SEGMENTS),
        )
        linear = self._benches["plain"].part.affine()[0]
        # What is stable to first order must not be unstable when lifted.
        self._radius = max(1.0, spectral_radius(linear), spectral_radius(self._A_op))

    def candidates(self) -> Iterator[Candidate]:
        """All of them, the plain linear model first."""
        n_x = self._n_x
        small = [self.make(Recipe("linear", n_x)), self.make(Recipe("Jacobian", n_x))]
        yield from small
        for kind, bench in (
            ("EDMD", "plain"),
            ("anchored free", "anchored"),
            ("anchored driven", "anchored"),
        ):
            for rank in self._benches[bench].ranks:
                made = [self.make(Recipe(kind, n_x + rank, ridge)) for ridge in RIDGES]
                yield from made
                if kind == "EDMD":
                    small.append(made[0])
        for start in small:
            if start.recipe.kind != "Jacobian" and self._n_free(len(start.A)) <= _MAX_FREE and len(self._fit):
                yield self.make(replace(start.recipe, free_run=True))

    def make(self, recipe: Recipe, *, all_data: bool = False) -> Candidate:
        """One of them, from the data that are not held out, or from all."""
        bench = self._benches["anchored" if recipe.kind.startswith("anchored") else "plain"]
        data = bench.whole if all_data else bench.part
        n_x, n_z = self._n_x, recipe.n_z
        c = bench.drift[:n_z].copy()
        if recipe.kind == "Jacobian":
            A, B = self._A_op, self._B_op
        elif recipe.kind == "linear":
            A, B, constant = data.affine()
            c += constant
        else:
            if recipe.kind == "EDMD":
                A, B = data.dynamics(n_z, recipe.ridge)
            else:
                driven = recipe.kind == "anchored driven"
                A, B = data.around(n_z, self._A_op, self._B_op, recipe.ridge, driven=driven)
            if spectral_radius(A) > self._radius * (1.0 + 1e-9):
                A = pull_inside(A, self._radius)
                B = data.inputs(A)
        observables = bench.dictionary.observables(n_z - n_x)
        if recipe.free_run:
            A, B = self._fitted_on_free_run(observables, A, B, c)
        return Candidate(recipe, observables, A, B, c)

    def error(self, candidate: Candidate) -> float:
        """Error of the free run over the horizon on held-out segments, in spreads of the outputs.

        The mean over segments of their root-mean-square error, each of them counted as one spread at most:
        further off they say no more than that the model is of no use there. NaN where no held-out episode is
        long enough.
        """
        return self._error(candidate.observables, candidate.A, candidate.B, candidate.c, self._judge)

    def _error(
        self, observables: Observables, A: FloatArray, B: FloatArray, c: FloatArray, segments: Segments
    ) -> float:
        if not len(segments):
            return float("nan")
        scale = self._network.scaling.y_scale
        z, squares = observables(segments.x0), np.zeros(len(segments))
        y = (segments.y - observables.x_op[: self._n_y]) / scale
        with np.errstate(all="ignore"):
            for k in range(segments.horizon):
                z = z @ A.T + (segments.u[:, k] - self._u_op) @ B.T + c
                squares += np.mean((z[:, : self._n_y] - y[:, k]) ** 2, axis=1)
        rms = np.sqrt(squares / segments.horizon)
        return float(np.mean(np.minimum(np.where(np.isnan(rms), np.inf, rms), 1.0)))

    def _fitted_on_free_run(
        self, observables: Observables, A: FloatArray, B: FloatArray, c: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        segments = self._fit
        y = (segments.y - observables.x_op[: self._n_y]) / self._network.scaling.y_scale

        def judged(a: FloatArray, b: FloatArray) -> float:
            return self._error(observables, a, b, c, self._judge if len(self._judge) else segments)

        return fit_free_run(
            A, B, c, self._learned(len(A)), self._n_y, observables(segments.x0), segments.u - self._u_op, y,
            judged,
        )  # fmt: skip

    def _learned(self, n_z: int) -> np.ndarray:
        """Rows that are learned; the others of a lag window are an exact shift."""
        rows_of_state = np.arange(self._n_y if self._n_x > self._n_y else self._n_x)
        return np.concatenate([rows_of_state, np.arange(self._n_x, n_z)])

    def _n_free(self, n_z: int) -> int:
        return len(self._learned(n_z)) * (n_z + len(self._u_op))


class _Bench:
    """One reduced dictionary, and the least-squares problems of the pairs in its coordinates."""

    def __init__(
        self,
        dictionary: ReducedDictionary,
        network: RecurrentNetwork,
        snapshots: Snapshots,
        u_op: FloatArray,
        fit: list[slice],
        judge: list[slice],
    ) -> None:
        self.dictionary = dictionary
        kept = sorted({min(dictionary.rank(cut), _MAX_FEATURES) for cut in CUTS} - {0})
        self.ranks, n_x = kept, network.window.n_x
        lift = dictionary.observables(kept[-1] if kept else 0)
        self.drift = drift(network, lift, u_op)
        x, u = snapshots.x, snapshots.u
        z, du = lift(x), u - u_op
        z_next = lift(network.window.advance(x, u, snapshots.y_next)) - self.drift
        fitted, held_out = rows(fit), rows(judge)
        self.part = NestedRegression(z[fitted], du[fitted], z_next[fitted], n_x)
        self.whole = self.part + NestedRegression(z[held_out], du[held_out], z_next[held_out], n_x)
