"""Reading models: what counts as (A, B, C, D), and from discrete to continuous time block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.linalg import expm, logm

from koopctrl._time import check_dt, same_dt
from koopctrl._validation import (
    FloatArray,
    as_matrix,
    broadcast_vector,
    check_finite,
    check_names,
    shape_of,
)
from koopctrl.errors import OptionError, ShapeError, SolverError, TimeBaseError
from koopctrl.ltinet.construct.forms import raw_model
from koopctrl.ltinet.exponential import exponential_maps
from koopctrl.ltinet.grouped import Grouped, apply_pairs, group_blocks, multiply, phi1, ungroup


@dataclass(frozen=True)
class StateSpaceData:
    """A checked model; `dt` is 0 for continuous time, `A` may be a scipy.sparse array."""

    A: Any
    B: FloatArray
    C: FloatArray
    D: FloatArray
    dt: float
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    input_delays: FloatArray | None = None
    output_delays: FloatArray | None = None
    E: Any = None


def read_statespace(
    sys: Any,
    dt: float | None = None,
    input_delays: ArrayLike | None = None,
    output_delays: ArrayLike | None = None,
) -> StateSpaceData:
    """Check a model in any of the forms of `forms.raw_model`.

    Raises
    ------
    OptionError
        None of these.
    ShapeError
        Matrices that do not fit together.
    TimeBaseError
        A discrete model without a sample time in seconds.
    """
    raw = raw_model(sys)
    seconds = _seconds(raw.dt, dt)
    A = _real_square(raw.A)
    n = A.shape[0]
    B, C = _dense(raw.B, "B"), _dense(raw.C, "C")
    if B.shape[0] != n:
        raise ShapeError(f"B has {B.shape[0]} rows; expected {n} to match A {A.shape}")
    if C.shape[1] != n:
        raise ShapeError(f"C has {C.shape[1]} columns; expected {n} to match A {A.shape}")
    shape, D = (C.shape[0], B.shape[1]), raw.D
    D = np.zeros(shape) if shape_of(D) == () and not sparse.issparse(D) and D == 0 else _dense(D, "D")
    if D.shape != shape:
        raise ShapeError(f"D has shape {D.shape}; expected {shape} to match C and B")
    E = raw.E
    if E is not None:
        E = _real_square(E, "E")
        if E.shape != A.shape:
            raise ShapeError(f"E has shape {E.shape}; expected {A.shape} to match A")
    return StateSpaceData(
        A, B, C, D, seconds, _names(sys, "state", n, "x"), _names(sys, "input", shape[1], "u"),
        _names(sys, "output", shape[0], "y"), _delays(input_delays, "input_delays", shape[1]),
        _delays(output_delays, "output_delays", shape[0]), E,
    )  # fmt: skip


def _delays(value: ArrayLike | None, name: str, count: int) -> FloatArray | None:
    if value is None:
        return None
    late = broadcast_vector(value, name, count)
    if (late < 0.0).any():
        raise OptionError(f"{name} has {late.min():g} s; expected dead times of at least 0")
    return late.copy() if late.any() else None


def _seconds(own: Any, given: float | None) -> float:
    """Sample time of the model, which may be stated once, by the model or by the caller, or twice alike."""
    if own is True and given is None:
        raise TimeBaseError("sys has dt=True, no sample time; expected seconds. Pass dt=..., or set sys.dt")
    stated = None if own is None or own is True else check_dt(own, "the dt of sys", allow_zero=True)
    asked = None if given is None else check_dt(given, allow_zero=True)
    if own is True and asked == 0.0:
        raise TimeBaseError("dt is 0, and sys is discrete (dt=True); expected its sample time in seconds")
    if stated is not None and asked is not None and not same_dt(stated, asked):
        kind = f"has dt={stated:g} s of its own" if stated else "is continuous (its dt is 0)"
        raise TimeBaseError(
            f"dt is {asked:g} s, and sys {kind}; expected the sample time once. Leave dt out, or correct it"
        )
    return next((value for value in (stated, asked) if value is not None), 0.0)


def _real_square(A: Any, name: str = "A") -> Any:
    if sparse.issparse(A):
        A = sparse.csr_array(A)
        if A.dtype.kind not in "biuf":
            raise ShapeError(f"{name} has dtype {A.dtype}; expected real numbers")
        A = A.astype(np.float64)
        check_finite(A.data, f"{name}.data")
    else:
        A = as_matrix(A, name)
    if A.shape[0] != A.shape[1]:
        raise ShapeError(f"{name} has shape {A.shape}; expected a square matrix")
    return A


def _dense(M: Any, name: str) -> FloatArray:
    return as_matrix(M.toarray() if sparse.issparse(M) else M, name)


def _names(sys: Any, kind: str, count: int, prefix: str) -> tuple[str, ...]:
    labels = getattr(sys, f"{kind}_labels", None) or getattr(sys, f"{kind}_names", None)
    if labels is None or len(labels) != count:
        labels = None
    return check_names(labels, f"{kind}_names", count, prefix)


def blocks_to_continuous(
    blocks: tuple[FloatArray, ...], B: FloatArray, dt: float
) -> tuple[tuple[FloatArray, ...], FloatArray, FloatArray, Callable[[FloatArray], FloatArray]]:
    """Continuous blocks and inputs whose held-input discretisation at `dt` gives `blocks` and `B` back.

    Per block `A_c = log(A_d) / dt` and `B_c = (dt phi1(A_c dt))^-1 B_d`, by closed forms for 1x1 blocks and
    complex pairs and by `logm` for the others.

    Returns
    -------
    blocks, B : as described
    Phi_defect : array (n_layers,)
        `exp(A_c dt) - A_d` as 2-norms per layer.
    back : callable
        Takes continuous input weights to discrete ones.

    Raises
    ------
    SolverError
        Where an eigenvalue is zero or on the negative real axis: no real logarithm exists.
    """
    grouped = group_blocks(blocks)
    bad = grouped.real[grouped.real <= 0.0]
    bad = np.concatenate([bad, *(_not_positive(stack) for stack in grouped.others)])
    if bad.size:
        raise SolverError(
            f"the discrete model has {bad.size} zero or negative real eigenvalues, e.g. {bad[0]:.4g}, "
            "so it has no real matrix logarithm and is no sampled continuous system. Remove those modes "
            "(delays, or modes faster than the sampling), e.g. with control.balred, or sample faster"
        )
    real = np.log(grouped.real) / dt
    pairs = apply_pairs(grouped, np.log, 1.0) / dt
    others, wrong = [], 0.0
    for stack in grouped.others:
        logs = np.array([np.real(logm(block)) for block in stack]) / dt
        scale = np.abs(stack).max()
        wrong = max(wrong, float(np.abs(expm(logs * dt) - stack).max() / scale))
        others.append(logs)
    if not wrong <= 1e-6:
        raise SolverError(
            f"the matrix logarithm of a layer is inaccurate: its exponential is off by {wrong:.1g}. "
            "The model has eigenvalues near zero in a block that cannot be split; remove them, e.g. with "
            "control.balred"
        )
    continuous = Grouped(grouped.order, real, pairs, tuple(others))
    Bg = B[grouped.order]
    Bc = _invert_hold(continuous, Bg, dt)
    out_B = np.empty_like(B)
    out_B[grouped.order] = Bc
    restored = ungroup(continuous, [len(b) for b in blocks])
    back = ungroup(_sampled(continuous, dt), [len(b) for b in blocks])
    gaps = np.array([float(np.linalg.norm(a - b)) for a, b in zip(back, blocks, strict=True)])

    def hold(B_c: FloatArray) -> FloatArray:
        out = np.empty_like(B_c)
        out[grouped.order] = _hold(continuous, B_c[grouped.order], dt)
        return out

    return restored, out_B, gaps, hold


def has_logarithm(blocks: tuple[FloatArray, ...]) -> bool:
    """Whether no eigenvalue is zero or on the negative real axis."""
    grouped = group_blocks(blocks)
    return bool((grouped.real > 0.0).all()) and not any(_not_positive(s).size for s in grouped.others)


def _not_positive(stack: FloatArray) -> FloatArray:
    values: Any = np.linalg.eigvals(stack).ravel()
    near_axis = np.abs(values.imag) <= 1e-14 * np.abs(values)
    return values.real[near_axis & (values.real <= 0.0)]


def _sampled(grouped: Grouped, dt: float) -> Grouped:
    others = tuple(exponential_maps(stack, dt)[0] for stack in grouped.others)
    return Grouped(grouped.order, np.exp(grouped.real * dt), apply_pairs(grouped, np.exp, dt), others)


def _hold(grouped: Grouped, B: FloatArray, dt: float) -> FloatArray:
    """`int_0^dt exp(A s) ds B`, in grouped order."""
    others = [exponential_maps(stack, dt)[1] for stack in grouped.others]
    return dt * multiply(grouped, phi1(grouped.real * dt), apply_pairs(grouped, phi1, dt), others, B)


def _invert_hold(continuous: Grouped, B: FloatArray, dt: float) -> FloatArray:
    ones, first, second, rest = continuous.shape()
    Bc = np.empty_like(B)
    Bc[ones] = B[ones] / (dt * phi1(continuous.real * dt))[:, None]
    if len(continuous.pairs):
        Y = np.linalg.solve(dt * apply_pairs(continuous, phi1, dt), np.stack([B[first], B[second]], axis=1))
        Bc[first], Bc[second] = Y[:, 0], Y[:, 1]
    for where, stack in zip(rest, continuous.others, strict=True):
        one = exponential_maps(stack, dt)[1]
        Bc[where] = np.linalg.solve(dt * one, B[where].reshape(*stack.shape[:2], -1)).reshape(-1, B.shape[1])
    if not np.isfinite(Bc).all():
        raise SolverError(
            "the inputs of the continuous model are not finite: a mode is an exact multiple of the sampling "
            "frequency. Sample at another rate"
        )
    return Bc
