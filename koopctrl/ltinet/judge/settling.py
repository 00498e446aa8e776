"""How long to look at a network."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.ltinet.structure import NetworkStructure

_CONSTANTS, _SAMPLES, _MIXED = 5.0, 401, 10.0


def settling_grid(net: NetworkStructure) -> FloatArray:
    """Uniform instants over five time constants of the slowest pole; of an unstable network, of
    the fastest growth.
    """
    slowest, delay, growth = 0.0, 0.0, 0.0
    for layer in net.layers:
        rates = np.array([neuron.rates[0].real for neuron in layer.neurons])
        rates = rates[np.isfinite(rates)]
        constants = 1.0 / np.abs(rates[rates < 0.0])
        slowest = max(slowest, float(constants.max(initial=0.0)))
        # neurons in a row wait for each other
        delay = max(delay, float(constants.sum()) if len(constants) > 1 else 0.0)
        growth = max(growth, float(rates.max(initial=0.0)))
    if net.cond > _MIXED:
        # layers apart by a large condition number cancel each other first, as the neurons of one layer would
        # wait
        delay = sum(
            1.0 / abs(n.rates[0].real) for layer in net.layers for n in layer.neurons if n.rates[0].real
        )
    length = _CONSTANTS * (1.0 / growth if growth > 0.0 else slowest + delay)
    length = length or _CONSTANTS
    late = sum(float(d.max(initial=0.0)) for d in (net.input_delays, net.output_delays) if d is not None)
    end = length + late
    if net.discrete:
        steps = int(np.clip(np.ceil(end / net.sample_time), 10, 100_000))
        return net.sample_time * np.arange(steps + 1)
    return np.linspace(0.0, end, _SAMPLES)
