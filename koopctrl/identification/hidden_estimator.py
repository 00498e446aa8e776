"""What `KoopmanRNN` does where its state is hidden: fit, free runs from measured samples, simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector, check_integer, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.hidden import fit_hidden, standardise
from koopctrl.identification.hidden_layers import HiddenSettings
from koopctrl.identification.initial_state import estimate_initial_states
from koopctrl.identification.least_squares import AUTO
from koopctrl.identification.one_step import MAX_SNAPSHOTS, default_width
from koopctrl.identification.refinement import RefineOptions
from koopctrl.identification.segments import cut
from koopctrl.identification.settings import check_refine
from koopctrl.network.free_run import Bounds, FreeRun
from koopctrl.network.hidden_state import HiddenNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

DEFAULT_PENALTY = 1e-4
SEGMENT = 1000  # samples: longer records are cut, so that segments roll out side by side
N_INIT = 20
# Neurons where the caller does not say and the record is long enough.
_N_FEATURES = 20


def hidden_settings(model: KoopmanRNN, checked: Any) -> HiddenSettings:
    """Settings of a hidden-state fit from the estimator's parameters, `checked` being those of every fit."""
    n_states = check_integer(model.n_states, "n_states", low=1)
    n_output = check_integer(model.n_output_features, "n_output_features")
    max_iter = check_integer(model.max_iter, "max_iter")
    rounds = check_integer(model.rounds, "rounds")
    segment = SEGMENT
    wanted = check_refine(model.refine)
    if wanted is None:
        max_iter = 0
    elif not isinstance(wanted, str):
        segment = wanted
    for name in ("output_lags", "input_lags"):
        if getattr(model, name) != 1:
            raise OptionError(
                f"{name} is {getattr(model, name)} and n_states {n_states}; a hidden state needs no lags: "
                f"leave {name} at 1, or n_states at None"
            )
    return HiddenSettings(
        n_states=n_states,
        n_features=checked.n_features,
        n_output_features=n_output,
        sampler=checked.sampler,
        activation=checked.activation,
        feature_scale=checked.feature_scale,
        feedthrough=bool(model.feedthrough),
        segment=segment,
        rounds=rounds,
        options=RefineOptions(
            penalty=DEFAULT_PENALTY if checked.ridge == AUTO else float(checked.ridge), max_iter=max_iter
        ),
    )


