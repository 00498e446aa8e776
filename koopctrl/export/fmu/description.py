"""`modelDescription.xml` of FMI 2.0 and 3.0."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as xml

import numpy as np

from koopctrl.export.fmu.signals import Block, Variable


def _number(value: float) -> str:
    return "NaN" if np.isnan(value) else f"{value:.17g}"


def description(block: Block, name: str, token: str, fmi: str, units: Mapping[str, str]) -> str:
    """The file's text.

    Parameters
    ----------
    block : Block
    name : str
        Model name and identifier.
    token : str
        Instantiation token, or GUID.
    fmi : {"3.0", "2.0"}
    units : mapping
        Of variables.
    """
    from koopctrl import __version__

    new = fmi == "3.0"
    root = xml.Element("fmiModelDescription", {
        "fmiVersion": fmi, "modelName": name, ("instantiationToken" if new else "guid"): token,
        "description": block.title, "generationTool": f"koopctrl {__version__}",
        "variableNamingConvention": "flat",
    })  # fmt: skip
    state = "State" if new else "state"
    features = {
        "modelIdentifier": name, "canHandleVariableCommunicationStepSize": "true",
        f"canGetAndSetFMU{state}": "true", f"canSerializeFMU{state}": "true",
    }  # fmt: skip
    if new:
        features["fixedInternalStepSize"] = _number(block.dt)
    kind = xml.SubElement(root, "CoSimulation", features)
    if not new:
        files = xml.SubElement(kind, "SourceFiles")
        for file in ("fmu.c", "block.c"):
            xml.SubElement(files, "File", {"name": file})
    if units:
        listed = xml.SubElement(root, "UnitDefinitions")
        for unit in sorted(set(units.values())):
            xml.SubElement(listed, "Unit", {"name": unit})
    if block.tunings:
        _enumerate(root, block, new)
    categories = xml.SubElement(root, "LogCategories")
    xml.SubElement(categories, "Category", {"name": "logStatusError"})
    xml.SubElement(root, "DefaultExperiment", {"startTime": "0", "stepSize": _number(block.dt)})
    variables = xml.SubElement(root, "ModelVariables")
    _Writer(block, units, new).write(variables)
    structure = xml.SubElement(root, "ModelStructure")
    _structure(structure, block, new)
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _enumerate(root: xml.Element, block: Block, new: bool) -> None:
    """Tunings are whole numbers; what they stand for is said in the variable's description."""


class _Writer:
    """Variables in the order of their value references."""

    def __init__(self, block: Block, units: Mapping[str, str], new: bool) -> None:
        self.block, self.units, self.new = block, units, new

    def write(self, parent: xml.Element) -> None:
        block, reference = self.block, 0
        time = {"causality": "independent", "variability": "continuous"}
        self._add(parent, Variable("time"), 0, time, "Float64", "Real")
        for group, shown, has_start in (
            (block.inputs, {"causality": "input", "variability": "discrete"}, True),
            (
                block.outputs,
                {"causality": "output", "variability": "discrete", "initial": "calculated"},
                False,
            ),
            (block.parameters, {"causality": "parameter", "variability": "fixed", "initial": "exact"}, True),
        ):
            for variable in group:
                reference += 1
                start = _number(variable.start) if has_start else None
                self._add(parent, variable, reference, shown, "Float64", "Real", start)
        for variable in block.wholes:
            reference += 1
            shown = {"causality": "output", "variability": "discrete", "initial": "calculated"}
            self._add(parent, variable, reference, shown, "Int32", "Integer")
        if block.tunings:
            meaning = ", ".join(f"{k} {name}" for k, name in enumerate(block.tunings))
            shown = {"causality": "parameter", "variability": "tunable", "initial": "exact"}
            variable = Variable("tuning", 0.0, f"weights and bounds: {meaning}")
            self._add(parent, variable, reference + 1, shown, "Int32", "Integer", "0", len(block.tunings) - 1)

    def _add(
        self, parent: xml.Element, variable: Variable, reference: int, shown: Mapping[str, str], new: str,
        old: str, start: str | None = None, highest: int | None = None,
    ) -> None:  # fmt: skip
        common = {"name": variable.name, "valueReference": str(reference), **shown}
        if variable.description:
            common["description"] = variable.description
        typed = {} if start is None else {"start": start}
        if highest is not None:
            typed |= {"min": "0", "max": str(highest)}
        if variable.name in self.units and old == "Real":
            typed["unit"] = self.units[variable.name]
        if self.new:
            xml.SubElement(parent, new, {**common, **typed})
        else:
            scalar = xml.SubElement(parent, "ScalarVariable", common)
            xml.SubElement(scalar, old, typed)


def _structure(parent: xml.Element, block: Block, new: bool) -> None:
    """Outputs, and on what they depend at once."""
    n_in, n_out = len(block.inputs), len(block.outputs)
    wholes = range(block.n_real, block.n_real + len(block.wholes))
    references = [*range(1 + n_in, 1 + n_in + n_out), *wholes]
    needs = " ".join(str(k) for k in range(1, 1 + n_in)) if block.feedthrough else ""
    if new:
        for r in references:
            xml.SubElement(parent, "Output", {"valueReference": str(r), "dependencies": needs})
        for r in references:
            xml.SubElement(parent, "InitialUnknown", {"valueReference": str(r)})
        return
    # FMI 2.0 counts variables from one.
    needs = " ".join(str(k + 1) for k in range(1, 1 + n_in)) if block.feedthrough else ""
    for tag, shown in (("Outputs", {"dependencies": needs}), ("InitialUnknowns", {})):
        group = xml.SubElement(parent, tag)
        for r in references:
            xml.SubElement(group, "Unknown", {"index": str(r + 1), **shown})
