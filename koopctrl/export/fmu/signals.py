"""What an FMU shows: variables, and the C between them and a generated block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from koopctrl.errors import OptionError


@dataclass(frozen=True)
class Variable:
    """One scalar.

    Attributes
    ----------
    name : str
    start : float
        Of inputs and parameters.
    description : str
    """

    name: str
    start: float = 0.0
    description: str = ""


@dataclass(frozen=True)
class Block:
    """A sampled block in C.

    Attributes
    ----------
    title : str
    dt : float
        Sample time in seconds.
    inputs, outputs, parameters : list of Variable
        Doubles; parameters are set before the start.
    wholes : list of Variable
        Whole numbers that are put out.
    tunings : tuple of str
        Names of tunings, where more than one can be chosen.
    write : callable
        `write(folder)` writes `block.h` and `block.c`.
    adapter : str
        C of the type `adapter` and its functions `adapter_reset`, `adapter_begin`, `adapter_end`,
        `adapter_outputs`.
    needs : tuple
        For each output the positions of the inputs that it depends on at once; None for all.
    """

    title: str
    dt: float
    inputs: list[Variable]
    outputs: list[Variable]
    write: Callable[[Path], Any]
    adapter: str
    parameters: list[Variable] = field(default_factory=list)
    wholes: list[Variable] = field(default_factory=list)
    tunings: tuple[str, ...] = ()
    feedthrough: bool = False

    @property
    def n_real(self) -> int:
        """Time, inputs, outputs and parameters."""
        return 1 + len(self.inputs) + len(self.outputs) + len(self.parameters)


def check_units(units: Mapping[str, str] | None, block: Block) -> dict[str, str]:
    """Units by variable; a unit of a signal holds for its reference, start value and estimate too.

    Raises
    ------
    OptionError
        If a name is none of the block's, or a unit is no text.
    """
    if units is None:
        return {}
    if not isinstance(units, Mapping):
        raise OptionError(f"units is a {type(units).__name__}; expected a mapping of signal names to units")
    names = [v.name for v in (*block.inputs, *block.outputs, *block.parameters)]
    found: dict[str, str] = {}
    for signal, unit in units.items():
        alike = [
            n
            for n in names
            if signal in (n, *(n.removeprefix(p) for p in ("r_", "y_", "v_", "last_", "start_")))
        ]
        if not alike:
            raise OptionError(f"units has {signal!r}; expected names of signals: {', '.join(names)}")
        if not isinstance(unit, str) or not unit.strip():
            raise OptionError(f"units[{signal!r}] is {unit!r}; expected text, as 'm/s'")
        found |= dict.fromkeys(alike, unit)
    return found


def apart(groups: Sequence[tuple[str, Sequence[str]]], taken: Sequence[str] = ()) -> list[list[str]]:
    """Names of groups of signals; one that stands already gets its group's prefix."""
    used, found = set(taken), []
    for prefix, names in groups:
        new = []
        for name in names:
            chosen = name if name not in used else f"{prefix}{name}"
            while chosen in used:
                chosen += "_"
            used.add(chosen)
            new.append(chosen)
        found.append(new)
    return found


def fill(text: str, **values: object) -> str:
    """C with `@KEY@` replaced."""
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def c_array(values: Sequence[float] | np.ndarray) -> str:
    """Braced numbers; C has no empty arrays."""
    from koopctrl.export.c.scalar import number

    return (
        "{"
        + ", ".join("NAN" if np.isnan(v) else number(float(v)) for v in (values if len(values) else [0.0]))
        + "}"
    )
