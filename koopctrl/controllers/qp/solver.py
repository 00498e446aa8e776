r"""Quadratic programmes through CasADi's plugins, each answer certified.

No plugin is believed: an answer counts when its error, bounded here, is small. The plugins are called through
preallocated buffers, which costs a quarter of the usual call with keyword arguments, and on problems scaled
to answers of order one, since their tolerances are absolute.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, NamedTuple

import casadi
import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.qp.dense import DenseQP
from koopctrl.errors import OptionError

# Bound on the error of an answer, relative to its size, up to which it counts as a solution.
KKT_TOL = 1e-7

# Bound above which an answer is solved again as an equality problem on its own active set.
_POLISH_TOL = 1e-9

# The same where bounds that are met but nearly move other inputs much more, as on unstable models.
_EXACT = 1e-14

# What makes each plugin quiet, and accurate enough for the certificate.
_OPTIONS: dict[str, dict[str, Any]] = {
    "daqp": {"daqp": {"primal_tol": 1e-9}},
    "osqp": {
        "osqp": {"verbose": False, "eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 20_000, "polish": True},
        "warm_start_primal": True,
        "warm_start_dual": True,
    },
    "qrqp": {"print_iter": False, "print_header": False, "print_info": False, "print_lincomb": False},
    "piqp": {"piqp": {"eps_abs": 1e-10, "eps_rel": 1e-10, "max_iter": 60}},
    "qpoases": {"printLevel": "none"},
    "proxqp": {"proxqp": {"eps_abs": 1e-9, "max_iter": 2000}},
    "highs": {"highs": {"output_flag": False}},
    "ipqp": {"print_iter": False, "print_header": False, "print_info": False},
}
# Where a plugin takes a time limit in seconds: its own dictionary, if any, and the option's name.
_TIME_LIMITS = {"highs": ("highs", "time_limit"), "qpoases": ("", "CPUtime")}
_WARM = frozenset({"osqp", "qrqp", "qpoases", "proxqp"})
# These print a banner when they are loaded and made.
_LOUD = frozenset({"qpoases"})
# These either crash the process on dense problems (fatrop, hpipm want a stage structure) or need a licence.
_REFUSED = frozenset({"fatrop", "hpipm", "nlpsol", "clp", "cbc"})


class QPSolution(NamedTuple):
    """Answer of a QP solver.

    Attributes
    ----------
    x : (n,) array
    success : bool
        Whether the bound on its error is within `KKT_TOL`.
    status : str
        What the plugin said, for the reader; empty when its answer is certified.
    kkt_residual : float
        Bound on the error of `x`, relative to its size: see `DenseQP.residual`; inf if not finite.
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
        self.problem = DenseQP.of(np.eye(n), np.zeros((m, n)))
        settings = {
            "error_on_fail": False,
            "print_time": False,
            **_limited(plugin, max_time),
            **(options or {}),
        }
        shapes = {"h": casadi.Sparsity.dense(n, n), "a": casadi.Sparsity.dense(m, n)}
        try:
            with _silence() if plugin in _LOUD else nullcontext():
                self._function = casadi.conic("qp", plugin, shapes, settings)
                self._buffer, self._evaluate = self._function.buffer()
        except RuntimeError as error:
            raise OptionError(f"solver {plugin!r} refuses its options {settings}: {error}") from error
        self._no_rows = np.empty(0)
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
        return _rebuild, (self.n, self.m, self.plugin, self._options, self._max_time, self.problem)

    def load(self, H: FloatArray, A: FloatArray, problem: DenseQP | None = None) -> None:
        """Set the Hessian `(n, n)` and the rows `(m, n)` of the problems to come."""
        self.problem = DenseQP.of(H, A) if problem is None else problem
        self._in["h"][:] = H.ravel()  # symmetric, so either order
        self._in["a"][:] = A.ravel("F")

    def solve(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        guess: tuple[FloatArray, FloatArray, FloatArray] | None = None,
        deadline: float = math.inf,
        size: float | None = None,
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
        size : float, optional
            Size that the answer is expected to have. Where the answer is much smaller, it is solved again.
        """
        if size is None:
            free = self.problem.free_optimum(g)
            size = self.problem.size(free, self.problem.values(free), lower, upper, free)
        if not math.isfinite(size):
            return self._failure("the problem is not finite", 0)
        if size == 0.0:
            size = 1.0
        n_solves = 0
        for start in (guess, None) if guess is not None and self._warm else (None,):
            n_solves += 1
            try:
                found = self._call(g, lower, upper, start, size)
            except RuntimeError as error:
                return self._failure(f"{self.plugin} raised: {error}", n_solves)
            if found[3] <= KKT_TOL or time.perf_counter() > deadline:
                break
        if found[3] > KKT_TOL:
            largest = float(np.abs(found[0]).max(initial=0.0)) or size
            smaller = min(self.problem.narrow(size) or size, largest)
            if 0.0 < smaller < 1e-2 * size and time.perf_counter() <= deadline:
                n_solves += 1
                again = self._call(g, lower, upper, None, smaller)
                found = again if again[3] < found[3] else found
        x, lam_x, lam_a, residual = found
        success = residual <= KKT_TOL
        status = "" if success else f"{self.plugin}: {self._said()}, KKT residual {residual:.1e}"
        return QPSolution(x, success, status, residual, n_solves, lam_x, lam_a)

    def _call(
        self,
        g: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        start: tuple[FloatArray, FloatArray, FloatArray] | None,
        size: float,
    ) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """The plugin's answer, polished if need be, its multipliers and its residual."""
        n, data, unit = self.n, self._in, 1.0 / size
        np.multiply(g, unit, out=data["g"])
        np.multiply(lower[:n], unit, out=data["lbx"])
        np.multiply(upper[:n], unit, out=data["ubx"])
        if self.m:
            np.multiply(lower[n:], unit, out=data["lba"])
            np.multiply(upper[n:], unit, out=data["uba"])
        if self._warm:
            for name, value in zip(("x0", "lam_x0", "lam_a0"), start or (0.0, 0.0, 0.0), strict=True):
                np.multiply(value, unit, out=data[name])
        self._evaluate()
        problem, out = self.problem, self._out
        x, lam_x = size * out["x"], size * out["lam_x"]
        if not self.m:
            certified = problem.certify_box(g, lower, upper, x, lam_x)
            if certified is not None:
                return certified[0], lam_x, self._no_rows, certified[1]
        lam_a = size * out["lam_a"]
        residual = problem.certify(g, lower, upper, x, lam_x, lam_a)
        if residual > (_EXACT if problem.strict else _POLISH_TOL) and np.isfinite(x).all():
            polished = problem.polished(g, lower, upper, x, np.concatenate([lam_x, lam_a]))
            if polished is not None:
                better, lam = polished
                check = problem.residual(g, lower, upper, better, lam[:n], lam[n:])
                if check < residual:
                    x, lam_x, lam_a, residual = better, lam[:n], lam[n:], check
        return x, lam_x, lam_a, residual

    def _said(self) -> str:
        try:
            return str(self._buffer.stats().get("return_status", "no status"))
        except RuntimeError as error:
            return f"no status ({error})"

    def _failure(self, status: str, n_solves: int) -> QPSolution:
        nan, rows = np.full(self.n, np.nan), np.full(self.m, np.nan)
        return QPSolution(nan, False, status, float("inf"), n_solves, nan, rows)


@contextmanager
def _silence() -> Iterator[None]:
    """Standard output closed, to libraries that write to it below Python too."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            with redirect_stdout(nowhere):
                yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # the C library's own buffer
        os.dup2(kept, 1)
        os.close(kept)


def _rebuild(
    n: int, m: int, plugin: str, options: dict[str, Any], max_time: float, problem: DenseQP
) -> QPSolver:
    solver = QPSolver(n, m, plugin, options, max_time)
    solver.load(problem.H, problem.A, problem)
    return solver


def _limited(plugin: str, max_time: float) -> dict[str, Any]:
    """The plugin's defaults, with its time limit."""
    settings = dict(_OPTIONS.get(plugin, {}))
    if math.isfinite(max_time) and plugin in _TIME_LIMITS:
        group, name = _TIME_LIMITS[plugin]
        settings |= {group: {**settings.get(group, {}), name: max_time}} if group else {name: max_time}
    return settings


def _is_there(plugin: str) -> bool:
    """Whether this CasADi has it; loads it."""
    with _silence() if plugin in _LOUD else nullcontext():
        return bool(casadi.has_conic(plugin))


def check_plugin(plugin: str) -> str:
    """Refuse a plugin that this CasADi does not have or that cannot take condensed problems."""
    if not isinstance(plugin, str):
        raise OptionError(f"solver is {plugin!r}; expected the name of one of CasADi's plugins, as 'daqp'")
    if plugin in _REFUSED or not _is_there(plugin):
        raise OptionError(
            f"solver is {plugin!r}, which "
            + ("does not take dense problems" if plugin in _REFUSED else "this CasADi does not have")
            + "; expected one of 'daqp', 'osqp', 'qpoases', 'proxqp', 'piqp', 'highs', 'qrqp'"
        )
    return plugin
