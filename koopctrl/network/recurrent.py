r"""The nonlinear face: a recurrent network that re-lifts its state at every step.

With standardised `x`, `u` and `phi = [1; x; psi(x)]` (`psi(x, u)` for the `network` coupling)::

    y_{k+1} = y_k + S_y sum_l q_l(u_k) (phi(x_k) V_l)        x_{k+1} = shift(x_k, u_k, y_{k+1})

Learning the increment instead of `y_{k+1}` changes nothing in exact least squares, the state being in the
dictionary, but a cut-off or ridge then pulls towards "no change" and not towards zero. A grey-box model has
its known part `f(x_k, u_k)` in the place of `y_k`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.network.coupling import Coupling
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.known import KnownPart
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.prepared_run import PreparedRun

# A roll-out this many standard deviations away from the data has diverged; it is held there, and reported.
DIVERGED = 1e4
# Steps from which on it pays to prepare them, and numbers of one step (of all runs) up to which it does: it
# saves calls, whose cost is all there is to small systems, and goes through memory once more.
_PREPARED, _SMALL = 4, 4000


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean and standard deviation of each output and input channel over the training data."""

    y_mean: FloatArray
    y_scale: FloatArray
    u_mean: FloatArray
    u_scale: FloatArray

    @classmethod
    def from_data(cls, outputs: FloatArray, inputs: FloatArray) -> Scaling:
        """Measure it; a constant channel gets scale 1, a channel without samples mean 0 too."""
        return cls(*_mean_and_spread(outputs), *_mean_and_spread(inputs))


