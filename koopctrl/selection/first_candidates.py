"""What a selection begins with: linear models of several orders, and nonlinear candidates around the best of
them that have served well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.identification.order_scan import scan_orders
from koopctrl.identification.symmetry import ODD


class Tried(Protocol):
    """A candidate that has been scored."""

    settings: dict[str, Any]

    @property
    def error(self) -> float:
        """Held-out error."""
        ...

    @property
    def by_fold(self) -> FloatArray:
        """Held-out error on each fold that it has seen."""
        ...

    @property
    def rank(self) -> tuple[bool, float]:
        """What candidates are sorted by: those that saw all folds first."""
        ...


_ORDERS = range(1, 9)
_FEW_ORDERS = 7  # of them that are tried
_CURVED = 2  # states of many a nonlinear plant
_LINEAR_LAGS = (4, 8, 2)
_WIDE, _STEEP = 0.3, 1.0  # scales of the first hidden states' neurons


def linear_candidates(data: Trajectories, feedthroughs: Sequence[bool]) -> list[dict[str, Any]]:
    """Linear models: hidden states of the orders that a quick scan finds promising, refined and not, and lag
    windows.

    Windows, which cost next to nothing, come with and without feedthrough at once: nonlinear candidates
    begin with what serves these better, and one without the feedthrough that a plant has errs several times
    as much.
    """
    shortest = min(len(e) for e in data)
    largest = max(1, min(data.n_steps // (10 * (data.n_y + data.n_u)), shortest // 4))
    found: list[dict[str, Any]] = []
    scan = scan_orders(data, [n for n in _ORDERS if n <= largest], feedthroughs)
    # What is curved looks like more states to a linear model: few come second whatever the scan says.
    orders = sorted(scan.orders, key=lambda n: (n != scan.orders[0], n != _CURVED))[:_FEW_ORDERS]
    hidden = [
        {"n_states": n, "n_features": 0, "feedthrough": scan.feedthrough, "max_iter": 20} for n in orders
    ]
    windows: list[dict[str, Any]] = [
        {
            "n_features": 0,
            "output_lags": lags,
            "input_lags": lags if data.n_u else 1,
            "input_coupling": "linear",
            "ridge": 0.0,
            "feedthrough": direct,
        }
        for lags in _LINEAR_LAGS
        if lags <= largest
        for direct in feedthroughs
    ]
    both = [windows[i :: len(feedthroughs)] for i in range(len(feedthroughs))]
    found += [one for few in zip_longest(hidden, *both) for one in few if one is not None]
    for n in orders:
        for feedthrough in feedthroughs:
            if feedthrough != scan.feedthrough:
                found.append({"n_states": n, "n_features": 0, "feedthrough": feedthrough, "max_iter": 20})
        found.append({"n_states": n, "n_features": 0, "feedthrough": scan.feedthrough, "refine": False})
    return found or [{"n_features": 0, "input_coupling": "linear"}]


def first_candidates(
    data: Trajectories, feedthroughs: Sequence[bool], linear: Sequence[Tried]
) -> list[dict[str, Any]]:
    """Nonlinear candidates that have served well: small hidden states with few neurons, most of them wide,
    and steep ones for what saturates; long input windows.
    """
    direct = best_feedthrough(linear, feedthroughs)
    hidden: list[dict[str, Any]] = []
    best = best_orders(linear)[0]
    for n, q, q_out, scale in (
        (2, 10, 0, _WIDE), (best, 20, 0, _WIDE), (2, 20, 10, _WIDE), (2, 20, 0, _WIDE),
        (best, 10, 0, _WIDE), (best, 20, 0, _STEEP), (2, 20, 0, _STEEP),
    ):  # fmt: skip
        if n * q <= data.n_steps // 4:
            hidden.append(
                {
                    "n_states": n,
                    "n_features": q,
                    "n_output_features": q_out,
                    "feature_scale": scale,
                    "activation": "tanh",
                    "ridge": 1e-4,
                    "feedthrough": direct,
                    "max_iter": 60,
                    "rounds": 0,
                    "symmetry": None,
                }
            )
    longest = longest_window(data)
    windows: list[dict[str, Any]] = []
    few, many = min(100, data.n_steps // 8), min(400, data.n_steps // 25)
    for p, q, width in ((2, 4, few), (6, 6, few), (8, 8, many), (10, 20, few), (16, 16, many), (12, 45, few)):
        if max(p, q) <= longest and width:
            windows.append(
                {
                    "n_features": width,
                    "output_lags": p,
                    "input_lags": q if data.n_u else 1,
                    "input_coupling": "network",
                    "feature_scale": 0.2,
                    "activation": "tanh",
                    "ridge": "auto",
                    "feedthrough": direct,
                    "rounds": 0,
                    "symmetry": None,
                }
            )
    windows += [w | {"symmetry": ODD} for w in windows if w["output_lags"] in (6, 8)]
    mixed = zip_longest(windows, hidden)  # where few are tried, some of both kinds are
    return [one for pair in mixed for one in pair if one is not None]


def best_feedthrough(linear: Sequence[Tried], feedthroughs: Sequence[bool]) -> bool:
    """What serves linear windows better; hidden states follow it later."""
    ranked = sorted((t for t in linear if t.settings.get("output_lags")), key=lambda t: t.rank)
    return bool(ranked[0].settings.get("feedthrough")) if ranked else bool(feedthroughs[0])


def best_orders(linear: Sequence[Tried]) -> list[int]:
    """Orders of the best linear hidden states, each beside the first on the folds that both have seen: the
    clock leaves some with a few folds only.
    """
    hidden = [t for t in linear if t.settings.get("n_states") and np.isfinite(t.error)]
    most = max(hidden, key=lambda t: len(t.by_fold), default=None)

    def ratio(t: Tried) -> float:
        assert most is not None
        beside = float(np.mean(most.by_fold[: len(t.by_fold)]))
        return t.error / max(beside, np.finfo(float).tiny)

    ranked = sorted(hidden, key=ratio)
    return [t.settings["n_states"] for t in ranked][:4] or [2]


def longest_window(data: Trajectories) -> int:
    return max(2, min(50, min(len(e) for e in data) // 6, data.n_steps // 20))
