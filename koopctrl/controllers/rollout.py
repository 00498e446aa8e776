"""Roll-outs seen through the inputs that a controller moves."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.network.folded import Rollout


class SteadyView:
    """A roll-out seen through the inputs that are moved: measured disturbances and input offsets stand still.

    Parameters
    ----------
    rollout : Rollout
    channels : InputChannels
    v : (n_v,) array
    offset : None or array
        Added to all inputs of the model.
    """

    def __init__(
        self, rollout: Rollout, channels: InputChannels, v: FloatArray, offset: FloatArray | None
    ) -> None:
        self._rollout, self._channels, self._v, self._offset = rollout, channels, v, offset
        self.n_x, self.n_y, self.n_u = rollout.n_x, rollout.n_y, channels.n_u
        self.window = rollout.window

    def full(self, u: FloatArray) -> FloatArray:
        """All inputs of the model."""
        full = self._channels.join(u, np.broadcast_to(self._v, (*u.shape[:-1], len(self._v))))
        return full if self._offset is None else full + self._offset

    def run(self, x0: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """See `Rollout.run`."""
        return self._rollout.run(x0, self.full(u), d)

    def step(self, x: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """`x_{k+1}` of one `(n_x,)` state and `(n_u,)` input."""
        return self._rollout.step(x, self.full(u), d)

    def jacobians(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Rollout.jacobians`."""
        a, b = self._rollout.jacobians(x, self.full(u))
        return a, b if not self._channels.n_v else b[:, :, self._channels.moved]
