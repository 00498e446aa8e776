r"""Refinement: Levenberg-Marquardt on the outer weights, along the network's own free run.

.. math::
    \min_{W, V, x_0^{(s)}} \sum_s \sum_k \|w_k^{(s)} - \hat w_k^{(s)}\|^2
    + \rho N (\|E\|^2 + \|F\|^2) + \kappa \sum_s \|x_0^{(s)}\|^2

over segments `s`, in standardised units, `N` the number of output samples and `E, F` the weights of the
sampled neurons: the linear part and the states are free. The hidden layer stays as it was sampled.

One iteration:

1. free run and forward sensitivities of all segments (`sensitivities`);
2. each segment's rows `[J_x0, J_W, e]` are triangularised; the rows below the first `n_x` know nothing of
   `x_0`, and
   are gathered in one triangle for the weights (arrow structure: cost linear in the number of segments);
3. the SVD of that triangle, its columns scaled and the penalty's rows below it, gives the step for *every*
   damping
   at once; the candidates roll out side by side and the best is taken if it lowers the cost.

Cost therefore falls with every accepted step. Normal equations are never formed.

Source: Nocedal & Wright, *Numerical Optimization*, 2nd ed., section 10.3 (Levenberg-Marquardt); the
elimination is separable least squares by QR (Golub & Pereyra, SIAM J. Numer. Anal. 10, 1973).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.least_squares import triangle
from koopctrl.identification.realisation import stabilise
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import Weights, free_run, linearise
from koopctrl.network.hidden_state import HiddenNetwork

_DAMPINGS = np.array([1e-3, 1e-1, 1.0, 1e1, 1e3])  # candidates, times the last one that was accepted
# Shares of the step, and what dampings are multiplied by: those of the last step may be far too small.
_STEPS = ((1.0, 1.0), (0.1, 1e4), (0.01, 1e4), (1.0, 1e6), (0.1, 1e8), (0.01, 1e10))
_PRIOR = 1e-10  # kappa: keeps initial states that the outputs do not show near the data
_JACOBIAN_ELEMENTS = 8_000_000
_ROLLOUT_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class RefineOptions:
    """How far and how hard to refine.

    Attributes
    ----------
    penalty : float
        `rho`, on the squared weights of neurons, in standardised units.
    max_iter : int
        Most iterations.
    tolerance : float
        Relative fall of the cost in one iteration below which it counts as converged, five times in a row.
    patience : int
        Iterations without a better held-out error after which it stops.
    radius : float
        Largest spectral radius of the step's mean Jacobian over the data; candidates outside are pulled onto
        it before they are judged. A slow mode just outside the unit circle fits drift, and explodes on
        longer records.
    """

    penalty: float = 1e-4
    max_iter: int = 60
    tolerance: float = 1e-4
    patience: int = 8
    radius: float = np.inf


@dataclass
class History:
    """What happened.

    Attributes
    ----------
    cost : list of float
        Cost before the first and after every accepted iteration: it never rises.
    held_out : list of float
        Error on held-out data beside it, where there are any.
    chosen : int
        Iterations of the network that is returned; 0 is the start itself.
    message : str
        Why it stopped.
    """

    cost: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    chosen: int = 0
    message: str = ""


def refine(
    net: HiddenNetwork,
    data: Segments,
    x0: FloatArray,
    options: RefineOptions,
    held_out: Callable[[HiddenNetwork], float] | None = None,
    progress: Callable[[int, float, float | None], None] | None = None,
    deadline: Callable[[], bool] | None = None,
) -> tuple[HiddenNetwork, FloatArray, History]:
    """Refine a network's outer weights.

    Parameters
    ----------
    net : HiddenNetwork
        Start; its layers are kept.
    data : Segments
        Training segments.
    x0 : (batch, n_x) array
        Initial states to start from.
    options : RefineOptions
    held_out : callable, optional
        Error of a network on data that are not in `data`; the network of the smallest one is returned, the
        start itself if no step helps.
    progress : callable, optional
        Called after every iteration with its number, the cost per output sample, and the held-out error.
    deadline : callable, optional
        Says True when there is no time left.

    Returns
    -------
    network : HiddenNetwork
    x0 : (batch, n_x) array
    history : History

    Notes
    -----
    `KeyboardInterrupt` ends it early: the best network so far is returned.
    """
    weights = Weights(net.coef.copy(), net.readout.coef.copy(), x0.copy())
    problem = Problem(net, data, options.penalty, options.radius)
    states, cost = problem.evaluate(weights)
    history = History(cost=[cost])
    best, best_error = weights, np.inf
    if held_out is not None:
        best_error = held_out(net)
        history.held_out.append(best_error)
    damping, slow, since = 1e-2, 0, 0
    try:
        for iteration in range(1, options.max_iter + 1):
            if not np.isfinite(cost):
                history.message = "the start diverges on the segments"
                break
            if deadline is not None and deadline():
                history.message = "no time left"
                break
            found = problem.improve(weights, states, cost, damping)
            if found is None:
                history.message = "converged: no step lowers the cost"
                break
            weights, states, new_cost, damping = found
            slow = slow + 1 if cost - new_cost <= options.tolerance * cost else 0
            cost = new_cost
            history.cost.append(cost)
            error = None
            if held_out is None:
                best, history.chosen = weights, iteration
            else:
                error = held_out(_with_weights(net, weights))
                history.held_out.append(error)
                since += 1
                if error < best_error:
                    best, best_error, history.chosen, since = weights, error, iteration, 0
            if progress is not None:
                progress(iteration, cost / max(data.count, 1.0), error)
            if slow >= 5:
                history.message = "converged: the cost stands"
                break
            if held_out is not None and since >= options.patience:
                history.message = "the held-out error no longer falls"
                break
        else:
            history.message = "max_iter reached"
    except KeyboardInterrupt:
        history.message = "interrupted"
    return _with_weights(net, best), best.x0, history


def _with_weights(net: HiddenNetwork, weights: Weights) -> HiddenNetwork:
    return HiddenNetwork(replace(net.state, coef=weights.state), replace(net.readout, coef=weights.output))


class Problem:
    """Cost, its triangle, and the search along dampings."""

    def __init__(self, net: HiddenNetwork, data: Segments, penalty: float, radius: float) -> None:
        self.net, self.data = net, data
        n_x, q = net.window.n_x, net.layer.n_features
        self.n_x = n_x
        # Square roots of the penalty's weight on every outer weight, laid out as the sensitivities are.
        state = np.zeros((net.coef.shape[0], n_x))
        state[1 + n_x : 1 + n_x + q] = 1.0
        output = np.zeros_like(net.readout.coef)
        output[1 + n_x : 1 + n_x + net.readout.layer.n_features] = 1.0
        root = np.sqrt(penalty * max(data.count, 1.0))
        self.root = root * np.concatenate([state.T.ravel(), output.T.ravel()])
        self.kappa = np.sqrt(_PRIOR)
        self.radius = radius

    def vector(self, w: Weights) -> FloatArray:
        """All outer weights, `(..., n_weights)`."""
        lead = w.state.shape[:-2]
        flat = [np.swapaxes(m, -1, -2).reshape(*lead, -1) for m in (w.state, w.output)]
        return np.concatenate(flat, axis=-1)

    def unpack(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(state, output)` weights of `(..., n_weights)`."""
        r, n_x = self.net.coef.shape
        r_out, n_y = self.net.readout.coef.shape
        lead = theta.shape[:-1]
        state = np.swapaxes(theta[..., : r * n_x].reshape(*lead, n_x, r), -1, -2)
        output = np.swapaxes(theta[..., r * n_x :].reshape(*lead, n_y, r_out), -1, -2)
        return np.ascontiguousarray(state), np.ascontiguousarray(output)

    def costs(self, w: Weights) -> tuple[FloatArray, FloatArray]:
        """States of the free runs and their costs; infinite where one explodes."""
        x, out = free_run(self.net, w, self.data)
        lead = (None,) * (w.x0.ndim - 2)
        with np.errstate(over="ignore", invalid="ignore"):
            error = (out - self.data.w[:, *lead]) * self.data.mask[:, *lead]
            total = np.sum(np.square(error), axis=(0, -2, -1))
            total = total + np.sum((self.root * self.vector(w)) ** 2, axis=-1)
            total = total + np.sum((self.kappa * w.x0) ** 2, axis=(-2, -1))
        return x, np.where(np.isfinite(total), total, np.inf)

    def evaluate(self, w: Weights) -> tuple[FloatArray, float]:
        """States and cost of one set of weights."""
        x, cost = self.costs(w)
        return x, float(cost)

    def reduce(self, w: Weights, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(R, tops)`: triangle of `[J_W, e]` free of initial states, and each segment's first `n_x` rows."""
        net, data, n_x = self.net, self.data, self.n_x
        n_y = data.w.shape[2]
        n_w = len(self.root)
        width = n_x + n_w + 1
        group = max(1, _JACOBIAN_ELEMENTS // max(1, data.n_time * n_y * width))
        tops, r = [], np.zeros((0, n_w + 1))
        for start in range(0, data.batch, group):
            part = slice(start, min(start + group, data.batch))
            some, xs = data.group(part), x[:, part]
            lin = linearise(net, Weights(w.state, w.output, w.x0[part]), some, xs)
            error = some.w - net.readout.regressors(xs, some.v) @ w.output
            size = some.batch
            table = np.zeros((size, data.n_time * n_y + n_x, width))
            rows = table[:, : data.n_time * n_y].reshape(size, data.n_time, n_y, width)
            rows[..., :n_x] = lin.x0.transpose(1, 0, 3, 2)
            n_s = lin.state.shape[2]
            rows[..., n_x : n_x + n_s] = lin.state.transpose(1, 0, 3, 2)
            rows[..., n_x + n_s : -1] = lin.output.transpose(1, 0, 3, 2)
            rows[..., -1] = error.transpose(1, 0, 2)
            rows *= some.mask.transpose(1, 0, 2)[..., None]
            tail = table[:, data.n_time * n_y :]
            tail[:, :, :n_x] = self.kappa * np.eye(n_x)
            tail[:, :, -1] = -self.kappa * w.x0[part]
            q = triangle(table)
            tops.append(q[:, :n_x])
            r = triangle(np.concatenate([r, q[:, n_x:, n_x:].reshape(-1, n_w + 1)]))
        return r, np.concatenate(tops)

    def improve(
        self, w: Weights, x: FloatArray, cost: float, damping: float
    ) -> tuple[Weights, FloatArray, float, float] | None:
        """Best of the candidate steps, with its states, cost and damping; None if none lowers the cost."""
        n_x = self.n_x
        r, tops = self.reduce(w, x)
        if not np.isfinite(r).all():
            return None
        theta = self.vector(w)
        n_w = len(theta)
        penalised = np.concatenate([np.diag(self.root), -(self.root * theta)[:, None]], axis=1)
        full = triangle(np.concatenate([r, penalised[self.root > 0]]))
        left, right = full[:n_w, :n_w], full[:n_w, n_w]
        scale = np.linalg.norm(left, axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        u, s, vt = np.linalg.svd(left / scale, full_matrices=False)
        projected = u.T @ right
        heads = tops[:, :, :n_x]
        diagonal = np.abs(np.diagonal(heads, axis1=1, axis2=2))
        if not (diagonal > 0).all():
            return None
        for shrink, more in _STEPS:
            lambdas = np.clip(damping * more * _DAMPINGS, 1e-14, 1e8)
            steps = (vt.T @ (s * projected / (s**2 + lambdas[:, None])).T).T / scale
            rest = tops[None, :, :, -1] - np.einsum("sij,lj->lsi", tops[:, :, n_x:-1], steps)
            x0_steps = np.linalg.solve(heads[None], rest[..., None])[..., 0]
            thetas = self.within_radius(theta + shrink * steps, x)
            found = self.best_of(thetas, w.x0 + shrink * x0_steps)
            if found is not None and found[2] < cost:
                weights, states, new_cost, i = found
                return weights, states, new_cost, float(np.clip(lambdas[i], 1e-10, 1e6))
        return None

    def within_radius(self, thetas: FloatArray, x: FloatArray) -> FloatArray:
        """Candidates whose mean Jacobian is within the radius, by a change of `A` alone."""
        if not np.isfinite(self.radius):
            return thetas
        n_x, inner = self.n_x, self._inner(x)
        state, output = self.unpack(thetas)
        for one in state:
            mean = self._mean_jacobian(one, inner)
            if np.isfinite(mean).all():
                one[1 : 1 + n_x] += stabilise(mean, self.radius) - mean
        return self.vector(Weights(state, output, np.empty(0)))

    def is_within_radius(self, w: Weights) -> bool:
        """Whether the mean Jacobian along the free run of some weights is within the radius."""
        if not np.isfinite(self.radius):
            return True
        x, cost = self.evaluate(w)
        if not np.isfinite(cost):
            return False
        mean = self._mean_jacobian(w.state, self._inner(x))
        return float(np.abs(np.linalg.eigvals(mean)).max()) <= self.radius

    def _inner(self, x: FloatArray) -> FloatArray:
        """Mean derivative of the neurons by the states, `(n_x, q)`, along states `x` of the segments."""
        n_x, layer = self.n_x, self.net.layer
        if not layer.n_features:
            return np.zeros((n_x, 0))
        some = slice(None, None, max(1, self.data.n_time // 500))
        points = np.concatenate([x[some], self.data.v[some]], axis=-1).reshape(-1, layer.weights.shape[1])
        return layer.weights[:, :n_x].T * layer.derivative(points).mean(axis=0)

    def _mean_jacobian(self, state: FloatArray, inner: FloatArray) -> FloatArray:
        """Of the step, with the state's outer weights, in rows."""
        n_x, q = self.n_x, self.net.layer.n_features
        return np.eye(n_x) + state[1 : 1 + n_x] + inner @ state[1 + n_x : 1 + n_x + q]

    def best_of(self, thetas: FloatArray, x0s: FloatArray) -> tuple[Weights, FloatArray, float, int] | None:
        """Roll candidates out, as many side by side as memory likes, and return the cheapest."""
        n_x = self.n_x
        each = self.data.n_time * self.data.batch * (n_x + self.net.layer.n_features)
        side = int(np.clip(_ROLLOUT_ELEMENTS // max(each, 1), 1, len(thetas)))
        best: tuple[Weights, FloatArray, float, int] | None = None
        for start in range(0, len(thetas), side):
            part = slice(start, start + side)
            state, output = self.unpack(thetas[part])
            candidates = Weights(state, output, x0s[part])
            x, costs = self.costs(candidates)
            i = int(np.argmin(costs))
            if np.isfinite(costs[i]) and (best is None or costs[i] < best[2]):
                weights = Weights(state[i], output[i], x0s[part][i])
                best = weights, np.ascontiguousarray(x[:, i]), float(costs[i]), start + i
        return best
