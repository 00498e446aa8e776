r"""Scalar functions of coordinates, `[1; zeta; psi(zeta)]`, with slopes and curvatures in raw units.

:math:`\zeta` encodes the coordinates one by one: standardised, or sine and cosine of an angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.hidden_layer import Layer


@dataclass(frozen=True, eq=False)
class Encoding:
    """Coordinates `(n, n_in)` as the layer sees them, `(n, n_code)`.

    Parameters
    ----------
    mean, scale : (n_in,) array
        Standardisation of coordinates that are no angles.
    source : (n_code,) int array
        Which coordinate each entry comes from.
    kind : tuple of {"line", "sin", "cos"}
        What each entry is of it.
    """

    mean: FloatArray
    scale: FloatArray
    source: np.ndarray
    kind: tuple[str, ...]

    @classmethod
    def of(
        cls, mean: FloatArray, scale: FloatArray, angles: Sequence[int], cyclic: Sequence[int] = ()
    ) -> Encoding:
        """Sine and cosine of the angles, standardised values of the others; nothing of `cyclic` ones."""
        seen = [i for i in range(len(mean)) if i not in cyclic]
        parts = [(i, k) for i in seen for k in (("sin", "cos") if i in angles else ("line",))]
        return cls(mean, scale, np.array([i for i, _ in parts], dtype=np.intp), tuple(k for _, k in parts))

    @property
    def n_code(self) -> int:
        """Number of entries."""
        return len(self.kind)

    def derivatives(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Entries, and their first and second derivatives by their own coordinate, `(n, n_code)` each."""
        line, shift, mean, scale = self._by_entry
        raw = x[:, self.source]
        if line.all():
            return (raw - mean) / scale, np.broadcast_to(1.0 / scale, raw.shape), np.zeros_like(raw)
        s, c = np.sin(raw + shift), np.cos(raw + shift)
        return (
            np.where(line, (raw - mean) / scale, s),
            np.where(line, 1.0 / scale, c),
            np.where(line, 0.0, -s),
        )

    @cached_property
    def _by_entry(self) -> tuple[np.ndarray, FloatArray, FloatArray, FloatArray]:
        """Which entries are no angles', what is added to an angle (a cosine is a sine), mean and scale."""
        line = np.array([k == "line" for k in self.kind], dtype=bool)
        shift = np.array([np.pi / 2 if k == "cos" else 0.0 for k in self.kind])
        return line, shift, self.mean[self.source], self.scale[self.source]

    def __call__(self, x: FloatArray) -> FloatArray:
        """Entries at points."""
        return self.derivatives(x)[0]

    @cached_property
    def gather(self) -> FloatArray:
        """Ones where an entry comes from a coordinate, `(n_code, n_in)`."""
        return (self.source[:, None] == np.arange(len(self.mean))).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Basis:
    """Functions `[1; zeta; psi(zeta)]` of `n_in` coordinates; without the constant where it is not wanted.

    Parameters
    ----------
    encoding : Encoding
    layer : Layer
    constant, linear : bool
        Whether the constant and the entries of the code are among the functions.
    """

    encoding: Encoding
    layer: Layer
    constant: bool = False
    linear: bool = True

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return int(self.constant) + self.linear * self.encoding.n_code + self.layer.n_features

    def values(self, x: FloatArray) -> FloatArray:
        """All functions, `(n, n_functions)`."""
        zeta = self.encoding(x)
        head = [np.ones((len(x), 1))] * self.constant + [zeta] * self.linear
        return np.concatenate([*head, self.layer(zeta)], axis=1)

    def gradients(self, x: FloatArray) -> FloatArray:
        """Derivatives of all functions, `(n, n_in, n_functions)`."""
        zeta, first, _ = self.encoding.derivatives(x)
        n_in = len(self.encoding.mean)
        out = np.zeros((len(x), n_in, self.n_functions))
        start = int(self.constant)
        if self.linear:
            for e, c in enumerate(self.encoding.source):
                out[:, c, start + e] = first[:, e]
            start += self.encoding.n_code
        slope = self.layer.derivative(zeta)
        for e, c in enumerate(self.encoding.source):
            out[:, c, start:] += first[:, e, None] * (slope * self.layer.weights[:, e])
        return out

    def _split(self, coef: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Coefficients `(n_functions, m)` of the constant, the code and the neurons."""
        a, b = int(self.constant), int(self.constant) + self.linear * self.encoding.n_code
        m = coef.shape[1]
        return (
            coef[:a].sum(axis=0),
            coef[a:b] if self.linear else np.zeros((self.encoding.n_code, m)),
            coef[b:],
        )

    def combine(self, x: FloatArray, coef: FloatArray) -> FloatArray:
        """Combinations of the functions, `(n, m)`."""
        constant, line, outer = self._split(coef)
        zeta = self.encoding(x)
        return constant + zeta @ line + self.layer(zeta) @ outer

    def _by_code(self, zeta: FloatArray, line: FloatArray, outer: FloatArray) -> FloatArray:
        """Gradients by the code, `(n, n_code, m)`."""
        slope = self.layer.derivative(zeta)
        return line + np.stack([(slope * w) @ self.layer.weights for w in outer.T], axis=2)

    def combine_slopes(self, x: FloatArray, coef: FloatArray) -> FloatArray:
        """Their gradients, `(n, n_in, m)`."""
        _, line, outer = self._split(coef)
        zeta, first, _ = self.encoding.derivatives(x)
        return self.encoding.gather.T @ (first[..., None] * self._by_code(zeta, line, outer))

    def combine_curvatures(self, x: FloatArray, coef: FloatArray) -> FloatArray:
        """Their Hessians, `(n, n_in, n_in, m)`."""
        _, line, outer = self._split(coef)
        zeta, first, second = self.encoding.derivatives(x)
        gather, weights = self.encoding.gather, self.layer.weights
        bend, to_x = self.layer.second_derivative(zeta), first[:, :, None] * gather
        turned = to_x.transpose(0, 2, 1)
        parts = [turned @ (((weights.T * (bend * w)[:, None, :]) @ weights) @ to_x) for w in outer.T]
        own = gather.T @ (second[..., None] * self._by_code(zeta, line, outer))
        return np.stack(parts, axis=3) + own[:, :, None] * np.eye(len(self.encoding.mean))[:, :, None]


def no_layer(n_code: int) -> Layer:
    """A layer without neurons."""
    return Layer(np.empty((0, n_code)), np.empty(0), "tanh")


def recentred(layer: Layer, codes: FloatArray, rng: np.random.Generator) -> Layer:
    """The layer with each neuron's middle at a point of its own, for codes of angles.

    Sines and cosines lie on a sphere, and a neuron made from a pair has its middle in the plane half-way
    between the two: through the centre of the sphere. All neurons would be odd functions, and products of
    cosines out of reach.
    """
    middles = codes[rng.integers(len(codes), size=layer.n_features)]
    return Layer(layer.weights, -np.sum(layer.weights * middles, axis=1), layer.activation)
