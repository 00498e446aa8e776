r"""Plants that are no environments: python-control systems and plain functions, with `reset` and `step`.

.. math:: x_{k+1} = f(x_k, u_k), \qquad y_k = h(x_k)

A system in continuous time is integrated over each sample, its input held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, linalg

from koopctrl._time import check_dt, same_dt
from koopctrl._validation import FloatArray, as_float_array, as_vector
from koopctrl.data.gym_interface import accepts
from koopctrl.errors import DataError, OptionError, TimeBaseError

_TOLERANCE = 1e-10


def as_plant(env: Any, dt: float | None) -> Any:
    """What has `reset` and `step` as it is; a python-control system or a function as a `Simulated` plant.

    Parameters
    ----------
    env : gymnasium.Env, control.StateSpace, control.NonlinearIOSystem, or callable
        A callable is `f(x, u) -> x_next`, both vectors, and its outputs are its states.
    dt : float or None
        Sample time in seconds; what a system in continuous time is sampled with.

    Raises
    ------
    TimeBaseError
        If no sample time is known, or another one than the system has is given.
    OptionError
        If `env` is none of these, or a system whose inputs act on its outputs at once.
    """
    if callable(getattr(env, "reset", None)) and callable(getattr(env, "step", None)):
        return env
    if all(hasattr(env, name) for name in ("nstates", "ninputs", "noutputs", "dynamics", "output")):
        return _of_system(env, dt)
    if callable(env) and not isinstance(env, type):
        if not accepts(env, None, None):
            raise OptionError(
                "env cannot be called as f(x, u); expected the plant's next state from these two"
            )
        if dt is None:
            raise TimeBaseError("env is a function; expected its sample time in seconds. Pass dt=...")
        function: Callable[[FloatArray, FloatArray], Any] = env
        return Simulated(function, lambda x: x, None, check_dt(dt), None, (), ())
    missing = next(name for name in ("reset", "step") if not callable(getattr(env, name, None)))
    raise OptionError(
        f"env is a {type(env).__name__} without {missing}(); expected gymnasium's reset and step, a system "
        "of python-control, or a function f(x, u)"
    )


class Simulated:
    """A plant with gymnasium's `reset` and `step`.

    Parameters
    ----------
    advance, measure : callable
        `(x, u) -> x_next` and `x -> y`.
    n_x : int or None
        Number of states, where it is known.
    dt : float
        Seconds.
    n_u : int or None
        Number of inputs, where it is known.
    output_names, input_names : tuple of str
        Empty where there are none.
    """

    def __init__(
        self,
        advance: Callable[[FloatArray, FloatArray], ArrayLike],
        measure: Callable[[FloatArray], ArrayLike],
        n_x: int | None,
        dt: float,
        n_u: int | None,
        output_names: tuple[str, ...],
        input_names: tuple[str, ...],
    ) -> None:
        self._advance, self._measure, self._n_x, self.dt, self._n_u = advance, measure, n_x, dt, n_u
        if output_names:
            self.output_names, self.input_names = output_names, input_names
        self._x: FloatArray | None = None

    @property
    def plant(self) -> Simulated:
        """Itself: names are looked up here."""
        return self

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start from `options["x0"]`, the origin by default where the number of states is known."""
        x0 = (options or {}).get("x0")
        if x0 is None:
            if self._n_x is None:
                raise OptionError("env is a function, whose number of states is not known. Pass x0=...")
            self._x = np.zeros(self._n_x)
        else:
            array = np.atleast_1d(np.array(as_float_array(x0, "x0")))
            self._x = as_vector(array, "x0", len(array) if self._n_x is None else self._n_x).copy()
        return self._observed(self._x), {"x": self._x.copy()}

    def step(self, action: ArrayLike) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Hold an input for one sample; the reward is NaN."""
        if self._x is None:
            raise OptionError("step was called before reset; expected reset first")
        action = np.atleast_1d(np.array(as_float_array(action, "action")))
        u = as_vector(action, "action", len(action) if self._n_u is None else self._n_u)
        x = np.atleast_1d(
            np.array(as_float_array(self._advance(self._x.copy(), u.copy()), "the plant's state"))
        )
        if x.shape != self._x.shape or not np.isfinite(x).all():
            raise DataError(
                f"the plant's next state is {x.tolist()}; expected {len(self._x)} finite numbers, as in x0"
            )
        self._x = x
        return self._observed(x), float("nan"), False, False, {"x": x.copy(), "u": u.copy()}

    def _observed(self, x: FloatArray) -> FloatArray:
        return np.atleast_1d(np.array(as_float_array(self._measure(x.copy()), "the plant's output")))


def _of_system(system: Any, dt: float | None) -> Simulated:
    """A python-control system: as it is in discrete time, sampled by integration in continuous time."""
    own: Any = system.dt
    fixed = 0.0 if own is None or own is True else float(own)
    discrete = fixed > 0.0
    if discrete and dt is not None and not same_dt(fixed, check_dt(dt)):
        raise TimeBaseError(f"env has dt = {own} s and dt is {dt} s; expected the same. Leave dt out")
    if not discrete and dt is None:
        raise TimeBaseError(f"env has dt = {own}; expected a sample time in seconds. Pass dt=...")
    step = check_dt(own if discrete else dt)
    n_x, n_u = int(system.nstates), int(system.ninputs)
    _refuse_feedthrough(system, n_x, n_u)

    def measure(x: FloatArray) -> FloatArray:
        return np.ravel(system.output(0.0, x, np.zeros(n_u)))

    def flow(x: FloatArray, u: FloatArray) -> FloatArray:
        return np.ravel(system.dynamics(0.0, x, u))

    advance = flow
    # dt = None and dt = True stand for discrete time of any step where there is a difference equation.
    if not discrete and own is not True:
        advance = _sampled(system, step, n_x, n_u, flow)
    names = tuple(map(str, system.output_labels)), tuple(map(str, system.input_labels))
    return Simulated(advance, measure, n_x, step, n_u, *names)


def _sampled(
    system: Any, dt: float, n_x: int, n_u: int, flow: Callable[[FloatArray, FloatArray], FloatArray]
) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """One sample of continuous time: exact for matrices, else integrated."""
    if hasattr(system, "A") and hasattr(system, "B"):
        generator = np.zeros((n_x + n_u, n_x + n_u))
        generator[:n_x, :n_x], generator[:n_x, n_x:] = system.A, system.B
        both = np.asarray(linalg.expm(dt * generator))[:n_x]
        return lambda x, u: both @ np.concatenate([x, u])

    def integrated(x: FloatArray, u: FloatArray) -> FloatArray:
        # Each state in its own size: where it is, or how far it goes in a sample; at rest, the largest one.
        size = np.maximum(np.abs(x), dt * np.abs(flow(x, u)))
        size = np.where(size > 0.0, size, float(size.max(initial=0.0)) or 1.0)
        found = integrate.solve_ivp(
            lambda t, s: flow(s, u), (0.0, dt), x, method="LSODA", rtol=_TOLERANCE, atol=_TOLERANCE * size
        )
        if not found.success:
            raise DataError(f"the plant could not be integrated over a sample: {found.message}")
        return found.y[:, -1]

    return integrated


def _refuse_feedthrough(system: Any, n_x: int, n_u: int) -> None:
    """The input is chosen after the output is measured, so it must not act on it."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, u = rng.standard_normal(n_x), rng.standard_normal(n_u)
        if not np.array_equal(np.ravel(system.output(0.0, x, u)), np.ravel(system.output(0.0, x, 0.0 * u))):
            raise OptionError(
                "env has feedthrough: its input acts on its output at once, which is measured before the "
                "input is chosen; expected a system without. Delay the input by one sample"
            )
