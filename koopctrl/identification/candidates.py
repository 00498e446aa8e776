"""Candidates of a selection: linear models of several orders, and random nonlinear ones around the best of
them.
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
_MUTATE, _MUTATED = 0.5, 0.35  # share of candidates made from the best, and of their settings that change
_NEARBY = 0.6  # share of those that move to a value nearby; the others are drawn anew
_TIED = 0.5  # share of windows with as many inputs as outputs, as a plant without noise has them
_AS_LINEAR = 0.6  # share of candidates with the feedthrough that linear windows like better
_ODD = 0.35  # share of candidates that learn from the records' mirror images too
_WIDE, _STEEP = 0.3, 1.0  # scales of the first hidden states' neurons
_STEP = {"output_lags": 0.3, "input_lags": 0.3, "feature_scale": 0.4, "ridge": 2.0}  # in logarithms


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
    direct = _best_feedthrough(linear, feedthroughs)
    hidden: list[dict[str, Any]] = []
    best = _orders(linear)[0]
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
    longest = _longest(data)
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


def _best_feedthrough(linear: Sequence[Tried], feedthroughs: Sequence[bool]) -> bool:
    """What serves linear windows better; hidden states follow it later."""
    ranked = sorted((t for t in linear if t.settings.get("output_lags")), key=lambda t: t.rank)
    return bool(ranked[0].settings.get("feedthrough")) if ranked else bool(feedthroughs[0])


def _orders(linear: Sequence[Tried]) -> list[int]:
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


def _longest(data: Trajectories) -> int:
    return max(2, min(50, min(len(e) for e in data) // 6, data.n_steps // 20))


def draw_candidates(
    data: Trajectories,
    feedthroughs: Sequence[bool],
    linear: Sequence[Tried],
    tried: Sequence[Tried],
    rng: np.random.Generator,
    count: int,
    hidden: bool,
) -> list[dict[str, Any]]:
    """Random nonlinear candidates of one kind of state: the mirrored twin of the best, new ones, and the best
    so far with some of their settings drawn anew.
    """
    best = _best(tried, hidden)
    orders, direct = _orders(linear), _best_feedthrough(linear, feedthroughs)
    draw = _hidden if hidden else _window
    # Whether a plant knows a sign, which trials alone tell, decides how it extrapolates to the other side.
    twins = [_twin(t.settings) for t in best[:1]]
    found = [one for one in twins if all(one != t.settings for t in tried)][:count]
    for _ in range(count - len(found)):
        fresh = draw(data, feedthroughs, direct, orders, rng)
        if best and rng.random() < _MUTATE:
            fresh = _mutated(best[int(rng.integers(len(best)))].settings, fresh, data, rng)
        if fresh["activation"] == "relu":  # has no scale: others would be the same candidate again
            fresh["feature_scale"] = 0.3
        found.append(fresh)
    return found


def _twin(settings: dict[str, Any]) -> dict[str, Any]:
    """The same, learning from the records' mirror images too, or no longer."""
    return {**settings, "symmetry": None if settings.get("symmetry") == ODD else ODD}


def _mutated(
    parent: dict[str, Any], fresh: dict[str, Any], data: Trajectories, rng: np.random.Generator
) -> dict[str, Any]:
    """A parent with some settings moved to values nearby, and some as they are in a fresh candidate.

    Inputs of a window that reach as far back as its outputs go on doing so, half the time.
    """
    child = {}
    for name, value in parent.items():
        if rng.random() >= _MUTATED:
            child[name] = value
        elif rng.random() < _NEARBY:
            child[name] = _nearby(name, parent, fresh.get(name, value), data, rng)
        else:
            child[name] = fresh.get(name, value)
    lags = parent.get("output_lags")
    if lags is not None and lags == parent["input_lags"] and data.n_u and rng.random() < _TIED:
        child["input_lags"] = child["output_lags"]
    return child


