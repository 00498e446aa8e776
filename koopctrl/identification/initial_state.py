r"""Initial states of hidden-state networks: the most probable one given the first measured samples.

.. math:: \min_{x_0} \sum_k \|R^{-1/2} (w_k - \hat w_k(x_0))\|^2 + \|P^{-1/2} (x_0 - \bar x)\|^2

by Gauss-Newton steps with the free run's sensitivities, all episodes at once; `R` is the covariance of
free-run errors and `(\bar x, P)` mean and covariance of the states over the training data, so that one
sample is enough to start from and many decide by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.linear_model import covariance_root, inverse_root
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import Weights, free_run, linearise
from koopctrl.network.hidden_state import HiddenNetwork

_ITERATIONS = 8
_SCALES = np.array([1.0, 0.5, 0.1, 0.01])


@dataclass(frozen=True, eq=False)
class StatePrior:
    """Mean and covariance of the states, and covariance of standardised free-run errors, over training
    data.
    """

    mean: FloatArray
    cov: FloatArray
    error_cov: FloatArray


def estimate_initial_states(net: HiddenNetwork, data: Segments, prior: StatePrior) -> FloatArray:
    """Initial states `(batch, n_x)` of segments, from all their samples."""
    n_x = net.window.n_x
    root = covariance_root(prior.cov)
    whiten = inverse_root(prior.error_cov, np.ones(len(prior.error_cov)))
    weights = Weights(net.coef, net.readout.coef, np.tile(prior.mean, (data.batch, 1)))
    s = np.zeros((data.batch, root.shape[1]))  # x0 = mean + root s

    def residuals(out: FloatArray) -> FloatArray:
        return ((data.w - out) * data.mask) @ whiten.T

    def cost_of(out: FloatArray, coordinates: FloatArray) -> FloatArray:
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.sum(residuals(out) ** 2, axis=(0, 2)) + np.sum(coordinates**2, axis=1)
        return np.where(np.isfinite(value), value, np.inf)

    x, out = free_run(net, weights, data)
    cost = cost_of(out, s)
    for _ in range(_ITERATIONS):
        if not np.isfinite(x).all():
            x = np.where(np.isfinite(x), x, 0.0)
        lin = linearise(net, weights, data, x, only_x0=True).x0  # (time, batch, n_x, n_y)
        rows = (np.swapaxes(lin, -1, -2) * data.mask[..., None]).transpose(1, 0, 2, 3)
        left = (whiten @ rows).reshape(data.batch, -1, n_x) @ root
        right = residuals(out).transpose(1, 0, 2).reshape(data.batch, -1)
        eye = np.broadcast_to(np.eye(root.shape[1]), (data.batch, root.shape[1], root.shape[1]))
        stacked = np.concatenate([left, eye], axis=1)
        target = np.concatenate([right, -s], axis=1)
        finite = np.isfinite(stacked).all(axis=(1, 2)) & np.isfinite(target).all(axis=1)
        step = np.zeros_like(s)
        if finite.any():
            q, r = np.linalg.qr(stacked[finite])
            step[finite] = np.linalg.solve(r, (np.swapaxes(q, 1, 2) @ target[finite][..., None]))[..., 0]
        moved = False
        before = cost.copy()
        for scale in _SCALES:
            trial = s + scale * step
            candidate = Weights(net.coef, net.readout.coef, prior.mean + trial @ root.T)
            x_new, out_new = free_run(net, candidate, data)
            new = cost_of(out_new, trial)
            better = new < cost
            if better.any():
                moved = True
                s = np.where(better[:, None], trial, s)
                cost = np.where(better, new, cost)
                x = np.where(better[:, None], x_new, x)
                out = np.where(better[:, None], out_new, out)
                step = np.where(better[:, None], 0.0, step)
            if better.all():
                break
        weights = Weights(net.coef, net.readout.coef, prior.mean + s @ root.T)
        if not moved or np.all(before - cost <= 1e-8 * before):
            break
    return prior.mean + s @ root.T
