"""Networks of few neurons that stand for large ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from koopctrl._validation import FloatArray, check_bool, check_choice, check_integer, check_number
from koopctrl.errors import OptionError
from koopctrl.ltinet.construct.build import build
from koopctrl.ltinet.construct.convert import StateSpaceData
from koopctrl.ltinet.grouped import group_blocks
from koopctrl.ltinet.judge.frequency import resolvent
from koopctrl.ltinet.reduce.adi import (
    SparsePencil,
    low_rank_gramians,
    sparse_shifts,
)
from koopctrl.ltinet.reduce.balanced import Projection, perturbed, project, truncated
from koopctrl.ltinet.reduce.difference import peak_gain_of_difference
from koopctrl.ltinet.reduce.gramian import network_gramians
from koopctrl.ltinet.reduce.halves import Half, halves, to_continuous, to_discrete
from koopctrl.ltinet.structure import Defects, NetworkStructure

METHODS = ("balanced",)
_LOW_RANK_FLOOR = 1e-22


@dataclass(frozen=True)
class Reduction:
    """How a network was reduced.

    Attributes
    ----------
    order : int
        States of the stable half that were kept.
    kept : int
        States that are not stable, which are always kept.
    hankel : array
        Hankel singular values of the stable half, largest first.
    bound : float
        `2 (s_(r+1) + .. + s_n)`: no frequency response differs by more (largest singular value, H-infinity
        norm). With low-rank Gramians of a large model it counts the values that were found.
    match_dc : bool
        Whether the static gain was kept.
    residuals : tuple of two floats
        What the low-rank Gramians miss, relative to `B B'` and `C' C`.
    """

    order: int
    kept: int
    hankel: FloatArray
    bound: float
    match_dc: bool
    residuals: tuple[float, float]


def check_size(order: Any, tol: Any) -> tuple[int | None, float | None]:
    """Exactly one of `order` and `tol`."""
    if (order is None) == (tol is None):
        raise OptionError(
            f"order is {order} and tol is {tol}; expected one of them. Pass order=10, or tol=1e-3 "
            f"for a bound of "
            "a thousandth of the largest Hankel singular value"
        )
    if order is not None:
        return check_integer(order, "order", low=0), None
    return None, check_number(tol, "tol", low=0.0)


def reduced_fields(
    net: NetworkStructure, order: int | None, tol: float | None, method: str, match_dc: bool
) -> dict[str, Any]:
    """Fields of the reduced network; see `LTINetwork.reduce`."""
    order, tol = check_size(order, tol)
    check_choice(method, "method", METHODS)
    check_bool(match_dc, "match_dc")
    stable, rest = halves(net)
    if order is not None and order < len(rest.B):
        raise OptionError(
            f"order is {order}; expected at least {len(rest.B)}, the poles that are not stable: "
            f"they are always kept"
        )
    inner = None if order is None else order - len(rest.B)
    if net.discrete:
        blocks, B, C, D = to_continuous(stable, net.D)
    else:
        blocks, B, C, D = stable.blocks, stable.B, stable.C, net.D
    found, residuals = _projection(blocks, B, C, inner, tol)
    small = _reduced(blocks, B, C, D, found, match_dc)
    if net.discrete:
        small = to_discrete(*small)
    reduction = Reduction(found.order, len(rest.B), found.hankel, found.bound, match_dc, residuals)
    return _assembled(net, small, rest, stable, found, reduction)


def _projection(
    blocks: tuple[FloatArray, ...], B: FloatArray, C: FloatArray, order: int | None, tol: float | None
) -> tuple[Projection, tuple[float, float]]:
    """Projections of a stable block diagonal model, in the order of its states."""
    factors = network_gramians(blocks, B, C)
    Zc, Zo = factors.Zc, factors.Zo
    return project(Zc, Zo, Zo.T @ Zc, order, tol, len(B)), factors.residuals


def _reduced(
    blocks: tuple[FloatArray, ...],
    B: FloatArray,
    C: FloatArray,
    D: FloatArray,
    found: Projection,
    match_dc: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    A = sparse.csr_array(sparse.block_diag(blocks)) if blocks else sparse.csr_array((0, 0))
    if not match_dc or found.order == 0:
        small = truncated(found, A @ found.T, B, C, D)
        if match_dc and len(B):
            static = D - C @ _solve_static(blocks, B)
            return (*small[:3], static)
        return small
    both = _solve_static(blocks, np.hstack([found.T, B]))
    A_inv_T, A_inv_B = both[:, : found.order], both[:, found.order :]
    # C A^-1 T, with the solve on the thin side
    return perturbed(found, A_inv_T, A_inv_B, C, D - C @ A_inv_B)


def _solve_static(blocks: tuple[FloatArray, ...], X: FloatArray) -> FloatArray:
    """`blkdiag^-1 X`."""
    grouped = group_blocks(blocks)
    out = np.empty_like(X)
    out[grouped.order] = -resolvent(grouped, np.zeros(1, complex), X[grouped.order])[0].real
    return out


def _assembled(
    net: NetworkStructure,
    small: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    rest: Half,
    stable: Half,
    found: Projection,
    reduction: Reduction,
) -> dict[str, Any]:
    """The reduced half, split into layers of its own, beside the layers that were kept."""
    A, B, C, D = small
    own = small_network(A, B, C, net.sample_time if net.discrete else 0.0)
    whole = {
        "blocks": (*own["blocks"], *rest.blocks),
        "B": np.vstack([own["B"], rest.B]),
        "C": np.hstack([own["C"], rest.C]),
        "D": D,
        "T": np.hstack([net.T @ stable.T @ found.T @ own["T"], net.T @ rest.T]),
        "T_inv": np.vstack([own["T_inv"] @ found.W.T @ stable.T_inv @ net.T_inv, rest.T_inv @ net.T_inv]),
        "cond": own["cond"], "residual": own["residual"], "method": "balanced", "merges": own["merges"],
        "discrete": net.discrete, "reduction": reduction,
    }  # fmt: skip
    bare = replace(net, **{**whole, "defects": Defects(0.0, 0.0, np.zeros(len(C)), np.zeros(len(C)))})
    gap = peak_gain_of_difference(net, bare)
    old = own["defects"]
    whole["defects"] = replace(old, local=None, left_out=net.defects.left_out + gap)
    return whole


def small_network(A: FloatArray, B: FloatArray, C: FloatArray, dt: float) -> dict[str, Any]:
    """Fields of the network of a small dense model; the coordinates of its states are nobody's."""
    if not len(A):
        empty = np.zeros((0, 0))
        return {
            "blocks": (), "B": B, "C": C, "T": empty, "T_inv": empty, "cond": 1.0, "residual": 0.0, "merges":
            (),
            "defects": Defects(0.0, 0.0, np.zeros(len(C)), np.zeros(len(C))),
        }  # fmt: skip
    system = (A, B, C, np.zeros((len(C), B.shape[1])), dt)
    return build(system, 1e8, "auto", False, None, None, "discrete" if dt else "auto")


