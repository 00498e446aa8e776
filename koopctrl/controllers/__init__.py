"""Controllers on identified models: LQR, Kalman filters, predictive control, and the closed loop."""

from koopctrl.controllers.estimation.extended_kalman import ExtendedKalmanFilter
from koopctrl.controllers.estimation.kalman import KalmanFilter
from koopctrl.controllers.loop.closed_loop import ClosedLoopResult, run_closed_loop
from koopctrl.controllers.loop.policy import ControllerPolicy
from koopctrl.controllers.lqr import LQR
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.controllers.mpc.true_model import NMPC
from koopctrl.controllers.protocol import Controller

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
