r"""One lift without a choice: EDMD on the network's reduced dictionary at a given cut, or its derivatives
alone.

One least-squares solve for `[A B N]` on `z_next - c`, with `c` the drift of the operating point.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.lifted.dictionary import raw_layer, reduce_dictionary
from koopctrl.lifted.observables import Observables
from koopctrl.lifted.regression import NestedRegression
from koopctrl.network.recurrent import RecurrentNetwork

Made = tuple[
    Observables, FloatArray, FloatArray, FloatArray, FloatArray | None, FloatArray, FloatArray | None
]


def edmd_at(
    network: RecurrentNetwork,
    snapshots: Snapshots,
    x_op: FloatArray,
    u_op: FloatArray,
    rank_tol: float,
    bilinear: bool,
) -> Made:
    """`(observables, A, B, c, N, u_op, singular values)` with the features cut at `rank_tol`."""
    x, u = snapshots.x, snapshots.u
    dictionary = reduce_dictionary(raw_layer(network, u_op), x, x_op, network.x_scale)
    observables = dictionary.observables(dictionary.rank(rank_tol))
    x_next = network.window.advance(x, u, snapshots.y_next)
    z, z_next, du = observables(x), observables(x_next), u - u_op
    c = drift(network, observables, u_op)
    blocks = [z, du]
    if bilinear:
        blocks += [du[:, i : i + 1] * z for i in range(du.shape[1])]
    n_z, n_u = z.shape[1], du.shape[1]
    accumulator = QRAccumulator(sum(b.shape[1] for b in blocks), n_z)
    accumulator.update(np.concatenate(blocks, axis=1), z_next - c)
    w = accumulator.solve(rcond=1e-12).coef.T
    n = w[:, n_z + n_u :].reshape(n_z, n_u, n_z).transpose(1, 0, 2).copy() if bilinear else None
    singular_values = np.concatenate([dictionary.state_sigma, dictionary.sigma])
    return observables, w[:, :n_z], w[:, n_z : n_z + n_u], c, n, u_op, singular_values


def least_squares_at(
    network: RecurrentNetwork, snapshots: Snapshots, x_op: FloatArray, u_op: FloatArray
) -> Made:
    """The state alone, least squares with a constant over all pairs: DMD with control."""
    observables = Observables.identity(x_op, network.x_scale)
    z, du = observables(snapshots.x), snapshots.u - u_op
    z_next = observables(network.window.advance(snapshots.x, snapshots.u, snapshots.y_next))
    A, B, c = NestedRegression(z, du, z_next, z.shape[1]).affine()
    return observables, A, B, c, None, u_op, None


def jacobian_at(network: RecurrentNetwork, x_op: FloatArray, u_op: FloatArray) -> Made:
    """The network's derivatives at the operating point, in scaled states; exact for a linear network."""
    observables = Observables.identity(x_op, network.x_scale)
    a, b = network.jacobian(x_op, u_op)
    scale = network.x_scale
    c = drift(network, observables, u_op)
    return observables, a * scale / scale[:, None], b / scale[:, None], c, None, u_op, None


def drift(network: RecurrentNetwork, observables: Observables, u_op: FloatArray) -> FloatArray:
    """Where the nonlinear face takes the operating point, in lifted coordinates."""
    c = observables(network.step(observables.x_op, u_op))
    # An equilibrium found by Newton's method is one to rounding only.
    return np.zeros_like(c) if np.abs(c[: network.window.n_x]).max(initial=0.0) < 1e-9 else c