def reduced_large(
    data: StateSpaceData, E: Any, order: int | None, tol: float | None, match_dc: bool
) -> dict[str, Any]:
    """Fields of a network of a large sparse stable model, without ever having the large network.

    Raises
    ------
    OptionError
        A discrete model.
    SolverError
        An unstable model, or a singular pencil.
    """
    order, tol = check_size(order, tol)
    check_bool(match_dc, "match_dc")
    if data.dt:
        raise OptionError(
            "from_reduced was given a discrete model; expected a continuous one. Reduce its network"
        )
    pencil = SparsePencil(data.A, E)
    shifts = sparse_shifts(pencil, data.B, data.C, _LOW_RANK_FLOOR, most=120)
    factors = low_rank_gramians(pencil, data.B, data.C, shifts)
    Zc, Zo = factors.Zc, factors.Zo
    found = project(Zc, Zo, Zo.T @ pencil.mass(Zc, False), order, tol, len(data.B))
    if match_dc:
        forward, _ = pencil.solve(0.0)
        both = np.asarray(forward(np.hstack([pencil.mass(found.T, False), data.B])))
        A_inv_ET, A_inv_B = both[:, : found.order], both[:, found.order :]
        dual = replace(found, W=pencil.mass(found.W, True))
        A, B, C, D = perturbed(dual, A_inv_ET, A_inv_B, data.C, data.D - data.C @ A_inv_B)
    else:
        A, B, C, D = truncated(found, pencil.A @ found.T, data.B, data.C, data.D)
    own = small_network(A, B, C, 0.0)
    reduction = Reduction(found.order, 0, found.hankel, found.bound, match_dc, factors.residuals)
    defects = replace(own["defects"], local=None, left_out=np.full(len(C), np.inf))
    return {
        "blocks": own["blocks"], "B": own["B"], "C": own["C"], "D": D, "T": found.T @ own["T"],
        "T_inv": own["T_inv"] @ pencil.mass(found.W, True).T, "cond": own["cond"], "residual":
        own["residual"],
        "method": "balanced", "merges": own["merges"], "defects": defects, "reduction": reduction,
        "scales": np.ones(len(data.B)), "sample_time": 0.0, "state_names": data.state_names,
        "input_names": data.input_names, "output_names": data.output_names,
        "input_delays": data.input_delays, "output_delays": data.output_delays,
    }  # fmt: skip
