"""Responses of networks whose inputs and outputs have dead times, exact under zero-order hold.

A held input that is late by `(d + g) h`, `0 <= g < 1`, jumps once within a step: for the last `(1 - g) h`
seconds of it `u[k - d]` acts, before that `u[k - d - 1]`, so that

    w+ = Phi w + Gamma((1 - g) h) u[k - d] + exp(A (1 - g) h) Gamma(g h) u[k - d - 1].

An output that is late by `t_y` is the output for inputs that are late by `t_y` more. Before the first instant
inputs are zero, and so are outputs that have not arrived yet.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.ltinet.grouped import multiply
from koopctrl.ltinet.simulate.exact import StepMaps, outputs, step_maps
from koopctrl.ltinet.structure import NetworkStructure


def delayed_outputs(net: NetworkStructure, U: FloatArray, w0: FloatArray, h: float, hold: str) -> FloatArray:
    """As `exact.outputs`, with the network's dead times.

    Raises
    ------
    OptionError
        First-order hold, or a discrete network, with a dead time that is no multiple of the step.
    """
    n_y, n_u = net.C.shape[0], net.B.shape[1]
    late_in = np.zeros(n_u) if net.input_delays is None else net.input_delays
    late_out = np.zeros(n_y) if net.output_delays is None else net.output_delays
    Y = np.empty((*U.shape[:2], n_y))
    for late in np.unique(late_out).tolist():
        rows = late_out == late
        part = replace(net, C=net.C[rows], D=net.D[rows])
        Y[:, :, rows] = _forced(part, U, late_in + late, h, hold)
        if w0.any():
            Y[:, :, rows] += _free(part, w0, late, h, U.shape[1])
    return Y


def whole_and_part(delay: float, h: float) -> tuple[int, float]:
    """`d` and `g` of `delay = (d + g) h`; within a millionth of a step counts as on it."""
    steps = delay / h
    nearest = round(steps)
    if abs(steps - nearest) <= 1e-6:
        return int(nearest), 0.0
    return int(np.floor(steps)), float(steps - np.floor(steps))


def _shifted(u: FloatArray, d: int) -> FloatArray:
    out = np.zeros_like(u)
    if d < u.shape[1]:
        out[:, d:] = u[:, : u.shape[1] - d]
    return out


def _forced(net: NetworkStructure, U: FloatArray, delays: FloatArray, h: float, hold: str) -> FloatArray:
    grouped = net.grouped
    B, C = net.B[grouped.order], net.C[:, grouped.order]
    parts = [whole_and_part(float(late), h) for late in delays]
    fractional = [j for j, (_, g) in enumerate(parts) if g > 0.0]
    if fractional and (hold == "foh" or net.discrete):
        kind = "a discrete network" if net.discrete else 'hold="foh"'
        raise OptionError(
            f"the dead time {float(delays[fractional[0]]):g} s is no multiple of the step {h:g} s; expected "
            f"one for {kind}. Choose a grid that divides it"
        )
    rest = np.zeros((U.shape[0], net.n_states))
    on_time = np.stack([_shifted(U[:, :, j], d) for j, (d, _) in enumerate(parts)], axis=2) if parts else U
    if not fractional:
        return outputs(net, on_time, rest, h, hold)
    own = step_maps(grouped, B, C, net.D, h, "zoh")
    Gamma, D = own.Gamma.copy(), net.D.copy()
    columns, more_u, more_D = [], [], []
    for j in fractional:
        d, g = parts[j]
        late, early = (
            step_maps(grouped, B[:, [j]], C, net.D[:, [j]], share * h, "zoh") for share in (1 - g, g)
        )
        Gamma[:, j] = late.Gamma[:, 0]
        columns.append(multiply(grouped, late.real, late.pairs, late.others, early.Gamma)[:, 0])
        more_u.append(_shifted(U[:, :, j], d + 1))
        # at the instant itself the older input still acts
        more_D.append(net.D[:, j])
        D[:, j] = 0.0
    wide = np.concatenate([on_time, np.stack(more_u, axis=2)], axis=2)
    maps = StepMaps(
        own.real, own.pairs, own.others, np.column_stack([Gamma, *columns]),
        np.zeros((grouped.n, wide.shape[2])), np.column_stack([D, *more_D]),
    )  # fmt: skip
    return outputs(net, wide, rest, h, "zoh", maps)


def _free(net: NetworkStructure, w0: FloatArray, late: float, h: float, n_times: int) -> FloatArray:
    """Response to a start, `late` seconds later; zero until then."""
    d, g = whole_and_part(late, h)
    grouped, start = net.grouped, w0
    if g > 0.0:
        B = np.zeros((grouped.n, 0))
        maps = step_maps(grouped, B, net.C[:, grouped.order], net.D[:, :0], (1 - g) * h, "zoh")
        moved = multiply(grouped, maps.real, maps.pairs, maps.others, w0[:, grouped.order].T)
        start = np.empty_like(w0)
        start[:, grouped.order] = moved.T
        d += 1
    still = replace(net, B=np.zeros((net.n_states, 0)), D=np.zeros((len(net.C), 0)))
    return _shifted(outputs(still, np.zeros((len(w0), n_times, 0)), start, h, "zoh"), d)
