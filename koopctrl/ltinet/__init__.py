"""Linear systems as sparse continuous-time neural networks, and back."""

from koopctrl.ltinet.assembly import BlockForm
from koopctrl.ltinet.block_form import block_form
from koopctrl.ltinet.network import LTINetwork
from koopctrl.ltinet.neurons import Layer, Neuron, Summary
from koopctrl.ltinet.response import LTIResponse
from koopctrl.ltinet.splitting import Merge

__all__ = ["BlockForm", "LTINetwork", "LTIResponse", "Layer", "Merge", "Neuron", "Summary", "block_form"]
