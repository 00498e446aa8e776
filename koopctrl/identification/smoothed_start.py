r"""Where refinement starts from: outer weights by least squares on states that the outputs have corrected.

A linear model's own free run says nothing of what its neurons should do, and with outer weights of zero the
free run's cost often has a plateau there. So the linear model's states are first smoothed with the measured
outputs,

.. math:: \min_x \sum_k \|w_k - \hat w(x_k)\|^2 + \tfrac 1 q \sum_k \|x_{k+1} - x_k - g(x_k, v_k) W\|^2,

and the corrections that this took are what the sampled neurons have to explain: all outer weights are one
least-squares problem along the smoothed states, as they are for measured states. How far the outputs may pull
(`q`, with states and outputs of unit spread), the penalty, and the share of the step from the linear model to
this are those of smallest free-run cost; the linear model itself is one of them, so that a start never has a
higher cost than it.

Source: Marconato, Sjöberg, Suykens & Schoukens, *Improved initialization for nonlinear state-space modeling*,
IEEE Trans. Instrum. Meas. 63, 2014, who estimate states once, from the best linear approximation's noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.linalg import solveh_banded

from koopctrl._validation import FloatArray
from koopctrl.identification.least_squares import triangle
from koopctrl.identification.refinement import Problem, RefineOptions
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import Weights
from koopctrl.network.hidden_state import HiddenNetwork

_PULLS = (1e-4, 1e-3, 1e-2, 1e-1)  # q
_PENALTIES = (1e-6, 1e-3, 1e-1)  # on outer weights of neurons of unit size, a sample
_SHARES = (1.0, 0.5, 0.25)
_FLAT = 1e-6  # weight of the first state's prior: keeps what no output shows where it was


def smoothed_start(
    net: HiddenNetwork, data: Segments, x0: FloatArray, options: RefineOptions
) -> tuple[HiddenNetwork, FloatArray]:
    """Outer weights and initial states to refine from.

    Parameters
    ----------
    net : HiddenNetwork
        With layers whose outer weights are zero, and states of about unit spread.
    data : Segments
    x0 : (batch, n_x) array
        Initial states of the linear model.
    options : RefineOptions
        Whose penalty and radius the cost has.

    Returns
    -------
    network : HiddenNetwork
    x0 : (batch, n_x) array
    """
    problem = Problem(net, data, options.penalty, options.radius)
    linear = Weights(net.coef, net.readout.coef, x0)
    states, cost = problem.evaluate(linear)
    if not np.isfinite(cost):
        return net, x0
    best = linear
    for pull in (0.0, *_PULLS) if net.readout.layer.n_features else _PULLS:
        x = states if pull == 0.0 else smoothed_states(net, data, x0, pull)
        if x is None:
            continue
        candidates = list(_regressed(net, data, x))
        theta = problem.vector(linear)
        steps = np.stack(
            [theta + share * (problem.vector(c) - theta) for c in candidates for share in _SHARES]
        )
        found = problem.best_of(problem.within_radius(steps, states), np.tile(x[0], (len(steps), 1, 1)))
        if found is not None and found[2] < cost:
            best, _, cost, _ = found
    state, readout = replace(net.state, coef=best.state), replace(net.readout, coef=best.output)
    return HiddenNetwork(state, readout), best.x0


def _regressed(net: HiddenNetwork, data: Segments, x: FloatArray) -> Iterator[Weights]:
    """Outer weights by least squares along states `(n_time, batch, n_x)`, one for each penalty."""
    n_x, inside = net.window.n_x, data.inside
    pairs = inside[:-1] & inside[1:]
    now, v = x[:-1][pairs], data.v[:-1][pairs]
    g = np.concatenate([net.state.dictionary(now, v), v], axis=1)
    states = list(_ridge(g, x[1:][pairs] - now, slice(1 + n_x, 1 + n_x + net.layer.n_features)))
    q_out = net.readout.layer.n_features
    outputs = [net.readout.coef] * len(states)
    if q_out:
        seen = data.mask.all(axis=2)
        g = net.readout.regressors(x, data.v)[seen]
        outputs = list(_ridge(g, data.w[seen], slice(1 + n_x, 1 + n_x + q_out)))
    for state, output in zip(states, outputs, strict=True):
        yield Weights(state, output, x[0])


def _ridge(g: FloatArray, target: FloatArray, neurons: slice) -> Iterator[FloatArray]:
    """Least squares with each of the penalties on the neurons' weights, the regressors of unit size."""
    size = np.sqrt(np.mean(g**2, axis=0)) if len(g) else np.ones(g.shape[1])
    size = np.where(size > 0, size, 1.0)
    n = g.shape[1]
    table = triangle(np.concatenate([g / size, target], axis=1))
    left, right = table[:n, :n], table[:n, n:]
    for penalty in _PENALTIES:
        root = np.zeros(n)
        root[neurons] = np.sqrt(penalty * len(g))
        rows = np.concatenate([left, np.diag(root)])
        wanted = np.concatenate([right, np.zeros((n, target.shape[1]))])
        yield np.linalg.lstsq(rows, wanted, rcond=None)[0] / size[:, None]


def smoothed_states(net: HiddenNetwork, data: Segments, x0: FloatArray, pull: float) -> FloatArray | None:
    """States `(n_time, batch, n_x)` of a network's linear part, corrected by the outputs; None where they
    cannot be told (see the module for the problem).

    Its normal equations are block tridiagonal, one banded system a segment. Their squared condition does not
    matter: what comes of it is a start, which its free run judges.
    """
    n = net.window.n_x
    a = np.eye(n) + net.coef[1 : 1 + n]  # in rows: x_{k+1} = x_k a + drive_k
    drive = net.coef[0] + data.v @ net.coef[1 + n + net.layer.n_features :]
    c = net.readout.coef[1 : 1 + n]
    beside = net.readout.regressors(np.zeros((*data.v.shape[:2], n)), data.v) @ net.readout.coef
    x = np.empty((data.n_time, data.batch, n))
    for j in range(data.batch):
        mask = data.mask[:, j]
        blocks = np.einsum("ia,ka,la->kil", c, mask, c)
        blocks[0] += _FLAT * np.eye(n)
        blocks[1:] += np.eye(n) / pull
        blocks[:-1] += a @ a.T / pull
        right = ((data.w[:, j] - beside[:, j]) * mask) @ c.T
        right[0] += _FLAT * x0[j]
        right[1:] += drive[:-1, j] / pull
        right[:-1] -= drive[:-1, j] @ a.T / pull
        band = np.zeros((2 * n, data.n_time * n))  # the lower part's diagonals
        for i in range(n):
            for m in range(n):
                if i >= m:
                    band[i - m, m::n] = blocks[:, i, m]
                band[n + i - m, m : (data.n_time - 1) * n : n] = -a[m, i] / pull
        try:
            x[:, j] = solveh_banded(band, right.ravel(), lower=True).reshape(-1, n)
        except (np.linalg.LinAlgError, ValueError):  # not definite, or not finite: no such start
            return None
    return x
