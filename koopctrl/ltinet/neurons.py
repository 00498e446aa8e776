"""What a network is made of, for reading: layers and their first- and second-order neurons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues, quasi_starts


@dataclass(frozen=True)
class Neuron:
    """One neuron: a 1x1 (first order) or 2x2 (second order) diagonal entry of a layer.

    Attributes
    ----------
    order : int
        1 for `x' = a x + v`, 2 for `y' = z + v1`, `z' = tr z - det y + m12 v2 + m11 v1`.
    states : tuple of int
        Positions of its states in the network's state vector.
    matrix : array (order, order)
        The diagonal entry, in 1/s (of a discrete network: per sample).
    dt : float
        Sample time in seconds of a discrete neuron, a recurrence `x+ = a x + v`; 0 for a continuous one.
    """

    order: int
    states: tuple[int, ...]
    matrix: FloatArray
    dt: float = 0.0

    @property
    def eigenvalues(self) -> np.ndarray:
        """Its poles, in 1/s (of a discrete neuron: in the z-plane)."""
        return quasi_eigenvalues(self.matrix)

    @property
    def rates(self) -> np.ndarray:
        """Poles in 1/s; of a discrete neuron those of the continuous system that it samples, if there is
        one.
        """
        values = self.eigenvalues
        if not self.dt:
            return values
        with np.errstate(divide="ignore"):
            return np.log(values.astype(complex)) / self.dt

    @property
    def time_constant(self) -> float | None:
        """`-1 / a` in seconds, for a first-order neuron that is not an integrator."""
        a = float(self.matrix[0, 0])
        if self.order != 1 or (self.dt and a <= 0.0):
            return None
        rate = math.log(a) / self.dt if self.dt else a
        return -1.0 / rate if rate != 0.0 else None

    @property
    def natural_frequency(self) -> float | None:
        """`sqrt(det)` in rad/s, for a second-order neuron."""
        return float(abs(self.rates[0])) if self.order == 2 else None

    @property
    def damping(self) -> float | None:
        """`-tr / (2 sqrt(det))`, for a second-order neuron; negative when unstable."""
        if self.order == 1 or not self.natural_frequency:
            return None
        return float(-self.rates[0].real / self.natural_frequency)


@dataclass(frozen=True)
class Layer:
    """A horizontal layer: one block, independent of every other layer.

    Neurons are evaluated last to first; `matrix[i, j]` with `j` in a later neuron than `i` is the weight of
    the link from `j` to `i`.

    Attributes
    ----------
    start : int
        First of its states in the network's state vector.
    matrix : array (k, k)
        Quasi upper triangular block, in 1/s (of a discrete network: per sample).
    dt : float
        Sample time in seconds of a discrete network's layer; 0 for a continuous one.
    """

    start: int
    matrix: FloatArray
    dt: float = 0.0

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        """Neurons, first to last."""
        firsts = quasi_starts(self.matrix)
        result = []
        for i, j in zip(firsts, [*firsts[1:], len(self.matrix)], strict=True):
            result.append(
                Neuron(
                    j - i, tuple(range(self.start + i, self.start + j)), self.matrix[i:j, i:j].copy(), self.dt
                )
            )
        return tuple(result)

    @property
    def weights(self) -> FloatArray:
        """Links between neurons: the block without its neurons' own entries."""
        out = self.matrix.copy()
        for neuron in self.neurons:
            i = neuron.states[0] - self.start
            out[i : i + neuron.order, i : i + neuron.order] = 0.0
        return out

    @property
    def depth(self) -> int:
        """Number of neurons on the longest chain of links."""
        neurons, W = self.neurons, self.weights
        reach = [1] * len(neurons)
        rows = [slice(n.states[0] - self.start, n.states[-1] + 1 - self.start) for n in neurons]
        for i in range(len(neurons) - 2, -1, -1):
            below = [reach[j] for j in range(i + 1, len(neurons)) if W[rows[i], rows[j]].any()]
            reach[i] = 1 + max(below, default=0)
        return max(reach, default=0)


@dataclass(frozen=True)
class Summary:
    """Figures of a network, and a table of them as text.

    `weights` counts non-zero entries of `(blkdiag, B, C, D)`; `dense_weights` those that the original would
    hold if all of them were in use, `n^2 + n n_u + n n_y + n_y n_u`.
    """

    n_states: int
    n_layers: int
    first_order: int
    second_order: int
    depth: int
    intra_layer_weights: int
    weights: int
    dense_weights: int
    cond: float
    residual: float
    method: str
    bound: float

    def __str__(self) -> str:
        bound = f"{self.bound:.2e}" if math.isfinite(self.bound) else "unbounded (not asymptotically stable)"
        return "\n".join(
            [
                f"LTINetwork: {self.n_states} states in {self.n_layers} layers ({self.method})",
                f"  neurons            {self.first_order} first-order, {self.second_order} second-order",
                f"  depth              {self.depth}",
                f"  weights            {self.weights}, of them {self.intra_layer_weights} within layers "
                f"(dense: {self.dense_weights})",
                f"  cond(T)            {self.cond:.4g}, residual {self.residual:.1e}",
                f"  output error       {bound} for inputs up to 1, on an infinite horizon",
            ]
        )
