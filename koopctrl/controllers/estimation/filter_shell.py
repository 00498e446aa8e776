"""A filter to work with by hand: an estimator's numbers and one state of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.estimation.protocol import Estimator

if TYPE_CHECKING:
    from koopctrl.export.c.model import GeneratedPart
    from koopctrl.export.fmu.archive import GeneratedFMU


class FilterShell:
    """Base of `KalmanFilter` and `ExtendedKalmanFilter`.

    Given to a controller, only its numbers are used: every controller keeps a state of its own.

    Attributes
    ----------
    law : Estimator
        The numbers, with pure `initial`, `step` and `estimate`.
    state : dataclass
        What this filter remembers.
    """

    law: Any
    state: Any

    def seen_from(self, state: Any) -> Any:
        """A filter like this one whose state is another; for looking at a controller's estimate."""
        view = copy.copy(self)
        view.state = state
        return view

    def _reset(self, state: Any) -> None:
        self.state = state

    def _update(self, y: ArrayLike) -> None:
        self.state = self.law.update(self.state, as_measurement(y, self.law.n_measured, "y"))

    @property
    def estimate(self) -> FloatArray | None:
        """Newest estimate; None before the first measurement."""
        found = self.law.estimate(self.state)
        return None if found is None else found.copy()

    @estimate.setter
    def estimate(self, value: ArrayLike) -> None:
        self.state = self.law.with_estimate(self.state, np.array(value, dtype=float))

    @property
    def rejected(self) -> bool:
        """Whether the last measurement was rejected."""
        return self.law.rejected(self.state)[0]

    @property
    def n_rejected(self) -> int:
        """How many measurements were rejected since the last reset."""
        return self.law.rejected(self.state)[1]

    @property
    def covariance(self) -> FloatArray:
        """Of the newest estimate's error: the steady filter's is `P`."""
        state = self.state
        return np.array(state.covariance if state.covariance.size else self.law.P)

    @covariance.setter
    def covariance(self, value: ArrayLike) -> None:
        self.state = replace(self.state, covariance=np.array(value, dtype=float))

    @property
    def n_measured(self) -> int:
        """Number of measured signals."""
        return self.law.n_measured

    def to_c(
        self, folder: str | PathLike[str], name: str = "koopctrl_estimator", *, scalar: str = "double"
    ) -> GeneratedPart:
        """C99 of this filter by itself; see `koopctrl.export.c.estimator.estimator_to_c`."""
        from koopctrl.export.c.estimator import estimator_to_c

        return estimator_to_c(self, folder, name, scalar=scalar)

    def to_fmu(self, path: str | PathLike[str], **options: Any) -> GeneratedFMU:
        """Co-simulation FMU of this filter (FMI 3.0 or 2.0); see `koopctrl.export.fmu.archive.to_fmu`."""
        from koopctrl.export.fmu.archive import to_fmu

        return to_fmu(self, path, **options)

    def __repr__(self) -> str:
        """What is measured, what is estimated, and whether anything has been seen."""
        law = self.law
        parts = [f"measured={list(law.measured_names)}", f"disturbance={law.disturbance!r}"]
        parts += self._details()
        parts += [] if law.gate is None else [f"gate={law.gate:g}"]
        parts += ["started" if self.state.started else "nothing measured yet"]
        return f"{type(self).__name__}({', '.join(parts)})"

    def _details(self) -> list[str]:
        return []


def as_estimator(given: Any) -> Any:
    """The numbers of what a controller is given: of a filter, or of any other estimator itself."""
    found = given.law if isinstance(given, FilterShell) else given
    return found if isinstance(found, Estimator) else None
