r"""Lifting: from a fitted network to its linear face, by EDMD on the network's own dictionary.

1. Centre: `g(x) = psi(x) - psi(x_op)`, a layer of the `network` coupling with its input held at `u_op`.
2. Take the state out of the features, `g - P (x - x_op)` with `P` from least squares, then reduce what is
   left by an SVD of the column-scaled matrix, cut at `rank_tol`: near-orthonormal coordinates. Without this
   the Riccati equations downstream are too ill-conditioned to solve.
3. The drift `c` is not fitted: it is where the nonlinear face takes the operating point,
   `c = lift(f(x_op, u_op))`, so the linear face is exact there and `c = 0` at an equilibrium.
4. One least-squares solve for `[A B N]` on `z_next - c`.

In the spirit of Korda & Mezic, *Linear predictors for nonlinear dynamical systems*, Automatica 2018.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_vector, check_bool, check_number
from koopctrl.errors import NumericalWarning, OptionError
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.lifted.equilibrium import find_equilibrium
from koopctrl.lifted.model import LiftedModel
from koopctrl.lifted.observables import Observables
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

_MAX_TRAINING = 5_000


def lift_network(
    model: KoopmanRNN,
    x_op: ArrayLike | None = None,
    u_op: ArrayLike | None = None,
    *,
    rank_tol: float = 1e-6,
    bilinear: bool = False,
) -> LiftedModel:
    """Linear face of a fitted model around `(x_op, u_op)`.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted.
    x_op : (n_x,) or (n_y,) array_like or scalar, optional
        Operating point; a scalar stands for all entries, one sample of the outputs for a steady lag window.
        By default the model's equilibrium under `u_op` nearest to the data's mean, if there is one within the
        data's range, else the mean.
    u_op : (n_u,) array_like or scalar, optional
        Operating input; the mean of the data by default.
    rank_tol : float
        Relative cut-off of the dictionary's singular values.
    bilinear : bool
        Whether to fit the terms `(u - u_op)_i N_i z` too.

    Returns
    -------
    LiftedModel

    Warns
    -----
    NumericalWarning
        If the operating point lies outside the training data's range by more than half of it.
    """
    net = model._network
    check_bool(bilinear, "bilinear")
    check_number(rank_tol, "rank_tol", low=0.0, high=1.0)
    u0 = net.scaling.u_mean if u_op is None else _fill(u_op, "u_op", net.window.n_u)
    x0 = _default_point(model, u0) if x_op is None else _operating_state(net, x_op, u0)
    snapshots = model.snapshots_
    x, u = snapshots.x, snapshots.u
    if x_op is not None:
        _warn_far("x_op", x0, x, net.x_scale, model.state_names_)
    if u_op is not None:
        _warn_far("u_op", u0, u, net.scaling.u_scale, model.input_names_)
    x_next = net.window.advance(x, u, snapshots.y_next)

    layer = _raw_layer(net, u0)
    observables, singular_values = _reduce(layer, x, x0, net.x_scale, rank_tol)
    z, z_next, du = observables(x), observables(x_next), u - u0
    c = observables(net.step(x0, u0))
    # An equilibrium found by Newton's method is one to rounding only.
    if np.abs(c[: len(x0)]).max(initial=0.0) < 1e-9:
        c = np.zeros_like(c)

    blocks = [z, du]
    if bilinear:
        blocks += [du[:, i : i + 1] * z for i in range(du.shape[1])]
    n_z, n_u = z.shape[1], du.shape[1]
    accumulator = QRAccumulator(sum(b.shape[1] for b in blocks), n_z)
    accumulator.update(np.concatenate(blocks, axis=1), z_next - c)
    w = accumulator.solve(rcond=1e-12).coef.T
    a, b = w[:, :n_z], w[:, n_z : n_z + n_u]
    n = w[:, n_z + n_u :].reshape(n_z, n_u, n_z).transpose(1, 0, 2).copy() if bilinear else None

    n_y = net.window.n_y
    state_c = np.zeros((n_y, n_z))
    state_c[:, :n_y] = np.diag(net.x_scale[:n_y])
    if net.window.shift:  # the state ends one sample before the output: y_k is read off the next state
        out_c, out_d, y_op = state_c @ a, state_c @ b, x0[:n_y] + state_c @ c
    else:
        out_c, out_d, y_op = state_c, np.zeros((n_y, n_u)), x0[:n_y]
    chosen = slice(None, None, max(1, -(-len(z) // _MAX_TRAINING)))
    return LiftedModel(
        a,
        b,
        out_c,
        out_d,
        c,
        n,
        model.dt_,
        u0,
        y_op,
        observables,
        net.window,
        model.output_names_,
        model.input_names_,
        singular_values,
        (z[chosen], du[chosen], z_next[chosen]),
    )


def _warn_far(
    name: str, point: FloatArray, data: FloatArray, scale: FloatArray, signals: tuple[str, ...]
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
    warnings.warn(
        f"{name} is far outside the training data: {said}{more}; the model has not seen such values. Choose "
        "a point within them, or collect data around it",
        NumericalWarning,
        stacklevel=4,
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


def _raw_layer(net: RecurrentNetwork, u0: FloatArray) -> Layer:
    """The hidden layer as a function of the raw state, its input (if it has one) held at `u0`."""
    layer = net.layer
    if net.coupling.layer_sees_input:
        layer = layer.at_fixed_tail(net.window.n_x, (u0 - net.scaling.u_mean) / net.scaling.u_scale)
    weights = layer.weights / net.x_scale
    return Layer(weights, layer.biases - weights @ net.x_mean, layer.activation)


def _reduce(
    layer: Layer, x: FloatArray, x_op: FloatArray, x_scale: FloatArray, rank_tol: float
) -> tuple[Observables, FloatArray]:
    """Make the observables; see the module's steps 1 and 2."""
    n = len(x)
    s = (x - x_op) / x_scale
    features = layer(x) - layer(x_op)
    scale = np.linalg.norm(features, axis=0)
    alive = scale > 0
    scale = np.where(alive, scale, 1.0)
    scaled = features / scale
    projection = np.linalg.lstsq(s, scaled, rcond=None)[0]
    rest = scaled - s @ projection
    # The SVD of the rest's triangle has its singular values and right vectors.
    _, sigma, vt = np.linalg.svd(np.linalg.qr(rest, mode="r"), full_matrices=False)
    state_sigma = np.linalg.svd(s / np.linalg.norm(s, axis=0).clip(min=1e-300), compute_uv=False)
    top = max(float(sigma.max(initial=0.0)), float(state_sigma.max(initial=0.0)))
    rank = int(np.count_nonzero(sigma > rank_tol * top))
    # Unit variance over the data: divide by sigma, multiply by sqrt(n).
    t = vt[:rank].T * (np.sqrt(n) / sigma[:rank])
    reduce = t / scale[:, None]
    project = (projection @ t) / x_scale[:, None]
    if n <= layer.n_features:
        warnings.warn(
            f"{n} snapshots for {layer.n_features} features: the lifted coordinates fit these data only",
            NumericalWarning,
            stacklevel=4,
        )
    return Observables(layer, x_op, x_scale, reduce, project), np.concatenate([state_sigma, sigma])
