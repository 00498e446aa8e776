"""Lag windows: the state of a model that sees measured outputs instead of states.

With `p = output_lags`, `q = input_lags` and `s = 1` if the newest input acts on the newest output
(feedthrough), else `s = 0`::

    x_k  = [y_k .. y_{k-p+1}, u_{k-1+s} .. u_{k-q+1+s}]        n_x = p n_y + (q - 1) n_u
    y_{k+1} = f(x_k, u_{k+s})

Only `y_{k+1}` is learned; the rest of `x_{k+1}` is an exact shift of `x_k` and `u_{k+s}`. Feedthrough is
therefore nothing but an input sequence read one sample ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError, ShapeError


@dataclass(frozen=True)
class LagWindow:
    """Sizes and index arithmetic of a lag window (see the module's equation).

    Parameters
    ----------
    output_lags, input_lags : int
        Numbers `p, q >= 1` of outputs and inputs that act on the next output; `p = q = 1` makes the window
        the newest output itself.
    feedthrough : bool
        Whether `u[k]` acts on `y[k]`.
    n_y, n_u : int
        Numbers of outputs and inputs.
    """

    output_lags: int
    input_lags: int
    feedthrough: bool
    n_y: int
    n_u: int

    @property
    def n_x(self) -> int:
        """Length of the window."""
        return self.output_lags * self.n_y + (self.input_lags - 1) * self.n_u

    @property
    def shift(self) -> int:
        """Samples by which the input is read ahead: 1 with feedthrough, else 0."""
        return int(self.feedthrough and self.n_u > 0)

    @property
    def n_samples(self) -> int:
        """Measured samples needed to fill one window."""
        past_inputs = self.input_lags - 1 - self.shift if self.n_u else 0
        return max(self.output_lags, past_inputs + 1)

    def windows(self, outputs: FloatArray, inputs: FloatArray, first: int, last: int) -> FloatArray:
        """Windows `x_k` for `first <= k < last`, shape `(last - first, n_x)`."""
        s = self.shift
        parts = [outputs[first - i : last - i] for i in range(self.output_lags)]
        if self.n_u:
            parts += [inputs[first - i + s : last - i + s] for i in range(1, self.input_lags)]
        return np.concatenate(parts, axis=1)

    def pairs(self, outputs: FloatArray, inputs: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """All `(x_k, u_{k+s}, y_{k+1})` of one episode; none if it is shorter than window plus one."""
        first, last = self.n_samples - 1, len(outputs) - 1
        if last <= first:
            return np.empty((0, self.n_x)), np.empty((0, self.n_u)), np.empty((0, self.n_y))
        self._check_input_rows(outputs, inputs)
        x = self.windows(outputs, inputs, first, last)
        return x, inputs[first + self.shift : last + self.shift], outputs[first + 1 : last + 1]

    def initial(self, outputs: FloatArray, inputs: FloatArray, n_init: int) -> FloatArray:
        """Window at the end of the first `n_init` samples."""
        if n_init < self.n_samples:
            raise DataError(
                f"n_init is {n_init}; expected at least {self.n_samples} samples to fill a window of "
                f"{self.output_lags} output and {self.input_lags} input lags"
            )
        if len(outputs) < n_init:
            raise DataError(
                f"the record has {len(outputs)} samples; expected at least {n_init} to start from"
            )
        if self.input_lags > 1 and len(inputs) < n_init:
            self._check_input_rows(outputs, inputs)
        return self.windows(outputs, inputs, n_init - 1, n_init)[0]

    def initial_padded(self, outputs: FloatArray, inputs: FloatArray, n_init: int) -> FloatArray:
        """Like `initial`, but where `n_init` samples do not fill a window the first one is repeated before
        them.
        """
        missing = self.n_samples - n_init
        if missing <= 0 or len(outputs) < n_init:
            return self.initial(outputs, inputs, n_init)
        y = np.concatenate([np.repeat(outputs[:1], missing, axis=0), outputs])
        u = np.concatenate([np.repeat(inputs[:1], missing, axis=0), inputs])
        return self.initial(y, u, self.n_samples)

    def acting_inputs(self, outputs: FloatArray, inputs: FloatArray, n_init: int) -> FloatArray:
        """Inputs that drive the steps from `n_init - 1` to the end of the record, one row a step."""
        self._check_input_rows(outputs, inputs)
        return inputs[n_init - 1 + self.shift : len(outputs) - 1 + self.shift]

    def advance(self, x: FloatArray, u: FloatArray, y_next: FloatArray) -> FloatArray:
        """Window after one step, over the last axis (batches allowed)."""
        if self.n_x == self.n_y:
            return y_next
        keep_y, end_y = (self.output_lags - 1) * self.n_y, self.output_lags * self.n_y
        parts = [y_next, x[..., :keep_y]]
        if self.input_lags > 1 and self.n_u:
            parts += [u, x[..., end_y : self.n_x - self.n_u]]
        return np.concatenate(parts, axis=-1)

    def names(self, output_names: tuple[str, ...], input_names: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the window's entries; a delay of i samples is written `name[k-i]`."""
        s = self.shift
        names = [n if i == 0 else f"{n}[k-{i}]" for i in range(self.output_lags) for n in output_names]
        names += [n if i == s else f"{n}[k-{i - s}]" for i in range(1, self.input_lags) for n in input_names]
        return tuple(names)

    def repeat_channels(self, per_output: FloatArray, per_input: FloatArray) -> FloatArray:
        """Spread one number per channel over the window's entries."""
        return np.concatenate(
            [np.tile(per_output, self.output_lags), np.tile(per_input, self.input_lags - 1)]
        )

    def _check_input_rows(self, outputs: FloatArray, inputs: FloatArray) -> None:
        if self.shift and len(inputs) < len(outputs):
            raise ShapeError(
                f"inputs has {len(inputs)} rows; expected {len(outputs)} to match the outputs, because with "
                "feedthrough=True the last input acts on the last output. Pass it, or set feedthrough=False"
            )
