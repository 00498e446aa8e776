"""NMPC with a known model: the yardstick that identified models are measured against."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import casadi
import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector, as_weight, check_choice, check_dt, check_integer
from koopctrl.controllers.bounds import input_bounds
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.info import MPCInfo
from koopctrl.controllers.request import RequestReader
from koopctrl.data.gym_interface import accepts
from koopctrl.errors import OptionError, ShapeError

_QUIET = {
    "ipopt": {
        "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-8}, "print_time": False, "error_on_fail": False,
        "show_eval_warnings": False,
    },
    "sqpmethod": {
        "print_iteration": False, "print_header": False, "print_status": False, "print_time": False,
        "show_eval_warnings": False,
        "error_on_fail": False, "qpsol": "daqp", "qpsol_options": {"error_on_fail": False},
    },
}  # fmt: skip
_REMEDY = "Take functions from xp: xp.sin(x) in place of math.sin(x)"


class NMPC:
    r"""Nonlinear predictive control by multiple shooting, whose states are measured.

    .. math::
        \min \sum_{k=1}^{N-1} |y_k - r|_Q^2 + \sum_{k=0}^{N-1} |u_k - u_r|_R^2 + |y_N - r|_P^2
        \quad\text{s.t.}\quad x_{k+1} = f(x_k, u_k),\ y_k = h(x_k)

    Parameters
    ----------
    step : casadi.Function, or callable
        `(x, u) -> x_next`, further outputs ignored, as a plant's `to_casadi()`; or a callable on lists of
        components, `step(x, u, xp=casadi) -> n_x components`, such as a plant's `step_components`; one
        without `xp` is called as `step(x, u)`.
    n_x, n_u : int
    horizon : int
    Q, R, P : array_like
        Weights; `P` (default `Q`) on the last output.
    dt : float
        Sample time in seconds.
    u_min, u_max, x_min, x_max : array_like, optional
        Hard bounds.
    output : callable, optional
        `output(x, xp=casadi) -> components` on a list of components, as a plant's `output_components`; by
        default the outputs are the states.
    to_state : callable, optional
        State `(n_x,)` from a measurement `(n_y,)`; needed where `output` is given.
    u_reference : (n_u,) array_like, optional
        Input that goes with the set-point, where `control` is told of no other; 0 by default.
    solver : {"ipopt", "sqpmethod"}

    Raises
    ------
    OptionError
        If `step` is neither, or fails on symbols.
    """

    def __init__(
        self,
        step: casadi.Function | Callable[..., Any],
        n_x: int,
        n_u: int,
        horizon: int,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        dt: float,
        P: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        x_min: ArrayLike | None = None,
        x_max: ArrayLike | None = None,
        output: Callable[..., Any] | None = None,
        to_state: Callable[[FloatArray], ArrayLike] | None = None,
        u_reference: ArrayLike | None = None,
        solver: str = "ipopt",
    ) -> None:
        check_choice(solver, "solver", tuple(_QUIET))
        if to_state is not None and not callable(to_state):
            raise OptionError(f"to_state is a {type(to_state).__name__}; expected a callable or None")
        self.n_x, self.n_u = check_integer(n_x, "n_x", low=1), check_integer(n_u, "n_u", low=1)
        self.horizon, self.dt = check_integer(horizon, "horizon", low=1), check_dt(dt)
        if (output is None) != (to_state is None):
            raise OptionError("output and to_state belong together; expected both or neither")
        h = _output_function(output, n_x)
        self._to_state, n_y = to_state, int(h.numel_out())
        self.Q, self.R = as_weight(Q, "Q", n_y), as_weight(R, "R", n_u)
        self.P = self.Q if P is None else as_weight(P, "P", n_y)
        self.u_min, self.u_max = input_bounds(u_min, u_max, n_u)
        x_low, x_high = input_bounds(x_min, x_max, n_x, ("x_min", "x_max"))
        self._u_r = np.zeros(n_u) if u_reference is None else as_vector(u_reference, "u_reference", n_u)
        self._n_y = n_y
        self._requests = RequestReader(n_y, n_u, 0, horizon, 0, np.zeros(n_y))
        self._solver = self._build(_as_function(step, n_x, n_u), h, solver)
        self._low = np.concatenate([np.tile(self.u_min, horizon), np.tile(x_low, horizon)])
        self._high = np.concatenate([np.tile(self.u_max, horizon), np.tile(x_high, horizon)])
        self.reset()

    def _build(self, f: casadi.Function, h: casadi.Function, solver: str) -> casadi.Function:
        N, n_x, n_u = self.horizon, self.n_x, self.n_u
        u, x = casadi.MX.sym("u", n_u, N), casadi.MX.sym("x", n_x, N)
        x0, r = casadi.MX.sym("x0", n_x), casadi.MX.sym("r", self._n_y, N + 1)
        u_r, load = casadi.MX.sym("u_r", n_u, N), casadi.MX.sym("load", n_u, N)
        before = casadi.horzcat(x0, x[:, :-1])
        gaps = x - f.map(N)(before, u + load)
        y = h.map(N)(x)
        Q, R, P = (casadi.DM(w) for w in (self.Q, self.R, self.P))
        cost = casadi.MX(0)
        for k in range(N):
            du = u[:, k] - u_r[:, k]
            cost += casadi.bilin(R, du, du)
            e = y[:, k] - r[:, k + 1]
            cost += casadi.bilin(Q if k < N - 1 else P, e, e)
        nlp = {"x": casadi.vertcat(casadi.vec(u), casadi.vec(x)), "f": cost, "g": casadi.vec(gaps)}
        nlp["p"] = casadi.vertcat(x0, casadi.vec(r), casadi.vec(u_r), casadi.vec(load))
        return casadi.nlpsol("nmpc", solver, nlp, _QUIET[solver])

    def reset(self) -> None:
        """Forget the last plan."""
        self._guess: FloatArray | None = None
        self._multipliers: FloatArray | None = None
        self._u_last = np.clip(self._u_r, self.u_min, self.u_max)
        self.info: MPCInfo | None = None

    def take_over(self, other: NMPC) -> None:
        """Begin from the last plan of another one of the same sizes, whose plant or weights differ."""
        if (other.horizon, other.n_x, other.n_u) != (self.horizon, self.n_x, self.n_u):
            raise OptionError(
                f"other has horizon, n_x and n_u of {other.horizon}, {other.n_x} and {other.n_u}; expected "
                f"{self.horizon}, {self.n_x} and {self.n_u}"
            )
        self._guess, self._multipliers, self._u_last = other._guess, other._multipliers, other._u_last

    def control(
        self,
        measurement: ArrayLike,
        reference: ArrayLike | None = None,
        input_reference: ArrayLike | None = None,
        load: ArrayLike | None = None,
    ) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point, 0 by default, or preview.
        input_reference : (n_u,) or (n, n_u) array_like, optional
            Inputs from which deviations cost, or their preview; `u_reference` by default.
        load : (n_u,) or (n, n_u) array_like, optional
            What is known to act beside the inputs, or its preview, `x_{k+1} = f(x_k, u_k + load_k)`; 0 by
            default. It is not held to the inputs' bounds.

        Returns
        -------
        (n_u,) array
        """
        start = time.perf_counter()
        N, n_x, n_u = self.horizon, self.n_x, self.n_u
        y0 = as_measurement(measurement, self._n_y)
        asked = self._requests.read(reference, input_reference, None)
        r = asked.r.ravel() if asked.is_preview else np.tile(asked.r, N + 1)
        u_r = np.broadcast_to(self._u_r if asked.u_r is None else asked.u_r, (N, n_u)).ravel()
        known = self._requests.read(None, load, None, "load").u_r
        pushed = np.broadcast_to(np.zeros(n_u) if known is None else known, (N, n_u)).ravel()
        if np.isnan(y0).any():
            self.info = MPCInfo("fallback_hold", time.perf_counter() - start, "the measurement has NaN")
            return self._u_last.copy()
        x0 = y0 if self._to_state is None else as_vector(self._to_state(y0), "to_state(measurement)", n_x)
        if self._guess is None:
            self._guess = np.concatenate([np.tile(self._u_last, N), np.tile(x0, N)])
        extra = {} if self._multipliers is None else {"lam_g0": self._multipliers}
        answer = self._solver(
            x0=self._guess,
            p=np.concatenate([x0, r, u_r, pushed]),
            lbx=self._low,
            ubx=self._high,
            lbg=0.0,
            ubg=0.0,
            **extra,
        )
        stats = self._solver.stats()
        w = np.array(answer["x"]).ravel()
        if not np.isfinite(w).all():
            self._guess = self._multipliers = None
            self.info = MPCInfo("fallback_hold", time.perf_counter() - start, str(stats["return_status"]))
            return self._u_last.copy()
        inputs, states = w[: N * n_u].reshape(N, n_u), w[N * n_u :].reshape(N, n_x)
        inputs = np.clip(inputs, self.u_min, self.u_max)
        self._guess = np.concatenate([inputs[1:].ravel(), inputs[-1], states[1:].ravel(), states[-1]])
        self._multipliers = np.array(answer["lam_g"]).ravel()
        status = "optimal" if stats["success"] else "not_converged"
        self._u_last = inputs[0]
        self.info = MPCInfo(
            status, time.perf_counter() - start, "" if stats["success"] else str(stats["return_status"]),
            int(stats.get("iter_count", 0)), float("nan"), float(answer["f"]), inputs,
        )  # fmt: skip
        return inputs[0].copy()


