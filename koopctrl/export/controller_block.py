"""Controllers as python-control blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import control
import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.state import ravel, unravel
from koopctrl.export.names import named_for_pycontrol


def controller_to_nlsys(
    law: Any, input_names: Sequence[str], disturbance_names: Sequence[str], name: str = "controller"
) -> control.NonlinearIOSystem:
    """A controller's law as a discrete-time block: inputs `[y; r; v]`, outputs `u`, its memory as the state.

    `v` are the measured disturbances, where the controller is told any. Measured signals, inputs and
    disturbances have the plant's names, so that `control.interconnect` connects them without being told;
    references are called `r_<output>`.

    Both functions of the block are pure, so it can be interconnected and simulated like any other; it starts
    from the state 0, which means "before the first sample". The plant it is closed with must not have
    feedthrough.

    Parameters
    ----------
    law : LinearLaw, RNNLaw or LQRLaw
    input_names, disturbance_names : sequence of str
        Of the inputs that are moved, and of the measured disturbances.
    name : str
    """
    initial, n_y, n_r = law.initial(), law.estimator.n_measured, len(law.output_names)
    reader = law.reader

    def call(memory: FloatArray, signals: FloatArray) -> tuple[FloatArray, FloatArray]:
        # The first entry of the memory says whether there was a sample before.
        memory, signals = np.asarray(memory, dtype=float), np.asarray(signals, dtype=float)
        state = unravel(initial, memory[1:]) if memory[0] > 0.5 else initial
        y, r, v = np.split(signals, [n_y, n_y + n_r])
        asked = reader.read(r, None, v if len(v) else None)
        u, state, _ = law.step(state, as_measurement(y, n_y), asked)
        return np.concatenate([[1.0], ravel(state)]), u

    measured = list(law.estimator.measured_names)
    references, told = [f"r_{n}" for n in law.output_names], list(disturbance_names)
    taken = [*measured, *references, *input_names]
    told = [n if n not in taken else f"v_{n}" for n in told]

    def make(fed: list[str], given: list[str]) -> control.NonlinearIOSystem:
        return control.NonlinearIOSystem(
            lambda t, x, u, params: call(x, u)[0],
            lambda t, x, u, params: call(x, u)[1],
            inputs=fed,
            outputs=given,
            states=1 + len(ravel(initial)),
            dt=law.dt,
            name=name,
        )

    fed = [n if n not in input_names else f"y_{n}" for n in measured] + references + told
    return named_for_pycontrol(make, fed, input_names, name)
