"""Controllers on identified models: LQR, Kalman filters, predictive control, and the closed loop.

Names load on first use: whoever wants a `LinearMPC` need not wait for schedules and linear networks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koopctrl.controllers.design.design_mpc import MPCDesign, design_mpc
    from koopctrl.controllers.design.report import DesignReport
    from koopctrl.controllers.design.verify import verify_design
    from koopctrl.controllers.energy_shaping import EnergyShaping
    from koopctrl.controllers.estimation.extended_kalman import ExtendedKalmanFilter
    from koopctrl.controllers.estimation.kalman import KalmanFilter
    from koopctrl.controllers.estimation.lag_window import LagWindow
    from koopctrl.controllers.estimation.lifted_measurement import LiftedMeasurement
    from koopctrl.controllers.estimation.moving_horizon import MovingHorizonEstimator
    from koopctrl.controllers.estimation.protocol import Estimator, LinearEstimator, NetworkEstimator
    from koopctrl.controllers.estimation.unscented_kalman import UnscentedKalmanFilter
    from koopctrl.controllers.loop.closed_loop import ClosedLoopResult, run_closed_loop
    from koopctrl.controllers.loop.policy import ControllerPolicy
    from koopctrl.controllers.lqr import LQR
    from koopctrl.controllers.mpc.deepc import DeePC
    from koopctrl.controllers.mpc.explicit import ExplicitMPC
    from koopctrl.controllers.mpc.field import FieldMPC
    from koopctrl.controllers.mpc.linear import LinearMPC
    from koopctrl.controllers.mpc.rnn import RNNMPC
    from koopctrl.controllers.mpc.true_model import NMPC
    from koopctrl.controllers.mpc.tube import TubeMPC
    from koopctrl.controllers.protocol import Controller, check_controller
    from koopctrl.controllers.scheduled import GainScheduled
    from koopctrl.controllers.steady_state.find import SteadyState, find_steady_state

_HOME = {
    "ClosedLoopResult": "koopctrl.controllers.loop.closed_loop",
    "Controller": "koopctrl.controllers.protocol",
    "ControllerPolicy": "koopctrl.controllers.loop.policy",
    "DeePC": "koopctrl.controllers.mpc.deepc",
    "DesignReport": "koopctrl.controllers.design.report",
    "EnergyShaping": "koopctrl.controllers.energy_shaping",
    "Estimator": "koopctrl.controllers.estimation.protocol",
    "ExplicitMPC": "koopctrl.controllers.mpc.explicit",
    "ExtendedKalmanFilter": "koopctrl.controllers.estimation.extended_kalman",
    "FieldMPC": "koopctrl.controllers.mpc.field",
    "GainScheduled": "koopctrl.controllers.scheduled",
    "KalmanFilter": "koopctrl.controllers.estimation.kalman",
    "LQR": "koopctrl.controllers.lqr",
    "LagWindow": "koopctrl.controllers.estimation.lag_window",
    "LiftedMeasurement": "koopctrl.controllers.estimation.lifted_measurement",
    "LinearEstimator": "koopctrl.controllers.estimation.protocol",
    "LinearMPC": "koopctrl.controllers.mpc.linear",
    "MPCDesign": "koopctrl.controllers.design.design_mpc",
    "MovingHorizonEstimator": "koopctrl.controllers.estimation.moving_horizon",
    "NMPC": "koopctrl.controllers.mpc.true_model",
    "NetworkEstimator": "koopctrl.controllers.estimation.protocol",
    "RNNMPC": "koopctrl.controllers.mpc.rnn",
    "SteadyState": "koopctrl.controllers.steady_state.find",
    "TubeMPC": "koopctrl.controllers.mpc.tube",
    "UnscentedKalmanFilter": "koopctrl.controllers.estimation.unscented_kalman",
    "check_controller": "koopctrl.controllers.protocol",
    "design_mpc": "koopctrl.controllers.design.design_mpc",
    "find_steady_state": "koopctrl.controllers.steady_state.find",
    "run_closed_loop": "koopctrl.controllers.loop.closed_loop",
    "verify_design": "koopctrl.controllers.design.verify",
}

__all__ = [
    "LQR",
    "NMPC",
    "RNNMPC",
    "ClosedLoopResult",
    "Controller",
    "ControllerPolicy",
    "DeePC",
    "DesignReport",
    "EnergyShaping",
    "Estimator",
    "ExplicitMPC",
    "ExtendedKalmanFilter",
    "FieldMPC",
    "GainScheduled",
    "KalmanFilter",
    "LagWindow",
    "LiftedMeasurement",
    "LinearEstimator",
    "LinearMPC",
    "MPCDesign",
    "MovingHorizonEstimator",
    "NetworkEstimator",
    "SteadyState",
    "TubeMPC",
    "UnscentedKalmanFilter",
    "check_controller",
    "design_mpc",
    "find_steady_state",
    "run_closed_loop",
    "verify_design",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
