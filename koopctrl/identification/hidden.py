"""From records to a network with a hidden state: subspace start, sampled layers, refinement, adapted
resampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from koopctrl._validation import FloatArray
from koopctrl.data.missing import interpolated, whole_stretches
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError
from koopctrl.identification.adapted import Directions
from koopctrl.identification.continuation import grow_horizon, has_failed
from koopctrl.identification.hidden_layers import (
    HiddenSettings,
    add_layers,
    linear_start,
    resample_layers,
    rescale,
)
from koopctrl.identification.initial_state import StatePrior, estimate_initial_states
from koopctrl.identification.linear_model import InnovationModel
from koopctrl.identification.noise_model import identify_noise
from koopctrl.identification.refinement import History, refine
from koopctrl.identification.segments import Segments, cut
from koopctrl.identification.sensitivities import Weights, free_run
from koopctrl.identification.smoothed_start import is_stuck, smoothed_start
from koopctrl.identification.subspace import subspace
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import Scaling

_LONG_STRETCH = 20  # samples a state
LINEAR_ITERATIONS = 30  # most that the linear model is refined before neurons are added


@dataclass(frozen=True, eq=False)
class LinearStart:
    """Subspace model, and the network without neurons and initial states that refining it has given."""

    linear: InnovationModel
    network: HiddenNetwork
    x0: FloatArray
    history: History


@dataclass(frozen=True, eq=False)
class HiddenFit:
    """Network, prior of its initial states, states and inputs of its roll-outs, and histories."""

    network: HiddenNetwork
    prior: StatePrior
    states: FloatArray
    inputs: FloatArray
    next_states: FloatArray
    histories: list[History]
    start: LinearStart
    noise: tuple[FloatArray, FloatArray]
    directions: list[Directions]
    masked_runs: list[FloatArray] = field(default_factory=list)


def standardise(data: Trajectories, scaling: Scaling) -> list[tuple[FloatArray, FloatArray]]:
    """`(outputs, inputs)` of each record in standardised units."""
    return [
        ((e.outputs - scaling.y_mean) / scaling.y_scale, (e.inputs - scaling.u_mean) / scaling.u_scale)
        for e in data
    ]


def start_data(train: Trajectories, n_states: int) -> Trajectories:
    """Records for the linear start, which cannot skip samples: whole stretches, if most samples are in long
    ones; else what is missing is guessed. Refinement counts the measured samples alone.
    """
    if not train.missing:
        return train
    long = _LONG_STRETCH * max(n_states, 2)
    stretches = [e for e in whole_stretches(train, 1) if len(e) >= long]
    if sum(map(len, stretches)) >= 0.5 * sum(map(len, train)):
        return Trajectories(stretches)
    return Trajectories(
        Trajectory(interpolated(e.outputs), e.inputs, e.dt, e.output_names, e.input_names, e.label)
        for e in train
    )


def prior_of(net: HiddenNetwork, data: Segments, x0: FloatArray) -> tuple[StatePrior, FloatArray]:
    """Prior of initial states from the training roll-outs, and their states `(n_time, batch, n_x)`."""
    x, out = free_run(net, Weights(net.coef, net.readout.coef, x0), data)
    inside = data.mask.any(axis=2)
    points = x[inside]
    points = points[np.isfinite(points).all(axis=1)]
    n_x, n_y = net.window.n_x, data.w.shape[2]
    mean = points.mean(axis=0) if len(points) else np.zeros(n_x)
    cov = np.cov(points.T).reshape(n_x, n_x) if len(points) > 1 else np.eye(n_x)
    error = np.where(np.isfinite(out), (data.w - out) * data.mask, 0.0).reshape(-1, n_y)
    error_cov = error.T @ error / max(data.count / n_y, 1.0)
    return StatePrior(mean, cov, error_cov), x


def fit_hidden(
    train: Trajectories,
    settings: HiddenSettings,
    rng: np.random.Generator,
    held_out: Trajectories | None = None,
    n_init: int = 20,
    known_start: LinearStart | None = None,
    progress: Callable[[int, float, float | None], None] | None = None,
    deadline: Callable[[], bool] | None = None,
    with_noise: bool = True,
    continuation: bool = True,
    masked: tuple[Trajectories, list[NDArray[np.bool_]]] | None = None,
) -> HiddenFit:
    """Fit a hidden-state network.

    Parameters
    ----------
    train : Trajectories
    settings : HiddenSettings
    rng : numpy.random.Generator
        For the layers.
    held_out : Trajectories, optional
        Records that choose where refinement stops; `n_init` of their samples initialise.
    known_start : LinearStart, optional
        Of an earlier fit to the same data, order and segments, which found it without `held_out`.
    progress, deadline : callables, optional
        As in `koopctrl.identification.refinement.refine`.
    with_noise : bool
        Whether to identify the noise too, which only an estimator in a loop needs.
    continuation : bool
        Whether to go on from the beginning of the records where the direct refinement has failed though the
        linear model's one-step error says that they can be foreseen.
    masked : (Trajectories, list of (n_samples,) bool arrays), optional
        Records to refine on instead of `train`, and which of their outputs must not be looked at: the
        roll-outs go on through those samples, and `masked_runs` of the fit is what they are there.

    Returns
    -------
    HiddenFit
    """
    linear = (
        subspace(
            start_data(train, settings.n_states),
            settings.n_states,
            feedthrough=settings.feedthrough,
            stable=True,
        )
        if known_start is None
        else known_start.linear
    )
    scaling = Scaling.from_data(
        np.concatenate([e.outputs for e in train]), np.concatenate([e.inputs for e in train])
    )
    records = standardise(train, scaling)
    if masked is not None:
        records = [
            (np.where(hide[:, None], np.nan, y), u)
            for (y, u), hide in zip(standardise(masked[0], scaling), masked[1], strict=True)
        ]
    data = cut(records, settings.segment, settings.feedthrough, n_min=2 * settings.n_states)
    if not data.count:
        raise DataError("no output sample of the records is usable; expected some that are not NaN")
    longest = max(len(e) for e in train)
    limit = 1.0 - 0.1 / longest if linear.spectral_radius < 1.0 else np.inf
    settings = replace(settings, options=replace(settings.options, radius=limit))
    continuation = continuation and settings.options.max_iter > 0
    directions: list[Directions] = []
    judge = None
    if held_out is not None:
        judge = HeldOut(standardise(held_out, scaling), settings, n_init)
    begin = known_start or _linear_start(linear, scaling, data, settings, judge, progress, deadline)
    net, x0, histories = begin.network, begin.x0, [begin.history]
    prior, x = prior_of(net, data, x0)
    if settings.n_features or settings.n_output_features:
        net = _recentred(net, prior)
        spread = np.sqrt(np.diag(prior.cov))
        spread = np.where(spread > 0, spread, 1.0)
        x0 = (x0 - prior.mean) / spread
        prior, x = prior_of(net, data, x0)
        without = net
        foreseen = float(np.mean(np.diag(linear.innovation_cov) / scaling.y_scale**2))
        net = add_layers(net, x, data, settings, rng)
        idle, x0_idle = net, x0
        best: tuple[float, HiddenNetwork, FloatArray] | None = None
        for turn in range(settings.rounds + 1):
            if judge is not None:
                judge.prior = prior
            net, x0, history = refine(net, data, x0, settings.options, judge, progress, deadline)
            if turn == 0 and is_stuck(history, data, foreseen):
                start = smoothed_start(idle, data, x0_idle, settings.options, history.cost[-1], deadline)
                if start is not None:
                    other = refine(start[0], data, start[1], settings.options, judge, progress, deadline)
                    if _is_better(other[2], history):
                        net, x0, history = other
            if continuation and judge is None and turn == 0 and has_failed(history, data, foreseen):
                other = grow_horizon(
                    without, data, prior, settings.options,
                    lambda n, states, some: add_layers(n, states, some, settings, rng), progress, deadline,
                )  # fmt: skip
                if other[2].cost[-1] < history.cost[-1]:
                    net, x0, history = other
            histories.append(history)
            error = history.cost[-1] if judge is None else judge(net)
            if best is None or error < best[0]:
                best = error, net, x0
            prior, x = prior_of(net, data, x0)
            if turn < settings.rounds:
                net, found = resample_layers(net, x, data, settings, rng)
                directions.append(found)
        assert best is not None
        _, net, x0 = best
        prior, x = prior_of(net, data, x0)
    inside = data.inside
    both = (inside[:-1] & inside[1:]).T  # pairs in order of time, segment by segment
    v = data.v[:-1].swapaxes(0, 1)[both]
    zero = np.zeros((net.window.n_x, net.window.n_x))
    noise = identify_noise(net, data, x0, prior) if with_noise else (zero, prior.error_cov)
    return HiddenFit(
        network=net,
        prior=prior,
        states=x[:-1].swapaxes(0, 1)[both],
        inputs=scaling.u_mean + scaling.u_scale * v,
        next_states=x[1:].swapaxes(0, 1)[both],
        histories=histories,
        start=begin,
        noise=noise,
        directions=directions,
        masked_runs=[] if masked is None else _whole_runs(net, data, x0, masked[0]),
    )


def _linear_start(
    linear: InnovationModel,
    scaling: Scaling,
    data: Segments,
    settings: HiddenSettings,
    judge: HeldOut | None,
    progress: Callable[[int, float, float | None], None] | None,
    deadline: Callable[[], bool] | None,
) -> LinearStart:
    """The linear model, refined: the best linear free run is where the neurons start from."""
    net = linear_start(linear, scaling, settings.feedthrough)
    start = StatePrior(
        np.zeros(linear.n_x),
        linear.state_cov,
        linear.innovation_cov / np.outer(scaling.y_scale, scaling.y_scale),
    )
    x0 = estimate_initial_states(net, data, start)
    # States of unit spread, so that the layer's and the penalty's units are theirs.
    prior, _ = prior_of(net, data, x0)
    spread = np.sqrt(np.diag(prior.cov))
    spread = np.where(spread > 0, spread, 1.0)
    net = rescale(net, prior.mean, spread)
    x0 = (x0 - prior.mean) / spread
    if judge is not None:
        judge.prior = prior_of(net, data, x0)[0]
    options = replace(settings.options, max_iter=min(settings.options.max_iter, LINEAR_ITERATIONS))
    net, x0, history = refine(net, data, x0, options, judge, progress, deadline)
    return LinearStart(linear, net, x0, history)


def _is_better(history: History, than: History) -> bool:
    """By the held-out error of what was chosen, where there is one; else by the cost."""
    if history.held_out:
        return history.held_out[history.chosen] < than.held_out[than.chosen]
    return history.cost[-1] < than.cost[-1]


def _whole_runs(
    net: HiddenNetwork, data: Segments, x0: FloatArray, records: Trajectories
) -> list[FloatArray]:
    """Free runs of the segments put together to records, in physical units; NaN where one was dropped."""
    _, out = free_run(net, Weights(net.coef, net.readout.coef, x0), data)
    runs = [np.full(e.outputs.shape, np.nan) for e in records]
    for j, (i, a, b) in enumerate(data.where):
        runs[i][a:b] = net.scaling.y_mean + net.scaling.y_scale * out[: b - a, j]
    return runs


def _recentred(net: HiddenNetwork, prior: StatePrior) -> HiddenNetwork:
    spread = np.sqrt(np.diag(prior.cov))
    return rescale(net, prior.mean, np.where(spread > 0, spread, 1.0))


class HeldOut:
    """Free-run error on records that were held out, in standard deviations; a run that leaves counts 10 at
    most.
    """

    def __init__(
        self,
        records: list[tuple[FloatArray, FloatArray]],
        settings: HiddenSettings,
        n_init: int,
    ) -> None:
        self.data = cut(records, settings.segment, settings.feedthrough)
        self.n_init = min(n_init, max(1, self.data.n_time // 3))
        self.prior: StatePrior | None = None  # set before every refinement, whose states it is of

    def __call__(self, net: HiddenNetwork) -> float:
        assert self.prior is not None
        x0 = estimate_initial_states(net, self.data.head(self.n_init), self.prior)
        _, out = free_run(net, Weights(net.coef, net.readout.coef, x0), self.data)
        error = np.where(np.isfinite(out), np.clip(out - self.data.w, -10.0, 10.0), 10.0)[self.n_init :]
        mask = self.data.mask[self.n_init :]
        return float(np.sqrt(np.sum(error**2 * mask) / max(mask.sum(), 1.0)))
