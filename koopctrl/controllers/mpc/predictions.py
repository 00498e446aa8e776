"""Predictions over the horizon: responses to the QP's variables, to the present state and to what is known.

Two forms with one description: the variables are the blocked inputs, or what is added to a feedback.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.mpc.lowering import input_rows
from koopctrl.controllers.mpc.problem import MPCProblem


@dataclass(frozen=True)
class Predictions:
    """Responses of what the problem speaks of.

    Attributes
    ----------
    tracking : (n_q, n_a) array
        What is weighted at steps 1 to N.
    tracked : (N, n_q, n_v) array
        Its response to the variables.
    last : (n_a, n_v) array
        State's response at step N.
    inputs : (N, n_u, n_v) array
        Inputs' response.
    rows : (n_rows, n_v) array
        Inputs, if they are a feedback; moves; bounded combinations step by step; the terminal set.
    n_rate : int
        Number of moves among them.
    at_end : (n_t, n_a) array
        Combinations of the terminal set.
    forced : (N + 1, n_a, 1 + n_w) array
        State's response to `[1; w]`, from where the new input begins to act.
    forced_inputs : (N, n_u, 1 + n_w) array
    rows_free, rows_forced : arrays
        Response of the rows (without moves that neither enters) to the state where the new input begins to
        act, and to `[1; w]`.
    gains : (n_blocks, n_u, n_a) array or None
        The feedback.
    """

    model: Augmented
    blocks: np.ndarray
    tracking: FloatArray
    tracked: FloatArray
    last: FloatArray
    inputs: FloatArray
    rows: FloatArray
    n_rate: int
    at_end: FloatArray
    forced: FloatArray
    forced_inputs: FloatArray
    rows_free: FloatArray
    rows_forced: FloatArray
    gains: FloatArray | None

    @property
    def is_feedback(self) -> bool:
        """Whether the variables are added to a feedback."""
        return self.gains is not None

    def adjoint(self, on_states: list[FloatArray | None], on_inputs: FloatArray) -> FloatArray:
        """`sum_k S_k z_k + L_k u_k` as a map of the first state, without new inputs.

        `on_states` holds `S_k` for steps 0 to N, None for zero; `on_inputs` `L_k` for 0 to N - 1.
        """
        return _adjoint(self.model, self.gains, self.blocks, on_states, on_inputs)


def _adjoint(
    model: Augmented,
    gains: FloatArray | None,
    blocks: np.ndarray,
    on_states: list[FloatArray | None],
    on_inputs: FloatArray | None,
) -> FloatArray:
    """Backward: `S` acts on the state, `L` on the input held; where a block begins, `u = -K z`."""
    S = on_states[-1]
    n_rows = next(len(s) for s in on_states if s is not None)
    S = np.zeros((n_rows, len(model.A))) if S is None else S
    L = np.zeros((len(S), model.n_u))
    block = len(blocks) - 1
    for k in range(len(on_states) - 2, -1, -1):
        if gains is not None:
            L = L + S @ model.B
            if on_inputs is not None:
                L = L + on_inputs[k]
        S = S @ model.dynamics
        if gains is not None and k == blocks[block]:
            S = S - L @ gains[block]
            L = np.zeros_like(L)
            block -= 1
        here = on_states[k]
        if here is not None:
            S = S + here
    return S


def bounded_combinations(model: Augmented, problem: MPCProblem) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bounded combinations of the state, their level at the operating point, and the terminal set's."""
    lifted, n_y = model.lifted, model.lifted.n_y
    combination = problem.E[:, :n_y] @ model.C
    combination[:, : lifted.n_x] += problem.E[:, n_y:] * lifted.observables.x_scale
    level = problem.E[:, :n_y] @ lifted.y_op + problem.E[:, n_y:] @ lifted.x_op
    at_end = np.zeros((len(problem.E_end), len(model.A)))
    at_end[:, : lifted.n_x] = problem.E_end * lifted.observables.x_scale
    return combination, level, at_end


