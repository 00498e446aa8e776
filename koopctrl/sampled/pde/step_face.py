"""A model one sample at a time: `reset` and `step` with held inputs, the face that loops and envs call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_vector, check_dt
from koopctrl.errors import SolverError
from koopctrl.sampled.pde.etdrk4 import ETDRK4, linear_part

if TYPE_CHECKING:
    from koopctrl.sampled.pde.semi_discrete import SemiDiscrete

_MOST_SUBSTEPS = 2**12


class StepFace:
    """Plant of a control loop: the equation under inputs that are held for `dt` seconds.

    Linear equations without forcing are stepped exactly, others by ETDRK4 with as many substeps as halving
    needs to change a step by less than `rtol`.

    Parameters
    ----------
    model : SemiDiscrete
    dt : float
        Sample time, s.
    rtol : float
        Of one step, relative to the largest coefficient.
    """

    def __init__(self, model: SemiDiscrete, dt: float, rtol: float = 1e-6) -> None:
        self.model, self.dt, self.rtol = model, check_dt(dt), rtol
        self._matrix = linear_part(model)
        self._n_substeps = 1
        self._tried = 0.0  # largest nonlinear part for which the substeps were found to do
        self._integrator = ETDRK4(self._matrix, self.dt)
        self.reset()

    @property
    def n_substeps(self) -> int:
        """Substeps of a sample."""
        return self._n_substeps

    def reset(self, initial: float | Callable[[FloatArray], ArrayLike] | None = None) -> FloatArray:
        """Start from a function of the points, or from the equation's own start; returns the outputs."""
        model = self.model
        if initial is None:
            self.x = model.initial_state()
        else:
            c = model.coordinates(initial)
            self.x = c if model.pde.order == 1 else np.concatenate([c, np.zeros_like(c)])
        self.t, self.v = 0.0, np.zeros(model.n_inputs)
        return self.output()

    def step(self, v: ArrayLike) -> FloatArray:
        """Hold the inputs `(n_inputs,)` for one sample; returns the outputs `(n_outputs,)` after it."""
        self.v = as_vector(v, "v", self.model.n_inputs).copy()
        self.x = self.next_state(self.x, self.v, self.t)
        self.t += self.dt
        return self.output()

    def output(self) -> FloatArray:
        """`u` at the sensors."""
        return self.model.output(self.x, self.v, self.t)

    def next_state(self, x: FloatArray, v: FloatArray, t: float = 0.0) -> FloatArray:
        """State after one sample, without moving this one.

        Where the nonlinear part is larger than any for which the substeps were tried, they are tried again.
        """
        rest = float(np.abs(self.model.rest(x, v, t)).max(initial=0.0))
        found = self._run(x, v, t)
        tried = rest <= 1.5 * self._tried
        while not tried:
            before = found
            self._n_substeps *= 2
            self._integrator = ETDRK4(self._matrix, self.dt / self._n_substeps)
            found = self._run(x, v, t)
            size = float(np.abs(found).max(initial=0.0))
            finite = bool(np.isfinite(before).all() and np.isfinite(found).all())
            tried = finite and bool(np.abs(found - before).max(initial=0.0) / 15.0 <= self.rtol * size)
            if not tried and self._n_substeps >= _MOST_SUBSTEPS:
                raise SolverError(
                    f"a sample of {self.dt:g} s is not resolved by {_MOST_SUBSTEPS} substeps; "
                    "expected a state within "
                    "what the model describes. Take a shorter dt, or more features"
                )
            self._tried = max(self._tried, rest)
        return found

    def _run(self, x: FloatArray, v: FloatArray, t: float) -> FloatArray:
        h = self.dt / self._n_substeps

        def rest(state: FloatArray, time: float) -> FloatArray:
            return self.model.rest(state, v, time)

        with np.errstate(over="ignore", invalid="ignore"):
            for j in range(self._n_substeps):
                x = self._integrator.step(x, t + j * h, rest)
        return x
