"""What a predictive controller is asked to do: one description shared by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_matrix,
    as_weight,
    check_choice,
    check_integer,
    check_number,
)
from koopctrl.controllers.bounds import input_bounds
from koopctrl.errors import OptionError, ShapeError

Bounds = tuple[ArrayLike, ArrayLike | None, ArrayLike | None]


@dataclass(frozen=True)
class MPCProblem:
    r"""A finite-horizon problem in physical units.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - r_k|_{Q_k}^2 + |u_k - u_s|_{R_k}^2 + |u_k - u_{k-1}|_{S_k}^2 + V_N

    Attributes
    ----------
    horizon : int
        `N`.
    Q : (N, n_y, n_y) or (N, n_z, n_z) array
        Weights on outputs or lifted coordinates; `Q[k]` is on the sample that `u_k` leads to, `k + 1`.
    R, S : (N, n_u, n_u) arrays
        Weights on inputs and on input moves (`R_rate`).
    u_min, u_max, du_min, du_max : (n_u,) arrays
        Hard bounds, infinite where there is none.
    E, e_min, e_max : (n_e, n_y + n_x), (n_e,), (n_e,) arrays
        Bounded combinations of `[y; x]`, at steps 1 to N.
    E_end, end_min, end_max : (n_t, n_x), (n_t,), (n_t,) arrays
        Bounded combinations of `x_N - x_s`: the terminal set.
    soft : bool
        Whether those may be relaxed when they cannot be held.
    soft_weights : (float, float)
        Linear and quadratic cost of a relaxation, in the cost's units.
    blocks : (n_blocks,) int array
        First step of each block over which the input is held.
    terminal : str
        `riccati` or `none`.
    delay : int
        Samples that pass before an input acts; outputs and bounds count from then on.
    max_solve_time : float
        Seconds after which no further QP is begun; infinite by default.
    """

    horizon: int
    Q: FloatArray
    R: FloatArray
    S: FloatArray
    u_min: FloatArray
    u_max: FloatArray
    du_min: FloatArray
    du_max: FloatArray
    E: FloatArray
    e_min: FloatArray
    e_max: FloatArray
    E_end: FloatArray
    end_min: FloatArray
    end_max: FloatArray
    soft: bool
    soft_weights: tuple[float, float]
    blocks: np.ndarray
    terminal: str
    delay: int
    max_solve_time: float

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.R.shape[1]

    @property
    def n_bounded(self) -> int:
        """Number of rows that bound outputs and states over the whole horizon."""
        return len(self.E) * self.horizon + len(self.E_end)

    @property
    def bounds_rate(self) -> bool:
        """Whether input moves are bounded."""
        return bool(np.isfinite(self.du_min).any() or np.isfinite(self.du_max).any())

    def blocking(self) -> FloatArray:
        """`(N n_u, n_blocks n_u)` map from block values to inputs."""
        owner = np.searchsorted(self.blocks, np.arange(self.horizon), side="right") - 1
        chosen = np.zeros((self.horizon, len(self.blocks)))
        chosen[np.arange(self.horizon), owner] = 1.0
        return np.kron(chosen, np.eye(self.n_u))


def describe_problem(
    n_y: int,
    n_x: int,
    n_u: int,
    *,
    horizon: int,
    Q: FloatArray,
    R: ArrayLike,
    R_rate: ArrayLike | None,
    u_min: ArrayLike | None,
    u_max: ArrayLike | None,
    du_min: ArrayLike | None,
    du_max: ArrayLike | None,
    y_min: ArrayLike | None,
    y_max: ArrayLike | None,
    constraints: Bounds | None,
    terminal_set: Bounds | None,
    soft: bool,
    soft_weights: tuple[float, float],
    blocks: int | Sequence[int] | None,
    terminal: str,
    input_delay: int,
    max_solve_time: float | None,
) -> MPCProblem:
    """Check everything and refuse what cannot be posed, with the reason; `Q` has been checked before.

    Raises
    ------
    OptionError, ShapeError, DataError
        Naming the argument at fault.
    """
    u_low, u_high = input_bounds(u_min, u_max, n_u)
    du_low, du_high = input_bounds(du_min, du_max, n_u, ("du_min", "du_max"))
    if (du_low > 0).any() or (du_high < 0).any():
        raise OptionError(
            f"du_min is {du_low.tolist()} and du_max is {du_high.tolist()}; expected du_min <= 0 <= du_max, "
            "since the input must be allowed to stay"
        )
    y_low, y_high = input_bounds(y_min, y_max, n_y, ("y_min", "y_max"))
    kept = np.isfinite(y_low) | np.isfinite(y_high)
    E, e_low, e_high = _combinations(constraints, "constraints", n_x)
    E_end, end_low, end_high = _combinations(terminal_set, "terminal_set", n_x)
    if (end_low > 0).any() or (end_high < 0).any():
        raise OptionError(
            f"terminal_set has bounds {end_low.tolist()} and {end_high.tolist()}; expected low <= 0 <= high, "
            "since they are on the distance from the steady target, which must be inside"
        )
    if not isinstance(soft, (bool, np.bool_)):
        raise OptionError(f"soft is {soft!r}; expected True or False")
    if np.shape(soft_weights) != (2,):
        raise OptionError(f"soft_weights is {soft_weights!r}; expected a pair: linear and quadratic cost")
    linear = check_number(soft_weights[0], "soft_weights[0]", low=0.0, high=1e12)
    quadratic = check_number(soft_weights[1], "soft_weights[1]", low=0.0, high=1e12, strict=True)
    size = float(np.abs(Q).max(initial=0.0)) or 1.0
    limit = np.inf
    if max_solve_time is not None:
        limit = check_number(max_solve_time, "max_solve_time", low=0.0, strict=True)
    return MPCProblem(
        horizon=horizon,
        Q=Q,
        R=stage_weights(R, "R", (n_u,), horizon, definite=True),
        S=stage_weights(0.0 if R_rate is None else R_rate, "R_rate", (n_u,), horizon),
        u_min=u_low,
        u_max=u_high,
        du_min=du_low,
        du_max=du_high,
        E=np.vstack([np.eye(n_y, n_y + n_x)[kept], np.hstack([np.zeros((len(E), n_y)), E])]),
        e_min=np.concatenate([y_low[kept], e_low]),
        e_max=np.concatenate([y_high[kept], e_high]),
        E_end=E_end,
        end_min=end_low,
        end_max=end_high,
        soft=bool(soft),
        soft_weights=(linear * size, quadratic * size),
        blocks=_check_blocks(blocks, horizon),
        terminal=check_choice(terminal, "terminal", ("riccati", "none")),
        delay=check_integer(input_delay, "input_delay"),
        max_solve_time=limit,
    )


def stage_weights(
    value: ArrayLike, name: str, sizes: Sequence[int], horizon: int, *, definite: bool = False
) -> FloatArray:
    """`(N, n, n)` weights: one for all steps, or `(N, n, n)` with one a step; `n` is one of `sizes`.

    Raises
    ------
    ShapeError, OptionError
        If the shape fits none of `sizes`, or a weight is not symmetric and (semi-)definite.
    """
    array = as_float_array(value, name)
    size = next((n for n in sizes if array.ndim >= 2 and array.shape[-1] == n), sizes[0])
    if array.ndim == 3:
        if len(array) != horizon:
            raise ShapeError(
                f"{name} has shape {array.shape}; expected ({horizon}, {size}, {size}), one weight a step"
            )
        return np.stack([as_weight(w, f"{name}[{k}]", size, definite=definite) for k, w in enumerate(array)])
    weight = as_weight(array, name, size, definite=definite)
    return np.broadcast_to(weight, (horizon, size, size))


def _combinations(given: Bounds | None, name: str, n_x: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`(E, low, high)`, checked; no rows where nothing is given."""
    if given is None:
        return np.empty((0, n_x)), np.empty(0), np.empty(0)
    if not isinstance(given, tuple) or len(given) != 3:
        raise OptionError(f"{name} is not (E, low, high); expected low <= E x <= high as a tuple of three")
    E = np.atleast_2d(as_float_array(given[0], f"{name}[0]"))
    E = as_matrix(E, f"{name}[0]", (len(E), n_x))
    low, high = input_bounds(given[1], given[2], len(E), (f"{name}[1]", f"{name}[2]"))
    return E.copy(), low, high


def _check_blocks(blocks: int | Sequence[int] | None, horizon: int) -> np.ndarray:
    """First steps of the blocks: an integer is a control horizon, a sequence holds the blocks' lengths."""
    if blocks is None:
        return np.arange(horizon)
    if isinstance(blocks, (int, np.integer)):
        n = check_integer(blocks, "blocks", low=1)
        return np.arange(min(n, horizon))
    if np.ndim(blocks) != 1:
        raise OptionError(
            f"blocks is {blocks!r}; expected a control horizon, or a sequence of the blocks' lengths"
        )
    lengths = [check_integer(b, "blocks", low=1) for b in blocks]
    if sum(lengths) != horizon:
        raise OptionError(
            f"blocks is {lengths}, which add up to {sum(lengths)}; expected the horizon, {horizon}"
        )
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
