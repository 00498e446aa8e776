"""verify_design: a controller in closed loop on the network, beside those that it should not lose to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_signal, as_vector, check_fitted, check_integer
from koopctrl._warnings import warn
from koopctrl.controllers.design.report import CHECKED, DesignReport, make_rows, reasons_against
from koopctrl.controllers.estimation.measurement import refuse_hidden, refuse_varying
from koopctrl.controllers.mpc.base import PredictiveController
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.controllers.mpc.trial import Episode, Outcome, Sender, beside, make_episodes, run
from koopctrl.errors import KoopctrlError, OptionError, ShapeError
from koopctrl.identification.record_leverage import RecordLeverage
from koopctrl.koopman_rnn import KoopmanRNN

# Arguments that LinearMPC and RNNMPC share, and that say what is asked of them.
_SHARED = (
    "horizon", "Q", "R", "R_rate", "u_min", "u_max", "du_min", "du_max", "y_min", "y_max", "constraints",
    "soft", "soft_weights", "blocks", "measured_disturbances", "input_delay", "solver", "solver_options",
)  # fmt: skip
# So many more episodes are run where one that is lost would decide.
_MORE = 12


def verify_design(
    controller: PredictiveController,
    model: KoopmanRNN | Sequence[KoopmanRNN],
    *,
    references: ArrayLike | Sequence[ArrayLike] | None = None,
    disturbances: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    n_starts: int = 10,
    n_steps: int | None = None,
    seed: int = 0,
) -> DesignReport:
    """Close the loop on the network before the plant does, beside controllers that it should not lose to.

    The network is the best simulator at hand: it re-lifts at every sample, as the plant does and a lifted
    model does not. Beside the design run `RNNMPC` on the network itself, the best that the identified plant
    allows, and `LinearMPC` on plain least squares of the data, the least that is to be expected.

    Parameters
    ----------
    controller : LinearMPC or RNNMPC
        Left as it is.
    model : KoopmanRNN, or a sequence of them
        Fitted; the plants. Several (other seeds, other records) show whether the design rests on one of them.
    references : sequence of (n_y,) or (n, n_y) array_like, optional
        Set-points, or trajectories with one row a sample, which are previewed; by default equilibria of the
        network in the range of its data, and within the bounds.
    disturbances : (n_loads, n_u) array_like, optional
        Constant loads on the inputs of which the controller does not know, one an episode in turn; none by
        default.
    starts : (n, n_y) or (n, n_x) array_like, optional
        Outputs at rest, or states (lag windows), from which the plant will start; by default equilibria of
        the network and states of the data.
    n_starts : int
        Episodes, where no starts are given.
    n_steps : int, optional
        Samples of each; twice the horizon, or as long as the trajectories.
    seed : int
        Of the choice of starts.

    Returns
    -------
    DesignReport
        `print` it; `report.ok` and `report.reasons` are the verdict, `report.plot()` shows the worst episode.

    Raises
    ------
    OptionError, ShapeError, DataError
        Naming the argument at fault.
    """
    if not isinstance(controller, (LinearMPC, RNNMPC)):
        raise OptionError(f"controller is a {type(controller).__name__}; expected a LinearMPC or an RNNMPC")
    models: list[Any] = list(model) if isinstance(model, (list, tuple)) else [model]
    for m in models:
        _check_model(m, controller)
    problem, moved = controller.problem, controller.law.channels.moved
    n_starts = check_integer(n_starts, "n_starts", low=1)
    goals = _references(references, len(controller.output_names))
    longest = max((len(g) - 1 for g in goals if g.ndim == 2), default=0)
    steps = max(2 * problem.horizon + problem.delay, longest)
    steps = steps if n_steps is None else check_integer(n_steps, "n_steps", low=1)
    loads = None
    if disturbances is not None:
        loads = np.atleast_2d(as_float_array(disturbances, "disturbances"))
        loads = as_signal(loads, "disturbances", models[0].n_u)
    begin = None if starts is None else np.atleast_2d(as_float_array(starts, "starts"))
    rivals = _rivals(controller, models[0])

    def made(m: KoopmanRNN, n: int, stream: int) -> list[Episode]:
        home = _home(controller, m)
        some = make_episodes(m._network, m.snapshots_, home, problem, moved, n, stream)
        if begin is not None:
            some = [
                replace(some[i % len(some)], start=_start(m, row, home[1])) for i, row in enumerate(begin)
            ]
        if goals:
            some = [_towards(e, goals[i % len(goals)], controller, home) for i, e in enumerate(some)]
        if loads is not None:
            some = [replace(e, load=loads[i % len(loads)]) for i, e in enumerate(some)]
        return some

    def gone(name: str, m: KoopmanRNN, some: list[Episode]) -> list[Outcome]:
        rival, law, known = rivals[name], controller.law, records[id(m)]
        return [run(_sender(rival, e.r, problem.horizon), law, m._network, e, steps, known) for e in some]

    records = {
        id(m): RecordLeverage(m.snapshots_.x, m.snapshots_.u) for m in models
    }  # one decomposition each
    outcomes: dict[str, list[Outcome]] = {name: [] for name in rivals}
    all_episodes: list[Episode] = []
    for m in models:
        episodes = made(m, n_starts, seed)
        all_episodes += episodes
        for name in rivals:
            outcomes[name] += gone(name, m, episodes)
    rows, least = make_rows(outcomes), list(rivals)[-1]
    found = beside(outcomes[CHECKED], outcomes[least]) if len(rivals) > 1 else None
    if found is not None and found.loses and found.lost == 1 and begin is None:
        # The verdict hangs on one episode: more of them, of the two that it is about.
        own, other = list(outcomes[CHECKED]), list(outcomes[least])
        for m in models:
            episodes = made(m, _MORE, seed + 1)
            own += gone(CHECKED, m, episodes)
            other += gone(least, m, episodes)
        found = beside(own, other)
    return DesignReport(
        rows, reasons_against(rows, found), len(all_episodes), controller.dt, controller.output_names,
        controller.input_names, tuple(all_episodes), {k: tuple(v) for k, v in outcomes.items()},
    )  # fmt: skip


def _rivals(controller: PredictiveController, model: KoopmanRNN) -> dict[str, Any]:
    """A copy of the controller, and those that it is compared with."""
    rivals: dict[str, Any] = {CHECKED: controller.with_()}
    settings = {k: v for k, v in controller.settings.items() if k in _SHARED}
    on_outputs = controller.problem.Q.shape[1] == model.n_y
    makers: dict[str, Callable[[], Any]] = {}
    if on_outputs and not isinstance(controller, RNNMPC):
        makers["RNNMPC on the network"] = lambda: RNNMPC(model, **settings)
    if on_outputs:
        makers["LinearMPC on least squares"] = lambda: LinearMPC(
            _plain(model, controller), check=False, **settings
        )
    for name, make in makers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rivals[name] = make()
        except KoopctrlError as error:
            # A rival that cannot be made says nothing of the design; that it is missing is seen in the table.
            warn(f"verify_design: {name} cannot be made: {error}")
    return rivals


def _plain(model: KoopmanRNN, controller: PredictiveController) -> Any:
    """Least squares of the training pairs, around the controller's operating point."""
    x_op, u_op = _home(controller, model)
    return model.lift_at(x_op, u_op, method="linear")


