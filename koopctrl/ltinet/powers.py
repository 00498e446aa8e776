"""Exponentials of first- and second-order blocks over many steps, right to their last digits.

A neuron that turns many times between two instants, or decays over many steps, shows the last digit of its
exponent many times over: rounding `z h k` costs as much as a unit in the last place of the pole `z`. So the
exponent of one step is kept in two parts, `z h = head + tail`, whose head has so few bits that its multiples
are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import Grouped, phi_series

MOST_STEPS = 128  # multiples of a head up to this are exact
_BITS = 53 - 8
_SERIES = 1e-4  # tails up to this are put in by four terms of the exponential series
LONG_EPS = float(np.finfo(np.longdouble).eps)


@dataclass(frozen=True)
class Exponents:
    """`z h` of one step for the first-order neurons, or for the upper poles of the oscillators.

    Attributes
    ----------
    head, tail : array (n,)
        Real or complex.
    """

    head: np.ndarray
    tail: np.ndarray

    def exp(self, steps: FloatArray) -> np.ndarray:
        """`exp(z h k)`, shape (len(steps), n); `steps` are whole numbers up to 128."""
        k = steps[:, None]
        return np.exp(self.head * k) * _near_one(self.tail * k)

    def phi1(self) -> np.ndarray:
        """`(exp(z h) - 1) / (z h)`."""
        z = self.head + self.tail
        near = np.abs(z) < 1.0
        head, tail, safe = (
            np.where(near, one, M) for one, M in ((1.0, self.head), (0.0, self.tail), (1.0, z))
        )
        with np.errstate(over="ignore", invalid="ignore"):
            far = (np.expm1(head) + np.exp(head) * (_near_one(tail) - 1.0)) / safe
        return np.where(near, phi_series(np.where(near, z, 0.0), 1), far)

    def phi2(self) -> np.ndarray:
        """`(exp(z h) - 1 - z h) / (z h)^2`."""
        z = self.head + self.tail
        near = np.abs(z) < 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            far = (self.phi1() - 1.0) / np.where(near, 1.0, z)
        return np.where(near, phi_series(np.where(near, z, 0.0), 2), far)


def exponents(grouped: Grouped, h: float) -> tuple[Exponents, Exponents]:
    """Those of the first-order neurons and of the oscillators, over `h` seconds."""
    real = grouped.real.astype(np.longdouble) * np.longdouble(h)
    a, omega = (part * np.longdouble(h) for part in grouped.long_pair_parts)
    decay, turn = _parted(a), _parted(omega)
    oscillators = Exponents(decay.head + 1j * turn.head, decay.tail + 1j * turn.tail)
    return _parted(real), oscillators


def _parted(x: np.ndarray) -> Exponents:
    mantissa, exponent = np.frexp(x)
    head = np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return Exponents(head.astype(float), (x - head).astype(float))


def _near_one(x: np.ndarray) -> np.ndarray:
    """`exp(x)` of tails."""
    if not x.size or float(np.abs(x).max()) > _SERIES:
        return np.exp(x)
    return 1.0 + x * (1.0 + 0.5 * x * (1.0 + x / 3.0))
