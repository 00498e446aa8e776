"""pykoop, pysindy and sysidentpy, with their own functions doing all of the fit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import (
    Contender,
    Info,
    Standard,
    inputs_of,
    lag_runs,
    outputs_of,
    window_of,
)
from benchmarks.experiments.models.reservoir import MAX_FEATURES
from benchmarks.experiments.problem import Array, Predict, Problem
from koopctrl import Trajectories

MAX_FROLS = 10_000


def pykoop_edmd(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """EDMD with thin-plate splines on delayed, standardised signals; re-lifted every step."""
    import pykoop
    from scipy.stats import qmc

    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    n_u, delays = train.n_u, settings["delays"]
    centers = pykoop.QmcCenters(n_centers=settings["centers"], qmc=qmc.LatinHypercube, random_state=seed)
    steps: list[Any] = []
    if delays:
        steps.append(
            ("delay", pykoop.DelayLiftingFn(n_delays_state=delays, n_delays_input=delays if n_u else 0))
        )
    rbf = [
        ("rbf", pykoop.RbfLiftingFn(rbf="thin_plate", centers=centers)),
        ("one", pykoop.ConstantLiftingFn()),
    ]
    steps.append(("split", pykoop.SplitPipeline(lifting_functions_state=rbf, lifting_functions_input=None)))
    pipeline = pykoop.KoopmanPipeline(lifting_functions=steps, regressor=pykoop.Edmd(alpha=settings["alpha"]))
    rows = []
    for i, e in enumerate(train):
        n = min(len(e), len(e.inputs)) if n_u else len(e)
        u = of_u.to(e.inputs[:n]) if n_u else np.empty((n, 0))
        rows.append(np.column_stack([np.full(n, i), of_y.to(e.outputs[:n]), u]))
    pipeline.fit(np.concatenate(rows), n_inputs=n_u, episode_feature=True)
    window = window_of(train, delays + 1, delays + 1)

    def step(x: Array, u: Array) -> Array:
        """One step of all runs: an episode of `delays + 1` samples each."""
        n, m = len(x), delays + 1
        y = of_y.to(x[:, : m * train.n_y].reshape(n, m, train.n_y)[:, ::-1])
        past = x[:, m * train.n_y :].reshape(n, m - 1 if n_u else 0, n_u)[:, ::-1]
        v = np.concatenate([past, u[:, None]], axis=1) if n_u else np.empty((n, m, 0))
        v = of_u.to(v) if n_u else v
        block = np.concatenate(
            [np.repeat(np.arange(n), m)[:, None], y.reshape(n * m, -1), v.reshape(n * m, -1)], 1
        )
        found = np.asarray(pipeline.predict(np.clip(block, -1e3, 1e3)))
        # Of every episode the last row is the newest sample.
        return of_y.back(found.reshape(n, -1, found.shape[1])[:, -1, 1 : 1 + train.n_y])

    return lambda data, n_init: lag_runs(step, window, data, n_init)


def pysindy_discrete(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """SINDy in discrete time on polynomials of delayed, standardised signals; of continuous time where the
    settings say so.
    """
    import pysindy

    window = window_of(train, settings["delays"], settings["delays"])
    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    signals = settings["delays"] * (train.n_y + train.n_u)
    products = math.comb(signals + settings["degree"], settings["degree"])
    if products > MAX_FEATURES:
        raise ValueError(f"{products} products of {signals} signals; more than {MAX_FEATURES}")
    library = pysindy.PolynomialLibrary(degree=settings["degree"])
    optimiser = pysindy.STLSQ(threshold=settings["threshold"], alpha=1e-10)
    n_y, n_u = train.n_y, train.n_u
    if settings.get("continuous"):
        # Scaled as a whole: a constant in place of each mean would make dense what is sparse.
        scale = of_y.scale
        model = pysindy.SINDy(
            optimizer=optimiser, feature_library=library,
            differentiation_method=pysindy.FiniteDifference(order=6),
        )  # fmt: skip
        u = [of_u.to(e.inputs[: len(e)]) for e in train] if n_u else None
        if n_u:
            u = [
                v if len(v) == len(e) else np.concatenate([v, v[-1:]])
                for v, e in zip(u or [], train, strict=True)
            ]
        model.fit([e.outputs / scale for e in train], t=train.dt, u=u)

        found = polynomial(model)

        def rate(x: Array, u: Array) -> Array:
            v = np.clip(x, -1e2, 1e2)
            return found(np.concatenate([v, of_u.to(u)], axis=1) if n_u else v)

        def step(x: Array, u: Array) -> Array:
            s, h = x / scale, train.dt / 2
            for _ in range(2):
                k1 = rate(s, u)
                k2 = rate(s + 0.5 * h * k1, u)
                k3 = rate(s + 0.5 * h * k2, u)
                k4 = rate(s + h * k3, u)
                s = s + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
            return s * scale

        return lambda data, n_init: lag_runs(step, window, data, n_init)
    model = pysindy.DiscreteSINDy(optimizer=optimiser, feature_library=library)
    xs, nexts, us = [], [], []
    for e in train:
        x, u, y = window.pairs(e.outputs, e.inputs)
        end = np.concatenate([x[1:], window.advance(x[-1:], u[-1:], y[-1:])])
        xs.append(x)
        nexts.append(end)
        us.append(u)
    of_x, of_v = Standard.of(np.concatenate(xs)), Standard.of(np.concatenate(us))
    model.fit(
        [of_x.to(x) for x in xs], t=train.dt, x_next=[of_x.to(x) for x in nexts],
        **({"u": [of_v.to(u) for u in us]} if n_u else {}),
    )  # fmt: skip

    found = polynomial(model)

    def step(x: Array, u: Array) -> Array:
        v = np.clip(of_x.to(x), -1e2, 1e2)
        return of_x.back(found(np.concatenate([v, of_v.to(u)], axis=1) if n_u else v))[:, :n_y]

    return lambda data, n_init: lag_runs(step, window, data, n_init)


def polynomial(model: Any) -> Callable[[Array], Array]:
    """What a fitted pysindy model predicts from `(n, n_x + n_u)` rows, by its own powers and coefficients:
    its `predict` checks its arguments for a millisecond every time.
    """
    powers = np.asarray(model.feature_library.powers_)
    weights = np.asarray(model.coefficients()).T
    kept = np.any(weights, axis=1)
    powers, weights = powers[kept], weights[kept]
    n, degree = powers.shape[1], max(1, powers.sum(axis=1).max(initial=0))
    # Of every product its factors, filled up with ones, which are the last column.
    factors = np.full((len(powers), degree), n)
    for i, row in enumerate(powers):
        factors[i, : row.sum()] = np.repeat(np.arange(n), row)

    def found(rows: Array) -> Array:
        filled = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        return filled[:, factors].prod(axis=2) @ weights

    return found


def frols(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Polynomial NARX terms chosen by orthogonal forward regression; free runs by the package itself."""
    from sysidentpy.basis_function import Polynomial
    from sysidentpy.model_structure_selection import FROLS

    kind = {} if train.n_u else {"model_type": "NAR"}
    lags = settings["lags"] if train.n_u else 1
    model = FROLS(
        ylag=settings["lags"], xlag=lags if train.n_u < 2 else [list(range(1, lags + 1))] * train.n_u,
        n_info_values=min(settings["terms"], 40), basis_function=Polynomial(degree=settings["degree"]),
        estimator=_least_squares(), **kind,
    )  # fmt: skip
    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    e = max(train, key=len)
    n = min(len(e), MAX_FROLS)
    y = of_y.to(e.outputs[:n])
    u = of_u.to(_held(e.inputs, n)) if train.n_u else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X=u, y=y)

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = []
        for e in data:
            rest, lags = len(e) - n_init, model.max_lag
            first = of_y.to(e.outputs[n_init - lags : n_init])
            if train.n_u:
                v = of_u.to(_held(e.inputs, len(e)))[n_init - lags :]
                run = model.predict(X=v, y=first)
            else:
                run = model.predict(y=first, forecast_horizon=rest)
            run = of_y.back(np.asarray(run).reshape(-1, 1))
            found.append(np.concatenate([e.outputs[:n_init], run[lags : lags + rest]]))
        return found

    return predict


