"""Exact responses of a network on a uniform grid, under zero- and first-order hold.

Over a chunk of `K` steps the outputs are linear in the chunk's first state and its inputs,

    Y = O w + H U,      w_next = Phi^K w + R U,      O_j = C Phi^j,   R_j = Phi^(K-1-j) Gamma,

with `H` the block Toeplitz matrix of Markov parameters. Tables are built block by block, so their cost is
linear in the number of neurons; all time-dependent work is in matrix products over many chunks, and the only
loop over time is one vector operation per chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from koopctrl._validation import FloatArray
from koopctrl.errors import SolverError
from koopctrl.ltinet.exponential import held_maps
from koopctrl.ltinet.grouped import Grouped, apply_pairs, multiply, pair_matrices, phi1, phi2
from koopctrl.ltinet.powers import MOST_STEPS, Exponents, exponents
from koopctrl.ltinet.structure import NetworkStructure

_TABLE = 4_000_000  # most entries in one table or in one batch of chunks: 32 MB
_LONGEST = MOST_STEPS
_FEW = 128
_LOOP = 60_000  # what one step of the loop over chunks costs, in multiplications


@dataclass(frozen=True)
class StepMaps:
    """One step `w+ = Phi w + Gamma u`, `y = C w + D u`; `w` is shifted by `lead u` under FOH."""

    real: FloatArray
    pairs: FloatArray
    others: list[FloatArray]
    Gamma: FloatArray
    lead: FloatArray
    D: FloatArray
    turns: Exponents | None = None


def discrete_maps(grouped: Grouped, B: FloatArray, D: FloatArray) -> StepMaps:
    """One step of a discrete network is the network itself."""
    return StepMaps(grouped.real, grouped.pairs, list(grouped.others), B, np.zeros_like(B), D)


def step_maps(grouped: Grouped, B: FloatArray, C: FloatArray, D: FloatArray, h: float, hold: str) -> StepMaps:
    """Exact one-step maps; under FOH the shift `xi = w - lead u` removes the dependence on the next input."""
    ones, first, second, rest = grouped.shape()
    Phi_others, one_others, two_others = [], [], []
    hB = h * B
    for where, stack in zip(rest, grouped.others, strict=True):
        Phi, one, two = held_maps(stack, hB[where].reshape(*stack.shape[:2], B.shape[1]), h)
        Phi_others.append(Phi)
        one_others.append(one.reshape(where.stop - where.start, B.shape[1]))
        two_others.append(two.reshape(where.stop - where.start, B.shape[1]))
    turns, z = exponents(grouped, h), grouped.real * h
    real, pairs = np.exp(z), pair_matrices(grouped, turns.exp(np.ones(1))[0])

    def held(of_real: FloatArray, of_pairs: np.ndarray, others: list[FloatArray]) -> FloatArray:
        out = np.empty_like(hB)
        out[ones] = of_real[:, None] * hB[ones]
        F = pair_matrices(grouped, of_pairs)
        out[first] = F[:, 0, 0, None] * hB[first] + F[:, 0, 1, None] * hB[second]
        out[second] = F[:, 1, 0, None] * hB[first] + F[:, 1, 1, None] * hB[second]
        for where, value in zip(rest, others, strict=True):
            out[where] = value
        return out

    Gamma = held(phi1(z), turns.phi1(), one_others)
    if hold == "zoh":
        return StepMaps(real, pairs, Phi_others, Gamma, np.zeros_like(Gamma), D, turns)
    lead = held(phi2(z), turns.phi2(), two_others)
    Gamma = Gamma - lead + multiply(grouped, real, pairs, Phi_others, lead)
    return StepMaps(real, pairs, Phi_others, Gamma, lead, D + C @ lead, turns)


@dataclass(frozen=True)
class ChunkTables:
    """Maps over `K` steps, laid out for products from the right."""

    K: int
    real: FloatArray
    pairs: FloatArray
    others: list[FloatArray]
    O: FloatArray  # (n, K n_y)
    R: FloatArray  # (K n_u, n)
    H: FloatArray  # (K n_u, K n_y)


def chunk_tables(grouped: Grouped, maps: StepMaps, C: FloatArray, h: float, K: int) -> ChunkTables:
    """Tables for chunks of `K` steps of `h` seconds; `h = 0` for a discrete network."""
    n_u, n_y, n = maps.Gamma.shape[1], C.shape[0], grouped.n
    ones, first, second, rest = grouped.shape()
    steps = np.arange(K + 1.0)
    O, R = np.empty((n, K, n_y)), np.empty((K, n_u, n))
    if h:
        turns = maps.turns or exponents(grouped, h)
        powers, F = np.exp(grouped.real[:, None] * (h * steps)), pair_matrices(grouped, turns.exp(steps))
    else:
        powers = grouped.real[:, None] ** steps
        F = apply_pairs(grouped, lambda z: z ** steps[:, None], 1.0)
    O[ones] = powers[:, :K, None] * C.T[ones][:, None, :]
    R[:, :, ones] = powers[:, K - 1 :: -1].T[:, None, :] * maps.Gamma[ones].T
    C1, C2, G1, G2 = C.T[first], C.T[second], maps.Gamma[first].T, maps.Gamma[second].T
    for where, i in ((first, 0), (second, 1)):
        O[where] = (F[:K, None, :, 0, i] * C1.T + F[:K, None, :, 1, i] * C2.T).transpose(2, 0, 1)
        R[:, :, where] = F[K - 1 :: -1, None, :, i, 0] * G1 + F[K - 1 :: -1, None, :, i, 1] * G2
    others = []
    for where, Phi in zip(rest, maps.others, strict=True):
        L, k, _ = Phi.shape
        left = C[:, where].reshape(n_y, L, k).transpose(1, 0, 2)
        right = maps.Gamma[where].reshape(L, k, n_u)
        last, left, right = _doubled(Phi, left, right, K)
        O[where] = left.reshape(L, K, n_y, k).transpose(0, 3, 1, 2).reshape(L * k, K, n_y)
        R[:, :, where] = right.reshape(L, k, K, n_u)[:, :, ::-1].transpose(2, 3, 0, 1).reshape(K, n_u, L * k)
        others.append(last)
    O, R = O.reshape(n, K * n_y), R.reshape(K * n_u, n)
    markov = (maps.Gamma.T @ O).reshape(n_u, K, n_y)
    H = np.zeros((K, n_u, K, n_y))
    for j in range(K):
        H[j, :, j] = maps.D.T
        H[j, :, j + 1 :] = markov[:, : K - 1 - j]
    return ChunkTables(K, powers[:, K], F[K], others, O, R, H.reshape(K * n_u, K * n_y))


def _doubled(
    Phi: FloatArray, left: FloatArray, right: FloatArray, K: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`Phi^K`, rows `C Phi^j` and columns `Phi^j Gamma`, j < K a power of two, by repeated squaring."""
    power, count = Phi, 1
    while count < K:
        left = np.concatenate([left, left @ power], axis=1)
        right = np.concatenate([right, power @ right], axis=2)
        power = power @ power
        count *= 2
    return power, left, right


