"""Identification: from snapshots to a `RecurrentNetwork`, in one pass and in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl._warnings import warn
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError, NumericalWarning
from koopctrl.identification.held_out import Snapshots, cut, held_tail, is_held_out, join
from koopctrl.identification.least_squares import (
    AUTO,
    Accumulator,
    LeastSquares,
    block_rows,
    make_accumulator,
)
from koopctrl.identification.on_workers import Lifted, WorkerAccumulator
from koopctrl.identification.penalty import Penalty, penalty_by_free_run
from koopctrl.network.coupling import Coupling
from koopctrl.network.known import KnownPart
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork, Scaling
from koopctrl.network.samplers import SAMPLERS, Layer

MAX_SNAPSHOTS = 50_000
# Snapshots are kept in runs of this many, so that stretches of several steps are left of them.
RUN = 200
# Held-out pairs kept for free runs.
_MAX_HELD_OUT = 20_000
_MAX_SEGMENTS = 200


# Samples of the free runs that choose between fits.
DEFAULT_HORIZON = 20
# Neurons where the caller does not say: a tenth of the pairs they are fitted to, and no more than these.
PAIRS_PER_FEATURE, MOST_BY_DEFAULT = 10, 300


def default_width(n_pairs: int, most: int = MOST_BY_DEFAULT) -> int:
    """Number of neurons for so many pairs of samples, where the caller does not say."""
    return min(most, n_pairs // PAIRS_PER_FEATURE)


@dataclass(frozen=True)
class Settings:
    """What the estimator's parameters say, checked."""

    n_features: int | None  # None: `default_width`
    sampler: str
    activation: str
    feature_scale: float
    rcond: float
    ridge: float | str
    solver: str
    horizon: int = DEFAULT_HORIZON


