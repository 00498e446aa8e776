"""The bare QP solver on the very problems of a controller's steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import casadi
import numpy as np

from koopctrl.controllers.qp.solver import QPSolver


@dataclass(frozen=True)
class QP:
    """`min x'Hx/2 + g'x`, bounds of `x` and then of `A x`."""

    H: np.ndarray
    A: np.ndarray
    g: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def data(self) -> dict[str, np.ndarray]:
        """By the names of `casadi.conic`."""
        n = len(self.H)
        bounds = {"lbx": self.lower[:n], "ubx": self.upper[:n], "lba": self.lower[n:], "uba": self.upper[n:]}
        return {"h": self.H, "g": self.g, "a": self.A, **bounds}


@contextmanager
def recorded() -> Iterator[list[QP]]:
    """The QPs that controllers made within the block hand to their solver, in order."""
    load, solve = QPSolver.load, QPSolver.solve
    matrices: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    problems: list[QP] = []

    def keep(self: QPSolver, H: Any, A: Any, problem: Any = None) -> None:
        matrices[id(self)] = np.array(H), np.array(A)
        load(self, H, A, problem)

    def note(self: QPSolver, g: Any, lower: Any, upper: Any, *rest: Any, **options: Any) -> Any:
        problems.append(QP(*matrices[id(self)], np.array(g), np.array(lower), np.array(upper)))
        return solve(self, g, lower, upper, *rest, **options)

    QPSolver.load, QPSolver.solve = keep, note
    try:
        yield problems
    finally:
        QPSolver.load, QPSolver.solve = load, solve


def per_step(problems: list[QP], steps: list[Callable[[], Any]]) -> list[QP | None]:
    """The last QP of every step; None where the step needed no solver."""
    found: list[QP | None] = []
    for step in steps:
        before = len(problems)
        step()
        found.append(problems[-1] if len(problems) > before else None)
    return found


def bare_calls(problem: QP, plugin: str = "daqp") -> tuple[Callable[[], Any], Callable[[], Any]]:
    """`casadi.conic` on one QP: called as its documentation shows, and through preallocated buffers."""
    n, m = len(problem.H), len(problem.A)
    shapes = {"h": casadi.Sparsity.dense(n, n), "a": casadi.Sparsity.dense(m, n)}
    qp = casadi.conic("bare", plugin, shapes, {"print_time": False})
    data = problem.data()
    buffer, evaluate = qp.buffer()
    kept = {k: np.asfortranarray(v).ravel("F").copy() for k, v in data.items()}
    for name, value in kept.items():
        buffer.set_arg(qp.index_in(name), memoryview(value))
    out = np.zeros(n)
    buffer.set_res(qp.index_out("x"), memoryview(out))

    def buffered() -> Any:
        evaluate()
        return out, kept, qp, buffer  # CasADi does not keep them alive

    return (lambda: qp(**data)), buffered
