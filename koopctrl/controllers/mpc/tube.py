"""TubeMPC: predictive control that keeps its bounds whatever a bounded disturbance does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, as_weight, check_integer, shape_of
from koopctrl.controllers.channels import choose_channels
from koopctrl.controllers.estimation.choice import linear_estimator
from koopctrl.controllers.estimation.kalman import KalmanFilter
from koopctrl.controllers.estimation.measurement import check_controllable
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.mpc.artificial import artificial_targets
from koopctrl.controllers.mpc.base import PredictiveController
from koopctrl.controllers.mpc.problem import Bounds, describe_problem
from koopctrl.controllers.mpc.tube_law import TubeLaw, build_tube_law
from koopctrl.controllers.mpc.tube_set import build_tube
from koopctrl.controllers.plant_model import as_lifted
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.sets.zonotope import Zonotope, as_zonotope
from koopctrl.controllers.settings import arguments
from koopctrl.controllers.steady_state.linear import steady_target
from koopctrl.errors import OptionError
from koopctrl.lifted.model import LiftedModel

if TYPE_CHECKING:
    from koopctrl.controllers.sets.invariant import InvariantTube


class TubeMPC(PredictiveController):
    r"""Robust model predictive controller on a linear model with a bounded disturbance.

    .. math::
        z_{k+1} = A z_k + B u_k + w_k, \quad w_k \in W, \qquad
        u_k = u_s(a) - K (z_k - z_s(a)) + c_k

    What is added to the LQR, `c`, and an artificial set-point `a` near the one asked for are optimised;
    bounds are drawn in along the horizon by what the disturbance can have done by then, and at its end the
    state is in a set from which the LQR keeps them for ever.

    **What is promised**, for plants that are the model with any disturbance in `W` (and a measurement within
    `measurement_error` of the state), once one step was `optimal`: every later step has a solution (is
    `optimal` again), and every output, state and input keeps its bounds, whatever set-points are asked for on
    the way. A step that is `softened` or a fall-back says that the state is where no such promise can be
    made: it was there from the start, or the disturbance was not in `W`.

    Parameters
    ----------
    lifted : LiftedModel or LTINetwork
        Linear, without feedthrough.
    horizon : int
        `N`, in samples.
    Q : scalar, (n_y,), (n_y, n_y) or (n_z, n_z) array_like
        Weight on outputs or lifted coordinates.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on inputs, positive definite. `Q` and `R` make the LQR that holds the tube together too: a
        larger `R` needs less room in the inputs, a larger `Q` less in the outputs.
    disturbance : scalar, (n_x,) or (n_x, m) array_like
        `W`, what acts on the next state beside the model: half-widths of a box, or generators of a zonotope
        `{G s : |s_i| <= 1}`, in units of the state; for models with features, of the lifted coordinates.
    u_min, u_max : scalar or (n_u,) array_like, optional
        Bounds on inputs.
    y_min, y_max : scalar or (n_y,) array_like, optional
        Bounds on outputs at steps 1, 2, ..
    constraints : (E, low, high), optional
        Further bounds `low <= E x <= high` on combinations of the states.
    measurement_error : scalar, (n_x,) or (n_x, m) array_like, optional
        How far the estimate can be from the state, in the same form: the measurement's noise, or what an
        estimator promises. It is taken off the bounds on outputs and states too.
    estimator : KalmanFilter or LinearEstimator, optional
        Without disturbances of its own; its error must be within `measurement_error`.
    solver, solver_options, max_solve_time
        As in `LinearMPC`.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step; `info.target` is the artificial set-point's.
    tube : InvariantTube
        A set that the error never leaves, next to the smallest such, in lifted coordinates.
    tightening : dict of str to (N + 1, ..) arrays
        `y or x` and `u`: what is taken off the bounds after so many steps.
    K, P : arrays
        LQR gain and cost to go.

    Raises
    ------
    OptionError, ShapeError, DataError
        If the problem cannot be posed: with the bound for which the tube is too wide, by name.
    SolverError
        If there is no LQR, or a set is not found.

    Notes
    -----
    Moves of inputs are not bounded or weighted, and of a preview the last row counts.
    Chisci, Rossiter & Zappa, Automatica 37, 2001; Limon, Alvarado, Alamo & Camacho, Journal of Process
    Control 20, 2010; Rakovic et al., IEEE Transactions on Automatic Control 50, 2005.
    """

    law: TubeLaw

    def __init__(
        self,
        lifted: LiftedModel,
        horizon: int,
        Q: ArrayLike,
        R: ArrayLike,
        disturbance: ArrayLike,
        *,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        y_min: ArrayLike | None = None,
        y_max: ArrayLike | None = None,
        constraints: Bounds | None = None,
        measurement_error: ArrayLike | None = None,
        estimator: KalmanFilter | LinearEstimator | None = None,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
        max_solve_time: float | None = None,
    ) -> None:
        lifted = as_lifted(lifted)
        settings = arguments(locals())
        check_controllable(lifted)
        if lifted.N is not None:
            raise OptionError(
                "the lifted model is bilinear; expected a linear one, for which a tube is known"
            )
        self.lifted = lifted
        channels = choose_channels(lifted.input_names, None)
        source = linear_estimator(lifted, estimator, False, channels)
        if source.model.n_d:
            raise OptionError(
                "estimator has disturbances of its own; expected one without: what acts on the plant is in "
                "disturbance=, and is no constant"
            )
        horizon = settings["horizon"] = check_integer(horizon, "horizon", low=1)
        on_lifted = shape_of(Q) == (lifted.n_z, lifted.n_z) and lifted.n_z != lifted.n_y
        weight = as_weight(Q, "Q", lifted.n_z if on_lifted else lifted.n_y)
        problem = describe_problem(
            lifted.n_y, lifted.n_x, channels.n_u, horizon=horizon,
            Q=np.broadcast_to(weight, (horizon, *weight.shape)), R=R, R_rate=None, u_min=u_min, u_max=u_max,
            du_min=None, du_max=None, y_min=y_min, y_max=y_max, constraints=constraints, terminal_set=None,
            soft=True, soft_weights=(1e3, 1e3), blocks=None, terminal="riccati", input_delay=0,
            max_solve_time=max_solve_time, centre=np.concatenate([lifted.y_op, lifted.x_op]),
        )  # fmt: skip
        W = _in_coordinates(disturbance, "disturbance", lifted)
        error = _in_coordinates(
            0.0 if measurement_error is None else measurement_error, "measurement_error", lifted
        )
        model = source.model.select(channels)
        with one_blas_thread():
            on_state = weight if on_lifted else lifted.C.T @ weight @ lifted.C
            riccati = solve_riccati(
                lifted.A, model.B, on_state, problem.R[-1], "the pair (A, B) of the tube's feedback"
            )
            wanted = np.eye(lifted.n_y) if on_lifted else weight
            target = steady_target(model, wanted, problem.R[-1])
            family = artificial_targets(target, riccati.P, wanted)
            # The estimate moves by the disturbance, by the error it had, and by the one it gets.
            acting = W.plus(error.mapped(lifted.A)).plus(error)
            sets = build_tube(
                model, problem, riccati, family, acting, error, (lifted.output_names, lifted.input_names)
            )
            law = build_tube_law(
                lifted,
                problem,
                channels,
                source,
                riccati,
                target,
                family,
                wanted,
                sets,
                solver,
                solver_options,
            )
        self.K, self.P, self.target = riccati.K, riccati.P, target
        self._begin(law, settings)

    @property
    def tube(self) -> InvariantTube:
        """A set that the error never leaves, in lifted coordinates."""
        return self.law.sets.tube

    @property
    def tightening(self) -> dict[str, FloatArray]:
        """What is taken off the bounds on outputs and states, and on inputs, after so many steps."""
        sets, p = self.law.sets, self.problem

        def off(low: FloatArray, high: FloatArray, plain: tuple[FloatArray, FloatArray]) -> FloatArray:
            with np.errstate(invalid="ignore"):
                taken = np.where(np.isfinite(plain[1]), plain[1] - high, low - plain[0])
            return np.where(np.isfinite(taken), taken, 0.0)

        u_op = self.law.model.u_op
        return {
            "y or x": off(sets.low, sets.high, (p.e_min, p.e_max)),
            "u": off(sets.u_low, sets.u_high, (p.u_min - u_op, p.u_max - u_op)),
        }

    def control(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, measurement: ArrayLike, reference: ArrayLike | None = None
    ) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest measured signals; NaN marks missing ones.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point; of a preview the last row counts. NaN marks an output that is not tracked.

        Returns
        -------
        (n_u,) array
            Within its bounds.
        """
        return super().control(measurement, reference)

    def __repr__(self) -> str:
        """Dimensions, bounds and the size of the tube."""
        rows = len(self.law.sets.terminal.rows)
        width = ", ".join(f"{v:.3g}" for v in self.tightening["u"].max(axis=0))
        return f"{super().__repr__()[:-1]}, tube: {width} of u, terminal rows: {rows})"


def _in_coordinates(value: ArrayLike, name: str, lifted: LiftedModel) -> Zonotope:
    """A set of states in lifted coordinates."""
    found = as_zonotope(value, name, lifted.n_z)
    if lifted.n_z != lifted.n_x:
        return found
    return found.mapped(np.diag(1.0 / lifted.observables.x_scale))