def _held(u: Array, n: int) -> Array:
    """`n` inputs, the last one held where it is not given."""
    return u[:n] if len(u) >= n else np.concatenate([u, u[-1:]])


def _least_squares() -> Any:
    from sysidentpy.parameter_estimation import LeastSquares

    return LeastSquares()


def _pykoop_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"centers": 10, "delays": 1, "alpha": 1e-6}]
    delays = {"state": (0, 1), "forced": (0, 1), "window": (1, 19), "record": (4, 8), "weather": (0, 1)}[kind]
    found = [
        {"centers": c, "delays": d, "alpha": a} for c, a in ((100, 0), (300, 0), (300, 1e-4)) for d in delays
    ]
    return found


def _pysindy_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"degree": 2, "delays": 1, "threshold": 1e-4}]
    if kind in ("state", "forced"):
        found = [{"degree": 2, "delays": 1, "threshold": 0.05, "continuous": True}]
        found += [{"degree": 3, "delays": 1, "threshold": 0.02, "continuous": True}]
        rows = ((5, 1, 1e-6), (3, 1, 1e-5), (2, 1, 1e-5), (2, 2, 1e-5))
    else:
        found = []
        rows = ((3, 2, 1e-6), (2, 4, 1e-4), (2, 18, 1e-5), (3, 4, 1e-4), (1, 4, 1e-5), (2, 8, 1e-4))
    return found + [dict(zip(("degree", "delays", "threshold"), row, strict=True)) for row in rows]


def _frols_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"degree": 2, "lags": 2, "terms": 6}]
    rows = ((2, 4, 20), (3, 2, 20), (2, 12, 40), (2, 8, 30), (1, 12, 24), (3, 5, 40))
    return [dict(zip(("degree", "lags", "terms"), row, strict=True)) for row in rows]


def _single_output(problem: Problem) -> str:
    return "" if problem.train.n_y == 1 else f"one output alone, and there are {problem.train.n_y}"


CONTENDERS = (
    Contender("pykoop EDMD", pykoop_edmd, _pykoop_space, needs=("pykoop",)),
    Contender("pysindy", pysindy_discrete, _pysindy_space, needs=("pysindy",), seeded=False),
    Contender(
        "sysidentpy FROLS", frols, _frols_space, needs=("sysidentpy",), refuses=_single_output, seeded=False
    ),
)
