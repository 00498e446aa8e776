"""First half of the demo: a measured record, from CSV to a state-space model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from koopctrl import datasets
from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.plotting import plot_free_run, plot_step_and_bode

# Chosen by free run on the last 40 % of the training half (benchmarks/records.py).
LAGS: dict[str, Any] = {"output_lags": 6, "input_lags": 20}
N_INIT = 20


def run_hair_dryer(out: Path) -> dict[str, Any]:
    """Split, fit, free run beside ARX, export, step response and Bode figure.

    Parameters
    ----------
    out : Path
        Existing folder for the figures and the model.

    Returns
    -------
    dict
        Every figure that the demo prints.
    """
    train, test = datasets.hair_dryer().split(0.5, by="time")
    model = KoopmanRNN(50, input_coupling="network", random_state=0, **LAGS).fit(train)
    # Without hidden neurons and penalty the same solve is a least-squares ARX model with offset.
    arx = KoopmanRNN(0, input_coupling="linear", ridge=0.0, **LAGS).fit(train)
    model.save(out / "hair-dryer.npz")

    runs = {name: m.predict(test, n_init=N_INIT)[0] for name, m in (("KoopmanRNN", model), ("ARX", arx))}
    plot_free_run(test[0], runs, n_init=N_INIT, title="Hair dryer, unseen half, free run").savefig(
        out / "hair-dryer-free-run.png", dpi=150
    )
    system = model.to_statespace()
    plot_step_and_bode(system, title="Hair dryer, lifted linear model").savefig(
        out / "hair-dryer-step-bode.png", dpi=150
    )
    rows = [
        {
            "model": name,
            "rmse": rmse(test, run),
            "fit_percent": fit_percent(test, run),
            "r2": m.score(test, n_init=N_INIT),
            "regressors": len(m.solution_.coef),
        }
        for (name, run), m in zip(runs.items(), (model, arx), strict=True)
    ]
    gain = float(np.squeeze(system.dcgain()))
    return {
        "free_run": rows,
        "lags": LAGS,
        "n_init": N_INIT,
        "statespace_states": system.nstates,
        "dc_gain": gain,
        "arx_dc_gain": float(np.squeeze(arx.to_statespace().dcgain())),
    }


def rmse(test: Trajectories, run: FloatArray) -> float:
    """Root mean square error after the initialising samples."""
    return float(np.sqrt(np.mean((run[N_INIT:] - test[0].outputs[N_INIT:]) ** 2)))


def fit_percent(test: Trajectories, run: FloatArray) -> float:
    """`100 (1 - |error| / |y - mean y|)`, as identification texts give it."""
    truth = test[0].outputs[N_INIT:]
    return float(100.0 * (1.0 - np.linalg.norm(run[N_INIT:] - truth) / np.linalg.norm(truth - truth.mean())))