def _tracking(model: Augmented, problem: MPCProblem) -> FloatArray:
    on_outputs = problem.Q.shape[1] == model.lifted.n_y
    return model.C if on_outputs else np.eye(model.lifted.n_z, len(model.A))


def plain_predictions(model: Augmented, problem: MPCProblem) -> Predictions:
    """In the blocked inputs."""
    N, n_u, T = problem.horizon, problem.n_u, problem.blocking()
    reach = _input_responses(model, N)
    forced = forced_responses(model, N, problem.delay)
    tracking = _tracking(model, problem)
    combination, level, at_end = bounded_combinations(model, problem)
    n_a, n_e, n_v = len(model.A), len(combination), T.shape[1]
    by_input = _toeplitz(np.einsum("qz,jzu->jqu", combination, reach)).reshape(N * n_e, N * n_u)
    by_input_end = (at_end @ reach[::-1]).transpose(1, 0, 2).reshape(len(at_end), N * n_u)
    free, step, end = np.empty((N, n_e, n_a)), combination, at_end
    for k in range(N):
        step, end = step @ model.dynamics, end @ model.dynamics
        free[k] = step
    by_forced = combination @ forced[1:]
    by_forced[:, :, 0] += level
    moves = input_rows(problem)
    return Predictions(
        model=model,
        blocks=problem.blocks,
        tracking=tracking,
        tracked=_toeplitz(np.einsum("qz,jzu->jqu", tracking, reach, optimize=True)) @ T,
        last=reach[::-1].transpose(1, 0, 2).reshape(n_a, N * n_u) @ T,
        inputs=T.reshape(N, n_u, n_v),
        rows=np.vstack([moves, np.vstack([by_input, by_input_end]) @ T]),
        n_rate=len(moves),
        at_end=at_end,
        forced=forced,
        forced_inputs=np.zeros((N, n_u, forced.shape[2])),
        rows_free=np.vstack([free.reshape(N * n_e, n_a), end]),
        rows_forced=np.vstack([by_forced.reshape(N * n_e, forced.shape[2]), at_end @ forced[N]]),
        gains=None,
    )


def feedback_predictions(model: Augmented, problem: MPCProblem, gains: FloatArray) -> Predictions:
    """In what is added to `u = -K z` where a block begins; within it the input is held."""
    N, n_u, blocks = problem.horizon, problem.n_u, problem.blocks
    n_a, n_v = len(model.A), len(blocks) * n_u
    tracking = _tracking(model, problem)
    combination, level, at_end = bounded_combinations(model, problem)
    x, u = np.zeros((n_a, n_v)), np.zeros((n_u, n_v))
    tracked, bounded = np.empty((N, len(tracking), n_v)), np.empty((N, len(combination), n_v))
    inputs, block = np.empty((N, n_u, n_v)), 0
    for k in range(N):
        if block < len(blocks) and k == blocks[block]:
            u = -gains[block] @ x
            u[:, block * n_u : (block + 1) * n_u] += np.eye(n_u)
            block += 1
        inputs[k] = u
        x = model.dynamics @ x + model.B @ u
        tracked[k], bounded[k] = tracking @ x, combination @ x
    forced, forced_inputs = _forced_under_feedback(model, problem, gains)
    by_forced = combination @ forced[1:]
    by_forced[:, :, 0] += level
    # Free response of rows that each look at one step.
    n_w, moves = forced.shape[2], input_rows(problem)
    looks: list[FloatArray] = [np.zeros((0, n_a))] * (N + 1)
    for k in range(1, N + 1):
        looks[k] = combination
    looks[N] = np.vstack([looks[N], at_end])
    for b, k in enumerate(blocks):
        looks[k] = np.vstack([-gains[b], looks[k]])
    free = _free_responses(model, gains, blocks, looks)
    input_free = np.vstack([free[k][:n_u] for k in blocks])
    e_free = [free[k][len(free[k]) - len(combination) :] for k in range(1, N)]
    tail = free[N]
    first_input, first_forced = inputs[blocks].reshape(n_v, n_v), forced_inputs[blocks].reshape(n_v, n_w)
    return Predictions(
        model=model,
        blocks=blocks,
        tracking=tracking,
        tracked=tracked,
        last=x,
        inputs=inputs,
        rows=np.vstack([first_input, moves @ first_input, bounded.reshape(-1, n_v), at_end @ x]),
        n_rate=len(moves),
        at_end=at_end,
        forced=forced,
        forced_inputs=forced_inputs,
        rows_free=np.vstack([input_free, moves @ input_free, *e_free, tail]),
        rows_forced=np.vstack(
            [first_forced, moves @ first_forced, by_forced.reshape(-1, n_w), at_end @ forced[N]]
        ),
        gains=gains,
    )


