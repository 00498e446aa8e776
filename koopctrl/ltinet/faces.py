"""What can be done with a network once it is there: right-hand side, frequencies, exports,
files, drawings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, as_float_array, as_vector
from koopctrl.errors import OptionError, ShapeError
from koopctrl.ltinet.judge.accuracy import TransferAccuracy, transfer_accuracy
from koopctrl.ltinet.judge.error_bound import ErrorBound, error_bound
from koopctrl.ltinet.judge.frequency import FrequencyResponse, frequencies, transfer_error, transfer_function
from koopctrl.ltinet.network_file import write_network
from koopctrl.ltinet.neurons import Summary
from koopctrl.ltinet.structure import NetworkStructure


class Faces(NetworkStructure):
    """Second half of `LTINetwork`: everything that only reads a network."""

    @cached_property
    def _dynamics(self) -> Any:
        return self.block_matrix()

    def ode(
        self, t: float, x: ArrayLike, u: ArrayLike | Callable[[float], ArrayLike] | None = None
    ) -> FloatArray:
        """Right-hand side `blkdiag(A_i) x + B u` in neuron states, for `scipy.integrate.solve_ivp`.

        Parameters
        ----------
        t : float
            Seconds; used only to evaluate a callable `u`.
        x : array (m,)
            Neuron states; `to_neurons(x0)` gives those of an original state.
        u : array (n_u,), callable of t, or None
            Inputs; None is zero.

        Returns
        -------
        array (m,)
        """
        if self.discrete:
            raise OptionError(
                "ode was called of a discrete network; expected a continuous one. Use next_state"
            )
        self._check_prompt("ode")
        return self._linear(x, u(t) if callable(u) else u)

    def next_state(self, x: ArrayLike, u: ArrayLike | None = None) -> FloatArray:
        """Next neuron states `blkdiag(A_i) x + B u` of a discrete network; see `sample` for continuous
        ones.
        """
        if not self.discrete:
            raise OptionError(
                "next_state was called of a continuous network; expected a discrete one. Use sample(dt)"
            )
        self._check_prompt("next_state")
        return self._linear(x, u)

    def _linear(self, x: ArrayLike, u: ArrayLike | None) -> FloatArray:
        state = as_float_array(x, "x")
        if state.shape != (self.n_states,):
            raise ShapeError(f"x has shape {state.shape}; expected ({self.n_states},), see to_neurons")
        rate = self._dynamics @ state
        return rate if u is None else rate + self.B @ as_vector(u, "u", self.B.shape[1])

    def _check_prompt(self, what: str) -> None:
        if self.delayed:
            raise OptionError(
                f"{what} was called of a network with dead times; expected none. Use simulate, or the "
                "matrices of sample(dt), which hold dead times as chains of states"
            )

    def output(self, x: ArrayLike, u: ArrayLike | None = None) -> FloatArray:
        """Outputs `C x + D u` of neuron states `(..., m)` and inputs `(..., n_u)`."""
        y = _rows(x, "x", self.n_states) @ self.C.T
        return y if u is None else y + _rows(u, "u", self.B.shape[1]) @ self.D.T

    def to_neurons(self, x: ArrayLike) -> FloatArray:
        """Neuron states `T_inv x` of original states `(..., n)`."""
        return _rows(x, "x", self.T.shape[0]) @ self.T_inv.T

    def to_states(self, w: ArrayLike) -> FloatArray:
        """Original states `T w` of neuron states `(..., m)`."""
        return _rows(w, "w", self.n_states) @ self.T.T

    @few_threads()
    def error_bound(
        self,
        u_bound: float = 1.0,
        tol: ArrayLike = 0.0,
        x0_bound: float = 0.0,
        horizon: float | None = None,
        step: float | None = None,
    ) -> ErrorBound:
        """Bound on the outputs' error; see `koopctrl.ltinet.judge.error_bound.error_bound`."""
        return error_bound(self, u_bound, tol, x0_bound, horizon, step)

    @few_threads()
    def transfer_function(self, points: ArrayLike) -> np.ndarray:
        """`C (s I - blkdiag)^-1 B + D` at complex points; see `koopctrl.ltinet.judge.frequency`."""
        return transfer_function(self, points)

    def transfer_error(self, points: ArrayLike) -> np.ndarray:
        """Model's transfer function minus the network's; see `koopctrl.ltinet.judge.frequency`."""
        return transfer_error(self, points)

    @few_threads()
    def accuracy(self, omega: ArrayLike | None = None) -> TransferAccuracy:
        """Error of the frequency response: what is known of it and what it cannot exceed, of the peak and
        pointwise; see `koopctrl.ltinet.judge.accuracy`.

        Parameters
        ----------
        omega : array (N,), optional
            Frequencies in rad/s; a grid with the poles' own by default.
        """
        return transfer_accuracy(self, omega)

    @few_threads()
    def frequency_response(self, omega: ArrayLike | None = None) -> FrequencyResponse:
        """Frequency response; O(n) per frequency for first- and second-order layers.

        Parameters
        ----------
        omega : array (N,), optional
            Frequencies in rad/s; 200 around the poles by default.

        Returns
        -------
        FrequencyResponse
        """
        omega = frequencies(self, omega)
        points = np.exp(1j * omega * self.sample_time) if self.discrete else 1j * omega
        return FrequencyResponse(omega, transfer_function(self, points), self.input_names, self.output_names)

    def bode(self, omega: ArrayLike | None = None, **options: Any) -> Any:
        """Draw magnitude and phase; see `koopctrl.plotting.ltinet.plot_bode`."""
        return self.frequency_response(omega).plot(**options)

    def __repr__(self) -> str:
        """Dimensions, neurons by order and conditioning."""
        second = sum(int(np.count_nonzero(np.diagonal(block, -1))) for block in self.blocks)
        return (
            f"LTINetwork({self.n_states} states in {len(self.blocks)} layers, "
            f"{self.n_states - 2 * second} first- and {second} second-order neurons, "
            f"n_u={self.B.shape[1]}, n_y={self.C.shape[0]}, cond(T)={self.cond:.3g})"
        )

    def summary(self) -> Summary:
        """Layers, neurons, weights, conditioning and bound; prints as a table."""
        second = sum(int(np.count_nonzero(np.diagonal(block, -1))) for block in self.blocks)
        inner = sum(int(np.count_nonzero(layer.weights)) for layer in self.layers if len(layer.matrix) > 1)
        total = sum(int(np.count_nonzero(M)) for M in (*self.blocks, self.B, self.C, self.D))
        n, n_u, n_y = self.T.shape[0], self.B.shape[1], self.C.shape[0]
        return Summary(
            n_states=self.n_states,
            n_layers=len(self.blocks),
            first_order=self.n_states - 2 * second,
            second_order=second,
            depth=max((layer.depth for layer in self.layers), default=0),
            intra_layer_weights=inner,
            weights=total,
            dense_weights=n * n + n * n_u + n * n_y + n_u * n_y,
            cond=self.cond,
            residual=self.residual,
            method=self.method,
            bound=float(self.error_bound().total.max(initial=0.0)),
        )

    def to_statespace(self, coordinates: str = "block") -> Any:
        """`control.StateSpace`; `coordinates` are neuron states ("block") or the model's own ("original")."""
        from koopctrl.export.ltinet_pycontrol import network_to_statespace

        return network_to_statespace(self, coordinates)

    def to_casadi(self, name: str = "ltinet") -> Any:
        """`casadi.Function` `(x, u) -> (dx, y)` in neuron states, called `name`."""
        from koopctrl.export.ltinet_casadi import network_to_casadi

        return network_to_casadi(self, name)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the network on `ax`; for the other `options` see `koopctrl.plotting.ltinet.plot_network`."""
        from koopctrl.plotting.ltinet import plot_network

        return plot_network(self, ax, **options)

    def to_lifted(self, dt: float | None = None) -> Any:
        """Discrete `LiftedModel` whose coordinates are the neurons, as `LQR`, `KalmanFilter` and `LinearMPC`
        take it.

        Parameters
        ----------
        dt : float, optional
            Sample time in seconds, for a network of continuous neurons without one of its own.

        Returns
        -------
        LiftedModel
        """
        from koopctrl.ltinet.lifted_face import network_to_lifted

        return network_to_lifted(self, dt)

    def feedback(self, other: Any = 1, sign: int = -1) -> Any:
        """Closed loop with `other` as `control.feedback` makes it, a `control.StateSpace` in
        neuron states.
        """
        from koopctrl.export.ltinet_pycontrol import network_feedback

        return network_feedback(self, other, sign)

    def to_c(
        self,
        folder: str | PathLike[str],
        name: str = "koopctrl_network",
        *,
        dt: float | None = None,
        scalar: str = "double",
    ) -> Any:
        """Write C99 that updates all neurons at one sample, without allocation.

        Parameters
        ----------
        folder : path
            Where the files go.
        name : str
            Prefix of everything public.
        dt : float, optional
            Sample time in seconds, for a network of continuous neurons without one of its own.
        scalar : {"double", "float"}
            Type of all numbers.

        Returns
        -------
        NetworkCode
        """
        from koopctrl.export.c.ltinet import network_to_c

        return network_to_c(self, folder, name, dt, scalar)

    def to_fmu(self, path: str | PathLike[str], **options: Any) -> Any:
        """Co-simulation FMU of the sampled network; see `koopctrl.export.fmu.archive.to_fmu`."""
        from koopctrl.export.fmu.archive import to_fmu

        return to_fmu(self, path, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a file that `LTINetwork.load` and `koopctrl.load` read; nothing
        in it is executed.
        """
        write_network(self, path)


def _rows(value: ArrayLike, name: str, size: int) -> FloatArray:
    """Convert to `(..., size)`; a scalar is accepted when `size` is 1."""
    array = as_float_array(value, name)
    if array.ndim == 0 and size == 1:
        array = array[None]
    if array.ndim == 0 or array.shape[-1] != size:
        raise ShapeError(f"{name} has shape {array.shape}; expected (..., {size})")
    return array
