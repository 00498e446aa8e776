r"""What single precision costs, worked out before the code is written.

First-order bounds on what rounding does to one step of a model and to one decision of a controller, where
signals are within two
spreads of their data. A sum of `n` products has an error of `u (1 + sqrt n)` times the sum of their
magnitudes,
`u = 2^{-24}`: the usual probabilistic bound (Higham & Mary, *A new approach to probabilistic rounding error
analysis*, SIAM J.
Sci. Comput. 41, 2019). Data are rounded once themselves, which is the 1.

- A network's step, relative to the spread of its outputs: large outer weights that cancel are what makes it
  large. Where it is above 1e-4, the network's own data and sums are doubles, and what is left is the rounding
  of what goes in and comes out; models for which that is above 1e-3 are refused.
- A lifted model's step, relative to the state's scale.
- A `LinearMPC`'s input without active bounds, relative to its range (else to what the inputs' scale is):
the error of what is known
  before the QP, led through the inverse of its Hessian. Active bounds only take directions away.
- A `TubeMPC`'s input likewise.
- A `RNNMPC`: the network's step; its QPs are certified one by one, and the line search is along the network
itself.

Beside them the code itself certifies every answer of a QP, in floats to 2e-4 of the answer's size (1e-7 in
double), with the sums of small
differences in double.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.linear_law import LinearLaw
    from koopctrl.controllers.mpc.tube_law import TubeLaw
    from koopctrl.lifted.model import LiftedModel
    from koopctrl.network.folded import Rollout

UNIT, _DOUBLE = 2.0**-24, 2.0**-53
_SPREADS = 2.0
# Share of the outputs' spread that a step may be off by: loops shall not differ by more from those in double.
MOST = 1e-3
# From here on the network's sums are in double; points at which derivatives are looked at.
_NARROW, _POINTS = 1e-4, 50


def _grown(n: int) -> float:
    return UNIT * (1.0 + np.sqrt(n))


def network_rounding(roll: Rollout) -> float:
    """Bound on the error of one step of the code that is written, relative to the outputs' spread."""
    return _wide_rounding(roll) if needs_doubles(roll) else _narrow_rounding(roll)


def needs_doubles(roll: Rollout) -> bool:
    """Whether outer weights cancel so much that the network's own sums have to be in double."""
    return _narrow_rounding(roll) > _NARROW


def _wide_rounding(roll: Rollout) -> float:
    """Of a network in doubles whose inputs and answers are floats: what its derivatives make of theirs."""
    rng, scaling = np.random.default_rng(0), roll.network.scaling
    x = roll.network.x_mean + roll.network.x_scale * rng.standard_normal((_POINTS, roll.n_x))
    u = scaling.u_mean + scaling.u_scale * rng.standard_normal((_POINTS, roll.n_u))
    a, b = roll.jacobians(x, u)
    n_y, mean = roll.n_y, np.abs(roll.network.x_mean)
    size = mean + _SPREADS * np.abs(roll.network.x_scale)
    off = np.abs(a[:, :n_y]) @ size + np.abs(b[:, :n_y]) @ (
        np.abs(scaling.u_mean) + _SPREADS * scaling.u_scale
    )
    sums = _narrow_rounding(roll) * _DOUBLE / UNIT
    return sums + float(UNIT * np.max((off.max(axis=0) + 2.0 * size[:n_y]) / roll.x_scale[:n_y]))


def _narrow_rounding(roll: Rollout) -> float:
    """All in floats."""
    n_x, n_q, n_y = roll.n_x, roll.n_q, roll.n_y
    x, u = _SPREADS * roll.x_scale, _SPREADS * np.abs(roll.u_scale)
    bias = roll.bias + roll.network.x_mean @ roll.wx + roll.u_mean @ roll.wu
    reached = x @ np.abs(roll.wx) + u @ np.abs(roll.wu) + np.abs(bias)
    off_pre = _grown(n_x + roll.n_u + 1) * reached
    psi = np.minimum(reached, 1.0) if roll.tanh else reached
    off_psi = off_pre + UNIT * psi
    const = roll.const + (roll.network.x_mean @ roll.linear).reshape(roll.const.shape)
    weight = np.abs(roll.outer)
    size = psi @ weight + x @ np.abs(roll.linear) + np.abs(const).ravel()
    off = off_psi @ weight + _grown(len(psi) + n_x + 1) * size
    degrees = np.array([len(f) for f in roll.network.coupling.products])[:n_q]
    growth = _SPREADS ** np.repeat(degrees, n_y) if len(degrees) == n_q else np.ones(n_q * n_y)
    total = (off * growth).reshape(n_q, n_y).sum(axis=0)
    total = total + _grown(roll.n_u + 1) * (u @ np.abs(roll.direct))
    # Of the sum itself, and of inputs that are counted from a rounded mean.
    total = total + 2.0 * UNIT * (np.abs(roll.network.x_mean[:n_y]) + x[:n_y])
    shifted = UNIT * np.max(np.abs(roll.u_mean) / np.abs(roll.u_scale), initial=0.0)
    total = total + shifted * (size * growth).reshape(n_q, n_y)[1:].sum(axis=0)
    return float(np.max(total / roll.x_scale[:n_y]))


