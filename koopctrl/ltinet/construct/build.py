"""From a model to the pieces of a network: balance, split, refine, and keep the defects."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from koopctrl._validation import FloatArray, check_choice
from koopctrl.errors import OptionError, SolverError
from koopctrl.ltinet.construct.assembly import EPS, BlockForm, norm2
from koopctrl.ltinet.construct.balancing import balance as balance_states
from koopctrl.ltinet.construct.block_form import OnStep, block_form
from koopctrl.ltinet.construct.convert import (
    StateSpaceData,
    blocks_to_continuous,
    has_logarithm,
    read_statespace,
)
from koopctrl.ltinet.construct.doubt import refuse_if_lost
from koopctrl.ltinet.construct.forms import Explicit, without_mass
from koopctrl.ltinet.construct.refinement import Refined, refine
from koopctrl.ltinet.construct.slow_modes import slow_modes
from koopctrl.ltinet.structure import Defects, LocalDefects

_DENSE_LIMIT = 4000  # a dense T and T^-1 of this order take 256 MB
_REFINE_LIMIT = 1200  # states up to which the residuals in twice the precision are affordable
TIMES = ("auto", "continuous", "discrete")


@dataclass(frozen=True)
class _Weights:
    """Blocks and weights with their defects."""

    blocks: tuple[FloatArray, ...]
    B: FloatArray
    C: FloatArray
    defects: Defects


def build(
    sys: Any,
    cond_max: float,
    method: str,
    balance: bool,
    n_modes: int | None,
    dt: float | None,
    time: str = "auto",
    delays: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    match_dc: bool = True,
    on_step: OnStep = None,
) -> dict[str, Any]:
    """Fields of an `LTINetwork`; see `LTINetwork.from_statespace` for the parameters."""
    check_choice(time, "time", TIMES)
    data = read_statespace(sys, dt, *delays)
    if time == "discrete" and not data.dt:
        raise OptionError(
            'time is "discrete", and sys is continuous; expected a discrete model. Build the network first, '
            "then net.sample(dt)"
        )
    common: dict[str, Any] = {
        "D": data.D.copy(), "sample_time": data.dt, "state_names": data.state_names,
        "input_names": data.input_names, "output_names": data.output_names,
        "input_delays": data.input_delays, "output_delays": data.output_delays,
    }  # fmt: skip
    n = data.A.shape[0]
    if n_modes is not None:
        return {**common, "scales": np.ones(n), **slow_modes(data, n_modes, match_dc)}
    if sparse.issparse(data.A) and n > _DENSE_LIMIT:
        raise OptionError(
            f"A is sparse with {n} states; expected at most {_DENSE_LIMIT} for a complete block form, whose "
            "transformation is dense. Use LTINetwork.from_reduced(sys, order), or n_modes if A is symmetric"
        )
    explicit = _explicit(data)
    common["D"] = explicit.D.copy()
    A, scales = balance_states(explicit.A, explicit.B, explicit.C)
    B, C = explicit.B / scales[:, None], explicit.C * scales
    form, refined = _split(A, B, C, cond_max, method, balance, on_step)
    if refined is not None:
        form = refined.form
        parts = _Weights(form.blocks, refined.B, refined.C, _normwise(A, B, C, form, refined.local))
        refuse_if_lost(parts.blocks, parts.B, parts.C, refined.local, bool(data.dt))
    else:
        parts = _Weights(
            form.blocks, form.T_inv @ B, C @ form.T, _normwise(A, B, C, form, None)
        )  # fmt: skip
    discrete = bool(data.dt) and (time == "discrete" or (time == "auto" and not has_logarithm(parts.blocks)))
    if data.dt and not discrete:
        try:
            parts = _continuous(parts, form, data)
        except SolverError:
            if time == "continuous":
                raise
            discrete = True
    return {
        **common, "blocks": parts.blocks, "T": _times(explicit.T, form.T * scales[:, None]),
        "T_inv": _times(form.T_inv / scales, explicit.T_inv),
        "B": parts.B, "C": parts.C, "cond": form.cond, "residual": form.residual, "method": form.method,
        "merges": form.merges, "defects": parts.defects, "scales": scales, "discrete": discrete,
    }  # fmt: skip


def _explicit(data: StateSpaceData) -> Explicit:
    """The model without `E`, dense."""
    A = data.A.toarray() if sparse.issparse(data.A) else data.A
    if data.E is None:
        one = np.zeros((0, 0))
        return Explicit(A, data.B, data.C, data.D, one, one)
    E = data.E.toarray() if sparse.issparse(data.E) else data.E
    return without_mass(A, data.B, data.C, data.D, E)


def _times(left: FloatArray, right: FloatArray) -> FloatArray:
    """Product in which a matrix without entries stands for the identity."""
    if not left.size or not right.size:
        return right if right.size or not left.size else left
    return left @ right


def _split(
    A: FloatArray, B: FloatArray, C: FloatArray, cond_max: float, method: str, balance: bool, on_step: OnStep
) -> tuple[BlockForm, Refined | None]:
    """A block form whose refinement converges: where it does not, layers are apart that are really one.

    Rounding splits a multiple eigenvalue into several, with a condition number that may just pass; in the
    refined coordinates they still couple as strongly as they are apart. A smaller `cond_max` merges them.
    """
    limit = cond_max
    while True:
        form = block_form(A, cond_max=limit, method=method, balance=balance, on_step=on_step)
        if len(A) > _REFINE_LIMIT:
            return form, None
        refined = refine(A, B, C, form)
        if refined is None or refined.converged or len(form.blocks) == 1 or limit <= 2.0:
            return form, refined
        limit = max(min(limit, form.cond) * 0.03, 1.0)


def _normwise(
    A: FloatArray, B: FloatArray, C: FloatArray, form: BlockForm, local: LocalDefects | None
) -> Defects:
    n = len(A)
    B_net, C_net = form.T_inv @ B, C @ form.T
    largest = float(np.abs(A).max(initial=0.0)) or 1.0
    # divided first: squares of huge entries would overflow
    scale_A = largest * float(np.linalg.norm(A / largest)) / math.sqrt(max(n, 1))
    defect_A = (form.residual + EPS) * scale_A * float(np.linalg.norm(form.T))
    # rounding of a product of length n, as a random walk; EPS is two units in the last place
    walk, size = EPS * math.sqrt(max(n, 1)), norm2(form.T)
    defect_B = float(np.linalg.norm(B - form.T @ B_net)) + EPS * size * float(np.linalg.norm(B_net))
    defect_C = walk * np.linalg.norm(C, axis=1) * size
    return Defects(defect_A, defect_B, defect_C, np.zeros(len(C_net)), local)


def _continuous(parts: _Weights, form: BlockForm, data: StateSpaceData) -> _Weights:
    """Continuous blocks that give the discrete ones back; defects per step become rates."""
    blocks, B, Phi_defect, back = blocks_to_continuous(parts.blocks, parts.B, data.dt)
    size, old = norm2(form.T), parts.defects
    defects = replace(
        old,
        A=(old.A + size * float(Phi_defect.max(initial=0.0))) / data.dt,
        B=(old.B + size * float(np.linalg.norm(back(B) - parts.B))) / data.dt,
        local=None,
    )
    if old.local is not None:
        # an entry of the logarithm moves by at most F over the smaller of the two multipliers
        values = np.concatenate([np.abs(np.linalg.eigvals(block)) for block in parts.blocks])
        smaller = np.minimum(values[:, None], values[None, :])
        sizes = [len(block) for block in parts.blocks]
        own = np.repeat(Phi_defect, sizes)
        F = (np.abs(old.local.F) + np.diag(own)) / (data.dt * smaller)
        G = np.abs(blocks_to_continuous(parts.blocks, parts.B + old.local.G, data.dt)[1] - B)
        G += EPS * np.abs(B)
        defects = replace(defects, local=LocalDefects(F, G, np.abs(old.local.H), signed=False))
    return _Weights(blocks, B, parts.C, defects)
