"""LinearMPC: predictive control on the linear face, condensed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, check_bool, check_choice, check_integer
from koopctrl.controllers.channels import InputChannels, choose_channels
from koopctrl.controllers.estimation.choice import linear_estimator
from koopctrl.controllers.estimation.kalman import KalmanFilter
from koopctrl.controllers.estimation.measurement import check_controllable
from koopctrl.controllers.estimation.protocol import LinearEstimator
from koopctrl.controllers.mpc.base import PredictiveController
from koopctrl.controllers.mpc.linear_law import LinearLaw, build_linear_law
from koopctrl.controllers.mpc.offset_trial import GAINS, OffsetTrial, best_gain
from koopctrl.controllers.mpc.problem import Bounds, describe_problem, stage_weights, with_half_widths
from koopctrl.controllers.mpc.terminal import KINDS, best_law, can_try, training_snapshots, warn_if_doubtful
from koopctrl.controllers.plant_model import as_lifted
from koopctrl.controllers.riccati import Riccati
from koopctrl.controllers.settings import arguments
from koopctrl.identification.prediction_bands import PredictionBands
from koopctrl.lifted.model import LiftedModel

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.explicit import ExplicitMPC

_OFFSET_EPISODES = 6


class LinearMPC(PredictiveController):
    r"""Model predictive controller on a lifted model.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - y_s|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2 + |z_N - z_s|_P^2

    subject to the lifted model and the bounds. For a constant set-point `(z_s, u_s, y_s)` is its steady
    target, which for an unreachable one is the nearest reachable; along a preview the outputs follow the
    reference itself.

    Parameters
    ----------
    lifted : LiftedModel or LTINetwork
        From `model.lift_at(...)`, `LiftedModel.from_matrices(...)` or `net.sample(dt)`.
    horizon : int
        `N`, in samples.
    Q : scalar, (n_y,), (n_y, n_y) or (n_z, n_z) array_like
        Weight on outputs or on lifted coordinates; of shape `(N, n_y, n_y)` or `(N, n_z, n_z)` one a step,
        the first on the next sample. The last counts for steady targets and the Riccati weight.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on inputs, positive definite, or semidefinite where `R + R_rate` is definite (which then picks
        among steady inputs and gives the Riccati weight); or `(N, n_u, n_u)`, one a step.
    R_rate : scalar, (n_u,) or (n_u, n_u) array_like, optional
        Weight `S` on input moves; or `(N, n_u, n_u)`, one a step.
    u_min, u_max, du_min, du_max : scalar or (n_u,) array_like, optional
        Hard bounds on inputs and on their moves a sample.
    y_min, y_max : scalar or (n_y,) array_like, optional
        Bounds on outputs at steps 1 to N; relaxed where they cannot be held, and only there, unless
        `soft=False`.
    tightening : PredictionBands, scalar, (n_y,) or (N, n_y) array_like, optional
        What is taken off the bounds on outputs after so many steps: `prediction_bands(...)`, or half-widths.
        Where a step is `optimal`, the next output then leaves its bounds no more often than the bands are
        left: with probability at most `1 - coverage` a bound, while the plant errs as it did on the records.
    constraints : (E, low, high), optional
        Further bounds `low <= E x <= high` on combinations of the states; soft or hard as those on outputs.
    terminal_set : (E, low, high), optional
        Bounds `low <= E (x_N - x_s) <= high` on the distance of the last state from its steady target; soft
        or hard as the others.
    soft : bool
        Whether bounds on outputs and states may be relaxed. If not, a step without a solution falls back.
    soft_weights : (float, float)
        `w1, w2`: relaxing a bound by `e` costs `q (w1 s e + w2 e^2)`, in which units have no part. `s` is how
        far the bound is from the operating value (the farther one of two), `q` the output's own weight in
        `Q`; a bound that has but one of them gets the other from the largest `q s^2` of all bounded outputs.
    blocks : int or sequence of int, optional
        A control horizon (inputs are held after it), or the lengths of blocks over which inputs are held.
    terminal : {"auto", "riccati", "state", "none"}
        Weight at the end of the horizon: LQR's cost to go of the lifted model, or that of the network's
        derivatives at the operating point on the state alone, or `Q`. `"auto"` is the one that costs least
        when the controller is tried on the network that the model was lifted from; without one it is
        `"riccati"`.
    measured_disturbances : sequence of str or int, optional
        Names or positions of the model's inputs that are not moved but measured; `control` is then told them,
        with a preview if there is one.
    input_delay : int
        Samples that pass before an input acts on the plant, where the model does not know of them.
    max_solve_time : float, optional
        Seconds after which no further QP is begun; without a solution by then, `control` falls back.
    estimator : KalmanFilter or LinearEstimator, optional
        Estimates the lifted state; by default measurements are lifted (`LiftedMeasurement`, `LagWindow`).
    observer
        Older name of `estimator`.
    offset_free : bool, float or "input"
        Without an estimator: whether what the model leaves unexplained from one sample to the next is taken
        as a constant disturbance, so that neither a constant load nor a wrong model leaves a steady-state
        error; a number in (0, 1] is the gain with which it is averaged. `True` chooses the gain, or
        `"input"`, by what it does on the network that the model was lifted from, under loads and beside the
        errors that the network shows on its data (`offset_trial`); without a network it is 1. `"input"` takes
        it as a constant load on the inputs, estimated from the outputs: exact for such loads at the operating
        point only, but safe far from it too, where the features' error is taken for a disturbance otherwise;
        for models without input lags. With an estimator: `KalmanFilter(disturbance=...)`, the choice for lag
        windows.
    solver : str
        Name of a CasADi conic plugin.
    solver_options : mapping, optional
        Passed to the plugin.
    check : bool
        Whether the controller is tried on the network that the model was lifted from, for a fraction of a
        second, and a warning says so where it does worse than on plain least squares.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    terminal : str
        The weight at the end that was taken.
    trial : DesignTrial or None
        What was found when the controller was tried on the network.
    offset_trial : OffsetTrial or None
        What was found when gains were tried, if `offset_free=True`.
    K, P : arrays or None
        LQR gain and cost to go, if `terminal="riccati"`.
    set_point : (n_y,) array
        Where no reference is given: `y_op`.

    Raises
    ------
    OptionError, ShapeError, DataError
        If the problem cannot be posed, with the reason.
    SolverError
        If the terminal weight does not exist: then use `terminal="none"`.

    Warns
    -----
    DesignWarning
        If the controller, tried on the network, lets it run away more often than the same controller on plain
        least squares does, or costs more than twice as much.

    Notes
    -----
    Where no certified solution is found, `control` returns the next input of the last plan, else the
    saturated LQR's, else the last input, and says so in `info.status` and `info.reason`. Rawlings, Mayne &
    Diehl, *Model Predictive Control*, 2nd ed., 2017; Korda & Mezic, *Linear predictors for nonlinear
    dynamical systems*, Automatica 2018.
    """

    law: LinearLaw

    def __init__(
        self,
        lifted: LiftedModel,
        horizon: int,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        R_rate: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        du_min: ArrayLike | None = None,
        du_max: ArrayLike | None = None,
        y_min: ArrayLike | None = None,
        y_max: ArrayLike | None = None,
        tightening: PredictionBands | ArrayLike | None = None,
        constraints: Bounds | None = None,
        terminal_set: Bounds | None = None,
        soft: bool = True,
        soft_weights: tuple[float, float] = (1e3, 1e3),
        blocks: int | Sequence[int] | None = None,
        terminal: str = "auto",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        input_delay: int = 0,
        estimator: KalmanFilter | LinearEstimator | None = None,
        observer: KalmanFilter | LinearEstimator | None = None,
        offset_free: bool | float | str = False,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
        max_solve_time: float | None = None,
        check: bool = True,
    ) -> None:
        lifted = as_lifted(lifted)
        self._make(with_half_widths(arguments(locals())), None)

    def _make(self, settings: dict[str, Any], known: LinearMPC | None) -> None:
        """Build the law; of one that is `known` what its settings have in common with these is taken over."""
        given = dict(settings)
        lifted: LiftedModel = given.pop("lifted")
        check_controllable(lifted)
        self.lifted = lifted
        channels = choose_channels(lifted.input_names, given.pop("measured_disturbances"))
        observer, offset_free = given.pop("estimator"), given.pop("offset_free")
        # Whether disturbances are estimated, and how fast, is chosen after the weight at the end.
        chosen_later = offset_free is True and observer is None and lifted.network is not None
        first = False if chosen_later else offset_free
        estimator = linear_estimator(lifted, observer, first, channels)
        solver, options = given.pop("solver"), given.pop("solver_options")
        check = check_bool(given.pop("check"), "check")
        horizon = given["horizon"] = check_integer(given["horizon"], "horizon", low=1)
        given["Q"] = stage_weights(given["Q"], "Q", (lifted.n_y, lifted.n_z), horizon)
        asked = check_choice(given.pop("terminal"), "terminal", ("auto", *KINDS))

        def build(model: LiftedModel, kind: str, riccati: Riccati | None) -> LinearLaw:
            weights = given["Q"]
            if weights.shape[1] not in (model.n_y, model.n_z):  # on coordinates that this model has not
                weights = weights[:, : model.n_z, : model.n_z]
            problem = describe_problem(
                model.n_y, model.n_x, channels.n_u, centre=np.concatenate([model.y_op, model.x_op]),
                **(given | {"Q": weights, "terminal": kind}),
            )  # fmt: skip
            if riccati is None and known is not None:
                riccati = _same_riccati(known.law, model, problem, channels.moved)
            own = estimator if model is lifted else linear_estimator(model, None, first, channels)
            return build_linear_law(model, problem, channels, own, solver, options, riccati=riccati)

        # Retuned, a controller keeps the weight that was chosen for its model.
        retuned = known is not None and known.lifted is lifted
        if asked != "auto":
            kinds = (asked,)
        elif known is not None and retuned:
            kinds = (known.terminal,)
        else:
            kinds = KINDS if lifted.network is not None else KINDS[:1]
        with one_blas_thread():
            law, self.terminal, self.trial = best_law(lifted, build, kinds, tried=check and not retuned)
            self.offset_trial: OffsetTrial | None = None
            if offset_free is True and can_try(lifted, law):
                law, self.offset_trial = self._offset_free(law, channels, solver, options)
                settings = settings | {"offset_free": self.offset_trial.taken}
        warn_if_doubtful(self.trial)
        self.K: FloatArray | None = None if law.riccati is None else law.riccati.K
        self.P: FloatArray | None = None if law.riccati is None else law.riccati.P
        self.target = law.target
        self._begin(law, settings)

    def _offset_free(
        self, law: LinearLaw, channels: InputChannels, solver: str, options: Mapping[str, Any] | None
    ) -> tuple[LinearLaw, OffsetTrial]:
        """The same law with the disturbance estimate that does best on the network."""
        lifted = self.lifted

        def build(value: Any) -> LinearLaw:
            own = linear_estimator(lifted, None, value, channels)
            return build_linear_law(lifted, law.problem, channels, own, solver, options, riccati=law.riccati)

        network = lifted.network
        assert network is not None
        home = (lifted.x_op, lifted.u_op)
        trial = best_gain(
            build, network, training_snapshots(lifted), home, (*GAINS, "input"), _OFFSET_EPISODES
        )
        return build(trial.taken), trial

    def _remade(self, settings: dict[str, Any]) -> LinearMPC:
        made = object.__new__(type(self))
        made._make(settings, self)
        return made

    def to_explicit(
        self,
        x_min: ArrayLike,
        x_max: ArrayLike,
        *,
        references: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
        max_regions: int = 2000,
    ) -> ExplicitMPC:
        """This controller as a table, for at most 4 states and 10 steps.

        Parameters
        ----------
        x_min, x_max, references, max_regions
            See `ExplicitMPC`.
        """
        from koopctrl.controllers.mpc.explicit import ExplicitMPC

        return ExplicitMPC(self, x_min, x_max, references=references, max_regions=max_regions)

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        super().reset()
        self.law.solver.reset()


def _same_riccati(law: LinearLaw, lifted: LiftedModel, problem: Any, moved: np.ndarray) -> Riccati | None:
    """The terminal weight of another law where it belongs to the same model and weights."""
    same = (
        law.lifted is lifted
        and np.array_equal(law.channels.moved, moved)
        and np.array_equal(law.problem.Q[-1], problem.Q[-1])
        and np.array_equal(law.problem.input_weight, problem.input_weight)
        and problem.terminal == "riccati"
    )
    return law.riccati if same else None