class Identification:
    """Collects data for one network.

    The first batch fixes the channels' scaling and, unless it is given, the hidden layer; later batches only
    add rows to the least-squares problem, so the first should be representative.
    """

    def __init__(
        self,
        first: Trajectories,
        window: LagWindow,
        coupling: Coupling,
        settings: Settings,
        rng: np.random.Generator,
        layer: Layer | None = None,
        known: KnownPart | None = None,
        client: Any = None,
    ) -> None:
        self._settings, self._window, self._rng = settings, window, rng
        self._coupling = coupling
        outputs = np.concatenate([e.outputs for e in first])
        inputs = np.concatenate([e.inputs for e in first])
        self._scaling = Scaling.from_data(outputs, inputs)
        self.y_min, self.y_max = outputs.min(axis=0), outputs.max(axis=0)
        _check_excitation(first, outputs, inputs)
        none = _no_layer(window.n_x + (window.n_u if coupling.layer_sees_input else 0))
        empty = RecurrentNetwork(window, none, coupling, np.empty((0, window.n_y)), self._scaling)
        x, u, y_next = first.snapshots(window.output_lags, window.input_lags, window.feedthrough)
        if not len(x):
            raise DataError(
                f"X has no episode longer than {window.n_samples} samples; expected at least "
                f"{window.n_samples + 1} to make one pair with {window.output_lags} output and "
                f"{window.input_lags} input lags"
            )
        xs, us = empty.standardise(x, u)
        joint = np.concatenate([xs, us], axis=1)
        base = x[:, : window.n_y] if known is None else known(x, u)
        targets = (y_next - base) / self._scaling.y_scale
        n_features = default_width(len(x)) if settings.n_features is None else settings.n_features
        if layer is None and not n_features:
            layer = none
        elif layer is None:
            unseen = [window.n_x + i for i in range(window.n_u) if i not in coupling.layer_inputs]
            seen = joint.copy()
            seen[:, unseen] = 0.0
            layer = SAMPLERS[settings.sampler](
                seen if coupling.layer_sees_input else xs,
                joint,
                targets,
                n_features,
                settings.activation,
                settings.feature_scale,
                rng,
            )
            if coupling.layer_sees_input:
                layer.weights[:, unseen] = 0.0
        self._blank = RecurrentNetwork(
            window, layer, coupling, np.empty((0, window.n_y)), self._scaling, known
        )
        self._n_columns = coupling.n_fitted(self._blank.n_dictionary)
        # Rows that are fitted to, and rows held out for choosing the penalty; the last solve is on both.
        self._lifted, kind = Lifted(self._blank), (settings.solver, self._n_columns, window.n_y)
        self._fitted, self._held_out = make_accumulator(*kind), make_accumulator(*kind)
        self._away = (
            None if client is None else [WorkerAccumulator(client, self._lifted, *kind) for _ in range(2)]
        )
        self._n_episodes = 0
        self._trials: list[Snapshots] = []
        self._chosen: Penalty | None = None  # for the pairs seen so far
        self._reservoir: list[FloatArray] = [np.empty((0, n)) for n in (window.n_x, window.n_u, window.n_y)]
        self._keys = np.empty(0)
        self._add_episodes(first, x, u, y_next)

    @property
    def has_layer(self) -> bool:
        """Whether there are neurons."""
        return self._blank.layer.n_features > 0

    @property
    def blank(self) -> RecurrentNetwork:
        """The network without outer weights."""
        return self._blank

    def add(self, data: Trajectories) -> None:
        """Add episodes with the signals of the first batch."""
        w = self._window
        outputs = np.concatenate([e.outputs for e in data])
        self.y_min = np.minimum(self.y_min, outputs.min(axis=0))
        self.y_max = np.maximum(self.y_max, outputs.max(axis=0))
        self._add_episodes(data, *data.snapshots(w.output_lags, w.input_lags, w.feedthrough))

    def _add_episodes(self, data: Trajectories, x: FloatArray, u: FloatArray, y_next: FloatArray) -> None:
        """Add the pairs of some episodes, each to the part that it belongs to."""
        self._chosen = None
        held_out = np.zeros(len(x), dtype=bool)
        stop = 0
        for e in data:
            n_pairs = max(0, len(e) - self._window.n_samples)
            stop += n_pairs
            tail = n_pairs if is_held_out(self._n_episodes) else held_tail(self._n_episodes, n_pairs)
            held_out[stop - tail : stop] = True
            if tail and sum(len(t.x) for t in self._trials) < _MAX_HELD_OUT:
                rows = slice(stop - tail, stop)
                self._trials.append(Snapshots(x[rows], u[rows], y_next[rows]))
            self._n_episodes += 1
        if self._away is None:
            self._accumulate(self._fitted, x[~held_out], u[~held_out], y_next[~held_out])
            self._accumulate(self._held_out, x[held_out], u[held_out], y_next[held_out])
        else:
            for away, rows in zip(self._away, (~held_out, held_out), strict=True):
                away.send(x[rows], u[rows], y_next[rows])
        self._keep(x, u, y_next)

    def _accumulate(self, part: Accumulator, x: FloatArray, u: FloatArray, y_next: FloatArray) -> None:
        """Add snapshot pairs, block by block."""
        step = block_rows(self._n_columns)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            part.update(*self._lifted(x[rows], u[rows], y_next[rows]))

    @property
    def rcond(self) -> float:
        """Singular values below it times the largest are cut."""
        return self._settings.rcond

    @property
    def penalty_is_free(self) -> bool:
        """Whether the penalty is chosen from the data."""
        return self._settings.ridge == AUTO

    def solve(self, held_out: bool = True, floor: float = 0.0) -> tuple[RecurrentNetwork, LeastSquares]:
        """Solve for the outer weights over all data seen, or without the episodes that are held out.

        Penalties are raised to at least `floor`.
        """
        if self._away is not None:
            self._fitted, self._held_out = (away.collect() for away in self._away)
        rcond, penalty = self._settings.rcond, Penalty(self._settings.ridge)
        if penalty.ridge == AUTO:
            if self._chosen is None:
                self._chosen = self._penalty()
            penalty = self._chosen
        both = held_out and self._held_out.n_rows
        part = self._fitted.merge(self._held_out) if both else self._fitted
        solution = part.solve(rcond, penalty.ridge, penalty.weights)
        if (solution.ridge < floor).any():
            solution = part.solve(rcond, np.maximum(solution.ridge, floor), penalty.weights)
        return self._network(solution.coef), solution

    @property
    def trials(self) -> list[Snapshots]:
        """Pairs of the episodes that are held out while penalties are chosen, as far as they are kept."""
        return self._trials

    @property
    def n_rows(self) -> int:
        """Number of pairs seen."""
        parts = (self._fitted, self._held_out) if self._away is None else self._away
        return sum(part.n_rows for part in parts)

    def _penalty(self) -> Penalty:
        """By free runs where episodes were held out and are long enough, else by evidence."""
        horizon = min(self._settings.horizon, max((len(t.x) for t in self._trials), default=0))
        if not (horizon and self._fitted.n_rows):
            return Penalty(AUTO)
        penalty, _ = penalty_by_free_run(
            self._fitted,
            self._settings.rcond,
            self._network,
            cut(*join(self._trials), horizon, _MAX_SEGMENTS),
            self._coupling.nonlinear(self._blank.n_dictionary, self._window.n_x),
        )
        return penalty

    def _network(self, coef: FloatArray) -> RecurrentNetwork:
        return replace(self._blank, coef=self._coupling.expand(coef, self._blank.n_dictionary))

    @property
    def snapshots(self) -> Snapshots:
        """The reference pairs for the lifted face."""
        return Snapshots(*self._reservoir)

    def _keep(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> None:
        # Reservoir by random keys, one for each run of rows: the MAX_SNAPSHOTS smallest keys over all rows
        # ever seen are a uniform sample without replacement, whatever the batches. Order in time is kept.
        drawn = self._rng.random(-(-len(x) // RUN))
        keys = np.concatenate([self._keys, np.repeat(drawn, RUN)[: len(x)]])
        rows = [np.concatenate(pair) for pair in zip(self._reservoir, (x, u, y_next), strict=True)]
        if len(keys) > MAX_SNAPSHOTS:
            chosen = np.sort(np.argpartition(keys, MAX_SNAPSHOTS)[:MAX_SNAPSHOTS])
            keys, rows = keys[chosen], [r[chosen] for r in rows]
        self._keys, self._reservoir = keys, rows


def _no_layer(n_in: int) -> Layer:
    return Layer(np.empty((0, n_in)), np.empty(0), "tanh")


def _check_excitation(data: Trajectories, outputs: FloatArray, inputs: FloatArray) -> None:
    """Refuse outputs that never change; say which inputs or single outputs do not."""
    constant_y = [n for n, c in zip(data.output_names, np.ptp(outputs, axis=0) == 0, strict=True) if c]
    if len(constant_y) == data.n_y:
        raise DataError(f"all outputs {constant_y} are constant; expected records in which something changes")
    constant_u = (
        [n for n, c in zip(data.input_names, np.ptp(inputs, axis=0) == 0, strict=True) if c]
        if len(inputs)
        else []
    )
    if constant_y or constant_u:
        warn(
            f"signals {constant_y + constant_u} are constant in the data: their effect cannot be identified",
            NumericalWarning,
        )
