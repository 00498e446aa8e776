"""Networks and their responses as python-control objects.

The only place where python-control's `(n_signals, n_times)` layout meets an LTINetwork's responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import check_choice
from koopctrl.errors import OptionError
from koopctrl.export.names import named_for_pycontrol
from koopctrl.ltinet.simulate.sampling import matrices
from koopctrl.ltinet.structure import NetworkStructure

if TYPE_CHECKING:
    from koopctrl.ltinet.judge.frequency import FrequencyResponse
    from koopctrl.ltinet.simulate.response import LTIResponse


def network_to_statespace(net: NetworkStructure, coordinates: str = "block") -> Any:
    """`control.StateSpace` with the neurons as states ("block"), or in the original coordinates."""
    import control

    check_choice(coordinates, "coordinates", ("block", "original"))
    A, B, C, D = matrices(net)
    names = list(net.neuron_names)
    names += [f"late{i}" for i in range(len(A) - len(names))]
    if coordinates == "original":
        if net.delayed:
            raise OptionError(
                'coordinates is "original", but the network has dead times; expected none. Use "block"'
            )
        if net.T.shape[0] != net.T.shape[1]:
            raise OptionError(
                f'coordinates is "original", but {net.T.shape[0] - net.T.shape[1]} modes are '
                'not in the network; expected a complete one. Use coordinates="block"'
            )
        A, B, C, names = net.T @ A @ net.T_inv, net.T @ B, C @ net.T_inv, list(net.state_names)

    def make(inputs: list[str], outputs: list[str]) -> Any:
        return control.StateSpace(
            A, B, C, D, net.dt, inputs=inputs, outputs=outputs, states=names,
            remove_useless_states=False,
        )  # fmt: skip

    return named_for_pycontrol(make, net.input_names, net.output_names)


def response_to_pycontrol(response: LTIResponse) -> Any:
    """`control.TimeResponseData`; a batch becomes traces."""
    import control

    def signals(values: Any) -> Any:
        return None if values is None else np.moveaxis(values, -1, 0) if values.ndim == 3 else values.T

    batched = response.outputs.ndim == 3
    return control.TimeResponseData(
        response.time, signals(response.outputs), signals(response.states), signals(response.inputs),
        issiso=len(response.input_names) == len(response.output_names) == 1,
        output_labels=list(response.output_names), input_labels=list(response.input_names),
        state_labels=None if response.states is None else list(response.state_names),
        title="LTINetwork response", plot_inputs=True,
        multi_trace=batched, squeeze=False,
        trace_labels=[f"batch {i}" for i in range(len(response.outputs))] if batched else None,
    )  # fmt: skip


def frequency_response_to_pycontrol(response: FrequencyResponse) -> Any:
    """`control.FrequencyResponseData` with python-control's order of the axes."""
    import control

    return control.FrequencyResponseData(
        np.moveaxis(response.response, 0, -1), response.omega, inputs=list(response.input_names),
        outputs=list(response.output_names),
    )  # fmt: skip


def network_feedback(net: NetworkStructure, other: Any, sign: int) -> Any:
    """`control.feedback` of a network with a system or another network."""
    import control

    if isinstance(other, NetworkStructure):
        other = network_to_statespace(other)
    return control.feedback(network_to_statespace(net), other, sign)
