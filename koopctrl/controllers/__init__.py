"""Controllers on identified models: LQR, Kalman filters, predictive control, and the closed loop."""

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
from koopctrl.controllers.steady_state.find import SteadyState, find_steady_state

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
