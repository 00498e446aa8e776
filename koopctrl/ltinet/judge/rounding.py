"""What rounding in an exact simulation can cost the outputs, neuron by neuron and all together.

From one chunk of steps to the next, the state of a first- or second-order layer is multiplied by a power that
is right to a few units in the last place (`koopctrl.ltinet.powers`), so that rounding is added once or twice
per chunk instead of all the time: over `m` steps of memory about `sqrt(m)` times. By itself each neuron is
allowed the largest roundings there can be, all of one sign.

Neurons with different poles hold different numbers, whose last digits have nothing to do with each other.
What many of them lose together is then at most the largest loss of one and four times the root of the sum
of squares of what they lose on the average (Bernstein's inequality; Higham and Mary, *A new approach to
probabilistic rounding error analysis*, SIAM J. Sci. Comput. 41, 2019). Neurons whose poles are of the same
size count as losing digits all alike.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.construct.assembly import EPS
from koopctrl.ltinet.exponential import exponential_accuracy
from koopctrl.ltinet.grouped import oscillates
from koopctrl.ltinet.judge.known_error import response_gain
from koopctrl.ltinet.judge.totals import Totals
from koopctrl.ltinet.powers import LONG_EPS
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.simulate.exact import chunk_length
from koopctrl.ltinet.structure import NetworkStructure

# units in the last place: of exponentials and powers of larger layers, of each state from chunk to chunk,
# of each term of an output, of sums over all neurons, and of sums over the inputs of a chunk; measured on
# the test suite, not proven
_ROUNDINGS = 2.0
_PER_CHUNK = 2.0
_TERMS = 8.0
_SUMS = 0.5
_EQUAL = 0.04  # for each of the terms of a sum that are all alike: its roundings are alike too
_MARKOV = 8.0
# root mean squares of the second and third, and the deviations that sums of independent roundings are allowed
_MEAN_PER_CHUNK = 0.3
_MEAN_TERMS = 0.6
_MANY = 4.0
_ALIKE = 1e-6  # poles of this near sizes count as equal
_MOST = 1 << 40


def rounding(
    net: NetworkStructure,
    found: Totals,
    reached: FloatArray,
    started: FloatArray,
    u_bound: float,
    step: float | None,
    horizon: float | None,
) -> FloatArray:
    """Largest error of each output, (n_y,).

    Parameters
    ----------
    net : NetworkStructure
    found : Totals
    reached : array (n,)
        Largest size of each state.
    started : array (n,)
        What of it is due to the first state.
    u_bound : float
    step, horizon : float, optional
        In seconds.
    """
    rate, mean, sizes = np.zeros(net.n_states), np.zeros(net.n_states), np.zeros(net.n_states)
    simple = np.zeros(net.n_states, dtype=bool)
    for start, block, peak in zip(net.starts, net.blocks, found.peaks, strict=True):
        rows, values, w = (
            slice(start, start + len(block)),
            quasi_eigenvalues(block),
            reached[start : start + len(block)],
        )
        sizes[rows] = np.abs(values).max()
        simple[rows] = not net.discrete and (len(block) == 1 or (len(block) == 2 and oscillates(block)))
        if simple[start]:
            often = _roundings(net, values, step, horizon)
            below = LONG_EPS * _PER_CHUNK * np.abs(block) @ w
            rate[rows] = _PER_CHUNK * EPS * often * (peak @ w) + below
            mean[rows] = _MEAN_PER_CHUNK * EPS * often * w + below
        else:
            rate[rows] = _larger(net, block, values, peak, w, step)
            if net.discrete:
                rate[rows] += EPS * np.abs(net.B[rows]).sum(axis=1) * u_bound
            mean[rows] = rate[rows]
    terms = EPS * _product(np.abs(net.C), reached)
    most = _product(found.S, rate) + _TERMS * terms
    # an oscillator's two states are rounded apart from each other, those of larger layers are not
    usual = np.where(simple, _product(found.S, mean) + _MEAN_TERMS * terms, most)
    layers = np.array(net.starts)
    power = np.where(simple[layers], 2.0, 1.0)
    usual = np.add.reduceat(usual ** np.where(simple, 2.0, 1.0), layers, axis=1) ** (1.0 / power)
    whole, sizes = np.add.reduceat(most, layers, axis=1), sizes[layers]
    together = np.linalg.norm(_alike(usual, sizes), axis=1)
    largest = _alike(whole, sizes).max(axis=1)
    # inputs of the same chunk are weighed with Markov parameters, whose sum of sizes is the peak gain
    gain, covered = (
        response_gain(net, horizon) if not net.discrete else (0.0, np.zeros(net.n_states, dtype=bool))
    )
    direct = EPS * (u_bound * gain + _product(np.abs(net.C), np.where(covered, started, reached)).sum(axis=1))
    in_layers = np.add.reduceat(terms, layers, axis=1)
    equal = _EQUAL * np.sum(_alike(np.ones_like(in_layers), sizes) * _alike(in_layers, sizes), axis=1)
    sums = _SUMS * terms.sum(axis=1) + _MARKOV * direct
    return np.fmin(most.sum(axis=1), largest + _MANY * together + sums) + equal


def _product(M: FloatArray, v: FloatArray) -> FloatArray:
    """`M * v` where nothing times infinity is nothing."""
    return np.where((M != 0.0) & (v != 0.0), M * np.where(v != 0.0, v, 1.0), 0.0)


def _roundings(net: NetworkStructure, values: np.ndarray, step: float | None, horizon: float | None) -> float:
    """Roundings of a first- or second-order layer per second."""
    pole, decay = float(np.abs(values).max()), float(-values.real.max())
    h = step if step is not None else 1.0 / pole if pole else np.inf
    memory = float(_MOST)
    if decay > 0.0 and decay * h > 1.0 / _MOST:
        memory = 1.0 / (decay * h)
    if horizon is not None:
        memory = min(memory, horizon / h)
    memory = max(memory, 1.0)
    longest = chunk_length(_MOST, net.n_states, net.B.shape[1], len(net.C))
    # chunks within the memory and, for states, halvings of a chunk, for runs of all lengths
    count = max(np.sqrt(memory) + 0.5 * np.log2(memory), memory / longest + np.log2(longest))
    # no more often than once a step
    return 1.0 / h * min(1.0, count / memory)


def _larger(
    net: NetworkStructure,
    block: FloatArray,
    values: np.ndarray,
    peak: FloatArray,
    w: FloatArray,
    step: float | None,
) -> FloatArray:
    """Rate (per step: amount) at which rounding drives the states of other layers, and of discrete ones."""
    size = np.abs(block)
    if net.discrete:
        return _ROUNDINGS * EPS * size @ w + EPS * w
    # exponentials and their powers are right relative to their largest entries only
    largest, hump = float(np.abs(values).max()), min(float(np.abs(peak).max()), 1e150)
    rate = _ROUNDINGS * EPS * size @ w
    rate = rate + exponential_accuracy(len(block)) * max(largest, float(size.max())) * hump * float(w.sum())
    return rate if step is None else rate + EPS / step * w


def _alike(lost: FloatArray, sizes: FloatArray) -> FloatArray:
    """Sums over layers whose poles are of the same size, (n_y, groups)."""
    order = np.argsort(sizes)
    ordered = sizes[order]
    first = np.concatenate([[True], ordered[1:] > ordered[:-1] * (1.0 + _ALIKE)])
    return np.add.reduceat(lost[:, order], np.flatnonzero(first), axis=1)
