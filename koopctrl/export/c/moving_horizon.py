"""Data and memory of moving-horizon estimators in C: of a lifted model, and of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from koopctrl.controllers.estimation.kalman_law import KalmanLaw
from koopctrl.controllers.estimation.moving_horizon_law import MovingHorizonLaw

if TYPE_CHECKING:
    from koopctrl.controllers.estimation.fixed_lag import FixedLagLaw
    from koopctrl.controllers.estimation.moving_horizon_network import NetworkHorizonLaw
    from koopctrl.controllers.estimation.protocol import LinearEstimator
    from koopctrl.export.c.writer import DataSection, StateLayout

# After the QP, of a network: the filter, and the window's problem; of a lifted model: the smoother,
# and what keeps its estimate within the bounds.
TEMPLATES = (
    "cholesky.c", "linear_lift.c", "moving_horizon_rest.c", "correction.c", "kalman.c", "moving_horizon.c",
)  # fmt: skip
NETWORK_TEMPLATES = ("extended_kalman.c", "moving_horizon_network.c")
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

    With a time-varying gain the projection is made from the covariance wherever a bound acts.
    """
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
            "within_one": one,
        }  # fmt: skip
        if law.steady:
            arrays |= {
                "within_deviation": projection.deviation, "within_rows": projection.F,
                "within_gain": projection.G,
            }  # fmt: skip
        else:
            arrays["within_unit"] = law.unit
            state.doubles(
                within_deviation=m, within_rows=m * m, within_gain=smoother.n * m,
                within_shown=m * (smoother.n + smoother.n_lagged), within_left=m,
            )  # fmt: skip
            state.integers(within_pivot=m)
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


def add_network_horizon(law: NetworkHorizonLaw, data: DataSection, state: StateLayout) -> None:
    """The window and its problem, beside the extended Kalman filter `law.kalman`, which is written before."""
    problem, bounded, M = law.problem, law.bounded, law.horizon
    n, n_m, n_u, n_v, n_b = law.rollout.n, law.n_measured, law.rollout.n_u, law.problem.n_v, bounded.n_b
    n_rows = (M + 1) * n_b
    n_c = n_v + n_rows
    data.define(
        WINDOW=M, N_NU=n_v, N_OMEGA=problem.G.shape[1], N_BOUNDED=n_b, WINDOW_ITERATIONS=law.max_iter,
        WITHIN_ITERATIONS=100 + 20 * n_c,
    )  # fmt: skip
    data.array("noise_root", problem.G)
    data.array("entry_size", law.rollout.size)
    if n_b:
        data.array("bounded", bounded.E)
        data.array("bounded_unit", np.abs(bounded.E) @ law.rollout.size)
        data.array("within_low", bounded.low)
        data.array("within_high", bounded.high)
        state.doubles(
            window_rows=n_rows * n_v, eta_lo=n_c, eta_hi=n_c, eta_Jt=n_v * n_v, eta_R=n_v * (n_v + 1) // 2,
            eta_lam=n_v, eta_d=n_v, eta_r=n_v, eta_work=n_v, eta_value=n_c,
        )  # fmt: skip
        state.integers(eta_active=n_v, eta_side=n_c, eta_saved=2 * n_v)
    state.doubles(
        arrival=n, arrival_P=n * n, window_y=(M + 1) * n_m, window_u=M * n_u, window_s=(M + 1) * n,
        window_c=(M + 1) * n, window_gamma=(M + 1) * n * n_v, window_H=n_v * n_v, window_L=n_v * n_v,
        window_Linv=n_v * n_v, window_g=n_v, window_row=n_v, eta_x=n_v,
    )  # fmt: skip
    state.integers(window_seen=(M + 1) * n_m, n_window=0, within_status=0, n_fallbacks=0)
