"""Computable bounds on the error of a network's outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, broadcast_vector, check_number
from koopctrl.errors import OptionError
from koopctrl.ltinet.construct.assembly import EPS, norm2
from koopctrl.ltinet.grouped import Grouped, group_blocks
from koopctrl.ltinet.judge.decay import end_time, responses, upper_sum
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues
from koopctrl.ltinet.structure import NetworkStructure

# units in the last place that exponentials and their powers over a chunk cost each entry of the blocks, and
# that long sums cost an output: measured on the test suite, not proven
_ROUNDINGS = 2.0
_SUMMATION = 8.0


@dataclass(frozen=True)
class ErrorBound:
    """Largest error of each output at any time; infinite where the system is not asymptotically stable.

    Attributes
    ----------
    transformation : array (n_y,)
        From the block form: residuals of `T` and rounding, seen through the system.
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
) -> ErrorBound:
    """Bound the error of the outputs for inputs up to `u_bound`.

    With `dA = A T - T blkdiag`, `dB = B - T B_net`, `dC = C_net - C T` and neuron states `w`, the error of
    `y` is driven by `dA w + dB u` and seen through the system itself, so that for each output

        |e| <= int |c exp(A t)| dt (|dA| |w| + |dB| |u|) + |dc| |w|.

    `|w|` is bounded by `int |exp(blkdiag t) B_net| dt |u|`. Rounding in the simulation counts as a change of
    the blocks by `eps`. The chain term solves `(Lambda - |W|) e = tol` per layer, `1 / Lambda` being the peak
    gains of the neurons and `W` the weights between them.

    Assumptions: inputs are piecewise continuous with every entry up to `u_bound`; the norms of `dA, dB, dC`
    are those measured when the network was built, in float64; integrals are upper sums on nodes at most a
    quarter of an octave apart, so a system resonating far above its decay rate between nodes is covered by
    the envelope of its neurons, not by proof.

    Parameters
    ----------
    net : NetworkStructure
    u_bound : float
        Largest absolute value of any input.
    tol : float or array (n_layers,)
        Defect of numerically integrated neurons: largest `|w' - A_i w - B_i u|`. Zero for `simulate`.
    x0_bound : float
        Largest 2-norm of the initial state.
    horizon : float, optional
        Seconds after which nobody looks; without it an unstable system has no finite bound.

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
    tols = broadcast_vector(tol, "tol", len(net.blocks))
    if (tols < 0.0).any():
        raise OptionError(f"tol has the negative entry {tols.min():.3g}; expected defects of at least 0")
    values, n_y = net.eigenvalues, net.C.shape[0]
    end = end_time(values, horizon)
    limit = math.inf if horizon is None else horizon
    # peak gains of what is left out are for |u| <= 1 in the 2-norm
    left_out = net.defects.left_out * u_bound * math.sqrt(net.B.shape[1])
    if net.n_states == 0 or n_y == 0:
        return ErrorBound(np.zeros(n_y), np.zeros(n_y), left_out, limit)
    chain = _chain(net, tols, horizon)
    if not math.isfinite(end):
        never = np.full(n_y, math.inf)
        return ErrorBound(never, chain, left_out, limit)
    size_w0 = 0.0
    if x0_bound > 0.0:
        size_w0 = max(_peak(block, end) for block in net.blocks) * norm2(net.T_inv) * x0_bound
    if net.defects.exact is not None and size_w0 == 0.0:
        transformation = u_bound * _sharp(net, net.defects.exact, values, end)
    else:
        transformation = _normwise(net, values, end, u_bound, size_w0)
    return ErrorBound(transformation, chain, left_out, limit)


def _normwise(
    net: NetworkStructure, values: np.ndarray, end: float, u_bound: float, size_w0: float
) -> FloatArray:
    """The bound from norms of the defects alone."""
    seen, driven = _integrals(net, values, end)
    size_u = u_bound * math.sqrt(net.B.shape[1])
    size_w = driven * size_u + size_w0
    # the propagated blocks are rounded: a relative change of blkdiag by eps
    rounding = EPS * float(np.abs(values).max())
    drive = (net.defects.A + rounding) * size_w + net.defects.B * size_u
    own = EPS * (np.linalg.norm(net.C, axis=1) * size_w + np.abs(net.D).sum(axis=1) * u_bound)
    return seen * drive + net.defects.C * size_w + own


def _sharp(
    net: NetworkStructure, exact: tuple[FloatArray, FloatArray, FloatArray], values: np.ndarray, end: float
) -> FloatArray:
    """Peak gain of the error system, plus rounding of the blocks and of the outputs entry by entry."""
    F, G, H = (part / EPS for part in exact)
    n = net.n_states
    Lambda = net.block_matrix().toarray()
    pair = np.block([[Lambda, F], [np.zeros((n, n)), Lambda]])
    left, right = np.hstack([net.C, -H]), np.vstack([G, net.B])
    whole = Grouped(np.arange(2 * n), np.zeros(0), np.zeros((0, 2, 2)), (pair[None],))
    # growing systems: weighted by exp(-growth t), the product of two integrals counts growth once
    growth = max(float(values.real.max()), 0.0)
    times, error, seen, driven = [], [], [], []
    for t, rows, columns in responses(whole, left, right, values, end, nodes=16):
        times.append(t)
        error.append(np.abs(left @ columns).sum(axis=1))
        weight = math.exp(-growth * t)
        seen.append(np.abs(rows[:, :n]) * weight)
        driven.append(np.abs(columns[n:]).sum(axis=1) * weight)
    reached = upper_sum(times, driven, end)
    rounding = _ROUNDINGS * upper_sum(times, seen, end) @ (np.abs(Lambda) @ reached)
    rounding += _SUMMATION * np.abs(net.C) @ reached
    rounding *= math.exp(min(growth * end, 700.0))
    return EPS * (upper_sum(times, error, end) + rounding + np.abs(net.D).sum(axis=1))


def _integrals(net: NetworkStructure, values: np.ndarray, end: float) -> tuple[FloatArray, float]:
    """`int |c exp(A t)| dt` per output, and `int |exp(blkdiag t) B| dt`."""
    grouped = net.grouped
    T_inv = net.T_inv[grouped.order]
    orthogonal = net.cond < 1.0 + 1e-6
    times, seen, driven = [], [], []
    for t, rows, columns in responses(grouped, net.C[:, grouped.order], net.B[grouped.order], values, end):
        times.append(t)
        seen.append(np.linalg.norm(rows if orthogonal else rows @ T_inv, axis=1))
        driven.append(np.linalg.norm(columns, 2) if columns.size else 0.0)
    return upper_sum(times, seen, end), float(upper_sum(times, driven, end))


def _peak(block: FloatArray, end: float) -> float:
    """Largest `|exp(A_i t)|` up to `end`, on the nodes of the integrals."""
    values, size = quasi_eigenvalues(block), len(block)
    if size == 1:
        return max(1.0, math.exp(min(float(block[0, 0]) * end, 700.0)))
    grouped = group_blocks([block])
    eye = np.eye(size)
    return max(float(np.linalg.norm(left, 2)) for _, left, _ in responses(grouped, eye, eye, values, end))


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
