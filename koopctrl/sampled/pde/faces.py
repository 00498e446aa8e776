"""Matrices of the model: exact for a linear equation, deviations around a state for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector
from koopctrl.errors import OptionError

if TYPE_CHECKING:
    from koopctrl.sampled.pde.semi_discrete import SemiDiscrete


def linear_matrices(model: SemiDiscrete) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """`(A, B, C, D)` of `x' = A x + B v`, `y = C x + D v`.

    Raises
    ------
    OptionError
        If the equation is nonlinear, or driven by forcing or boundary data that are no inputs.
    """
    if not model.pde.linear:
        raise OptionError(
            "the equation is nonlinear; expected a linear one. Use linearise(x, v) or to_nlsys()"
        )
    if not model.autonomous:
        raise OptionError(
            "the equation has forcing or boundary data; expected inputs alone. Give them as "
            "actuators, or as conditions "
            "with a shape"
        )
    return linearise(model, np.zeros(model.n_states), np.zeros(model.n_inputs))


def linearise(
    model: SemiDiscrete, x: ArrayLike, v: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """`(A, B, C, D)` of small deviations from a state and an input, at time 0."""
    state = as_vector(x, "x", model.n_states)
    inputs = np.zeros(model.n_inputs) if v is None else as_vector(v, "v", model.n_inputs)
    a, b = model.jacobian(state, inputs)
    c = model.sensors @ model.null
    if model.pde.order == 2:
        c = np.concatenate([c, np.zeros_like(c)], axis=1)
    return a, b, c, model.sensors @ model.lift_inputs


def affine_matrices(model: SemiDiscrete) -> dict[str | None, tuple[FloatArray, FloatArray]]:
    """`(A_p, B_p)` by parameter, `None` the constant part: `A(p) = A_None + sum_p p A_p`, of the linear
    terms.

    An exact parameter-varying model of a linear equation: parameters may move in time.
    """
    parts: dict[str | None, tuple[FloatArray, FloatArray]] = {}
    n, m = model.n_coordinates, model.n_inputs
    for p in dict.fromkeys([*model.linear, *model.input_parts]):
        whole = model.linear.get(p, np.zeros((n, len(model.null))))
        a, b = whole @ model.null, whole @ model.lift_inputs + model.input_parts.get(p, np.zeros((n, m)))
        if model.pde.order == 2:
            first = np.eye(n) if p is None else np.zeros((n, n))
            rate = -model.pde.damping * first
            a = np.block([[np.zeros((n, n)), first], [a, rate]])
            b = np.concatenate([np.zeros((n, m)), b])
        parts[p] = (a, b)
    return parts
