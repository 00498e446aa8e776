"""Pictures of episodes that are over, from their recorded signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Plant


@dataclass(frozen=True)
class Artist:
    """Draws episodes of one plant as its env does; keeps no figure, so that it can be copied and pickled.

    Parameters
    ----------
    plant : Plant
    body : str
        Name in `koopctrl_envs.rendering.bodies.BODIES`.
    shown : tuple of str
        Outputs that are traced.
    """

    plant: Plant
    body: str
    shown: tuple[str, ...]

    def frames(
        self,
        time: FloatArray,
        states: FloatArray,
        references: FloatArray,
        inputs: FloatArray,
        chosen: Sequence[int],
    ) -> Iterator[np.ndarray]:
        """Pixels, `(360, 640, 3)` bytes, at the chosen samples.

        Parameters
        ----------
        time : (n + 1,) array
            Seconds.
        states : (n + 1, n_x) array
            True states.
        references : (n + 1, n_y) array
            Set-points; NaN where there are none, or where observations are not the plant's outputs.
        inputs : (n, n_u) array
            Those that were applied.
        chosen : sequence of int
            Numbers of samples, rising.
        """
        from koopctrl_envs.rendering.frame import Frame
        from koopctrl_envs.rendering.history import History

        plant, outputs = self.plant, self.plant.output(states)
        if references.shape != outputs.shape:
            references = np.full(outputs.shape, np.nan)
        frame, history, wanted = Frame(plant, self.body, self.shown), History(), set(chosen)
        for k in range(len(time)):
            # Before the first step nothing was applied; pictures leave that sample's input out.
            u = inputs[max(k - 1, 0)]
            history.add(float(time[k]), states[k], outputs[k], references[k], u)
            if k in wanted:
                history.note = plant.failure(states[k])
                frame.draw(history)
                yield frame.array()

    def fits(self, states: Any, inputs: Any) -> bool:
        """Whether signals are this plant's: its numbers of states and inputs, all of them known."""
        sizes = np.ndim(states) == np.ndim(inputs) == 2
        return bool(
            sizes
            and np.shape(states)[1] == self.plant.n_x
            and np.shape(inputs)[1] == self.plant.n_u
            and np.isfinite(states).all()
        )
