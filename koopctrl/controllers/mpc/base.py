"""What all predictive controllers share: one `control`, one policy without a solution, one set of exports."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_vector
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.mpc.channels import InputChannels
from koopctrl.controllers.mpc.info import MPCInfo
from koopctrl.controllers.mpc.input_history import InputMemory
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.mpc.request import Request, RequestReader

if TYPE_CHECKING:
    import control

    from koopctrl.export.c.code import GeneratedCode


@dataclass(frozen=True)
class Plan:
    """A solution: inputs `(N, n_u)` and what `MPCInfo` says about them."""

    inputs: FloatArray
    status: str
    iterations: int
    kkt_residual: float
    objective: float
    slack: float
    predict: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class NoPlan:
    """The reason why there is none, and the LQR's input `(n_u,)` where it is known."""

    reason: str
    lqr: FloatArray | None = None


class PredictiveController(ABC):
    """Base of `LinearMPC` and `RNNMPC`.

    Attributes
    ----------
    problem : MPCProblem
        All that was asked for, checked.
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    """

    dt: float
    set_point: FloatArray
    n_measured: int
    output_names: tuple[str, ...]
    observer: Any

    def _begin(
        self,
        problem: MPCProblem,
        channels: InputChannels,
        input_names: tuple[str, ...],
        u_op: FloatArray,
        v_op: FloatArray,
        output_bounds: tuple[ArrayLike | None, ArrayLike | None],
    ) -> None:
        """Set up what is shared; before `reset`."""
        self.problem, self.horizon = problem, problem.horizon
        self.R = problem.R[-1]
        self.u_min, self.u_max = problem.u_min, problem.u_max
        self.du_min, self.du_max = problem.du_min, problem.du_max
        self.y_min, self.y_max = deepcopy(output_bounds)
        self._channels = channels
        self.input_names = tuple(input_names[i] for i in channels.moved)
        self.disturbance_names = tuple(input_names[i] for i in channels.told)
        self._memory = InputMemory(problem, u_op)
        self._requests = RequestReader(
            len(self.set_point),
            problem.n_u,
            channels.n_v,
            problem.horizon,
            problem.delay,
            self.set_point,
            v_op,
        )
        self.info: MPCInfo | None = None

    @abstractmethod
    def _solve(
        self, y: FloatArray, acted: FloatArray | None, asked: Request, deadline: float
    ) -> Plan | NoPlan:
        """One sample: measurement (NaN where missing), all inputs that acted since the last, request."""

    @property
    def n_u(self) -> int:
        """Number of inputs that are moved."""
        return self._channels.n_u

    @property
    def n_v(self) -> int:
        """Number of measured disturbances."""
        return self._channels.n_v

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        self._memory.reset()
        self._requests.reset()
        self.info = None

    def control(
        self,
        measurement: ArrayLike,
        reference: ArrayLike | None = None,
        *,
        input_reference: ArrayLike | None = None,
        disturbance: ArrayLike | None = None,
    ) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest outputs; NaN marks missing ones.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point (`set_point` by default), or preview: row `j` for `j` samples from now; the last row is
            held.
        input_reference : (n_u,) or (n, n_u) array_like, optional
            Input wished for in the steady state, honoured as far as the outputs' set-point leaves freedom; or
            a trajectory, row `j` for the input sent `j` samples from now, from which the input cost is
            measured.
        disturbance : (n_v,) or (n, n_v) array_like, optional
            Measured disturbances, taken to stay, or their preview; NaN marks missing ones. Without it the
            last one is taken to stay.

        Returns
        -------
        (n_u,) array
            Within the bounds on inputs and moves.
        """
        start = time.perf_counter()
        y = as_measurement(measurement, self.n_measured)
        arrived, v_last = self._memory.arrived, self._requests.v_last
        asked = self._requests.read(reference, input_reference, disturbance)
        acted = arrived
        if arrived is not None and self._channels.n_v:
            acted = self._channels.join(arrived, asked.v[0] if v_last is None else v_last)
        # Absurd measurements overflow; what comes of them is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._solve(y, acted, asked, start + self.problem.max_solve_time)
        if isinstance(found, NoPlan):
            inputs, status = self._memory.fall_back(found.lqr)
            self.info = MPCInfo(status, time.perf_counter() - start, found.reason, inputs=inputs)
            return inputs[0].copy()
        inputs = self._memory.accept(found.inputs)
        reason = "the measurement was rejected" if getattr(self.observer, "rejected", False) else ""
        self.info = MPCInfo(
            found.status, time.perf_counter() - start, reason, found.iterations, found.kkt_residual,
            found.objective, inputs, found.slack, found.predict,
        )  # fmt: skip
        return inputs[0].copy()

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        self._memory.replace_last(as_vector(u, "u", self.problem.n_u).copy())

    def join(self, u: ArrayLike, v: ArrayLike) -> FloatArray:
        """All inputs of the model, in its order: those moved, `u`, and measured disturbances, `v`."""
        return self._channels.join(
            as_vector(u, "u", self._channels.n_u), as_vector(v, "v", self._channels.n_v)
        ).copy()

    def split_inputs(self, inputs: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Inverse of `join`: `(u, v)` of all `inputs` of the model."""
        full = as_float_array(inputs, "inputs")
        u, v = self._channels.split(as_vector(full, "inputs", self._channels.n_u + self._channels.n_v))
        return u.copy(), v.copy()

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """python-control block `[y; r; v] -> u`; see `koopctrl.export.pycontrol.controller_to_nlsys`."""
        from koopctrl.controllers.mpc.memory import PureController
        from koopctrl.export.pycontrol import controller_to_nlsys

        pure = PureController(self)
        return controller_to_nlsys(self, pure, pure.size)

    def to_c(self, folder: str | PathLike[str], name: str = "koopctrl_mpc", **options: Any) -> GeneratedCode:
        """Self-contained C99 of this controller, written to `folder`; see `koopctrl.export.c.code.mpc_to_c`.

        `name` starts every file and identifier; `options` are those of `mpc_to_c`.
        """
        from koopctrl.export.c.code import mpc_to_c

        return mpc_to_c(self, folder, name, **options)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the last step's report out: it holds a function."""
        return {**vars(self), "info": None}

    def __repr__(self) -> str:
        """Dimensions, horizon and bounds in force."""
        p = self.problem
        parts = [f"horizon={p.horizon}", f"n_y={len(self.set_point)}", f"n_u={p.n_u}"]
        parts += [f"n_v={self._channels.n_v}"] if self._channels.n_v else []
        parts += [f"n_blocks={len(p.blocks)}"] if len(p.blocks) < p.horizon else []
        parts += [f"input_delay={p.delay}"] if p.delay else []
        bounded = {
            "u": np.isfinite([p.u_min, p.u_max]).any(), "du": p.bounds_rate, "y or x": len(p.E) > 0,
            "terminal set": len(p.E_end) > 0,
        }  # fmt: skip
        named = ", ".join(k for k, v in bounded.items() if v) or "none"
        parts += [f"observer={type(self.observer).__name__}"] if self.observer is not None else []
        return f"{type(self).__name__}({', '.join(parts)}, dt={self.dt:g} s, bounds: {named})"
