"""Computable bounds on the error of a network's outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, broadcast_vector, check_number
from koopctrl.errors import OptionError
from koopctrl.ltinet.construct.assembly import EPS
from koopctrl.ltinet.judge.known_error import known_gain
from koopctrl.ltinet.judge.rounding import rounding
from koopctrl.ltinet.judge.totals import Totals, totals
from koopctrl.ltinet.structure import NetworkStructure

_KNOWN = 1.02  # rounding of the defects that are known


@dataclass(frozen=True)
class ErrorBound:
    """Largest error of each output at any time; infinite where the system is not asymptotically stable.

    Attributes
    ----------
    transformation : array (n_y,)
        From the block form and from rounding in the simulation, seen through the system.
    chain : array (n_y,)
        From integrating neurons with a defect; zero for exact simulation.
    left_out : array (n_y,)
        From modes that are not in the network.
    horizon : float
        Seconds; infinite unless one was given.
    """

    transformation: FloatArray
    chain: FloatArray
    left_out: FloatArray
    horizon: float

    @property
    def total(self) -> FloatArray:
        """Sum of the three."""
        return self.transformation + self.chain + self.left_out


def error_bound(
    net: NetworkStructure,
    u_bound: float = 1.0,
    tol: ArrayLike = 0.0,
    x0_bound: float = 0.0,
    horizon: float | None = None,
    step: float | None = None,
) -> ErrorBound:
    """Bound the largest error of the outputs, at any time, for inputs up to `u_bound`.

    In the network's coordinates the model reads `(L + F, B + G, C - H)` (`net.defects.local`). The signs of
    `F, G, H` are known, and with them the impulse response of the difference between first- and
    second-order layers: `int |k| dt |u|` is what the worst input of all makes of it (`judge.known_error`).
    Larger layers, discrete networks and first states are weighed entry by entry with the totals `S = int |C
    exp(L t)| dt` and `W = int |exp(L t) B| dt |u|`,

        |e| <= int |k| dt |u| + S |F| W + S |G| |u| + |H| W + S P W + r |C| W,

    where `P` and `r` stand for rounding in the simulation (`judge.rounding`): up to two units of each
    state per chunk of steps, two units in the last place of every entry of larger layers and what their
    exponentials lose, and eight units of each term of an output. Models that were not refined (above 1,200
    states) have norms in the place of `F, G, H`. The chain term solves `(Lambda - |W|) e = tol` per layer,
    `1 / Lambda` being the peak gains of the neurons and `W` the weights between them.

    Assumptions: inputs are piecewise continuous with every entry up to `u_bound`; terms of second order in
    `F` are left out; the number of units in the last place is measured, not proven; roundings of neurons with
    different poles are independent, where there are more than about sixteen.

    Parameters
    ----------
    net : LTINetwork
    u_bound : float
        Largest absolute value of any input.
    tol : float or array (n_layers,)
        Defect of numerically integrated neurons: largest `|w' - A_i w - B_i u|`. Zero for `simulate`.
    x0_bound : float
        Largest 2-norm of the initial state.
    horizon : float, optional
        Seconds after which nobody looks; without it an unstable system has no finite bound.
    step : float, optional
        Step of the simulation in seconds. Without it steps count as no shorter than the inverse of a layer's
        pole; `m` shorter steps within that add up to `2 sqrt(m)` roundings, in larger layers to `m`.

    Returns
    -------
    ErrorBound

    Raises
    ------
    OptionError
        A negative bound.
    """
    u_bound = check_number(u_bound, "u_bound", low=0.0)
    x0_bound = check_number(x0_bound, "x0_bound", low=0.0)
    if horizon is not None:
        horizon = check_number(horizon, "horizon", low=0.0, strict=True)
    if step is not None:
        step = check_number(step, "step", low=0.0, strict=True)
    tols = broadcast_vector(tol, "tol", len(net.blocks))
    if (tols < 0.0).any():
        raise OptionError(f"tol has the negative entry {tols.min():.3g}; expected defects of at least 0")
    n_y, n_u = net.C.shape[0], net.B.shape[1]
    limit = math.inf if horizon is None else horizon
    # peak gains of what is left out are for |u| <= 1 in the 2-norm
    left_out = net.defects.left_out * u_bound * math.sqrt(n_u)
    if net.n_states == 0 or n_y == 0:
        own = EPS * np.abs(net.D).sum(axis=1) * u_bound
        return ErrorBound(own, np.zeros(n_y), left_out, limit)
    chain = _chain(net, tols, horizon)
    if horizon is None and not net.stable:
        return ErrorBound(np.full(n_y, math.inf), chain, left_out, limit)
    # growing systems: weighted by exp(-growth t), the product of two totals counts growth once
    growth = max(float(net.eigenvalues.real.max()), 0.0)
    if net.discrete:
        growth = max(math.log(max(float(np.abs(net.eigenvalues).max()), 1e-300)) / net.dt, 0.0)
    found = totals(net, horizon, growth)
    with np.errstate(invalid="ignore", over="ignore"):
        driven, started, start = u_bound * found.W, np.zeros(net.n_states), np.zeros(net.n_states)
        if x0_bound > 0.0:
            start = np.linalg.norm(net.T_inv, axis=1) * x0_bound
            started = _peak(net, found, start)
        error = rounding(net, found, driven + started, started, u_bound, step, horizon)
        error = error + _defects(net, found, driven, started, u_bound, horizon)
        if x0_bound > 0.0:
            lost = EPS * (math.sqrt(net.n_states) + net.cond) * start
            error = error + np.abs(net.C) @ _peak(net, found, lost)
        error = error + EPS * np.abs(net.D).sum(axis=1) * u_bound
    if horizon is not None:
        error = error * math.exp(min(growth * horizon, 700.0))
    error = np.where(np.isfinite(error), error, math.inf)
    return ErrorBound(error, chain, left_out, limit)


def _weighed(M: FloatArray, v: FloatArray) -> FloatArray:
    """`M v` where nothing times infinity is nothing."""
    used = v != 0.0
    product = np.where((M != 0.0) & used, M * np.where(used, v, 1.0), 0.0)
    return product.sum(axis=1)


def _peak(net: NetworkStructure, found: Totals, w: FloatArray) -> FloatArray:
    """Largest state that starts at most at `w`."""
    parts = [peak @ w[start : start + len(peak)] for start, peak in zip(net.starts, found.peaks, strict=True)]
    return np.concatenate(parts)


def _defects(
    net: NetworkStructure,
    found: Totals,
    driven: FloatArray,
    started: FloatArray,
    u_bound: float,
    horizon: float | None,
) -> FloatArray:
    """What the weights' defects cost: known where their signs are, else weighed by entries or as norms."""
    reached, local = driven + started, net.defects.local
    if local is None:
        inverse = np.linalg.norm(net.T_inv * net.scales, axis=1)
        size_w, size_u = float(np.linalg.norm(reached)), u_bound * math.sqrt(net.B.shape[1])
        rate = inverse * (net.defects.A * size_w + net.defects.B * size_u)
        return _weighed(found.S, rate) + net.defects.C * size_w
    F, G, H = np.abs(local.F), np.abs(local.G).sum(axis=1) * u_bound, np.abs(local.H)
    by_sizes = _weighed(found.S, _weighed(F, reached) + G) + _weighed(H, reached)
    known, covered = known_gain(net, horizon)
    if not covered.any():
        return by_sizes
    rest = np.where(np.outer(covered, covered), 0.0, F)
    rate = _weighed(rest, driven) + _weighed(F, started) + np.where(covered, 0.0, G)
    seen = _weighed(np.where(covered, 0.0, H), driven) + _weighed(H, started)
    return np.fmin(by_sizes, _KNOWN * u_bound * known + _weighed(found.S, rate) + seen)


