r"""The known part of a grey-box model: next outputs by a function of the caller's, with named coefficients.

.. math:: y_{k+1} = f(x_k, u_k, \theta) + \text{sampled remainder}

`f` is written once, on lists of components that are floats, arrays or CasADi symbols, as a plant's formulas
are: `known(x, u)`, or `known(x, u, theta)` where there are coefficients, returns the next components. If it
has an argument `xp`, this is numpy or casadi: take functions from there, `xp.sin(x[0])`.

Its derivatives are differences of fourth order, with steps that are a share of each signal's spread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from koopctrl._time import check_dt
from koopctrl._validation import FloatArray, check_integer
from koopctrl.errors import DataError, OptionError

Known = Callable[..., Sequence[Any]]

# Five-point central difference; the share balances its error h^4 and rounding eps / h.
_STENCIL = ((-2.0, 1.0 / 12.0), (-1.0, -2.0 / 3.0), (1.0, 2.0 / 3.0), (2.0, -1.0 / 12.0))
STEP = 1e-3


def differentiate(
    f: Callable[[FloatArray], FloatArray], at: FloatArray, scale: FloatArray
) -> list[FloatArray]:
    """Derivatives of `f` with respect to each last-axis entry of `at`, whose sizes are `scale`."""
    slopes: list[FloatArray] = []
    for i, size in enumerate(scale):
        h = STEP * size
        total = None
        for offset, weight in _STENCIL:
            moved = at.copy()
            moved[..., i] += offset * h
            term = weight * f(moved)
            total = term if total is None else total + term
        slopes.append(np.asarray(total) / h)
    return slopes


def takes_xp(function: Callable[..., Any]) -> bool:
    """Whether a function has an argument `xp`."""
    try:
        return "xp" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature to read
        return False


@dataclass(frozen=True, eq=False)
class KnownPart:
    """A function with the values of its coefficients.

    Attributes
    ----------
    function : callable
        See the module.
    names : tuple of str
        Of the coefficients; none for `known(x, u)`.
    theta : (n,) array
        Their values.
    n_y : int
        Components that it returns.
    region : tuple of arrays
        Smallest and largest `x`, then `u`, of the data. Beyond them the remainder, which has learned nothing
        there, keeps the value that it has at their edge.
    """

    function: Known
    names: tuple[str, ...]
    theta: FloatArray
    n_y: int
    region: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    _by_xp: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Whether it is told where functions are from."""
        object.__setattr__(self, "_by_xp", takes_xp(self.function))

    def call(self, x: Sequence[Any], u: Sequence[Any], xp: Any, theta: FloatArray | None = None) -> list[Any]:
        """Next components of lists of components."""
        args: list[Any] = [x, u]
        if self.names:
            values = self.theta if theta is None else theta
            args.append({name: float(value) for name, value in zip(self.names, values, strict=True)})
        named = {"xp": xp} if self._by_xp else {}
        found = list(self.function(*args, **named))
        if len(found) != self.n_y:
            raise OptionError(
                f"known returned {len(found)} components; expected {self.n_y}, the next value of each output"
            )
        return found

    def __call__(self, x: FloatArray, u: FloatArray, theta: FloatArray | None = None) -> FloatArray:
        """`(..., n_y)` next outputs of `(..., n_x)` states and `(..., n_u)` inputs."""
        parts = self.call(list(np.moveaxis(x, -1, 0)), list(np.moveaxis(u, -1, 0)), np, theta)
        shape = np.broadcast_shapes(x.shape[:-1], u.shape[:-1])
        out = np.empty((*shape, self.n_y))
        for i, part in enumerate(parts):
            out[..., i] = part
        return out

    def jacobian(
        self, x: FloatArray, u: FloatArray, x_scale: FloatArray, u_scale: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """`(df/dx, df/du)`, `(..., n_y, n_x)` and `(..., n_y, n_u)`; scales say how far a signal moves."""
        by_x = differentiate(lambda moved: self(moved, u), x, x_scale)
        by_u = differentiate(lambda moved: self(x, moved), u, u_scale)
        empty = np.empty((*x.shape[:-1], self.n_y, 0))
        return (
            np.stack(by_x, axis=-1) if by_x else empty,
            np.stack(by_u, axis=-1) if by_u else empty,
        )

    def within(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The nearest states and inputs in the region of the data."""
        x_low, x_high, u_low, u_high = self.region
        return np.clip(x, x_low, x_high), np.clip(u, u_low, u_high)

    def with_theta(self, theta: FloatArray) -> KnownPart:
        """The same function with other coefficients."""
        return replace(self, theta=theta)

    def frozen(self, parameters: Sequence[int], p: FloatArray, n_u: int) -> KnownPart:
        """The same with the inputs at some positions held at `p`, as a function of the others."""
        fixed = dict(zip(parameters, p.tolist(), strict=True))
        inner = self

        def function(x: Any, u: Any, *theta: Any, xp: Any = np) -> list[Any]:
            moved = iter(u)
            full = [fixed[i] if i in fixed else next(moved) for i in range(n_u)]
            values = np.array([theta[0][name] for name in inner.names]) if theta else None
            return inner.call(x, full, xp, values)

        kept = [i for i in range(n_u) if i not in fixed]
        x_low, x_high, u_low, u_high = self.region
        return replace(self, function=function, region=(x_low, x_high, u_low[kept], u_high[kept]))

    def standardised(self, x: tuple[FloatArray, FloatArray], u: tuple[FloatArray, FloatArray]) -> KnownPart:
        """The same on states and inputs `(signal - mean) / scale`, for `(mean, scale)` of both."""
        inner, (x_mean, x_scale), (u_mean, u_scale) = self, x, u

        def function(xs: Any, us: Any, *theta: Any, xp: Any = np) -> list[Any]:
            raw_x = [m + s * part for m, s, part in zip(x_mean, x_scale, xs, strict=True)]
            raw_u = [m + s * part for m, s, part in zip(u_mean, u_scale, us, strict=True)]
            values = np.array([theta[0][name] for name in inner.names]) if theta else None
            found = inner.call(raw_x, raw_u, xp, values)
            return [(y - m) / s for y, m, s in zip(found, x_mean, x_scale, strict=True)]

        low_x, high_x, low_u, high_u = self.region
        region = (
            (low_x - x_mean) / x_scale, (high_x - x_mean) / x_scale,
            (low_u - u_mean) / u_scale, (high_u - u_mean) / u_scale,
        )  # fmt: skip
        return replace(self, function=function, region=region)


def read_known(function: Any, theta0: Any, n_y: int, x: FloatArray, u: FloatArray) -> KnownPart:
    """Check a function on data `(n, n_x)`, `(n, n_u)` and its coefficients' first guesses.

    Raises
    ------
    OptionError
        If it is not callable, fails, or returns another number of components.
    DataError
        If what it returns is not finite.
    """
    if not callable(function):
        raise OptionError(f"known is a {type(function).__name__}; expected a function known(x, u)")
    names, values = read_theta(theta0)
    given: Any = function
    region = (x.min(axis=0), x.max(axis=0), u.min(axis=0), u.max(axis=0))
    known = KnownPart(given, names, values, n_y, region)
    try:
        found = known(x, u)
    except (OptionError, DataError):
        raise
    except Exception as error:
        wanted = "known(x, u, theta)" if names else "known(x, u)"
        raise OptionError(
            f"known failed on components of the data ({type(error).__name__}: {error}); expected {wanted} on "
            "lists of components, with functions from its argument xp"
        ) from error
    if not np.isfinite(found).all():
        bad = int(np.argmax(~np.isfinite(found).all(axis=1)))
        raise DataError(
            f"known gives {found[bad].tolist()} at x = {x[bad].tolist()}, u = {u[bad].tolist()}; expected "
            "finite numbers wherever there are data"
        )
    return known


def read_theta(theta0: Any) -> tuple[tuple[str, ...], FloatArray]:
    """Names and first guesses of coefficients."""
    if theta0 is None:
        return (), np.empty(0)
    if not isinstance(theta0, Mapping) or not all(isinstance(name, str) for name in theta0):
        raise OptionError(f"theta0 is {theta0!r}; expected a mapping of names to first guesses, {{'k': 1.0}}")
    try:
        values = np.array([float(v) for v in theta0.values()])
    except (TypeError, ValueError) as error:
        raise OptionError(f"theta0 is {theta0!r}; expected numbers for its names") from error
    if not np.isfinite(values).all() or not values.all():
        raise OptionError(
            f"theta0 is {dict(theta0)!r}; expected finite numbers other than zero: the size of a guess is "
            "the "
            "unit in which its coefficient is moved"
        )
    return tuple(theta0), values


def discretise(rhs: Known, dt: float, substeps: int = 1) -> Known:
    """One-step function of a right-hand side `x' = rhs(x, u[, theta])`: Runge-Kutta steps with inputs held.

    Parameters
    ----------
    rhs : callable
        On lists of components, with an argument `xp` or without, as `known` is.
    dt : float
        Sample time in seconds.
    substeps : int
        Steps of the classical method of fourth order.

    Returns
    -------
    callable
        To be passed as `KoopmanRNN(known=...)`.
    """
    if not callable(rhs):
        raise OptionError(f"rhs is a {type(rhs).__name__}; expected a function rhs(x, u)")
    h = check_dt(dt) / check_integer(substeps, "substeps", low=1)
    by_xp = takes_xp(rhs)

    def known(x: Any, u: Any, *theta: Any, xp: Any = np) -> list[Any]:
        named = {"xp": xp} if by_xp else {}

        def slope(at: list[Any]) -> list[Any]:
            return list(rhs(at, u, *theta, **named))

        def moved(at: list[Any], by: float, k: list[Any]) -> list[Any]:
            return [a + by * b for a, b in zip(at, k, strict=True)]

        now = list(x)
        for _ in range(substeps):
            k1 = slope(now)
            k2 = slope(moved(now, 0.5 * h, k1))
            k3 = slope(moved(now, 0.5 * h, k2))
            k4 = slope(moved(now, h, k3))
            now = [
                a + h / 6.0 * (p + 2.0 * q + 2.0 * r + s)
                for a, p, q, r, s in zip(now, k1, k2, k3, k4, strict=True)
            ]
        return now

    return known
