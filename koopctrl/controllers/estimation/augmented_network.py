r"""The nonlinear face with constant disturbances beside its state, as an observer needs it.

.. math:: [x; d]_{k+1} = [f(x_k, u_k, d_k); d_k] \quad\text{or}\quad [x; w]_{k+1} = [f(x_k, u_k + w_k); w_k]

`d` is added to the next outputs, `w` to the inputs; past inputs in a lag window are those that acted. A
disturbance `o` on the outputs stands in the measurements alone, `y = x + o`: the window is free of it.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray, check_choice
from koopctrl.controllers.estimation.protocol import DISTURBANCES
from koopctrl.controllers.rollout import Rollout
from koopctrl.errors import OptionError
from koopctrl.network.recurrent import RecurrentNetwork

# Standard deviation of a disturbance that nothing is known of, in training deviations of the signal it is
# added to: a load as large as the inputs seen, an output's spread once, or a tenth of it at every sample.
_PRIOR = {"none": 0.0, "state": 0.1, "input": 1.0, "output": 1.0}


class DisturbedRollout(Rollout):
    """Roll-out of `s = [x; disturbances]`.

    Parameters
    ----------
    network : RecurrentNetwork
    kind : {"none", "output", "input", "state"}
    measured : (n_measured,) int array, optional
        Outputs that are measured; all by default.

    Attributes
    ----------
    n_d, n : int
        Numbers of disturbances, and of all entries of `s`.
    mean, deviation : (n,) arrays
        Of `s`, before anything is measured: the training data's, and the disturbances' prior.
    """

    def __init__(self, network: RecurrentNetwork, kind: str, measured: np.ndarray | None = None) -> None:
        super().__init__(network)
        self.kind = check_choice(kind, "disturbance", DISTURBANCES)
        self.measured = np.arange(self.n_y) if measured is None else measured
        if kind == "input" and not self.n_u:
            raise OptionError(
                "disturbance is 'input' but the model has no inputs; expected 'none' or 'state'"
            )
        scaling = network.scaling
        scale = {
            "none": np.empty(0), "state": scaling.y_scale, "input": scaling.u_scale,
            "output": scaling.y_scale[self.measured],
        }[kind]  # fmt: skip
        self.n_d, self.n = len(scale), self.n_x + len(scale)
        self.mean = np.concatenate([network.x_mean, np.zeros(self.n_d)])
        self.deviation = np.concatenate([network.x_scale, _PRIOR[kind] * scale])
        self._F = np.eye(self.n)
        if kind == "state":
            self._F[: self.n_y, self.n_x :] = np.eye(self.n_y)
        self._no_d, self._no_w = np.zeros(self.n_y), np.zeros(self.n_u)

    def split(self, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`(x, d, w)` of `s`, zero where not estimated; shapes `(n_x,)`, `(n_y,)` and `(n_u,)`."""
        x, extra = s[: self.n_x], s[self.n_x :]
        d = extra if self.kind == "state" else self._no_d.copy()
        w = extra if self.kind == "input" else self._no_w.copy()
        return x, d, w

    def seen(self) -> FloatArray:
        """`H` `(n_measured, n)`: what the measured signals are of `s`."""
        H = np.eye(self.n)[self.measured]
        if self.kind == "output":
            H[:, self.n_x :] = np.eye(len(self.measured))
        return H

    def output_offset(self, s: FloatArray) -> FloatArray | None:
        """Disturbance on the outputs `(n_y,)`, zero where they are not measured; None without any."""
        if self.kind != "output":
            return None
        offset = np.zeros(self.n_y)
        offset[self.measured] = s[self.n_x :]
        return offset

    def advance(self, s: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Next `s` `(n,)` under the input `u`, and the Jacobian `F` `(n, n)` in `s`."""
        x, d, w = self.split(s)
        acting = u + w
        a, b = self.jacobians(x[None], acting[None])
        F = self._F.copy()
        F[: self.n_x, : self.n_x] = a[0]
        if self.kind == "input":
            F[: self.n_x, self.n_x :] = b[0]
        return np.concatenate([self.step(x, acting, d), s[self.n_x :]]), F
