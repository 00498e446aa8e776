"""Plans that a search begins from where there is no last one."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.problem import MPCProblem

# Places along the horizon where a swing may turn.
_SWITCHES = 8


def full_swings(problem: MPCProblem) -> list[FloatArray]:
    """Plans `(N, n_u)` from one bound of the inputs to the other, with one switch or none.

    Swing-ups have many local optima; which one is found depends on the start.
    """
    plans, N = [], problem.horizon
    for switch in range(0, N, max(1, N // _SWITCHES)):
        early = (np.arange(N) < switch)[:, None]
        plans += [
            np.where(early, problem.u_min, problem.u_max),
            np.where(early, problem.u_max, problem.u_min),
        ]
    return plans
