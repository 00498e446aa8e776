"""Steady states of a plant by root finding."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from koopctrl_envs.checks import FloatArray, as_floats, as_vector
from koopctrl_envs.plant import Plant

TOLERANCE = 1e-9
"""Residual of a steady state, relative to the terms of its equations over the plant's box."""


def steady_state(
    plant: Plant, y: ArrayLike, x_guess: ArrayLike | None = None, u_guess: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """State and input at rest with given outputs; see `Plant.steady_state`.

    Unknowns are scaled by their boxes and slopes by what one sample moves, so that units do not matter.
    """
    wanted = as_floats(y, "y", plant.n_y)
    if wanted.shape != (plant.n_y,) or np.isinf(wanted).any():
        raise ValueError(f"y is {wanted.tolist()}; expected ({plant.n_y},) finite numbers or NaN")
    asked = ~np.isnan(wanted)
    if x_guess is None and not len(plant.equilibria):
        raise ValueError("x_guess is None and the plant names no equilibrium; pass x_guess")
    x0 = plant.equilibria[0] if x_guess is None else as_vector(x_guess, "x_guess", plant.n_x)
    if u_guess is None:
        middle = 0.5 * (np.array(plant.u_min) + np.array(plant.u_max))
        u0 = plant.equilibrium_inputs[0] if len(plant.equilibria) else middle
    else:
        u0 = as_vector(u_guess, "u_guess", plant.n_u)
    x_scale = _widths(plant.x_min, plant.x_max, np.subtract(plant.x0_high, plant.x0_low))
    u_scale = _widths(plant.u_min, plant.u_max, np.ones(plant.n_u))
    y_scale = _widths(*plant.output_bounds(), np.ones(plant.n_y))
    scale = np.concatenate([x_scale, u_scale])
    free = np.array([True] * plant.n_x + [name not in plant.disturbance_names for name in plant.input_names])

    def parts(w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """State and inputs of the unknowns; what disturbs stays as it is."""
        whole = np.concatenate([x0, u0])
        whole[free] = w * scale[free]
        return whole[: plant.n_x], whole[plant.n_x :]

    def residual(w: FloatArray) -> FloatArray:
        x, u = parts(w)
        error = (plant.output(x) - wanted)[asked] / y_scale[asked]
        return np.concatenate([plant.rhs(x, u) * plant.dt / x_scale, error])

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        start = (np.concatenate([x0, u0]) / scale)[free]
        found = least_squares(residual, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    if not np.abs(found.fun).max() <= TOLERANCE:
        raise ValueError(
            f"y is {wanted.tolist()}, and no state at rest with these outputs was found (best residual "
            f"{np.abs(found.fun).max():.2g} of the plant's ranges); pass another y, x_guess or u_guess"
        )
    return parts(found.x)


def _widths(low: ArrayLike, high: ArrayLike, otherwise: ArrayLike) -> FloatArray:
    width = np.subtract(high, low)
    return np.where(np.isfinite(width) & (width > 0.0), width, otherwise)
