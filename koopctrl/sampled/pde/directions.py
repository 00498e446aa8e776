"""Directions in which an equation's data vary: outside of their span a sampled layer need not look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError
from koopctrl.sampled.pde.problem import PDE
from koopctrl.sampled.pde.terms import values_at

_POINTS = 200
_CUT = 1e-7  # relative singular values of the gradients; central differences leave about 1e-10


def varying_directions(pde: PDE, rng: np.random.Generator) -> FloatArray:
    """Orthonormal columns `(dim, k)` that span the gradients of start, forcing, boundary data and actuators.

    Leading left singular vectors of gradients by central differences at random points, in scaled coordinates;
    each function counts by its own size. For equations whose operator treats all directions alike the
    solution stays in that span as long as the boundary's data, which are among the functions, agree.

    Raises
    ------
    DataError
        If none of the functions varies.
    """
    functions: list[tuple[str, Callable[[FloatArray], Any]]] = []
    if callable(pde.initial):
        functions.append(("initial", pde.initial))
    if callable(pde.initial_rate):
        functions.append(("initial_rate", pde.initial_rate))
    if pde.forcing is not None:
        functions.append(("forcing", lambda x: pde.forcing(x, 0.0)))  # pyright: ignore[reportOptionalCall]
    for condition in pde.boundary:
        value = condition.value
        if callable(value):
            functions.append(("value", lambda x, value=value: np.broadcast_to(value(x, 0.0), len(x))))
    functions += [(f"actuators[{j}]", a) for j, a in enumerate(pde.actuators)]

    domain = pde.domain
    points = domain.quadrature(4 * _POINTS, rng).points
    points = points[rng.integers(len(points), size=_POINTS)]
    step = np.cbrt(np.finfo(float).eps) * domain.extent
    gradients = []
    for name, function in functions:
        columns = []
        for i in range(domain.dim):
            move = np.zeros(domain.dim)
            move[i] = step[i]
            up, down = values_at(function, points + move, name), values_at(function, points - move, name)
            columns.append((up - down) / (2.0 * step[i] / domain.extent[i]))
        gradient = np.stack(columns)
        size = float(np.linalg.norm(gradient))
        level = float(np.linalg.norm(values_at(function, points, name)))
        if size > 1e-9 * level:
            gradients.append(gradient / size)
    if not gradients:
        raise DataError(
            'directions is "data", but start, forcing, boundary data and actuators are constant; '
            "expected one that varies"
        )
    u, s, _ = np.linalg.svd(np.concatenate(gradients, axis=1), full_matrices=False)
    # Columns of the layer are given along the axes themselves: scaled steps are `column / extent`.
    return u[:, s > _CUT * s[0]] / domain.extent[:, None]
