r"""Whether the cost to go of the LQR holds where a plan ends.

The Riccati weight `P` of the network's derivatives at the target is a cost to go near it only. At the end of
a plan that has not arrived, as in a swing-up, it is a number without meaning that outweighs all others. It
holds where the LQR itself, with its inputs cut at their bounds, brings the network down by what `P` promises:
for `m` samples from the plan's end `x_0`,

.. math:: V(x_m) + \alpha \sum_{k < m} (|y_k - y_s|_Q^2 + |u_k - u_s|_R^2) \le V(x_0), \qquad
    V(x) = |x - x_s|_P^2

with `\alpha = 1` where the network is linear and no bound is met. This is the condition on terminal costs in
Rawlings, Mayne & Diehl, *Model Predictive Control*, 2nd ed., 2017, section 2.5, along one path.

A cost to go is also paid in the end. A mode that hardly decays and that the inputs do not move, the weather
in the outputs of a room, is identified with an effect of theirs that is rounding, and `P` is what it would
cost to move it with that: 1e14, of which the next samples cost a hundred. Such a weight obeys the condition
while it drowns all that the inputs can do. So the samples that are followed must cost a part of what is
promised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.network.folded import Rollout

# Samples that the LQR is followed for, and the share of its promise that it must keep.
SAMPLES, KEPT = 10, 0.5
# Share of the promise that these samples must cost: 1 - r^20 where the error shrinks by r a sample, so plants
# whose loops take twenty thousand samples to settle still pass.
PAID = 1e-3
# Share of a plan's cost below which it does not matter whether the weight at its end is right, and share of
# what an error as large as the data's spread costs: so near its target a plan has arrived, and rounding
# decides.
NEGLIGIBLE, ARRIVED = 0.05, 1e-4


def weight_holds(
    found: Found,
    goal: Goal,
    now: Outlook,
    rollout: Rollout,
    channels: InputChannels,
    problem: MPCProblem,
    size: float,
) -> bool:
    """Whether `goal.P` is a cost to go at the end of a plan; true where it hardly counts.

    `size` is what an error as large as the data's spread costs.
    """
    if goal.P is None or goal.K is None:
        return True
    x, n_y = found.states[-1], rollout.n_y
    with np.errstate(all="ignore"):
        error = x - goal.x_end
        first = float(error @ goal.P @ error)
        if first <= max(NEGLIGIBLE * found.merit, ARRIVED * size):
            return True
        stages, Q, R = 0.0, goal.Q[-1], problem.input_weight
        v = now.v[-1]
        for _ in range(SAMPLES):
            u = np.clip(goal.u_end - goal.K @ error, problem.u_min, problem.u_max)
            missed, effort = error[:n_y], u - goal.u_end
            stages += float(missed @ Q @ missed + effort @ R @ effort)
            full = channels.join(u, v) if channels.n_v else u
            x = rollout.step(x, full if now.offset is None else full + now.offset, now.d)
            error = x - goal.x_end
        last = float(error @ goal.P @ error)
    # False for what is not a number.
    return bool(last + KEPT * stages <= first and PAID * first <= stages)


def without_weight(goal: Goal) -> Goal:
    """The same goal, the last sample weighted as the others are."""
    return replace(goal, P=None, K=None)