def chunk_length(n_times: int, n: int, n_u: int, n_y: int) -> int:
    """Steps per chunk: a power of two near the root of their number, as far as tables and products allow."""
    K = 1
    while (
        2 * K <= _LONGEST
        and n_times > K * K
        # doubling doubles the products with the inputs and halves the steps of the loop
        and 2 * K * K * n_u * n_y <= _LOOP + min(n, _FEW) ** 2
        and 2 * K * max(n, 1) * (n_u + n_y) <= _TABLE
        and 4 * K * K * max(n_u * n_y, 1) <= _TABLE
    ):
        K *= 2
    return K


def outputs(
    net: NetworkStructure, U: FloatArray, w0: FloatArray, h: float, hold: str, maps: StepMaps | None = None
) -> FloatArray:
    """Outputs `(batch, N + 1, n_y)` for inputs `(batch, N + 1, n_u)` and first neuron states `(batch, n)`.

    `maps` are those of one step, in grouped order, where they are not the network's own.
    """
    grouped, C = net.grouped, net.C[:, net.grouped.order]
    batch, n_times, n_u = U.shape
    n, n_y = grouped.n, net.C.shape[0]
    maps = maps or _own_maps(net, h, hold)
    step = 0.0 if net.discrete else h
    K = chunk_length(n_times, n, n_u, n_y)
    with np.errstate(over="ignore", invalid="ignore"):
        tables = chunk_tables(grouped, maps, C, step, K)
        while K > 1 and not (np.isfinite(tables.O).all() and np.isfinite(tables.R).all()):
            K //= 2
            tables = chunk_tables(grouped, maps, C, step, K)
    chunks = -(-n_times // K)
    padded = np.zeros((batch, chunks * K, n_u))
    padded[:, :n_times] = U
    blocks = np.ascontiguousarray(padded.reshape(batch, chunks, K * n_u).transpose(1, 0, 2))
    Y = np.empty((chunks, batch, K * n_y))
    w = w0[:, grouped.order] - U[:, 0] @ maps.lead.T
    # few enough chunks at a time that the states at their starts stay within the table size
    stride = max(1, _TABLE // max(1, n * batch))
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, chunks, stride):
            part = blocks[at : at + stride]
            states = (part.reshape(len(part) * batch, K * n_u) @ tables.R).reshape(len(part), batch, n)
            w = _scan(grouped, tables, states, w)
            Y[at : at + stride] = (
                states.reshape(len(part) * batch, n) @ tables.O
                + part.reshape(len(part) * batch, K * n_u) @ tables.H
            ).reshape(len(part), batch, -1)
    result = Y.transpose(1, 0, 2).reshape(batch, chunks * K, n_y)[:, :n_times]
    if not np.isfinite(result).all():
        k = int(np.argwhere(~np.isfinite(result).all(axis=(0, 2)))[0, 0])
        raise SolverError(
            f"the response leaves the range of float64 at t[{k}] ({k * h:.4g} s after the start): the system "
            "is unstable. Shorten the horizon or stabilise the system first"
        )
    return result


def _own_maps(net: NetworkStructure, h: float, hold: str) -> StepMaps:
    grouped, B = net.grouped, net.B[net.grouped.order]
    if net.discrete:
        return discrete_maps(grouped, B, net.D)
    return step_maps(grouped, B, net.C[:, grouped.order], net.D, h, hold)


def _dense(grouped: Grouped, tables: ChunkTables) -> FloatArray:
    """The map over a chunk as one matrix."""
    ones, first, second, rest = grouped.shape()
    P = np.zeros((grouped.n, grouped.n))
    P[ones, ones] = np.diag(tables.real)
    for i, row in enumerate((first, second)):
        for j, column in enumerate((first, second)):
            P[row, column] = np.diag(tables.pairs[:, i, j])
    for where, stack in zip(rest, tables.others, strict=True):
        P[where, where] = block_diag(*stack)
    return P


def _scan(grouped: Grouped, tables: ChunkTables, states: FloatArray, w: FloatArray) -> FloatArray:
    """Turn the chunks' input contributions into states at their starts, in place; return the last."""
    if grouped.n <= _FEW:
        # one small product is quicker than picking the blocks apart
        P = _dense(grouped, tables).T
        for state in states:
            after = state + w @ P
            state[:] = w
            w = after
        return w
    ones, first, second, rest = grouped.shape()
    p11, p12, p21, p22 = (tables.pairs[:, i, j] for i in (0, 1) for j in (0, 1))
    for s in range(len(states)):
        state = states[s]
        after = state.copy()
        state[:] = w
        after[:, ones] += tables.real * w[:, ones]
        if len(p11):
            after[:, first] += p11 * w[:, first] + p12 * w[:, second]
            after[:, second] += p21 * w[:, first] + p22 * w[:, second]
        for where, Phi in zip(rest, tables.others, strict=True):
            L, k, _ = Phi.shape
            if L == 1:
                after[:, where] += w[:, where] @ Phi[0].T
            else:
                after[:, where] += (Phi @ w[:, where].reshape(-1, L, k, 1)).reshape(len(w), -1)
        w = after
    return w


def neuron_states(net: NetworkStructure, U: FloatArray, w0: FloatArray, h: float, hold: str) -> FloatArray:
    """Neuron states `(batch, N + 1, n)`, in the network's order.

    From chunk to chunk first, as for outputs, then to the middles of all chunks, their quarters and so on, so
    that rounding adds up over as many steps as there are chunks and halvings, instead of over all.
    """
    grouped, C = net.grouped, net.C[:, net.grouped.order]
    maps = _own_maps(net, h, hold)
    batch, n_times, n_u = U.shape
    n, step = grouped.n, 0.0 if net.discrete else h
    K = chunk_length(n_times, n, n_u, len(C))
    with np.errstate(over="ignore", invalid="ignore"):
        tables = chunk_tables(grouped, maps, C, step, K)
        while K > 1 and not np.isfinite(tables.R).all():
            K //= 2
            tables = chunk_tables(grouped, maps, C, step, K)
        chunks = -(-n_times // K)
        padded = np.zeros((batch, chunks * K, n_u))
        padded[:, :n_times] = U
        starts = np.ascontiguousarray(padded.reshape(batch, chunks, K * n_u).transpose(1, 0, 2)) @ tables.R
        _scan(grouped, tables, starts, w0[:, grouped.order] - U[:, 0] @ maps.lead.T)
        states = np.empty((batch * chunks, K, n))
        states[:, 0] = starts.transpose(1, 0, 2).reshape(batch * chunks, n)
        span = K // 2
        while span:
            half = chunk_tables(grouped, maps, C, step, span)
            parts = states.reshape(-1, 2 * span, n)
            inputs = padded.reshape(-1, 2 * span, n_u)[:, :span].reshape(len(parts), span * n_u)
            moved = multiply(grouped, half.real, half.pairs, half.others, parts[:, 0].T).T
            parts[:, span] = moved + inputs @ half.R
            span //= 2
        result = np.empty((batch, n_times, n))
        states = states.reshape(batch, chunks * K, n)[:, :n_times]
        result[:, :, grouped.order] = states + U @ maps.lead.T
    if not np.isfinite(result).all():
        raise SolverError(
            "the neuron states leave the range of float64: the system is unstable. Shorten the horizon"
        )
    return result
