r"""Real-time iteration where plans in the inputs alone lose their digits: a feedback along the roll-out.

.. math:: \delta u_k = -K_k \delta x_k + v_k

with `K_k` from the dynamic programme of the problem linearised along the plan, as in
`koopctrl.controllers.mpc.feedback`. Roll-outs follow the plan with the same feedback, so that rounding and
the network's curvature do not grow along an unstable plant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.feedback import condition, dynamic_programme
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.rnn_sums import sensitivities
from koopctrl.network.folded import Rollout

# Condition number of the condensed Hessian from which plans are followed with feedback.
_LOST = 1e10


@dataclass(frozen=True)
class ClosedResponses:
    """Responses to what is added to the feedback.

    Attributes
    ----------
    gains : (n_blocks, n_u, n_x) array
    states : (N, n_x, n_v) array
        Of the states 1 to N.
    inputs : (N, n_u, n_v) array
    """

    gains: FloatArray
    states: FloatArray
    inputs: FloatArray


def loses_digits(
    rollout: Rollout, moved: np.ndarray, problem: MPCProblem, blocking: FloatArray, input_hessian: FloatArray
) -> bool:
    """Whether the Hessian at the data's mean is too ill conditioned for plans without feedback."""
    network, N = rollout.network, problem.horizon
    a, b = rollout.jacobians(network.x_mean[None], network.scaling.u_mean[None])
    with np.errstate(all="ignore"):
        gamma = sensitivities(np.repeat(a, N, axis=0), np.repeat(b[:, :, moved], N, axis=0))
        seen = gamma[:, : rollout.n_y] @ blocking
        H = input_hessian + np.einsum("kqi,kqr,krj->ij", seen, problem.Q, seen)
    return condition(H) > _LOST


def gains_along(
    a: FloatArray, b: FloatArray, Q: FloatArray, P: FloatArray | None, problem: MPCProblem
) -> FloatArray:
    """Gains `(n_blocks, n_u, n_x)` along a linearised roll-out; arguments as of `closed_responses`."""
    N, n_x, _ = b.shape
    n_y = Q.shape[1]

    def weight(k: int) -> FloatArray:
        full = np.zeros((n_x, n_x))
        full[:n_y, :n_y] = Q[k - 1]
        return full

    last = weight(N) if P is None else P
    return dynamic_programme(lambda k: (a[k], b[k]), weight, problem.R + problem.S, last, problem.blocks)


def closed_responses(
    a: FloatArray, b: FloatArray, Q: FloatArray, P: FloatArray | None, problem: MPCProblem
) -> ClosedResponses:
    """Gains and responses along a linearised roll-out.

    Parameters
    ----------
    a, b : (N, n_x, n_x) and (N, n_x, n_u) arrays
    Q : (N, n_y, n_y) array
        Weights on the first entries of the states 1 to N.
    P : (n_x, n_x) array or None
        Weight on the last state in place of that.
    problem : MPCProblem
    """
    N, n_x, n_u = b.shape
    blocks = problem.blocks
    gains = gains_along(a, b, Q, P, problem)
    n_v, block = len(blocks) * n_u, 0
    states, inputs = np.empty((N, n_x, n_v)), np.empty((N, n_u, n_v))
    x, u = np.zeros((n_x, n_v)), np.zeros((n_u, n_v))
    for k in range(N):
        if block < len(blocks) and k == blocks[block]:
            u = -gains[block] @ x
            u[:, block * n_u : (block + 1) * n_u] += np.eye(n_u)
            block += 1
        inputs[k] = u
        x = a[k] @ x + b[k] @ u
        states[k] = x
    return ClosedResponses(gains, states, inputs)


def follow(
    step: Callable[[int, FloatArray, FloatArray], FloatArray],
    x0: FloatArray,
    u_last: FloatArray,
    plans: FloatArray,
    states: FloatArray,
    gains: FloatArray,
    problem: MPCProblem,
) -> tuple[FloatArray, FloatArray]:
    """Plans followed with feedback, inside their bounds.

    `plans` has shape `(batch, N, n_u)`, the `states` they are followed along `(batch, N + 1, n_x)`;
    `step(k, x, u)` gives the next states `(batch, n_x)`. Returns the inputs sent and the states met.
    """
    batch, N, n_u = plans.shape
    sent, met = np.empty_like(plans), np.empty((batch, N + 1, len(x0)))
    met[:, 0], u, block = x0, np.broadcast_to(u_last, (batch, n_u)), 0
    for k in range(N):
        if block < len(problem.blocks) and k == problem.blocks[block]:
            last, u = u, plans[:, k] - (met[:, k] - states[:, k]) @ gains[block].T
            u = np.clip(u, last + problem.du_min, last + problem.du_max)
            u = np.clip(u, problem.u_min, problem.u_max)
            block += 1
        sent[:, k] = u
        met[:, k + 1] = step(k, met[:, k], u)
    return sent, met
