"""Models that are affine in a parameter: `A(p) = A_0 + sum_i p_i A_i`, and `B, C, D` alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from koopctrl._validation import FloatArray, as_matrix, as_vector
from koopctrl.errors import OptionError, ShapeError


@dataclass(frozen=True)
class AffineModel:
    """Matrices of a model that is affine in `p`.

    Attributes
    ----------
    A, B, C, D : tuple of arrays
        `A[0]` is the constant part and `A[i]` the factor of `p_i`; `A` may be scipy.sparse. Parts that do not
        depend
        on `p` have one entry.
    p_min, p_max : array (n_p,)
        Box of the parameter.
    """

    A: tuple[Any, ...]
    B: tuple[FloatArray, ...]
    C: tuple[FloatArray, ...]
    D: tuple[FloatArray, ...]
    p_min: FloatArray
    p_max: FloatArray

    @property
    def n_p(self) -> int:
        """Number of parameters."""
        return len(self.p_min)

    def at(self, p: ArrayLike) -> tuple[Any, FloatArray, FloatArray, FloatArray]:
        """`(A, B, C, D)` frozen at `p`."""
        values = as_vector(p, "p", self.n_p)
        A, B, C, D = (combine(parts, values) for parts in (self.A, self.B, self.C, self.D))
        return A, B, C, D


def combine(parts: Sequence[Any], p: FloatArray) -> Any:
    """`parts[0] + sum_i p_i parts[i]`."""
    out = parts[0]
    for value, part in zip(p, parts[1:], strict=False):
        out = out + value * part
    return out


def read_affine(A: Any, B: Any, C: Any, D: Any, p_min: ArrayLike, p_max: ArrayLike) -> AffineModel:
    """Check a model given as lists of matrices (or one matrix where there is no dependence).

    Raises
    ------
    ShapeError
        Matrices that do not fit together, or as many factors as there are no parameters for.
    OptionError
        An empty box.
    """
    low = np.atleast_1d(np.asarray(p_min, dtype=float))
    high = as_vector(np.atleast_1d(np.asarray(p_max, dtype=float)), "p_max", len(low))
    low = as_vector(low, "p_min", len(high))
    if not (low < high).all():
        raise OptionError(f"p_min is {low.tolist()} and p_max {high.tolist()}; expected p_min < p_max")
    parts_A = _parts(A, "A", len(low), keep_sparse=True)
    n = parts_A[0].shape[0]
    if any(part.shape != (n, n) for part in parts_A):
        raise ShapeError(f"A has parts of shapes {[part.shape for part in parts_A]}; expected all {(n, n)}")
    parts_B, parts_C = _parts(B, "B", len(low)), _parts(C, "C", len(low))
    shape = (len(parts_C[0]), parts_B[0].shape[1])
    parts_D = (np.zeros(shape),) if np.ndim(D) == 0 else _parts(D, "D", len(low))
    for name, parts, wanted in (
        ("B", parts_B, (n, shape[1])), ("C", parts_C, (shape[0], n)), ("D", parts_D, shape),
    ):  # fmt: skip
        for part in parts:
            if part.shape != wanted:
                raise ShapeError(f"{name} has a part of shape {part.shape}; expected {wanted}")
    return AffineModel(parts_A, parts_B, parts_C, parts_D, low, high)


def _parts(value: Any, name: str, n_p: int, keep_sparse: bool = False) -> tuple[Any, ...]:
    if sparse.issparse(value) or (not isinstance(value, (list, tuple)) or np.ndim(value[0]) < 2):
        several = not sparse.issparse(value) and np.ndim(value) == 3
        value = list(value) if several else [value]
    if len(value) not in (1, n_p + 1):
        raise ShapeError(
            f"{name} has {len(value)} parts; expected 1 or {n_p + 1}: the constant part and one "
            f"factor per parameter"
        )
    if keep_sparse and all(sparse.issparse(part) for part in value):
        return tuple(sparse.csc_array(part) for part in value)
    return tuple(as_matrix(part.toarray() if sparse.issparse(part) else part, name) for part in value)


def sample_points(model: AffineModel, per_axis: int) -> FloatArray:
    """Chebyshev-Lobatto points of the box, (per_axis ** n_p, n_p)."""
    unit = (
        0.5 - 0.5 * np.cos(np.pi * np.arange(per_axis) / (per_axis - 1)) if per_axis > 1 else np.array([0.5])
    )
    axes = [low + (high - low) * unit for low, high in zip(model.p_min, model.p_max, strict=True)]
    return np.array(list(product(*axes)))
