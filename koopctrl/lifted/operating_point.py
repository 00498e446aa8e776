"""Where a network is lifted: what the caller says of the operating point, filled up and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_vector
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning, OptionError
from koopctrl.lifted.equilibrium import find_equilibrium
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN


def operating_point(
    model: KoopmanRNN, x_op: ArrayLike | None, u_op: ArrayLike | None
) -> tuple[FloatArray, FloatArray]:
    """State (lag window) and input at which `model` is lifted; see `koopctrl.lifted.lift.lift_network`.

    Warns
    -----
    NumericalWarning
        If what was given lies outside the training data's range by more than half of it.
    """
    net, snapshots = model._network, model.snapshots_
    u = net.scaling.u_mean if u_op is None else _fill(u_op, "u_op", net.window.n_u)
    x = _default_point(model, u) if x_op is None else _operating_state(net, x_op, u)
    if x_op is not None:
        _warn_far("x_op", x, snapshots.x, net.x_scale, model.state_names_)
    if u_op is not None:
        _warn_far("u_op", u, snapshots.u, net.scaling.u_scale, model.input_names_)
    return x, u


def _warn_far(
    name: str,
    point: FloatArray,
    data: FloatArray,
    scale: FloatArray,
    signals: tuple[str, ...],
) -> None:
    """Say which entries of an operating point lie far outside the training data."""
    low, high = data.min(axis=0), data.max(axis=0)
    margin = 0.5 * (high - low)
    far = np.flatnonzero((point < low - margin) | (point > high + margin))
    if not len(far):
        return
    said = ", ".join(
        f"{signals[i]} = {point[i]:.4g} ({abs(point[i] - data[:, i].mean()) / scale[i]:.1f} standard "
        f"deviations from the mean, sampled range {low[i]:.4g} to {high[i]:.4g})"
        for i in far[:3]
    )
    more = f" and {len(far) - 3} more" if len(far) > 3 else ""
    warn(
        f"{name} is far outside the training data: {said}{more}; the model has not seen such values. Choose "
        "a point within them, or collect data around it",
        NumericalWarning,
    )


def _default_point(model: KoopmanRNN, u0: FloatArray) -> FloatArray:
    net = model._network
    found = find_equilibrium(model, u0, net.x_mean)
    return net.x_mean.copy() if found is None else found


def _operating_state(net: RecurrentNetwork, x_op: ArrayLike, u0: FloatArray) -> FloatArray:
    """Fill a scalar or one sample of the outputs up to a whole window."""
    w = net.window
    array = as_float_array(x_op, "x_op")
    if array.shape == (w.n_x,):
        return as_vector(array, "x_op", w.n_x)
    if array.ndim == 0 or array.shape == (w.n_y,):
        return w.repeat_channels(_fill(array, "x_op", w.n_y), u0)
    raise OptionError(
        f"x_op has shape {array.shape}; expected a scalar, ({w.n_y},) outputs or ({w.n_x},) states"
    )


def _fill(value: ArrayLike, name: str, size: int) -> FloatArray:
    array = as_float_array(value, name)
    return as_vector(np.full(size, float(array)) if array.ndim == 0 else array, name, size)
