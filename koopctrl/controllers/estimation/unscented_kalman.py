"""Unscented Kalman filter on the nonlinear face: the extended one with predictions to higher order."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from koopctrl.controllers.estimation.extended_kalman import ExtendedKalmanFilter
from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanState
from koopctrl.controllers.estimation.unscented_kalman_law import UnscentedKalmanLaw
from koopctrl.controllers.settings import arguments
from koopctrl.koopman_rnn import KoopmanRNN


class UnscentedKalmanFilter(ExtendedKalmanFilter):
    r"""Estimator of a fitted network's state that sends points through it instead of a derivative.

    Its predictions are right to second order in the estimate's uncertainty, its covariance knows of curvature
    and of kinks that the derivative at one point does not see. Where the network is straight over what is
    uncertain it is the `ExtendedKalmanFilter`. It costs `2 n + 1` steps of the network a sample.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted, without feedthrough and without a hidden state; with inputs or without.
    Qn, Rn, measured, disturbance, Qd, P0, gate
        As in `ExtendedKalmanFilter`.
    spread : float
        Distance of the points from the estimate in standard deviations, along each of `n` directions:
        :math:`\alpha \sqrt{n + \kappa}` in the usual letters. :math:`\sqrt 3` meets the
        fourth moment of a Gaussian.

    Attributes
    ----------
    estimate, covariance, rejected, n_rejected, measured, n_measured, n_d, model, dt
        As in `ExtendedKalmanFilter`.

    Raises
    ------
    OptionError, ShapeError, DataError, NotFittedError
        If an argument does not fit the model, or there are more disturbances than measured signals.
    SolverError
        If modes that do not decay cannot be seen in the measured signals, or told from disturbances, at any
        of the points tried.

    Warns
    -----
    RolloutWarning
        As in `ExtendedKalmanFilter`.

    Notes
    -----
    The points lie along the columns of the covariance's Cholesky factor. The predicted covariance is taken
    about the image of the estimate, which keeps it positive semidefinite with any number of states. Julier &
    Uhlmann, *Unscented filtering and nonlinear estimation*, Proceedings of the IEEE 92, 2004.
    """

    law: UnscentedKalmanLaw
    state: ExtendedKalmanState

    def __init__(
        self,
        model: KoopmanRNN,
        Qn: ArrayLike | None = None,
        Rn: ArrayLike | None = None,
        *,
        measured: Sequence[str | int] | str | int | None = None,
        disturbance: str = "none",
        Qd: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        gate: float | None = None,
        spread: float = 3.0**0.5,
    ) -> None:
        settings = arguments(locals())
        self._begin(UnscentedKalmanLaw, settings)

    def _details(self) -> list[str]:
        return [*super()._details(), f"spread={self.law.spread:.4g}"]
