"""Echo state network (reservoirpy) and the next-generation reservoir."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import (
    Contender,
    Info,
    Standard,
    inputs_of,
    lag_runs,
    only,
    outputs_of,
    pairs,
    window_of,
)
from benchmarks.experiments.problem import Array, Predict
from koopctrl import Trajectories
from koopctrl.network.lag_window import LagWindow

WARMUP = 50
MAX_FEATURES = 5_000


def esn(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Reservoir and ridge readout of reservoirpy: `[y_k, u_k, u_{k+1}]` to `y_{k+1}`, fed back in a free run.

    The free runs use reservoirpy's matrices, all episodes side by side.
    """
    import reservoirpy
    from reservoirpy.nodes import Reservoir, Ridge

    reservoirpy.verbosity(0) if hasattr(reservoirpy, "verbosity") else None
    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    rng = np.random.default_rng(seed)
    n_in = train.n_y + 2 * train.n_u
    bias = settings.get("bias", 0.0) * rng.uniform(-1.0, 1.0, settings["units"])
    options = {k: settings[k] for k in ("units", "lr", "sr", "input_scaling")}
    reservoir = Reservoir(**options, bias=bias, input_connectivity=min(1.0, max(0.1, 2.0 / n_in)), seed=seed)
    readout = Ridge(ridge=settings["ridge"])
    xs, ys = [], []
    for e in train:
        xs.append(np.concatenate([of_y.to(e.outputs)[:-1], _two(of_u.to(e.inputs), len(e))], axis=1))
        ys.append(of_y.to(e.outputs)[1:])
    warmup = min(WARMUP, min(len(x) for x in xs) // 4)
    (reservoir >> readout).fit(xs, ys, warmup=warmup)
    w, w_in, lr = reservoir.W, reservoir.Win, reservoir.lr

    def step(state: Array, row: Array) -> Array:
        return (1.0 - lr) * state + lr * np.tanh((w @ state.T + w_in @ row.T).T + bias)

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        longest = max(len(e) for e in data)
        y, u = np.zeros((len(data), longest, train.n_y)), np.zeros((len(data), longest, 2 * train.n_u))
        for i, e in enumerate(data):
            y[i, :n_init] = of_y.to(e.outputs[:n_init])
            u[i, : len(e) - 1] = _two(of_u.to(e.inputs), len(e))
        state = np.zeros((len(data), settings["units"]))
        for k in range(longest - 1):
            state = step(state, np.concatenate([y[:, k], u[:, k]], axis=1))
            if k + 1 >= n_init:
                y[:, k + 1] = np.clip(state @ readout.Wout + readout.bias, -1e6, 1e6)
        return [of_y.back(y[i, : len(e)]) for i, e in enumerate(data)]

    return predict


def _two(u: Array, n: int) -> Array:
    """Inputs at both ends of each of `n - 1` steps, the last one held where it is not given."""
    after = u[1:n] if len(u) >= n else np.concatenate([u[1:], u[-1:]])
    return np.concatenate([u[: n - 1], after], axis=1)


def _esn_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"units": 50, "lr": 0.5, "sr": 0.9, "input_scaling": 0.3, "ridge": 1e-6, "bias": 0.2}]
    leak = 0.5 if kind in ("state", "forced", "window") else 0.2
    rows = (
        (500, leak, 0.9, 0.3, 1e-6, 0.3),
        (1000, leak, 0.6, 0.1, 1e-10, 0.5),
        (1000, 1.0, 0.5, 0.1, 1e-8, 0.5),
        (500, leak, 0.9, 0.3, 1e-2, 0.3),  # as much as noise would
        (1000, leak, 0.9, 0.1, 1e-8, 0.3),
        (300, leak, 0.9, 0.1, 1e-4, 0.3),
    )
    names = ("units", "lr", "sr", "input_scaling", "ridge", "bias")
    return [dict(zip(names, row, strict=True)) for row in rows]


def nvar(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Free runs of `nvar_step`."""
    step, window = nvar_step(train, settings, info.kind == "record")
    return lambda data, n_init: lag_runs(step, window, data, n_init)


def nvar_step(
    train: Trajectories, settings: dict[str, Any], direct: bool
) -> tuple[Callable[[Array, Array], Array], LagWindow]:
    """Ridge regression of the increment on products of the last samples (Gauthier, Bollt, Griffith & Barbosa,
    *Next generation reservoir computing*, 2021).
    """
    window = window_of(train, settings["delays"], settings["delays"], direct)
    x, u, y = pairs(train, window)
    scaling = Standard.of(np.concatenate([x, u], axis=1))
    rows = scaling.to(np.concatenate([x, u], axis=1))
    n = rows.shape[1]
    products = [np.array(list(combinations_with_replacement(range(n), d))) for d in _degrees(settings, n)]
    target = y - x[:, : train.n_y]
    of_y = Standard.of(target)

    def features(rows: Array) -> Array:
        parts = [np.ones((len(rows), 1)), rows, *(rows[:, p].prod(axis=2) for p in products)]
        return np.concatenate(parts, axis=1)

    phi = features(rows)
    penalty = settings["ridge"] * len(phi)
    if penalty < 1e-10:
        weights = np.linalg.lstsq(phi, of_y.to(target), rcond=1e-15)[0]
    else:
        weights = np.linalg.solve(phi.T @ phi + penalty * np.eye(phi.shape[1]), phi.T @ of_y.to(target))

    def step(x: Array, u: Array) -> Array:
        scaled = np.clip(scaling.to(np.concatenate([x, u], axis=1)), -1e2, 1e2)
        return x[:, : train.n_y] + of_y.back(features(scaled) @ weights)

    return step, window


def _degrees(settings: dict[str, Any], n: int) -> range:
    """Degrees of the products, of which there may be no more than `MAX_FEATURES`."""
    from math import comb

    order = settings["order"]
    if comb(n + order, order) > MAX_FEATURES:
        raise ValueError(f"{comb(n + order, order)} products of {n} signals; more than {MAX_FEATURES}")
    return range(2, order + 1)


def _nvar_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"delays": 1, "order": 2, "ridge": 1e-6}]
    rows = ((2, 2, 1e-8), (2, 3, 0.0), (1, 5, 0.0), (1, 3, 0.0), (4, 2, 1e-6), (1, 2, 1e-8))
    if kind == "window":
        rows = ((2, 4, 1e-12), (8, 2, 1e-8), (20, 2, 1e-8), (4, 4, 1e-10), (8, 3, 1e-10), (12, 2, 1e-6))
    if kind == "record":
        rows = ((4, 2, 1e-4), (8, 2, 1e-3), (12, 2, 1e-2), (4, 3, 1e-3))
    if kind == "weather":
        rows = ((1, 2, 1e-1), (1, 2, 1e0), (2, 2, 1e-1), (3, 2, 1e0))
    return [dict(zip(("delays", "order", "ridge"), row, strict=True)) for row in rows]


_STATED = only(units=500, lr=0.5, sr=0.9, input_scaling=0.3, ridge=1e-6, bias=0.3)
CONTENDERS = (
    Contender("ESN", esn, _STATED, needs=("reservoirpy",)),
    Contender("ESN, tuned", esn, _esn_space, needs=("reservoirpy",)),
    Contender("NVAR", nvar, _nvar_space, seeded=False),
)
