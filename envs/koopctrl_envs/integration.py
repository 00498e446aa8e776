"""Steps of any plant by an integrator that chooses its own step size and method."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Plant

RTOL = 1e-10
"""Tolerance per integration step, relative to a state and to the width of the plant's box of starts."""


def exact_step(
    plant: Plant, x: FloatArray, u: FloatArray, dt: float, method: str = "solve_ivp"
) -> FloatArray:
    """State after `dt` seconds under a held input; see `Plant.exact_step`.

    Raises
    ------
    ValueError
        If the integrator gives up, or `method` is none.
    """
    if method == "cvodes":
        return _cvodes_step(plant, x, u, dt)
    if method != "solve_ivp":
        raise ValueError(f"method is {method!r}; expected 'solve_ivp' or 'cvodes'")
    scale = np.maximum(np.subtract(plant.x0_high, plant.x0_low), np.abs(plant.x0_high))
    found = solve_ivp(
        lambda _t, x: plant.rhs(x, u), (0.0, dt), x, method="LSODA", rtol=RTOL, atol=RTOL * scale
    )
    if not found.success:
        raise ValueError(f"{plant} cannot be integrated over {dt:g} s from {x.tolist()}: {found.message}")
    return found.y[:, -1]


def _cvodes_step(plant: Plant, x: FloatArray, u: FloatArray, dt: float) -> FloatArray:
    from koopctrl_envs.faces.casadi import cvodes_step

    try:
        found = np.array(cvodes_step(plant, dt)(x, u))[:, 0]
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise ValueError(f"{plant} cannot be integrated over {dt:g} s from {x.tolist()}: {last}") from error
    return found
