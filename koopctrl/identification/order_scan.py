"""Orders worth trying first, from one factor of past and future that serves all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError
from koopctrl.identification.hidden import start_data
from koopctrl.identification.past_future import Standardised
from koopctrl.identification.subspace import fit_order, last_third, squared_errors

_METHOD = "cva"
_HORIZON = 1.5  # samples of past and future, in orders per output of the largest
_PER_STATE = 1.02  # times the error that one state more has to be worth
_DIRECT = 0.9  # times the error without feedthrough that is worth having one


@dataclass(frozen=True)
class OrderScan:
    """What quickly fitted linear models promise.

    Attributes
    ----------
    orders : list of int
        The most promising first.
    feedthrough : bool
        Whether one helps.
    """

    orders: list[int]
    feedthrough: bool


def scan_orders(data: Trajectories, orders: Sequence[int], feedthroughs: Sequence[bool]) -> OrderScan:
    """Sort orders by the free run of subspace models on the last third: one method, one horizon, not refined.

    Each state counts as 2 % of an error, for a plant that no linear model describes is followed a little
    better by each state more. Orders that the data are too short for come last, as they were given.

    Parameters
    ----------
    data : Trajectories
        Outputs may be missing.
    orders : sequence of int
    feedthroughs : sequence of bool
        Whether `u[k]` acts on `y[k]`; of several the one that errs clearly less, the first if none does.
    """
    scans = [_scan(data, orders, direct) for direct in feedthroughs]
    least = [min(errors.values(), default=np.inf) for errors in scans]
    which = int(np.argmin(least))
    which = which if least[which] < _DIRECT * least[0] else 0
    errors = scans[which]
    known = sorted(errors, key=lambda n: errors[n] * _PER_STATE**n)
    return OrderScan([*known, *(n for n in orders if n not in errors)], bool(feedthroughs[which]))


def _scan(data: Trajectories, orders: Sequence[int], feedthrough: bool) -> dict[int, float]:
    """Error over the outputs' spread of each order that can be run."""
    most = max(orders)
    first, last = last_third(start_data(data, most))
    squares: dict[int, FloatArray] = {}
    try:
        past = Standardised(first, feedthrough)
    except DataError:  # outputs that do not change there
        return {}
    factors: dict[int, FloatArray] = {}
    for order in orders:
        # Where a record is too short for the horizon of the largest, smaller ones have theirs.
        for largest in (most, order):
            h = round(_HORIZON * -(-largest // data.n_y)) + 2
            if h not in factors:
                factors[h] = past.factor(h)
            found = fit_order(past, factors[h], order, h, _METHOD, True, most)
            if found is not None:
                squares[order] = squared_errors(found[0], last, past.scaling.y_scale, 2 * most)
                break
    return {n: float(np.sqrt(e.mean())) for n, e in squares.items() if len(e) and np.isfinite(e).all()}
