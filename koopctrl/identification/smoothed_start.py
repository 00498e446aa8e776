r"""Where refinement starts from: outer weights by least squares on states that the outputs have corrected.

A linear model's own free run says nothing of what its neurons should do, and with outer weights of zero the
free run's cost often has a plateau there. So the linear model's states are first smoothed with the measured
outputs,

.. math:: \min_x \sum_k \|w_k - \hat w(x_k)\|^2 + \tfrac 1 q \sum_k \|x_{k+1} - x_k - g(x_k, v_k) W\|^2,

and the corrections that this took are what the sampled neurons have to explain: all outer weights are one
least-squares problem along the smoothed states, as they are for measured states. How far the outputs may pull
(`q`, with states and outputs of unit spread), the penalty, and the share of the step from the linear model to
this are those of smallest free-run cost. Where there is no plateau, weights of zero are the better start, and
are tried first.

Source: Marconato, Sjöberg, Suykens & Schoukens, *Improved initialization for nonlinear state-space modeling*,
IEEE Trans. Instrum. Meas. 63, 2014, who estimate states once, from the best linear approximation's noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solveh_banded

from koopctrl._validation import FloatArray
from koopctrl.identification.least_squares import triangle
from koopctrl.identification.refinement import History, Problem, RefineOptions, refine
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import Weights
from koopctrl.network.hidden_state import HiddenNetwork

_PULLS = (1e-4, 1e-3, 1e-2, 1e-1)  # q
# On outer weights of neurons of unit size, a sample: small weights, which extrapolate better, and free ones.
_SMALL, _FREE = (1.0, 1e-1, 1e-2), (1e-4, 1e-6)
_SHARES = (1.0, 0.5, 0.25)
_FLAT = 1e-6  # weight of the first state's prior: keeps what no output shows where it was
_TURNS = 8  # iterations of refinement after which a start is judged, at most a quarter of all
_CLEARLY = 0.8  # times what weights of zero have come to
_STUCK = 0.5  # times the linear model's cost: neurons that have found their way leave less
_FORESEEN = 2.0  # times what one step ahead cannot be foreseen: there is more to explain than noise


def is_stuck(history: History, data: Segments, foreseen: float) -> bool:
    """Whether a refinement from weights of zero has left much of the linear model's cost, and more than noise
    (`foreseen`: the one-step error, squared, over the outputs' variance).
    """
    left = history.cost[-1]
    return not left <= max(_STUCK * history.cost[0], _FORESEEN * foreseen * data.count)


def smoothed_start(
    net: HiddenNetwork,
    data: Segments,
    x0: FloatArray,
    options: RefineOptions,
    reached: float,
    deadline: Callable[[], bool] | None = None,
) -> tuple[HiddenNetwork, FloatArray] | None:
    """Outer weights and initial states to go on from, if there are any that promise more.

    The best start with small weights is refined a little, then the best with free ones, until one has left
    behind what weights of zero have come to.

    Parameters
    ----------
    net : HiddenNetwork
        With layers whose outer weights are zero, and states of about unit spread.
    data : Segments
    x0 : (batch, n_x) array
        Initial states of the linear model.
    options : RefineOptions
        Whose penalty and radius the cost has.
    reached : float
        Cost that refinement from weights of zero has come to.
    deadline : callable, optional
        Says True when there is no time left.

    Returns
    -------
    (network, x0) or None
    """
    problem = Problem(net, data, options.penalty, options.radius)
    linear = Weights(net.coef, net.readout.coef, x0)
    states, cost = problem.evaluate(linear)
    if not np.isfinite(cost):
        return None
    pulls = (0.0, *_PULLS) if net.readout.layer.n_features else _PULLS
    smoothed = [states if pull == 0.0 else smoothed_states(net, data, x0, pull) for pull in pulls]
    along = [_triangles(net, data, x) for x in smoothed if x is not None]
    few = replace(options, max_iter=min(_TURNS, options.max_iter // 4))
    # without any refinement the cheapest of all is as good as it gets
    bar, groups = (_CLEARLY * reached, (_SMALL, _FREE)) if few.max_iter else (reached, ((*_SMALL, *_FREE),))
    for penalties in groups:
        start = _cheapest(problem, linear, cost, states, [t.weights(p) for t in along for p in penalties])
        found, x0_found, history = refine(_with(net, start), data, start.x0, few, deadline=deadline)
        weights = Weights(found.coef, found.readout.coef, x0_found)
        # one that is left outside the radius has explained drift by a mode that grows
        if history.cost[-1] < bar and problem.is_within_radius(weights):
            return found, x0_found
    return None


def _with(net: HiddenNetwork, weights: Weights) -> HiddenNetwork:
    return HiddenNetwork(replace(net.state, coef=weights.state), replace(net.readout, coef=weights.output))


def _cheapest(
    problem: Problem, linear: Weights, cost: float, states: FloatArray, others: list[Weights]
) -> Weights:
    """Of the linear model and all shares of the steps from it to others, the one of smallest cost."""
    if not others:
        return linear
    theta = problem.vector(linear)
    steps = np.stack([problem.vector(w) - theta for w in others])
    x0s = np.stack([w.x0 for w in others])
    thetas = np.concatenate([theta + share * steps for share in _SHARES])
    found = problem.best_of(problem.within_radius(thetas, states), np.tile(x0s, (len(_SHARES), 1, 1)))
    return linear if found is None or found[2] >= cost else found[0]


@dataclass(frozen=True, eq=False)
class _Triangles:
    """Least-squares problems along smoothed states, `(triangle, sizes of regressors, neurons, samples)`: of
    the state's outer weights and, if it has neurons, of the output's.
    """

    state: tuple[FloatArray, FloatArray, slice, int]
    output: tuple[FloatArray, FloatArray, slice, int] | None
    readout: FloatArray
    x0: FloatArray

    def weights(self, penalty: float) -> Weights:
        """With a penalty on the neurons' weights."""
        output = self.readout if self.output is None else _ridge(*self.output, penalty)
        return Weights(_ridge(*self.state, penalty), output, self.x0)


def _triangles(net: HiddenNetwork, data: Segments, x: FloatArray) -> _Triangles:
    n_x, inside = net.window.n_x, data.inside
    pairs = inside[:-1] & inside[1:]
    now, v = x[:-1][pairs], data.v[:-1][pairs]
    g = np.concatenate([net.state.dictionary(now, v), v], axis=1)
    state = _triangle(g, x[1:][pairs] - now, slice(1 + n_x, 1 + n_x + net.layer.n_features))
    q_out, output = net.readout.layer.n_features, None
    if q_out:
        seen = data.mask.all(axis=2)
        g = net.readout.regressors(x, data.v)[seen]
        output = _triangle(g, data.w[seen], slice(1 + n_x, 1 + n_x + q_out))
    return _Triangles(state, output, net.readout.coef, x[0])


def _triangle(g: FloatArray, target: FloatArray, neurons: slice) -> tuple[FloatArray, FloatArray, slice, int]:
    size = np.sqrt(np.mean(g**2, axis=0)) if len(g) else np.ones(g.shape[1])
    size = np.where(size > 0, size, 1.0)
    return triangle(np.concatenate([g / size, target], axis=1)), size, neurons, len(g)


def _ridge(table: FloatArray, size: FloatArray, neurons: slice, count: int, penalty: float) -> FloatArray:
    """Least squares with a penalty on the neurons' weights, the regressors of unit size."""
    n = len(size)
    root = np.zeros(n)
    root[neurons] = np.sqrt(penalty * count)
    rows = np.concatenate([table[:n, :n], np.diag(root)])
    wanted = np.concatenate([table[:n, n:], np.zeros((n, table.shape[1] - n))])
    return np.linalg.lstsq(rows, wanted, rcond=None)[0] / size[:, None]


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
