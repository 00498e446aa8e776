"""What a picture shows of an episode."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from koopctrl_envs.checks import FloatArray


@dataclass
class History:
    """Samples of one episode: times, states, outputs, set-points, and inputs that led to them.

    The input of the first sample is the one the episode starts from, not one that was applied; `note` says
    what ended it.
    """

    t: list[float] = field(default_factory=list)
    x: list[FloatArray] = field(default_factory=list)
    y: list[FloatArray] = field(default_factory=list)
    r: list[FloatArray] = field(default_factory=list)
    u: list[FloatArray] = field(default_factory=list)
    note: str = ""

    def scaled(self, factor: float) -> History:
        """The same samples with times in another unit."""
        return self if factor == 1.0 else replace(self, t=[factor * t for t in self.t])

    def add(self, t: float, x: FloatArray, y: FloatArray, r: FloatArray, u: FloatArray) -> None:
        """Keep copies of one sample."""
        self.t.append(t)
        for rows, value in ((self.x, x), (self.y, y), (self.r, r), (self.u, u)):
            rows.append(np.array(value))
