"""Exponentials of oscillators over many steps, right to their last digits.

A neuron that turns many times between two instants shows the last digit of its frequency as many times over:
rounding `z h k` costs as much as a unit in the last place of the pole `z`. So the exponent of one step is
kept in two parts, `z h = head + tail`, whose head has so few bits that its multiples are exact. (A neuron
that only decays is gone before that matters.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import Grouped, phi_series

MOST_STEPS = 128  # multiples of a head up to this are exact
_BITS = 53 - 8
_SERIES = 1e-5  # tails up to this are put in by three terms of the exponential series
LONG_EPS = float(np.finfo(np.longdouble).eps)


@dataclass(frozen=True)
class Exponents:
    """`z h` of one step for the upper poles of the oscillators.

    Attributes
    ----------
    head, tail : complex array (n,)
    """

    head: np.ndarray
    tail: np.ndarray

    def exp(self, steps: FloatArray) -> np.ndarray:
        """`exp(z h k)`, shape (len(steps), n); `steps` are whole numbers up to 128."""
        k = steps[:, None]
        out = np.exp(self.head * k)
        out *= _near_one(self.tail * k)
        return out

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


def exponents(grouped: Grouped, h: float) -> Exponents:
    """Those of the oscillators over `h` seconds."""
    a, omega = (_parted(part * np.longdouble(h)) for part in grouped.long_pair_parts)
    return Exponents(a[0] + 1j * omega[0], a[1] + 1j * omega[1])


def _parted(x: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Leading bits of extended numbers, and the rest."""
    mantissa, exponent = np.frexp(x.astype(float))
    head = np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return head, (x - head).astype(float)


def _near_one(x: np.ndarray) -> np.ndarray:
    """`exp(x)` of tails."""
    if not x.size or float(np.abs(x).max()) > _SERIES:
        return np.exp(x)
    out = 0.5 * x
    out += 1.0
    out *= x
    out += 1.0
    return out
