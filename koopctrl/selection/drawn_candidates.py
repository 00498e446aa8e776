"""Random nonlinear candidates: drawn anew, or made from the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from koopctrl.data.trajectories import Trajectories
from koopctrl.identification.symmetry import ODD
from koopctrl.selection.first_candidates import Tried, best_feedthrough, best_orders, longest_window

_MUTATE, _MUTATED = 0.5, 0.35  # share of candidates made from the best, and of their settings that change
_NEARBY = 0.6  # share of those that move to a value nearby; the others are drawn anew
_TIED = 0.5  # share of windows with as many inputs as outputs, as a plant without noise has them
_AS_LINEAR = 0.6  # share of candidates with the feedthrough that linear windows like better
_ODD = 0.35  # share of candidates that learn from the records' mirror images too
_STEP = {"output_lags": 0.3, "input_lags": 0.3, "feature_scale": 0.4, "ridge": 2.0}  # in logarithms


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
    orders, direct = best_orders(linear), best_feedthrough(linear, feedthroughs)
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
        return int(np.clip(round(moved) + step, 1, longest_window(data)))
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
    longest = longest_window(data)
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