def _free_responses(
    model: Augmented, gains: FloatArray, blocks: np.ndarray, looks: list[FloatArray]
) -> list[FloatArray]:
    """Rows that look at the state of step `k`, as maps of the first state: one backward sweep for all."""
    N = len(looks) - 1
    counts = [len(rows) for rows in looks]
    total = sum(counts)
    ends = np.cumsum(counts)
    padded: list[FloatArray | None] = []
    for k in range(N + 1):
        rows = np.zeros((total, len(model.A)))
        rows[ends[k] - counts[k] : ends[k]] = looks[k]
        padded.append(rows if counts[k] else None)
    swept = _adjoint(model, gains, blocks, padded, None) if total else np.zeros((0, len(model.A)))
    return [swept[ends[k] - counts[k] : ends[k]] for k in range(N + 1)]


def _input_responses(model: Augmented, N: int) -> FloatArray:
    """`A^j B` for `0 <= j < N`, shape `(N, n_a, n_u)`."""
    out = np.empty((N, *model.B.shape))
    out[0] = model.B
    for j in range(1, N):
        out[j] = model.dynamics @ out[j - 1]
    return out


def forced_responses(model: Augmented, N: int, delay: int) -> FloatArray:
    """State's response to `[1; w]` at steps `delay` to `delay + N`, shape `(N + 1, n_a, 1 + n_w)`.

    `w` are the `delay` inputs on their way, oldest first, then `N + delay` measured disturbances.
    """
    return _forced(model, N, delay, None, np.arange(N))[0]


def _forced_under_feedback(
    model: Augmented, problem: MPCProblem, gains: FloatArray
) -> tuple[FloatArray, FloatArray]:
    return _forced(model, problem.horizon, problem.delay, gains, problem.blocks)


def _forced(
    model: Augmented, N: int, delay: int, gains: FloatArray | None, blocks: np.ndarray
) -> tuple[FloatArray, FloatArray]:
    """State's and inputs' responses to `[1; w]`."""
    n_a, n_u, n_v = len(model.A), model.n_u, model.n_v
    out = np.zeros((N + 1, n_a, 1 + delay * n_u + (N + delay) * n_v))
    now, first_v = np.zeros(out.shape[1:]), 1 + delay * n_u
    inputs, block = np.zeros((N, n_u, out.shape[2])), 0
    u = np.zeros(inputs.shape[1:])
    for k in range(delay + N):
        if k >= delay:
            out[k - delay] = now
            if gains is not None:
                if block < len(blocks) and k - delay == blocks[block]:
                    u, block = -gains[block] @ now, block + 1
                inputs[k - delay] = u
        now = model.dynamics @ now + model.B @ u
        now[:, 0] += model.c
        if k < delay:
            now[:, 1 + k * n_u : 1 + (k + 1) * n_u] += model.B
        now[:, first_v + k * n_v : first_v + (k + 1) * n_v] += model.Bv
    out[N] = now
    return out, inputs


def _toeplitz(markov: FloatArray) -> FloatArray:
    """Rows `[G_{k-1} .. G_0 0 ..]` for steps 1 to N: `(N, n_q, N n_u)` from `(N, n_q, n_u)`."""
    N, n_q, n_u = markov.shape
    out = np.zeros((N, n_q, N, n_u))
    for k in range(N):
        out[k, :, : k + 1] = markov[k::-1].transpose(1, 0, 2)
    return out.reshape(N, n_q, N * n_u)
