"""One FMU, stepped by fmpy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

fmpy = pytest.importorskip("fmpy", reason="fmpy is not installed; pip install koopctrl[deploy]")


def validate_fmu(path: str) -> list[str]:
    """What fmpy finds wrong with an FMU."""
    from fmpy.validation import validate_fmu

    return validate_fmu(path)


class Slave:
    """An instance, its variables by name, at the start of its experiment."""

    def __init__(self, path: Path, start: dict[str, float] | None = None) -> None:
        from fmpy.fmi2 import FMU2Slave
        from fmpy.fmi3 import FMU3Slave

        self.description = fmpy.read_model_description(str(path))
        self.references = {v.name: v.valueReference for v in self.description.modelVariables}
        self._new = self.description.fmiVersion == "3.0"
        self._folder = fmpy.extract(str(path))
        kind = FMU3Slave if self._new else FMU2Slave
        self.fmu: Any = kind(
            guid=self.description.guid, unzipDirectory=self._folder, instanceName="one",
            modelIdentifier=self.description.coSimulation.modelIdentifier,
        )  # fmt: skip
        self.fmu.instantiate()
        self.begin(start)

    def begin(self, start: dict[str, float] | None = None, time: float = 0.0) -> None:
        """Initialise, with parameters."""
        if start:
            self.set(start)
        if not self._new:
            self.fmu.setupExperiment(startTime=time)
            self.fmu.enterInitializationMode()
        else:
            self.fmu.enterInitializationMode(startTime=time)
        self.fmu.exitInitializationMode()

    def set(self, values: dict[str, float]) -> None:
        """Doubles by name."""
        references = [self.references[n] for n in values]
        (self.fmu.setFloat64 if self._new else self.fmu.setReal)(references, list(values.values()))

    def set_whole(self, name: str, value: int) -> None:
        """A whole number by name."""
        (self.fmu.setInt32 if self._new else self.fmu.setInteger)([self.references[name]], [value])

    def get(self, names: Any) -> np.ndarray:
        """Doubles by name."""
        references = [self.references[n] for n in names]
        return np.array((self.fmu.getFloat64 if self._new else self.fmu.getReal)(references))

    def get_whole(self, name: str) -> int:
        """A whole number by name."""
        return (self.fmu.getInt32 if self._new else self.fmu.getInteger)([self.references[name]])[0]

    def step(self, time: float, size: float) -> None:
        """One communication step."""
        self.fmu.doStep(currentCommunicationPoint=time, communicationStepSize=size)

    def kept(self) -> bytes:
        """The whole state, serialised."""
        new = self._new
        state = self.fmu.getFMUState() if new else self.fmu.getFMUstate()
        held = (self.fmu.serializeFMUState if new else self.fmu.serializeFMUstate)(state)
        (self.fmu.freeFMUState if new else self.fmu.freeFMUstate)(state)
        return held

    def restore(self, held: bytes) -> None:
        """Go back to a serialised state."""
        new = self._new
        state = (self.fmu.deserializeFMUState if new else self.fmu.deSerializeFMUstate)(held)
        (self.fmu.setFMUState if new else self.fmu.setFMUstate)(state)
        (self.fmu.freeFMUState if new else self.fmu.freeFMUstate)(state)

    def close(self) -> None:
        """Free it."""
        self.fmu.terminate()
        self.fmu.freeInstance()
        shutil.rmtree(self._folder)
