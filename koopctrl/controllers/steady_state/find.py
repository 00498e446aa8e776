r"""Steady states of a model for a wished output or a given input.

.. math:: x = f(x, u), \qquad \min_u |y - y_{wish}| \quad\text{or}\quad u \text{ given}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector, as_weight, check_fitted
from koopctrl.controllers.bounds import input_bounds
from koopctrl.controllers.channels import choose_channels
from koopctrl.controllers.estimation.augmented import augment_by_kind
from koopctrl.controllers.estimation.measurement import check_controllable, refuse_hidden, refuse_varying
from koopctrl.controllers.steady_state.linear import steady_target
from koopctrl.controllers.steady_state.network import REACHED, TargetSolver
from koopctrl.controllers.steady_state.reachable import ReachableSetPoint
from koopctrl.controllers.units import balance
from koopctrl.errors import OptionError, SolverError
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifted.equilibrium import find_equilibrium
from koopctrl.lifted.model import LiftedModel
from koopctrl.network.folded import Rollout

# Part of the wished output, beside what adds up to it, that a linear model may miss.
_HELD = 1e-6
# Part of what moves a lifted coordinate that may be left of it where the model is at rest.
_AT_REST = 1e-8


@dataclass(frozen=True)
class SteadyState:
    """A state that a constant input holds.

    Attributes
    ----------
    x : (n_x,) array
        State, or lag window.
    u : (n_u,) array
    y : (n_y,) array
        Outputs there.
    reached : bool
        Whether `y` is what was wished for: within a hundredth of the data's spread for a network, to rounding
        for a lifted model. Always true where the input was given.
    """

    x: FloatArray
    u: FloatArray
    y: FloatArray
    reached: bool


def find_steady_state(
    model: KoopmanRNN | LiftedModel,
    *,
    y: ArrayLike | None = None,
    u: ArrayLike | None = None,
    Q: ArrayLike = 1.0,
    u_min: ArrayLike | None = None,
    u_max: ArrayLike | None = None,
) -> SteadyState:
    """The steady state that comes nearest to an output, or the one that an input holds.

    Parameters
    ----------
    model : KoopmanRNN or LiftedModel
        A fitted network (its nonlinear face), or a lifted model. Without feedthrough, and with inputs.
    y : (n_y,) array_like
        Wished outputs; of several inputs that hold them, the one nearest the data's mean (the operating
        input, for a lifted model) in units of the data.
    u : (n_u,) array_like
        Input; either this or `y`.
    Q : scalar, (n_y,) or (n_y, n_y) array_like
        Weight on the distance from `y`, where it cannot be reached.
    u_min, u_max : scalar or (n_u,) array_like, optional
        Bounds on the input sought.

    Returns
    -------
    SteadyState

    Raises
    ------
    OptionError, ShapeError
        If not just one of `y` and `u` is given, or they do not fit the model.
    SolverError
        If there is no steady state.
    """
    if (y is None) == (u is None):
        raise OptionError("find_steady_state takes either y or u; expected just one of them")
    if u is not None:
        u_min = u_max = u
    if isinstance(model, LiftedModel):
        return _of_lifted(model, y, Q, u_min, u_max)
    if isinstance(model, KoopmanRNN):
        return _of_network(model, y, Q, u_min, u_max)
    raise OptionError(f"model is a {type(model).__name__}; expected a fitted KoopmanRNN or a LiftedModel")


def _of_lifted(lifted: LiftedModel, y: ArrayLike | None, Q: ArrayLike, u_min: Any, u_max: Any) -> SteadyState:
    check_controllable(lifted)
    low, high = input_bounds(u_min, u_max, lifted.n_u)
    wanted = lifted.y_op if y is None else as_vector(y, "y", lifted.n_y)
    model = augment_by_kind(lifted, "none")
    # Idle inputs count in units of their ranges, where they have one.
    boxed = np.isfinite(low) & np.isfinite(high) & (low < high)
    width = np.where(boxed, high, 1.0) - np.where(boxed, low, 0.0)
    weight, even = as_weight(Q, "Q", lifted.n_y), np.diag(1.0 / width**2)
    target = steady_target(model, weight, even)
    if y is None:
        # The input is given: what is left is where the model comes to rest.
        push = lifted.B @ (low - lifted.u_op) + lifted.c
        D = balance(lifted.A, push[:, None], np.zeros(lifted.n_z))
        matrix, push = (np.eye(lifted.n_z) - lifted.A) * D / D[:, None], push / D
        z = np.linalg.lstsq(matrix, push, rcond=None)[0]
        if (np.abs(matrix @ z - push) > _AT_REST * (np.abs(matrix) @ np.abs(z) + np.abs(push))).any():
            raise SolverError("the model drifts under this input; no state is held by it")
        z = z * D
        return SteadyState(lifted.unlift(z), low, lifted.C @ z + lifted.y_op, True)
    moved, wish = ReachableSetPoint(target, model, low, high, even).nearest(wanted, np.empty(0))
    z, u, found = target(moved, du=wish)
    size = np.abs(lifted.C) @ np.abs(z) + np.abs(wanted - lifted.y_op)
    # At the operating point itself only rounding of the outputs is left.
    within = _HELD * size + 8.0 * np.finfo(float).eps * np.maximum(np.abs(wanted), np.abs(lifted.y_op))
    reached = bool((np.abs(found - wanted) <= within).all())
    return SteadyState(lifted.unlift(z), np.clip(u, low, high), found, reached)


def _of_network(model: KoopmanRNN, y: ArrayLike | None, Q: ArrayLike, u_min: Any, u_max: Any) -> SteadyState:
    check_fitted(model, "network_")
    refuse_hidden(model, "find_steady_state", "Pass its linear face, model.lift_at(...)")
    refuse_varying(model, "find_steady_state")
    network = model.network_
    n_y, n_u = network.window.n_y, network.window.n_u
    if not n_u or network.window.shift:
        raise OptionError("the model has no inputs, or feedthrough; expected one with inputs and without")
    low, high = input_bounds(u_min, u_max, n_u)
    scaling = network.scaling
    at_rest = find_equilibrium(model, scaling.u_mean, network.x_mean)
    start = network.x_mean if at_rest is None else at_rest
    solver = TargetSolver(
        Rollout(network), choose_channels(model.input_names_, None), as_weight(Q, "Q", n_y),
        np.diag(1.0 / scaling.u_scale**2), low, high, start, scaling.u_mean, model.y_range_,
    )  # fmt: skip
    wanted = start[:n_y] if y is None else as_vector(y, "y", n_y)
    found, _ = solver.find(solver.initial(), solver.question(wanted, np.zeros(n_y)))
    if not found.converged:
        raise SolverError(
            "no steady state was found: the model drifts under any input, or its states diverge. Look at "
            "model.report(test), or fit on a wider range"
        )
    miss = np.abs(found.y - wanted) / network.x_scale[:n_y]
    return SteadyState(found.x, found.u, found.y, y is None or bool((miss <= REACHED).all()))
