"""Networks of few neurons that stand for large ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from koopctrl._validation import FloatArray, check_bool, check_choice, check_integer, check_number
from koopctrl.errors import OptionError, ShapeError, SolverError
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
from koopctrl.ltinet.reduce.irka import h2_bases
from koopctrl.ltinet.reduce.weighted import Weight, weighted_factor
from koopctrl.ltinet.structure import Defects, NetworkStructure

METHODS = ("balanced", "irka")
_LOW_RANK_FLOOR = 1e-22
_COND_MAX = 1e4  # of few neurons: merging costs nothing, and errors of reduction are often below 1e-8


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
        norm). With low-rank Gramians of a large model it counts the values that were found. With "irka" or
        weights, for which no such sum holds, the peak gain of the difference, which bounds the same norm.
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
    net: NetworkStructure,
    order: int | None,
    tol: float | None,
    method: str,
    match_dc: bool | None,
    weights: tuple[NetworkStructure | None, NetworkStructure | None] = (None, None),
) -> dict[str, Any]:
    """Fields of the reduced network; see `LTINetwork.reduce`."""
    order, tol = check_size(order, tol)
    check_choice(method, "method", METHODS)
    match_dc = method == "balanced" if match_dc is None else match_dc
    check_bool(match_dc, "match_dc")
    if method == "irka" and (match_dc or any(weights)):
        raise OptionError(
            f'method is "irka" with {"match_dc=True" if match_dc else "weights"}; expected neither: the '
            'H2-optimal model has the direct link of the full one. Leave it out, or take method="balanced"'
        )
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
    found, residuals = _projection(blocks, B, C, inner, tol, *(read_weight(w, net) for w in weights))
    if method == "irka" and found.order:
        found = _h2_optimal(blocks, B, C, found)
    small = _reduced(blocks, B, C, D, found, match_dc)
    if any(weights) and (np.linalg.eigvals(small[0]).real >= 0.0).any():
        raise SolverError(
            f"the weighted model of order {found.order} is not stable, as may happen with two weights; "
            "expected a stable one. Take another order, or one weight"
        )
    if net.discrete:
        small = to_discrete(*small)
    reduction = Reduction(found.order, len(rest.B), found.hankel, found.bound, match_dc, residuals)
    fields = _assembled(net, small, rest, stable, found, reduction)
    if method == "irka" or any(weights):
        peak = float(np.linalg.norm(fields["defects"].left_out - net.defects.left_out))
        fields["reduction"] = replace(reduction, bound=peak)
    return fields


def read_weight(weight: NetworkStructure | None, net: NetworkStructure) -> Weight | None:
    """A weight's stable continuous matrices; a discrete one through the same map as the network.

    Raises
    ------
    OptionError
        A weight that is not stable, has dead times, or another sample time.
    """
    if weight is None:
        return None
    if weight.discrete != net.discrete or (net.discrete and weight.sample_time != net.sample_time):
        raise OptionError(
            f"a weight has dt={weight.dt:g} s and the network dt={net.dt:g} s; expected the "
            "same. Sample the weight"
        )
    if not weight.stable or weight.delayed:
        raise OptionError("a weight is not stable or has dead times; expected a stable model without")
    if not weight.discrete:
        return Weight(weight.blocks, weight.B, weight.C, weight.D)
    eye = np.eye(weight.n_states)
    return Weight(*to_continuous(Half(weight.blocks, weight.B, weight.C, eye, eye), weight.D))


def _projection(
    blocks: tuple[FloatArray, ...],
    B: FloatArray,
    C: FloatArray,
    order: int | None,
    tol: float | None,
    before: Weight | None,
    after: Weight | None,
) -> tuple[Projection, tuple[float, float]]:
    """Projections of a stable block diagonal model, in the order of its states."""
    factors = network_gramians(blocks, B, C)
    Zc, Zo = factors.Zc, factors.Zo
    for name, weight, size in (("input", before, B.shape[1]), ("output", after, len(C))):
        given = None if weight is None else (weight.C if name == "input" else weight.B.T)
        if given is not None and len(given) != size:
            raise ShapeError(
                f"{name}_weight has {len(given)} {'outputs' if name == 'input' else 'inputs'}; "
                f"expected {size}, the network's {name}s"
            )
    if before is not None:
        Zc = weighted_factor(blocks, B, C, before)
    if after is not None:
        dual = tuple(block.T for block in blocks)
        Zo = weighted_factor(dual, np.ascontiguousarray(C.T), B.T, after.transposed())
    return project(Zc, Zo, Zo.T @ Zc, order, tol, len(B)), factors.residuals


def _h2_optimal(
    blocks: tuple[FloatArray, ...], B: FloatArray, C: FloatArray, found: Projection
) -> Projection:
    """The same with bases of the H2-optimal model."""
    grouped = group_blocks(blocks)
    order, back = grouped.order, np.argsort(grouped.order)
    T, W = h2_bases(grouped, B[order], C[:, order], (found.T[order], found.W[order]))
    return replace(found, T=T[back], W=W[back])


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
    return build(system, _COND_MAX, "auto", False, None, None, "discrete" if dt else "auto")


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
