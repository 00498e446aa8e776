r"""The weight at the end of the horizon, chosen by what it does on the network.

The Riccati weight of a lifted model is the cost to go of all its coordinates, and of modes that the data
hardly show too: a lift with a spurious mode next to one gives the end of the plan an enormous weight on
nothing. Three laws are tried (`koopctrl.controllers.mpc.trial`):

- `riccati`: the cost to go of the lifted model;
- `state`: that of the network's derivatives at the operating point, on the state alone;
- `none`: the last sample is weighted as the others are.

Beside them stands the same controller on plain least squares of the state, which a lifted model must not lose
to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from koopctrl._warnings import warn
from koopctrl.controllers.mpc.law import PredictiveLaw
from koopctrl.controllers.mpc.linear_law import LinearLaw
from koopctrl.controllers.mpc.trial import (
    Beside,
    Episode,
    Outcome,
    beside,
    law_sender,
    make_episodes,
    relative,
    run,
)
from koopctrl.controllers.riccati import Riccati, solve_riccati
from koopctrl.errors import DesignWarning, SolverError
from koopctrl.identification.held_out import Snapshots
from koopctrl.lifted.model import LiftedModel
from koopctrl.lifted.observables import Observables

KINDS = ("riccati", "state", "none")
_EPISODES = 6
# A weight that costs this share more than the best is as good; the earlier one is taken.
_ALIKE = 0.02
# Where these speak against the law that was taken, so many more are run before it is said.
_MORE = 12


@dataclass(frozen=True)
class DesignTrial:
    """What a constructor's trial on the network found.

    Attributes
    ----------
    terminal : str
        The weight that was taken.
    costs : dict
        Cost of each law over the best one's, geometric mean over episodes; `linear` is plain least squares.
    beside_linear : Beside or None
        The chosen law beside the one on plain least squares; None where that is the lift itself. Over more
        episodes where the first few speak against it.
    """

    terminal: str
    costs: dict[str, float]
    beside_linear: Beside | None

    @property
    def doubtful(self) -> bool:
        """Whether the chosen law costs more than twice what least squares does, or loses more episodes."""
        found = self.beside_linear
        return found is not None and (found.loses or found.costs)


def best_law(
    lifted: LiftedModel,
    build: Callable[[LiftedModel, str, Riccati | None], LinearLaw],
    kinds: tuple[str, ...],
    *,
    tried: bool,
) -> tuple[LinearLaw, str, DesignTrial | None]:
    """The best of the laws of some `kinds`, its kind, and what the trial found.

    Parameters
    ----------
    lifted : LiftedModel
    build : callable
        `build(lifted, "riccati" | "none", riccati)` makes a law.
    kinds : tuple of str
        Of `KINDS`, the preferred one first.
    tried : bool
        Whether they are tried on the network; else the first that exists is taken.

    Raises
    ------
    SolverError
        If there is no law of any of the kinds.
    """
    laws: dict[str, LinearLaw] = {}
    failure: SolverError | None = None
    for kind in kinds:
        try:
            laws[kind] = _law(lifted, build, kind)
        except SolverError as error:
            failure = failure or error
    if not laws:
        assert failure is not None
        raise failure
    kind, first = next(iter(laws.items()))
    if not (tried and can_try(lifted, first)):
        return first, kind, None
    network = lifted.network
    assert network is not None
    snapshots = training_snapshots(lifted)
    home = (lifted.x_op, lifted.u_op)
    problem = first.problem
    episodes = make_episodes(network, snapshots, home, problem, first.channels.moved, _EPISODES)
    rivals: dict[str, PredictiveLaw] = dict(laws)
    if lifted.n_z > lifted.n_x:
        rivals["linear"] = build(_least_squares(lifted), "none", None)
    n_steps = 2 * problem.horizon + problem.delay

    def tried_on(law: PredictiveLaw, some: Sequence[Episode]) -> list[Outcome]:
        return [run(law_sender(law, e.r), law, network, e, n_steps) for e in some]

    outcomes = {k: tried_on(law, episodes) for k, law in rivals.items()}
    costs = relative([[o.cost for o in outcomes[k]] for k in rivals])
    by_kind = dict(zip(rivals, costs.tolist(), strict=True))
    lowest = min(by_kind[k] for k in laws)
    taken = next(k for k in laws if by_kind[k] <= (1.0 + _ALIKE) * lowest)
    if "linear" not in rivals:
        return laws[taken], taken, DesignTrial(taken, by_kind, None)
    found = beside(outcomes[taken], outcomes["linear"])
    if found.loses or found.costs:
        more = make_episodes(network, snapshots, home, problem, first.channels.moved, _MORE, seed=1)
        own, other = (outcomes[k] + tried_on(rivals[k], more) for k in (taken, "linear"))
        found = beside(own, other)
    return laws[taken], taken, DesignTrial(taken, by_kind, found)


def warn_if_doubtful(trial: DesignTrial | None) -> None:
    """Say by name that a controller disagrees with the network it was made from."""
    if trial is None or not trial.doubtful:
        return
    beside_linear = trial.beside_linear
    assert beside_linear is not None
    found = (
        f"lets it run away in {beside_linear.lost} of {beside_linear.n} episodes more than least squares does"
        if beside_linear.loses
        else f"costs {beside_linear.ratio:.2g} times what the same one on plain least squares does"
    )
    warn(
        f"LinearMPC on this lifted model, tried on the network it was made from, {found}. Lift with "
        "horizon, Q and R of the controller and method='auto', use RNNMPC, or look at verify_design",
        DesignWarning,
    )


def training_snapshots(lifted: LiftedModel) -> Snapshots:
    """The training pairs of a lifted model in physical units."""
    assert lifted.training is not None
    z, du, z_next = lifted.training
    n_y = lifted.window.n_y
    return Snapshots(lifted.unlift(z), du + lifted.u_op, lifted.unlift(z_next)[:, :n_y])


def can_try(lifted: LiftedModel, law: LinearLaw) -> bool:
    """Whether there is a network whose outputs are what the law measures."""
    network = lifted.network
    if network is None or lifted.training is None or lifted.N is not None:
        return False
    return not network.window.shift and law.estimator.n_measured == lifted.n_y


def _law(
    lifted: LiftedModel, build: Callable[[LiftedModel, str, Riccati | None], LinearLaw], kind: str
) -> LinearLaw:
    if kind != "state":
        return build(lifted, kind, None)
    network = lifted.network
    if network is None or lifted.n_z == lifted.n_x:
        raise SolverError("there is no state apart from the lifted coordinates")
    plain = build(lifted, "none", None)
    Q, n_x = plain.problem.Q[-1], lifted.n_x
    C = lifted.C[:, :n_x]
    on_state = C.T @ Q @ C if len(Q) == lifted.n_y else Q[:n_x, :n_x]
    scale = lifted.observables.x_scale
    a, b = network.jacobian(lifted.x_op, lifted.u_op)
    found = solve_riccati(
        a * scale / scale[:, None], (b / scale[:, None])[:, plain.channels.moved], on_state,
        plain.problem.input_weight, "the network's derivatives at the operating point", warn=False,
    )  # fmt: skip
    P, K = np.zeros((lifted.n_z, lifted.n_z)), np.zeros((len(found.K), lifted.n_z))
    P[:n_x, :n_x], K[:, :n_x] = found.P, found.K
    return build(lifted, "riccati", Riccati(P, K, found.residual, found.spectral_radius))


def _least_squares(lifted: LiftedModel) -> LiftedModel:
    """The plain linear model of the training pairs: the state alone, least squares with a constant."""
    assert lifted.training is not None
    z, du, z_next = lifted.training
    n_x = lifted.n_x
    regressors = np.hstack([np.ones((len(z), 1)), z[:, :n_x], du])
    w = np.linalg.lstsq(regressors, z_next[:, :n_x], rcond=1e-12)[0].T
    scale = lifted.observables.x_scale
    return replace(
        lifted, A=w[:, 1 : 1 + n_x], B=w[:, 1 + n_x :], C=lifted.C[:, :n_x], c=w[:, 0].copy(),
        observables=Observables.identity(lifted.x_op, scale), training=None, choice=None, network=None,
    )  # fmt: skip
