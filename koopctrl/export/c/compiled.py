"""A predictive controller that runs its own generated C, called from Python as it was before."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array
from koopctrl.controllers.info import NO_MEASUREMENT, MPCInfo
from koopctrl.errors import DataError, OptionError, ShapeError
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.base import PredictiveController

_COMPILERS = ("cc", "gcc", "clang")
_REASONS = {
    "": "",
    "measurement": NO_MEASUREMENT,
    "reference": "the reference is not finite",
    "state": "features or predictions are not finite",
    "infeasible": "the problem has no solution, even with its soft bounds relaxed",
    "iteration_limit": "the active-set method reached its limit of iterations",
    "inaccurate": "no answer was certified",
}


class CompiledController:
    """What `mpc.compile()` returns.

    It has the interface of the controller it was made from, whose attributes it shows, and takes its
    decisions: their inputs agree to the solvers' tolerance. Copies and pickles go on where it is.

    Parameters
    ----------
    mpc : LinearMPC or RNNMPC
        Left as it is; its memory is not taken over.
    compiler : str, optional
        By default the first of `cc`, `gcc` and `clang` that is there.
    flags : sequence of str
    scalar : {"double", "float"}
        Type of all numbers in C.

    Attributes
    ----------
    info : MPCInfo or None
        Of the last step; `outputs`, `objective` and `target` are not worked out in C.
    state : (n,) uint8 array
        All that is remembered, as C has it; may be kept and set again.

    Raises
    ------
    OptionError
        If there is no C compiler, or a part of the controller has no C code.
    SolverError
        If the code does not compile, with the compiler's words.
    """

    def __init__(
        self,
        mpc: PredictiveController,
        compiler: str | None = None,
        flags: Sequence[str] = ("-std=c99", "-O2"),
        scalar: str = "double",
    ) -> None:
        self._mpc, self._compiler, self._flags = mpc, find_compiler(compiler), tuple(flags)
        self._scalar = scalar
        self._names = mpc.output_names
        # A library that is loaded needs its file no more.
        with tempfile.TemporaryDirectory() as folder:
            code = mpc_to_c(mpc, Path(folder), "kooped", diagnostics=False, scalar=scalar)
            self._loop = CompiledMPC(code, self._compiler, self._flags)
        self.info: MPCInfo | None = None

    def __getattr__(self, name: str) -> Any:
        """What the controller it was made from shows."""
        if name.startswith("_") or name in ("law", "with_", "observer", "to_nlsys"):
            raise AttributeError(f"a compiled controller has no {name!r}; ask the one it was made from")
        return getattr(self._mpc, name)

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        self._loop.reset()
        self.info = None

    def control(
        self,
        measurement: ArrayLike,
        reference: ArrayLike | None = None,
        *,
        input_reference: ArrayLike | None = None,
        disturbance: ArrayLike | None = None,
    ) -> FloatArray:
        """Input at this sample; see `koopctrl.controllers.mpc.base.PredictiveController.control`."""
        start = time.perf_counter()
        untracked = () if reference is None else self._untracked(reference)
        u = self._loop.control(
            measurement, reference, input_reference=input_reference, disturbance=disturbance
        )
        found = self._loop.info
        assert found is not None
        fell_back = found.status.startswith("fallback")
        reason = _REASONS[found.reason] or ("the measurement was rejected" if found.rejected else "")
        plan = self._loop.plan
        inputs = u[None].copy() if fell_back or plan is None else plan
        self.info = MPCInfo(
            found.status, time.perf_counter() - start, reason, found.iterations, found.kkt_residual,
            float("nan"), inputs, found.slack, None, aim=None, untracked=untracked,
        )  # fmt: skip
        return u

    def _untracked(self, reference: ArrayLike) -> tuple[str, ...]:
        r = as_float_array(reference, "reference")
        if np.isinf(r).any():
            raise DataError("reference has infinite values; expected numbers, or NaN for none")
        missing = np.isnan(r)
        if not missing.any():
            return ()
        if not self._loop.code.untracked:
            raise OptionError(
                f"reference has NaN, and C code for {len(self._names)} outputs has no data to leave some "
                f"out; "
                "expected numbers. Use the controller itself, mpc.to_c(folder, untracked=True), or an RNNMPC"
            )
        left_out = np.atleast_1d(missing.reshape(-1, len(self._names)).any(axis=0))
        return tuple(self._names[i] for i in np.flatnonzero(left_out))

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        self._loop.applied(u)

    @property
    def state(self) -> np.ndarray:
        """All that is remembered, as C has it."""
        return np.frombuffer(self._loop.memory, dtype=np.uint8).copy()

    @state.setter
    def state(self, value: ArrayLike) -> None:
        given = np.ascontiguousarray(value, dtype=np.uint8)
        size = ctypes.sizeof(self._loop.memory)
        if given.shape != (size,):
            raise ShapeError(
                f"state has shape {given.shape}; expected ({size},), from a controller like this"
            )
        ctypes.memmove(self._loop.memory, given.ctypes.data, size)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledController:
        return self.__copy__()

    def __copy__(self) -> CompiledController:
        """The same code with a memory of its own."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._loop = self._loop.another()
        made.state = self.state
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Compiled again where it is loaded."""
        return _again, (self._mpc, self._compiler, self._flags, self._scalar, self.state, self.info)

    def __repr__(self) -> str:
        """What it was made from."""
        return f"compiled {self._mpc!r}"


def _again(
    mpc: PredictiveController,
    compiler: str,
    flags: tuple[str, ...],
    scalar: str,
    state: np.ndarray,
    info: MPCInfo | None,
) -> CompiledController:
    made = CompiledController(mpc, compiler, flags, scalar)
    made.state, made.info = state, info
    return made


def find_compiler(compiler: str | None, asking: str = "compile()") -> str:
    """Name of a C compiler on the PATH, which `asking` needs.

    Raises
    ------
    OptionError
        If there is none.
    """
    wanted = _COMPILERS if compiler is None else (compiler,)
    found = next((name for name in wanted if shutil.which(name)), None)
    if found is None:
        raise OptionError(
            f"{asking} needs a C compiler, and none of {', '.join(map(repr, wanted))} is on the PATH; "
            "install one (gcc or clang), or name another with compiler=..."
        )
    return found
