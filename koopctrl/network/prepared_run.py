r"""Free runs of a recurrent network, all that inputs decide computed beforehand.

With standardised outputs `y` and inputs `v`, the past outputs `z_k = [y_k .. y_{k-p+1}]` of the window, its
past inputs and the present one `h_k = [v_{k-q+1} .. v_k]`, and monomials `m(v_k)`::

    psi_k = act(z_k W_z + (h_k W_h + b))
    y_{k+1} = y_k + sum_l m_l(v_k) (z_k Z_l + psi_k P_l) + sum_l m_l(v_k) (c_l + h_k H_l) + v_k D

What stands in the last two sums and in the inner brackets is one product for many steps. Past outputs stand
in a buffer whose newest sample is in front, so that `z_k` is a slice of it. A step is then two products and
three sums, where one that starts from raw values takes some thirty calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from koopctrl._validation import FloatArray
from koopctrl.network.activations import TABLE

if TYPE_CHECKING:
    from koopctrl.network.recurrent import RecurrentNetwork

_NUMBERS = 1 << 20  # that are computed beforehand at once
_STEPS = 512  # at most, after which it is looked at whether a run has left its bounds


class PreparedRun:
    """Weights of a network (without a known part), as a run needs them.

    Parameters
    ----------
    network : RecurrentNetwork
    """

    def __init__(self, network: RecurrentNetwork) -> None:
        self.network = net = network
        w, m, n_l = net.window, net.n_dictionary, net.coupling.n_products
        self.n_z = n_z = w.output_lags * w.n_y
        self.n_h = w.input_lags * w.n_u
        blocks = net.coef[: n_l * m].reshape(n_l, m, w.n_y).transpose(1, 0, 2)  # by regressor
        on_x, on_u = net.layer.split(w.n_x)
        self.q = q = net.layer.n_features
        # What neurons and monomials get of past outputs, side by side; then of inputs, then always.
        past = blocks[1 + n_z : 1 + w.n_x].reshape(w.n_x - n_z, n_l * w.n_y)
        self.of_outputs = np.hstack([on_x[:, :n_z].T, blocks[1 : 1 + n_z].reshape(n_z, n_l * w.n_y)])
        present = on_u.T if net.coupling.layer_sees_input else np.zeros((w.n_u, q))
        to_neurons = self._by_time(on_x[:, n_z:].T, present)
        to_outputs = self._by_time(past, np.zeros((w.n_u, n_l * w.n_y)))
        self.of_inputs = np.hstack([to_neurons, to_outputs])
        self.always = np.concatenate([net.layer.biases, blocks[0].ravel()])
        self.outer = np.ascontiguousarray(blocks[1 + w.n_x :].reshape(q, n_l * w.n_y))
        self.direct = net.coef[n_l * m :] if net.coupling.adds_input else None

    def _by_time(self, past: FloatArray, present: FloatArray) -> FloatArray:
        """Weights of past inputs, the newest first, and of the present one, in rows by channel and time."""
        w = self.network.window
        newest_first = np.concatenate([present, past]).reshape(w.input_lags, w.n_u, past.shape[1])
        return newest_first[::-1].swapaxes(0, 1).reshape(self.n_h, past.shape[1])

    def __call__(
        self, x0: FloatArray, u: FloatArray, low: FloatArray, high: FloatArray
    ) -> tuple[FloatArray, int]:
        """Outputs `(batch, n_steps + 1, n_y)`, and how many samples of them are known: up to the first that
        is outside `[low, high]` in any run, where that is for the caller to hold.
        """
        net, w = self.network, self.network.window
        s, (batch, n_steps), n_y = net.scaling, u.shape[:2], w.n_y
        y = np.empty((batch, n_steps + 1, n_y))
        y[:, 0] = x0[:, :n_y]
        first = (x0 - net.x_mean) / net.x_scale
        z = np.empty((batch, (n_steps + w.output_lags) * n_y))
        z[:, n_steps * n_y :] = first[:, : self.n_z]
        v = np.empty((batch, w.input_lags - 1 + n_steps, w.n_u))
        if w.n_u:
            past = first[:, self.n_z :].reshape(batch, w.input_lags - 1, w.n_u)
            v[:, : w.input_lags - 1] = past[:, ::-1]
            v[:, w.input_lags - 1 :] = (u - s.u_mean) / s.u_scale
        together = max(1, min(_STEPS, _NUMBERS // max(1, batch * len(self.always))))
        for begin in range(0, n_steps, together):
            end = min(begin + together, n_steps)
            with np.errstate(over="ignore", invalid="ignore"):  # seen by the caller as outside
                self._steps(z, v[:, begin : end + w.input_lags - 1], n_steps - begin)
                new = z[:, (n_steps - end) * n_y : (n_steps - begin) * n_y].reshape(batch, -1, n_y)
                y[:, begin + 1 : end + 1] = s.y_mean + s.y_scale * new[:, ::-1]
            inside = ((y[:, begin + 1 : end + 1] >= low) & (y[:, begin + 1 : end + 1] <= high)).all((0, 2))
            if not inside.all():
                return y, begin + 1 + int(np.argmin(inside))
        return y, n_steps + 1

    def _steps(self, z: FloatArray, v: FloatArray, head: int) -> None:
        """Steps under inputs `v`, from the window whose newest sample is the `head`-th of `z`, in place."""
        w, q, n_y = self.network.window, self.q, self.network.window.n_y
        batch, n = len(v), v.shape[1] - (w.input_lags - 1)
        beside = np.empty((n, batch, len(self.always)))
        beside[:] = self.always
        added: FloatArray | None = None
        times: FloatArray | None = None
        if w.n_u:
            h = sliding_window_view(v, w.input_lags, axis=1).swapaxes(0, 1).reshape(-1, self.n_h)
            beside += (h @ self.of_inputs).reshape(beside.shape)
            now = v[:, w.input_lags - 1 :].swapaxes(0, 1)
            if self.direct is not None:
                added = now @ self.direct
            if self.network.coupling.n_products > 1:
                times = self.network.coupling.monomials(now)[..., None]
        if times is None and added is not None:
            beside[..., q:] += added
        value = TABLE[self.network.layer.activation].value
        total = np.empty((batch, len(self.always)))
        inner, outer = total[:, :q], total[:, q:]
        more = np.empty_like(outer)
        for k in range(n):
            at = (head - k) * n_y
            np.matmul(z[:, at : at + self.n_z], self.of_outputs, out=total)
            np.add(total, beside[k], out=total)
            np.matmul(value(inner), self.outer, out=more)
            np.add(outer, more, out=more)
            step = more
            if times is not None:
                step = (more.reshape(batch, -1, n_y) * times[k]).sum(axis=1)
                if added is not None:
                    step += added[k]
            np.add(z[:, at : at + n_y], step, out=z[:, at - n_y : at])
