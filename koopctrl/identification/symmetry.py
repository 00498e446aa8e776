"""Plants that answer the opposite of an input by the opposite of the output, and records that show one side.

Pendulums, motors, valves that turn both ways and most vibrating structures are odd about zero: with `(y, u)`
every record has a mirror image `(-y, -u)` that the plant would have made as well. Fitting to both doubles the
data, and teaches what a record never shows: one with inputs of one sign says nothing of the other. Zero is
that of the units in which the records come, so offsets of sensors must be off them.
"""

from __future__ import annotations

from koopctrl._validation import check_choice
from koopctrl.data.trajectories import Trajectories

ODD = "odd"


def check_symmetry(symmetry: str | None) -> str | None:
    """Check the option: None or `"odd"`."""
    return symmetry if symmetry is None else check_choice(symmetry, "symmetry", (ODD,))


def with_mirror_images(data: Trajectories, symmetry: str | None) -> Trajectories:
    """The records and, with symmetry `"odd"`, after them their mirror images."""
    if check_symmetry(symmetry) is None:
        return data
    return Trajectories([*data, *(e.with_signals(-e.outputs, -e.inputs) for e in data)])
