r"""What a moving-horizon estimator keeps within bounds: combinations of states and disturbances.

.. math:: l \le E s + e \le h, \qquad s = [z; d] \text{ or } [x; d]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_matrix, items_of, shape_of
from koopctrl.controllers.bounds import input_bounds
from koopctrl.errors import OptionError

Limit = ArrayLike | None
# Names of the arguments, and what they bound.
_SIDES = {"y": "outputs", "x": "states", "d": "disturbances"}


@dataclass(frozen=True)
class Bounded:
    """Rows with at least one finite bound.

    Attributes
    ----------
    E : (n_b, n) array
    low, high : (n_b,) arrays
        Of `E s`: the level `e` is taken off.
    """

    E: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def n_b(self) -> int:
        """Number of bounded combinations."""
        return len(self.E)


def choose_bounded(
    maps: Mapping[str, tuple[FloatArray, FloatArray]],
    limits: Mapping[str, tuple[Limit, Limit]],
    constraints: Any,
) -> Bounded:
    """Rows from what a user asks for.

    Parameters
    ----------
    maps : dict
        Of `y`, `x` and `d`: `(E, e)`, what they are of `s`.
    limits : dict
        Of the same: lower and upper bounds, None for none.
    constraints : (E, low, high) or None
        Bounds `low <= E x <= high` on combinations of the states.

    Raises
    ------
    OptionError, ShapeError
        If bounds cross, or there is nothing that they could bind.
    """
    E, low, high = [], [], []
    for name, (lower, upper) in limits.items():
        if lower is None and upper is None:
            continue
        rows, level = maps[name]
        names = (f"{name}_min", f"{name}_max")
        if not len(rows):
            given = names[0] if lower is not None else names[1]
            raise OptionError(
                f"{given} is given, but no {_SIDES[name]} are estimated; expected none. Leave it out, or "
                "choose disturbance='output', 'input', 'state' or, on a network, 'mixed'"
            )
        lower, upper = input_bounds(lower, upper, len(rows), names)
        E.append(rows)
        low.append(lower - level)
        high.append(upper - level)
    if constraints is not None:
        rows, level = maps["x"]
        of_x, lower, upper = _combinations(constraints, len(rows))
        E.append(of_x @ rows)
        low.append(lower - of_x @ level)
        high.append(upper - of_x @ level)
    if not E:
        n = maps["x"][0].shape[1]
        return Bounded(np.empty((0, n)), np.empty(0), np.empty(0))
    found = Bounded(np.vstack(E), np.concatenate(low), np.concatenate(high))
    finite = np.isfinite(found.low) | np.isfinite(found.high)
    return Bounded(found.E[finite], found.low[finite], found.high[finite])


def _combinations(given: Any, n_x: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    parts = items_of(given, "constraints") if not isinstance(given, str) else []
    if len(parts) != 3:
        raise OptionError(
            f"constraints has {len(parts)} parts; expected (E, low, high), combinations of the states and "
            "their bounds"
        )
    shape = shape_of(parts[0])
    rows = shape[0] if shape is not None and len(shape) == 2 else 1
    E = as_matrix(parts[0], "constraints[0]", (rows, n_x))
    return (E, *input_bounds(parts[1], parts[2], rows, ("constraints[1]", "constraints[2]")))
