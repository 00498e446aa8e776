"""Equilibria of the nonlinear face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, spatial

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN


# Training pairs that stand for all, and how many of their distances from one another an equilibrium may be
# off.
_SAMPLE, _MARGIN = 3_000, 2.0


def find_equilibrium(model: KoopmanRNN, u_op: FloatArray, guess: FloatArray) -> FloatArray | None:
    """Fixed point of the nonlinear face under constant input, or None if none lies in the data's range."""
    net = model._network
    identity = np.eye(len(guess))
    scale = net.x_scale

    def residual(s: FloatArray) -> FloatArray:
        x = s * scale
        return (net.step(x, u_op) - x) / scale

    def jacobian(s: FloatArray) -> FloatArray:
        return (net.jacobian(s * scale, u_op)[0] - identity) * scale / scale[:, None]

    result = optimize.root(residual, guess / scale, jac=jacobian, method="hybr", options={"xtol": 1e-14})
    x = result.x * scale
    low, high = model.y_range_
    y = x[: net.window.n_y]
    if np.abs(residual(result.x)).max() > 1e-9 or (y < low).any() or (y > high).any():
        return None
    return x


def equilibria_near(
    network: RecurrentNetwork, snapshots: Snapshots, n_max: int, rng: np.random.Generator
) -> list[tuple[FloatArray, FloatArray]]:
    """Equilibria `(x, u)` of the network near states of the data, where the data know it.

    From a state of the data and its input, `x = f(x, u)` is solved for both together by Gauss-Newton steps of
    least norm, in standardised units: the nearest point of the set of equilibria, whatever its dimension
    (integrators have a set too large to be given by `u`, unstable plants one that no simulation finds). A
    network has equilibria too where it has seen nothing; those further from the training pairs than these are
    from one another are left out.
    """
    low, high = snapshots.y_next.min(axis=0), snapshots.y_next.max(axis=0)
    u_low, u_high = snapshots.u.min(axis=0), snapshots.u.max(axis=0)
    known = _Neighbourhood(network, snapshots, rng)
    found = []
    tries = rng.choice(len(snapshots.x), size=min(len(snapshots.x), 4 * n_max), replace=False)
    for k in tries:
        point = _nearest_equilibrium(network, snapshots.x[k], snapshots.u[k])
        if point is None:
            continue
        y, u = point[0][: network.window.n_y], point[1]
        within = (y >= low).all() and (y <= high).all() and (u >= u_low).all() and (u <= u_high).all()
        if within and known.holds(*point):
            found.append(point)
        if len(found) == n_max:
            break
    return found


class _Neighbourhood:
    """Whether a pair `(x, u)` is near some of the training pairs, in standardised units."""

    def __init__(self, network: RecurrentNetwork, snapshots: Snapshots, rng: np.random.Generator) -> None:
        self._network = network
        chosen = np.arange(len(snapshots.x))
        if len(chosen) > _SAMPLE:
            chosen = rng.choice(len(chosen), size=_SAMPLE, replace=False)
        points = np.hstack(network.standardise(snapshots.x[chosen], snapshots.u[chosen]))
        self._tree = spatial.cKDTree(points)
        # The nearest point of each is itself; the second nearest tells how dense the data are there.
        distances = self._tree.query(points, k=min(2, len(points)))[0].reshape(len(points), -1)[:, -1]
        self._reach = _MARGIN * float(np.quantile(distances, 0.95))

    def holds(self, x: FloatArray, u: FloatArray) -> bool:
        """Whether it is."""
        point = np.concatenate(self._network.standardise(x, u))
        return bool(self._tree.query(point)[0] <= self._reach)


def _nearest_equilibrium(
    network: RecurrentNetwork, x: FloatArray, u: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    window, x_scale, u_scale = network.window, network.x_scale, network.scaling.u_scale
    x, n_x = window.repeat_channels(x[: window.n_y], u), window.n_x
    identity = np.eye(n_x)
    for _ in range(20):
        with np.errstate(all="ignore"):
            defect = (network.step(x, u) - x) / x_scale
        if not np.isfinite(defect).all():
            return None
        if np.abs(defect).max() < 1e-9:
            return x, u
        a, b = network.jacobian(x, u)
        slope = np.hstack([(a - identity) * x_scale / x_scale[:, None], b * u_scale / x_scale[:, None]])
        if not np.isfinite(slope).all():
            return None
        step = -np.linalg.lstsq(slope, defect, rcond=1e-8)[0]
        step *= min(1.0, 1.0 / np.abs(step).max())  # a standard deviation at most
        x, u = x + step[:n_x] * x_scale, u + step[n_x:] * u_scale
    return None
