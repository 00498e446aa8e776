r"""What a tube takes off the bounds, and the terminal set in the distance from an artificial target.

With `u_k = u_s - K (z_k - z_s) + c_k` the error of a prediction after `k` steps lies in
`S_k = W + A_K W + .. + A_K^{k-1} W`. Bounds are drawn in by its support, and at the end of the horizon

.. math::
    (z_N - z_s, b) \in O = \{(e, b) : H [z_s(b) + A_K^j e;\ u_s(b) - K A_K^j e] \le h - \sigma_H(S_{N+j})
    \ \forall j\}

which the closed loop maps into itself whatever the disturbance in `W` does.

Chisci, Rossiter & Zappa, *Systems with persistent disturbances: predictive control with restricted
constraints*, Automatica 37, 2001; Limon, Alvarado, Alamo & Camacho, *Robust tube-based MPC for tracking of
constrained linear systems with additive disturbances*, Journal of Process Control 20, 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.mpc.artificial import ArtificialTargets
from koopctrl.controllers.mpc.predictions import bounded_combinations
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.riccati import Riccati
from koopctrl.controllers.sets.admissible import admissible_set, joined
from koopctrl.controllers.sets.invariant import InvariantTube, invariant_tube
from koopctrl.controllers.sets.polyhedron import Polyhedron
from koopctrl.controllers.sets.zonotope import Zonotope
from koopctrl.errors import OptionError

# Part of the room of the best centred target that artificial targets keep from the drawn-in bounds.
_MARGIN = 0.01


@dataclass(frozen=True)
class TubeSet:
    """Bounds along the horizon and at its end.

    Attributes
    ----------
    tube : InvariantTube
        Of the error, in lifted coordinates.
    A_K : (n_z, n_z) array
    rows, level : (n_e, n_z), (n_e,) arrays
        Bounded combinations of the state, and their value at the operating point.
    low, high : (N + 1, n_e) arrays
        Bounds of steps 0 to N, drawn in.
    u_low, u_high : (N, n_u) arrays
        Bounds on inputs, drawn in; those of step 0 are not.
    terminal : Polyhedron
        `O`, in `[e; b]`.
    targets : Polyhedron
        Artificial targets that are allowed, in `[e; a]` with no part of `e`.
    units : (n_e + n_u,) array
        What is large for a combination or an input.
    """

    tube: InvariantTube
    A_K: FloatArray
    rows: FloatArray
    level: FloatArray
    low: FloatArray
    high: FloatArray
    u_low: FloatArray
    u_high: FloatArray
    terminal: Polyhedron
    targets: Polyhedron
    units: FloatArray


def build_tube(
    model: Augmented,
    problem: MPCProblem,
    riccati: Riccati,
    family: ArtificialTargets,
    W: Zonotope,
    seen: Zonotope,
    names: tuple[tuple[str, ...], tuple[str, ...]],
) -> TubeSet:
    """All sets of a problem.

    Parameters
    ----------
    model, problem, riccati, family
        Of the controller.
    W : Zonotope
        What acts on the estimate of `z` in one sample.
    seen : Zonotope
        How far the estimate is from the state.
    names : (output names, input names)
        For messages.

    Raises
    ------
    OptionError
        If the tube leaves no room between bounds, or no steady state, by name.
    SolverError
        If a set is not found.
    """
    N, n_z, K = problem.horizon, model.lifted.n_z, riccati.K
    A_K = model.A[:n_z, :n_z] - model.B[:n_z] @ K
    rows, level, _ = bounded_combinations(model, problem)
    rows = rows[:, :n_z]
    tube = invariant_tube(A_K, W)
    both = np.vstack([rows, -K])
    low = np.concatenate([problem.e_min - level, problem.u_min - model.u_op])
    high = np.concatenate([problem.e_max - level, problem.u_max - model.u_op])
    off = np.concatenate([seen.support(rows), np.zeros(len(K))])
    limit = tube.cross_section.support(both) + off
    _check_room(low, high, limit, problem, names)
    drawn = [off]  # after 0, 1, .. steps
    power = both

    def tightening(k: int) -> FloatArray:
        nonlocal power
        while len(drawn) <= k:
            drawn.append(drawn[-1] + W.support(power))
            power = power @ A_K
        return np.minimum(drawn[k], limit)

    units = row_units(low, high, limit, both @ _sizes(A_K, W))
    # Of the distance from the target e, and of the target b: what is bounded, and how both move on.
    on_target = np.vstack([rows @ family.Z, family.U])
    at_zero = np.concatenate([rows @ family.z_0, family.u_0 - model.u_op])
    extended, step = np.hstack([both, on_target]), np.eye(n_z + family.n_b)
    step[:n_z, :n_z] = A_K
    sides = np.isfinite(high), np.isfinite(low)
    signed_units = np.concatenate([units[sides[0]], units[sides[1]]])

    def heights(j: int) -> FloatArray:
        return joined(low - at_zero, high - at_zero, extended, tightening(N + j))[1]

    signed = joined(low, high, extended, limit)[0]
    steady = np.hstack([np.zeros((len(both), n_z)), on_target])
    limit_rows, limit_heights = joined(low - at_zero, high - at_zero, steady, limit)
    targets = Polyhedron(limit_rows, limit_heights, signed_units)
    if len(signed):
        room = targets.centre()[1]
        if room <= 0.0:
            raise OptionError(
                "disturbance leaves no steady state within the bounds once the tube is taken off them; make "
                f"the disturbance smaller or the bounds wider (missing: {-room:.3g} of their width)"
            )
        margin = _MARGIN * min(room, 1.0)
        targets = Polyhedron(limit_rows, limit_heights - margin * signed_units, signed_units)
        terminal = admissible_set(step, signed, heights, targets, signed_units)
    else:
        terminal = targets
    per_step = np.array([tightening(k) for k in range(N + 1)])
    n_e = len(rows)
    return TubeSet(
        tube=tube, A_K=A_K, rows=rows, level=level,
        low=(low + per_step)[:, :n_e] + level, high=(high - per_step)[:, :n_e] + level,
        u_low=(low + per_step)[:N, n_e:], u_high=(high - per_step)[:N, n_e:],
        terminal=terminal, targets=targets, units=units,
    )  # fmt: skip


def row_units(low: FloatArray, high: FloatArray, tube: FloatArray, fallback: FloatArray) -> FloatArray:
    """Half the room between two bounds; else how far the one is from the operating point, or the tube."""
    with np.errstate(invalid="ignore"):
        room = 0.5 * (high - low)
    far = np.maximum(np.where(np.isfinite(low), -low, 0.0), np.where(np.isfinite(high), high, 0.0))
    unit = np.where(np.isfinite(room) & (room > 0.0), room, np.maximum(np.abs(far), tube))
    return np.where(unit > 0.0, unit, np.where(fallback > 0.0, fallback, 1.0))


def _sizes(A_K: FloatArray, W: Zonotope) -> FloatArray:
    """A direction with the disturbance's own sizes."""
    return W.half_widths if W.generators.size else np.zeros(len(A_K))


def _check_room(
    low: FloatArray,
    high: FloatArray,
    tube: FloatArray,
    problem: MPCProblem,
    names: tuple[tuple[str, ...], tuple[str, ...]],
) -> None:
    """Refuse bounds that are nearer to each other than the tube is wide, by name."""
    with np.errstate(invalid="ignore"):
        short = np.flatnonzero(high - low <= 2.0 * tube)
    if not len(short):
        return
    i, n_e = int(short[0]), len(problem.E)
    outputs, inputs = names
    if i >= n_e:
        what = f"input {inputs[i - n_e]!r}"
    else:
        alone = np.flatnonzero(problem.E[i])
        named = len(alone) == 1 and alone[0] < len(outputs)
        what = f"output {outputs[alone[0]]!r}" if named else f"constraint {i}"
    raise OptionError(
        f"disturbance makes a tube {2.0 * tube[i]:.4g} wide in {what}, whose bounds are "
        f"{high[i] - low[i]:.4g} apart; expected room between them. Make the disturbance smaller, the "
        "bounds wider, or R larger (a gentler feedback) for a tube too wide in the "
        "inputs and Q larger for one too wide in the outputs"
    )
