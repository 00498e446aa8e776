r"""Network with a hidden state: a recurrent network in its own coordinates, and a readout.

In standardised inputs `v` and outputs `w`, with `psi_x` a sampled layer on `(x, v)` and `psi_y` one on `x`,
or on `(x, v)` with feedthrough::

    x_{k+1} = A x_k + B v_k + c + E psi_x(x_k, v_k)        w_k = C x_k + D v_k + d + F psi_y(x_k, v_k)

The state equation *is* a `RecurrentNetwork` of the `network` coupling whose window is the hidden state, so
that whatever reads a network's step or Jacobian reads it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.coupling import Coupling
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork, Scaling


@dataclass(frozen=True, eq=False)
class Readout:
    """Outputs of a hidden state, `w = [1, x, psi_y, v] coef`, the last block with feedthrough only.

    Parameters
    ----------
    layer : Layer
        On `x`, or on `(x, v)` with feedthrough; may be empty.
    feedthrough : bool
        Whether `v` acts on `w`.
    coef : (1 + n_x + n_features [+ n_u], n_y) array
    scaling : Scaling
        Of outputs and inputs.
    """

    layer: Layer
    feedthrough: bool
    coef: FloatArray
    scaling: Scaling

    def regressors(self, x: FloatArray, v: FloatArray) -> FloatArray:
        """`[1, x, psi_y, v]` of `(..., n_x)` states and standardised inputs."""
        parts = [np.ones((*x.shape[:-1], 1)), x]
        if self.layer.n_features:
            parts.append(self.layer(np.concatenate([x, v], axis=-1) if self.feedthrough else x))
        if self.feedthrough:
            parts.append(v)
        return np.concatenate(parts, axis=-1)

    def __call__(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Outputs in physical units of `(..., n_x)` states and `(..., n_u)` inputs."""
        s = self.scaling
        return s.y_mean + s.y_scale * (self.regressors(x, (u - s.u_mean) / s.u_scale) @ self.coef)

    def jacobian(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(dy / dx, dy / du)` at one point."""
        s, n_x, q = self.scaling, x.shape[-1], self.layer.n_features
        v = (u - s.u_mean) / s.u_scale
        dx = self.coef[1 : 1 + n_x].T.copy()
        du = np.zeros((len(dx), len(u)))
        if q:
            points = np.concatenate([x, v]) if self.feedthrough else x
            slope = self.layer.jacobian(points, self.coef[1 + n_x : 1 + n_x + q]).T
            dx += slope[:, :n_x]
            if self.feedthrough:
                du += slope[:, n_x:]
        if self.feedthrough:
            du += self.coef[1 + n_x + q :].T
        return s.y_scale[:, None] * dx, s.y_scale[:, None] * du / s.u_scale


@dataclass(frozen=True, eq=False)
class HiddenNetwork:
    """State equation and readout (see the module's equation); methods as `RecurrentNetwork` has them.

    Parameters
    ----------
    state : RecurrentNetwork
        `x_{k+1} = step(x_k, u_k)`; its "outputs" are the hidden states, of unit spread over the training
        data.
    readout : Readout
    """

    state: RecurrentNetwork
    readout: Readout

    @classmethod
    def build(
        cls, layer: Layer, coef: FloatArray, output_layer: Layer, output_coef: FloatArray, scaling: Scaling,
        feedthrough: bool,
    ) -> HiddenNetwork:  # fmt: skip
        """Put together from layers and outer weights; `coef` gives the increment of `x`."""
        n_x, n_u = coef.shape[1], len(scaling.u_mean)
        unit = Scaling(np.zeros(n_x), np.ones(n_x), scaling.u_mean, scaling.u_scale)
        window = LagWindow(1, 1, False, n_x, n_u)
        return cls(
            RecurrentNetwork(window, layer, Coupling("network", n_u), coef, unit),
            Readout(output_layer, feedthrough, output_coef, scaling),
        )

    @property
    def window(self) -> LagWindow:
        """Layout of the state: one sample of the hidden states."""
        return self.state.window

    @property
    def layer(self) -> Layer:
        """Hidden layer of the state equation."""
        return self.state.layer

    @property
    def coupling(self) -> Coupling:
        """Input terms of the state equation."""
        return self.state.coupling

    @property
    def coef(self) -> FloatArray:
        """Outer weights of the state equation."""
        return self.state.coef

    @property
    def scaling(self) -> Scaling:
        """Scaling of outputs and inputs."""
        return self.readout.scaling

    @property
    def x_mean(self) -> FloatArray:
        """Zero: hidden states are centred."""
        return self.state.x_mean

    @property
    def x_scale(self) -> FloatArray:
        """One: hidden states have unit spread."""
        return self.state.x_scale

    @property
    def n_dictionary(self) -> int:
        """Columns of the state equation's `[1, x, psi]`."""
        return self.state.n_dictionary

    def step(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """`x_{k+1}` for `(..., n_x)` states and `(..., n_u)` inputs."""
        return self.state.step(x, u)

    def jacobian(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(d step / dx, d step / du)` at one point."""
        return self.state.jacobian(x, u)

    def output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """`y_k` for `(..., n_x)` states and `(..., n_u)` inputs of the same time."""
        return self.readout(x, u)

    def output_jacobian(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(dy / dx, dy / du)` at one point."""
        return self.readout.jacobian(x, u)

    def rollout(self, x0: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Roll a batch out; the last output is read with the last input held.

        Parameters
        ----------
        x0 : (batch, n_x) array
        u : (batch, n_steps, n_u) array

        Returns
        -------
        y : (batch, n_steps + 1, n_y) array
        diverged_at : (batch,) int array
            First step at which the state was held because it had diverged; `n_steps + 1` where none was.
        """
        x, diverged_at = self.state.rollout(x0, u)
        held = np.concatenate([u, u[:, -1:]], axis=1) if u.shape[1] else np.broadcast_to(
            self.scaling.u_mean, (len(x0), 1, self.window.n_u)
        )  # fmt: skip
        return self.readout(x, held), diverged_at
