"""Terms of the right-hand side of an equation: linear operators, products, pointwise functions, fluxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite, check_number
from koopctrl.errors import OptionError, ShapeError

Coefficient = float | Callable[[FloatArray], ArrayLike]


@dataclass(frozen=True, eq=False)
class Derivative:
    """Linear term `coefficient * D u`.

    Parameters
    ----------
    of : str
        `"u"`, `"u_x"`, `"u_xxxx"`, `"u_xy"`, ..: any derivative to order four.
    coefficient : float or callable
        A number, or a function of the points `(n, dim)` with values `(n,)`.
    parameter : str, optional
        Name of a parameter that multiplies the term.
    """

    of: str
    coefficient: Coefficient = 1.0
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class Advection:
    r"""Linear term of a field carried along, :math:`-v \cdot \nabla u`.

    Parameters
    ----------
    velocity : float, (dim,) array_like or callable
        A function of the points has values `(n, dim)`.
    parameter : str, optional
        Name of a parameter that multiplies the term.
    """

    velocity: float | ArrayLike | Callable[[FloatArray], ArrayLike]
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Linear term `div(conductivity grad u)`.

    In a weak form it is `-<grad psi, conductivity grad u>`: symmetric and never unstable, and the flux
    through the boundary is data.

    Parameters
    ----------
    conductivity : float, (dim,) array_like or callable
        Positive; one number, one an axis, or a function of the points with values `(n,)` (weak form only).
    parameter : str, optional
        Name of a parameter that multiplies the term.
    """

    conductivity: float | ArrayLike | Callable[[FloatArray], ArrayLike] = 1.0
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """Quadratic term `coefficient * D1 u * D2 u`, as in `Product(-1.0, "u", "u_x")`.

    Parameters
    ----------
    coefficient : float
    first, second : str
        Derivatives.
    parameter : str, optional
        Name of a parameter that multiplies the term.
    """

    coefficient: float
    first: str
    second: str
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class Pointwise:
    """Nonlinear term `function(D1 u, D2 u, ..)`, evaluated point by point.

    Parameters
    ----------
    function : callable
        Of as many arrays as `of` names, elementwise; from `+ - * / **` and NumPy's functions it works on
        CasADi's symbols too.
    of : sequence of str
        Derivatives that are its arguments.
    partials : callable, optional
        Same arguments; a sequence of its partial derivatives. By default they are central differences, which
        implicit time stepping only uses to converge.
    parameter : str, optional
        Name of a parameter that multiplies the term.
    """

    function: Callable[..., Any]
    of: Sequence[str] = ("u",)
    partials: Callable[..., Sequence[Any]] | None = None
    parameter: str | None = None


@dataclass(frozen=True, eq=False)
class NonlinearDiffusion:
    """Nonlinear term `div(conductivity(u) grad u)`, conservative, in weak form.

    Parameters
    ----------
    conductivity : callable
        Elementwise function of `u`, positive.
    slope : callable, optional
        Its derivative; by default a central difference.
    parameter : str, optional
        Name of a parameter that multiplies the term.
    """

    conductivity: Callable[[Any], Any]
    slope: Callable[[Any], Any] | None = None
    parameter: str | None = None


Term = Derivative | Advection | Diffusion | Product | Pointwise | NonlinearDiffusion
LINEAR = (Derivative, Advection, Diffusion)


def values_at(coefficient: Any, points: FloatArray, name: str, columns: int | None = None) -> FloatArray:
    """A coefficient at points: `(n,)`, or with `columns` `(n, columns)`."""
    shape = (len(points),) if columns is None else (len(points), columns)
    if callable(coefficient):
        array = as_float_array(coefficient(points), f"{name}(points)")  # pyright: ignore[reportArgumentType]
        if columns is not None and array.ndim == 1 and columns == 1:
            array = array[:, None]
        if array.shape != shape:
            raise ShapeError(
                f"{name}(points) has shape {array.shape}; expected {shape} for {len(points)} points"
            )
        return check_finite(array, f"{name}(points)")
    array = check_finite(as_float_array(coefficient, name), name)
    if array.ndim > (columns is not None) or (array.ndim == 1 and len(array) != columns):
        wanted = "a number" if columns is None else f"a number or ({columns},)"
        raise ShapeError(f"{name} has shape {array.shape}; expected {wanted} or a function of the points")
    return np.broadcast_to(array, shape).copy()


def partials_of(term: Pointwise, values: Sequence[FloatArray]) -> list[FloatArray]:
    """Partial derivatives of a pointwise function, given or by central differences."""
    if term.partials is not None:
        return [np.broadcast_to(np.asarray(p, dtype=float), values[0].shape) for p in term.partials(*values)]
    found = []
    for i, value in enumerate(values):
        step = np.cbrt(np.finfo(float).eps) * (float(np.abs(value).max(initial=0.0)) or 1.0)
        up, down = list(values), list(values)
        up[i], down[i] = value + step, value - step
        found.append((np.asarray(term.function(*up)) - np.asarray(term.function(*down))) / (2.0 * step))
    return found


def as_pointwise(term: Product) -> Pointwise:
    """A product with its exact partial derivatives."""
    k = check_number(term.coefficient, "coefficient")
    if term.first == term.second:
        return Pointwise(lambda a: k * a * a, (term.first,), lambda a: (2.0 * k * a,), term.parameter)
    return Pointwise(
        lambda a, b: k * a * b, (term.first, term.second), lambda a, b: (k * b, k * a), term.parameter
    )


def axis_flux(term: NonlinearDiffusion, derivative: str) -> Pointwise:
    """Flux `conductivity(u) u_i` along one axis as a pointwise function."""
    k, slope = term.conductivity, term.slope

    def partials(u: FloatArray, gradient: FloatArray) -> tuple[Any, Any]:
        if slope is not None:
            return slope(u) * gradient, k(u)
        step = np.cbrt(np.finfo(float).eps) * (float(np.abs(u).max(initial=0.0)) or 1.0)
        return (k(u + step) - k(u - step)) / (2.0 * step) * gradient, k(u)

    return Pointwise(lambda u, gradient: k(u) * gradient, ("u", derivative), partials, term.parameter)


def expanded(term: NonlinearDiffusion, axis_names: Sequence[str]) -> Pointwise:
    """The same term without weak form: `k(u) sum_i u_ii + k'(u) sum_i u_i^2`."""
    n = len(axis_names)
    first = [f"u_{a}" for a in axis_names]
    second = [f"u_{a}{a}" for a in axis_names]

    def value(u: Any, *rest: Any) -> Any:
        if term.slope is not None:
            slope = term.slope(u)
        else:
            step = np.cbrt(np.finfo(float).eps) * (float(np.abs(u).max(initial=0.0)) or 1.0)
            slope = (term.conductivity(u + step) - term.conductivity(u - step)) / (2.0 * step)
        return term.conductivity(u) * sum(rest[n:]) + slope * sum(r * r for r in rest[:n])

    return Pointwise(value, ("u", *first, *second), None, term.parameter)


def check_terms(terms: Any) -> tuple[Term, ...]:
    """Refuse what is no term."""
    found = tuple(terms) if isinstance(terms, (list, tuple)) else (terms,)
    for term in found:
        if not isinstance(term, (*LINEAR, Product, Pointwise, NonlinearDiffusion)):
            raise OptionError(
                f"terms has a {type(term).__name__}; expected Derivative, Advection, Diffusion, Product, "
                "Pointwise or NonlinearDiffusion"
            )
    return found
