r"""The Kalman gain of an identified linear model, judged by its one-step errors on the records.

`(A, C, K)` come from the projection, `(B, D)` from the free run afterwards: the gain answers residuals of
another model. Where noise enters mostly at the outputs it is far too large (a plant with 0.5 of measurement
variance: 0.68 of innovation variance, 0.50 without any gain). Beside it stand the gains of

.. math:: Q = \gamma\, K R_e K', \qquad R = R_e, \qquad \gamma = 0, 10^{-3} \dots 10,

and the one with the smallest determinant of the innovations' covariance is taken (prediction error method:
Ljung, *System Identification*, 1999, chapter 7, over one parameter), its innovations' covariance with it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.data.trajectories import Trajectories
from koopctrl.identification.linear_model import InnovationModel

_RATIOS = (1e-3, 1e-2, 0.1, 1.0, 10.0)
_MAX_STEPS = 3_000
_GAIN = 1e-3  # of a nat a sample: by less the projection's own gain is not given up


def with_judged_gain(model: InnovationModel, data: Trajectories) -> InnovationModel:
    """The model with the gain of the smallest innovations, and their covariance."""
    some, count = [], 0
    for e in data:
        if count >= _MAX_STEPS:
            break
        some.append(e.slice(0, min(len(e), _MAX_STEPS - count)))
        count += len(some[-1])
    records = Trajectories(some)
    scale = np.sqrt(np.diag(model.innovation_cov))
    if not (scale > 0).all():  # nothing to filter
        return model
    first = _judge(model, records, scale)
    if first is None:
        return model
    best, chosen = first[0] - _GAIN, replace(model, innovation_cov=first[1])
    for gain in _gains(model):
        other = replace(model, K=gain)
        found = _judge(other, records, scale)
        if found is not None and found[0] < best:
            best, chosen = found[0], replace(other, innovation_cov=found[1])
    return chosen


def _gains(model: InnovationModel) -> list[FloatArray]:
    """Those that make a stable predictor."""
    gains = [np.zeros_like(model.K)] if model.spectral_radius < 1.0 else []
    q, r, _ = model.noise_covariances
    y = 1.0 / np.sqrt(np.diag(r))
    for ratio in _RATIOS:
        try:
            p = linalg.solve_discrete_are(
                model.A.T, model.C.T * y, ratio * q, r * np.outer(y, y), balanced=True
            )
            gain = np.linalg.solve(model.C @ p @ model.C.T + r, model.C @ p @ model.A.T).T
        except (np.linalg.LinAlgError, ValueError):  # no gain for this ratio, e.g. of outputs that are one
            continue
        if np.isfinite(gain).all() and np.abs(linalg.eigvals(model.A - gain @ model.C)).max() < 1.0:
            gains.append(gain)
    return gains


def _judge(model: InnovationModel, data: Trajectories, scale: FloatArray) -> tuple[float, FloatArray] | None:
    """`log det` a sample of the innovations' covariance, and that; None where the filter runs away or has no
    noise.
    """
    back = 2 * model.n_x
    runs = model.innovations(data, back)
    e = np.concatenate([run[min(back, len(run) // 3) :] for run in runs]) / scale
    if not (len(e) > model.n_y and np.isfinite(e).all()):
        return None
    cov = e.T @ e / len(e)
    sign, value = np.linalg.slogdet(cov)
    if sign <= 0:
        return None
    return float(value), cov * np.outer(scale, scale)
