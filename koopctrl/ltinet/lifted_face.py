"""Networks as the discrete linear models that controllers are designed on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from koopctrl._time import check_dt
from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.ltinet.simulate.sampling import matrices, sampled_fields
from koopctrl.ltinet.structure import NetworkStructure

if TYPE_CHECKING:
    from koopctrl.lifted.model import LiftedModel


def network_to_lifted(net: NetworkStructure, dt: float | None) -> LiftedModel:
    """`LiftedModel` of a network, sampled block by block; dead times are chains of further coordinates.

    Raises
    ------
    OptionError
        A continuous network without a sample time, and none given.
    """
    from koopctrl.lifted.model import LiftedModel

    if dt is None and not net.sample_time:
        raise OptionError(
            "the network is continuous and has no sample time; expected a discrete one. Use "
            "net.sample(dt), or "
            "net.to_lifted(dt)"
        )
    seconds = net.sample_time if dt is None else check_dt(dt)
    if not net.discrete or dt is not None:
        net = replace(net, **sampled_fields(net, seconds))
    A, B, C, D = matrices(net)
    return LiftedModel.from_matrices(
        A, B, C, D, dt=seconds, output_names=net.output_names, input_names=net.input_names
    )


def lifted_from_matrices(
    A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, dt: float
) -> LiftedModel:
    """`LiftedModel` of discrete matrices."""
    from koopctrl.lifted.model import LiftedModel

    return LiftedModel.from_matrices(A, B, C, D, dt=dt)
