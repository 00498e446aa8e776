"""Equilibria of the nonlinear face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN


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
    """Equilibria `(x, u)` of the network near states of the data, within the data's range.

    From a state of the data and its input, `x = f(x, u)` is solved for both together by Gauss-Newton steps of
    least norm, in standardised units: the nearest point of the set of equilibria, whatever its dimension
    (integrators have a set too large to be given by `u`, unstable plants one that no simulation finds).
    """
    low, high = snapshots.y_next.min(axis=0), snapshots.y_next.max(axis=0)
    u_low, u_high = snapshots.u.min(axis=0), snapshots.u.max(axis=0)
    found = []
    tries = rng.choice(len(snapshots.x), size=min(len(snapshots.x), 4 * n_max), replace=False)
    for k in tries:
        point = _nearest_equilibrium(network, snapshots.x[k], snapshots.u[k])
        if point is None:
            continue
        y, u = point[0][: network.window.n_y], point[1]
        if (y >= low).all() and (y <= high).all() and (u >= u_low).all() and (u <= u_high).all():
            found.append(point)
        if len(found) == n_max:
            break
    return found


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
