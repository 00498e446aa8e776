"""Responses of a network: exact on a uniform grid, to steps, or neuron by neuron."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl._time import same_dt
from koopctrl._validation import as_float_array, check_choice
from koopctrl.errors import OptionError, TimeBaseError
from koopctrl.ltinet.judge.settling import settling_grid
from koopctrl.ltinet.simulate import exact as engine
from koopctrl.ltinet.simulate.dead_time import delayed_outputs
from koopctrl.ltinet.simulate.integrate import simulate_neurons
from koopctrl.ltinet.simulate.response import LTIResponse, read_grid, read_inputs, read_start
from koopctrl.ltinet.structure import NetworkStructure

HOLDS = ("zoh", "foh")


class Runs(NetworkStructure):
    """Part of `LTINetwork`: its responses."""

    def step(self, t: ArrayLike | None = None) -> LTIResponse:
        """Step responses, one input at a time: a batch of `n_u` runs.

        Parameters
        ----------
        t : array (N + 1,), optional
            Uniform grid in seconds; five time constants of the slowest pole by default.
        """
        n_u = self.B.shape[1]
        time = settling_grid(self) if t is None else as_float_array(t, "t")
        u = np.zeros((n_u, len(time), n_u))
        u[np.arange(n_u), :, np.arange(n_u)] = 1.0
        return self.simulate(time, u)

    @few_threads()
    def simulate(
        self,
        t: ArrayLike,
        u: ArrayLike | None = None,
        x0: ArrayLike | None = None,
        *,
        hold: str = "zoh",
        states: bool = False,
    ) -> LTIResponse:
        """Exact response on a uniform grid; no solver tolerance is involved.

        Parameters
        ----------
        t : array (N + 1,)
            Uniform grid in seconds.
        u : array ([batch,] N or N + 1, n_u), scalar or None
            Inputs. Held over `[t_k, t_k+1)` for "zoh", interpolated linearly for "foh" (N + 1 rows), as
            `control.forced_response` does.
        x0 : array ([batch,] n), optional
            Initial state in the original coordinates.
        hold : {"zoh", "foh"}
            How inputs run between the instants.
        states : bool
            Return the states too, in original coordinates; this costs a product with `T` per instant.

        Returns
        -------
        LTIResponse

        Raises
        ------
        ShapeError, TimeBaseError, DataError, OptionError
            Input that cannot be used.
        SolverError
            The response of an unstable system overflows.
        """
        check_choice(hold, "hold", HOLDS)
        time, h = read_grid(t)
        U, batched = read_inputs(u, len(time), self.B.shape[1], hold)
        if self.sample_time and hold == "foh":
            raise OptionError(
                'hold is "foh", but the model was discrete; expected "zoh", under which it was converted'
            )
        if self.discrete and not same_dt(h, self.sample_time, len(time)):
            raise TimeBaseError(
                f"t has steps of {h:g} s; expected the sample time of the discrete network, "
                f"{self.sample_time:g} s. Resample, or build continuous neurons (time='continuous')"
            )
        w0 = read_start(x0, self.T.shape[0], len(U)) @ self.T_inv.T
        if states and self.delayed:
            raise OptionError("states is True, but the network has dead times; expected states=False")
        if self.delayed:
            y, X = delayed_outputs(self, U, w0, h, hold), None
        elif states:
            W = engine.neuron_states(self, U, w0, h, hold)
            y, X = W @ self.C.T + U @ self.D.T, W @ self.T.T
        else:
            y, X = engine.outputs(self, U, w0, h, hold), None
        if not batched:
            y, U, X = y[0], U[0], None if X is None else X[0]
        return LTIResponse(time, y, U, X, self.input_names, self.output_names, self.state_names, hold)

    @few_threads()
    def simulate_neurons(
        self,
        t: ArrayLike,
        u: ArrayLike | Callable[[float], ArrayLike] | None = None,
        x0: ArrayLike | None = None,
        *,
        tol: float = 1e-8,
    ) -> LTIResponse:
        """Integrate neuron by neuron; see `koopctrl.ltinet.simulate.integrate.simulate_neurons`."""
        return simulate_neurons(self, t, u, x0, tol)
