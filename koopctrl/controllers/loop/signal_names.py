"""What the signals of a closed loop are called, and their units."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl.data.gym_interface import plant_attribute


def signal_names(
    env: Any, controller: Any, n_y: int, n_u: int, n_v: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of outputs, inputs and disturbances: the model's or the plant's, where the numbers agree."""
    plant = getattr(getattr(env, "unwrapped", env), "plant", None)
    named = [getattr(controller, "lifted", None), plant]
    found = {
        kind: [tuple(getattr(n, kind)) for n in named if n is not None and hasattr(n, kind)]
        for kind in ("output_names", "input_names")
    }
    # A wrapper that leaves outputs out says what is left.
    shown = plant_attribute(env, "output_names")
    named_outputs = [*found["output_names"], *([] if shown is None else [tuple(shown)])]
    outputs = next((n for n in named_outputs if len(n) == n_y), _numbered("y", n_y))
    # The controller's split of the numbers 0, 1, .. tells which of the model's inputs are disturbances.
    if n_v and hasattr(controller, "split_inputs"):
        for names in found["input_names"]:
            if len(names) == n_u + n_v:
                u, v = controller.split_inputs(np.arange(float(n_u + n_v)))
                return outputs, tuple(names[int(i)] for i in u), tuple(names[int(i)] for i in v)
    inputs = next((n for n in found["input_names"] if len(n) == n_u), _numbered("u", n_u))
    return outputs, inputs, _numbered("v", n_v)


def units_of(env: Any, outputs: tuple[str, ...], inputs: tuple[str, ...]) -> dict[str, str]:
    """Units of signals by name, of a plant that tells them."""
    plant = getattr(getattr(env, "unwrapped", env), "plant", None)
    found: dict[str, str] = {}
    for kind, shown in (("output", outputs), ("input", inputs)):
        names, units = (getattr(plant, f"{kind}_{what}", None) for what in ("names", "units"))
        if names is not None and units is not None:
            found |= {n: str(unit) for n, unit in zip(names, units, strict=False) if n in shown}
    return found


def _numbered(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{i}" for i in range(count))
