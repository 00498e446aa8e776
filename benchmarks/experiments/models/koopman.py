"""KoopmanRNN: one step and hidden state, chosen like the peers or by `select`, samplers, and ablations."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import (
    Contender,
    Info,
    Standard,
    inputs_of,
    only,
    outputs_of,
    window_of,
)
from benchmarks.experiments.models.trivial import cycles
from benchmarks.experiments.problem import Array, CannotRun, Predict, Problem, WithBands
from koopctrl import KoopmanEnsemble, KoopmanRNN, Trajectories, select
from koopctrl.sampled import SampledNetworkRegressor

MARGIN = 0.5
# Smoothing takes several fits of every trial; settings may ask for it.
AS_MEASURED: dict[str, Any] = {"smooth": False}
MEMBERS = 8
SELECT_S = 20.0
MAX_DIRECT = 200
LAGS = {"state": 1, "forced": 1, "record": 8, "weather": 2}


def lags_of(kind: str, n_u: int) -> int:
    """Where they are stated and not chosen: of one signal two of an oscillator with inputs, else as many as a
    delay of 17 samples needs.
    """
    return LAGS[kind] if kind != "window" else 2 if n_u else 20


def koopman(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """`KoopmanRNN` with these settings."""
    settings = AS_MEASURED | settings
    if settings.pop("lags_of_kind", False):
        lags = lags_of(info.kind, train.n_u)
        settings |= {"output_lags": lags, "input_lags": lags if train.n_u else 1}
    if not train.n_u:
        settings["input_lags"] = 1
    if settings.get("feedthrough") and any(len(e.inputs) < len(e) for e in train):
        settings["feedthrough"] = False
    model = KoopmanRNN(**settings, rollout_margin=MARGIN, random_state=seed).fit(train)
    return lambda data, n_init: model.predict(data, n_init=n_init)


def ensemble(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Mean of members that differ in their seed; bands on weather, whose score is left beside."""
    settings = AS_MEASURED | settings
    if not train.n_u:
        settings["input_lags"] = 1
    if settings.get("feedthrough") and any(len(e.inputs) < len(e) for e in train):
        settings["feedthrough"] = False
    base = KoopmanRNN(**settings, rollout_margin=MARGIN)
    members = 2 if info.smoke or info.trial else MEMBERS
    banded = info.kind == "weather" and not info.trial
    model = KoopmanEnsemble(base, members, n_folds=4 if banded else 0, random_state=seed).fit(train)
    if banded:
        return WithBands(model.predict, model.predict_band)
    return lambda data, n_init: model.predict(data, n_init=n_init)


