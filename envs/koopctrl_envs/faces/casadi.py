"""A plant as a CasADi function, with the env's own steps or with CVODES."""

from __future__ import annotations

from functools import lru_cache

import casadi
import numpy as np

from koopctrl_envs.checks import FloatArray, as_number
from koopctrl_envs.plant import Plant

RTOL = 1e-11
"""CVODES' tolerance per internal step, relative to a state and to the width of the plant's box of starts."""


def plant_to_casadi(plant: Plant, dt: float | None = None, integrator: str = "rk4") -> casadi.Function:
    """`(x, u) -> (x_next, y)` of one sample under a held input; see `Plant.to_casadi`.

    Raises
    ------
    ValueError
        If `dt` or `integrator` is none.
    """
    dt = plant.dt if dt is None else as_number(dt, "dt", positive=True)
    if integrator not in ("rk4", "cvodes"):
        raise ValueError(
            f"integrator is {integrator!r}; expected 'rk4' (the env's own steps) or 'cvodes'. scipy's "
            "solve_ivp does not run on symbols"
        )
    x, u = casadi.MX.sym("x", plant.n_x), casadi.MX.sym("u", plant.n_u)
    advance = _cvodes(plant, dt) if integrator == "cvodes" else _own_steps(plant, dt)
    return casadi.Function(
        type(plant).__name__, [x, u], [advance(x, u), output_function(plant)(x)], ["x", "u"], ["x_next", "y"]
    )


def output_function(plant: Plant) -> casadi.Function:
    """`x -> y`."""
    x = casadi.SX.sym("x", plant.n_x)
    outputs = plant.output_components(casadi.vertsplit(x), xp=casadi)
    return casadi.Function("output", [x], [casadi.densify(casadi.vertcat(*outputs))])


def rhs_function(plant: Plant) -> casadi.Function:
    """`(x, u) -> dx/dt`."""
    x, u = casadi.SX.sym("x", plant.n_x), casadi.SX.sym("u", plant.n_u)
    slopes = plant.rhs_components(casadi.vertsplit(x), casadi.vertsplit(u), xp=casadi)
    return casadi.Function("rhs", [x, u], [casadi.densify(casadi.vertcat(*slopes))])


@lru_cache(maxsize=32)
def cvodes_step(plant: Plant, dt: float) -> casadi.Function:
    """`(x, u) -> x_next` by CVODES, built once for each plant."""
    return _cvodes(plant, dt)


def _own_steps(plant: Plant, dt: float) -> casadi.Function:
    """`step_components` on symbols; as a chain of equal sub-steps, where they fall apart into these.

    A chain keeps the graph as large as one sub-step, whatever `n_substeps` is.
    """
    n = plant.n_substeps_of(dt) if plant.in_substeps else 1
    x, u = casadi.SX.sym("x", plant.n_x), casadi.SX.sym("u", plant.n_u)
    parts = plant.step_components(casadi.vertsplit(x), casadi.vertsplit(u), casadi, dt / n)
    one = casadi.Function("substep", [x, u], [casadi.densify(casadi.vertcat(*parts))])
    if n == 1:
        return one
    held, state = casadi.MX.sym("u", plant.n_u), casadi.MX.sym("x", plant.n_x)
    after = state
    for _ in range(n):
        after = one(after, held)
    return casadi.Function("step", [state, held], [after])


def _cvodes(plant: Plant, dt: float) -> casadi.Function:
    # CVODES has one absolute tolerance for all states, so they are integrated over their scales.
    scale = casadi.DM(state_scale(plant))
    z, u = casadi.MX.sym("z", plant.n_x), casadi.MX.sym("u", plant.n_u)
    problem = {"x": z, "p": u, "ode": rhs_function(plant)(z * scale, u) / scale}
    options = {"reltol": RTOL, "abstol": RTOL, "max_num_steps": 100_000}
    solver = casadi.integrator("cvodes", "cvodes", problem, 0.0, dt, options)
    x = casadi.MX.sym("x", plant.n_x)
    return casadi.Function("step", [x, u], [solver(x0=x / scale, p=u)["xf"] * scale])


def state_scale(plant: Plant) -> FloatArray:
    """Size of each state: the width of its box of starts, or that box's distance from zero."""
    scale = np.maximum(np.subtract(plant.x0_high, plant.x0_low), np.abs(plant.x0_high))
    return np.where(scale > 0.0, scale, 1.0)
