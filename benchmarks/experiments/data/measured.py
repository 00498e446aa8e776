"""Measured records: free run on the test part, after the samples that initialise (see
`benchmarks/selected.py`).

The hair dryer and the robot arm ship with the package, the others lie in the data folder; without it their
cells say so.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.problem import CannotRun, Experiment, Predictions, Problem, nrmse, robust_nrmse
from koopctrl import Trajectories

SHIPPED = ("hair_dryer", "robot_arm")
RECORDS = (
    *SHIPPED, "cascaded_tanks", "silverbox", "ball_hoop", "bouc_wen", "f16_reduced", "quarter_drone"
)  # fmt: skip
# Free-run RMSE on the test part published elsewhere, in the record's unit (of the first test part).
PUBLISHED = {"cascaded_tanks": {"SUBNET": 0.37, "GRU": 0.396, "LSTM": 0.490, "grey box": 0.191}}
PUBLISHED["silverbox"] = {"SUBNET": 0.36e-3, "GRU": 1.49e-3, "GP-NARX": 0.301e-3}
HORIZON = 400


def make(seed: int, smoke: bool, folder: Any, name: str) -> Problem:
    """The conventional split; with several test parts each is an episode and a figure of its own."""
    from selected import load

    if name not in SHIPPED and folder is None:
        raise CannotRun("the record does not ship: pass --data with the folder that holds it")
    try:
        train, tests, n_init = load(name, Path(folder or "."))
    except SystemExit as reason:
        raise CannotRun(str(reason)) from None
    test = Trajectories(e for t in tests for e in t)
    scale = np.concatenate([e.outputs for e in train]).std(axis=0)
    truth = [e.outputs for e in test]

    def score(predicted: Predictions) -> dict[str, float]:
        each = [nrmse([t], [p], n_init, np.ones_like(scale)) for t, p in zip(truth, predicted, strict=True)]
        found = {"rmse": each[0]}
        return found | {f"rmse_test_{i}": e for i, e in enumerate(each) if i}

    shortest = min(len(e) for e in train)
    horizon = min(HORIZON, shortest // 5 - n_init - 1)
    return Problem(
        name, train, test, n_init, horizon, "record", score,
        lambda t, p: robust_nrmse(t, p, n_init, scale), unit="RMSE",
        notes={"published": PUBLISHED.get(name, {}), "spread": float(np.linalg.norm(scale))},
    )  # fmt: skip


EXPERIMENTS = tuple(Experiment(name, "measured", partial(make, name=name), measured=True) for name in RECORDS)