def _nearby(
    name: str, parent: dict[str, Any], drawn: Any, data: Trajectories, rng: np.random.Generator
) -> Any:
    """A neighbour of a setting whose values have an order; else the one that was drawn."""
    value = parent[name]
    if name.endswith("features") and value > 0:
        widths = _hidden_widths(data, parent["n_states"]) if "n_states" in parent else _window_widths(data)
        widths = sorted({*widths, value})
        return widths[int(np.clip(widths.index(value) + rng.choice([-1, 1]), 0, len(widths) - 1))]
    if name not in _STEP or isinstance(value, str) or (name == "input_lags" and not data.n_u):
        return drawn
    moved = value * float(np.exp(_STEP[name] * rng.normal()))
    if name.endswith("lags"):
        step = int(rng.choice([-1, 1])) if round(moved) == value else 0
        return int(np.clip(round(moved) + step, 1, _longest(data)))
    return float(f"{moved:.3g}")


def _best(tried: Sequence[Tried], hidden: bool) -> list[Tried]:
    """The three of smallest error with this kind of state."""
    of_kind = [
        t
        for t in tried
        if t.settings.get("n_features") != 0 and (t.settings.get("n_states") is not None) == hidden
    ]
    return sorted((t for t in of_kind if np.isfinite(t.error)), key=lambda t: t.rank)[:3]


def _hidden_widths(data: Trajectories, n_states: int) -> list[int]:
    most = max(5, min(60, data.n_steps // (4 * n_states)))
    return [q for q in (5, 10, 15, 20, 30, 40, 60) if q <= most]


def _window_widths(data: Trajectories) -> list[int]:
    most = max(20, min(800, data.n_steps // 6))
    return [q for q in (20, 40, 60, 100, 200, 300, 400, 600, 800) if q <= most]


def _hidden(
    data: Trajectories,
    feedthroughs: Sequence[bool],
    direct: bool,
    orders: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, Any]:
    n = int(max(1, rng.choice(orders) + rng.integers(-1, 2)))
    sizes = _hidden_widths(data, n)
    return {
        "n_states": n,
        "n_features": int(rng.choice(sizes)),
        "n_output_features": int(rng.choice([0, 0, *sizes])),
        "feature_scale": float(np.round(10.0 ** rng.uniform(-1.0, 0.3), 3)),
        "activation": "tanh" if rng.random() < 0.8 else "relu",
        "ridge": float(f"{10.0 ** rng.uniform(-6.0, -2.5):.2g}"),
        "feedthrough": direct if rng.random() < _AS_LINEAR else bool(rng.choice(list(feedthroughs))),
        "max_iter": int(rng.choice([15, 30, 60, 100])),
        "rounds": int(rng.random() < 0.2),
        "symmetry": ODD if rng.random() < _ODD else None,
    }


def _window(
    data: Trajectories,
    feedthroughs: Sequence[bool],
    direct: bool,
    orders: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, Any]:
    longest = _longest(data)
    # Past inputs cost nothing in a free run, past outputs feed errors back: inputs may reach farther.
    lags = [
        round(float(np.exp(rng.uniform(0.0, np.log(most_lags))))) for most_lags in (min(longest, 40), longest)
    ]
    if rng.random() < _TIED:
        lags[1] = lags[0]
    return {
        "n_features": int(rng.choice(_window_widths(data))),
        "output_lags": max(1, lags[0]),
        "input_lags": max(1, lags[1]) if data.n_u else 1,
        "input_coupling": "network",
        "feature_scale": float(np.round(10.0 ** rng.uniform(-1.3, 0.0), 3)),
        "activation": "tanh" if rng.random() < 0.6 else "relu",
        "ridge": "auto" if rng.random() < 0.4 else float(f"{10.0 ** rng.uniform(-9.0, -2.0):.2g}"),
        "feedthrough": direct if rng.random() < _AS_LINEAR else bool(rng.choice(list(feedthroughs))),
        "rounds": int(rng.random() < 0.25),
        "symmetry": ODD if rng.random() < _ODD else None,
    }
