"""Extended Kalman filter on the nonlinear face: the window, and constant disturbances, from a few signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector
from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw, ExtendedKalmanState
from koopctrl.controllers.estimation.filter_shell import FilterShell
from koopctrl.controllers.settings import arguments, copied
from koopctrl.koopman_rnn import KoopmanRNN


class ExtendedKalmanFilter(FilterShell):
    r"""Estimator of a fitted network's state, from all of its outputs or from some of them.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted, without feedthrough and without a hidden state; with inputs or without.
    Qn : scalar, (n_y,) or (n_y, n_y) array_like, optional
        Covariance of the process noise on the next outputs, in their units; by default from the one-step
        residuals of the training data (`koopctrl.identification.one_step_noise`).
    Rn : scalar, (n_measured,) or (n_measured, n_measured) array_like, optional
        Covariance of the measurement noise, positive definite; by default from the data too.
    measured : sequence of str or int, optional
        Outputs of the model that are measured online, by name or index, in the order of `y`; all by default.
        A model identified on the full state then runs on a plant that shows a part of it.
    disturbance : {"none", "output", "input", "state", "mixed"}
        Constant disturbances estimated beside the window: one on each measured output as it is measured, `w`,
        one on each input, or `d`, one on each next output. With as many of them as measured signals, a
        controller that uses them leaves no steady-state error: `"mixed"` has `w` and, where more signals are
        measured than there are inputs, as many beside it, slower, on what inputs move least in the next
        outputs.
    Qd : scalar, (n_d,) or (n_d, n_d) array_like, optional
        Covariance of the disturbances' drift; by default a tenth of their first standard deviation a sample.
    P0 : scalar, (n,) or (n, n) array_like, optional
        Covariance of the first estimate's error, `n = n_x + n_d`, or `n_x` for the window alone. By default
        the training data's variance, of each input for `w` and a hundredth of each output's for `d`.
    gate : float, optional
        Measurements whose innovation is more than `gate` standard deviations away (root mean square, in its
        covariance's norm) are rejected, five in a row at most: after them it is the estimate that is wrong.

    Attributes
    ----------
    estimate : (n_x + n_d,) array or None
        Newest estimate, window then disturbances, see `split`; None before the first measurement.
    covariance : (n_x + n_d, n_x + n_d) array
        Of its error.
    rejected : bool
        Whether the last measurement was rejected, by the gate or because it overflows.
    n_rejected : int
        How many were since the last reset.
    measured : (n_measured,) int array
        Indices of the measured outputs.
    n_measured, n_d : int
        Numbers of measured signals and of disturbances.
    model, dt
        The model and its sample time.

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
        If a prediction leaves the training data's range by 1e4 standard deviations, by itself or by its
        uncertainty. It is then forgotten, and the next measurement starts the filter anew.

    Notes
    -----
    The measured signals are entries of the state, so the correction is exact for a Gaussian prediction; what
    is approximated is the prediction's covariance. The first estimate has the measured signals where they
    were measured, the rest at the training mean. In a lag window the older outputs are corrected too (a
    fixed-lag smoother), and older inputs are those that acted, `w` included. Anderson & Moore, *Optimal
    Filtering*, 1979, chapter 8.
    """

    law: ExtendedKalmanLaw
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
    ) -> None:
        self._begin(ExtendedKalmanLaw, arguments(locals()))

    def _begin(self, kind: type[ExtendedKalmanLaw], named: dict[str, Any]) -> None:
        """Make the law from the arguments, which are kept for files."""
        settings = self.settings = copied(named)
        law = self.law = kind(settings.pop("model"), **settings)
        # As they were found: a file's model may have lost its training data.
        found = {"Qn": law.Qn, "Rn": law.Rn}
        self.settings |= copied({name: v for name, v in found.items() if settings[name] is None})
        self.model, self.dt, self.measured, self.n_d = law.model, law.dt, law.measured, law.n_d
        self.Qn, self.Rn, self.Qd, self.P0, self.gate = law.Qn, law.Rn, law.Qd, law.P0, law.gate
        self.reset()

    def reset(self, x0: ArrayLike | None = None) -> None:
        """Forget the estimate, or start from the window `x0` `(n_x,)` without disturbance."""
        law = self.law
        self._reset(law.initial() if x0 is None else law.start_from(as_vector(x0, "x0", law.rollout.n_x)))

    def update(self, y: ArrayLike) -> FloatArray:
        """Correct by a measurement `y`, shape `(n_measured,)`; entries with NaN are left out.

        The first one starts the filter. Before it, the training mean is returned.
        """
        self._update(y)
        return self.state.s.copy()

    def predict(self, u: ArrayLike = ()) -> FloatArray:
        """Advance by one sample under the input `u`, shape `(n_u,)`."""
        self.state = self.law.predict(self.state, as_vector(u, "u", self.law.rollout.n_u))
        return self.state.s.copy()

    def observe(self, measurement: ArrayLike, u_last: ArrayLike | None) -> FloatArray:
        """Predict with `u_last`, held since the last call (None on the first); update by `measurement`.

        Parameters
        ----------
        measurement : (n_measured,) array_like
            NaN where missing.
        u_last : (n_u,) array_like or None
        """
        if u_last is not None:
            self.predict(u_last)
        return self.update(measurement)

    def split(self, estimate: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Parts of an `estimate`: `x` `(n_x,)`, `d` `(n_y,)` and `w` `(n_u,)`, zero where not estimated."""
        return self.law.split(as_vector(estimate, "estimate", self.law.rollout.n).copy())

    def _details(self) -> list[str]:
        return [f"n_x={self.law.rollout.n_x}", f"n_d={self.n_d}"]