def _as_function(step: Any, n_x: int, n_u: int) -> casadi.Function:
    if isinstance(step, casadi.Function):
        if step.n_out() > 1:  # the outputs, say, behind the next state
            x, u = casadi.MX.sym("x", n_x), casadi.MX.sym("u", n_u)
            step = casadi.Function("f", [x, u], [step(x, u)[0]])
        return _check_size(step, n_x)
    if not callable(step):
        raise OptionError(f"step is a {type(step).__name__}; expected a casadi.Function or a callable")
    x, u = casadi.SX.sym("x", n_x), casadi.SX.sym("u", n_u)
    next_x = _evaluate(step, "step", n_x, casadi.vertsplit(x), casadi.vertsplit(u))
    return _check_size(_refuse_nan(casadi.Function("f", [x, u], [next_x]), "step"), n_x)


def _evaluate(
    function: Callable[..., Any], name: str, n_x: int | None, *components: list[casadi.SX]
) -> casadi.SX:
    """Column of what a callable makes of lists of symbols; it gets `xp=casadi` if it takes that."""
    keywords = {"xp": casadi} if accepts(function, *components, xp=casadi) else {}
    if not accepts(function, *components, **keywords):
        wanted = "x, u" if len(components) == 2 else "x"
        raise OptionError(
            f"{name} cannot be called as {name}({wanted}) nor as {name}({wanted}, xp=casadi); expected "
            "one of them, on lists of components"
        )
    try:
        parts: Any = function(*components, **keywords)
        if isinstance(parts, np.ndarray):
            parts = list(parts.ravel())
        if isinstance(parts, (tuple, list)):
            return casadi.vertcat(*parts)
    except Exception as error:
        raise OptionError(
            f"{name} failed on casadi symbols ({type(error).__name__}: {error}); expected arithmetic on "
            f"components. {_REMEDY}"
        ) from error
    if isinstance(parts, casadi.SX):
        return casadi.vec(parts)
    count = "the" if n_x is None else n_x
    raise OptionError(f"{name} returned a {type(parts).__name__}; expected a tuple of {count} components")


def _check_size(f: casadi.Function, n_x: int) -> casadi.Function:
    if f.numel_out(0) != n_x:
        raise ShapeError(f"step returned {f.numel_out(0)} components; expected n_x = {n_x}")
    return f


def _output_function(output: Callable[..., Any] | None, n_x: int) -> casadi.Function:
    x = casadi.SX.sym("x", n_x)
    if output is not None and not callable(output):
        raise OptionError(f"output is a {type(output).__name__}; expected a callable or None")
    y = x if output is None else _evaluate(output, "output", None, casadi.vertsplit(x))
    return _refuse_nan(casadi.Function("h", [x], [y]), "output")


def _refuse_nan(f: casadi.Function, name: str) -> casadi.Function:
    """Refuse constants NaN: casadi turns a symbol into that where `math.sin` and others ask for a float."""
    constants = (k for k in range(f.n_instructions()) if f.instruction_id(k) == casadi.OP_CONST)
    if any(np.isnan(f.instruction_constant(k)) for k in constants):
        raise OptionError(f"{name} lost its symbols: they became NaN. {_REMEDY}")
    return f
