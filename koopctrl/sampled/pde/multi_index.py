"""Names of derivatives (`"u_xx"`) and the chain rule of a neuron to order four.

A neuron is `sigma(p)` with `p = b + g_1(x_1) + .. + g_d(x_d)`: each coordinate enters by a function of its
own, linear on open axes, a cosine on periodic ones. All mixed derivatives of `p` vanish, so Faa di Bruno's
formula factors,

    d^alpha sigma(p) = sum_k sigma^(k_1 + .. + k_d)(p) prod_i B_{alpha_i, k_i}(g_i', g_i'', ..)

with partial Bell polynomials `B`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

MAX_ORDER = 4
MultiIndex = tuple[int, ...]


def parse(name: str, axis_names: Sequence[str]) -> MultiIndex:
    """Multi-index of `"u"`, `"u_x"`, `"u_xxy"`, or with many axes `"u_x0x0"`.

    Raises
    ------
    OptionError
        If it is no derivative of the domain's coordinates, or of order above four.
    """
    axes = "|".join(sorted(axis_names, key=len, reverse=True))
    match = re.fullmatch(rf"u(?:_((?:{axes})+))?", name) if isinstance(name, str) else None
    if match is None:
        raise OptionError(
            f"derivative is {name!r}; expected 'u', or 'u_' and axes of {', '.join(axis_names)}, as in "
            f"'u_{axis_names[0] * 2}'"
        )
    found = re.findall(axes, match.group(1) or "")
    index = tuple(found.count(axis) for axis in axis_names)
    if sum(index) > MAX_ORDER:
        raise OptionError(f"derivative is {name!r}, of order {sum(index)}; expected at most {MAX_ORDER}")
    return index


def unit(dim: int, axis: int, order: int = 1) -> MultiIndex:
    """Derivative of an order along one axis."""
    return tuple(order if i == axis else 0 for i in range(dim))


def tanh_derivative(t: FloatArray, order: int) -> FloatArray:
    """Derivative of tanh to order four, from its value `t`."""
    if order == 0:
        return t
    s = 1.0 - t**2
    if order == 1:
        return s
    if order == 2:
        return -2.0 * t * s
    if order == 3:
        return s * (6.0 * t**2 - 2.0)
    return t * s * (16.0 - 24.0 * t**2)


def bell(order: int, g: Callable[[int], FloatArray]) -> dict[int, FloatArray]:
    """Partial Bell polynomials `B_{order, k}` by `k`, of derivatives `g(1), g(2), ..`."""
    if order == 1:
        return {1: g(1)}
    if order == 2:
        return {1: g(2), 2: g(1) ** 2}
    if order == 3:
        return {1: g(3), 2: 3.0 * g(1) * g(2), 3: g(1) ** 3}
    return {1: g(4), 2: 4.0 * g(1) * g(3) + 3.0 * g(2) ** 2, 3: 6.0 * g(1) ** 2 * g(2), 4: g(1) ** 4}


def outer_orders(parts: list[dict[int, FloatArray]]) -> list[tuple[int, FloatArray]]:
    """All `(k_1 + .. + k_d, prod_i B_i)` of the factored formula."""
    terms: list[tuple[int, FloatArray]] = [(0, np.ones(1))]
    for part in parts:
        terms = [(n + k, value * b) for n, value in terms for k, b in part.items()]
    return terms
