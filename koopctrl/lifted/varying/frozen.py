"""A model with measured parameters at one value of them: an ordinary model of the inputs that are moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_vector
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning, OptionError
from koopctrl.identification.held_out import Snapshots, episodes
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

# Steps of the runs that stand for data at the parameter, and how far they may leave the data's range.
_RUN, _MARGIN = 40, 0.5


def frozen_model(model: KoopmanRNN, p: ArrayLike | None) -> KoopmanRNN:
    """`model` with its parameters held at `p`, by default at their mean over the data.

    The data at this parameter are short free runs of the frozen network, from the states and under the inputs
    of the records: what was recorded while the parameter had other values says nothing here.

    Raises
    ------
    OptionError
        If the model has no parameters, its windows hold past ones, or `p` lies far outside the records.
    ShapeError, DataError
        If `p` is no vector of finite numbers.

    Warns
    -----
    NumericalWarning
        If `p` lies outside the records' range by more than half of it.
    """
    net = varying_network(model, "frozen")
    values = parameter_at(model, p)
    frozen = net.frozen(values)
    params = model.get_params(deep=False)
    params |= {"parameters": None, "known": None if frozen.known is None else frozen.known.function}
    made = type(model)(**params)
    moved = net.coupling.moved
    made.network_ = frozen
    made.solution_ = model.solution_
    made.snapshots_ = frozen_runs(net, frozen, model.snapshots_)
    made.y_range_, made.dt_ = model.y_range_, model.dt_
    made.output_names_ = model.output_names_
    made.input_names_ = tuple(model.input_names_[i] for i in moved)
    for name in ("theta_", "grey_box_"):
        if hasattr(model, name):
            setattr(made, name, getattr(model, name))
    return made


def varying_network(model: KoopmanRNN, asked: str) -> RecurrentNetwork:
    """The network of a model with parameters; refuses others for what is `asked`."""
    net = model._network
    if model.hidden or not net.coupling.parameters:
        raise OptionError(
            f"{asked} is for models with measured parameters; expected one made with "
            "KoopmanRNN(parameters=[...])"
        )
    if net.window.input_lags > 1:
        raise OptionError(
            f"input_lags is {net.window.input_lags}, and windows hold past parameters; {asked} expected 1. "
            "Fit with "
            "input_lags=1, or use RNNMPC on the network itself"
        )
    return cast(RecurrentNetwork, net)


def parameter_range(model: KoopmanRNN) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest values over the records, `(n_p,)` each."""
    rows = model.snapshots_.u[:, list(model._network.coupling.parameters)]
    return rows.min(axis=0), rows.max(axis=0)


def parameter_at(model: KoopmanRNN, p: ArrayLike | None) -> FloatArray:
    """Values `(n_p,)`, the records' mean by default."""
    where = list(model._network.coupling.parameters)
    if p is None:
        return model._network.scaling.u_mean[where].copy()
    values = as_vector(np.atleast_1d(as_float_array(p, "parameter")), "parameter", len(where))
    low, high = parameter_range(model)
    margin = _MARGIN * (high - low)
    if ((values < low - margin) | (values > high + margin)).any():
        warn(
            f"parameter {values.tolist()} is far outside the records' range, {low.tolist()} to "
            f"{high.tolist()}; the "
            "model has not seen such values",
            NumericalWarning,
        )
    return values


def frozen_runs(net: RecurrentNetwork, frozen: RecurrentNetwork, data: Snapshots) -> Snapshots:
    """Pairs along free runs of the frozen network, each as long as it stays near the data's outputs."""
    moved, window = net.coupling.moved, frozen.window
    starts, lengths = [], []
    for run in episodes(net.window, data):
        for at in range(run.start, run.stop, _RUN):
            starts.append(at)
            lengths.append(min(_RUN, run.stop - at))
    first, stop = np.array(starts), np.array(lengths)
    low, high = data.y_next.min(axis=0), data.y_next.max(axis=0)
    margin = _MARGIN * (high - low)
    x, going = data.x[first], np.ones(len(first), dtype=bool)
    columns: list[tuple[FloatArray, FloatArray, FloatArray, np.ndarray]] = []
    for k in range(int(stop.max(initial=0))):
        u = data.u[np.minimum(first + k, len(data.u) - 1)][:, moved]
        with np.errstate(over="ignore", invalid="ignore"):
            y = frozen.next_output(x, u)
        inside = ((y >= low - margin) & (y <= high + margin)).all(axis=1)
        going = going & inside & (k < stop)
        y = np.where(going[:, None], y, x[:, : window.n_y])
        columns.append((x, u, y, going))
        x = window.advance(x, u, y)
    kept = np.stack([c[3] for c in columns], axis=1)
    x, u, y = (np.stack([c[i] for c in columns], axis=1)[kept] for i in range(3))
    return Snapshots(x, u, y)
