"""Functions of one stage that users write, `f(y, u)` or `f(y, u, p)`, on many stages and with derivatives.

They get lists of components: numbers, or CasADi symbols, from which the derivatives are exact. One that fails
on symbols is a NumPy function, whose derivatives are differences in units of the signals' spread.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import casadi
import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.gym_interface import accepts
from koopctrl.errors import OptionError, ShapeError

# Steps of differences, in spreads: of first derivatives, and of second ones.
_FIRST, _SECOND = 1e-6, 1e-4


class StageFunction:
    """A function of `(y, u, p)` with values `(m,)`.

    Parameters
    ----------
    function : callable
        `f(y, u)` or `f(y, u, p)`, with `xp=casadi` if it takes that; or a casadi.Function of vectors.
    name : str
        For messages.
    sizes : (n_y, n_u, n_p)
    point : (y, u, p)
        Where it is tried.
    spread : (n_y + n_u,) array
        Of the signals.

    Attributes
    ----------
    m : int
        Number of values.
    is_scalar : bool
        Whether it returned a number and not a list.
    symbolic : bool
        Whether derivatives are exact.
    """

    def __init__(
        self,
        function: Any,
        name: str,
        sizes: tuple[int, int, int],
        point: tuple[FloatArray, FloatArray, FloatArray],
        spread: FloatArray,
    ) -> None:
        if not callable(function):
            raise OptionError(f"{name} is a {type(function).__name__}; expected a callable {name}(y, u)")
        self._arguments = (function, name, sizes, point, spread)
        self.name, self.sizes, self._spread, self._given = name, sizes, spread, function
        self._takes_p = _takes_three(function, name)
        symbols = [casadi.SX.sym(n, k) for n, k in zip("yup", sizes, strict=True)]
        found = self._on_symbols(symbols)
        self.symbolic = found is not None
        if found is not None:
            value, self.is_scalar = found
            self.m = int(value.numel())
            z = casadi.vertcat(*symbols[:2])
            jacobian = casadi.jacobian(value, z)
            hessian = casadi.hessian(casadi.sum1(value), z)[0]
            self._value = casadi.Function("value", symbols, [casadi.densify(value)])
            self._first = casadi.Function("first", symbols, [casadi.densify(jacobian)])
            self._second = casadi.Function("second", symbols, [casadi.densify(hessian)])
        else:
            tried = self._call(*point)
            self.is_scalar, self.m = np.ndim(tried) == 0, int(np.size(tried))
        if not self.m:
            raise ShapeError(f"{name} returned nothing; expected a number, or a list of numbers")
        if not np.isfinite(self.values(*(a[None] for a in point))).all():
            raise OptionError(f"{name} is not finite at the data's mean; expected a finite function there")

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew from the callable."""
        return StageFunction, self._arguments

    def values(self, y: FloatArray, u: FloatArray, p: FloatArray) -> FloatArray:
        """`(K, m)` at rows `(K, n_y)`, `(K, n_u)`, `(K, n_p)`."""
        if self.symbolic:
            return self._mapped(self._value, y, u, p).reshape(len(y), self.m)
        return np.array([np.ravel(self._call(*row)) for row in zip(y, u, p, strict=True)]).reshape(
            len(y), self.m
        )

    def gradients(self, y: FloatArray, u: FloatArray, p: FloatArray) -> FloatArray:
        """Derivatives by `[y; u]`, `(K, m, n_y + n_u)`."""
        n = self.sizes[0] + self.sizes[1]
        if self.symbolic:
            # Column by column, one stage after another.
            return self._mapped(self._first, y, u, p).reshape(len(y), n, self.m).transpose(0, 2, 1)
        z, out = np.hstack([y, u]), np.empty((len(y), self.m, n))
        for i, step in enumerate(_FIRST * self._spread):
            out[:, :, i] = (self._at(z, p, i, step) - self._at(z, p, i, -step)) / (2.0 * step)
        return out

    def hessians(self, y: FloatArray, u: FloatArray, p: FloatArray) -> FloatArray:
        """Second derivatives of the sum of the values by `[y; u]`, `(K, n, n)`."""
        n = self.sizes[0] + self.sizes[1]
        if self.symbolic:
            return self._mapped(self._second, y, u, p).reshape(len(y), n, n)
        z, out, steps = np.hstack([y, u]), np.empty((len(y), n, n)), _SECOND * self._spread
        for i in range(n):
            for j in range(i + 1):
                total = np.zeros(len(y))
                for a in (1.0, -1.0):
                    for b in (1.0, -1.0):
                        moved = z.copy()
                        moved[:, i] += a * steps[i]
                        moved[:, j] += b * steps[j]
                        total += (
                            a * b * self.values(moved[:, : y.shape[1]], moved[:, y.shape[1] :], p).sum(axis=1)
                        )
                out[:, i, j] = out[:, j, i] = total / (4.0 * steps[i] * steps[j])
        return out

    def _at(self, z: FloatArray, p: FloatArray, i: int, step: float) -> FloatArray:
        moved = z.copy()
        moved[:, i] += step
        return self.values(moved[:, : self.sizes[0]], moved[:, self.sizes[0] :], p)

    def _mapped(self, function: casadi.Function, *rows: FloatArray) -> FloatArray:
        """Over all rows: CasADi takes columns, and what it returns side by side."""
        K = len(rows[0])
        given = [np.ascontiguousarray(a.T) if a.shape[1] else casadi.DM(0, K) for a in rows]
        out: Any = function(*given)
        # Each stage's block of columns, column by column.
        return np.asarray(out).T.reshape(-1)

    def _call(self, y: Any, u: Any, p: Any) -> Any:
        arguments = (list(y), list(u), list(p)) if self._takes_p else (list(y), list(u))
        try:
            found = self._given(*arguments)
            if found is None:
                raise TypeError("it returned None")
            return np.asarray(found, dtype=float)
        except Exception as error:
            raise OptionError(
                f"{self.name} failed on numbers ({type(error).__name__}: {error}); expected a function of "
                "lists of components y and u (and p, with cost_parameters)"
            ) from error

    def _on_symbols(self, symbols: list[casadi.SX]) -> tuple[casadi.SX, bool] | None:
        """What it makes of symbols, and whether that is a number; None if it cannot."""
        given = self._given
        if isinstance(given, casadi.Function):
            out: Any = given(*symbols[: given.n_in()])
            return out, out.numel() == 1
        parts = [casadi.vertsplit(s) if s.numel() else [] for s in symbols[: 3 if self._takes_p else 2]]
        keywords = {"xp": casadi} if accepts(given, *parts, xp=casadi) else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # as of NumPy functions on symbols
                found: Any = given(*parts, **keywords)
            is_scalar = not isinstance(found, (list, tuple, np.ndarray))
            value = casadi.SX(found) if is_scalar else casadi.vertcat(*found)
            is_scalar, value = is_scalar and value.numel() == 1, casadi.SX(value)
        except Exception:  # a NumPy function may fail on symbols in any way: then it is called with numbers
            return None
        f = casadi.Function("f", symbols, [value])
        lost = (k for k in range(f.n_instructions()) if f.instruction_id(k) == casadi.OP_CONST)
        if any(np.isnan(f.instruction_constant(k)) for k in lost):
            return None  # math.sin and its like turn symbols into NaN
        return casadi.vec(value), is_scalar


def _takes_three(function: Callable[..., Any], name: str) -> bool:
    """Whether it takes parameters too."""
    if isinstance(function, casadi.Function):
        if function.n_in() not in (2, 3):
            raise OptionError(f"{name} takes {function.n_in()} arguments; expected (y, u) or (y, u, p)")
        return function.n_in() == 3
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    if _binds(signature, 2):  # a third one with a default is a constant of the function's own, but for p
        return "p" in signature.parameters and _binds(signature, 3)
    if _binds(signature, 3):
        return True
    raise OptionError(f"{name} cannot be called as {name}(y, u) nor as {name}(y, u, p); expected one of them")


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
