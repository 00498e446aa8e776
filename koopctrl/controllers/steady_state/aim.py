"""Where a step on a lifted model leads in the end, worked out when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.steady_state.linear import SteadyTarget
from koopctrl.controllers.steady_state.reachable import ReachableSetPoint

# Distance from the set-point, relative to what adds up to the output, below which it counts as held.
_HELD = 1e-6


class LinearAim(NamedTuple):
    """A set-point's steady target.

    Attributes
    ----------
    target : SteadyTarget
    reachable_from : ReachableSetPoint
    wanted, r : (n_y,) arrays
        The set-point as it was asked for, and as it was moved to where it can be held.
    d, dv : arrays
        Estimated disturbances, and measured ones in deviations.
    du : (n_u,) array or None
        Input wished for, in deviations.
    counted : (n_y,) bool array
        Outputs that are tracked.
    """

    target: SteadyTarget
    reachable_from: ReachableSetPoint
    wanted: FloatArray
    r: FloatArray
    d: FloatArray
    dv: FloatArray
    du: FloatArray | None
    counted: np.ndarray

    @property
    def output(self) -> FloatArray:
        """Steady outputs within the bounds on inputs."""
        r, du = self.reachable_from.nearest(self.r, self.d, self.dv, self.du)
        return self.target(r, self.d, self.dv, du)[2]

    @property
    def reachable(self) -> bool:
        """Whether these are the set-point."""
        y, size = self.output, np.abs(self.target.y_gain) @ np.abs(self.wanted) + np.abs(self.wanted)
        size = size + np.abs(self.target.y_disturbance) @ np.abs(self.d) + np.abs(self.target.y_offset)
        return bool((np.abs(y - self.wanted) <= _HELD * size)[self.counted].all())


@dataclass(frozen=True)
class NetworkAim:
    """A steady state of a network, and whether it is the set-point."""

    output: FloatArray
    reachable: bool