def _home(controller: PredictiveController, model: KoopmanRNN) -> tuple[FloatArray, FloatArray]:
    """Operating point of a linear design; of a nonlinear one where it stays without a set-point."""
    if isinstance(controller, LinearMPC):
        return controller.lifted.x_op, controller.lifted.u_op
    from koopctrl.lifted.operating_point import operating_point

    return operating_point(model, None, None)


def _start(model: KoopmanRNN, row: FloatArray, u_op: FloatArray) -> FloatArray:
    """A state, or the window that has been at rest at some outputs."""
    window = model._network.window
    if row.shape == (window.n_x,):
        return as_vector(row, "starts", window.n_x)
    return window.repeat_channels(as_vector(row, "starts", window.n_y), u_op)


def _towards(
    episode: Episode, r: FloatArray, controller: PredictiveController, home: tuple[FloatArray, FloatArray]
) -> Episode:
    """The same start with another goal; the inputs that hold it are those that the design believes in."""
    last = r if r.ndim == 1 else r[-1]
    u_r = home[1].copy()
    if isinstance(controller, LinearMPC):
        law = controller.law
        d, dv = np.zeros(law.model.n_d), np.zeros(law.model.n_v)
        u_r[law.channels.moved] = law.target(last, d, dv, None)[1]
    return replace(episode, r=r, u_r=u_r)


def _references(references: Any, n_y: int) -> list[FloatArray]:
    if references is None:
        return []
    if isinstance(references, (str, bytes)) or not hasattr(references, "__len__"):
        raise OptionError(f"references is {references!r}; expected a sequence of set-points or trajectories")
    items = list(references)
    if n_y > 1 and all(np.isscalar(item) for item in items):  # one set-point stands for itself
        items = [items]
    found = []
    for i, item in enumerate(items):
        array = as_float_array(item, f"references[{i}]")
        if array.ndim == 2:
            found.append(as_signal(array, f"references[{i}]", n_y))
        else:
            found.append(as_vector(np.atleast_1d(array), f"references[{i}]", n_y))
    return found


def _sender(controller: Any, r: FloatArray, horizon: int) -> Sender:
    controller.reset()

    def send(k: int, y: FloatArray) -> tuple[FloatArray, str, float]:
        asked = r if r.ndim == 1 else r[min(k, len(r) - 1) : k + horizon + 1]
        u = controller.control(y, reference=asked)
        return u, controller.info.status, controller.info.solve_time

    return send


def _check_model(model: Any, controller: PredictiveController) -> None:
    if not isinstance(model, KoopmanRNN):
        raise OptionError(f"model is a {type(model).__name__}; expected a fitted KoopmanRNN, or several")
    check_fitted(model, "network_")
    refuse_hidden(
        model, "verify_design", "Close the loop with run_closed_loop(model.to_nlsys(), controller, ...)"
    )
    refuse_varying(model, "verify_design")
    if model.n_y != len(controller.output_names) or model.n_y != controller.n_measured:
        raise ShapeError(
            f"the model has {model.n_y} outputs, the controller {len(controller.output_names)} and measures "
            f"{controller.n_measured}; expected the same. Pass the model that the controller was designed on"
        )
