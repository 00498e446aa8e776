"""Linear face of a hidden-state model: EDMD on its states, and an output matrix of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_weight
from koopctrl.identification.held_out import Snapshots
from koopctrl.lifted.lift import lift_network
from koopctrl.lifted.model import LiftedModel
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN


@dataclass(frozen=True, eq=False)
class StateView:
    """The state equation as a model whose outputs are the hidden states: what a lift reads of a model."""

    network_: RecurrentNetwork
    snapshots_: Snapshots
    dt_: float
    state_names_: tuple[str, ...]
    input_names_: tuple[str, ...]
    y_range_: tuple[FloatArray, FloatArray]

    @property
    def output_names_(self) -> tuple[str, ...]:
        """The states."""
        return self.state_names_

    @property
    def _network(self) -> RecurrentNetwork:
        return self.network_


def lift_hidden(
    model: KoopmanRNN, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None, **options: Any
) -> LiftedModel:
    """Linear face of a hidden-state model around `(x_op, u_op)`, with outputs `C z + D (u - u_op) + y_op`.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted with `n_states`.
    x_op : (n_states,) array_like or scalar, optional
        Operating state; by default the equilibrium under `u_op` nearest to the data's mean.
    u_op : (n_u,) array_like or scalar, optional
        Operating input; the mean of the data by default.
    **options
        As in `koopctrl.lifted.lift.lift_network`; `Q` weighs outputs.
    """
    net, shots = model.network_, model.snapshots_
    low, high = shots.x.min(axis=0), shots.x.max(axis=0)
    view: Any = StateView(net.state, shots, model.dt_, model.state_names_, model.input_names_, (low, high))
    if options.get("Q") is not None:  # on the states that the outputs read
        c = net.output_jacobian(net.x_mean, net.scaling.u_mean)[0]
        weight = as_weight(options["Q"], "Q", len(c))
        options = {**options, "Q": c.T @ weight @ c}
    lifted = lift_network(view, x_op, u_op, **options)
    y_op = net.output(lifted.x_op, lifted.u_op)
    c, d = _output_matrices(net, lifted, shots, y_op)
    q, r = model.noise_
    scale = lifted.observables.x_scale
    q_z = np.zeros((lifted.n_z, lifted.n_z))
    q_z[: lifted.n_x, : lifted.n_x] = q / np.outer(scale, scale)
    if lifted.n_z > lifted.n_x:
        # Features move with the state: their noise is that of their slope along the training states.
        slope = np.linalg.lstsq(*_deviations(lifted, shots), rcond=None)[0].T
        q_z = slope @ (q / np.outer(scale, scale)) @ slope.T
    return replace(
        lifted,
        C=c,
        D=d,
        y_op=y_op,
        output_names=model.output_names_,
        network=None,  # its outputs are the states, not these
        noise=(q_z, r, np.zeros((lifted.n_z, len(r)))),
    )


def _deviations(lifted: LiftedModel, shots: Snapshots) -> tuple[FloatArray, FloatArray]:
    z = lifted.observables(shots.x)
    return z[:, : lifted.n_x], z


def _output_matrices(
    net: Any, lifted: LiftedModel, shots: Snapshots, y_op: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`(C, D)`: exact where the readout has no neurons, else least squares over the training states."""
    readout, n_x, n_z = net.readout, lifted.n_x, lifted.n_z
    if not readout.layer.n_features:
        dx, du = net.output_jacobian(lifted.x_op, lifted.u_op)
        return np.concatenate([dx * lifted.observables.x_scale, np.zeros((len(dx), n_z - n_x))], axis=1), du
    z, u_dev = lifted.observables(shots.x), shots.u - lifted.u_op
    left = np.concatenate([z, u_dev], axis=1) if readout.feedthrough else z
    scale = np.linalg.norm(left, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    w = np.linalg.lstsq(left / scale, net.output(shots.x, shots.u) - y_op, rcond=1e-12)[0] / scale[:, None]
    d = w[n_z:].T if readout.feedthrough else np.zeros((len(y_op), lifted.n_u))
    return w[:n_z].T, d
