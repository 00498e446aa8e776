r"""Quadratic programmes through CasADi's plugins, each answer certified.

.. math::
    \min_x \tfrac12 x'Hx + g'x \quad\text{s.t.}\quad l_x \le x \le u_x,\ l_a \le A x \le u_a

No plugin is believed: an answer counts when its KKT residual, computed here, is small. The plugins are called
through preallocated buffers, which costs a quarter of the usual call with keyword arguments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import casadi
import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

# Scaled KKT residual up to which an answer counts as a solution.
KKT_TOL = 1e-6

# Residual above which an answer is solved again as an equality problem on its own active set.
_POLISH_TOL = 1e-9

# What makes each plugin quiet, and accurate enough for the certificate.
_OPTIONS: dict[str, dict[str, Any]] = {
    "daqp": {"daqp": {"primal_tol": 1e-9}},
    "osqp": {
        "osqp": {"verbose": False, "eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 20_000, "polish": True},
        "warm_start_primal": True,
        "warm_start_dual": True,
    },
    "qrqp": {"print_iter": False, "print_header": False, "print_info": False, "print_lincomb": False},
    "piqp": {"piqp": {"eps_abs": 1e-10, "eps_rel": 1e-10}},
    "qpoases": {"printLevel": "none"},
    "proxqp": {"proxqp": {"eps_abs": 1e-9, "max_iter": 2000}},
    "highs": {"highs": {"output_flag": False}},
    "ipqp": {"print_iter": False, "print_header": False, "print_info": False},
}
# Where a plugin takes a time limit in seconds: its own dictionary, if any, and the option's name.
_TIME_LIMITS = {"highs": ("highs", "time_limit"), "qpoases": ("", "CPUtime")}
_WARM = frozenset({"osqp", "qrqp", "qpoases", "proxqp"})
# These either crash the process on dense problems (fatrop, hpipm want a stage structure) or need a licence.
_REFUSED = frozenset({"fatrop", "hpipm", "nlpsol", "clp", "cbc"})


@dataclass(frozen=True)
class QPSolution:
    """Answer of a QP solver.

    Attributes
    ----------
    x : (n,) array
    success : bool
        Whether the KKT residual is within `KKT_TOL`.
    status : str
        What the plugin said, for the reader; empty when its answer is certified.
    kkt_residual : float
        Largest scaled violation of stationarity, feasibility, dual sign and complementarity; inf if not
        finite.
    n_solves : int
        Calls of the plugin: 0 where the unconstrained optimum was feasible, 2 after a cold restart.
    multipliers_x, multipliers_a : arrays
        Of bounds and rows, positive at an upper and negative at a lower bound.
    """

    x: FloatArray
    success: bool
    status: str
    kkt_residual: float
    n_solves: int
    multipliers_x: FloatArray
    multipliers_a: FloatArray


def kkt_residual(
    H: FloatArray,
    g: FloatArray,
    A: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    x: FloatArray,
    multipliers_x: FloatArray,
    multipliers_a: FloatArray,
) -> float:
    """Largest scaled violation of the KKT conditions; `lower`, `upper` hold the bounds of `x`, then of `A x`.

    Stationarity is relative to the largest gradient term, feasibility to the largest value at stake, and
    complementarity is the smaller of a multiplier (relative to the gradient) and its bound's distance.
    """
    hx = H @ x
    stationarity = hx + g + multipliers_x
    values, multipliers = x, multipliers_x
    if len(A):
        stationarity += multipliers_a @ A
        values = np.concatenate([x, A @ x])
        multipliers = np.concatenate([multipliers_x, multipliers_a])
    dual_scale = 1.0 + max(np.abs(g).max(initial=0.0), np.abs(hx).max(initial=0.0))
    primal_scale = 1.0 + np.abs(values).max(initial=0.0)
    below, above = values - lower, upper - values
    infeasible = -min(below.min(initial=0.0), above.min(initial=0.0), 0.0) / primal_scale
    # A positive multiplier belongs to the upper bound, a negative one to the lower.
    distance = np.where(multipliers > 0.0, above, below) / primal_scale
    slack = np.minimum(np.abs(multipliers) / dual_scale, np.abs(distance)).max(initial=0.0)
    residual = max(np.abs(stationarity).max(initial=0.0) / dual_scale, infeasible, slack)
    return float(residual) if np.isfinite(residual) else float("inf")


class QPSolver:
    """One plugin, for dense problems of `n` variables and `m` rows.

    Parameters
    ----------
    n, m : int
    plugin : str
        Name of a CasADi conic plugin: `daqp`, `osqp`, `qpoases`, `proxqp`, `piqp`, `highs`, `qrqp`, ...
    options : mapping, optional
        Passed to the plugin over the defaults.
    max_time : float
        Seconds a call may take, where the plugin can be limited.

    Raises
    ------
    OptionError
        If this CasADi has no such plugin, the plugin cannot take dense problems, or refuses an option.
    """

    def __init__(
        self,
        n: int,
        m: int,
        plugin: str = "daqp",
        options: Mapping[str, Any] | None = None,
        max_time: float = math.inf,
    ) -> None:
        check_plugin(plugin)
        if options is not None and not isinstance(options, Mapping):
            raise OptionError(f"solver_options is {options!r}; expected a mapping of the plugin's options")
        self.plugin, self.n, self.m = plugin, n, m
        self._warm, self._options, self._max_time = plugin in _WARM, dict(options or {}), max_time
        self._H, self._A = np.eye(n), np.zeros((m, n))
        settings = {
            "error_on_fail": False,
            "print_time": False,
            **_limited(plugin, max_time),
            **(options or {}),
        }
        shapes = {"h": casadi.Sparsity.dense(n, n), "a": casadi.Sparsity.dense(m, n)}
        try:
            self._function = casadi.conic("qp", plugin, shapes, settings)
        except RuntimeError as error:
            raise OptionError(f"solver {plugin!r} refuses its options {settings}: {error}") from error
        self._buffer, self._evaluate = self._function.buffer()
        self._in = {
            "h": np.zeros(n * n), "a": np.zeros(m * n),
            **{name: np.zeros(n) for name in ("g", "lbx", "ubx", "x0", "lam_x0")},
            **{name: np.zeros(m) for name in ("lba", "uba", "lam_a0")},
        }  # fmt: skip
        self._out = {"x": np.zeros(n), "lam_x": np.zeros(n), "lam_a": np.zeros(m)}
        for name, array in self._in.items():
            self._buffer.set_arg(self._function.index_in(name), memoryview(array))  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, array in self._out.items():
            self._buffer.set_res(self._function.index_out(name), memoryview(array))  # pyright: ignore[reportCallIssue, reportArgumentType]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are rebuilt: CasADi's buffers cannot be copied."""
        return _rebuild, (self.n, self.m, self.plugin, self._options, self._max_time, self._H, self._A)

    def load(self, H: FloatArray, A: FloatArray) -> None:
        """Set the Hessian `(n, n)` and the rows `(m, n)` of the problems to come."""
        self._H, self._A = H, A
        self._in["h"][:] = H.ravel()  # symmetric, so either order
        self._in["a"][:] = A.ravel("F")

    def solve(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        guess: tuple[FloatArray, FloatArray, FloatArray] | None = None,
        deadline: float = math.inf,
    ) -> QPSolution:
        """Solve for one gradient and one set of bounds.

        Parameters
        ----------
        g : (n,) array
        lower, upper : (n + m,) arrays
            Bounds of `x`, then of `A x`; infinite where there is none.
        guess : (x, multipliers_x, multipliers_a), optional
            Warm start, for the plugins that use one. If its answer is not certified, a cold start follows.
        deadline : float
            On the clock of `time.perf_counter`; no cold start follows after it.
        """
        n, data = self.n, self._in
        data["g"][:] = g
        data["lbx"][:], data["lba"][:] = lower[:n], lower[n:]
        data["ubx"][:], data["uba"][:] = upper[:n], upper[n:]
        n_solves = 0
        for start in (guess, None) if guess is not None and self._warm else (None,):
            for name, value in zip(("x0", "lam_x0", "lam_a0"), start or (0.0, 0.0, 0.0), strict=True):
                data[name][:] = value
            n_solves += 1
            try:
                self._evaluate()
            except RuntimeError as error:
                return self._failure(f"{self.plugin} raised: {error}", n_solves)
            x, lam_x, lam_a = (self._out[k] for k in ("x", "lam_x", "lam_a"))
            residual = kkt_residual(self._H, g, self._A, lower, upper, x, lam_x, lam_a)
            if _POLISH_TOL < residual <= KKT_TOL:
                x, lam_x, lam_a, residual = self._polish(g, lower, upper, (x, lam_x, lam_a, residual))
            if residual <= KKT_TOL or time.perf_counter() > deadline:
                break
        success = residual <= KKT_TOL
        status = "" if success else f"{self.plugin}: {self._said()}, KKT residual {residual:.1e}"
        return QPSolution(x.copy(), success, status, residual, n_solves, lam_x.copy(), lam_a.copy())

    def _polish(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        answer: tuple[FloatArray, FloatArray, FloatArray, float],
    ) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """The optimum on the answer's active set where that is the better answer, with its multipliers."""
        n, multipliers = self.n, np.concatenate(answer[1:3])
        active = np.flatnonzero(multipliers)
        normals = np.vstack([np.eye(n), self._A])[active]
        bounds = np.where(multipliers > 0.0, upper, lower)[active]
        k = len(active)
        if not np.isfinite(bounds).all():
            return answer
        system = np.block([[self._H, normals.T], [normals, np.zeros((k, k))]])
        try:
            found = np.linalg.lstsq(system, np.concatenate([-g, bounds]), rcond=None)[0]
        except np.linalg.LinAlgError:
            return answer
        x, multipliers = found[:n], np.zeros(len(multipliers))
        multipliers[active] = found[n:]
        lam_x, lam_a = multipliers[:n], multipliers[n:]
        residual = kkt_residual(self._H, g, self._A, lower, upper, x, lam_x, lam_a)
        return (x, lam_x, lam_a, residual) if residual < answer[3] else answer

    def _said(self) -> str:
        try:
            return str(self._buffer.stats().get("return_status", "no status"))
        except RuntimeError as error:
            return f"no status ({error})"

    def _failure(self, status: str, n_solves: int) -> QPSolution:
        nan, rows = np.full(self.n, np.nan), np.full(self.m, np.nan)
        return QPSolution(nan, False, status, float("inf"), n_solves, nan, rows)


def _rebuild(
    n: int, m: int, plugin: str, options: dict[str, Any], max_time: float, H: FloatArray, A: FloatArray
) -> QPSolver:
    solver = QPSolver(n, m, plugin, options, max_time)
    solver.load(H, A)
    return solver


def _limited(plugin: str, max_time: float) -> dict[str, Any]:
    """The plugin's defaults, with its time limit."""
    settings = dict(_OPTIONS.get(plugin, {}))
    if math.isfinite(max_time) and plugin in _TIME_LIMITS:
        group, name = _TIME_LIMITS[plugin]
        settings |= {group: {**settings.get(group, {}), name: max_time}} if group else {name: max_time}
    return settings


def check_plugin(plugin: str) -> str:
    """Refuse a plugin that this CasADi does not have or that cannot take condensed problems."""
    if not isinstance(plugin, str) or plugin in _REFUSED or not casadi.has_conic(plugin):
        raise OptionError(
            f"solver is {plugin!r}, which "
            + ("does not take dense problems" if plugin in _REFUSED else "this CasADi does not have")
            + "; expected one of 'daqp', 'osqp', 'qpoases', 'proxqp', 'piqp', 'highs', 'qrqp'"
        )
    return plugin
