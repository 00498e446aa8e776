"""From a model to the pieces of a network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.ltinet.construct.assembly import EPS, BlockForm, norm2
from koopctrl.ltinet.construct.block_form import OnStep, block_form
from koopctrl.ltinet.construct.convert import blocks_to_continuous, read_statespace
from koopctrl.ltinet.construct.residuals import cancelling_product
from koopctrl.ltinet.construct.slow_modes import slow_modes
from koopctrl.ltinet.structure import Defects

_DENSE_LIMIT = 4000  # a dense T and T^-1 of this order take 256 MB


_EXACT_LIMIT = 200  # states up to which the error is bounded as the response of a known system


def exact_defects(
    A: FloatArray, B: FloatArray, C: FloatArray, form: BlockForm, B_net: FloatArray, C_net: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """`T_inv (A T - T blkdiag)`, `T_inv (B - T B_net)`, `C_net - C T`; None where products may overflow."""
    n = len(A)
    Lambda = np.asarray(block_diag(*form.blocks)) if n else np.zeros((0, 0))
    sizes = [np.abs(M[M != 0.0]) for M in (A, B, C, form.T, Lambda, B_net, C_net)]
    if any(s.size and (s.max() > 1e120 or s.max() < 1e-120) for s in sizes):
        return None
    F = cancelling_product(np.hstack([A, -form.T]), np.vstack([form.T, Lambda]))
    G = cancelling_product(np.hstack([B, -form.T]), np.vstack([np.eye(B.shape[1]), B_net]))
    H = cancelling_product(np.hstack([C_net, -C]), np.vstack([np.eye(n), form.T]))
    return form.T_inv @ F, form.T_inv @ G, H


def build(
    sys: Any,
    cond_max: float,
    method: str,
    balance: bool,
    n_modes: int | None,
    dt: float | None,
    on_step: OnStep = None,
) -> dict[str, Any]:
    """Fields of an `LTINetwork`; see `LTINetwork.from_statespace` for the parameters."""
    data = read_statespace(sys, dt)
    n = data.A.shape[0]
    common: dict[str, Any] = {
        "D": data.D.copy(), "sample_time": data.dt, "state_names": data.state_names,
        "input_names": data.input_names, "output_names": data.output_names, "scales": np.ones(n),
    }  # fmt: skip
    if n_modes is not None:
        return {**common, **slow_modes(data, n_modes)}
    if sparse.issparse(data.A) and n > _DENSE_LIMIT:
        raise OptionError(
            f"A is sparse with {n} states; expected at most {_DENSE_LIMIT} for a complete block form, whose "
            "transformation is dense. Pass n_modes to keep the slowest modes only"
        )
    A = data.A.toarray() if sparse.issparse(data.A) else data.A
    form = block_form(A, cond_max=cond_max, method=method, balance=balance, on_step=on_step)
    B, C = form.T_inv @ data.B, data.C @ form.T
    largest = float(np.abs(A).max(initial=0.0)) or 1.0
    # divided first: squares of huge entries would overflow
    scale_A = largest * float(np.linalg.norm(A / largest)) / math.sqrt(max(n, 1))
    defect_A = (form.residual + EPS) * scale_A * float(np.linalg.norm(form.T))
    # rounding of a product of length n, as a random walk; EPS is two units in the last place
    walk = EPS * math.sqrt(max(n, 1))
    defect_B = float(np.linalg.norm(data.B - form.T @ B)) + EPS * norm2(form.T) * float(np.linalg.norm(B))
    defect_C = walk * np.linalg.norm(data.C, axis=1) * norm2(form.T)
    blocks, exact = form.blocks, None
    if data.dt:
        blocks, B, Phi_defect, Gamma_defect = blocks_to_continuous(form.blocks, B, data.dt)
        size = norm2(form.T)
        # defects per step become rates, so that the bound's integrals stand for sums over steps
        defect_A = (defect_A + size * float(Phi_defect.max(initial=0.0))) / data.dt
        defect_B = (defect_B + size * float(np.linalg.norm(Gamma_defect))) / data.dt
    elif n <= _EXACT_LIMIT:
        exact = exact_defects(A, data.B, data.C, form, B, C)
    return {
        **common, "blocks": tuple(blocks), "T": form.T, "T_inv": form.T_inv, "B": B, "C": C,
        "cond": form.cond, "residual": form.residual, "method": form.method, "merges": form.merges,
        "defects": Defects(defect_A, defect_B, defect_C, np.zeros(len(C)), exact=exact),
    }  # fmt: skip
