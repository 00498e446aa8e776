r"""Refinement of one-step networks along free runs: Levenberg-Marquardt on the outer weights.

A one-step fit knows nothing of what its errors do when they are fed back. From it,

.. math::
    \min_W \sum_s \sum_{k=1}^{N} \rho(\|y_k^{(s)} - \hat y_k^{(s)}\|^2), \qquad
    \rho(e) = e / (1 + e),

over segments of `N` samples that start where the data are, in standard deviations of the outputs: a run
that is one standard deviation off is lost, and how far it then goes says nothing (Geman and McClure's
function). Horizons grow, so that runs which explode at first are caught while they are still close.

The weights move in directions that one step of the data tells apart, each scaled by how well: with the
column-scaled regressors' singular values `s` and the ridge penalty `r`,
`W = W_0 + D^{-1} V diag((s^2 + r)^{-1/2}) z`. The cost of one step then rises by `|z|^2`, which is added, so
that short segments are not fitted at the expense of all others. Sensitivities run forward beside the outputs;
each iteration tries several dampings at once.

What is held out of the fit judges every iterate; the one-step fit itself is kept where none is better.

Source: Nocedal & Wright, *Numerical Optimization*, 2nd ed., section 10.3; weights after Holland & Welsch,
*Comm. Statist. A* 6, 1977.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Segments, Snapshots, cut, episodes, split
from koopctrl.identification.least_squares import AUTO, QRAccumulator, block_rows
from koopctrl.identification.one_step import DEFAULT_HORIZON, Identification
from koopctrl.identification.penalty import free_run_error, segment_errors
from koopctrl.network.folded import Rollout
from koopctrl.network.recurrent import RecurrentNetwork

_DAMPINGS = np.array([1e-2, 1.0, 1e2])  # candidates, times the last one that was accepted
_FIRST_DAMPING = 1e-2  # of the Jacobian's largest squared singular value
_ITERATIONS = 3  # at each horizon
_SHORTEST, _GROWTH = 3, 2  # horizon, and by how much it grows
_PATIENCE = 2  # horizons without a better held-out error after which it stops
_SETTLED = 1e-3  # relative fall of the cost after which the next horizon's turn has come
_DIRECTIONS, _UNKNOWNS = 200, 600  # most of each output, and in all
_SEGMENTS, _ROWS = 1000, 40_000  # most that are fitted to, and samples of outputs in them
_JUDGED = 200  # segments that judge
_ELEMENTS = 20_000_000  # of a Jacobian at a time
_LONGEST = 1000  # samples of a whole record
SIMULATION = "simulation"
_GAIN = 0.02  # share by which free runs must be better than those of the one-step fit
# A second start is fitted with at least this penalty: what noise-free records pin down to rounding is wild
# between them, and free runs that explode teach nothing.
_STIFF = 1e-4
# Refined by itself is a network that foresees most segments, but loses at least this share of them.
_LOST, _FORESEEN = 0.01, 0.25


@dataclass
class WindowHistory:
    """What happened.

    Attributes
    ----------
    horizons : list of int
        Samples of the free runs of each iteration.
    cost : list of float
        Sum of `rho` over these and `|z|^2`, after each iteration at its own horizon.
    held_out : list of float
        Error of free runs over the whole horizon on held-out segments: of the start, then after each
        iteration.
    chosen : int
        Iterations of the network that was taken; 0 is the one-step fit.
    """

    horizons: list[int] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    chosen: int = 0


class Directions:
    """Directions of the outer weights that one step of some data tells apart.

    Parameters
    ----------
    network : RecurrentNetwork
    snapshots : Snapshots
        Pairs that it was fitted to.
    rcond : float
        Directions with singular values below it times the largest are left alone.
    ridge : (n_y,) array
        Penalty of each output, as it was fitted.
    """

    def __init__(
        self, network: RecurrentNetwork, snapshots: Snapshots, rcond: float, ridge: FloatArray
    ) -> None:
        coupling, m = network.coupling, network.n_dictionary
        factor = QRAccumulator(coupling.n_fitted(m), 0)
        step = block_rows(coupling.n_fitted(m))
        for start in range(0, len(snapshots.x), step):
            rows = slice(start, start + step)
            xs, us = network.standardise(snapshots.x[rows], snapshots.u[rows])
            factor.update(coupling.regressors(network.dictionary(xs, us), us), np.empty((len(xs), 0)))
        R = factor.factor
        norms = np.linalg.norm(R, axis=0)
        norms = np.where(norms > 0.0, norms, 1.0)
        _, s, vt = np.linalg.svd(R / norms, full_matrices=False)
        most = min(_DIRECTIONS, max(1, _UNKNOWNS // len(ridge)))
        keep = min(int(np.count_nonzero(s > max(rcond, 1e-12) * s[0])), most)
        self.basis, self._values = vt[:keep].T / norms[:, None], s[:keep]
        self.n_y, self.sizes = len(ridge), self._sizes(ridge)

    def _sizes(self, ridge: FloatArray) -> FloatArray:
        return 1.0 / np.sqrt(self._values[:, None] ** 2 + ridge)  # (n_directions, n_y)

    def at(self, ridge: FloatArray) -> Directions:
        """The same directions for weights that were fitted with another penalty."""
        other = copy(self)
        other.sizes = self._sizes(ridge)
        return other

    @property
    def n(self) -> int:
        """Numbers that weights are moved by."""
        return self.sizes.size

    def moved(self, network: RecurrentNetwork, z: FloatArray) -> RecurrentNetwork:
        """The network with its weights moved by `z`, output by output."""
        change = self.basis @ (self.sizes * z.reshape(self.n_y, -1).T)
        return replace(network, coef=network.coef + network.coupling.expand(change, network.n_dictionary))


def refine_one_step(
    work: Identification, horizon: int | str, most: int
) -> tuple[RecurrentNetwork, WindowHistory] | None:
    """Refine what a one-step identification has found; None where nothing was to be refined.

    Parameters
    ----------
    work : Identification
    horizon : int or {"auto", "simulation"}
        Samples of the free runs; whole records of up to 1,000 samples; or twenty, where the network foresees
        most of the held-out segments and is lost on others.
    most : int
        Most iterations.
    """
    snapshots, by_itself = work.snapshots, horizon == AUTO
    runs = episodes(work.blank.window, snapshots)
    fit, judge = split(runs)
    longest = max((r.stop - r.start for r in judge or runs), default=0)
    wanted = {AUTO: DEFAULT_HORIZON, SIMULATION: _LONGEST}.get(horizon, horizon)  # pyright: ignore
    n = min(int(wanted), longest)
    if n < 2 or not work.blank.n_dictionary > 1:
        return None

    def segments(some: list[slice], many: int) -> Segments:
        return cut(snapshots, some, n, max(1, min(many, _ROWS // (n * work.blank.window.n_y))))

    held_out = segments(judge or runs, _JUDGED)
    if by_itself and not (judge and _is_lost(work.solve(held_out=False)[0], held_out)):
        return None
    base, best, first, space = np.inf, None, np.zeros(0), None
    for floor in (0.0, _STIFF):
        network, solution = work.solve(held_out=False, floor=floor)
        if floor and (not work.penalty_is_free or (first >= floor).all()):
            continue
        first = solution.ridge
        if space is None:
            space = Directions(network, snapshots, work.rcond, first)
        space = space.at(first)
        _, history = refine_windows(network, space, segments(fit or runs, _SEGMENTS), held_out, most)
        base = min(base, history.held_out[0])
        error = history.held_out[history.chosen]
        if history.chosen and error < (1.0 - _GAIN) * base and (best is None or error < best[0]):
            best = error, floor, history
    if best is None or space is None:
        return None
    _, floor, history = best
    network, solution = work.solve(floor=floor)
    network, _ = refine_windows(
        network, space.at(solution.ridge), segments(runs, _SEGMENTS), None, history.chosen
    )
    return network, history


def _is_lost(network: RecurrentNetwork, segments: Segments) -> bool:
    errors = segment_errors(network, segments)
    return bool(np.mean(errors >= 1.0) >= _LOST and np.median(errors) < _FORESEEN)


def refine_windows(
    network: RecurrentNetwork,
    directions: Directions,
    segments: Segments,
    judge: Segments | None,
    iterations: int,
) -> tuple[RecurrentNetwork, WindowHistory]:
    """Refine a network's outer weights along free runs.

    Parameters
    ----------
    network : RecurrentNetwork
        Start: without a known part.
    directions : Directions
    segments : Segments
        What is fitted to; those of the whole horizon.
    judge : Segments, optional
        Held out. Without it the last iterate is returned.
    iterations : int
        Most of them in all.
    """
    history, best, best_error = WindowHistory(), network, np.inf
    if judge is not None:
        best_error = free_run_error(network, judge)
        history.held_out.append(best_error)
        best_error *= 1.0 - _GAIN
    done, damping, z, last = 0, _FIRST_DAMPING, np.zeros(directions.n), 0
    start = network
    for index, horizon in enumerate(_horizons(segments.horizon)):
        if index - last >= _PATIENCE:
            break
        some = Segments(segments.x0, segments.u[:, :horizon], segments.y[:, :horizon])
        cost = _cost(network, some) + float(z @ z)
        for _ in range(_ITERATIONS):
            if done >= iterations:
                break
            found = _improved(start, directions, some, z, cost, damping)
            if found is None:
                break
            fall = cost - found[2]
            network, z, cost, damping = found
            done += 1
            history.horizons.append(horizon)
            history.cost.append(cost)
            if judge is None:
                best, history.chosen, last = network, done, index + 1
            else:
                error = free_run_error(network, judge)
                history.held_out.append(error)
                if error < best_error:
                    best, best_error, history.chosen, last = network, error, done, index + 1
            if fall < _SETTLED * cost:
                break
    return best, history


def _horizons(longest: int) -> Sequence[int]:
    """Three, six, .. samples, then all of them."""
    found, n = [], _SHORTEST
    while n < longest:
        found.append(n)
        n *= _GROWTH
    return [*found, longest]


def _cost(network: RecurrentNetwork, segments: Segments) -> float:
    """Sum of `rho` over all samples of all segments."""
    y, _ = network.rollout(segments.x0, segments.u)
    error = (y[:, 1:] - segments.y) / network.scaling.y_scale
    with np.errstate(over="ignore"):
        square = np.sum(error**2, axis=2)
    return float(np.sum(1.0 - 1.0 / (1.0 + square)))


def _improved(
    start: RecurrentNetwork,
    directions: Directions,
    segments: Segments,
    z: FloatArray,
    cost: float,
    damping: float,
) -> tuple[RecurrentNetwork, FloatArray, float, float] | None:
    """A network of lower cost, its cost and damping; None where no damping gives one."""
    size = segments.horizon * directions.n_y * directions.n
    network = directions.moved(start, z)
    # [J, e]'[J, e]: what small singular values lose in the square is below the unit penalty on z.
    square = np.zeros((directions.n + 1, directions.n + 1))
    square[:-1, :-1], square[:-1, -1] = np.eye(directions.n), -z
    group = max(1, _ELEMENTS // size)
    for first in range(0, len(segments), group):
        part = slice(first, first + group)
        some = Segments(segments.x0[part], segments.u[part], segments.y[part])
        rows = _rows(network, directions, some)
        square += rows.T @ rows
    if not np.isfinite(square).all():
        return None
    sizes, v = np.linalg.eigh(square[:-1, :-1])
    slope = v.T @ square[:-1, -1]
    for trust in (1.0, 1e4):
        best: tuple[RecurrentNetwork, FloatArray, float, float] | None = None
        for one in damping * trust * _DAMPINGS:
            moved = z + v @ (slope / (sizes + one * sizes[-1]))
            tried = directions.moved(start, moved)
            found = _cost(tried, segments) + float(moved @ moved)
            if found < (cost if best is None else best[2]):
                best = tried, moved, found, float(np.clip(one, 1e-12, 1e6))
        if best is not None:
            return best
    return None


def _rows(network: RecurrentNetwork, directions: Directions, segments: Segments) -> FloatArray:
    """Weighted rows `[J, e]`, one for each output, sample and segment."""
    scaling, window, n_y = network.scaling, network.window, network.window.n_y
    roll, batch, n = Rollout(network), len(segments), directions.sizes.shape[0]
    seen = n_y * window.output_lags
    ratio = network.x_scale[:seen] / scaling.y_scale[:, None]
    x, coef = segments.x0, network.coupling.contract(network.coef, network.n_dictionary)
    past = np.zeros((batch, seen, directions.n))  # of the outputs in the window, newest first
    table = np.empty((batch, segments.horizon, n_y, directions.n + 1))
    with np.errstate(all="ignore"):  # a run that is lost has no weight
        for k in range(segments.horizon):
            u = segments.u[:, k]
            xs, us = network.standardise(x, u)
            regressors = network.coupling.regressors(network.dictionary(xs, us), us)
            rows = regressors @ directions.basis
            slope = roll.jacobians(x, u)[0][:, :n_y, :seen] * ratio
            now = slope @ past
            for i in range(n_y):
                now[:, i, i * n : (i + 1) * n] += rows * directions.sizes[:, i]
            y = x[:, :n_y] + scaling.y_scale * (regressors @ coef)
            error = (segments.y[:, k] - y) / scaling.y_scale
            table[:, k, :, :-1], table[:, k, :, -1] = now, error
            x = window.advance(x, u, y)
            past = np.concatenate([now, past[:, : seen - n_y]], axis=1)
        weight = 1.0 / (1.0 + np.sum(table[..., -1] ** 2, axis=2))
        table *= weight[..., None, None]
    lost = ~np.isfinite(table).all(axis=(2, 3)) | (weight < 1e-3)
    # What comes after a run was lost says nothing.
    table[np.logical_or.accumulate(lost, axis=1)] = 0.0
    return table.reshape(-1, directions.n + 1)
