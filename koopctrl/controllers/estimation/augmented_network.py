r"""The nonlinear face with constant disturbances beside its state, as an observer needs it.

.. math:: [x; d]_{k+1} = [f(x_k, u_k, d_k); d_k] \quad\text{or}\quad [x; w]_{k+1} = [f(x_k, u_k + w_k); w_k]

`d` is added to the next outputs, `w` to the inputs; past inputs in a lag window are those that acted. A
disturbance `o` on the outputs stands in the measurements alone, `y = x + o`: the window is free of it.

`w` alone leaves no steady-state error where loads act as inputs do. Where more signals are measured than
there are inputs, `"mixed"` has beside it as many disturbances `s` as are missing, in those directions of the
next outputs that inputs move least, `d = N s`. There are then as many disturbances as measured signals, what
an error of any kind needs: Pannocchia & Rawlings, *Disturbance models for offset-free model-predictive
control*, AIChE Journal 49, 2003.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray, check_choice
from koopctrl.controllers.estimation.protocol import NETWORK_DISTURBANCES
from koopctrl.errors import OptionError
from koopctrl.network.folded import Rollout
from koopctrl.network.recurrent import RecurrentNetwork

# Standard deviation of a disturbance on the next outputs that nothing is known of, in training deviations of
# theirs. One on inputs may be as large as the inputs seen, one on measurements as an output's spread.
_OF_OUTPUTS = 0.1
# Points, spread like the training data, at which it is seen what inputs move.
_N_POINTS = 12


class DisturbedRollout(Rollout):
    """Roll-out of `s = [x; disturbances]`.

    Parameters
    ----------
    network : RecurrentNetwork
    kind : {"none", "output", "input", "state", "mixed"}
    measured : (n_measured,) int array, optional
        Outputs that are measured; all by default.
    innovation : (n_y, n_y) array, optional
        Covariance of what one step leaves unexplained, which tells the first deviation of `s`; by default it
        is a tenth of the training outputs'.

    Attributes
    ----------
    n_d, n : int
        Numbers of disturbances, and of all entries of `s`.
    mean, deviation : (n,) arrays
        Of all entries before anything is measured: the training data's, and the disturbances' prior.
    size : (n,) array
        Units in which entries are compared.
    beside : (n_y, n_s) array
        `N`, without columns unless the kind is `"mixed"`.
    """

    def __init__(
        self,
        network: RecurrentNetwork,
        kind: str,
        measured: np.ndarray | None = None,
        innovation: FloatArray | None = None,
    ) -> None:
        super().__init__(network)
        self.kind = check_choice(kind, "disturbance", NETWORK_DISTURBANCES)
        self.measured = np.arange(self.n_y) if measured is None else measured
        self.on_inputs = kind in ("input", "mixed")
        if self.on_inputs and not self.n_u:
            raise OptionError(
                f"disturbance is {kind!r} but the model has no inputs; expected 'none' or 'state'"
            )
        scaling = network.scaling
        self.beside = self._unmoved() if kind == "mixed" else np.empty((self.n_y, 0))
        prior = {
            "none": np.empty(0), "state": _OF_OUTPUTS * scaling.y_scale, "input": scaling.u_scale,
            "output": scaling.y_scale[self.measured], "mixed": scaling.u_scale,
        }[kind]  # fmt: skip
        n_s = self.beside.shape[1]
        self.size = np.concatenate([network.x_scale, prior, np.full(n_s, _OF_OUTPUTS)])
        self.deviation = self.size.copy()
        if n_s and innovation is not None:
            back = np.linalg.pinv(self.beside / scaling.y_scale[:, None]) / scaling.y_scale
            self.deviation[-n_s:] = np.sqrt(np.diag(back @ innovation @ back.T))
        self.n = len(self.size)
        self.n_d = self.n - self.n_x
        self.mean = np.concatenate([network.x_mean, np.zeros(self.n_d)])
        self._F = np.eye(self.n)
        if kind == "state":
            self._F[: self.n_y, self.n_x :] = np.eye(self.n_y)
        self._F[: self.n_y, self.n - n_s :] += self.beside
        self._no_w = np.zeros(self.n_u)

    def split(self, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`(x, d, w)` of `s`, zero where not estimated; shapes `(n_x,)`, `(n_y,)` and `(n_u,)`."""
        x, extra = s[: self.n_x], s[self.n_x :]
        d = extra if self.kind == "state" else self.beside @ extra[self.n_d - self.beside.shape[1] :]
        w = extra[: self.n_u] if self.on_inputs else self._no_w.copy()
        return x, d, w

    def _unmoved(self) -> FloatArray:
        """`N` `(n_y, n_s)`: orthogonal directions of the measured outputs, in their scales, moved least."""
        network, rng, n = self.network, np.random.default_rng(0), self.n_y
        scaling, n_s = network.scaling, max(0, len(self.measured) - self.n_u)
        x = network.x_mean + network.x_scale * rng.standard_normal((_N_POINTS, self.n_x))
        u = scaling.u_mean + scaling.u_scale * rng.standard_normal((_N_POINTS, self.n_u))
        moved = self.jacobians(x, u)[1][:, :n] * scaling.u_scale / scaling.y_scale[:, None]
        left = np.linalg.svd(np.concatenate(list(moved[:, self.measured]), axis=1))[0]
        found = np.zeros((n, n_s))
        found[self.measured] = left[:, len(self.measured) - n_s :]
        return found * scaling.y_scale[:, None]

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
        if self.on_inputs:
            F[: self.n_x, self.n_x : self.n_x + self.n_u] = b[0]
        return np.concatenate([self.step(x, acting, d), s[self.n_x :]]), F

    def advance_all(self, s: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Next `(N, n)` of `N` states `(N, n)` under their inputs `(N, n_u)`, and Jacobians `(N, n, n)`."""
        n_x, acting = self.n_x, u
        if self.on_inputs:
            acting = u + s[:, n_x : n_x + self.n_u]
        a, b = self.jacobians(s[:, :n_x], acting)
        F = np.repeat(self._F[None], len(s), axis=0)
        F[:, :n_x, :n_x] = a
        if self.on_inputs:
            F[:, :n_x, n_x : n_x + self.n_u] = b
        return self.advance_each(s, u), F

    def advance_each(self, s: FloatArray, u: FloatArray) -> FloatArray:
        """Next `(N, n)` of `N` states `(N, n)` under their inputs `(N, n_u)`."""
        n_x, acting = self.n_x, u
        if self.on_inputs:
            acting = u + s[:, n_x : n_x + self.n_u]
        d = s[:, n_x:] if self.kind == "state" else s[:, self.n - self.beside.shape[1] :] @ self.beside.T
        x = self.run(s[:, :n_x], acting[:, None], d[:, None])[:, 1]
        return np.concatenate([x, s[:, n_x:]], axis=1)