def _chain(net: NetworkStructure, tols: FloatArray, horizon: float | None) -> FloatArray:
    """Chain term per output: peak gains times defects, last neuron to first."""
    error = np.zeros(net.n_states)
    if not tols.any():
        return np.zeros(net.C.shape[0])
    for layer, tol in zip(net.layers, tols.tolist(), strict=True):
        W = np.abs(layer.weights)
        local = np.zeros(len(W))
        for neuron in reversed(layer.neurons):
            rows = [state - layer.start for state in neuron.states]
            local[rows] = _peak_gain(neuron.matrix, horizon) @ (tol + W[rows] @ local)
        error[layer.start : layer.start + len(W)] = local
    return np.abs(net.C) @ error


def _peak_gain(M: FloatArray, horizon: float | None) -> FloatArray:
    """Entrywise bound on `int |exp(M t)| dt` of a neuron: amplitudes times the integral of the envelope."""
    a = float(np.trace(M)) / len(M)
    if a < 0.0:
        envelope = (1.0 - math.exp(a * horizon)) / -a if horizon is not None else 1.0 / -a
    elif horizon is None:
        envelope = math.inf
    else:
        envelope = math.expm1(min(a * horizon, 700.0)) / a if a > 0.0 else horizon
    if len(M) == 1:
        return np.array([[envelope]])
    J = M - a * np.eye(2)
    omega = math.sqrt(max(-float(np.linalg.det(J)), 0.0)) or math.sqrt(abs(float(np.linalg.det(J))))
    amplitude = np.sqrt(np.eye(2) + (J / omega) ** 2)
    return np.where(amplitude > 0.0, amplitude * envelope, 0.0)
