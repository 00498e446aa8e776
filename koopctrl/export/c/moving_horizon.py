"""Data and memory of the moving-horizon estimator of a lifted model in C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctrl.controllers.estimation.kalman_law import KalmanLaw
from koopctrl.controllers.estimation.moving_horizon_law import MovingHorizonLaw
from koopctrl.errors import OptionError

if TYPE_CHECKING:
    from koopctrl.controllers.estimation.fixed_lag import FixedLagLaw
    from koopctrl.controllers.estimation.protocol import LinearEstimator
    from koopctrl.export.c.writer import DataSection, StateLayout

# After the QP: the smoother, and what keeps its estimate within the bounds.
TEMPLATES = (
    "cholesky.c", "linear_lift.c", "moving_horizon_rest.c", "correction.c", "kalman.c", "moving_horizon.c",
)  # fmt: skip
STATUS_FUNCTION = """
/* How the newest estimate came about, and how many were fallen back on since the reset. 0: nothing has been
 * measured. 1: all bounds hold by themselves. 2: some act, and the answer is certified. 3: there was no
 * answer, and the estimate is the Kalman filter's. */
int NAME_bounds_status(const NAME_state *state, int *n_fallbacks);
"""


def filter_of(source: LinearEstimator) -> KalmanLaw | None:
    """The Kalman filter that an estimator's code has in it."""
    if isinstance(source, MovingHorizonLaw):
        return source.smoother
    return source if isinstance(source, KalmanLaw) else None


def add_moving_horizon(law: MovingHorizonLaw, data: DataSection, state: StateLayout) -> FixedLagLaw:
    """What keeps the estimate within its bounds; returns the smoother, to be written as a Kalman filter.

    Raises
    ------
    OptionError
        If the gain is time-varying.
    """
    if not law.steady:
        raise OptionError(
            "the MovingHorizonEstimator has steady=False: its QP has another covariance to factor at every "
            "sample, for which there is no C code; expected steady=True"
        )
    smoother, m = law.smoother, len(law.low)
    r = law.projection.F.shape[1] if m else 0
    n_c = r + m
    data.define(
        MEMORY="zeta", READ="kc_smooth", N_S=smoother.n, N_BOUNDED=law.bounded.n_b, N_WITHIN=m, N_ETA=r,
        WITHIN_ITERATIONS=100 + 20 * n_c,
    )  # fmt: skip
    if m:
        one, projection = np.eye(r), law.projection
        arrays = {
            "bounded": law.bounded.E, "within_low": law.low, "within_high": law.high,
            "within_deviation": projection.deviation, "within_rows": projection.F,
            "within_gain": projection.G, "within_one": one,
        }  # fmt: skip
        for name, values in arrays.items():
            data.array(name, values)
    state.doubles(
        zeta=smoother.n + smoother.n_lagged, within=m, eta_g=r, eta_lo=n_c, eta_hi=n_c, eta_Jt=r * r,
        eta_R=r * (r + 1) // 2, eta_x=r, eta_lam=r, eta_d=r, eta_r=r, eta_work=r, eta_value=n_c,
    )  # fmt: skip
    state.integers(
        eta_active=max(1, r), eta_side=max(1, n_c), eta_saved=max(1, 2 * r), eta_k=0, eta_changes=0,
        within_status=0, n_fallbacks=0,
    )  # fmt: skip
    return smoother