def lifted_rounding(lifted: LiftedModel) -> float:
    """Bound on the error of one step of the state, relative to its scale.

    Without training data inputs count as what moves a coordinate by one.
    """
    if lifted.training is not None:
        z, du = (np.abs(part).max(axis=0, initial=0.0) for part in lifted.training[:2])
    else:
        z, moved = np.full(lifted.n_z, _SPREADS), np.abs(lifted.B).max(axis=0, initial=0.0)
        du = _SPREADS / np.where(moved > 0.0, moved, 1.0)
    size = np.abs(lifted.A) @ z + np.abs(lifted.B) @ du + np.abs(lifted.c)
    # Inputs are counted from the operating point, which is rounded.
    size = size + np.abs(lifted.B) @ np.abs(lifted.u_op)
    return float(np.max(_grown(lifted.n_z + lifted.n_u + 1) * size[: lifted.n_x], initial=0.0))


def linear_mpc_rounding(law: LinearLaw) -> float:
    """Bound on the error of a decision without active bounds, relative to the inputs' range."""
    qp, lifted, problem = law.qp, law.lifted, law.problem
    n_v = qp.n_v
    y = _SPREADS * np.abs(lifted.C) @ np.ones(lifted.n_z)
    p = _features(law)
    size = np.abs(qp.online_set_point) @ p + np.abs(qp.constant_set_point)
    size = size + np.abs(qp.from_set_point) @ (np.abs(lifted.y_op) + y)
    off = _grown(len(p) + lifted.n_y + 1) * size
    inverse = np.abs(np.linalg.inv(qp.H))
    off_v = inverse @ off[:n_v]
    off_u = (
        (np.abs(qp.rows[:n_v]) @ off_v + off[n_v : 2 * n_v]) / qp.row_scale[:n_v]
        if qp.n_inputs
        else off_v * qp.scale
    )
    ranges = problem.u_max - problem.u_min
    spread = np.linalg.norm(np.linalg.pinv(lifted.B[:, law.channels.moved]), axis=1)
    units = np.where(np.isfinite(ranges) & (ranges > 0.0), ranges, np.maximum(spread, np.abs(law.u_rest)))
    return float(np.max(off_u.reshape(-1, problem.n_u)[0] / np.where(units > 0.0, units, 1.0)))


def tube_rounding(law: TubeLaw) -> float:
    """The same of a tube's first input."""
    qp, lifted, problem = law.qp, law.lifted, law.problem
    basis, offset = np.abs(law.estimator.basis), np.abs(law.estimator.offset)
    p, n_u = _features(law), problem.n_u
    y = np.abs(lifted.y_op) + _SPREADS * np.abs(lifted.C) @ np.ones(lifted.n_z)
    grown = _grown(len(p) + lifted.n_y + 1)
    size = np.abs(qp.g_state) @ (basis @ p + offset) + np.abs(qp.g_constant) + np.abs(qp.g_reference) @ y
    off_v = qp.scale * (np.abs(np.linalg.inv(qp.H)) @ (grown * size))
    free = np.abs(qp.inputs_free[:n_u]) @ (basis @ p + offset) + np.abs(qp.inputs_level[:n_u])
    off_u = np.abs(qp.inputs[:n_u]) @ off_v + grown * free
    ranges = problem.u_max - problem.u_min
    spread = np.linalg.norm(np.linalg.pinv(lifted.B), axis=1)
    units = np.where(np.isfinite(ranges) & (ranges > 0.0), ranges, np.maximum(spread, np.abs(law.u_rest)))
    return float(np.max(off_u / np.where(units > 0.0, units, 1.0)))


def _features(law: LinearLaw | TubeLaw) -> FloatArray:
    """Magnitudes of what the estimator hands over."""
    n_p, n_x = law.estimator.basis.shape[1], law.lifted.n_x
    if n_p < n_x or law.estimator.offset.any() or n_p == law.lifted.n_z:
        return np.full(n_p, _SPREADS)
    return np.concatenate([_SPREADS * law.lifted.observables.x_scale, np.ones(n_p - n_x)])[:n_p]


def check_rounding(rounding: float, what: str) -> float:
    """Refuse what floats cannot compute.

    Raises
    ------
    OptionError
        If one step may be off by more than a thousandth of the outputs' spread.
    """
    if not rounding <= MOST:
        raise OptionError(
            f"scalar is 'float', and rounding alone may move one step of {what} by {rounding:.2g} of its "
            f"outputs' "
            f"spread; expected {MOST:g} at most. Its outer weights are large and cancel: fit it with a "
            f"larger ridge, "
            "a larger feature_scale or fewer features, or take scalar='double'"
        )
    return rounding
