"""Frequency responses of a network, layer by layer, and how far they are from the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError, ShapeError
from koopctrl.ltinet.grouped import Grouped
from koopctrl.ltinet.structure import NetworkStructure

_AT_ONCE = 4_000_000  # most entries of one intermediate array


@dataclass(frozen=True)
class FrequencyResponse:
    """A frequency response.

    Attributes
    ----------
    omega : array (N,)
        rad/s.
    response : complex array (N, n_y, n_u)
    input_names, output_names : tuple of str
    """

    omega: FloatArray
    response: np.ndarray
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @property
    def magnitude(self) -> FloatArray:
        """`|G|`."""
        return np.abs(self.response)

    @property
    def phase(self) -> FloatArray:
        """Unwrapped phase in rad."""
        return np.unwrap(np.angle(self.response), axis=0)

    def to_frd(self) -> Any:
        """The response as `control.FrequencyResponseData`."""
        from koopctrl.export.ltinet_pycontrol import frequency_response_to_pycontrol

        return frequency_response_to_pycontrol(self)

    def plot(self, **options: Any) -> Any:
        """Draw magnitude and phase; see `koopctrl.plotting.ltinet_bode.plot_bode`."""
        from koopctrl.plotting.ltinet_bode import plot_bode

        return plot_bode(self, **options)


def transfer_function(net: NetworkStructure, points: ArrayLike) -> np.ndarray:
    """`C (s I - blkdiag)^-1 B + D` at complex points, with dead times.

    Costs O(m) per point for first- and second-order layers. A pole gives infinity.

    Parameters
    ----------
    net : NetworkStructure
    points : complex array (N,)
        In the s-plane, or the z-plane for a discrete network.

    Returns
    -------
    complex array (N, n_y, n_u)
    """
    s = np.atleast_1d(np.asarray(points, dtype=complex))
    if s.ndim != 1:
        raise ShapeError(f"points has shape {s.shape}; expected one dimension")
    order = net.grouped.order
    C, out = net.C[:, order], np.empty((len(s), len(net.C), net.B.shape[1]), dtype=complex)
    stride = max(1, _AT_ONCE // max(1, net.n_states * max(net.B.shape[1], 1)))
    for at in range(0, len(s), stride):
        part = s[at : at + stride]
        out[at : at + stride] = C @ resolvent(net.grouped, part, net.B[order]) + net.D
    return out * late(net, s)


def late(net: NetworkStructure, s: np.ndarray) -> np.ndarray:
    """Factors of the dead times, (N, n_y, n_u)."""
    if not net.delayed:
        return np.ones((1, 1, 1))
    inputs = np.zeros(net.B.shape[1]) if net.input_delays is None else net.input_delays
    outputs = np.zeros(len(net.C)) if net.output_delays is None else net.output_delays
    total = outputs[:, None] + inputs[None]
    if net.discrete:
        return s[:, None, None] ** (-total / net.sample_time)
    return np.exp(-s[:, None, None] * total)


def resolvent(grouped: Grouped, s: np.ndarray, B: np.ndarray) -> np.ndarray:
    """`(s I - blkdiag)^-1 B` in grouped order, (N, m, n_u)."""
    ones, first, second, rest = grouped.shape()
    out = np.empty((len(s), *B.shape), dtype=complex)
    with np.errstate(divide="ignore", invalid="ignore"):
        out[:, ones] = B[ones] / (s[:, None] - grouped.real)[:, :, None]
        if len(grouped.pairs):
            M = grouped.pairs
            p, q = s[:, None] - M[:, 0, 0], s[:, None] - M[:, 1, 1]
            det = (p * q - M[:, 0, 1] * M[:, 1, 0])[:, :, None]
            out[:, first] = (q[:, :, None] * B[first] + M[:, 0, 1, None] * B[second]) / det
            out[:, second] = (M[:, 1, 0, None] * B[first] + p[:, :, None] * B[second]) / det
    for where, stack in zip(rest, grouped.others, strict=True):
        L, k, _ = stack.shape
        right = B[where].reshape(L, k, -1)
        for i, value in enumerate(s):
            try:
                solved = np.linalg.solve(value * np.eye(k) - stack, right)
            except np.linalg.LinAlgError:
                solved = np.full(right.shape, np.inf)
            out[i, where] = solved.reshape(L * k, -1)
    return out


def transposed(grouped: Grouped) -> Grouped:
    """The same blocks, each transposed."""
    others = tuple(np.ascontiguousarray(stack.transpose(0, 2, 1)) for stack in grouped.others)
    return Grouped(grouped.order, grouped.real, grouped.pairs.transpose(0, 2, 1), others)


def transfer_error(net: NetworkStructure, points: ArrayLike) -> np.ndarray:
    """Model's transfer function minus the network's, to first order in the defects that refinement left.

    `C R (F R B + G) - H R B` with `R = (s I - blkdiag)^-1`: what rounding of the weights costs, known rather
    than bounded, at O(m^2) per point.

    Raises
    ------
    OptionError
        The defects are not known entry by entry: slow modes alone, or more than 1,200 states.
    """
    local = net.defects.local
    if local is None or not local.signed:
        raise OptionError(
            f"transfer_error was called of a network whose defects are known as "
            f"{'norms' if local is None else 'sizes'} alone; expected one that was refined (at most "
            f"1,200 states, all modes, neither sampled nor modal). Use "
            f"{'error_bound' if local is None else 'accuracy'}"
        )
    s = np.atleast_1d(np.asarray(points, dtype=complex))
    order = net.grouped.order
    F, G, H = local.F[order][:, order], local.G[order], local.H[:, order]
    X = resolvent(net.grouped, s, net.B[order])
    inner = np.empty_like(X)
    for i in range(len(s)):
        inner[i] = resolvent(net.grouped, s[i : i + 1], F @ X[i] + G)[0]
    return (net.C[:, order] @ inner - H @ X) * late(net, s)


def frequencies(net: NetworkStructure, omega: ArrayLike | None) -> FloatArray:
    """Frequencies in rad/s: those given, or 200 around the poles."""
    if omega is not None:
        return np.atleast_1d(np.asarray(omega, dtype=float))
    rates = np.abs(np.concatenate([n.rates for layer in net.layers for n in layer.neurons] or [np.ones(1)]))
    rates = rates[np.isfinite(rates) & (rates > 0.0)]
    low, high = (0.1 * rates.min(), 10.0 * rates.max()) if rates.size else (0.1, 10.0)
    if net.discrete:
        nyquist = np.pi / net.sample_time
        low, high = min(low, 0.01 * nyquist), nyquist
    return np.geomspace(low, high, 200)
