"""Dropping the layers that contribute least, with a bound on what that does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from koopctrl._validation import FloatArray, check_bool, check_number
from koopctrl.errors import OptionError
from koopctrl.ltinet.judge.totals import layer_gain
from koopctrl.ltinet.reduce.gramian import controllability_factor
from koopctrl.ltinet.structure import NetworkStructure

Network = TypeVar("Network", bound=NetworkStructure)


@dataclass(frozen=True)
class Truncation(Generic[Network]):
    """A smaller network.

    Attributes
    ----------
    network : LTINetwork
    error_bound : array (n_y,)
        Largest change of each output for inputs with `|u(t)| <= 1` (2-norm) at all times, from rest; it also
        bounds the change of each row of the frequency response.
    contributions : array (n_layers,)
        The measure, for every layer of the original network; infinite for layers that do not decay.
    kept, dropped : tuple of int
        Layers of the original network.
    """

    network: Network
    error_bound: FloatArray
    contributions: FloatArray
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


def truncate(net: Network, tol: float, *, relative: bool = True, refit: bool = False) -> Truncation[Network]:
    """Drop the layers with the smallest modal peak gains, as many as `tol` allows.

    A layer's contribution is its peak gain `int |C_i exp(A_i t) B_i| dt`, which bounds its H-infinity norm:
    exactly `|c| |b| / |a|` for a first-order neuron, an upper bound by the decaying envelope for a
    second-order one, an upper sum for larger layers. Layers that do not decay are never dropped.

    Parameters
    ----------
    net : NetworkStructure
    tol : float
        Largest sum of dropped contributions.
    relative : bool
        Whether `tol` is relative to the largest contribution of a decaying layer.
    refit : bool
        Choose the output weights of the layers that stay anew, so that the energy of the impulse response's
        error
        is smallest: `C' = C P_k P_kk^-1` with the controllability Gramian `P` of all layers.
        Stable networks only.

    Returns
    -------
    Truncation

    Raises
    ------
    OptionError
        A negative `tol`.
    """
    tol = check_number(tol, "tol", low=0.0)
    check_bool(relative, "relative")
    check_bool(refit, "refit")
    per_output, contributions = layer_contributions(net)
    finite = contributions[np.isfinite(contributions)]
    budget = tol * (float(finite.max(initial=0.0)) if relative else 1.0)
    order = np.argsort(contributions, kind="stable")
    dropped_mask = np.zeros(len(contributions), dtype=bool)
    with np.errstate(invalid="ignore"):
        dropped_mask[order] = np.cumsum(contributions[order]) <= budget
    kept, dropped = np.flatnonzero(~dropped_mask), np.flatnonzero(dropped_mask)
    bound = per_output[dropped].sum(axis=0)
    sizes = [len(block) for block in net.blocks]
    rows = np.repeat(~dropped_mask, sizes)
    C = net.C[:, rows]
    if refit and dropped.size and kept.size:
        C = _refitted(net, rows)
        changed = net.C.copy()
        changed[:, rows] -= C
        bound = layer_contributions(replace(net, C=changed))[0].sum(axis=0)
    local = net.defects.local
    if local is not None:
        local = replace(local, F=local.F[rows][:, rows], G=local.G[rows], H=local.H[:, rows])
    defects = replace(net.defects, local=local, left_out=net.defects.left_out + bound)
    smaller = replace(
        net,
        blocks=tuple(net.blocks[i] for i in kept.tolist()),
        T=net.T[:, rows],
        T_inv=net.T_inv[rows],
        B=net.B[rows],
        C=C,
        defects=defects,
    )
    return Truncation(smaller, bound, contributions, tuple(kept.tolist()), tuple(dropped.tolist()))


def _refitted(net: NetworkStructure, rows: np.ndarray) -> FloatArray:
    """Output weights of the kept states that minimise the energy of the impulse response's error."""
    if not net.stable:
        raise OptionError(
            "refit is True, but the network is not stable; expected a stable one, whose impulse "
            "response has a "
            "finite energy. Leave refit out"
        )
    Z = controllability_factor(net)
    found: Any = np.linalg.lstsq(Z[rows].T, (net.C @ Z).T, rcond=None)
    return np.ascontiguousarray(found[0].T)


def layer_contributions(net: NetworkStructure) -> tuple[FloatArray, FloatArray]:
    """Peak gains per layer and output `(n_layers, n_y)`, and per layer for all outputs together."""
    n_y, starts = net.C.shape[0], np.array(net.starts, dtype=int)
    per_output = np.full((len(net.blocks), n_y), np.inf)
    joint = np.full(len(net.blocks), np.inf)
    layer_of = {int(start): i for i, start in enumerate(starts)}
    grouped = net.grouped
    ones, first, second, rest = grouped.shape()
    B, C = net.B[grouped.order], net.C[:, grouped.order]
    layers = np.array([layer_of[int(s)] for s in grouped.order[ones]], dtype=int)
    total = _decay(grouped.real, np.abs(grouped.real), net.discrete)
    with np.errstate(invalid="ignore"):
        gain = np.linalg.norm(B[ones], axis=1) * total
        per_output[layers] = np.abs(C[:, ones].T) * gain[:, None]
        joint[layers] = np.linalg.norm(C[:, ones], axis=0) * gain
    if len(grouped.pairs):
        a, omega, J = grouped.pair_parts()
        layers = np.array([layer_of[int(s)] for s in grouped.order[first]], dtype=int)
        Ci = np.stack([C[:, first], C[:, second]], axis=-1).transpose(1, 0, 2)
        Bi = np.stack([B[first], B[second]], axis=1)
        still, turned = Ci @ Bi, Ci @ J @ Bi / omega[:, None, None]
        # |cos P + sin Q| <= sqrt(|P|^2 + |Q|^2), under the envelope exp(a t)
        squares = still**2 + turned**2
        total = _decay(a, np.hypot(a, omega), net.discrete)
        with np.errstate(invalid="ignore"):
            per_output[layers] = np.sqrt(squares.sum(axis=2)) * total[:, None]
            joint[layers] = np.sqrt(squares.sum(axis=(1, 2))) * total
    for where, stack in zip(rest, grouped.others, strict=True):
        size = stack.shape[1]
        for block, at in zip(stack, range(where.start, where.stop, size), strict=True):
            i = layer_of[int(grouped.order[at])]
            per_output[i], joint[i] = layer_gain(block, B[at : at + size], C[:, at : at + size], net.dt)
    # a layer without decay but without input or output either contributes nothing
    silent = ~np.array([(B_i.any() and C_i.any()) for B_i, C_i in _per_layer(net)], dtype=bool)
    per_output[silent], joint[silent] = 0.0, 0.0
    return np.nan_to_num(per_output, nan=np.inf, posinf=np.inf), np.nan_to_num(
        joint, nan=np.inf, posinf=np.inf
    )


def _decay(a: FloatArray, modulus: FloatArray, discrete: bool) -> FloatArray:
    """`int exp(a t) dt`, or the sum of the powers of a modulus; infinite without decay."""
    distance = 1.0 - modulus if discrete else -a
    tiny = np.finfo(float).tiny
    return np.where(distance > 0.0, 1.0 / np.maximum(distance, tiny), np.inf)


def _per_layer(net: NetworkStructure) -> list[tuple[FloatArray, FloatArray]]:
    stops = [start + len(block) for start, block in zip(net.starts, net.blocks, strict=True)]
    return [(net.B[i:j], net.C[:, i:j]) for i, j in zip(net.starts, stops, strict=True)]
