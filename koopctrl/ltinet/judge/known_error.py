"""Peak gain of what is known to separate a network from its model: its weights' defects, with their signs.

With the model at `(L + F, B + G, C - H)` the impulse response of the difference is, to first order,

    k(t) = int_0^t C exp(L (t - s)) F exp(L s) B ds + C exp(L t) G - H exp(L t) B.

Between first- and second-order layers, in complex coordinates, `k` is a sum of `(r_i + d_i t) exp(z_i t)`.
The largest output that inputs up to one can make of it is `int |k| dt`, and is attained. The integral is
bounded from above by the trapezoidal rule, whose chords lie below `|k|` by no more than `max|k''| / 8`
times the square of the step, on octaves of time; terms too fast for the steps of their octave, and the rest
after the last, count with their envelopes.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import Grouped
from koopctrl.ltinet.structure import LocalDefects, NetworkStructure

_FINE = 0.1  # step times the fastest rate that is followed
_COARSE = 0.5  # and where that would take too long
_WORK = 3e8  # most multiplications per octave, about a tenth of a second each
_INSTANTS = 1 << 19  # and most instants
_CLOSE = 1e-3  # poles this near, relative to their decay, count as one
_ROUNDING = 1e-13  # of the terms of k, relative to their envelopes
_STILL = 1e-4  # decay over an octave below which an envelope counts as level
_OCTAVES = 400


def known_gain(net: NetworkStructure, horizon: float | None = None) -> tuple[FloatArray, np.ndarray]:
    """Largest error of each output, for inputs up to one each, by the defects of simple layers.

    Parameters
    ----------
    net : NetworkStructure
        Stable and continuous, with defects whose signs are known.
    horizon : float, optional
        Seconds.

    Returns
    -------
    gain : array (n_y,)
    covered : bool array (n,)
        States whose defects, among each other, are in it.
    """
    local, grouped = net.defects.local, net.grouped
    if local is None or not local.signed or net.discrete or not net.stable:
        return np.zeros(len(net.C)), np.zeros(net.n_states, dtype=bool)
    simple = len(grouped.real) + 2 * len(grouped.pairs)
    order = grouped.order[:simple]
    covered = np.zeros(net.n_states, dtype=bool)
    covered[order] = True
    z, V, V_inv = modal_coordinates(grouped)
    C, B = net.C[:, order] @ V, V_inv @ net.B[order]
    r, d = _residues(z, C, B, _turned(local, order, V, V_inv))
    return _gains(z, r, d, horizon), covered


def response_gain(net: NetworkStructure, horizon: float | None = None) -> tuple[FloatArray, np.ndarray]:
    """Largest output that simple layers answer inputs up to one each with, (n_y,), and which states they are.

    Of a network that is not stable nothing is covered.
    """
    grouped = net.grouped
    order = grouped.order[: len(grouped.real) + 2 * len(grouped.pairs)]
    covered = np.zeros(net.n_states, dtype=bool)
    if not net.stable:
        return np.zeros(len(net.C)), covered
    covered[order] = True
    z, V, V_inv = modal_coordinates(grouped)
    r = (net.C[:, order] @ V)[:, None, :] * (V_inv @ net.B[order]).T[None]
    return _gains(z, r, np.zeros_like(r), horizon), covered


def _gains(z: np.ndarray, r: np.ndarray, d: np.ndarray, horizon: float | None) -> FloatArray:
    """Sums over the inputs of the integrals of each output's impulse responses."""
    r, d, z = _without_conjugates(z, r, d)
    gain = np.zeros(len(r))
    for i, j in np.ndindex(*r.shape[:2]):
        gain[i] += absolute_integral(z, r[i, j], d[i, j], horizon)
    return gain