def chosen(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """`select`."""
    budget = 1.0 if info.smoke else settings["budget_s"]
    model = select(train, budget, n_members=settings["members"], random_state=seed)
    best = model.selection_.best
    info.left["selected"] = {"settings": best.settings, "candidates": len(model.selection_.trials)}
    return lambda data, n_init: model.predict(data, n_init=n_init)


def linear_face(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """The lifted face of the network at its operating point: lifted once, then linear."""
    lags = lags_of(info.kind, train.n_u)
    model = KoopmanRNN(
        50 if info.smoke else 300,
        output_lags=lags,
        input_lags=lags if train.n_u else 1,
        random_state=seed,
        **AS_MEASURED,
    ).fit(train)
    lifted = model.lift_at(horizon=min(info.horizon, 50))
    window = model._network.window

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = []
        for e in data:
            x0 = window.initial_padded(e.outputs, e.inputs, n_init)
            run = lifted.simulate(x0, window.acting_inputs(e.outputs, e.inputs, n_init))
            found.append(np.concatenate([e.outputs[: n_init - 1], run]))
        return found

    return predict


def direct(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Sampled network from the window straight to every later sample, without recurrence; the training mean
    beyond the horizon. What holds for the inputs to come is that they follow from the present ones.
    """
    lags = lags_of(info.kind, train.n_u)
    window = window_of(train, lags, 1)
    horizon = min(info.horizon, MAX_DIRECT)
    x, y = [], []
    for e in train:
        first, last = window.n_samples - 1, len(e) - horizon
        if last <= first:
            continue
        seen = window.windows(e.outputs, e.inputs, first, last)
        x.append(np.concatenate([seen, e.inputs[first:last]], axis=1))
        later = [e.outputs[first + h : last + h] for h in range(1, horizon + 1)]
        y.append(np.concatenate(later, axis=1))
    if not x:
        raise CannotRun("no record is longer than the horizon")
    points, targets = np.concatenate(x), np.concatenate(y)
    width = 50 if info.smoke else settings["n_features"]
    scale = Standard.of(targets)
    # One penalty for all targets: "auto" looks at each of thousands.
    net = SampledNetworkRegressor(width, feature_scale=0.3, ridge=settings["ridge"], random_state=seed)
    net.fit(points, scale.to(targets))
    middle = outputs_of(train).mean(axis=0)

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = []
        for e in data:
            x0 = window.initial_padded(e.outputs, e.inputs, n_init)
            row = np.concatenate([x0, e.inputs[n_init - 1]] if e.inputs.shape[1] else [x0])
            run = scale.back(net.predict(row[None])).reshape(horizon, train.n_y)
            rest = max(0, len(e) - n_init - horizon)
            run = np.concatenate([run[: len(e) - n_init], np.tile(middle, (rest, 1))])
            found.append(np.concatenate([e.outputs[:n_init], run]))
        return found

    return predict


def seasonal(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """`KoopmanRNN` of what climatology leaves."""
    weights = np.linalg.lstsq(cycles(inputs_of(train)), outputs_of(train), rcond=None)[0]

    def rest(data: Trajectories) -> Trajectories:
        return Trajectories.from_arrays(
            [e.outputs - cycles(e.inputs) @ weights for e in data], [e.inputs for e in data], dt=data.dt
        )

    settings = dict(settings)
    fit = ensemble if settings.pop("ensemble", False) else koopman
    inner = fit(rest(train), settings, seed, info)

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = inner(rest(data), n_init)
        return [f + cycles(e.inputs) @ weights for f, e in zip(found, data, strict=True)]

    return predict


def _one_step(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"n_features": 40}, {"n_features": 40, "output_lags": 2}]
    if kind == "state":
        return [
            {"n_features": 300},
            {"n_features": 1000, "sampler": "elm", "feature_scale": 0.5},
            {"n_features": 300, "output_lags": 10},  # noise: the window averages it
            {"n_features": 600, "output_lags": 20, "sampler": "elm", "feature_scale": 0.5},
            {"n_features": 1000},
            {"n_features": 1000, "sampler": "elm", "feature_scale": 0.3},
            {"n_features": 300, "output_lags": 6, "input_lags": 6, "rounds": 1},
        ]
    if kind == "forced":
        return [
            {"n_features": 300, "input_coupling": "quadratic"},
            {"n_features": 300, "input_coupling": "network"},
            {"n_features": 600, "input_coupling": "network", "sampler": "elm", "feature_scale": 0.5},
            {"n_features": 300},
        ]
    if kind == "weather":
        base = {"input_coupling": "network", "feature_scale": 0.1, "ridge": "auto"}
        return [
            {"n_features": 0, "output_lags": 24, "input_coupling": "linear"},
            {"n_features": 200, "output_lags": 3, **base},
            {"n_features": 100, "output_lags": 24, **base, "ridge": 1e-2},
            {"n_features": 0, "output_lags": 3, "input_coupling": "linear"},
            {"n_features": 400, "output_lags": 2, **base, "rounds": 1},
            {"n_features": 200, "output_lags": 1, **base},
        ]
    if kind == "window":
        base = {"n_features": 300, "input_coupling": "network"}
        wide = {"n_features": 600, "feature_scale": 1.0}
        return [
            {**base, "output_lags": n, "input_lags": n, **more}
            for n, more in (
                (2, {"input_coupling": "quadratic"}), (20, wide),
                (60, {**wide, "sampler": "elm", "feature_scale": 0.5}),  # noise
                (40, {**wide, "n_features": 300}), (2, {}), (20, {**wide, "sampler": "elm"}),
            )
        ]  # fmt: skip
    rows = ((4, 4), (8, 8), (16, 16), (10, 20), (3, 30), (25, 25))
    return [
        {
            "n_features": 100, "output_lags": p, "input_lags": q,
            "input_coupling": "network", "feature_scale": 0.2, "ridge": "auto", "feedthrough": True,
        }
        for p, q in rows
    ]  # fmt: skip


def _hidden(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"n_states": 2, "n_features": 5, "max_iter": 3}]
    if kind == "record":
        rows = ((2, 10, 0), (4, 10, 0), (2, 20, 10), (6, 10, 0), (8, 20, 0), (4, 40, 0))
        return [
            {"n_states": n, "n_features": q, "n_output_features": o, "feedthrough": True} for n, q, o in rows
        ]
    if kind == "weather":
        return [
            {"n_states": n, "n_features": q, "refine": s, "max_iter": 10}
            for n, q, s in ((20, 0, False), (30, 0, False), (15, 0, 96), (15, 10, 96))
        ]
    # Where the state is measured a hidden one is a detour, and it costs: two are tried, in few iterations.
    rows = (
        ((3, 40, 25), (4, 40, 50))
        if kind in ("state", "forced")
        else ((2, 20, 50), (3, 40, 50), (4, 40, 50), (6, 40, 25))
    )
    iterations = 10 if kind in ("state", "forced") else 20
    return [{"n_states": n, "n_features": q, "refine": s, "max_iter": iterations} for n, q, s in rows]


def _ensemble(kind: str, smoke: bool) -> list[dict[str, Any]]:
    return _hidden(kind, smoke) if kind == "record" else _one_step(kind, smoke)


def _sampler(**settings: Any) -> Any:
    """300 neurons with default settings and one sampler."""

    def space(kind: str, smoke: bool) -> list[dict[str, Any]]:
        coupling = "bilinear" if kind in ("state", "forced") else "network"
        return [
            {"n_features": 40 if smoke else 300, "lags_of_kind": True, "input_coupling": coupling, **settings}
        ]

    return space


def _seasonal(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"n_features": 20, "output_lags": 2, "ensemble": True}]
    return [
        *_one_step("weather", smoke)[:3],
        {
            "n_features": 100,
            "output_lags": 24,
            "input_coupling": "network",
            "feature_scale": 0.1,
            "ridge": 1e-2,
            "ensemble": True,
        },
    ]


def _weather_only(problem: Problem) -> str:
    return "" if problem.kind == "weather" else "there is no season in these data"


def _predictable(problem: Problem) -> str:
    if problem.train.n_u and problem.kind != "weather":
        return "a direct regression needs the inputs of the whole horizon as its own inputs"
    return ""


CONTENDERS = (
    Contender("KoopmanRNN one step", koopman, _one_step, ours=True),
    Contender("KoopmanRNN hidden state", koopman, _hidden, ours=True),
    Contender("KoopmanRNN ensemble", ensemble, _ensemble, ours=True),
    Contender("KoopmanRNN select", chosen, only(budget_s=SELECT_S, members=1), ours=True),
    Contender("KoopmanRNN select, ensemble", chosen, only(budget_s=SELECT_S, members=MEMBERS), ours=True),
    Contender("KoopmanRNN swim", koopman, _sampler(sampler="swim"), ours=True),
    Contender("KoopmanRNN uniform", koopman, _sampler(sampler="uniform"), ours=True),
    Contender("KoopmanRNN elm", koopman, _sampler(sampler="elm", feature_scale=0.5), ours=True),
    Contender("KoopmanRNN adapted", koopman, _sampler(rounds=1), ours=True),
    Contender(
        "KoopmanRNN of the season's residual", seasonal, _seasonal, refuses=_weather_only, ours=True
    ),
    Contender("KoopmanRNN linear face", linear_face, only(), ours=True),
    Contender(
        "direct regression", direct, lambda kind, smoke: [{"n_features": n, "ridge": r} for n, r in
        ((300, 1e-6), (300, 1e-3), (100, 1e-2), (1000, 1e-6))], refuses=_predictable,
    ),
)  # fmt: skip
