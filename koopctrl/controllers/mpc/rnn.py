"""RNNMPC: predictive control on the nonlinear face by real-time iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, check_choice, check_fitted, check_integer, check_number
from koopctrl.controllers.channels import choose_channels, with_parameters
from koopctrl.controllers.estimation.extended_kalman import ExtendedKalmanFilter
from koopctrl.controllers.estimation.filter_shell import as_estimator
from koopctrl.controllers.estimation.lag_window import NetworkWindow
from koopctrl.controllers.estimation.measurement import as_measurement, refuse_hidden
from koopctrl.controllers.estimation.protocol import NetworkEstimator
from koopctrl.controllers.mpc.base import PredictiveController
from koopctrl.controllers.mpc.offset_trial import GAINS, OffsetTrial, best_gain
from koopctrl.controllers.mpc.problem import Bounds, describe_problem, stage_weights, with_half_widths
from koopctrl.controllers.mpc.rnn_economic import EconomicIteration
from koopctrl.controllers.mpc.rnn_economic_law import EconomicLaw, stage_terms
from koopctrl.controllers.mpc.rnn_law import MOST_ITERATIONS, WORTH, RNNLaw
from koopctrl.controllers.mpc.rnn_sqp import SETTLED, RealTimeIteration
from koopctrl.controllers.request import read_parameters
from koopctrl.controllers.settings import arguments
from koopctrl.controllers.steady_state.network import TargetSolver
from koopctrl.errors import OptionError
from koopctrl.identification.prediction_bands import PredictionBands
from koopctrl.identification.record_leverage import RecordLeverage
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifted.equilibrium import find_equilibrium
from koopctrl.network.folded import Rollout

_OFFSET_EPISODES, _GAINS, _FILTERS = 3, GAINS[::2], ("state", "input", "mixed")


class RNNMPC(PredictiveController):
    r"""Nonlinear model predictive controller on a fitted recurrent network.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - y_s|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2 + |x_N - x_s|_P^2

    At each sample the network is linearised along the shifted last plan, the problem condensed, and one QP
    solved (`n_iterations` for more). A step is taken only as far as it lowers the cost along the network's
    own roll-out, relaxed bounds included, so a bad step cannot make the plan worse.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted, without feedthrough and without a hidden state.
    horizon : int
        `N`, in samples.
    Q : scalar, (n_y,), (n_y, n_y) or (N, n_y, n_y) array_like
        Weight on outputs.
    R, R_rate, u_min, u_max, du_min, du_max, y_min, y_max, tightening, constraints, terminal_set, soft,
    soft_weights, blocks, measured_disturbances, input_delay, solver, solver_options, max_solve_time
        As in `LinearMPC`; `constraints` and `terminal_set` are on the window's entries. The model's measured
        parameters are among the measured disturbances: told, or previewed, with `control(disturbance=p)`.
    terminal : {"auto", "riccati", "none"}
        Weight on the last state: LQR's cost to go of the network linearised at the target (where it exists,
        else `Q`), or `Q`. `"auto"` is the cost to go while the LQR, followed from the end of the plan, keeps
        what it promises, and `Q` while it does not, as in a swing-up whose plan has not arrived.
    stage_cost : callable, optional
        `l(y, u)` or `l(y, u, p)`, added at every step: of the list of outputs that an input leads
        to, the list of inputs, and `cost_parameters`. It returns a number, the cost (which may be
        negative), or a list of residuals whose squares add up. Written with arithmetic, or with
        functions of `xp` where it takes `xp=`, derivatives are exact; a function that needs numbers
        is differenced. With it `terminal` is `"none"`, no steady target is sought, and `R` is
        measured from `input_reference`, by default the input at rest; `Q` may be 0.
    nonlinear_constraints : callable, optional
        `g(y, u)` or `g(y, u, p)`, a number or a list that shall not be above 0 at any step; relaxed where it
        cannot be held, as bounds on outputs are.
    cost_parameters : (n_p,) array_like, optional
        `p` where `control` is told of none: prices, say.
    n_iterations : int or "auto"
        QPs a sample at most; more than one stop early when the cost settles. `"auto"` is at most 5, as long
        as one lowers the cost by more than a hundredth: one while all goes as planned. Without a plan to
        start from it is 20, from the steady inputs and from the best full swing with one switch. While a plan
        does not come near its target, these two are tried again, with 5 QPs, at every fifth sample: a longer
        look ahead may have shown a better way.
    estimator : ExtendedKalmanFilter or NetworkEstimator, optional
        Estimates the window, and disturbances if it was asked to; by default it is filled with measurements.
    observer
        Older name of `estimator`.
    offset_free : bool, float, "state", "input" or "mixed"
        Without an estimator: whether the error of the last one-step prediction is taken as a constant
        disturbance on the next outputs: then a constant model error or load leaves no steady-state error. A
        number in (0, 1] is the gain with which it is averaged; a word stands for
        `ExtendedKalmanFilter(model, disturbance=...)`. `True` chooses between gains and `"mixed"` by what
        they do on the network, under loads and beside the errors that the network shows on its data, which
        takes some seconds.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    offset_free : float or str
        What was asked for, or chosen.
    offset_trial : OffsetTrial or None
        What was found when gains were tried.
    set_point : (n_y,) array
        Where no reference is given: the equilibrium nearest the data's mean.

    Raises
    ------
    OptionError, ShapeError, DataError, NotFittedError
        If the problem cannot be posed, with the reason.

    Notes
    -----
    Where the roll-out of the plan breaks a bound on outputs or states that its linearised QP obeys, the
    status is `inexact` and `info.slack` says by how much. Without a certified QP solution, `control` follows
    the shifted plan, else holds the last input. Diehl et al., *Real-time optimization and nonlinear model
    predictive control of processes governed by DAEs*, Journal of Process Control 12, 2002.
    """

    law: RNNLaw

    def __init__(
        self,
        model: KoopmanRNN,
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
        stage_cost: Any = None,
        nonlinear_constraints: Any = None,
        cost_parameters: ArrayLike | None = None,
        n_iterations: int | str = "auto",
        measured_disturbances: Sequence[str | int] | str | int | None = None,
        input_delay: int = 0,
        estimator: ExtendedKalmanFilter | NetworkEstimator | None = None,
        observer: ExtendedKalmanFilter | NetworkEstimator | None = None,
        offset_free: bool | float | str = False,
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
        max_solve_time: float | None = None,
    ) -> None:
        settings = with_half_widths(arguments(locals()))
        _check_model(model)
        _check_stage_options(settings)
        self.model = model
        with one_blas_thread():
            self.offset_trial: OffsetTrial | None = None
            if isinstance(offset_free, str):
                settings = settings | _filtered(model, offset_free, settings["estimator"])
            law = self._law(dict(settings))
            self.offset_free = offset_free if isinstance(offset_free, str) else settings["offset_free"]
            if offset_free is True and settings["estimator"] is None:
                self.offset_trial, changed = self._try_offsets(law, settings)
                self.offset_free = self.offset_trial.taken
                settings = settings | changed
                law = self._law(dict(settings))
            self.offset_free = self.offset_free or 0.0
        self.n_iterations = law.n_iterations
        self._begin(law, settings)

    def _law(self, given: dict[str, Any]) -> RNNLaw:
        """The law that settings make."""
        model: KoopmanRNN = given.pop("model")
        network = model._network
        window, scaling = network.window, network.scaling
        names = model.input_names_
        told = with_parameters(given.pop("measured_disturbances"), model.parameter_names_, names)
        channels = choose_channels(names, told)
        observer, offset_free = given.pop("estimator"), given.pop("offset_free")
        solver, options = given.pop("solver"), given.pop("solver_options")
        horizon = given["horizon"] = check_integer(given["horizon"], "horizon", low=1)
        given["Q"] = stage_weights(given["Q"], "Q", (window.n_y,), horizon)
        n_iterations = given.pop("n_iterations")
        own = given.pop("stage_cost"), given.pop("nonlinear_constraints"), given.pop("cost_parameters")
        if own[0] is not None:
            given["terminal"] = "none"
        centre = np.concatenate([network.x_mean[: window.n_y], network.x_mean])
        problem = describe_problem(window.n_y, window.n_x, channels.n_u, centre=centre, **given)
        is_auto = isinstance(n_iterations, str) and n_iterations == "auto"
        n_iterations = MOST_ITERATIONS if is_auto else check_integer(n_iterations, "n_iterations", low=1)
        gain = check_number(offset_free, "offset_free", low=0.0, high=1.0)
        if offset_free is True and observer is None:
            gain = 0.0  # chosen once there is a law to try
        rollout = Rollout(network)
        at_rest = find_equilibrium(model, scaling.u_mean, network.x_mean)
        x_rest = network.x_mean if at_rest is None else at_rest
        u_mean, v_mean = channels.split(scaling.u_mean)
        u_rest = np.clip(u_mean, problem.u_min, problem.u_max)
        if observer is None:
            kind = "state" if gain else "none"
            u_all = channels.join(u_rest, v_mean)
            estimator: NetworkEstimator = NetworkWindow(
                rollout, model.output_names_, u_all, kind, gain or 1.0
            )
        else:
            estimator = _given_estimator(observer, model, gain)
        targets = TargetSolver(
            rollout, channels, problem.Q[-1], problem.input_weight, problem.u_min, problem.u_max, x_rest,
            scaling.u_mean, model.y_range_, horizon,
        )  # fmt: skip
        made, added, iteration = RNNLaw, {}, RealTimeIteration(rollout, problem, channels, solver, options)
        if own[0] is not None or own[1] is not None:
            terms, parameters = stage_terms(model, channels, problem, *own, given["soft_weights"])
            iteration = EconomicIteration(rollout, problem, channels, solver, options, terms)
            made, added = EconomicLaw, {"terms": terms, "parameters": parameters}
        return made(
            problem=problem, channels=channels, estimator=estimator, output_names=model.output_names_,
            input_names=names, dt=model.dt_, set_point=x_rest[: window.n_y].copy(),
            u_rest=u_rest, v_rest=v_mean, rollout=rollout, targets=targets, n_iterations=n_iterations,
            settled=WORTH if is_auto else SETTLED,
            iteration=iteration, records=RecordLeverage(model.snapshots_.x, model.snapshots_.u), **added,
        )  # fmt: skip

    def _try_offsets(self, law: RNNLaw, settings: dict[str, Any]) -> tuple[OffsetTrial, dict[str, Any]]:
        """What estimates of a disturbance do on the network, and the settings of the best."""
        changes: dict[float | str, dict[str, Any]] = {}

        def build(value: Any) -> RNNLaw:
            if not value:
                return law
            changes[value] = {"offset_free": value}
            if isinstance(value, str):
                changes[value] = _filtered(self.model, value, None)
            return self._law(settings | changes[value])

        home = (law.targets.start[0], law.channels.join(law.u_rest, law.v_rest))
        found = best_gain(
            build, law.rollout.network, self.model.snapshots_, home, ("mixed", *_GAINS), _OFFSET_EPISODES,
            preferred="mixed",
        )  # fmt: skip
        return found, changes[found.taken]

    def control(
        self,
        measurement: ArrayLike,
        reference: ArrayLike | None = None,
        *,
        input_reference: ArrayLike | None = None,
        disturbance: ArrayLike | None = None,
        cost_parameters: ArrayLike | None = None,
    ) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement, reference, input_reference, disturbance
            As in `LinearMPC.control`.
        cost_parameters : (n_p,) or (n, n_p) array_like, optional
            Parameters of the stage functions, or their preview: row `j` for the input sent `j` samples from
            now, the last row held; those that the controller was made with by default.

        Returns
        -------
        (n_u,) array
            Within the bounds on inputs and moves.
        """
        if cost_parameters is None:
            return super().control(
                measurement, reference, input_reference=input_reference, disturbance=disturbance
            )
        law = self.law
        if not isinstance(law, EconomicLaw):
            raise OptionError(
                "cost_parameters are given, but the controller has no stage functions; expected None, or a "
                "controller with stage_cost or nonlinear_constraints"
            )
        with one_blas_thread():
            y = as_measurement(measurement, self.n_measured)
            asked = law.reader.read(reference, input_reference, disturbance)
            rows = read_parameters(cost_parameters, len(law.parameters), 0, self.problem.horizon)
            u, self.state, self.info = law.step(self.state, y, replace(asked, parameters=rows))
        return u

    def reset(self) -> None:
        """Forget past measurements, inputs, plans and the disturbance."""
        super().reset()
        self.law.iteration.reset()

    @property
    def n_p(self) -> int:
        """Number of parameters of the stage functions."""
        return len(self.law.parameters) if isinstance(self.law, EconomicLaw) else 0

    @property
    def disturbance(self) -> FloatArray:
        """Estimated disturbance on the next outputs `(n_y,)`; zero unless one is estimated."""
        return self.law.estimator.disturbance_on_outputs(self.state.estimator).copy()


