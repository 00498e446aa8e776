"""Generated controllers in the loop: compile one and call it from Python."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array
from koopctrl.errors import OptionError, ShapeError, SolverError
from koopctrl.export.c.code import GeneratedCode

STATUS = ("optimal", "softened", "inexact", "fallback_plan", "fallback_lqr", "fallback_hold")
REASON = ("", "measurement", "reference", "state", "infeasible", "iteration_limit", "inaccurate")


class _Request(ctypes.Structure):
    _fields_ = (
        ("measurement", ctypes.c_void_p),
        ("reference", ctypes.c_void_p),
        ("n_reference_rows", ctypes.c_int),
        ("input_reference", ctypes.c_void_p),
        ("n_input_rows", ctypes.c_int),
        ("disturbance", ctypes.c_void_p),
        ("n_disturbance_rows", ctypes.c_int),
    )


def _info_type(scalar: type) -> type[ctypes.Structure]:
    class Info(ctypes.Structure):
        _fields_ = (
            ("status", ctypes.c_int),
            ("reason", ctypes.c_int),
            ("iterations", ctypes.c_int),
            ("kkt_residual", scalar),
            ("slack", scalar),
            ("rejected", ctypes.c_int),
            ("n_rejected", ctypes.c_int),
        )

    return Info


_TYPES = {"double": (ctypes.c_double, np.float64), "float": (ctypes.c_float, np.float32)}
_INFOS = {name: _info_type(pair[0]) for name, pair in _TYPES.items()}


@dataclass(frozen=True)
class CompiledInfo:
    """Status of one step of compiled code; see the generated header."""

    status: str
    reason: str
    iterations: int
    kkt_residual: float
    slack: float
    rejected: bool
    n_rejected: int


class CompiledMPC:
    """A generated controller, compiled and loaded: a Controller as the Python one is.

    Parameters
    ----------
    code : GeneratedCode
        From `mpc.to_c(folder)`.
    compiler : str
    flags : sequence of str
        Passed to the compiler.

    Attributes
    ----------
    info : CompiledInfo or None
        Of the last step.

    Raises
    ------
    OptionError
        If there is no such compiler.
    SolverError
        If the code does not compile; the message has the compiler's.
    """

    def __init__(
        self, code: GeneratedCode, compiler: str = "gcc", flags: Sequence[str] = ("-std=c99", "-O2")
    ) -> None:
        path = shutil.which(compiler)
        if path is None:
            raise OptionError(
                f"compiler is {compiler!r}, which is not on the PATH; install it or name another"
            )
        self.code = code
        folder, name = code.folder, code.name
        library = Path(folder) / f"lib{name}.so"
        command = [path, *flags, "-shared", "-fPIC", "-o", str(library), str(folder / f"{name}.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SolverError(f"{' '.join(command)} gave {done.returncode}: {done.stderr[-2000:]}")
        self._lib = ctypes.CDLL(str(library))
        self._begin()

    def _begin(self) -> None:
        """Memory and buffers of one controller."""
        code, name = self.code, self.code.name
        self._state = ctypes.create_string_buffer(code.state_bytes)
        of_c, self._dtype = _TYPES[code.scalar]
        self._u = np.empty(code.n_inputs, dtype=self._dtype)
        self._info: Any = _INFOS[code.scalar]()
        self._plan = getattr(self._lib, f"{name}_plan")
        self._plan.restype = ctypes.POINTER(of_c)
        self._u_pointer, self._info_pointer = _pointer(self._u), ctypes.byref(self._info)
        self._step = getattr(self._lib, f"{name}_step")
        self._request = _Request()
        self._request_pointer = ctypes.byref(self._request)
        self.reset()

    def another(self) -> CompiledMPC:
        """A controller of the same library, reset."""
        made = object.__new__(type(self))
        made.code, made._lib = self.code, self._lib
        made._begin()
        return made

    @property
    def memory(self) -> Any:
        """The state structure, as a ctypes buffer."""
        return self._state

    def _call(self, function: str, *arguments: object) -> int:
        return getattr(self._lib, f"{self.code.name}_{function}")(self._state, *arguments)

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        self._call("reset")
        self.info: CompiledInfo | None = None

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
        measurement : (n_measured,) array_like
            NaN marks missing samples.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point, or preview.
        input_reference : (n_u,) or (n, n_u) array_like, optional
            Input wished for in the steady state, or a trajectory.
        disturbance : (n_v,) or (n, n_v) array_like, optional
            Measured disturbances, or their preview; NaN marks missing ones.
        """
        code, q = self.code, self._request
        y = self._exact(measurement, "measurement", (code.n_measured,))
        q.measurement = y.ctypes.data
        r, q.reference, q.n_reference_rows = self._one_or_rows(reference, "reference", code.n_outputs)
        w, q.input_reference, q.n_input_rows = self._one_or_rows(
            input_reference, "input_reference", code.n_inputs
        )
        if disturbance is not None and not code.n_disturbances:
            raise OptionError("disturbance is given, but the controller knows of no measured disturbances")
        v, q.disturbance, n_told = self._one_or_rows(disturbance, "disturbance", code.n_disturbances)
        q.n_disturbance_rows = max(n_told, 0 if v is None else 1)
        self._step(self._state, self._request_pointer, self._u_pointer, self._info_pointer)
        del y, r, w, v
        i = self._info
        self.info = CompiledInfo(
            STATUS[i.status], REASON[i.reason], i.iterations, i.kkt_residual, i.slack, bool(i.rejected),
            i.n_rejected,
        )  # fmt: skip
        return self._u.astype(float)

    def applied(self, u: ArrayLike) -> None:
        """Tell what input the plant really applied, where that differs from what was sent."""
        self._call("applied", _pointer(self._exact(u, "u", (self.code.n_inputs,))))

    @property
    def plan(self) -> FloatArray | None:
        """Inputs `(horizon, n_u)` of the last solved sample, None before there is one."""
        pointer = self._plan(self._state)
        shape = (self.code.horizon, self.code.n_inputs)
        return np.ctypeslib.as_array(pointer, shape).astype(float) if pointer else None

    def lifted_state(self, n_z: int) -> FloatArray:
        """Lifted state `(n_z,)` of the last sample (code with diagnostics)."""
        z = np.empty(n_z, dtype=self._dtype)
        self._call("lifted_state", _pointer(z))
        return z.astype(float)

    def predict(self, inputs: ArrayLike) -> FloatArray:
        """Outputs `(horizon + 1, n_y)` predicted from the last sample (code with diagnostics)."""
        plan = self._exact(inputs, "inputs", (self.code.horizon, self.code.n_inputs))
        y = np.empty((self.code.horizon + 1, self.code.n_outputs), dtype=self._dtype)
        self._call("predict", _pointer(plan), _pointer(y))
        return y.astype(float)

    def retune(self, tuning: str) -> None:
        """Weights and bounds of a tuning from now on; `base` are the controller's own.

        Raises
        ------
        OptionError
            If the code has no such tuning.
        """
        if tuning not in self.code.tunings:
            raise OptionError(f"tuning is {tuning!r}; expected one of {', '.join(self.code.tunings)}")
        if len(self.code.tunings) > 1:
            self._call("retune", self.code.tunings.index(tuning))

    def _exact(self, value: ArrayLike, name: str, shape: tuple[int, ...]) -> Any:
        return _exact(value, name, shape, self._dtype)

    def _one_or_rows(self, value: ArrayLike | None, name: str, size: int) -> tuple[Any, int, int]:
        return _one_or_rows(value, name, size, self._dtype)


def _pointer(array: FloatArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _exact(value: ArrayLike, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of exactly this shape, for C cannot see how long one is; a scalar may stand for one number."""
    array = as_float_array(value, name)
    if array.ndim == 0 and math.prod(shape) == 1:
        array = array.reshape(shape)
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {array.shape}; expected {shape}")
    return np.ascontiguousarray(array, dtype=dtype)


def _one_or_rows(
    value: ArrayLike | None, name: str, size: int, dtype: Any
) -> tuple[FloatArray | None, int, int]:
    """One row `(size,)` or a preview `(n, size)`, its address while it lives, and the preview's rows."""
    if value is None:
        return None, 0, 0
    array = as_float_array(value, name)
    array = _exact(array, name, (size,) if array.ndim < 2 else (max(1, len(array)), size), dtype)
    return array, array.ctypes.data, len(array) if array.ndim == 2 else 0
