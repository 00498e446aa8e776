"""Second part: a measured record, from training half to unseen half, beside the best linear model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from koopctrl import datasets
from koopctrl.data.trajectories import Trajectories
from koopctrl.demo.part import Part
from koopctrl.ensemble import KoopmanEnsemble
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.plotting import plot_free_run

LAGS = (6, 8, 10, 12)
N_INIT = 20
N_MEMBERS = 8


def measured_record(out: Path, progress: Callable[[str], None]) -> Part:
    """Choose the number of past samples within the training half, fit, and free-run the unseen half.

    Parameters
    ----------
    out : Path
        Existing folder for the figure and the model.
    progress : callable
        Told what is being done.
    """
    train, test = datasets.robot_arm().split(0.5, by="time")
    inner, validation = train.split(0.4, by="time")
    networks = {lags: KoopmanEnsemble(_network(lags), N_MEMBERS, random_state=0) for lags in LAGS}
    linear = {lags: _linear(lags) for lags in LAGS}
    models = {}
    for name, tried in (("network", networks), ("linear (ARX)", linear)):
        progress(f"robot arm: {name}, choosing how many past samples to look at")
        errors = {lags: rmse(model.fit(inner), validation) for lags, model in tried.items()}
        best = min(errors, key=lambda lags: errors[lags])
        models[name] = (best, tried[best].fit(train))
    runs = {name: model.predict(test, n_init=N_INIT)[0] for name, (_, model) in models.items()}
    rows = [
        {
            "model": name,
            "past samples": lags,
            "free-run error (RMS)": rmse(model, test),
            "fit, %": fit_percent(test, runs[name]),
        }
        for name, (lags, model) in models.items()
    ]
    figure = plot_free_run(test[0], runs, n_init=N_INIT)
    figure.savefig(out / "robot-arm.png", dpi=150)
    plt.close(figure)
    models["network"][1].save(out / "robot-arm.npz")
    ratio = rows[1]["free-run error (RMS)"] / rows[0]["free-run error (RMS)"]
    finding = (
        f"Told the torque alone, the network foretells {test.n_steps - N_INIT + 1} samples of a flexible "
        "robot arm that it has not seen; the best linear model of the same kind is off "
        f"{ratio:.1f} times as far."
    )
    files = {
        "robot-arm.png": "measured, foretold, and the difference",
        "robot-arm.npz": "the model; koopctrl.load reads it",
    }
    return Part("Robot arm, a measured record: the unseen half", rows, finding, files)


def _network(lags: int) -> KoopmanRNN:
    return KoopmanRNN(100, output_lags=lags, input_lags=lags)


def _linear(lags: int) -> KoopmanRNN:
    # Without hidden neurons and penalty the same solve is a least-squares ARX model with offset.
    return KoopmanRNN(0, input_coupling="linear", ridge=0.0, output_lags=lags, input_lags=lags)


def rmse(model: Any, data: Trajectories) -> float:
    """Root mean square error of the free run after the samples that initialise."""
    error = model.predict(data, n_init=N_INIT)[0] - data[0].outputs
    return float(np.sqrt(np.mean(error[N_INIT:] ** 2)))


def fit_percent(data: Trajectories, run: Any) -> float:
    """`100 (1 - |error| / |y - mean y|)`, as identification texts give it."""
    truth = data[0].outputs[N_INIT:]
    return float(100.0 * (1.0 - np.linalg.norm(run[N_INIT:] - truth) / np.linalg.norm(truth - truth.mean())))
