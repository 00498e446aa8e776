r"""A network with its scalings folded in: roll-outs and Jacobians in the signals' units, vectorised.

What predictive control, filters and smoothers take most of their time with.

Scalings are folded into the weights once, so that with raw `x`, `u`::

    y_{k+1} = y_k + sum_j q_j(u) (c_j + x L_j + psi V_j) + u D + d,      psi = act(x W_x + u W_u + b)

`d` is an additive disturbance on the next output, zero unless a controller estimates one. A grey-box model,
whose known part stands in the place of `y_k`, rolls out by its own steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.recurrent import RecurrentNetwork


class Passed(NamedTuple):
    """What a roll-out went through, for Jacobians: features `(N, n_f)`, inputs and maps to the outputs."""

    features: FloatArray
    with_one: FloatArray
    maps: FloatArray


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
        self.n_q = n_q
        # Of [psi; x] to y_{k+1} for each monomial, y_k itself with the first, which is one.
        linear = self.linear.reshape(n_x, n_q, n_y).transpose(1, 0, 2)
        both = np.concatenate([blocks[:, 1 + n_x :], linear], axis=1).transpose(0, 2, 1).copy()
        both[0, :, layer.n_features : layer.n_features + n_y] += np.eye(n_y)
        self._both = both
        # Factors of each monomial, the last entry of [u; 1] standing for none.
        pairs = [(*factors, n_u, n_u)[:2] for factors in coupling.products]
        self._factors = np.array(pairs, dtype=int).T
        self.direct = np.zeros((n_u, n_y))
        if coupling.adds_input:
            self.direct = network.coef[n_q * m :] * scaling.y_scale / scaling.u_scale[:, None]
            self.const[0] -= scaling.u_mean @ self.direct
        # The window's shift is linear: its matrices are its action on unit vectors.
        self._shift_x = window.advance(np.eye(n_x), np.zeros((n_x, n_u)), np.zeros((n_x, n_y))).T.copy()
        self._shift_u = window.advance(np.zeros((n_u, n_x)), np.eye(n_u), np.zeros((n_u, n_y))).T.copy()

    def _with_one(self, u: FloatArray) -> FloatArray:
        """Standardised inputs, then a one: what monomials are products of."""
        out = np.empty((*u.shape[:-1], self.n_u + 1))
        np.subtract(u, self.u_mean, out=out[..., :-1])
        out[..., :-1] /= self.u_scale
        out[..., -1] = 1.0
        return out

    def _monomials(self, with_one: FloatArray) -> FloatArray:
        """`q_j(u)`, `(..., n_q)`."""
        return with_one[..., self._factors[0]] * with_one[..., self._factors[1]]

    def _monomial_gradients(self, with_one: FloatArray) -> FloatArray:
        """`dq_j / du_i`, `(..., n_q, n_u)`."""
        out = np.zeros((*with_one.shape[:-1], self.n_q, self.n_u + 1))
        rows = np.arange(self.n_q)
        for mine, other in (self._factors, self._factors[::-1]):
            out[..., rows, mine] += with_one[..., other]
        return out[..., :-1] / self.u_scale

    def _maps(self, q: FloatArray) -> FloatArray:
        """Of `[psi; x]` to the next output where the monomials are `q` `(N, n_q)`: `(N, n_y, n_f + n_x)`."""
        return (q @ self._both.reshape(self.n_q, -1)).reshape(len(q), *self._both.shape[1:])

    def _activate(self, pre: FloatArray) -> FloatArray:
        return np.tanh(pre, out=pre) if self.tanh else np.maximum(pre, 0.0, out=pre)

    def run(self, x0: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """States `(batch, N + 1, n_x)` from one start `(n_x,)` under plans `(batch, N, n_u)`.

        A plan that diverges gives values that are not finite, which no merit accepts.
        """
        if self.network.known is not None:
            return self._unfolded(np.broadcast_to(x0, (len(u), self.n_x)), u, d)
        if len(u) == 1 and x0.ndim == 1:
            return self.trace(x0, u[0], d)[0][None]
        batch, N, _ = u.shape
        n_y, n_q, n_f = self.n_y, self.n_q, len(self.bias)
        driven, both = u @ self.wu + self.bias, self._both.reshape(n_q * n_y, -1).T
        q = None if n_q == 1 else self._monomials(self._with_one(u))
        level = u @ self.direct + d + (self.const[0] if q is None else q @ self.const)
        x = np.empty((batch, N + 1, self.n_x))
        x[:, 0] = x0
        rows = np.empty((batch, n_f + self.n_x))
        now, advance, simple = x[:, 0], self.window.advance, self.n_x == n_y
        for k in range(N):
            rows[:, :n_f] = self._activate(now @ self.wx + driven[:, k])
            rows[:, n_f:] = now
            y = rows @ both
            if q is not None:
                y = np.matmul(q[:, k, None, :], y.reshape(batch, n_q, n_y))[:, 0]
            y += level[:, k]
            now = y if simple else advance(now, u[:, k], y)
            x[:, k + 1] = now
        return x

    def trace(self, x0: FloatArray, u: FloatArray, d: FloatArray) -> tuple[FloatArray, Passed]:
        """States `(N + 1, n_x)` under one plan `(N, n_u)`, and what they went through.

        With vectors, whose products cost half of those of matrices of one row.
        """
        N, n_f = len(u), len(self.bias)
        if self.network.known is not None:
            return self._unfolded(x0[None], u[None], d)[0], Passed(np.empty((N, n_f)), u, self._both)
        driven = u @ self.wu
        driven += self.bias
        level = u @ self.direct
        level += d
        if self.n_q == 1:
            level += self.const[0]
            with_one, maps = u, np.broadcast_to(self._both, (N, *self._both.shape[1:]))
        else:
            with_one = self._with_one(u)
            q = self._monomials(with_one)
            level += q @ self.const
            maps = self._maps(q)
        # One row a sample, [psi | x]; each output is written to where the next row has its state. What drives
        # the layer is summed as the C code does it, so that plans which are not yet settled agree.
        rows = np.empty((N + 1, n_f + self.n_x))
        x = rows[:, n_f:]
        x[0] = x0
        wx, bend = self.wx, np.tanh if self.tanh else _relu
        advance, simple = self.window.advance, self.n_x == self.n_y
        # Rows of arrays come faster from `zip` than by index; with no window the output is the state.
        for psi, row, drive, to_y, offset, now, after, u_k in zip(
            rows[:N, :n_f], rows[:N], driven, maps, level, x[:-1], x[1:], u, strict=True
        ):
            now.dot(wx, psi)
            psi += drive
            bend(psi, psi)
            if simple:
                to_y.dot(row, after)
                after += offset
            else:
                after[:] = advance(now, u_k, to_y.dot(row) + offset)
        return x.copy(), Passed(rows[:N, :n_f], with_one, maps)

    def step(self, x: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """`x_{k+1}` of one `(n_x,)` state and `(n_u,)` input."""
        return self.trace(x, u[None], d)[0][1]

    def jacobians(
        self, x: FloatArray, u: FloatArray, passed: Passed | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """`(A_k, B_k)` at `(N, n_x)` states and `(N, n_u)` inputs: `(N, n_x, n_x)` and `(N, n_x, n_u)`.

        `passed` is what the roll-out to these states went through, where there was one.
        """
        return self._slopes(x, u, passed) if self.network.known is None else self._beside_known(x, u)

    def _slopes(self, x: FloatArray, u: FloatArray, passed: Passed | None) -> tuple[FloatArray, FloatArray]:
        """Jacobians with the newest output in the place of a known part."""
        N, n_y, n_q, n_f = len(x), self.n_y, self.n_q, len(self.bias)
        if passed is None:
            psi = self._activate(x @ self.wx + u @ self.wu + self.bias)
            with_one = self._with_one(u) if n_q > 1 else u
            maps = self._maps(self._monomials(with_one)) if n_q > 1 else self._both
        else:
            psi, with_one, maps = passed
        slope = 1.0 - psi * psi if self.tanh else (psi > 0.0) * 1.0
        seen = maps[:, :, :n_f] * slope[:, None, :]
        y_x = seen @ self.wx.T
        y_x += maps[:, :, n_f:]
        y_u = np.repeat(self.direct.T[None], N, axis=0)
        if n_q > 1:
            t = (psi @ self.outer + x @ self.linear).reshape(N, n_q, n_y) + self.const
            y_u += np.matmul(t.transpose(0, 2, 1), self._monomial_gradients(with_one))
        if self.network.coupling.layer_sees_input:
            y_u += seen @ self.wu.T
        if self.n_x == n_y:
            return y_x, y_u
        a = np.repeat(self._shift_x[None], N, axis=0)
        b = np.repeat(self._shift_u[None], N, axis=0)
        a[:, :n_y], b[:, :n_y] = y_x, y_u
        return a, b

    def _unfolded(self, x0: FloatArray, u: FloatArray, d: FloatArray) -> FloatArray:
        """Roll-outs of a network with a known part, by its own steps."""
        x = np.empty((len(u), u.shape[1] + 1, self.n_x))
        x[:, 0] = x0
        with np.errstate(all="ignore"):
            for k in range(u.shape[1]):
                x[:, k + 1] = self.network.step(x[:, k], u[:, k]) + d
        return x

    def _beside_known(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Jacobians of a network with a known part, whose state is the outputs themselves."""
        known = self.network.known
        assert known is not None  # whoever calls has looked
        x_at, u_at = known.within(x, u)
        y_x, y_u = self._slopes(x_at, u_at, None)
        known_x, known_u = known.jacobian(x, u, self.x_scale, self.u_scale)
        y_x = (y_x - np.eye(self.n_x)) * (x_at == x)[:, None]
        return known_x + y_x, known_u + y_u * (u_at == u)[:, None]


def _relu(pre: FloatArray, out: FloatArray) -> FloatArray:
    return np.maximum(pre, 0.0, out=out)
