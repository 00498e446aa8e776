"""Total effect of each state on the outputs, and of the inputs on each state, over all time, entry by entry.

    S = int |C exp(A_i t)| dt,      W = int |exp(A_i t) B| dt

for every layer (sums of `|C A_i^k|` for a discrete network). They bound every effect of a small change: one
at a state reaches the outputs times `S`, and the states stay below `W` times the largest input.

First-order neurons and oscillators are closed forms. For larger layers the integral to `2 t` is at most that
to `t` times `1 + |exp(A_i t)|`, entry by entry in complex triangular coordinates; it is carried on by
doubling until `|exp(A_i t)|` is small, and the rest is a geometric series. So nothing is cut off: chains of
equal poles, whose response rises long before it falls, count in full. Where signs cancel that is generous,
and an upper sum on eight instants per octave up to the same time, with the same rest, is taken instead where
it is smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm, rsf2csf

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import group_blocks, oscillates
from koopctrl.ltinet.judge.decay import responses, upper_sum
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.structure import NetworkStructure

_DOUBLINGS = 120
_NODES = 8
_FINE = 64  # parts of 1 / |A_i| for the first interval: |exp(A s)| grows by less than two per cent over it
_COMPLEX = (
    300  # size of a layer up to which complex coordinates, which do not oscillate, are worth their cost
)


@dataclass(frozen=True)
class Totals:
    """`S` (n_y, m), `W` (m,) for inputs up to 1 each, and the largest `|exp(A_i t)|` (k, k) of each layer."""

    S: FloatArray
    W: FloatArray
    peaks: tuple[FloatArray, ...]


def totals(net: NetworkStructure, horizon: float | None = None, growth: float = 0.0) -> Totals:
    """Totals of every layer, up to `horizon`; infinite where a layer does not decay and there is no horizon.

    Parameters
    ----------
    net : NetworkStructure
    horizon : float, optional
        Seconds.
    growth : float
        In 1/s; totals are of `exp((A_i - growth) t)`.

    Returns
    -------
    Totals
    """
    S, W = np.zeros_like(net.C), np.zeros(net.n_states)
    peaks = []
    for start, block in zip(net.starts, net.blocks, strict=True):
        rows = slice(start, start + len(block))
        slower = block * math.exp(-growth * net.dt) if net.discrete else block - growth * np.eye(len(block))
        B = np.abs(net.B[rows]).sum(axis=1) if len(block) == 1 else net.B[rows]
        S[:, rows], W[rows], peak = _layer(slower, B, net.C[:, rows], net.dt, horizon)
        peaks.append(peak)
    return Totals(S, W, tuple(peaks))


def _layer(
    block: FloatArray, B: FloatArray, C: FloatArray, dt: float, horizon: float | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    if len(block) == 1:
        total, peak = _first_order(float(block[0, 0]), dt, horizon)
        return _times(np.abs(C), total), _times(B, total), np.array([[peak]])
    if len(block) == 2 and oscillates(block):
        return _oscillator(block, B, C, dt, horizon)
    return _larger(block, B, C, dt, horizon)


def _times(amount: FloatArray, total: float) -> FloatArray:
    """`amount * total` where nothing times infinity is nothing."""
    return np.where(amount > 0.0, math.inf, 0.0) if math.isinf(total) else amount * total


def _first_order(a: float, dt: float, horizon: float | None) -> tuple[float, float]:
    """`int |exp(a t)|` and its largest value."""
    if dt:
        steps = math.inf if horizon is None else math.floor(horizon / dt + 1e-9) + 1
        r = abs(a)
        if r < 1.0:
            return (1.0 - (r**steps if math.isfinite(steps) else 0.0)) / (1.0 - r), 1.0
        if not math.isfinite(steps):
            return math.inf, math.inf
        growth = math.exp(min(steps * math.log(r), 700.0))
        return (growth - 1.0) / (r - 1.0) if r > 1.0 else float(steps), growth
    if a < 0.0:
        return (-math.expm1(a * horizon) if horizon is not None else 1.0) / -a, 1.0
    if horizon is None:
        return math.inf, math.inf
    growth = math.exp(min(a * horizon, 700.0))
    return ((growth - 1.0) / a if a > 0.0 else horizon), growth


def _oscillator(
    block: FloatArray, B: FloatArray, C: FloatArray, dt: float, horizon: float | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`exp(M t) = exp(a t) (cos w t + sin w t J / w)` under its envelope; powers alike."""
    a = 0.5 * float(np.trace(block))
    J = block - a * np.eye(2)
    omega = math.sqrt(abs(J[0, 1])) * math.sqrt(abs(J[1, 0]))
    turn = J / (omega * math.sqrt(max(1.0 - (J[0, 0] / omega) ** 2, 1e-300)))
    rate = math.sqrt(abs(float(np.linalg.det(block)))) if dt else a
    total, peak = _first_order(rate, dt, horizon)
    seen, driven = np.hypot(C, C @ turn), np.hypot(B, turn @ B).sum(axis=1)
    return _times(seen, total), _times(driven, total), np.hypot(np.eye(2), turn) * peak