def fit_hidden_model(
    model: KoopmanRNN,
    data: Trajectories,
    settings: HiddenSettings,
    rng: np.random.Generator,
    progress: Callable[[int, float, float | None], None] | None = None,
    **known: Any,
) -> None:
    """Fit and set the estimator's attributes; `known` goes to `koopctrl.identification.hidden.fit_hidden`."""
    fraction = check_number(model.validation_fraction, "validation_fraction", low=0.0, high=0.9)
    if settings.n_features is None:
        settings = replace(settings, n_features=default_width(data.n_steps, _N_FEATURES))
    held_out = None
    train = data
    if fraction > 0.0 and "held_out" not in known:
        train, held_out = data.split(fraction, by="time")
        known = {**known, "held_out": held_out}
    feedthrough = settings.feedthrough and data.n_u > 0
    if feedthrough != settings.feedthrough:
        raise OptionError("feedthrough is True but the data have no inputs; expected False")
    found = fit_hidden(train, settings, rng, progress=progress, **known)
    outputs = np.concatenate([e.outputs for e in data])
    model.network_ = found.network
    model.state_prior_ = found.prior
    model.linear_ = found.start.linear
    model._start = found.start
    model.history_ = found.histories
    model.directions_ = found.directions
    model._masked_runs = found.masked_runs
    y_scale = found.network.scaling.y_scale
    model.noise_ = (found.noise[0], found.noise[1] * np.outer(y_scale, y_scale))
    step = max(1, -(-len(found.states) // MAX_SNAPSHOTS))
    model.snapshots_ = Snapshots(found.states[::step], found.inputs[::step], found.next_states[::step])
    model.y_range_ = (np.nanmin(outputs, axis=0), np.nanmax(outputs, axis=0))
    model.dt_, model.output_names_, model.input_names_ = data.dt, data.output_names, data.input_names


def default_n_init(model: KoopmanRNN, data: Trajectories) -> int:
    """Samples that initialise where the caller does not say: enough for the states, at most a third of the
    median record, so that a few short ones do not take the others' samples away.
    """
    wanted = max(N_INIT, 2 * model.network_.window.n_x)
    return max(1, min(wanted, int(np.median([len(e) for e in data])) // 3))


def initial_states(model: KoopmanRNN, data: Trajectories, n_init: int) -> FloatArray:
    """States at the *first* sample of each episode, from its first `n_init` samples."""
    net = hidden_network(model)
    records = [(y[:n_init], u[:n_init]) for y, u in standardise(data, net.scaling)]
    segments = cut(records, n_init, net.readout.feedthrough, n_min=0)
    return estimate_initial_states(net, segments, model.state_prior_)


def run_hidden(
    model: KoopmanRNN, data: Trajectories, n_init: int, bounds: Bounds | None = None
) -> list[FreeRun]:
    """Free run of each episode from its first sample, the state there from its first `n_init` samples."""
    short = min(len(e) for e in data)
    if short < n_init:
        raise DataError(f"X has an episode of {short} samples; expected at least n_init = {n_init}")
    net = hidden_network(model)
    inputs = [_aligned(e) for e in data]
    return run_hidden_states(net, initial_states(model, data, n_init), inputs, bounds)


def run_hidden_states(
    net: HiddenNetwork, x0: FloatArray, inputs: list[FloatArray], bounds: Bounds | None = None
) -> list[FreeRun]:
    """Outputs at the time of every input row, from `(batch, n_x)` states; padded, rolled out together and
    cut.
    """
    longest = max(len(u) for u in inputs)
    padded = np.empty((len(inputs), longest, net.window.n_u))
    for i, u in enumerate(inputs):
        padded[i, : len(u)] = u
        padded[i, len(u) :] = u[-1] if len(u) else net.scaling.u_mean
    acting = padded[:, :-1] if longest else padded
    if bounds is None:
        x, left_at = net.state.rollout(x0, acting)
    else:
        x, left_at = net.state.bounded_rollout(x0, acting, *bounds)
    y = net.output(x, padded)
    runs = []
    for i, u in enumerate(inputs):
        left = int(left_at[i]) if left_at[i] < len(u) else None
        runs.append(FreeRun(y[i, : len(u)], *((left, None) if bounds is None else (None, left))))
    return runs


def simulate_hidden(
    model: KoopmanRNN, x0: ArrayLike | Trajectory, u: FloatArray, bounds: Bounds | None = None
) -> list[FreeRun]:
    """One roll-out of `len(u) + 1` outputs; the last is read with the last input held."""
    net = hidden_network(model)
    held = np.concatenate([u, u[-1:] if len(u) else net.scaling.u_mean[None]])
    state = state_at_end(model, x0) if isinstance(x0, Trajectory) else as_vector(x0, "x0", net.window.n_x)
    return run_hidden_states(net, state[None], [held], bounds)


def state_at_end(model: KoopmanRNN, record: Trajectory) -> FloatArray:
    """Hidden state at the last sample of a record, from its last samples."""
    net = hidden_network(model)
    last = min(len(record), max(N_INIT, 5 * net.window.n_x))
    tail = record.slice(len(record) - last, len(record))
    x = initial_states(model, Trajectories([tail]), last)
    for row in _aligned(tail)[:-1]:
        x = net.step(x, row[None])
    return x[0]


def hidden_starts(
    model: KoopmanRNN, data: Trajectories, horizon: int, most: int, back: int
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """States at times spread over the records, inputs from there to `horizon` samples on, and outputs there.

    A state is that of the last `back` samples up to its time; None where no record is long enough.
    """
    net = hidden_network(model)
    index = [(i, k) for i, e in enumerate(data) for k in range(back - 1, len(e) - horizon)]
    if not index:
        return None
    index = index[:: max(1, -(-len(index) // most))]
    parts = [data[i].slice(k - back + 1, k + 1) for i, k in index]
    x = initial_states(model, Trajectories(parts), back)
    aligned = [_aligned(e) for e in data]
    for j in range(back - 1):
        x = net.step(x, np.stack([aligned[i][k - back + 1 + j] for i, k in index]))
    u = np.stack([aligned[i][k : k + horizon + 1] for i, k in index])
    return x, u, np.stack([data[i].outputs[k + horizon] for i, k in index])


def hidden_network(model: KoopmanRNN) -> HiddenNetwork:
    """The model's network, which must be one with a hidden state."""
    net = model.network_
    assert isinstance(net, HiddenNetwork)  # only called by the estimator where `n_states` is set
    return net


def _aligned(episode: Trajectory) -> FloatArray:
    """Inputs, one for each output: the last one held where it is missing."""
    u = episode.inputs
    if len(u) == len(episode):
        return u
    return np.concatenate([u, u[-1:] if len(u) else np.zeros((1, u.shape[1]))])
