"""Linear systems as sparse continuous-time neural networks, and back."""

from koopctrl.ltinet.assembly import BlockForm
from koopctrl.ltinet.block_form import block_form
from koopctrl.ltinet.error_bound import ErrorBound
from koopctrl.ltinet.network import LTINetwork
from koopctrl.ltinet.neurons import Layer, Neuron, Summary
from koopctrl.ltinet.response import LTIResponse, NeuronResponse
from koopctrl.ltinet.splitting import Merge
from koopctrl.ltinet.truncate import Truncation

__all__ = [
    "BlockForm",
    "ErrorBound",
    "LTINetwork",
    "LTIResponse",
    "Layer",
    "Merge",
    "Neuron",
    "NeuronResponse",
    "Summary",
    "Truncation",
    "block_form",
]
