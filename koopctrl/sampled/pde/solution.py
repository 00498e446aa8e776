"""Solutions: states over times, evaluated anywhere in the domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete


@dataclass(frozen=True, eq=False)
class Solution:
    """States of one model, or of one model a time block.

    Attributes
    ----------
    t : (n_times,) array
        Seconds.
    states : list of arrays
        `(n_states,)` at each time, of the model in force there.
    models : tuple of SemiDiscrete
    block : (n_times,) array of int
        Which model.
    inputs : (n_times, n_inputs) array
        Acting at each time.
    """

    t: FloatArray
    states: tuple[FloatArray, ...]
    models: tuple[SemiDiscrete, ...]
    block: FloatArray
    inputs: FloatArray

    def __call__(self, points: ArrayLike, of: str = "u") -> FloatArray:
        """`u` or a derivative at points: `(n_times, n_points)`."""
        at = self.models[0].pde.domain.check_points(points)
        result = np.empty((len(self.t), len(at)))
        for i, model in enumerate(self.models):
            mine = np.flatnonzero(self.block == i)
            if not len(mine):
                continue
            if model.offset is None:
                stacked = np.array([self.states[k] for k in mine])
                result[mine] = model.evaluate(stacked, at, self.inputs[mine], of=of)
            else:
                for k in mine:
                    result[k] = model.evaluate(self.states[k], at, self.inputs[k], float(self.t[k]), of)
        return result

    @property
    def outputs(self) -> FloatArray:
        """`u` at the sensors, `(n_times, n_outputs)`."""
        return np.array([
            self.models[int(b)].output(x, v, float(t))
            for b, x, v, t in zip(self.block, self.states, self.inputs, self.t, strict=True)
        ])  # fmt: skip

    @property
    def final(self) -> SemiDiscrete:
        """Model in force at the end."""
        return self.models[-1]

    @property
    def coordinates(self) -> FloatArray:
        """States `(n_times, n_states)`, if one model holds throughout."""
        return np.array(self.states)
