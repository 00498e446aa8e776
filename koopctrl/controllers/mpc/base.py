"""What `LinearMPC` and `RNNMPC` share: a shell around a law and a state, with today's interface."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, as_float_array, as_vector
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.info import MPCInfo
from koopctrl.controllers.mpc.law import MPCState, PredictiveLaw
from koopctrl.controllers.shell import ControllerShell

if TYPE_CHECKING:
    import control

    from koopctrl.export.c.code import GeneratedCode
    from koopctrl.export.c.compiled import CompiledController
    from koopctrl.export.fmu.archive import GeneratedFMU


class PredictiveController(ControllerShell):
    """Base of `LinearMPC` and `RNNMPC`.

    Attributes
    ----------
    law : LinearLaw or RNNLaw
        Numbers that do not change, and a pure `step`.
    state : MPCState
        All that is remembered; may be kept and set again.
    problem : MPCProblem
        All that was asked for, checked.
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    """

    law: PredictiveLaw
    state: MPCState
    dt: float
    set_point: FloatArray
    output_names: tuple[str, ...]

    def _begin(self, law: PredictiveLaw, settings: dict[str, Any]) -> None:
        """Hold a law; `settings` are the arguments that made it."""
        problem, channels = law.problem, law.channels
        self._keep(settings)
        self.law = law
        self.problem, self.horizon = problem, problem.horizon
        self.Q, self.R = problem.Q[-1], problem.R[-1]
        self.u_min, self.u_max = problem.u_min, problem.u_max
        self.du_min, self.du_max = problem.du_min, problem.du_max
        self.y_min, self.y_max = (copy.deepcopy(settings[name]) for name in ("y_min", "y_max"))
        self.dt, self.set_point, self.output_names = law.dt, law.set_point, law.output_names
        self.input_names = tuple(law.input_names[i] for i in channels.moved)
        self.disturbance_names = tuple(law.input_names[i] for i in channels.told)
        self.reset()

    @property
    def n_u(self) -> int:
        """Number of inputs that are moved."""
        return self.law.channels.n_u

    @property
    def n_v(self) -> int:
        """Number of measured disturbances."""
        return self.law.channels.n_v

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        self.state = self.law.initial()
        self.info: MPCInfo | None = None

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
            held. NaN marks an output that is not tracked then; `info.untracked` says which.
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
        with one_blas_thread():
            y = as_measurement(measurement, self.n_measured)
            asked = self.law.reader.read(reference, input_reference, disturbance)
            u, self.state, self.info = self.law.step(self.state, y, asked)
        return u

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        history = self.state.history.replace_last(as_vector(u, "u", self.problem.n_u).copy())
        self.state = replace(self.state, history=history)

    def join(self, u: ArrayLike, v: ArrayLike) -> FloatArray:
        """All inputs of the model, in its order: those moved, `u`, and measured disturbances, `v`."""
        return self.law.channels.join(
            as_vector(u, "u", self.law.channels.n_u), as_vector(v, "v", self.law.channels.n_v)
        ).copy()

    def split_inputs(self, inputs: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Inverse of `join`: `(u, v)` of all `inputs` of the model."""
        full = as_float_array(inputs, "inputs")
        u, v = self.law.channels.split(
            as_vector(full, "inputs", self.law.channels.n_u + self.law.channels.n_v)
        )
        return u.copy(), v.copy()

    def with_(self, **changes: Any) -> Self:
        """The same controller with other weights, bounds or options, and this one's memory.

        Parameters
        ----------
        **changes
            Arguments of the class; what they leave alone is not worked out again.

        Returns
        -------
        A new controller, which goes on from where this one is; this one is left as it was.
        """
        made = self._remade(self._changed(changes))
        made.state = _carried(self.state, made.law.initial())
        return made

    def _remade(self, settings: dict[str, Any]) -> Self:
        return type(self)(**settings)

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """python-control block `[y; r; v] -> u`; see `koopctrl.export.controller_block`."""
        from koopctrl.export.controller_block import controller_to_nlsys

        return controller_to_nlsys(self.law, self.input_names, self.disturbance_names)

    def to_c(self, folder: str | PathLike[str], name: str = "koopctrl_mpc", **options: Any) -> GeneratedCode:
        """Self-contained C99 of this controller, written to `folder`; see `koopctrl.export.c.code.mpc_to_c`.

        `name` starts every file and identifier; `options` are those of `mpc_to_c`.
        """
        from koopctrl.export.c.code import mpc_to_c

        return mpc_to_c(self, folder, name, **options)

    def to_fmu(self, path: str | PathLike[str], **options: Any) -> GeneratedFMU:
        """Co-simulation FMU of this controller (FMI 3.0 or 2.0); see `koopctrl.export.fmu.archive.to_fmu`."""
        from koopctrl.export.fmu.archive import to_fmu

        return to_fmu(self, path, **options)

    def compile(self, compiler: str | None = None, **options: Any) -> CompiledController:
        """This controller running its generated C: the same interface and decisions, several times as fast.

        Parameters
        ----------
        compiler : str, optional
            By default the first of `cc`, `gcc` and `clang` on the PATH.
        **options
            Those of `koopctrl.export.c.compiled.CompiledController`.

        Raises
        ------
        OptionError
            If there is no C compiler, or a part of the controller has no C code.
        """
        from koopctrl.export.c.compiled import CompiledController

        return CompiledController(self, compiler, **options)

    def __repr__(self) -> str:
        """Dimensions, horizon and bounds in force."""
        p = self.problem
        parts = [f"horizon={p.horizon}", f"n_y={len(self.set_point)}", f"n_u={p.n_u}"]
        parts += [f"n_v={self.law.channels.n_v}"] if self.law.channels.n_v else []
        parts += [f"n_blocks={len(p.blocks)}"] if len(p.blocks) < p.horizon else []
        parts += [f"input_delay={p.delay}"] if p.delay else []
        bounded = {
            "u": np.isfinite([p.u_min, p.u_max]).any(), "du": p.bounds_rate, "y or x": len(p.E) > 0,
            "terminal set": len(p.E_end) > 0,
        }  # fmt: skip
        named = ", ".join(k for k, v in bounded.items() if v) or "none"
        parts += [f"observer={type(self._observer).__name__}"] if self._observer is not None else []
        return f"{type(self).__name__}({', '.join(parts)}, dt={self.dt:g} s, bounds: {named})"


def _carried(state: MPCState, initial: MPCState) -> MPCState:
    """A state for a law with other options: what it remembers of the plant, and the plan where it fits."""
    history, fresh = state.history, initial.history
    if history.plan.shape != fresh.plan.shape:
        history = replace(history, plan=fresh.plan, age=0)
    if len(history.line) != len(fresh.line):
        line = np.tile(history.line[-1], (len(fresh.line), 1))
        history = replace(history, line=line)
    same = _shapes(state.estimator) == _shapes(initial.estimator)
    searches = _shapes(state.search) == _shapes(initial.search)
    return MPCState(
        history,
        state.told,
        state.has_told,
        state.estimator if same else initial.estimator,
        state.search if searches else initial.search,
    )


def _shapes(state: Any) -> list[Any]:
    """What tells states of different laws apart."""
    values = [getattr(state, field.name) for field in fields(state)]
    return [type(state)] + [_shapes(v) if is_dataclass(v) else np.shape(v) for v in values]
