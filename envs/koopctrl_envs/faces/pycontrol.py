"""A plant as systems of python-control, with the names of its signals."""

from __future__ import annotations

from typing import Any

import control
import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_number, as_vector
from koopctrl_envs.plant import Plant


def plant_to_nlsys(plant: Plant, dt: float = 0.0) -> control.NonlinearIOSystem:
    """Continuous, or with `dt > 0` sampled; see `Plant.to_nlsys`."""
    dt = _sample_time(dt)

    def update(_t: float, x: FloatArray, u: ArrayLike, _p: Any) -> FloatArray:
        u = np.atleast_1d(u)
        return plant.step(x, u, dt) if dt else plant.rhs(x, u)

    return control.nlsys(
        update,
        lambda _t, x, _u, _p: plant.output(x),
        states=list(plant.state_names),
        inputs=list(plant.input_names),
        outputs=list(plant.output_names),
        dt=dt,
        name=type(plant).__name__,
    )


def plant_to_statespace(plant: Plant, x: ArrayLike, u: ArrayLike, dt: float = 0.0) -> control.StateSpace:
    """Deviations from one point; see `Plant.linearize`."""
    dt = _sample_time(dt)
    x, u = as_vector(x, "x", plant.n_x), as_vector(u, "u", plant.n_u)
    A, B = plant.jacobians(x, u, dt)
    return control.StateSpace(
        A,
        B,
        plant.output_jacobian(x),
        np.zeros((plant.n_y, plant.n_u)),
        dt,
        states=list(plant.state_names),
        inputs=list(plant.input_names),
        outputs=list(plant.output_names),
        name=type(plant).__name__,
    )


def _sample_time(dt: float) -> float:
    dt = as_number(dt, "dt")
    if dt < 0.0:
        raise ValueError(f"dt is {dt}; expected 0 for continuous time, or a sample time in seconds")
    return dt
