"""Linear systems as sparse continuous-time neural networks, and back."""

from koopctrl.ltinet.construct.assembly import BlockForm
from koopctrl.ltinet.construct.block_form import block_form
from koopctrl.ltinet.judge.error_bound import ErrorBound
from koopctrl.ltinet.network import LTINetwork
from koopctrl.ltinet.neurons import Layer, Neuron, Summary
from koopctrl.ltinet.quasi_triangular import Merge
from koopctrl.ltinet.reduce.reduction import Reduction
from koopctrl.ltinet.reduce.truncate import Truncation
from koopctrl.ltinet.simulate.response import LTIResponse, NeuronResponse
from koopctrl.ltinet.varying import ParameterNetwork, ScheduledLQR

__all__ = [
    "BlockForm",
    "ErrorBound",
    "LTINetwork",
    "LTIResponse",
    "Layer",
    "Merge",
    "Neuron",
    "NeuronResponse",
    "ParameterNetwork",
    "Reduction",
    "ScheduledLQR",
    "Summary",
    "Truncation",
    "block_form",
]
