r"""The nonlinear face as predictive control needs it: roll-outs and Jacobians, vectorised.

Scalings are folded into the weights once, so that with raw `x`, `u`::

    y_{k+1} = y_k + sum_j q_j(u) (c_j + x L_j + psi V_j) + u D + d,      psi = act(x W_x + u W_u + b)

`d` is an additive disturbance on the next output, zero unless a controller estimates one.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.network.recurrent import RecurrentNetwork


class Rollout:
    """A network with folded weights.

    Parameters
    ----------
    network : RecurrentNetwork
    """

    def __init__(self, network: RecurrentNetwork) -> None:
        self.network, self.window = network, network.window
        window, layer, coupling = network.window, network.layer, network.coupling
        n_x, n_y, n_u = window.n_x, window.n_y, window.n_u
        self.n_x, self.n_y, self.n_u = n_x, n_y, n_u
        scaling, self.x_scale = network.scaling, network.x_scale
        self.u_mean, self.u_scale = scaling.u_mean, scaling.u_scale
        wx, wu = layer.split(n_x)
        self.wx = np.ascontiguousarray((wx / network.x_scale).T)
        bias = layer.biases - network.x_mean @ self.wx
        self.wu = np.zeros((n_u, layer.n_features))
        if coupling.layer_sees_input:
            self.wu = np.ascontiguousarray((wu / scaling.u_scale).T)
            bias = bias - scaling.u_mean @ self.wu
        self.bias, self.tanh = bias, layer.activation == "tanh"
        m, n_q = network.n_dictionary, coupling.n_products
        blocks = network.coef[: n_q * m].reshape(n_q, m, n_y) * scaling.y_scale
        # (rows, n_q, n_y), so that one product serves all monomials.
        self.const = blocks[:, 0] - np.einsum(
            "x,qxy->qy", network.x_mean / network.x_scale, blocks[:, 1 : 1 + n_x]
        )
        self.linear = (blocks[:, 1 : 1 + n_x] / network.x_scale[:, None]).transpose(1, 0, 2).reshape(n_x, -1)
        self.outer = np.ascontiguousarray(blocks[:, 1 + n_x :].transpose(1, 0, 2).reshape(-1, n_q * n_y))
        self._inner = np.ascontiguousarray(np.hstack([self.wx, self.linear]))
        self.n_q = n_q
        self.direct = np.zeros((n_u, n_y))
        if coupling.adds_input:
            self.direct = network.coef[n_q * m :] * scaling.y_scale / scaling.u_scale[:, None]
            self.const[0] -= scaling.u_mean @ self.direct
        # The window's shift is linear: its matrices are its action on unit vectors.
        self._shift_x = window.advance(np.eye(n_x), np.zeros((n_x, n_u)), np.zeros((n_x, n_y))).T.copy()
        self._shift_u = window.advance(np.zeros((n_u, n_x)), np.eye(n_u), np.zeros((n_u, n_y))).T.copy()

    def _monomials(self, u: FloatArray) -> FloatArray:
        return self.network.coupling.monomials((u - self.u_mean) / self.u_scale)

    def _monomial_gradients(self, u: FloatArray) -> FloatArray:
        """`dq_j / du_i`, `(..., n_q, n_u)`: central differences are exact for monomials of degree two."""
        us, coupling = (u - self.u_mean) / self.u_scale, self.network.coupling
        unit = np.eye(self.n_u)
        out = np.empty((*us.shape[:-1], self.n_q, self.n_u))
        for i in range(self.n_u):
            difference = coupling.monomials(us + unit[i]) - coupling.monomials(us - unit[i])
            out[..., i] = 0.5 * difference / self.u_scale[i]
        return out

    def _activate(self, pre: FloatArray) -> FloatArray:
        return np.tanh(pre, out=pre) if self.tanh else np.maximum(pre, 0.0, out=pre)

    def run(self, x0: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """States `(batch, N + 1, n_x)` from one start `(n_x,)` under plans `(batch, N, n_u)`.

        A plan that diverges gives values that are not finite, which no merit accepts.
        """
        if len(u) == 1 and x0.ndim == 1:
            return self._run_one(x0, u[0], d)[None]
        batch, N, _ = u.shape
        n_y, n_q, n_f = self.n_y, self.n_q, len(self.bias)
        q = self._monomials(u)
        pre = np.empty((batch, N, n_f + n_q * n_y))
        pre[..., :n_f] = u @ self.wu + self.bias
        pre[..., n_f:] = self.const.ravel()
        extra = u @ self.direct + d
        x = np.empty((batch, N + 1, self.n_x))
        x[:, 0] = x0
        now, advance, simple = x[:, 0], self.window.advance, self.n_x == n_y
        for k in range(N):
            # One product for the features' arguments and the terms linear in x.
            both = now @ self._inner
            both += pre[:, k]
            t = self._activate(both[:, :n_f]) @ self.outer
            t += both[:, n_f:]
            y = extra[:, k] + now[:, :n_y]
            y += t if n_q == 1 else np.matmul(q[:, k, None, :], t.reshape(batch, n_q, n_y))[:, 0]
            now = y if simple else advance(now, u[:, k], y)
            x[:, k + 1] = now
        return x

    def _run_one(self, x0: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """`run` for one plan: with vectors, whose products cost half of those of matrices of one row."""
        N, n_y, n_f, n_q = len(u), self.n_y, len(self.bias), self.n_q
        pre = np.empty((N, n_f + n_q * n_y))
        pre[:, :n_f] = u @ self.wu
        pre[:, :n_f] += self.bias
        pre[:, n_f:] = self.const.ravel()
        extra = u @ self.direct
        extra += d
        q = None if n_q == 1 else self._monomials(u)
        x = np.empty((N + 1, self.n_x))
        x[0] = now = x0
        inner, outer, activate, advance = self._inner, self.outer, self._activate, self.window.advance
        simple = self.n_x == n_y
        for k in range(N):
            both = now.dot(inner)
            both += pre[k]
            t = activate(both[:n_f]).dot(outer)
            t += both[n_f:]
            y = t if q is None else q[k].dot(t.reshape(n_q, n_y))
            y += extra[k]
            y += now[:n_y]
            now = y if simple else advance(now, u[k], y)
            x[k + 1] = now
        return x

    def step(self, x: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """`x_{k+1}` of one `(n_x,)` state and `(n_u,)` input."""
        return self._run_one(x, u[None], d)[1]

    def jacobians(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(A_k, B_k)` at `(N, n_x)` states and `(N, n_u)` inputs: `(N, n_x, n_x)` and `(N, n_x, n_u)`."""
        N, n_y, n_q = len(x), self.n_y, self.n_q
        q, dq = self._monomials(u), self._monomial_gradients(u)
        psi = self._activate(x @ self.wx + u @ self.wu + self.bias)
        slope = 1.0 - psi**2 if self.tanh else (psi > 0.0) * 1.0
        t = (psi @ self.outer + x @ self.linear).reshape(N, n_q, n_y) + self.const
        # Weights seen by the features: sum_j q_j V_j, as (N, n_y, F).
        outer = self.outer.reshape(-1, n_q, n_y)
        seen = (
            np.matmul(q, outer.transpose(2, 1, 0).reshape(n_y, n_q, -1)).transpose(1, 0, 2)
            * slope[:, None, :]
        )
        y_x = seen @ self.wx.T
        y_x += np.einsum("nq,xqy->nyx", q, self.linear.reshape(-1, n_q, n_y))
        y_x[:, np.arange(n_y), np.arange(n_y)] += 1.0
        y_u = np.matmul(t.transpose(0, 2, 1), dq) + self.direct.T
        if self.network.coupling.layer_sees_input:
            y_u += seen @ self.wu.T
        a = np.repeat(self._shift_x[None], N, axis=0)
        b = np.repeat(self._shift_u[None], N, axis=0)
        a[:, :n_y], b[:, :n_y] = y_x, y_u
        return a, b


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