def _filtered(model: KoopmanRNN, disturbance: str, estimator: Any) -> dict[str, Any]:
    """Settings in which a word of `offset_free` has become the filter that it stands for."""
    check_choice(disturbance, "offset_free", _FILTERS)
    if estimator is not None:
        raise _both_given()
    return {"offset_free": False, "estimator": ExtendedKalmanFilter(model, disturbance=disturbance)}


def _given_estimator(observer: Any, model: KoopmanRNN, offset_free: float) -> NetworkEstimator:
    """Refuse an estimator of another kind or model."""
    estimator = as_estimator(observer)
    if not isinstance(estimator, NetworkEstimator):
        raise OptionError(
            f"observer is a {type(observer).__name__}; expected an ExtendedKalmanFilter of the same model, "
            "or another NetworkEstimator"
        )
    if estimator.model is not model:
        raise OptionError("observer was built on another model; expected one built on the controller's model")
    if offset_free:
        raise _both_given()
    return estimator


def _both_given() -> OptionError:
    return OptionError(
        "offset_free is set and so is observer; expected one of them. Pass "
        "estimator=ExtendedKalmanFilter(..., disturbance='state')"
    )


def _check_stage_options(settings: dict[str, Any]) -> None:
    """Refuse what does not go with a cost of one's own."""
    cost, constraints = settings["stage_cost"], settings["nonlinear_constraints"]
    if cost is None and constraints is None and settings["cost_parameters"] is not None:
        raise OptionError("cost_parameters are given without stage_cost or nonlinear_constraints to use them")
    if cost is None:
        return
    if settings["terminal"] not in ("auto", "none"):
        raise OptionError(
            f"terminal is {settings['terminal']!r} beside stage_cost; expected 'none': the cost to go of a "
            "cost of one's own is not known"
        )
    if settings["offset_free"] is True:
        raise OptionError(
            "offset_free is True beside stage_cost; expected a gain, a word or an estimator: what is best is "
            "tried on set-points"
        )
    if settings["terminal_set"] is not None:
        raise OptionError(
            "terminal_set is given beside stage_cost, with which there is no target; expected none"
        )


def _check_model(model: Any) -> None:
    if not isinstance(model, KoopmanRNN):
        raise OptionError(f"model is a {type(model).__name__}; expected a fitted KoopmanRNN")
    check_fitted(model, "network_")
    refuse_hidden(model, "RNNMPC")
    if model.n_u == 0:
        raise OptionError("the model has no inputs, so nothing can be controlled; fit it to data with inputs")
    if model._network.window.shift:
        raise OptionError(
            "the model has feedthrough: u[k] acts on y[k], which is measured before u[k] is chosen. Fit with "
            "feedthrough=False, delaying the inputs by one sample"
        )
