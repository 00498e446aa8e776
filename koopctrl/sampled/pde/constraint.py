"""Boundary conditions by construction: the basis functions that satisfy them, and a lift of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError
from koopctrl.sampled.pde.basis import Basis
from koopctrl.sampled.pde.conditions import BoundaryData, Condition, Neumann, data_at
from koopctrl.sampled.pde.domain import BoundaryPoints
from koopctrl.sampled.pde.operators import condition_rows
from koopctrl.sampled.pde.terms import values_at

_CLEAR = 1e-2  # of the largest singular value: row directions in which data are seen clearly


@dataclass(frozen=True, eq=False)
class Constraint:
    r"""Coefficients `C = null c + lift g(t)` that satisfy `rows C = g(t)`.

    `null` is an orthonormal basis of the null space of the rows, `lift` their pseudo-inverse. Since the basis
    is orthonormal and `null' lift = 0`, projecting the equation on `psi null` needs no time derivative of
    `g`.

    Attributes
    ----------
    null : (size, n) array
    lift : (size, n_rows) array
    blocks : tuple of (value, points, factor)
        Data of the rows: `factor * value(points, t)`, one block a condition.
    inputs : (size, n_inputs) array
        Lift of the inputs' shapes.
    residual : float
        Largest row norm that functions of the null space leave, relative to the rows' own.
    """

    null: FloatArray
    lift: FloatArray
    blocks: tuple[tuple[BoundaryData, FloatArray, FloatArray], ...]
    inputs: FloatArray
    residual: float

    @property
    def homogeneous(self) -> bool:
        """Whether no data but zero are prescribed, inputs aside."""
        return all(not callable(value) and value == 0.0 for value, _, _ in self.blocks)

    def offset(self, t: float) -> FloatArray:
        """`lift g(t)`, `(size,)`."""
        if self.homogeneous:
            return np.zeros(len(self.null))
        return self.lift @ np.concatenate([f * data_at(value, x, t) for value, x, f in self.blocks])


def no_constraint(size: int) -> Constraint:
    """Constraint of a problem without conditions."""
    return Constraint(np.eye(size), np.zeros((size, 0)), (), np.zeros((size, 0)), 0.0)


def constrain(
    basis: Basis,
    conditions: Sequence[Condition | Neumann],
    place: Callable[[str], BoundaryPoints],
    tolerance: float,
) -> Constraint:
    """Split the basis by singular values of the boundary rows.

    Each condition's rows are weighted by the boundary rule and scaled to norm one, so that derivatives of
    different order, and units, count alike. Directions whose rows are below `tolerance` satisfy the
    conditions to that.

    Raises
    ------
    DataError
        If conditions contradict each other or nothing is left.
    """
    if not conditions:
        return no_constraint(basis.size)
    rows, blocks, shapes = [], [], []
    for condition in conditions:
        at = place(condition.part)
        values = np.sqrt(at.weights)[:, None] * condition_rows(basis, condition, at)
        size = float(np.linalg.norm(values, 2))
        if size == 0.0:
            raise DataError(
                f"a condition on {condition.part!r} is zero for every basis function; expected one that "
                "prescribes something. Take more features"
            )
        factor = np.sqrt(at.weights) / size
        rows.append(values / size)
        blocks.append((condition.value, at.points, factor))
        if condition.shape is not None:
            shapes.append((len(blocks) - 1, factor * values_at(condition.shape, at.points, "shape")))
    matrix = np.concatenate(rows)
    u, s, vt = np.linalg.svd(matrix, full_matrices=True)
    sizes = np.cumsum([0, *(len(r) for r in rows)])
    wanted = [np.concatenate([f * data_at(value, x, 0.0) for value, x, f in blocks])]
    for block, values in shapes:
        whole = np.zeros(len(matrix))
        whole[sizes[block] : sizes[block + 1]] = values
        wanted.append(whole)
    rank = _rank(s, np.array(wanted) @ u[:, : len(s)], tolerance)
    if rank >= basis.size:
        raise DataError(
            f"the boundary conditions leave none of {basis.size} basis functions; expected fewer conditions "
            "or more features"
        )
    lift = (vt[:rank].T / s[:rank]) @ u[:, :rank].T
    inputs = np.zeros((basis.size, len(shapes)))
    for j, (block, values) in enumerate(shapes):
        inputs[:, j] = lift[:, sizes[block] : sizes[block + 1]] @ values
    null = vt[rank:].T
    constraint = Constraint(null, lift, tuple(blocks), inputs, float(np.linalg.norm(matrix @ null, 2)))
    _check_consistent(matrix, constraint)
    return constraint


def _rank(s: FloatArray, components: FloatArray, tolerance: float) -> int:
    """Number of row directions that are held, from singular values and the data's components `(n_data, n)`.

    Lifting divides components by singular values. Of data that the basis represents these quotients stay
    level; of others (fronts too steep for it, corners) they rise where the singular values fall, to fields of
    any size. Directions are held up to where the quotients, averaged over a window, rise above all that are
    clearly seen (the discrete Picard condition, P. C. Hansen, BIT 30, 1990); those beyond are free to follow
    the equation.
    """
    held = int(np.count_nonzero(s > tolerance * s[0]))
    clear = int(np.count_nonzero(s > _CLEAR * s[0]))
    window = max(4, held // 20)
    for parts in components:
        square = np.concatenate([[0.0], np.cumsum((parts[:held] / s[:held]) ** 2)])
        starts = np.arange(max(held - window + 1, 0))
        level = square[starts + window] - square[starts]
        seen = level[: max(clear - window + 1, 1)].max(initial=0.0)
        above = (level > seen) & (starts >= clear) if seen > 0.0 else np.zeros(len(starts), dtype=bool)
        if above.any():
            held = min(held, int(np.argmax(above)))
    return held


def _check_consistent(matrix: FloatArray, constraint: Constraint) -> None:
    """Data that the rows cannot take, such as two values for one end, are refused."""
    if constraint.homogeneous:
        return
    data = np.concatenate([f * data_at(value, x, 0.0) for value, x, f in constraint.blocks])
    size = float(np.linalg.norm(data))
    miss = float(np.linalg.norm(matrix @ (constraint.lift @ data) - data))
    if miss > 0.1 * size > 0.0:
        raise DataError(
            f"boundary conditions at t = 0 are met to {miss / size:.0%} only; expected data that one smooth "
            "function takes. Two conditions on one part contradict each other, or the data jump "
            "along the boundary"
        )
