"""The law of an `RNNMPC` with stage costs or constraints that users wrote."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, as_vector
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.mpc.law import Situation
from koopctrl.controllers.mpc.linear_law import untracked_problem
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.rnn_law import RNNLaw
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.controllers.mpc.stage_function import StageFunction
from koopctrl.controllers.mpc.stage_terms import EconomicGoal, StageTerms
from koopctrl.controllers.steady_state.aim import NetworkAim
from koopctrl.controllers.steady_state.question import TargetState
from koopctrl.koopman_rnn import KoopmanRNN


@dataclass(frozen=True, kw_only=True, eq=False)
class EconomicLaw(RNNLaw):
    """An `RNNLaw` with stage terms.

    Attributes
    ----------
    terms : StageTerms
    parameters : (n_p,) array
        Of the stage functions, where `control` is told of none.
    """

    terms: StageTerms
    parameters: FloatArray

    def _goal(
        self, now: Situation, ahead: Outlook, beside: FloatArray | None, state: TargetState
    ) -> tuple[Goal, NetworkAim, TargetState]:
        """Towards set-points as ever; with a cost of the users' own there is no steady target."""
        N, n_y, asked = self.problem.horizon, self.rollout.n_y, now.asked
        given = asked.parameters
        added = {
            "parameters": np.broadcast_to(self.parameters, (N, len(self.parameters)))
            if given is None
            else given,
            "beside": np.zeros(n_y) if beside is None else beside,
        }
        if self.terms.cost is None:
            goal, aim, state = super()._goal(now, ahead, beside, state)
            return EconomicGoal(**{f.name: getattr(goal, f.name) for f in fields(Goal)}, **added), aim, state
        r = asked.r if beside is None else asked.r - beside
        tracked = r if asked.is_preview else np.repeat(r[None], N + 1, axis=0)
        steady = np.broadcast_to(self.u_rest if asked.u_r is None else asked.u_r, (N, self.problem.n_u))
        Q = self.problem.Q
        if asked.tracked is not None:
            Q = untracked_problem(self.problem, asked.tracked, n_y).Q
        shift = np.zeros(len(self.problem.E))
        if beside is not None:
            shift = self.problem.E[:, :n_y] @ beside
        goal = EconomicGoal(tracked, steady, ahead.x, None, None, steady[-1], Q, shift, **added)
        end = asked.r[-1] if asked.is_preview else asked.r
        return goal, NetworkAim(end, True), state

    def _ends_far(self, found: Found, goal: Goal) -> bool:
        """There is nothing to arrive at."""
        return self.terms.cost is None and super()._ends_far(found, goal)


def stage_terms(
    model: KoopmanRNN,
    channels: InputChannels,
    problem: MPCProblem,
    cost: Any,
    constraints: Any,
    parameters: Any,
    soft_weights: tuple[float, float],
) -> tuple[StageTerms, FloatArray]:
    """Users' functions, tried on the model's records, and the default parameters."""
    network, snapshots = model._network, model.snapshots_
    n_y, scaling = network.window.n_y, network.scaling
    p = (
        np.empty(0)
        if parameters is None
        else as_vector(parameters, "cost_parameters", np.size(parameters)).copy()
    )
    u_all = channels.split(scaling.u_mean)[0]
    spread = np.concatenate([scaling.y_scale, channels.split(scaling.u_scale)[0]])
    sizes, point = (n_y, channels.n_u, len(p)), (network.x_mean[:n_y], u_all, p)
    chosen = slice(None, None, max(1, len(snapshots.u) // 300))
    y, u = snapshots.y_next[chosen], channels.split(snapshots.u[chosen])[0]
    p_rows = np.broadcast_to(p, (len(y), len(p)))
    made = [
        None if f is None else StageFunction(f, name, sizes, point, spread)
        for f, name in ((cost, "stage_cost"), (constraints, "nonlinear_constraints"))
    ]
    level = float(np.sum(np.diag(problem.Q[-1]) * scaling.y_scale**2))
    level += float(np.sum(np.diag(problem.R[-1]) * spread[n_y:] ** 2))
    if made[0] is not None:
        values = made[0].values(y, u, p_rows)
        values = values if made[0].is_scalar else values**2
        level = max(level, float(np.nanstd(values.sum(axis=1))))
    if made[1] is None:
        return StageTerms(made[0], None, np.empty(0), np.empty((2, 0))), p
    values = made[1].values(y, u, p_rows)
    units = np.nanstd(values, axis=0)
    units = np.where(units > 0.0, units, np.abs(np.nanmean(values, axis=0)))
    units = np.where(units > 0.0, units, 1.0)
    linear, quadratic = soft_weights
    weights = (level or 1.0) * np.stack([linear / units, quadratic / units**2])
    return StageTerms(made[0], made[1], units, weights), p
