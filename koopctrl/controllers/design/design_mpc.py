"""design_mpc: from records to a controller in one call, its pieces usable alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_choice, check_fitted, check_integer
from koopctrl._warnings import warn
from koopctrl.controllers.design.report import DesignReport
from koopctrl.controllers.design.verify import verify_design
from koopctrl.controllers.estimation.measurement import refuse_hidden, refuse_varying
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.controllers.steady_state.find import find_steady_state
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DesignWarning, OptionError
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.lifted.model import LiftedModel
from koopctrl.selection.lags import LagChoice, choose_lags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("auto", "linear", "rnn")
# A linear design that costs at most this many times what RNNMPC costs is enough.
ENOUGH = 1.05
_RNN = "RNNMPC on the network"


@dataclass(frozen=True, eq=False)
class MPCDesign:
    """What `design_mpc` made.

    Attributes
    ----------
    controller : LinearMPC or RNNMPC
    model : KoopmanRNN
        What was identified: the plant as far as it is known.
    lifted : LiftedModel
        Its linear face at the operating point.
    kind : str
        `linear` or `rnn`.
    reason : str
        Why this kind.
    report : DesignReport
        Of closed loops on the network: the LinearMPC, RNNMPC and least squares side by side.
    lags : LagChoice or None
        What numbers of lags were tried; None if a model was given.
    """

    controller: LinearMPC | RNNMPC
    model: KoopmanRNN
    lifted: LiftedModel
    kind: str
    reason: str
    report: DesignReport
    lags: LagChoice | None

    def save(self, path: str | Path) -> None:
        """Write the controller, which holds its model; `koopctrl.load` reads it."""
        self.controller.save(path)

    def plot(self, *, title: str = "") -> Figure:
        """Costs by episode and the worst one; see `DesignReport.plot`."""
        return self.report.plot(title=title)

    def __str__(self) -> str:
        """Model, choice and table."""
        window = self.model._network.window
        lags = f"{window.output_lags} output and {window.input_lags} input lags"
        return (
            f"{type(self.controller).__name__}: {self.reason}\n"
            f"model: {len(self.model.output_names_)} outputs, {len(self.model.input_names_)} inputs, {lags}, "
            f"{self.model._network.layer.n_features} features, dt = {self.model.dt_:g} s\n{self.report}"
        )


def design_mpc(
    data: Trajectories | Trajectory | Iterable[Trajectory] | KoopmanRNN,
    horizon: int,
    Q: ArrayLike,
    R: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    controller: str = "auto",
    n_starts: int = 10,
    random_state: Any = 0,
    **options: Any,
) -> MPCDesign:
    """Identify a network, lift it, make a predictive controller, and try it on the network.

    The network's lags are chosen by free runs over the horizon (`choose_lags`); it is lifted where the
    reference is held; `LinearMPC` on the lift and `RNNMPC` on the network run side by side (`verify_design`),
    and the linear one, hundreds of times cheaper, is taken where it costs at most a twentieth more and loses
    no episode.

    Parameters
    ----------
    data : Trajectories, or a fitted KoopmanRNN
        Records of the plant, or a model of it (of `select`, say, without hidden states).
    horizon, Q, R
        As in `LinearMPC`: samples, weight on outputs, weight on inputs.
    reference : (n_y,) or (n, n_y) array_like, optional
        Set-point, or several set-points, one a row, that the controller will be asked for: the first is where
        the network is lifted, and all are tried. By default equilibria in the range of the data.
    controller : {"auto", "linear", "rnn"}
        Which kind; `"auto"` is what the trial says.
    n_starts : int
        Episodes of the trial.
    random_state : int
        Of the network's sampling.
    **options
        Bounds and further arguments that `LinearMPC` and `RNNMPC` share: `u_min`, `u_max`, `y_min`, `R_rate`,
        `offset_free`, ...

    Returns
    -------
    MPCDesign
        `design.controller` is ready to run; print the design for the reasons.

    Raises
    ------
    DataError, OptionError, ShapeError
        If the records or the arguments do not fit, with the reason.

    Warns
    -----
    DesignWarning
        If something speaks against the controller that was taken.

    Examples
    --------
    >>> from koopctrl import datasets, design_mpc
    >>> train, test = datasets.robot_arm().split(0.5, by="time")
    >>> design = design_mpc(train, 10, Q=1.0, R=0.01, u_min=-0.5, u_max=0.5, n_starts=2)
    >>> design.controller.horizon
    10
    """
    kind = check_choice(controller, "controller", KINDS)
    horizon = check_integer(horizon, "horizon", low=1)
    model, lags = _model(data, horizon, random_state)
    goals = _goals(reference, model)
    bounds = {k: options[k] for k in ("u_min", "u_max") if options.get(k) is not None}
    x_op = u_op = None
    if goals is not None and "measured_disturbances" not in options:
        rest = find_steady_state(model, y=goals[0], Q=_last(Q), **bounds)
        x_op, u_op = rest.x, rest.u
    weights = {} if np.ndim(Q) == 3 or np.ndim(R) == 3 else {"Q": Q, "R": R}
    lifted = model.lift_at(x_op, u_op, horizon=horizon, **weights)
    size = {"horizon": horizon, "Q": Q, "R": R, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DesignWarning)  # the report says it, and what is taken instead
        linear = LinearMPC(lifted, **size)
    report = verify_design(linear, model, references=goals, n_starts=n_starts, seed=0)
    taken, reason = _choice(kind, report)
    made: LinearMPC | RNNMPC = linear
    if taken == "rnn":
        made = RNNMPC(model, **size)
        report = verify_design(made, model, references=goals, n_starts=n_starts, seed=0)
    if not report.ok:
        warn(
            f"{type(made).__name__}, tried on the network that was identified: {'; '.join(report.reasons)}. "
            "Print the design, and look at design.plot()",
            DesignWarning,
        )
    return MPCDesign(made, model, lifted, taken, reason, report, lags)


def _model(data: Any, horizon: int, random_state: Any) -> tuple[KoopmanRNN, LagChoice | None]:
    if isinstance(data, KoopmanRNN):
        check_fitted(data, "network_")
        refuse_hidden(data, "design_mpc", "Lift it, and pass estimator=KalmanFilter(lifted) to LinearMPC")
        refuse_varying(data, "design_mpc")
        return data, None
    records = Trajectories.coerce(data, "data")
    if records.n_u == 0:
        raise OptionError("the records have no inputs, so nothing can be controlled; name the inputs")
    return choose_lags(records, horizon, random_state=random_state)


def _goals(reference: ArrayLike | None, model: KoopmanRNN) -> FloatArray | None:
    if reference is None:
        return None
    goals = as_float_array(reference, "reference")
    if goals.ndim < 2:
        goals = np.atleast_1d(goals)[None]
    if goals.ndim != 2 or goals.shape[1] != model.n_y:
        raise OptionError(
            f"reference has shape {np.shape(reference)}; expected ({model.n_y},), or (n, {model.n_y}) for "
            "several set-points"
        )
    return goals


def _last(Q: ArrayLike) -> ArrayLike:
    return np.asarray(Q)[-1] if np.ndim(Q) == 3 else Q


def _choice(kind: str, report: DesignReport) -> tuple[str, str]:
    """Which controller, and why."""
    rows = {row.name: row for row in report.rows}
    own, nonlinear = report.rows[0], rows.get(_RNN)
    if nonlinear is None:
        if kind == "rnn":
            raise OptionError("controller is 'rnn', and RNNMPC cannot be made with these arguments")
        return "linear", "RNNMPC cannot be made with these arguments"
    ratio = own.cost / nonlinear.cost
    said = f"on the network LinearMPC costs {ratio:.3g} times what RNNMPC does"
    if own.lost != nonlinear.lost:
        said += f" and loses {own.lost} episodes of {report.n_episodes}, RNNMPC {nonlinear.lost}"
    if kind != "auto":
        return kind, f"asked for; {said}"
    enough = own.lost <= nonlinear.lost and ratio <= ENOUGH
    return ("linear" if enough else "rnn"), said
