r"""Records whose noise a model takes out before they are fitted to.

One-step least squares is consistent where the state is known. Noise on the records is noise on its regressors
too, which biases the outer weights towards zero, and what a filter then sees of the plant in closed loop is
wrong in the same way. With the extended Kalman filter of a first fit, and noise covariances from its
innovations (`koopctrl.identification.one_step_noise`), the Rauch-Tung-Striebel pass

.. math:: x_{k|N} = x_{k|k} + G_k (x_{k+1|N} - x_{k+1|k}), \qquad G_k = P_{k|k} A_k' P_{k+1|k}^{-1}

gives the records as the model would have them, in view of all samples; the network is fitted anew to these,
and so on. A model is hardly ever worse along records that it made itself: rounds are judged on episodes that
were held out, as measured, by the free run that follows some samples of filtering; the best of them is kept,
and two in a row that do not help end them.

Rauch, Tung, Striebel, *Maximum likelihood estimates of linear dynamic systems*, AIAA Journal 3, 1965.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import KoopctrlWarning
from koopctrl.identification.held_out import Segments, Snapshots, cut, join
from koopctrl.identification.one_step import Identification
from koopctrl.identification.one_step_noise import one_step_noise
from koopctrl.identification.penalty import free_run_error
from koopctrl.identification.window_filter import FilterStep, filter_steps, first_covariance, standardised
from koopctrl.network.folded import Rollout
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork

# Records are smoothed in pieces of this many pairs, which lap over by this many.
_PIECE, _LAP = 500, 50
# Numbers that are kept at a time on the way forward.
_MOST_NUMBERS = 2e7
# Of a measurement's variance: what an exact entry of a window is known by, for the solve.
_EXACT = 1e-12
_FILTERED, _HORIZON, _MAX_SEGMENTS = 10, 20, 200
_MOST_ROUNDS = 5
# Shares by which a round, and all of them together, must lower the error.
_GAIN, _WORTH = 0.01, 0.05
# Residuals below, in standard deviations of the outputs, and process noise beyond, in measurement noise,
# where there is nothing to smooth.
_EXACT_RECORD, _MOST_PROCESS = 1e-3, 30.0
# The same of the last round that was kept: beyond, what was taken out is the model's own error.
_OF_NOISE = 0.5


@dataclass(frozen=True, eq=False)
class Smoothing:
    """What smoothing the records of a fit came to.

    Attributes
    ----------
    errors : tuple of float
        Free-run errors on held-out episodes, in standard deviations of the outputs: of the fit to the records
        as measured, then of each round that was kept.
    measured : Snapshots
        Training pairs as measured; the model's `snapshots_` are the smoothed ones.
    """

    errors: tuple[float, ...]
    measured: Snapshots


@dataclass(frozen=True)
class _Piece:
    """Pairs `start` to `stop` of an episode, whose windows from `first` to `last` are taken."""

    episode: int
    start: int
    stop: int
    first: int
    last: int


def fit_smoothed(
    work: Identification, data: Trajectories, begin: Callable[[Trajectories], Identification]
) -> tuple[Identification, Trajectories, Smoothing | None]:
    """An identification on smoothed records where held-out episodes say so, and these records.

    Parameters
    ----------
    work : Identification
        That on the records as measured.
    data : Trajectories
        The records.
    begin : callable
        Identification on other records, with the same settings and layer's seed.
    """
    trials, measured = work.trials, work.snapshots
    if not trials or len(measured.x) < work.n_rows:  # too long: thinned
        return work, data, None
    network, solution = work.solve(held_out=False)
    if np.all(solution.residual_rms < _EXACT_RECORD):
        return work, data, None
    Q, R = one_step_noise(network, measured)
    error = filtered_error(network, trials, Q, R)
    if error is None or np.trace(Q) > _MOST_PROCESS * np.trace(R):
        return work, data, None
    errors, found, in_vain, of_noise = [error], (work, data), 0, True
    for _ in range(_MOST_ROUNDS):
        tried = smoothed(network, data, Q, R)
        if tried is None:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KoopctrlWarning)  # said of the records as measured
            candidate = begin(tried)
        network, _ = candidate.solve(held_out=False)
        Q, R = one_step_noise(network, measured)
        error = filtered_error(network, trials, Q, R)
        if error is not None and error < (1.0 - _GAIN) * errors[-1]:
            found, in_vain = (candidate, tried), 0
            of_noise = bool(np.trace(Q) <= _OF_NOISE * np.trace(R))
            errors.append(error)
        elif in_vain:
            break
        else:
            in_vain = 1
    if not of_noise or errors[-1] > (1.0 - _WORTH) * errors[0]:
        return work, data, None
    return *found, Smoothing(tuple(errors), measured)


def smoothed(
    network: RecurrentNetwork, data: Trajectories, Q: FloatArray, R: FloatArray
) -> Trajectories | None:
    """Records with outputs in view of all samples of their episode.

    Parameters
    ----------
    network : RecurrentNetwork
    data : Trajectories
    Q, R : (n_y, n_y) arrays
        Covariances of process noise on the next outputs and of measurement noise, in units of the network's
        scaling.

    Returns
    -------
    Trajectories or None
        None where a filter loses an episode.
    """
    window, outputs = network.window, [e.outputs.copy() for e in data]
    pairs = [standardised(network, Snapshots(*window.pairs(e.outputs, e.inputs)))[1] for e in data]
    roll = Rollout(standardised(network, pairs[0])[0])
    for some in _batches([len(p.x) for p in pairs], window.n_x):
        found = _smooth_batch(roll, [pairs[p.episode] for p in some], some, Q, R)
        if found is None:
            return None
        for piece, states in zip(some, found, strict=True):
            _put(outputs[piece.episode], piece, states * network.x_scale + network.x_mean, window)
    return Trajectories.from_arrays(
        outputs, [e.inputs for e in data], dt=data.dt, output_names=list(data.output_names),
        input_names=list(data.input_names),
    )  # fmt: skip


def filtered_error(
    network: RecurrentNetwork, trials: list[Snapshots], Q: FloatArray, R: FloatArray
) -> float | None:
    """Error of free runs along measured episodes, each from a filter's estimate; None where all are short."""
    longest = max((len(t.x) for t in trials), default=0)
    n_filtered = min(_FILTERED, longest // 3)
    horizon = min(_HORIZON, longest - n_filtered)
    if n_filtered < 1 or horizon < 1:
        return None
    network, pairs = standardised(network, join(trials)[0])
    roll = Rollout(network)
    whole = cut(pairs, join(trials)[1], n_filtered + horizon, _MAX_SEGMENTS)
    first = slice(0, n_filtered)
    steps = filter_steps(roll, whole.x0, whole.u[:, first], whole.y[:, first], Q, R)
    *_, last = steps
    start = np.where(np.isfinite(last.filtered), last.filtered, network.x_mean)
    return free_run_error(network, Segments(start, whole.u[:, n_filtered:], whole.y[:, n_filtered:]))


def _batches(n_pairs: list[int], n_x: int) -> list[list[_Piece]]:
    """All records in pieces, the longest first, in batches whose numbers can be kept."""
    pieces = []
    for i, n in enumerate(n_pairs):
        for start in range(0, n, _PIECE):
            low, high = max(0, start - _LAP), min(n, start + _PIECE + _LAP)
            # The last window of a record is taken too.
            last = n if start + _PIECE >= n else start + _PIECE - 1
            pieces.append(_Piece(i, low, high, start, last))
    pieces.sort(key=lambda p: p.start - p.stop)
    made: list[list[_Piece]] = []
    numbers = np.inf
    for piece in pieces:
        own = 4.0 * (piece.stop - piece.start) * n_x**2
        if numbers + own > _MOST_NUMBERS:
            made.append([])
            numbers = 0.0
        made[-1].append(piece)
        numbers += own
    return made


def _smooth_batch(
    roll: Rollout, pairs: list[Snapshots], some: list[_Piece], Q: FloatArray, R: FloatArray
) -> list[FloatArray] | None:
    """Smoothed windows `(n_steps + 1, n_x)` of pieces that go from long to short; None where one is lost."""
    lengths = np.array([p.stop - p.start for p in some])
    u = np.zeros((len(some), lengths[0], roll.n_u))
    y_next = np.zeros((len(some), lengths[0], roll.n_y))
    for i, (piece, own) in enumerate(zip(some, pairs, strict=True)):
        u[i, : lengths[i]], y_next[i, : lengths[i]] = (
            a[piece.start : piece.stop] for a in (own.u, own.y_next)
        )
    x0 = np.array([own.x[piece.start] for piece, own in zip(some, pairs, strict=True)])
    steps = list(filter_steps(roll, x0, u, y_next, Q, R, lengths))
    if not all(np.isfinite(s.error).all() and np.isfinite(s.filtered).all() for s in steps):
        return None
    states = np.empty((len(some), lengths[0] + 1, roll.n_x))
    _backward(roll, steps, states, lengths, x0, R)
    found: list[FloatArray] = [states[i, : n + 1] for i, n in enumerate(lengths)]
    return found if all(np.isfinite(s).all() for s in found) else None


def _backward(
    roll: Rollout,
    steps: list[FilterStep],
    states: FloatArray,
    lengths: np.ndarray,
    x0: FloatArray,
    R: FloatArray,
) -> None:
    """Fill `states` from the end; row `i` is right from `lengths[i]` back."""
    exact = _EXACT * np.trace(R) / len(R) * np.eye(roll.n_x)
    for i, n in enumerate(lengths):
        states[i, n] = steps[n - 1].filtered[i]
    first = np.broadcast_to(first_covariance(roll, R), (len(x0), roll.n_x, roll.n_x))
    for k in range(len(steps) - 1, -1, -1):
        step, n = steps[k], len(steps[k].predicted)
        x, P = (steps[k - 1].filtered[:n], steps[k - 1].filtered_cov[:n]) if k else (x0, first)
        gain = np.swapaxes(np.linalg.solve(step.predicted_cov + exact, step.slope @ P), 1, 2)
        ahead = states[:n, k + 1] - step.predicted
        states[:n, k] = x + (gain @ ahead[..., None])[..., 0]


def _put(outputs: FloatArray, piece: _Piece, states: FloatArray, window: LagWindow) -> None:
    """Newest outputs of the windows that are taken; of the record's first, the older ones too."""
    n_y, newest = window.n_y, window.n_samples - 1
    taken = states[piece.first - piece.start : piece.last + 1 - piece.start]
    outputs[newest + piece.first : newest + piece.last + 1] = taken[:, :n_y]
    if piece.first == 0:
        for lag in range(1, window.output_lags):
            outputs[newest - lag] = states[0, lag * n_y : (lag + 1) * n_y]
