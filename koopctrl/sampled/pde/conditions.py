"""What is prescribed on the boundary: values, derivatives, fluxes with losses, with inputs or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite, check_number
from koopctrl.errors import OptionError, ShapeError

BoundaryData = float | Callable[[FloatArray, float], ArrayLike]
Shape = float | Callable[[FloatArray], ArrayLike]


@dataclass(frozen=True, eq=False)
class Condition:
    """`D u = value(x, t) + shape(x) v(t)` on a part of the boundary, held by the basis itself.

    Parameters
    ----------
    part : str
        Name of a part, see the domain's `parts`, or `"all"`.
    of : str
        `"u"` or a derivative along the axes, as `"u_xx"` at the end of a simply supported beam.
    value : float or callable
        A number, or a function of points `(n, dim)` and time with values `(n,)`.
    shape : float or callable, optional
        Where it is given, the condition has an input `v` of its own, with this shape along the part.
    name : str, optional
        Of the input.
    """

    part: str = "all"
    of: str = "u"
    value: BoundaryData = 0.0
    shape: Shape | None = None
    name: str | None = None


def Dirichlet(
    part: str = "all", value: BoundaryData = 0.0, *, shape: Shape | None = None, name: str | None = None
) -> Condition:
    """`u = value + shape v` on a part of the boundary; see `Condition`.

    Parameters
    ----------
    part : str
        Name of a part, or `"all"`.
    value : float or callable
        Number, or function of points and time.
    shape : float or callable, optional
        Of an input on this part.
    name : str, optional
        Of the input.
    """
    return Condition(part, "u", value, shape, name)


@dataclass(frozen=True, eq=False)
class Neumann:
    """`du/dn = value(x, t) - loss u + shape(x) v(t)` on a part, along the outward normal.

    With `Diffusion` in weak form this is natural: no function of the basis is given up for it. Parts of the
    boundary without a condition then have no flux.

    Parameters
    ----------
    part : str
        Name of a part, or `"all"`.
    value : float or callable
        Number, or function of points `(n, dim)` and time with values `(n,)`.
    loss : float
        Robin coefficient, 1 over length.
    shape : float or callable, optional
        Of an input on this part.
    name : str, optional
        Of the input.
    """

    part: str = "all"
    value: BoundaryData = 0.0
    loss: float = 0.0
    shape: Shape | None = None
    name: str | None = None


def data_at(value: BoundaryData, points: FloatArray, t: float) -> FloatArray | float:
    """Boundary data at points and one time."""
    if not callable(value):
        return float(value)
    array = as_float_array(value(points, t), "value(points, t)")
    if array.shape not in ((), (len(points),)):
        raise ShapeError(f"value(points, t) has shape {array.shape}; expected ({len(points)},)")
    return check_finite(array, "value(points, t)")


def check_conditions(conditions: Any) -> tuple[Condition | Neumann, ...]:
    """Refuse what is no condition."""
    found = tuple(conditions) if isinstance(conditions, (list, tuple)) else (conditions,)
    for condition in found:
        if not isinstance(condition, (Condition, Neumann)):
            raise OptionError(
                f"boundary has a {type(condition).__name__}; expected Dirichlet, Neumann or Condition"
            )
        for name in ("value", "shape"):
            given = getattr(condition, name)
            if not callable(given) and given is not None:
                check_number(given, name)
        if isinstance(condition, Neumann):
            check_number(condition.loss, "loss")
    return found
