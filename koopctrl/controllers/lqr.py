r"""LQR in lifted coordinates.

.. math::
    u_k = u_s - K (z_k - z_s), \qquad
    \min \sum_k (y_k - y_s)' Q (y_k - y_s) + (u_k - u_s)' R (u_k - u_s)

`(z_s, u_s, y_s)` is the steady target of the set-point (`koopctrl.controllers.steady_state.linear`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, as_vector, as_weight, shape_of
from koopctrl.controllers.bounds import input_bounds
from koopctrl.controllers.channels import choose_channels
from koopctrl.controllers.estimation.choice import linear_estimator
from koopctrl.controllers.estimation.kalman import KalmanFilter
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.info import ControlInfo
from koopctrl.controllers.lqr_law import build_lqr_law
from koopctrl.controllers.plant_model import as_lifted
from koopctrl.controllers.settings import arguments
from koopctrl.controllers.shell import ControllerShell
from koopctrl.lifted.model import LiftedModel

if TYPE_CHECKING:
    import control


class LQR(ControllerShell):
    """Linear-quadratic regulator on a lifted model, saturated at the input's bounds.

    Parameters
    ----------
    lifted : LiftedModel or LTINetwork
        From `model.lift_at(...)`, `LiftedModel.from_matrices(...)` or `net.sample(dt)`.
    Q : scalar, (n_y,), (n_y, n_y) or (n_z, n_z) array_like
        Weight on the outputs, or on the lifted coordinates; positive semidefinite.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on the inputs; positive definite.
    u_min, u_max : scalar or (n_u,) array_like, optional
        The input is clipped to these.
    estimator : KalmanFilter or LinearEstimator, optional
        Estimates the lifted state; by default measurements are lifted.
    observer
        Older name of `estimator`.
    offset_free : bool, float or "input"
        As in `LinearMPC`: no steady-state error under a constant load or a wrong model.

    Attributes
    ----------
    law : LQRLaw
        Numbers that do not change, and a pure `step`.
    state : LQRState
        All that is remembered; may be kept and set again.
    K : (n_u, n_z) array
        Feedback gain, `u = u_s - K (z - z_s)`.
    P : (n_z, n_z) array
        Cost to go.
    residual : float
        Of the Riccati equation, relative to `P`.
    spectral_radius : float
        Of the closed loop `A - B K` in lifted coordinates.
    target : SteadyTarget
        The map from set-points to steady states.

    Raises
    ------
    SolverError
        If no stabilising gain exists or none is found.
    OptionError, ShapeError
        If a weight or bound does not fit the model.

    Notes
    -----
    Anderson & Moore, *Optimal Control: Linear Quadratic Methods*, 1990.
    """

    def __init__(
        self,
        lifted: LiftedModel,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        estimator: KalmanFilter | LinearEstimator | None = None,
        observer: KalmanFilter | LinearEstimator | None = None,
        offset_free: bool | float | str = False,
    ) -> None:
        lifted = as_lifted(lifted)
        self._keep(arguments(locals()))
        channels = choose_channels(getattr(lifted, "input_names", ()), None)
        source = linear_estimator(lifted, self._observer, offset_free, channels)
        self.lifted, self.dt, self.set_point = lifted, lifted.dt, lifted.y_op.copy()
        self.Q, _ = output_or_lifted_weight(Q, lifted)
        self.R = as_weight(R, "R", lifted.n_u, definite=True)
        bounds = self.u_min, self.u_max = input_bounds(u_min, u_max, lifted.n_u)
        with one_blas_thread():
            law = build_lqr_law(lifted, self.Q, self.R, bounds, source, np.ones(lifted.n_y, dtype=bool))
        self.law, self._reader = law, law.reader
        self.K, self.P, self.target = law.riccati.K, law.riccati.P, law.target
        self.residual, self.spectral_radius = law.riccati.residual, law.riccati.spectral_radius
        self.reset()

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.lifted.n_u

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of the model."""
        return self.lifted.output_names

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the model."""
        return self.lifted.input_names

    def reset(self) -> None:
        """Forget past measurements and inputs."""
        self.state = self.law.initial()
        self.info: ControlInfo | None = None

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest outputs; NaN marks a missing one, then the last input is held unless there is an
            estimator that does without it.
        reference : (n_y,) array_like, optional
            Set-point, `y_op` by default; of a preview `(n, n_y)` the first row counts. NaN marks an output
            that is not tracked.

        Returns
        -------
        (n_u,) array
        """
        with one_blas_thread():
            y = as_measurement(measurement, self.n_measured)
            u, self.state, self.info = self.law.step(self.state, y, self._reader.read(reference))
        return u

    def with_(self, **changes: Any) -> LQR:
        """The same regulator with other weights or bounds, and this one's memory.

        Parameters
        ----------
        **changes
            Arguments of the class.

        Returns
        -------
        A new regulator, which goes on from where this one is; this one is left as it was.
        """
        made = LQR(**self._changed(changes))
        same = type(self.state.estimator) is type(made.state.estimator)
        if same and "estimator" not in changes and "offset_free" not in changes and "lifted" not in changes:
            made.state = self.state
        return made

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """python-control block `[y; r] -> u`; see `koopctrl.export.controller_block.controller_to_nlsys`."""
        from koopctrl.export.controller_block import controller_to_nlsys

        return controller_to_nlsys(self.law, self.input_names, ())

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        applied = as_vector(u, "u", self.lifted.n_u).copy()
        self.state = replace(self.state, u_last=applied, sent=True)

    def __repr__(self) -> str:
        """Dimensions, gain and what is estimated."""
        parts = [f"n_z={self.lifted.n_z}", f"n_u={self.n_u}", f"spectral radius {self.spectral_radius:.4f}"]
        parts += [f"observer={type(self._observer).__name__}"] if self._observer is not None else []
        return f"LQR({', '.join(parts)}, dt={self.dt:g} s)"


def output_or_lifted_weight(Q: ArrayLike, lifted: LiftedModel) -> tuple[FloatArray, FloatArray]:
    """The weight as given `(n_y, n_y)` or `(n_z, n_z)`, and its `(n_z, n_z)` form."""
    shape = shape_of(Q)
    if shape == (lifted.n_z, lifted.n_z) and lifted.n_z != lifted.n_y:
        weight = as_weight(Q, "Q", lifted.n_z)
        return weight, weight
    weight = as_weight(Q, "Q", lifted.n_y)
    return weight, lifted.C.T @ weight @ lifted.C