def modal_coordinates(grouped: Grouped) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poles, both of each pair, and the transformation to them, (m, m)."""
    ones, first, second, _ = grouped.shape()
    a, omega, J = grouped.pair_parts()
    m, upper = second.stop, a + 1j * omega
    z, V, V_inv = np.empty(m, complex), np.zeros((m, m), complex), np.zeros((m, m), complex)
    z[ones], z[first], z[second] = grouped.real, upper, upper.conj()
    i, p, q = np.arange(m)[ones], np.arange(m)[first], np.arange(m)[second]
    V[i, i] = V_inv[i, i] = 1.0
    # eigenvectors (1, y) with y = (i omega - J_11) / J_12
    y = (1j * omega - J[:, 0, 0]) / J[:, 0, 1]
    V[p, p] = V[p, q] = 1.0
    V[q, p], V[q, q] = y, y.conj()
    det = y.conj() - y
    V_inv[p, p], V_inv[p, q] = y.conj() / det, -1.0 / det
    V_inv[q, p], V_inv[q, q] = -y / det, 1.0 / det
    return z, V, V_inv


def _turned(
    local: LocalDefects, order: np.ndarray, V: np.ndarray, V_inv: np.ndarray
) -> tuple[np.ndarray, ...]:
    F = V_inv @ local.F[np.ix_(order, order)] @ V
    return F, V_inv @ local.G[order], local.H[:, order] @ V


def _residues(
    z: np.ndarray, C: np.ndarray, B: np.ndarray, defects: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """`r` and `d`, (n_y, n_u, m)."""
    F, G, H = defects
    gap = z[:, None] - z[None, :]
    decay = np.maximum(np.abs(z.real)[:, None], np.abs(z.real)[None, :])
    close = np.abs(gap) <= _CLOSE * decay
    X = np.where(close, 0.0, F / np.where(close, 1.0, gap))
    # (exp(z_i t) - exp(z_j t)) / (z_i - z_j) of close poles is t exp(z t), halves of which go to either
    near = np.where(close, 0.5 * F, 0.0)
    r = C[:, None, :] * (G + X @ B).T[None] - (H + C @ X)[:, None, :] * B.T[None]
    d = C[:, None, :] * (near @ B).T[None] + (C @ near)[:, None, :] * B.T[None]
    return r, d


def _without_conjugates(
    z: np.ndarray, r: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    upper = z.imag >= 0.0
    share = np.where(z[upper].imag > 0.0, 2.0, 1.0)
    return r[..., upper] * share, d[..., upper] * share, z[upper]


def absolute_integral(z: np.ndarray, r: np.ndarray, d: np.ndarray, horizon: float | None = None) -> float:
    """An upper bound of `int |Re sum_i (r_i + d_i t) exp(z_i t)| dt`, close to it where steps can be fine.

    Parameters
    ----------
    z, r, d : complex array (m,)
        Poles left of the imaginary axis.
    horizon : float, optional
        End of the integral.

    Returns
    -------
    float
    """
    live = (np.abs(r) > 0.0) | (np.abs(d) > 0.0)
    z, r, d = z[live], r[live], d[live]
    if not len(z):
        return 0.0
    end = np.inf if horizon is None else horizon
    fastest, total = float(np.abs(z).max()), 0.0
    start, stop = 0.0, min(1.0 / fastest, end)
    for _ in range(_OCTAVES):
        total += _octave(z, r, d, start, stop)
        rest = _envelope(z, np.abs(r), np.abs(d), stop, np.inf)
        if stop >= end:
            return total
        if rest.sum() <= 1e-3 * total:
            break
        start, stop = stop, min(2.0 * stop, end)
        # terms that are over
        over = rest < 1e-6 * total / len(z)
        total += float(rest[over].sum())
        z, r, d = z[~over], r[~over], d[~over]
    return total + float(_envelope(z, np.abs(r), np.abs(d), stop, np.inf).sum())


def _envelope(z: np.ndarray, r: FloatArray, d: FloatArray, start: float, stop: float) -> FloatArray:
    """`int (r + d t) exp(Re z t) dt`, term by term."""
    a, length = -z.real, stop - start
    with np.errstate(under="ignore", over="ignore", divide="ignore", invalid="ignore"):
        first, decay = np.exp(-a * start), a * length
        plain = -np.expm1(-decay) / a
        if not np.isfinite(length):
            return first * (r * plain + d * plain * (start + 1.0 / a))
        # int_0^length t exp(-a t) dt, or what it is below where hardly anything decays
        slope = np.where(decay > _STILL, (1.0 - np.exp(-decay) * (1.0 + decay)) / a**2, 0.5 * length**2)
        plain = np.where(decay > _STILL, plain, length)
    return first * (r * plain + d * (start * plain + slope))


def _octave(z: np.ndarray, r: np.ndarray, d: np.ndarray, start: float, stop: float) -> float:
    """Bound of the integral from `start` to `stop`."""
    envelope, size, length = _envelope(z, np.abs(r), np.abs(d), start, stop), np.abs(z), stop - start
    # the largest steps that follow all terms, and else the slow ones that can be afforded
    step = max(_FINE / float(size.max()), length * max(8.0 * len(z) / _WORK, 1.0 / _INSTANTS))
    followed = size * step <= _COARSE
    total = float(envelope[~followed].sum())
    z, r, d, size = z[followed], r[followed], d[followed], size[followed]
    if not len(z):
        return total
    count = int(np.ceil(length / step))
    inner = max(1, int(np.sqrt(count)))
    outer = -(-count // inner)
    step = length / (inner * outer)
    far, near = start + step * inner * np.arange(outer), step * np.arange(inner + 1)
    with np.errstate(under="ignore"):
        late, soon = np.exp(np.outer(far, z)), np.exp(np.outer(z, near))
    k = ((r + np.outer(far, d)) * late) @ soon
    if d.any():
        k = k + (d * late) @ (soon * near)
    k = np.abs(k.real)
    total += step * float(k.sum() - 0.5 * (k[:, 0].sum() + k[:, -1].sum()))
    # |k| lies above its chord by (t - a)(b - t) / 2 max|k''| at most, which is step^3 / 12 max|k''| together
    bend = _envelope(z, np.abs(r) * size**2 + 2.0 * np.abs(d) * size, np.abs(d) * size**2, start, stop)
    swing = np.exp(-z.real * step)  # the largest over an interval beside its mean
    total += step**2 / 12.0 * float((bend * swing).sum())
    return total + _ROUNDING * float(envelope[followed].sum())
