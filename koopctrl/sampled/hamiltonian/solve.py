r"""The one least-squares problem of a Hamiltonian model, some of its coefficients non-negative.

.. math:: \min_{\theta,\ \delta \ge 0} |\Phi\,\theta + \Psi\,\delta - y|^2 + \lambda\,|\text{scaled}|^2

Rows are kept as one triangular factor. Where the free solution has no negative :math:`\delta` it is the
answer; else :math:`\theta` is eliminated, which the factor has done already: its last rows hold
:math:`\delta` alone, and a small problem of non-negative least squares is left (Lawson & Hanson, *Solving
Least Squares Problems*, 1974).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg, optimize

from koopctrl.identification.least_squares import LeastSquares, QRAccumulator, Ridge, triangle


def solve_signed(rows: QRAccumulator, n_signed: int, rcond: float, ridge: Ridge) -> LeastSquares:
    """Solution whose last `n_signed` coefficients are not negative."""
    free = rows.solve(rcond, ridge)
    n = len(free.coef)
    if not n_signed or (free.coef[n - n_signed :] >= 0.0).all():
        return free
    factor = rows.factor
    phi, y = factor[:, :n], factor[:, n:]
    scale = np.linalg.norm(phi, axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    # What the cut leaves out is penalised instead: eliminated columns have to be independent.
    floor = (max(rcond, n * np.finfo(float).eps) * free.singular_values[0]) ** 2
    penalty = max(float(free.ridge[0]), floor)
    scaled = np.concatenate([phi / scale, np.sqrt(penalty) * np.eye(n)])
    both = triangle(np.concatenate([scaled, np.concatenate([y, np.zeros((n, 1))])], axis=1))
    m = n - n_signed
    signed, _ = optimize.nnls(both[m : n + 1, m:n], both[m : n + 1, n])
    rest = both[:m, n] - both[:m, m:n] @ signed
    coef = np.concatenate([linalg.solve_triangular(both[:m, :m], rest), signed]) / scale
    residual = np.linalg.norm(y[:, 0] - phi @ coef) / np.sqrt(rows.n_rows)
    return replace(free, coef=coef[:, None], residual_rms=np.array([residual]), ridge=np.array([penalty]))
