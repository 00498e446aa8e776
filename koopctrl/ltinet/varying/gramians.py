"""Gramians of an affine model over the box of its parameters.

Frozen models are not all of it: while `p` moves, `p_i A_i x` acts as an input of its own. In the Gramian of a
bilinear model, `A P + P A' + sum N_i P N_i' + B B' = 0`, this is the second term; here it is the sum of the
Gramians with `A_i Z` in the place of `B`, `Z Z'` being the frozen ones, weighed such that the largest
Hankel singular value it brings is a share of the largest frozen one: units of states and of time cancel.

Source: Benner and Damm, *Lyapunov equations, energy functionals, and model order reduction of bilinear and
stochastic systems*, SIAM J. Control Optim. 49, 2011.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError, SolverError
from koopctrl.ltinet.network import LTINetwork
from koopctrl.ltinet.reduce.adi import SparsePencil, low_rank_gramians, sparse_shifts
from koopctrl.ltinet.reduce.gramian import network_gramians
from koopctrl.ltinet.varying.affine import AffineModel

_DENSE = 700
_FLOOR = 1e-20
_COLUMNS = 40  # directions of the frozen Gramians that it starts from


def moving_gramians(model: AffineModel, points: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """Factors of the Gramians, frozen and moving; of large sparse models frozen alone.

    Parameters
    ----------
    model : AffineModel
    points : array (N, n_p)
    share : float
        Of the moving term.
    """
    Zc, Zo = summed_gramians(model, points)
    if share == 0.0 or model.A[0].shape[0] > _DENSE or len(model.A) == 1:
        return Zc, Zo
    wide = 0.5 * (model.p_max - model.p_min)
    driven = np.hstack([d * (A @ Zc[:, :_COLUMNS]) for d, A in zip(wide, model.A[1:], strict=True)])
    seen = np.hstack([d * (A.T @ Zo[:, :_COLUMNS]) for d, A in zip(wide, model.A[1:], strict=True)])
    D = (np.zeros((seen.shape[1], driven.shape[1])),)
    Zc_1, Zo_1 = summed_gramians(replace(model, B=(driven,), C=(seen.T,), D=D), points)
    size = float(np.linalg.norm(Zo.T @ Zc, 2))
    both = []
    for Z, more, other in ((Zc, Zc_1, Zo), (Zo, Zo_1, Zc)):
        brings = float(np.linalg.norm(other.T @ more, 2))
        both.append(compressed(np.hstack([Z, share * size / brings * more])) if brings > 0.0 else Z)
    return both[0], both[1]


def summed_gramians(model: AffineModel, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Factors of the sums of both Gramians over the points."""
    all_c, all_o = [], []
    for p in points:
        A, B, C, _ = model.at(p)
        if sparse.issparse(A) and A.shape[0] > _DENSE:
            pencil = SparsePencil(A, None)
            found = low_rank_gramians(pencil, B, C, sparse_shifts(pencil, B, C, _FLOOR, most=80))
            Zc, Zo = found.Zc, found.Zo
        else:
            net = LTINetwork.from_statespace((A, B, C, 0))
            if not net.stable:
                worst = net.eigenvalues[np.argmax(net.eigenvalues.real)]
                raise SolverError(
                    f"the model is not stable at p = {p.tolist()} (a pole at {worst:.4g} 1/s); "
                    f"expected a stable one "
                    "in the whole box. Narrow p_min, p_max"
                )
            found = network_gramians(net.blocks, net.B, net.C)
            Zc, Zo = net.T @ found.Zc, net.T_inv.T @ found.Zo
        all_c.append(Zc)
        all_o.append(Zo)
    return compressed(np.hstack(all_c)), compressed(np.hstack(all_o))


def compressed(Z: FloatArray) -> FloatArray:
    """The same `Z Z'` with as few columns as it has rank."""
    U, s, _ = np.linalg.svd(Z, full_matrices=False)
    keep = s > 1e-15 * s[0]
    return U[:, keep] * s[keep]


def common_basis(Zc: FloatArray, Zo: FloatArray, order: int) -> FloatArray:
    """Orthonormal basis of the directions that matter most in both, each scaled to size one."""
    both = np.hstack([Zc / np.linalg.norm(Zc, 2), Zo / np.linalg.norm(Zo, 2)])
    U, _, _ = np.linalg.svd(both, full_matrices=False)
    if order > U.shape[1]:
        raise OptionError(f"order is {order}; expected at most the number of directions, {U.shape[1]}")
    return U[:, :order]
