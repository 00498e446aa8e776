"""Horizon continuation: the beginning of every segment first, then more and more of it.

The error of a long free run has many minima: of an oscillation whose frequency is a little off, phases go
round within the record, and no small step helps. A run that is right up to some time is nearly right a little
longer, and each refinement starts from the last one's weights and initial states. Only worth its time where
the direct way has failed, so that is tried first, and the better of both is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.identification.initial_state import StatePrior, estimate_initial_states
from koopctrl.identification.refinement import History, RefineOptions, refine
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import Weights, free_run
from koopctrl.network.hidden_state import HiddenNetwork

_FAILED = 0.25  # mean squared error over the outputs' variance above which the direct way has failed
_TIMES = 10.0
_FIRST = 25  # samples a state of the shortest beginning
_GROWTH = 1.25
_ITERATIONS = 25  # most at each horizon but the last


def has_failed(history: History, data: Segments, foreseen: float) -> bool:
    """Whether a refinement has left much of the outputs, and much more than one step ahead cannot be foreseen
    (`foreseen`: that error, squared, over the outputs' variance). What is noise no continuation explains.
    """
    left = history.cost[-1] / max(data.count, 1.0)
    return not left <= max(_FAILED, _TIMES * foreseen)


def grow_horizon(
    net: HiddenNetwork,
    data: Segments,
    prior: StatePrior,
    options: RefineOptions,
    add_layers: Callable[[HiddenNetwork, FloatArray, Segments], HiddenNetwork],
    progress: Callable[[int, float, float | None], None] | None = None,
    deadline: Callable[[], bool] | None = None,
) -> tuple[HiddenNetwork, FloatArray, History]:
    """Refine over growing horizons, at last over `data` itself.

    Parameters
    ----------
    net : HiddenNetwork
        Where to start: without neurons.
    data : Segments
    prior : StatePrior
        Of initial states.
    options : RefineOptions
    add_layers : callable
        Gives a network neurons, sampled along states `(n_time, batch, n_x)` of the segments' beginnings.
    progress, deadline : callables, optional
        As in `refine`.

    Returns
    -------
    network, x0, history
        As `refine` returns them on `data`.
    """
    horizon = _FIRST * max(net.window.n_x, 2)
    # The mean Jacobian along a short run that leaves its start may well be unstable.
    free = replace(options, radius=np.inf)
    early = replace(free, max_iter=min(options.max_iter, _ITERATIONS))
    x0 = estimate_initial_states(net, data.head(horizon), prior)
    while horizon < data.n_time:
        some = data.head(horizon)
        if not net.layer.n_features and not net.readout.layer.n_features:
            net, x0, _ = refine(net, some, x0, early, progress=progress, deadline=deadline)
            x, _ = free_run(net, Weights(net.coef, net.readout.coef, x0), some)
            net = add_layers(net, x, some)
        net, x0, _ = refine(net, some, x0, early, progress=progress, deadline=deadline)
        horizon = int(_GROWTH * horizon)
    return refine(net, data, x0, free, progress=progress, deadline=deadline)
