"""Signal names where a target forbids some: rewritten once, visibly, with the mapping kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from koopctrl._warnings import warn
from koopctrl.errors import OptionError


def without_dots(names: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """New names by old ones: dots become underscores, and what then stands twice gets a number.

    Parameters
    ----------
    names : sequence of str
        Distinct names.
    taken : sequence of str
        Names that the new ones must not meet.
    """
    used = set(taken) | {name for name in names if "." not in name}
    mapping: dict[str, str] = {}
    for name in names:
        new, count = name.replace(".", "_"), 2
        if new != name:
            base = new
            while new in used:
                new, count = f"{base}_{count}", count + 1
            used.add(new)
        mapping[name] = new
    return mapping


def named_for_pycontrol(
    make: Callable[[list[str], list[str]], Any], inputs: Sequence[str], outputs: Sequence[str], name: str = ""
) -> Any:
    """A python-control object with these signals, made by `make(inputs, outputs)`.

    python-control forbids dots in the names of signals and systems. Where one has to be rewritten, a warning
    says so, and `renamed` of the object maps the old names to the new ones (it is empty otherwise).
    """
    if not isinstance(name, str) or "." in name:
        raise OptionError(f"name is {name!r}; expected text without dots, which python-control forbids")
    new_inputs = without_dots(inputs)
    new_outputs = without_dots(outputs)
    system = make(list(new_inputs.values()), list(new_outputs.values()))
    renamed = {old: new for old, new in {**new_inputs, **new_outputs}.items() if old != new}
    if renamed:
        said = ", ".join(f"{old!r} is {new!r}" for old, new in renamed.items())
        warn(f"python-control forbids dots in names: {said} there. The mapping is the system's `renamed`")
    system.renamed = renamed
    return system
