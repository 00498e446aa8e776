r"""The last part of a swing-up: a regulator about the target, and where it may take over.

The region is a level of the regulator's own cost, :math:`e' P e \le c`, the largest of a falling sequence
from whose edge every trial start is brought in on the model, with the input at its bounds where it gets
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import SolverError
from koopctrl.sampled.hamiltonian.faces import sampled

_STARTS, _SHRINK, _LEVELS = 64, 1.5, 40
_SUBSTEPS = 4
# Share of the level's cost that is left when a trial counts as brought in.
_BROUGHT_IN = 0.05
_TIME_CONSTANTS = 8.0
_MOST_STEPS = 1000


@dataclass(frozen=True, eq=False)
class Catch:
    """Regulator `u = u_0 - K e` and its region.

    Parameters
    ----------
    K : (n_u, 2d) array
    P : (2d, 2d) array
        Cost to go.
    level : float
        Of `e' P e`, within which it takes over.
    """

    K: FloatArray
    P: FloatArray
    level: float

    def cost(self, error: FloatArray) -> FloatArray:
        """`e' P e` of errors `(..., 2d)`."""
        return np.einsum("...i,ij,...j->...", error, self.P, error)


def runge_kutta(parts: Any, x: FloatArray, u: FloatArray, dt: float) -> FloatArray:
    """States `(n, 2d)` after `dt` with inputs held."""
    h = dt / _SUBSTEPS
    for _ in range(_SUBSTEPS):
        k1 = parts.rhs(x, u)
        k2 = parts.rhs(x + 0.5 * h * k1, u)
        k3 = parts.rhs(x + 0.5 * h * k2, u)
        x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + parts.rhs(x + h * k3, u))
    return x


def make_catch(
    model: Any,
    target: FloatArray,
    u_target: FloatArray,
    dt: float,
    Q: FloatArray,
    R: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    reach: FloatArray,
    seed: int = 0,
) -> Catch:
    """Regulator of a model at an equilibrium, and the level that it holds on it.

    `reach` (2d,) are the largest errors of interest: trials begin within.

    Raises
    ------
    SolverError
        If no level is found from which all trials come in.
    """
    slope, push = model.linearize(target, u_target)
    a, b = sampled(slope, push, dt)
    found = solve_riccati(a, b, Q, R, "the model at the target")
    radius = min(found.spectral_radius, 1.0 - 1e-9)
    n_steps = int(min(_MOST_STEPS, np.ceil(_TIME_CONSTANTS / -np.log(max(radius, 1e-9)))))
    directions = np.random.default_rng(seed).standard_normal((_STARTS, len(target))) * reach
    directions = np.concatenate([directions, -directions])
    shape = np.sqrt(np.einsum("ni,ij,nj->n", directions, found.P, directions))
    edge = directions / shape[:, None]
    # The largest level whose box of errors does not leave the reach.
    level = float(np.min((reach / np.abs(edge).max(axis=0)) ** 2))
    catch = Catch(found.K, found.P, level)
    for _ in range(_LEVELS):
        x = target + np.sqrt(level) * edge
        for _ in range(n_steps):
            u = np.clip(u_target - (x - target) @ found.K.T, bounds[0], bounds[1])
            x = runge_kutta(model.parts_, x, u, dt)
            x = np.where(np.isfinite(x), x, 1e6 * np.abs(reach) + np.abs(target))
            x = np.clip(x, target - 1e6 * reach, target + 1e6 * reach)
        if (catch.cost(x - target) < _BROUGHT_IN * level).all():
            return Catch(found.K, found.P, level)
        level /= _SHRINK
    raise SolverError(
        "the regulator holds no neighbourhood of the target on the model; expected an equilibrium that the "
        "inputs can hold. Look at x_target, u_target and the bounds, or take a shorter dt"
    )
