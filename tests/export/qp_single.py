"""The QP solver in floats, called through ctypes."""

from __future__ import annotations

import ctypes
from importlib import resources
from pathlib import Path

import numpy as np
from c_tools import _HARNESS, FLAGS, gcc, run

from koopctrl.export.c.scalar import SINGLE, as_scalar


def build_single_library(folder: Path) -> Path:
    """Compile the templates as floats, with the harness of the double one."""
    target = folder / "single"
    target.mkdir()
    templates = resources.files("koopctrl.export.c") / "templates"
    text = "".join((templates / f"{n}.c").read_text() for n in ("dot", "axpy", "qp_factor", "qp"))
    (target / "qp.c").write_text(SINGLE + as_scalar(text, "float"))
    (target / "harness.c").write_text(as_scalar(_HARNESS, "float"))
    run(gcc(), *FLAGS, "-shared", "-fPIC", target / "harness.c", "-o", target / "libqp.so", "-lm")
    return target / "libqp.so"


class SingleQP:
    """The solver on one `H` and `A`."""

    STATUS = ("solved", "infeasible", "iteration_limit", "inaccurate", "beyond")

    def __init__(self, library: Path, H: np.ndarray, A: np.ndarray) -> None:
        self._lib = ctypes.CDLL(str(library))
        self._lib.qp_new.restype = ctypes.c_void_p
        inverse = np.linalg.inv(np.linalg.cholesky(H))
        self._data = [np.ascontiguousarray(a, dtype=np.float32) for a in (H, A, inverse, np.empty(0))]
        self.n, self.m = len(H), len(A)
        self._handle = ctypes.c_void_p(self._lib.qp_new(self.n, self.m, 0, *map(_pointer, self._data)))

    def __del__(self) -> None:
        self._lib.qp_free(self._handle)

    def solve(self, g, lo, hi):
        """`(status, x, certified error)`."""
        x, multipliers = np.empty(self.n, dtype=np.float32), np.empty(self.n + self.m, dtype=np.float32)
        kkt, iterations = ctypes.c_float(), ctypes.c_int()
        inputs = [np.ascontiguousarray(a, dtype=np.float32) for a in (g, lo, hi)]
        code = self._lib.qp_solve(
            self._handle, *map(_pointer, inputs), 10_000, 0, _pointer(x), _pointer(multipliers),
            ctypes.byref(kkt), ctypes.byref(iterations),
        )  # fmt: skip
        return self.STATUS[code], x.astype(float), kkt.value


def _pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
