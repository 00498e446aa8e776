"""Data and memory of estimators in C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from koopctrl.controllers.estimation.gate import MAX_REJECTIONS
from koopctrl.controllers.estimation.protocol import DISTURBANCES
from koopctrl.export.c.writer import DataSection, StateLayout

if TYPE_CHECKING:
    from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw


def add_extended_kalman(law: ExtendedKalmanLaw, data: DataSection, state: StateLayout) -> None:
    """Noise, limits and memory of an extended Kalman filter; the network's own data come beside it."""
    roll, n, n_m = law.rollout, law.rollout.n, law.n_measured
    data.define(
        GATED=int(law.gate is not None), STEADY=0, N_P=n, DISTURBANCE=DISTURBANCES.index(law.disturbance)
    )
    arrays = {
        "C": law.H, "measured_op": [0.0] * n_m, "R_noise": law.Rn, "noise": law.noise, "P0": law.P0,
        "mean": roll.mean, "y_mean": roll.network.scaling.y_mean, "y_limit": law.y_limit,
        "variance_limit": law.variance_limit, "channel": law.measured.astype(int),
    }  # fmt: skip
    if law.gate is not None:
        data.define(MAX_REJECTIONS=MAX_REJECTIONS)
        arrays["gate"] = [law.gate]
    for name, values in arrays.items():
        data.array(name, values)
    state.doubles(
        p=n, next=n, F=n * n, kept_p=n, kept_P=n * n, covariance=n * n, product=n * n, gain=n * n_m,
        seen=n_m * n, innovation=n_m,
    )  # fmt: skip
    state.integers(in_a_row=0)