@dataclass(frozen=True, eq=False)
class RecurrentNetwork:
    """A fitted network: `x_{k+1} = step(x_k, u_k)` in raw units.

    Parameters
    ----------
    window : LagWindow
        Layout of the state.
    layer : Layer
        Hidden layer on standardised points.
    coupling : Coupling
        Input terms.
    coef : (n_columns, n_y) array
        Outer weights, for standardised regressors and increments.
    scaling : Scaling
        Channel means and scales.
    known : KnownPart, optional
        What stands in the place of `y_k`.
    """

    window: LagWindow
    layer: Layer
    coupling: Coupling
    coef: FloatArray
    scaling: Scaling
    known: KnownPart | None = None
    x_mean: FloatArray = field(init=False, repr=False)
    x_scale: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Spread the channels' scaling over the window."""
        s, repeat = self.scaling, self.window.repeat_channels
        object.__setattr__(self, "x_mean", repeat(s.y_mean, s.u_mean))
        object.__setattr__(self, "x_scale", repeat(s.y_scale, s.u_scale))

    @property
    def n_dictionary(self) -> int:
        """Columns of `phi`."""
        return 1 + self.window.n_x + self.layer.n_features

    def standardise(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Standardised states and inputs."""
        return (x - self.x_mean) / self.x_scale, (u - self.scaling.u_mean) / self.scaling.u_scale

    def dictionary(self, xs: FloatArray, us: FloatArray) -> FloatArray:
        """`phi = [1, x, psi]` of standardised states and inputs, shape `(..., n_dictionary)`."""
        n_x = xs.shape[-1]
        points = np.concatenate([xs, us], axis=-1) if self.coupling.layer_sees_input else xs
        phi = np.empty((*xs.shape[:-1], self.n_dictionary))
        phi[..., 0] = 1.0
        phi[..., 1 : 1 + n_x] = xs
        phi[..., 1 + n_x :] = self.layer(points)
        return phi

    def next_output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """`y_{k+1}` for `(..., n_x)` states and `(..., n_u)` inputs."""
        xs, us = self._at(x, u)
        increment = self.coupling.apply(self.dictionary(xs, us), us, self.coef)
        return self.base(x, u) + self.scaling.y_scale * increment

    def _at(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Standardised points at which the learned increment is taken."""
        return self.standardise(*((x, u) if self.known is None else self.known.within(x, u)))

    def base(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """What the learned increment is added to: the newest outputs, or the known part's next ones."""
        return x[..., : self.window.n_y] if self.known is None else self.known(x, u)

    def step(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """`x_{k+1}` for `(..., n_x)` states and `(..., n_u)` inputs."""
        return self.window.advance(x, u, self.next_output(x, u))

    def rollout(self, x0: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Roll a batch out.

        Parameters
        ----------
        x0 : (batch, n_x) array
        u : (batch, n_steps, n_u) array

        Returns
        -------
        y : (batch, n_steps + 1, n_y) array
            Finite: where a roll-out passes `DIVERGED` standard deviations it is held.
        diverged_at : (batch,) int array
            First step that was held; `n_steps + 1` where none was.
        """
        low = self.scaling.y_mean - DIVERGED * self.scaling.y_scale
        high = self.scaling.y_mean + DIVERGED * self.scaling.y_scale
        return self._roll(x0, u, low, high, clip=False)

    def bounded_rollout(
        self, x0: FloatArray, u: FloatArray, low: FloatArray, high: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Like `rollout`, but outputs are held within `[low, high]`; the second value is where one first
        was.
        """
        return self._roll(x0, u, low, high, clip=True)

    def _roll(
        self, x0: FloatArray, u: FloatArray, low: FloatArray, high: FloatArray, clip: bool
    ) -> tuple[FloatArray, FloatArray]:
        n_y, (batch, n_steps) = self.window.n_y, u.shape[:2]
        left_at = np.full(batch, n_steps + 1)
        small = batch * self.n_dictionary <= _SMALL
        if self.known is None and small and n_steps >= _PREPARED:
            y, known = PreparedRun(self)(x0, u, low, high)
            x = self._window_at(known - 1, x0, y, u)
        else:
            y, known, x = np.empty((batch, n_steps + 1, n_y)), 1, x0
            y[:, 0] = x0[:, :n_y]
        # Step by step from the last sample before one of the runs leaves its bounds.
        for k in range(known - 1, n_steps):
            with np.errstate(over="ignore", invalid="ignore"):  # reported as having left below
                y_next = self.next_output(x, u[:, k])
            outside = np.any(~((y_next >= low) & (y_next <= high)), axis=1)
            if outside.any():
                left_at[outside] = np.minimum(left_at[outside], k + 1)
                if clip:
                    y_next = np.clip(np.where(np.isnan(y_next), y[:, k], y_next), low, high)
                else:
                    y_next = np.where(outside[:, None], y[:, k], y_next)
            y[:, k + 1] = y_next
            x = self.window.advance(x, u[:, k], y_next)
        return y, left_at

    def _window_at(self, k: int, x0: FloatArray, y: FloatArray, u: FloatArray) -> FloatArray:
        """Windows `(batch, n_x)` at step `k` of runs from `x0` with outputs `y` under inputs `u`."""
        w, x = self.window, x0
        for i in range(max(0, k - max(w.output_lags, w.input_lags)), k):
            x = w.advance(x, u[:, i], y[:, i + 1])
        return x

    def jacobian(self, x: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(d step / dx, d step / du)` at one point, shapes `(n_x, n_x)` and `(n_x, n_u)`."""
        w, n_x, n_y = self.window, self.window.n_x, self.window.n_y
        xs, us = self._at(x, u)
        phi = self.dictionary(xs, us)
        m, q = len(phi), self.coupling.monomials(us)
        blocks = self.coef[: len(q) * m].reshape(len(q), m, n_y)
        outer = np.tensordot(q, blocks, axes=1)  # dy/dphi, (m, n_y)
        points = np.concatenate([xs, us]) if self.coupling.layer_sees_input else xs
        slopes = self.layer.jacobian(points, outer[1 + n_x :]).T
        dx = outer[1 : 1 + n_x].T + slopes[:, :n_x]
        du = np.einsum("mij,i,mk->jk", blocks, phi, self.coupling.monomial_gradients(us))
        if self.coupling.layer_sees_input:
            du += slopes[:, n_x:]
        if self.coupling.adds_input:
            du += self.coef[len(q) * m :].T
        y_scale = self.scaling.y_scale[:, None]
        y_x = y_scale * dx / self.x_scale
        y_u = y_scale * du / self.scaling.u_scale
        if self.known is None:
            y_x = np.eye(n_y, n_x) + y_x
        else:
            known_x, known_u = self.known.jacobian(x, u, self.x_scale, self.scaling.u_scale)
            near_x, near_u = self.known.within(x, u)
            y_x, y_u = known_x + y_x * (near_x == x), known_u + y_u * (near_u == u)
        # The shift is linear: its Jacobian is its action on unit vectors.
        zero_y, zero_u = np.zeros((n_x, n_y)), np.zeros((n_x, w.n_u))
        a = w.advance(np.eye(n_x), zero_u, zero_y).T
        b = w.advance(np.zeros((w.n_u, n_x)), np.eye(w.n_u), np.zeros((w.n_u, n_y))).T.copy()
        a = a.copy()
        a[:n_y] = y_x
        b[:n_y] = y_u
        return a, b

    def frozen(self, p: FloatArray) -> RecurrentNetwork:
        """The network of the moved inputs alone, with measured parameters held at `p` `(n_p,)`."""
        where, moved, s, n_x = (
            list(self.coupling.parameters),
            self.coupling.moved,
            self.scaling,
            self.window.n_x,
        )
        standard = (p - s.u_mean[where]) / s.u_scale[where]
        coupling, coef = self.coupling.freeze(self.coef, self.n_dictionary, standard)
        on_x, on_u = self.layer.split(n_x)
        layer = self.layer
        if self.coupling.layer_sees_input:
            weights = np.hstack([on_x, on_u[:, moved]]) if coupling.layer_sees_input else on_x
            layer = Layer(weights, layer.biases + on_u[:, where] @ standard, layer.activation)
        scaling = Scaling(s.y_mean, s.y_scale, s.u_mean[moved], s.u_scale[moved])
        known = None if self.known is None else self.known.frozen(where, p, self.window.n_u)
        return RecurrentNetwork(replace(self.window, n_u=len(moved)), layer, coupling, coef, scaling, known)


def _mean_and_spread(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of what is not missing (NaN), 1 for a column that is constant to
    rounding; any scale.
    """
    if not len(values):
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    top = np.nanmax(np.abs(values), axis=0)
    relative = values / np.where(top > 0, top, 1.0)  # squares of the values themselves may over- or underflow
    spread = np.nanstd(relative, axis=0)
    return np.nanmean(relative, axis=0) * top, np.where(spread > 1e-14, spread * top, 1.0)
