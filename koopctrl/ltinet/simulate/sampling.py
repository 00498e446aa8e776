"""From continuous to discrete neurons, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from koopctrl._time import same_dt
from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError, TimeBaseError
from koopctrl.ltinet.grouped import Grouped, ungroup
from koopctrl.ltinet.simulate.dead_time import whole_and_part
from koopctrl.ltinet.simulate.exact import step_maps
from koopctrl.ltinet.structure import Defects, LocalDefects, NetworkStructure


def sampled_fields(net: NetworkStructure, dt: float) -> dict[str, Any]:
    """Fields that change when a network is sampled with held inputs.

    Raises
    ------
    TimeBaseError
        The network is discrete with another sample time.
    """
    if net.discrete:
        if not same_dt(dt, net.sample_time):
            raise TimeBaseError(
                f"dt is {dt:g} s, and the network is discrete with {net.sample_time:g} s; expected the same"
            )
        return {}
    grouped = net.grouped
    maps = step_maps(grouped, net.B[grouped.order], net.C[:, grouped.order], net.D, dt, "zoh")
    discrete = Grouped(grouped.order, maps.real, maps.pairs, tuple(maps.others))
    B = np.empty_like(net.B)
    B[grouped.order] = maps.Gamma
    return {
        "blocks": ungroup(discrete, [len(block) for block in net.blocks]), "B": B, "sample_time": dt,
        "discrete": True, "defects": _per_step(net, B, dt),
    }  # fmt: skip


def _per_step(net: NetworkStructure, B: FloatArray, dt: float) -> Defects:
    """Rates of change become amounts per step; none grows by more than the step itself."""
    old, local = net.defects, net.defects.local
    if local is not None:
        eps = float(np.finfo(float).eps)
        local = LocalDefects(
            dt * np.abs(local.F), dt * np.abs(local.G) + eps * np.abs(B), np.abs(local.H), signed=False
        )
    return replace(old, A=old.A * dt, B=old.B * dt, local=local)


def matrices(net: NetworkStructure) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Dense `(A, B, C, D)` of a network; dead times of a discrete one are chains of further states.

    An input that is late by `d` samples runs through `d` states before it drives the layers, and so does an
    output before it is seen.

    Raises
    ------
    OptionError
        A continuous network with dead times, or dead times that are no multiples of the sample time.
    """
    A, B, C, D = net.block_matrix().toarray(), net.B.copy(), net.C.copy(), net.D.copy()
    if not net.delayed:
        return A, B, C, D
    if not net.discrete:
        raise OptionError(
            "the network has dead times, which no continuous state-space model holds; expected a discrete "
            "one. Use sample(dt) first"
        )
    for name, late in (("input_delays", net.input_delays), ("output_delays", net.output_delays)):
        for j, delay in enumerate([] if late is None else late.tolist()):
            d, g = whole_and_part(delay, net.sample_time)
            if g > 0.0:
                raise OptionError(
                    f"{name} has {delay:g} s, no multiple of the sample time {net.sample_time:g} s; expected "
                    "multiples. Choose another dt for sample"
                )
            if d and name == "input_delays":
                A, B, C, D = _late_input(A, B, C, D, j, d)
            elif d:
                A, B, C, D = _late_output(A, B, C, D, j, d)
    return A, B, C, D


def _late_input(
    A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, j: int, d: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    n = len(A)
    A, C = np.pad(A, (0, d)), np.pad(C, ((0, 0), (0, d)))
    A[:n, n], C[:, n] = B[:, j], D[:, j]
    A[np.arange(n, n + d - 1), np.arange(n + 1, n + d)] = 1.0
    B, D = np.pad(B, ((0, d), (0, 0))), D.copy()
    B[:, j], D[:, j] = 0.0, 0.0
    B[n + d - 1, j] = 1.0
    return A, B, C, D


def _late_output(
    A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, i: int, d: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    n = len(A)
    A, B = np.pad(A, (0, d)), np.pad(B, ((0, d), (0, 0)))
    A[n, :n], B[n] = C[i], D[i]
    A[np.arange(n + 1, n + d), np.arange(n, n + d - 1)] = 1.0
    C, D = np.pad(C, ((0, 0), (0, d))), D.copy()
    C[i], D[i] = 0.0, 0.0
    C[i, n + d - 1] = 1.0
    return A, B, C, D
