"""Free runs of the nonlinear face: from records or states to roll-outs, and how good they are.

What happened to a roll-out is kept beside it, in a `FreeRun`, and said by `warn_outside`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_vector, check_finite, check_same_dt
from koopctrl._warnings import warn
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import DataError, OptionError, RolloutWarning, ShapeError
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork


@dataclass(frozen=True, eq=False)
class FreeRun:
    """One roll-out: outputs, the step from which it was held, the first one put back in its bounds."""

    outputs: FloatArray
    diverged_at: int | None
    bounded_at: int | None = None


Bounds = tuple[FloatArray, FloatArray]


def bounds_of(low: FloatArray, high: FloatArray, margin: float | None) -> Bounds | None:
    """`[low, high]` widened by `margin` times its width; None without a margin."""
    if margin is None:
        return None
    return low - margin * (high - low), high + margin * (high - low)


def run_states(
    network: RecurrentNetwork, x0: FloatArray, inputs: Sequence[FloatArray], bounds: Bounds | None = None
) -> list[FreeRun]:
    """Roll out from `(batch, n_x)` states under `(n_steps, n_u)` inputs, a different number of steps each."""
    n_steps = [len(u) for u in inputs]
    # Rolled out together, padded with the last input; the padding is cut off again.
    padded = np.empty((len(inputs), max(n_steps), network.window.n_u))
    for i, u in enumerate(inputs):
        padded[i, : len(u)] = u
        padded[i, len(u) :] = u[-1] if len(u) else network.scaling.u_mean
    if bounds is None:
        y, left_at = network.rollout(x0, padded)
    else:
        y, left_at = network.bounded_rollout(x0, padded, *bounds)
    runs = []
    for i, n in enumerate(n_steps):
        left = int(left_at[i]) if left_at[i] <= n else None
        runs.append(FreeRun(y[i, : n + 1], *((left, None) if bounds is None else (None, left))))
    return runs


def run_records(
    network: RecurrentNetwork, data: Trajectories, n_init: int, bounds: Bounds | None = None
) -> list[FreeRun]:
    """Roll out each episode from the end of its first `n_init` samples, under its own inputs."""
    window = network.window
    x0 = np.stack([window.initial_padded(e.outputs, e.inputs, n_init) for e in data])
    return run_states(network, x0, [window.acting_inputs(e.outputs, e.inputs, n_init) for e in data], bounds)


def with_short(
    data: Trajectories, n_init: int, predict: Callable[[Trajectories], list[FloatArray]]
) -> list[FloatArray]:
    """Free runs, one for each episode: `predict` is asked for those that have `n_init` samples.

    The others are named in a warning, and only have the rows that were measured; so they count nowhere.

    Raises
    ------
    DataError
        If no episode has as many.
    """
    kept = data.long_enough(n_init, "initialise a free run (n_init)")
    runs = iter(predict(kept))
    return [next(runs) if len(e) >= n_init else e.outputs.copy() for e in data]


def r2_score(data: Trajectories, runs: Sequence[FloatArray], n_init: int, y_scale: FloatArray) -> float:
    """Mean R2 over outputs of free runs after their first `n_init` samples, all episodes pooled."""
    # Scaled, so that squares of extreme units neither over- nor underflow.
    truth = np.concatenate([e.outputs[n_init:] for e in data]) / y_scale
    if not len(truth):
        raise DataError(
            f"X has no sample after the first {n_init}, which initialise; expected longer episodes"
        )
    error = truth - np.concatenate([r[n_init:] for r in runs]) / y_scale
    seen = np.isfinite(truth)
    if not seen.any(axis=0).all():
        raise DataError(f"X has an output without a sample after the first {n_init}, which initialise")
    spread = np.nansum((truth - np.nanmean(truth, axis=0)) ** 2, axis=0)
    spread = np.where(spread > 0, spread, seen.sum(axis=0))
    return float(np.mean(1.0 - np.sum(error**2, axis=0, where=seen) / spread))


def as_state(window: LagWindow, x0: ArrayLike) -> FloatArray:
    """State of a window, from one or from a table of outputs in time order; see `KoopmanRNN.simulate`."""
    array = as_float_array(x0, "x0")
    if array.ndim == 2 and window.n_x == window.output_lags * window.n_y:
        if array.shape != (window.output_lags, window.n_y):
            raise ShapeError(
                f"x0 has shape {array.shape}; expected ({window.n_x},) or "
                f"({window.output_lags}, {window.n_y})"
            )
        return check_finite(array, "x0")[::-1].ravel()
    return as_vector(array, "x0", window.n_x)


def last_state(window: LagWindow, record: Trajectory) -> FloatArray:
    """State at the end of a record."""
    if len(record) < window.n_samples:
        raise DataError(
            f"x0 has {len(record)} samples; expected at least {window.n_samples} to fill the lag window"
        )
    return window.initial(record.outputs, record.inputs, len(record))


def check_signals(
    data: Trajectories, dt: float, output_names: tuple[str, ...], input_names: tuple[str, ...]
) -> None:
    """Refuse data with other signals or another sample time than the model was fitted to."""
    check_same_dt(dt, data.dt, "the model and the data", max(e.n_steps for e in data))
    for name, count, expected in (
        ("outputs", data.n_y, len(output_names)),
        ("inputs", data.n_u, len(input_names)),
    ):
        if count != expected:
            raise ShapeError(f"the data have {count} {name}; expected {expected} as in the training data")
    for name, got, wanted in (
        ("output_names", data.output_names, output_names),
        ("input_names", data.input_names, input_names),
    ):
        if got != wanted:
            raise OptionError(f"the data have {name} {list(got)}; expected {list(wanted)} as in training")


def warn_outside(runs: Sequence[FreeRun], low: FloatArray, high: FloatArray) -> None:
    """Say which roll-outs diverged, or left `[low, high]` of the training data by more than half of it.

    To be called by the public method itself: the warning points at who called that.
    """
    held = [r.diverged_at for r in runs if r.diverged_at is not None]
    if held:
        warn(
            f"{len(held)} of {len(runs)} roll-outs diverged, the first at step {min(held)}, and were held "
            "there. Try other lags, input_coupling='network', a larger ridge or more data",
            RolloutWarning,
        )
        return
    edge = [r.bounded_at for r in runs if r.bounded_at is not None]
    if edge:
        warn(
            f"{len(edge)} of {len(runs)} roll-outs reached the bounds around the training data's range, the "
            f"first at step {min(edge)}, and were held within; the model has not seen such values",
            RolloutWarning,
        )
        return
    margin = 0.5 * (high - low)
    n_left = sum(bool(((r.outputs < low - margin) | (r.outputs > high + margin)).any()) for r in runs)
    if n_left:
        warn(
            f"{n_left} of {len(runs)} roll-outs left the training data's range by more than half of it; "
            "the model has not seen such values",
            RolloutWarning,
        )
