r"""Covariances of constant disturbances, and of a first estimate, where the caller gives none.

A disturbance has a unit of its own, so that no number can be its default. What can is how much of it shows:
one unit of disturbance `i`, held, moves the mean of the innovations of the steady filter that knows nothing
of it to

.. math:: b_i = (I - C G L)\, C_{d,i} + C G B_{d,i}, \qquad G = (I - A + L C)^{-1},

and it drifts, from sample to sample, by a part of what shows as one standard deviation of theirs,

.. math:: Q_{d,i} = \rho\, / \,(b_i' S^{-1} b_i), \qquad S = C P C' + R_n .

The gain then depends on neither the signals' units nor the noise's size: with `rho = 0.1` a load is known
after some four samples.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import OptionError, SolverError

# Variance of a drift in one sample, as it shows beside that of the innovations.
_DRIFT = 0.1
# Samples' drift that a first disturbance may have, and how many of the steady filter's variances the error of
# a first estimate has where there is no data to tell.
_FIRST_DRIFT, _FIRST_ERROR = 100.0, 1e4
# Part of what a disturbance shows without a filter's correction below which it counts as not shown.
_HIDDEN = 1e-9


def default_drift(model: Augmented, measured: np.ndarray, Qn: FloatArray, Rn: FloatArray) -> FloatArray:
    """`Qd` `(n_d, n_d)`, diagonal.

    Parameters
    ----------
    model : Augmented
    measured : (n_measured,) int array
        Outputs that are measured.
    Qn, Rn : arrays
        Covariances of process noise `(n_z, n_z)` and measurement noise `(n_measured, n_measured)`.

    Raises
    ------
    OptionError
        If there is no steady filter without disturbances.
    """
    lifted = model.lifted
    A, C = lifted.A, lifted.C[measured]
    try:
        found = solve_riccati(A.T, C.T, Qn, Rn, "the lifted pair (A', C')", warn=False)
    except SolverError as error:
        raise OptionError(
            f"Qd is not given, and without disturbances there is no steady filter to take it from ({error}). "
            "Pass Qd=..., or a Qn that moves every mode that does not decay"
        ) from error
    L, S = found.K.T, C @ found.P @ C.T + Rn
    root = np.linalg.cholesky(S)
    # States in units of their own, for the solve.
    unit = np.sqrt(np.maximum(np.diag(found.P), np.finfo(float).tiny))
    closed = np.eye(len(A)) - (A - L @ C) * unit / unit[:, None]
    shown = C * unit @ np.linalg.solve(closed, (model.Bd - L @ model.Cd[measured]) / unit[:, None])
    seen = np.linalg.solve(root, shown + model.Cd[measured])
    most = np.abs(np.linalg.solve(root, np.abs(shown) + np.abs(model.Cd[measured]))).sum(axis=0)
    size = np.sqrt((seen**2).sum(axis=0))
    # Of one that hides the filter's own Riccati equation says why it cannot be estimated.
    size = np.where(size > _HIDDEN * most, size, np.where(most > 0.0, most, 1.0))
    return np.diag(_DRIFT / size**2)


def default_first(model: Augmented, P: FloatArray, Qd: FloatArray) -> FloatArray:
    """`P0` of `[z; d]`: the training data's spread and many samples' drift; else far above the steady `P`."""
    lifted, n_z = model.lifted, model.lifted.n_z
    P0 = P.copy()
    if lifted.training is None or not len(lifted.training[0]):
        return _FIRST_ERROR * P0
    z = lifted.training[0]
    P0[:n_z, :n_z] += np.diag(np.mean(z**2, axis=0))
    P0[n_z:, n_z:] += _FIRST_DRIFT * Qd
    return P0
