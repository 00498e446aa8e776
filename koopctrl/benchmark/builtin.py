"""Controllers that `koopctrl bench` knows by name. All but `nmpc` see records of the plant alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from koopctrl.benchmark.case import Case
from koopctrl.controllers import LQR, RNNMPC, DeePC, LinearMPC
from koopctrl.lifted.model import LiftedModel


def lqr(case: Case) -> LQR:
    """LQR on least-squares DMDc."""
    return LQR(_dmdc(case), case.Q, case.R, u_min=case.u_min, u_max=case.u_max, offset_free=case.offset_free)


def dmdc(case: Case) -> LinearMPC:
    """LinearMPC on least-squares DMDc."""
    return LinearMPC(_dmdc(case), case.horizon, case.Q, case.R, **_common(case))


def linear_mpc(case: Case) -> LinearMPC:
    """LinearMPC on the lift that `lift_at` chooses."""
    lifted = case.model.lift_at(case.x_rest, case.u_rest, horizon=case.horizon, Q=case.Q, R=case.R)
    return LinearMPC(lifted, case.horizon, case.Q, case.R, **_common(case))


def rnn_mpc(case: Case) -> RNNMPC:
    """RNNMPC on the network."""
    return RNNMPC(case.model, case.horizon, case.Q, case.R, **_common(case))


def deepc(case: Case) -> DeePC:
    """DeePC on the records themselves; it sees no loads."""
    past = 1 if case.knowledge.lags == 1 else 2 * case.knowledge.lags
    return DeePC(case.records, case.horizon, case.Q, case.R, n_past=past, u_min=case.u_min, u_max=case.u_max)


def nmpc(case: Case) -> Any:
    """NMPC that knows everything: the yardstick."""
    from koopctrl.benchmark.true_model import TrueModelNMPC

    return TrueModelNMPC(case)


BUILTIN: dict[str, Callable[[Case], Any]] = {
    "lqr": lqr, "dmdc": dmdc, "linear_mpc": linear_mpc, "rnn_mpc": rnn_mpc, "deepc": deepc, "nmpc": nmpc,
}  # fmt: skip


def _dmdc(case: Case) -> LiftedModel:
    return case.model.lift_at(case.x_rest, case.u_rest, method="linear")


def _common(case: Case) -> dict[str, Any]:
    return {"u_min": case.u_min, "u_max": case.u_max, "offset_free": case.offset_free}
