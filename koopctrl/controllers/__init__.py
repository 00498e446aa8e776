"""Controllers on identified models: LQR, Kalman filters, predictive control, and the closed loop."""

from koopctrl.controllers.closed_loop import ClosedLoopResult, run_closed_loop
from koopctrl.controllers.extended_kalman import ExtendedKalmanFilter
from koopctrl.controllers.kalman import KalmanFilter
from koopctrl.controllers.linear_mpc import LinearMPC
from koopctrl.controllers.lqr import LQR
from koopctrl.controllers.nmpc import NMPC
from koopctrl.controllers.policy import ControllerPolicy
from koopctrl.controllers.protocol import Controller
from koopctrl.controllers.rnn_mpc import RNNMPC

__all__ = [
    "LQR",
    "NMPC",
    "RNNMPC",
    "ClosedLoopResult",
    "Controller",
    "ControllerPolicy",
    "ExtendedKalmanFilter",
    "KalmanFilter",
    "LinearMPC",
    "run_closed_loop",
]
