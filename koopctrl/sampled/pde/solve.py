"""Integration in time: exact exponentials for linear equations, stiff steps for the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from koopctrl._threads import few_threads
from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_signal,
    as_vector,
    check_choice,
    check_finite,
    check_number,
)
from koopctrl.errors import OptionError, ShapeError, SolverError, TimeBaseError
from koopctrl.sampled.pde.etdrk4 import integrate_etdrk4
from koopctrl.sampled.pde.exponential import integrate_linear
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete
from koopctrl.sampled.pde.solution import Solution

METHODS = ("auto", "exponential", "radau", "bdf", "lsoda", "dop853", "etdrk4")
_SCIPY = {"radau": "Radau", "bdf": "BDF", "lsoda": "LSODA", "dop853": "DOP853"}


@few_threads()
def solve(
    model: SemiDiscrete,
    t: ArrayLike,
    inputs: ArrayLike | None = None,
    *,
    initial: ArrayLike | None = None,
    method: str = "auto",
    rtol: float = 1e-8,
) -> Solution:
    """Integrate a model over times.

    Parameters
    ----------
    model : SemiDiscrete
    t : (n_times,) array_like
        Rising times in seconds, the first of them that of the initial state.
    inputs : (n_inputs,) or (n_times - 1, n_inputs) array_like, optional
        Held from each time to the next; zero by default.
    initial : (n_states,) array_like, optional
        State to start from; the projected start of the equation by default.
    method : {"auto", "exponential", "radau", "bdf", "lsoda", "dop853", "etdrk4"}
        `"exponential"` is for linear equations: exact under held inputs. `"etdrk4"` treats the linear part
        exactly and the nonlinear one by fourth-order Runge-Kutta with steps halved until `rtol` is met. The
        others are SciPy's. `"auto"` is exponential if the equation is linear, else `"etdrk4"` without and
        `"radau"` with forcing or moving boundary data.
    rtol : float
        Relative to the largest coefficient.

    Raises
    ------
    SolverError
        If the integration fails or leaves finite numbers.
    """
    check_choice(method, "method", METHODS)
    check_number(rtol, "rtol", low=1e-14, high=1e-1)
    times = check_finite(as_float_array(t, "t"), "t")
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        raise TimeBaseError(f"t has shape {times.shape}; expected at least two rising times in seconds")
    acting = held_inputs(model, inputs, len(times) - 1)
    x0 = model.initial_state() if initial is None else as_vector(initial, "initial", model.n_states)
    if method == "auto":
        method = "exponential" if model.pde.linear else ("etdrk4" if model.pde.order == 1 else "radau")
    if method == "exponential" and not model.pde.linear:
        raise OptionError('method is "exponential", but the equation is nonlinear; expected another method')
    with np.errstate(over="ignore", invalid="ignore"):
        states = _integrate(model, times, acting, x0, method, rtol)
    if not np.isfinite(states).all():
        where = float(times[np.argmax(~np.isfinite(states).all(axis=1))])
        raise SolverError(
            f"the solution leaves finite numbers before t = {where:g}; expected it to stay bounded. "
            "Take more "
            "features where it is steep, a larger pair_distance, or check the signs of the terms"
        )
    last = acting[-1:] if len(acting) else np.zeros((1, model.n_inputs))
    return Solution(
        times.copy(), tuple(states), (model,), np.zeros(len(times), dtype=int), np.concatenate([acting, last])
    )


def held_inputs(model: SemiDiscrete, inputs: ArrayLike | None, n_steps: int) -> FloatArray:
    """Inputs `(n_steps, n_inputs)` of a constant, a sequence, or nothing."""
    if inputs is None:
        return np.zeros((n_steps, model.n_inputs))
    array = as_float_array(inputs, "inputs")
    if (
        array.ndim == 1
        and len(array) == model.n_inputs
        and not (model.n_inputs == 1 and len(array) == n_steps)
    ):
        return np.broadcast_to(check_finite(array, "inputs"), (n_steps, model.n_inputs))
    array = as_signal(array, "inputs", model.n_inputs)
    if len(array) != n_steps:
        raise ShapeError(f"inputs has {len(array)} rows; expected {n_steps}, one between two times")
    return array


def _integrate(
    model: SemiDiscrete, times: FloatArray, acting: FloatArray, x0: FloatArray, method: str, rtol: float
) -> FloatArray:
    if method == "exponential":
        return _linear(model, times, acting, x0, rtol)
    if method == "etdrk4":
        return integrate_etdrk4(model, times, acting, x0, rtol)
    return _scipy(model, times, acting, x0, method, rtol)


def _linear(
    model: SemiDiscrete, times: FloatArray, acting: FloatArray, x0: FloatArray, rtol: float
) -> FloatArray:
    a, b = model.jacobian(x0, np.zeros(model.n_inputs))
    scale = np.ones(model.n_states)
    if model.pde.order == 2:
        # Rates in units of the fastest mode's: [[0, w], [A / w, 0]] has norm w in place of w^2.
        n = model.n_coordinates
        scale[n:] = np.sqrt(np.linalg.norm(a[n:, :n], 2)) or 1.0
    force: Callable[[float], FloatArray] | None = None
    if not model.autonomous:
        zero, still = np.zeros(model.n_states), np.zeros(model.n_inputs)

        def driven(s: float) -> FloatArray:
            return model.derivative(zero, still, s) / scale

        force = driven

    scaled = a * scale / scale[:, None]
    return integrate_linear(scaled, force, (acting @ b.T) / scale, x0 / scale, times, rtol) * scale


def _scipy(
    model: SemiDiscrete, times: FloatArray, acting: FloatArray, x0: FloatArray, method: str, rtol: float
) -> FloatArray:
    implicit = method in ("radau", "bdf", "lsoda")
    states = [x0]
    pieces = (
        [(0, len(times) - 1)] if (acting == acting[:1]).all() else [(k, k + 1) for k in range(len(acting))]
    )
    for start, end in pieces:
        v = acting[start]
        scale = _scale(model, states[-1], v, float(times[start]), float(times[end]))
        extra: dict[str, Any] = {"jac": lambda s, x, v=v: model.jacobian(x, v, s)[0]} if implicit else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LSODA's and Radau's remarks: success is judged below
            found = solve_ivp(
                lambda s, x, v=v: model.derivative(x, v, s), (times[start], times[end]), states[-1],
                method=_SCIPY[method], t_eval=times[start : end + 1], rtol=max(rtol, 3e-14),
                atol=rtol * 1e-2 * scale, **extra,
            )  # fmt: skip
        if not found.success:
            raise SolverError(
                f"{method} stopped at t = {found.t[-1] if len(found.t) else times[start]:g}: "
                f"{found.message} Take more "
                "features where the solution is steep, or another method"
            )
        states.extend(found.y.T[1:])
    return np.array(states)


def _scale(model: SemiDiscrete, x: FloatArray, v: FloatArray, start: float, end: float) -> float:
    """Size of the states to come: of the start, or where that is zero of what a moment's slope makes of
    it.
    """
    size = float(np.abs(x).max(initial=0.0))
    if size == 0.0:
        moments = np.linspace(start, end, 5)
        size = (end - start) * max(float(np.abs(model.derivative(x, v, t)).max(initial=0.0)) for t in moments)
    return size or 1.0