def _larger(
    block: FloatArray, B: FloatArray, C: FloatArray, dt: float, horizon: float | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    seen, driven, peak, _, _ = _doubled(block, B, C, dt, horizon)
    return seen, driven, peak


def layer_gain(block: FloatArray, B: FloatArray, C: FloatArray, dt: float) -> tuple[FloatArray, float]:
    """Bounds on the peak gain `int |C exp(A_i t) B| dt` of a layer: per output, and of all outputs together.

    Parameters
    ----------
    block, B, C : array (k, k), (k, n_u), (n_y, k)
    dt : float
        Sample time of a discrete layer; 0 for a continuous one.

    Returns
    -------
    per_output : array (n_y,)
        For inputs with a 2-norm of at most one at all times; infinite where the layer does not decay.
    joint : float
    """
    seen, driven, _, last, end = _doubled(block, B, C, dt, None)
    if not (np.isfinite(seen).all() and np.isfinite(driven).all()):
        silent = not (B.any() and C.any())
        return np.full(len(C), 0.0 if silent else np.inf), 0.0 if silent else math.inf
    whole = seen @ np.linalg.norm(B, axis=1)
    if dt:
        return whole, float(np.linalg.norm(whole))
    # the response itself, where signs may cancel, up to `end`; what follows is seen from the state left then
    grouped = group_blocks([block])
    order, times, rows, joint = grouped.order, [], [], []
    values = quasi_eigenvalues(block)
    for t, left, _ in responses(grouped, C[:, order], B[order], values, end, nodes=_NODES):
        times.append(t)
        rows.append(np.linalg.norm(left @ B[order], axis=1))
        joint.append(np.linalg.norm(left @ B[order]))
    factor = 0.5 * math.pi if values.imag.any() else 1.0
    rest = seen @ (last @ np.linalg.norm(B, axis=1))
    per_output = np.fmin(whole, factor * upper_sum(times, rows, end) + rest)
    together = factor * float(upper_sum(times, joint, end)) + float(np.linalg.norm(rest))
    return per_output, min(float(np.linalg.norm(whole)), together)


def _doubled(
    block: FloatArray, B: FloatArray, C: FloatArray, dt: float, horizon: float | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, float]:
    """Totals and peak of a layer, `|exp(A_i t)|` where the doubling ended, and that time."""
    k = len(block)
    T, Z = rsf2csf(block, np.eye(k)) if k <= _COMPLEX else (block, np.eye(k))
    left, right = np.abs(C @ Z), np.abs(Z.conj().T @ B).sum(axis=1)
    if dt:
        h, E = dt, T
        # over one step a state acts as it is
        seen, driven, peak = left.copy(), right.copy(), np.eye(k)
    else:
        size = float(np.abs(T).sum(axis=1).max()) or 1.0
        h = 1.0 / (_FINE * size)
        if horizon is not None:
            h = horizon / 2.0 ** max(0, math.ceil(math.log2(max(horizon / h, 1.0))))
        E = expm(T * h)
        rise = expm(
            np.abs(T - np.diag(np.diagonal(T))) * h + np.diag(np.maximum(np.diagonal(T).real, 0.0)) * h
        )
        seen, driven, peak = h * left @ rise, h * rise @ right, rise
    t, alive = h, np.inf
    for _ in range(_DOUBLINGS):
        size = np.abs(E)
        if horizon is None:
            alive = float(np.linalg.norm(size, np.inf))
            if alive < 1e-2:
                break
        elif t >= horizon * (1.0 - 1e-9):
            alive = 0.0
            break
        with np.errstate(over="ignore", invalid="ignore"):
            seen, driven = seen + seen @ size, driven + size @ driven
            peak = np.maximum(peak, size @ peak)
            E, t = E @ E, 2.0 * t
        if not np.isfinite(E).all():
            break
    rest = np.linalg.inv(np.eye(k) - np.abs(E)) if horizon is None and alive < 1.0 else np.eye(k)
    if not alive < 1.0:
        never = np.full((k, k), np.inf)
        return np.full(C.shape, np.inf), np.full(k, np.inf), never, never, t
    back = np.abs(Z)
    seen, driven = seen @ rest @ back.T, back @ rest @ driven
    last = np.abs((Z @ E @ Z.conj().T).real)
    if not dt and (horizon is not None or float(np.linalg.norm(last, np.inf)) < 0.5):
        rest = np.eye(k) if horizon is not None else np.linalg.inv(np.eye(k) - last)
        sampled = _sampled(block, B, C, t)
        seen, driven = np.fmin(seen, sampled[0] @ rest), np.fmin(driven, rest @ sampled[1])
    seen, driven = (np.where(np.isfinite(M), M, np.inf) for M in (seen, driven))
    return seen, driven, back @ peak @ back.T, last, t


def _sampled(block: FloatArray, B: FloatArray, C: FloatArray, end: float) -> tuple[FloatArray, FloatArray]:
    """Upper sums up to `end`; oscillating layers count with their envelope."""
    values = quasi_eigenvalues(block)
    grouped = group_blocks([block])
    order = grouped.order
    times, rows, columns = [], [], []
    for t, left, right in responses(grouped, C[:, order], B[order], values, end, nodes=_NODES):
        times.append(t)
        rows.append(np.abs(left))
        columns.append(np.abs(right).sum(axis=1))
    factor = 0.5 * math.pi if values.imag.any() else 1.0
    seen, driven = np.empty_like(C), np.empty(len(block))
    seen[:, order] = factor * upper_sum(times, rows, end)
    driven[order] = factor * upper_sum(times, columns, end)
    return seen, driven
